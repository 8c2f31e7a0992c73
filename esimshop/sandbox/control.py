"""What the Telegram-like page and tests do by HTTP: people, chats, paying, faults, and what lies behind."""

from __future__ import annotations

import base64
import re
import time
from decimal import Decimal
from pathlib import Path

import requests

from esimshop.sandbox.bot_api import BotApi
from esimshop.sandbox.checkout import Checkout
from esimshop.sandbox.esimgo import EsimGo
from esimshop.sandbox.exchange import Json, Request, Response, Routes
from esimshop.sandbox.faults import Faults
from esimshop.sandbox.state import DEFAULT_SETTINGS, State
from esimshop.sandbox.updates import Updates
from esimshop.sandbox.users import as_chat, as_user, sign_init_data

STATIC = Path(__file__).parent / "static"
_CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-src http://127.0.0.1:* http://localhost:* https:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_SCRIPT_HEADERS = {"Cross-Origin-Resource-Policy": "cross-origin", "Cache-Control": "no-cache"}
_LINK = re.compile(r"https://t\.me/(?:\$|invoice/)([A-Za-z0-9_=-]+)")
_STORAGE_KEYS = 1024


class ControlError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Control:
    """The sandbox's own pages and calls. shop_url: address of the Mini App, without a slash at its end."""

    def __init__(
        self,
        *,
        state: State,
        faults: Faults,
        updates: Updates,
        checkout: Checkout,
        bot_api: BotApi,
        esimgo: EsimGo,
        token: str,
        shop_url: str,
    ) -> None:
        self._state = state
        self._faults = faults
        self._updates = updates
        self._checkout = checkout
        self._bot_api = bot_api
        self._esimgo = esimgo
        self._token = token
        self._shop_url = shop_url
        self._routes = Routes(
            [
                ("GET", "/", self._page),
                ("GET", "/telegram-web-app.js", self._web_app_script),
                ("GET", "/static/{file}", self._static),
                ("GET", "/static/js/{file}", self._script),
                ("GET", "/sandbox/overview", self._overview),
                ("POST", "/sandbox/users", self._put_user),
                ("GET", "/sandbox/users/{user_id}/init-data", self._init_data),
                ("GET", "/sandbox/users/{user_id}/chat", self._chat),
                ("POST", "/sandbox/users/{user_id}/messages", self._send_message),
                ("POST", "/sandbox/users/{user_id}/press", self._press),
                ("POST", "/sandbox/users/{user_id}/pay", self._pay),
                ("POST", "/sandbox/users/{user_id}/storage", self._cloud_storage),
                ("GET", "/sandbox/photos/{photo_id}", self._photo),
                ("GET", "/sandbox/invoices/{slug}", self._invoice),
                ("POST", "/sandbox/updates", self._add_update),
                ("POST", "/sandbox/updates/{update_id}/redeliver", self._redeliver),
                ("POST", "/sandbox/transactions", self._add_transaction),
                ("GET", "/sandbox/ledger", self._ledger),
                ("POST", "/sandbox/reset", self._reset),
                ("POST", "/sandbox/settings", self._change_settings),
                ("POST", "/sandbox/catalogue/{bundle}", self._change_bundle),
                ("POST", "/sandbox/esims/{iccid}", self._use_esim),
                ("POST", "/sandbox/callbacks", self._send_callback),
                ("POST", "/sandbox/faults", self._add_fault),
                ("GET", "/sandbox/faults", self._list_faults),
                ("DELETE", "/sandbox/faults", self._clear_faults),
            ]
        )

    def handle(self, request: Request) -> Response:
        found = self._routes.find(request.method, request.path)
        if found is None:
            return Response.json({"error": "no such page"}, 404)
        # A page of another origin cannot send this content type without asking first.
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            return Response.json({"error": "Content-Type must be application/json"}, 415)
        _, handler, arguments = found
        try:
            return handler(request, **arguments)
        except ControlError as error:
            return Response.json({"error": error.message}, error.status)
        except (ValueError, TypeError, ArithmeticError) as error:
            return Response.json({"error": str(error)}, 400)

    # Pages

    def _page(self, request: Request) -> Response:
        return _file(STATIC / "client.html", _PAGE_HEADERS)

    def _web_app_script(self, request: Request) -> Response:
        return _file(STATIC / "telegram-web-app.js", _SCRIPT_HEADERS)

    def _static(self, request: Request, file: str) -> Response:
        return _file(STATIC / Path(file).name, {"Cache-Control": "no-cache"})

    def _script(self, request: Request, file: str) -> Response:
        return _file(STATIC / "js" / Path(file).name, {"Cache-Control": "no-cache"})

    def _overview(self, request: Request) -> Response:
        with self._state.lock:
            return Response.json(
                {
                    "bot": self._bot_api.user,
                    "commands": self._state.bot["commands"],
                    "menu_button": self._state.bot["menu_button"],
                    "shop_url": self._shop_url,
                    "users": list(self._state.users.values()),
                    "settings": {**self._state.settings, "balance_usd": self._state.balance_usd},
                }
            )

    # People

    def _put_user(self, request: Request) -> Response:
        fields = request.json_object()
        stars = fields.get("stars", 0)
        if not isinstance(stars, int) or stars < 0:
            raise ControlError(400, "stars is a whole number, not negative")
        with self._state.lock:
            before = dict(self._state.users.get(int(fields.get("id") or 0)) or {})
            user = self._state.put_user(fields)
            if before and before["blocked_bot"] != user["blocked_bot"]:
                self._tell_of_block(user)
            if before and user["started"] and not before["started"]:
                self._tell_of_access(user)
            return Response.json(user)

    def _tell_of_block(self, user: Json) -> None:
        statuses = ("member", "kicked") if user["blocked_bot"] else ("kicked", "member")
        old, new = (
            {
                "user": self._bot_api.user,
                "status": status,
                **({"until_date": 0} if status == "kicked" else {}),
            }
            for status in statuses
        )
        change = {
            "chat": as_chat(user),
            "from": as_user(user),
            "date": int(time.time()),
            "old_chat_member": old,
            "new_chat_member": new,
        }
        self._updates.add({"my_chat_member": change}, chat_id=user["id"])

    def _tell_of_access(self, user: Json) -> None:
        """The service message of who let the bot write from within the Mini App."""
        message = {
            "message_id": self._state.new_message_id(),
            "from": as_user(user),
            "chat": as_chat(user),
            "date": int(time.time()),
            "write_access_allowed": {"from_request": True},
        }
        self._updates.add({"message": message}, chat_id=user["id"])

    def _init_data(self, request: Request, user_id: str) -> Response:
        user = self._user(user_id)
        signed = sign_init_data(
            user,
            token=self._token,
            start_param=request.one("start_param"),
            age_seconds=request.integer("age_seconds", 0, least=-(10**9), most=10**9),
        )
        return Response.json({"init_data": signed})

    def _chat(self, request: Request, user_id: str) -> Response:
        """The chat and the user; with ?after=<revision>&wait=<seconds> once there is something newer."""
        after = request.integer("after", -1, least=-1, most=10**12)
        wait = request.integer("wait", 0, least=0, most=25)
        with self._state.lock:
            user = self._user(user_id)
            self._state.changed.wait_for(lambda: self._state.revision > after, timeout=wait)
            messages = []
            for message in self._state.chats[user["id"]]:
                photo_id = message.get("photo_id")
                messages.append({**message, "photo": f"/sandbox/photos/{photo_id}" if photo_id else None})
            return Response.json({"revision": self._state.revision, "user": user, "messages": messages})

    def _send_message(self, request: Request, user_id: str) -> Response:
        text = str(request.json_object().get("text", "")).strip()
        if not 1 <= len(text) <= 4096:
            raise ControlError(400, "text has 1 to 4096 characters")
        with self._state.lock:
            user = self._user(user_id)
            if user["blocked_bot"]:
                raise ControlError(409, "the user has blocked the bot")
            user["started"] = True
            message_id, now = self._state.new_message_id(), int(time.time())
            self._state.chats[user["id"]].append(
                {
                    "message_id": message_id,
                    "from": "user",
                    "date": now,
                    "text": text,
                    "entities": [],
                    "buttons": [],
                }
            )
            message = {
                "message_id": message_id,
                "from": as_user(user),
                "chat": as_chat(user),
                "date": now,
                "text": text,
            }
            if command := re.match(r"/[a-zA-Z0-9_]{1,32}(@\w+)?", text):
                message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(command[0])}]
            update_id = self._updates.add({"message": message}, chat_id=user["id"])
            self._state.touch()
            return Response.json({"message_id": message_id, "update_id": update_id})

    def _press(self, request: Request, user_id: str) -> Response:
        """Press a button with callback_data; "answer" is null if none came within "wait" seconds."""
        wanted = request.json_object()
        with self._state.lock:
            user = self._user(user_id)
            message = next(
                (each for each in self._state.chats[user["id"]] if each["message_id"] == wanted.get("message_id")),
                None,
            )
            if message is None:
                raise ControlError(404, "no such message")
            data = [button.get("callback_data") for row in message.get("buttons", []) for button in row]
            if wanted.get("callback_data") not in [each for each in data if each]:
                raise ControlError(404, "the message has no such button")
            query_id = str(time.time_ns())
            record: Json = {"user_id": user["id"], "answer": None, "closed": False}
            self._state.queries[query_id] = record
            query = {
                "id": query_id,
                "from": as_user(user),
                "message": self._bot_api.as_message(user, message),
                "chat_instance": str(user["id"]),
                "data": wanted["callback_data"],
            }
            self._updates.add({"callback_query": query}, chat_id=user["id"])
            self._state.changed.wait_for(lambda: record["answer"] is not None, timeout=float(wanted.get("wait", 5)))
            return Response.json({"answer": record["answer"]})

    def _pay(self, request: Request, user_id: str) -> Response:
        wanted = request.json_object()
        link = _LINK.fullmatch(str(wanted.get("link", "")))
        slug = str(wanted.get("slug") or (link[1] if link else ""))
        user = self._user(user_id)
        if slug not in self._state.invoices:
            raise ControlError(404, "no such invoice")
        if wanted.get("cancel"):
            return Response.json({"status": "cancelled", "shown": "cancelled"})
        amount, currency = wanted.get("amount"), wanted.get("currency")
        if amount is not None and (not isinstance(amount, int) or amount < 1):
            raise ControlError(400, "amount is a positive number of Stars")
        return Response.json(self._checkout.pay(user_id=user["id"], slug=slug, amount=amount, currency=currency))

    def _cloud_storage(self, request: Request, user_id: str) -> Response:
        """CloudStorage's custom methods: {"result"} or {"error"}, as the Mini App gets them."""
        wanted = request.json_object()
        method, parameters = wanted.get("method"), wanted.get("params") or {}
        with self._state.lock:
            stored = self._state.storage.setdefault(str(self._user(user_id)["id"]), {})
            if method == "getStorageKeys":
                return Response.json({"result": list(stored)})
            if method == "getStorageValues":
                return Response.json({"result": {key: stored.get(key, "") for key in parameters.get("keys", [])}})
            if method == "deleteStorageValues":
                for key in parameters.get("keys", []):
                    stored.pop(key, None)
                return Response.json({"result": True})
            if method == "saveStorageValue":
                key, value = str(parameters.get("key", "")), str(parameters.get("value", ""))
                if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key):
                    return Response.json({"error": "KEY_INVALID"})
                if len(value) > 4096:
                    return Response.json({"error": "VALUE_INVALID"})
                if key not in stored and len(stored) >= _STORAGE_KEYS:
                    return Response.json({"error": "QUOTA_EXCEEDED"})
                stored[key] = value
                return Response.json({"result": True})
        return Response.json({"error": "METHOD_INVALID"})

    def _photo(self, request: Request, photo_id: str) -> Response:
        photo = self._state.photos.get(photo_id)
        if photo is None:
            raise ControlError(404, "no such photo")
        return Response(200, base64.b64decode(photo["content"]), photo["type"], {"Cache-Control": "no-store"})

    def _invoice(self, request: Request, slug: str) -> Response:
        invoice = self._state.invoices.get(slug)
        if invoice is None:
            raise ControlError(404, "no such invoice")
        shown = ("title", "description", "amount", "currency", "paid")
        return Response.json({name: invoice[name] for name in shown})

    # Behind the scenes

    def _add_update(self, request: Request) -> Response:
        update = request.json_object()
        if not any(isinstance(content, dict) for content in update.values()):
            raise ControlError(400, "an update has an object of its kind")
        content = next(value for value in update.values() if isinstance(value, dict))
        sender = content.get("from") or content.get("chat") or {}
        update_id = self._updates.add(update, chat_id=int(sender.get("id", 0)))
        return Response.json({"update_id": update_id})

    def _redeliver(self, request: Request, update_id: str) -> Response:
        times = int(request.json_object().get("times", 1))
        if not 1 <= times <= 100:
            raise ControlError(400, "times is 1 to 100")
        try:
            statuses = self._updates.redeliver(int(update_id), times)
        except KeyError:
            raise ControlError(404, "no such update") from None
        except LookupError as error:
            raise ControlError(409, str(error)) from None
        return Response.json({"statuses": statuses})

    def _add_transaction(self, request: Request) -> Response:
        row = request.json_object()
        if not isinstance(row.get("id"), str) or not isinstance(row.get("amount"), int):
            raise ControlError(400, "a transaction has an id and a whole amount")
        if ("source" in row) == ("receiver" in row):
            raise ControlError(400, "a transaction has a source or a receiver")
        with self._state.lock:
            self._state.transactions.append({"date": int(time.time()), **row})
            self._state.touch()
        return Response.json(row)

    def _ledger(self, request: Request) -> Response:
        state = self._state
        with state.lock:
            return Response.json(
                {
                    "transactions": state.transactions,
                    "bot_stars": self._bot_api.star_balance(),
                    "users": list(state.users.values()),
                    "invoices": state.invoices,
                    "pre_checkout_queries": state.queries,
                    "orders": list(state.orders.values()),
                    "esims": list(state.esims.values()),
                    "balance_usd": state.balance_usd,
                    "updates": list(state.updates.values()),
                    "pending_updates": state.pending,
                    "webhook": state.bot["webhook"] and {"url": state.bot["webhook"]["url"]},
                    "calls": {"counts": state.calls, "recent": state.recent_calls},
                }
            )

    def _reset(self, request: Request) -> Response:
        keep_bot = not request.json_object().get("everything", False)
        self._faults.clear()
        self._state.reset(keep_bot=keep_bot)
        self._updates.webhook_changed()
        return Response.json({"ok": True})

    def _change_settings(self, request: Request) -> Response:
        wanted = request.json_object()
        with self._state.lock:
            balance = wanted.pop("balance_usd", None)
            for name, value in wanted.items():
                if name not in DEFAULT_SETTINGS:
                    raise ControlError(400, f"no such setting: {name}")
                is_switch = isinstance(DEFAULT_SETTINGS[name], bool)
                if is_switch != isinstance(value, bool) or not isinstance(value, bool | int | Decimal):
                    raise ControlError(400, f"{name} is {'true or false' if is_switch else 'a number'}")
            if balance is not None:
                self._state.balance_usd = Decimal(str(balance))
            self._state.settings |= {
                name: float(value) if isinstance(value, Decimal) else value for name, value in wanted.items()
            }
            self._state.touch()
            return Response.json({**self._state.settings, "balance_usd": self._state.balance_usd})

    def _change_bundle(self, request: Request, bundle: str) -> Response:
        wanted = request.json_object()
        price = wanted.get("price")
        try:
            changed = self._esimgo.change_bundle(
                bundle,
                price=None if price is None else Decimal(str(price)),
                withdrawn=wanted.get("withdrawn"),
                profile=wanted.get("profile"),
            )
        except KeyError:
            raise ControlError(404, "no such bundle") from None
        return Response.json(changed)

    def _use_esim(self, request: Request, iccid: str) -> Response:
        with self._state.lock:
            try:
                return Response.json(self._esimgo.use(iccid, request.json_object()))
            except KeyError:
                raise ControlError(404, "no such eSIM") from None

    def _send_callback(self, request: Request) -> Response:
        """Send a signed V3 callback to the shop; the status of its answer."""
        wanted = request.json_object()
        with self._state.lock:
            try:
                body = self._esimgo.callback(
                    str(wanted.get("alert_type", "Utilisation")),
                    str(wanted["iccid"]),
                    wanted.get("details") or {},
                )
            except KeyError:
                raise ControlError(404, "no such eSIM") from None
        content, signature = self._esimgo.sign(body, as_hex=wanted.get("encoding") == "hex")
        if wanted.get("forged"):
            signature = signature[::-1]
        try:
            answer = requests.post(
                f"{self._shop_url}/api/esimgo/callback",
                data=content,
                headers={"Content-Type": "application/json", "X-Signature-SHA256": signature},
                timeout=10,
                allow_redirects=False,
            )
        except requests.RequestException:
            return Response.json({"status": None, "body": body})
        return Response.json({"status": answer.status_code, "body": body})

    def _add_fault(self, request: Request) -> Response:
        fault = self._faults.add(request.json_object())
        return Response.json({"id": fault.id}, 201)

    def _list_faults(self, request: Request) -> Response:
        return Response.json({"faults": self._faults.listed(), "struck": self._faults.struck})

    def _clear_faults(self, request: Request) -> Response:
        identifier = request.one("id")
        return Response.json({"removed": self._faults.clear(int(identifier) if identifier else None)})

    def _user(self, user_id: str) -> Json:
        user = self._state.users.get(int(user_id)) if re.fullmatch(r"-?\d{1,18}", user_id) else None
        if user is None:
            raise ControlError(404, "no such user")
        return user


def _file(file: Path, headers: dict[str, str]) -> Response:
    content_type = _CONTENT_TYPES.get(file.suffix)
    if content_type is None or not file.is_file():
        raise ControlError(404, "no such page")
    return Response(200, file.read_bytes(), f"{content_type}; charset=utf-8", headers)
