"""Everybody whom a shop has to do with: visitors, buyers, staff, Telegram and eSIM Go, as coroutines."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.utils import timezone

from payments.models import Invoice
from tests.benchmarks.closed_loop import get_request, post_request
from tests.benchmarks.load.mix import ABANDONED, PURCHASE, RECONCILIATION, REPORT, SYNC
from tests.benchmarks.load.open_loop import Answer, Client, Record, ask, later
from tests.outside import WEBHOOK, bearer, sender

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Json = dict[str, Any]

CREATE_INVOICE = "/api/telegram/stars/create-invoice"
PAGE_SIZE = 100  # the Mini App's
FIRST_CUSTOMER = 6_200_000_000
#: What takes longer to become an eSIM is looked at no more; the books tell what became of it.
LONGEST_WAIT_SECONDS = 60.0
#: As often the Mini App asks again by itself where Telegram gives no link.
TRIES = 4
#: Customers come back to these, the latest.
REMEMBERED = 500
CSRF_TOKEN = "c" * 32
_HINTED = re.compile(r"/static/[^\"' )]+")


@dataclass
class Bought:
    """A purchase whose eSIM is there. left: the share of its data that callbacks have not yet used up."""

    user_id: int
    order_id: str
    iccid: str
    charge_id: str
    left: float = 1.0


@dataclass(frozen=True)
class Catalogue:
    """What visitors choose from. bundles: with fixed data, the dearest sought last."""

    areas: Sequence[str]
    bundles: Sequence[str]


class Crowd:
    """Sends what a phase says; what came of it is noted in `record`, which a run replaces with each phase.

    charged_at: by charge id, the time (of time.time) at which Telegram took the Stars.
    ready:      seconds from there until the buyer's order page showed the eSIM.
    """

    def __init__(
        self,
        *,
        ports: dict[str, int],
        catalogue: Catalogue,
        session: str,
        dice: random.Random,
        keeps_connections: bool,
    ) -> None:
        self.record = Record()
        self.charged_at: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self._shop = Client(ports["shop"], keeps_connections=keeps_connections)
        self._bare, self._sandbox = Client(ports["bare"]), Client(ports["sandbox"])
        self._catalogue = catalogue
        self._cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session}; csrftoken={CSRF_TOKEN}"}
        self._dice = dice
        self._numbers = iter(range(int(time.time()) * 1000, 1 << 62))
        self._customers = iter(range(FIRST_CUSTOMER, 1 << 62))
        self._bought: list[Bought] = []
        self._files: list[str] = []
        self._tags: dict[tuple[str, str], str] = {}
        self._weights = [1 / rank for rank in range(1, len(catalogue.bundles) + 1)]
        self._acts = {
            PURCHASE: self._buy,
            ABANDONED: self._abandon,
            "order page": self._look_at_order,
            "eSIM page": self._look_at_esim,
            "callback": self._call_back,
            "admin search": self._search,
            "admin order page": self._open_order,
            REPORT: self._export,
            SYNC: self._sync,
            RECONCILIATION: self._reconcile,
        }

    async def open(self) -> None:
        """Look at the Mini App once: its static files are those that its page names."""
        page = await self._shop.send(get_request("/"))
        self._files = sorted(set(_HINTED.findall(page.body.decode())))

    async def do(self, kind: str, due: float) -> None:
        """Whatever `kind` names in the mix."""
        if act := self._acts.get(kind):
            await act(due)
        elif kind == "bare view":
            await ask(self._bare, self.record, kind, due, get_request("/"))
        else:
            await self._browse(kind, due)

    def close(self) -> None:
        for client in (self._shop, self._bare, self._sandbox):
            client.close()

    # --- Visitors

    async def _browse(self, kind: str, due: float) -> None:
        name, has_seen = kind.removesuffix(", 304"), kind.endswith(", 304")
        path, headers = self._page(name)
        copy = (path, headers.get("Accept-Language", ""))
        # Who has no copy asks for one, as every phone does at first.
        if has_seen and copy in self._tags:
            headers |= {"If-None-Match": self._tags[copy]}
        answer = await ask(self._shop, self.record, kind, due, get_request(path, headers), expected=(200, 304))
        if answer is not None and (tag := answer.header("ETag")):
            self._tags[copy] = tag

    def _page(self, name: str) -> tuple[str, dict[str, str]]:
        dice, catalogue = self._dice, self._catalogue
        # The proxy says who asks; there are limits for one address.
        address = f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(256)}"
        language = dice.choice(("ru", "en"))
        public = {"Accept-Language": language, "Accept-Encoding": "gzip", "X-Forwarded-For": address}
        match name:
            case "Mini App page":
                return "/", public
            case "static file":
                return dice.choice(self._files), public
            case "areas":
                pages = -(-len(catalogue.areas) // PAGE_SIZE)
                return f"/api/areas?page={dice.randint(1, pages)}&page_size={PAGE_SIZE}", public
            case "currencies":
                return "/api/currencies", public
            case "plans of an area":
                return f"/api/plans?area={dice.choice(catalogue.areas)}&page=1&page_size={PAGE_SIZE}", public
            case "plan":
                return f"/api/plans/{quote(self._bundle())}", public
            case "admin start page":
                return "/admin/", dict(self._cookie)
        who = dice.choice(self._bought).user_id if self._bought and dice.random() < 0.3 else next(self._customers)
        own = {
            "settings": "/api/customer",
            "own orders": "/api/orders?status=awaiting_payment",
            "own eSIMs": "/api/esims?page=1&page_size=50",
        }
        return own[name], bearer(who)

    def _bundle(self) -> str:
        return self._dice.choices(self._catalogue.bundles, self._weights)[0]

    async def _look_at_order(self, due: float) -> None:
        if self._bought:
            bought = self._dice.choice(self._bought)
            request = get_request(f"/api/orders/{bought.order_id}", bearer(bought.user_id))
            await ask(self._shop, self.record, "order page", due, request)

    async def _look_at_esim(self, due: float) -> None:
        if self._bought:
            bought = self._dice.choice(self._bought)
            request = get_request(f"/api/esims/{bought.iccid}", bearer(bought.user_id))
            await ask(self._shop, self.record, "eSIM page", due, request)

    # --- Buyers, and Telegram

    async def _abandon(self, due: float) -> None:
        user_id = next(self._customers)
        if invoice := await self._ask_for_invoice(user_id, due):
            await self._close_sheet(user_id, invoice["order_id"], "cancelled", await later(self._pause()))

    async def _buy(self, due: float) -> None:
        user_id = next(self._customers)
        invoice = await self._ask_for_invoice(user_id, due)
        if invoice is None:
            return
        payload = await asyncio.to_thread(_payload_of, invoice["order_id"])
        due = await later(self._pause())
        asked = {"currency": "XTR", "total_amount": invoice["amount_stars"], "invoice_payload": payload}
        query = {"id": str(next(self._numbers)), "from": sender(user_id), **asked}
        answer = await self._send_update("pre-checkout", {"pre_checkout_query": query}, due)
        if answer is None:
            return
        if not answer.json().get("ok"):
            self.record.errors["pre-checkout: refused"] += 1
            return
        charge_id = f"stx-load-{uuid.uuid4().hex}"
        await self._charge(user_id, charge_id, asked)
        due, now = time.monotonic(), time.time()
        self.charged_at[charge_id] = now
        paid = {**asked, "telegram_payment_charge_id": charge_id, "provider_payment_charge_id": ""}
        chat = {"id": user_id, "type": "private"}
        message = {"message_id": next(self._numbers), "from": sender(user_id), "chat": chat, "date": int(now)}
        await asyncio.gather(
            self._send_update("successful_payment", {"message": {**message, "successful_payment": paid}}, due),
            self._follow(user_id, invoice["order_id"], charge_id, due),
        )

    async def _ask_for_invoice(self, user_id: int, due: float) -> Json | None:
        """As the Mini App does: where the shop says that it gets no link, once more in a while."""
        key = {"Idempotency-Key": uuid.uuid4().hex, **bearer(user_id)}
        request = post_request(CREATE_INVOICE, {"plan": self._bundle()}, key)
        for _ in range(TRIES):
            answer = await ask(self._shop, self.record, "create-invoice", due, request, expected=(200, 201, 503))
            if answer is None or answer.status != 503:
                return dict(answer.json()) if answer else None
            self.record.turned_away += 1
            due = await later(float(answer.header("Retry-After") or 1))
        return None

    async def _charge(self, user_id: int, charge_id: str, asked: Json) -> None:
        """What happens inside of Telegram: the Stars move, and its ledger says so."""
        user = {"id": user_id, "first_name": "Ben", "language_code": "en", "started": True}
        await self._tell_sandbox("/sandbox/users", user)
        source = {
            "type": "user",
            "transaction_type": "invoice_payment",
            "user": sender(user_id),
            "invoice_payload": asked["invoice_payload"],
        }
        row = {"id": charge_id, "amount": asked["total_amount"], "source": source}
        await self._tell_sandbox("/sandbox/transactions", row)

    async def _send_update(self, kind: str, update: Json, due: float) -> Answer | None:
        body = {"update_id": next(self._numbers), **update}
        secret = {"X-Telegram-Bot-Api-Secret-Token": settings.TELEGRAM_WEBHOOK_SECRET}
        return await ask(self._shop, self.record, kind, due, post_request(WEBHOOK, body, secret))

    async def _follow(self, user_id: int, order_id: str, charge_id: str, charged: float) -> None:
        """The buyer's page: it says that the sheet closed, and asks every second until the eSIM is there."""
        await self._close_sheet(user_id, order_id, "paid", await later(0.3))
        request = get_request(f"/api/orders/{order_id}", bearer(user_id))
        while time.monotonic() - charged < LONGEST_WAIT_SECONDS:
            answer = await ask(self._shop, self.record, "order page", await later(1.0), request)
            order = answer.json() if answer else {}
            if order.get("esim"):
                self.ready[charge_id] = time.monotonic() - charged
                self._bought.append(Bought(user_id, order_id, order["esim"]["iccid"], charge_id))
                del self._bought[:-REMEMBERED]
                return

    async def _close_sheet(self, user_id: int, order_id: str, status: str, due: float) -> None:
        request = post_request(f"/api/orders/{order_id}/invoice-closed", {"status": status}, bearer(user_id))
        await ask(self._shop, self.record, "invoice-closed", due, request, expected=(204,))

    def _pause(self) -> float:
        return self._dice.uniform(0.5, 2.0)

    # --- eSIM Go

    async def _call_back(self, due: float) -> None:
        if not self._bought:
            return
        bought = self._dice.choice(self._bought)
        bought.left *= self._dice.uniform(0.5, 0.95)
        used = {"remaining_mb": int(bought.left * 1000), "profile_status": "Enabled"}
        esim = (await self._tell_sandbox(f"/sandbox/esims/{bought.iccid}", used)).json()
        newest = esim["assignments"][-1]
        fields = newest["fields"]
        bundle = {
            "id": fields["id"],
            "reference": fields["assignmentReference"],
            "name": newest["bundle"],
            "description": newest["description"],
            **{name: fields.get(name, "") for name in ("initialQuantity", "remainingQuantity", "startTime", "endTime")},
            "unlimited": fields["unlimited"],
        }
        body = {"iccid": bought.iccid, "alertType": "Utilisation", "bundle": bundle}
        digest = hmac.new(settings.ESIMGO_API_KEY.encode(), json.dumps(body).encode(), hashlib.sha256).digest()
        signature = {"X-Signature-SHA256": base64.b64encode(digest).decode()}
        # Telling the sandbox took its time, which is no part of this.
        due = time.monotonic()
        await ask(self._shop, self.record, "callback", due, post_request("/api/esimgo/callback", body, signature))

    async def _tell_sandbox(self, path: str, body: Json) -> Answer:
        answer = await self._sandbox.send(post_request(path, body))
        if answer.status >= 400:
            raise RuntimeError(f"{path}: {answer.body[:300]!r}")
        return answer

    # --- Staff

    async def _search(self, due: float) -> None:
        if self._bought:
            bought = self._dice.choice(self._bought)
            term = self._dice.choice((bought.charge_id, bought.order_id, bought.iccid, str(bought.user_id)))
            page = self._dice.choice(("/admin/orders/order/", "/admin/find/"))
            request = get_request(f"{page}?{urlencode({'q': term})}", self._cookie)
            await ask(self._shop, self.record, "admin search", due, request, expected=(200, 302))

    async def _open_order(self, due: float) -> None:
        if self._bought:
            path = f"/admin/orders/order/{self._dice.choice(self._bought).order_id}/change/"
            await ask(self._shop, self.record, "admin order page", due, get_request(path, self._cookie))

    async def _export(self, due: float) -> None:
        today = timezone.now().date().isoformat()
        form = {
            "report": "payments",
            "first": today,
            "last": today,
            "zone": "UTC",
            "csrfmiddlewaretoken": CSRF_TOKEN,
        }
        body = urlencode(form).encode()
        headers = {
            **self._cookie,
            "Content-Type": "application/x-www-form-urlencoded",
            "Content-Length": str(len(body)),
        }
        request = get_request("/admin/reports/", headers).replace(b"GET", b"POST", 1) + body
        answer = await ask(self._shop, self.record, REPORT, due, request)
        if answer is not None and not answer.body.startswith(b"payment_id"):
            self.record.errors[f"{REPORT}: no CSV"] += 1

    # --- What the worker does by the clock

    async def _sync(self, due: float) -> None:
        """A price changes at eSIM Go, and the catalogue is synced: what is kept in memory is made anew."""
        rare = self._catalogue.bundles[-1]
        await self._tell_sandbox(f"/sandbox/catalogue/{rare}", {"price": round(self._dice.uniform(5, 6), 2)})
        await asyncio.to_thread(_defer, "sync")

    async def _reconcile(self, due: float) -> None:
        await asyncio.to_thread(_defer, "reconciliation")


def _payload_of(order_id: str) -> str:
    """What only Telegram knows of an invoice link."""
    return str(Invoice.objects.values_list("payload", flat=True).get(order_id=order_id))


def _defer(what: str) -> None:
    from catalog.tasks import sync_catalog_task
    from esimshop.tasks import defer_once
    from orders.tasks import reconcile_orders_task
    from payments.tasks import reconcile_stars_task

    for task in [sync_catalog_task] if what == "sync" else [reconcile_orders_task, reconcile_stars_task]:
        defer_once(task)
