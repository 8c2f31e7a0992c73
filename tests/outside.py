"""The outside world as tests hold it: the sandbox by its HTTP, updates as Telegram sends them, and the queue."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import requests
from django.conf import settings
from django.db import connection, connections
from django.test import Client
from procrastinate.contrib.django import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from esimshop.sandbox.server import Sandbox
    from orders.models import Order

Json = dict[str, Any]

WEBHOOK = "/api/telegram/stars/webhook"
ANNA, BEN = 1001, 1002  # who lives in the sandbox: Anna speaks Russian, Ben English
_LANGUAGES = {ANNA: "ru", BEN: "en"}
_numbers = itertools.count(int(time.time()))


class SandboxControl:
    """The sandbox, as its own control API lets a test steer it and look behind the scenes."""

    def __init__(self, server: Sandbox) -> None:
        self.url = server.url
        self.bot_api_base_url = server.bot_api_base_url
        self.esimgo_base_url = server.esimgo_base_url

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.url}{path}", timeout=10)
        answer.raise_for_status()
        return answer.json() if answer.headers["Content-Type"].startswith("application/json") else answer.content

    def post(self, path: str, body: Json | None = None) -> Any:
        answer = requests.post(f"{self.url}{path}", json=body or {}, timeout=40)
        assert answer.ok, answer.text
        return answer.json()

    def reset(self) -> None:
        self.post("/sandbox/reset", {"everything": True})
        self.post("/sandbox/settings", {"rate_limit": False})

    def fail(self, target: str, kind: str, **details: Any) -> None:
        """Let calls of `target` go wrong: once, unless times says otherwise."""
        self.post("/sandbox/faults", {"target": target, "kind": kind, **details})

    def heal(self) -> None:
        requests.delete(f"{self.url}/sandbox/faults", timeout=10).raise_for_status()

    def ledger(self) -> Any:
        return self.get("/sandbox/ledger")

    def orders(self) -> list[Json]:
        """What the wholesaler sold."""
        return list(self.ledger()["orders"])

    def calls(self, name: str) -> int:
        return int(self.ledger()["calls"]["counts"].get(name, 0))

    def invoice(self, link: str) -> Json:
        return dict(self.get(f"/sandbox/invoices/{link.removeprefix('https://t.me/$')}"))

    def chat(self, user_id: int) -> list[Json]:
        """What the bot wrote to a user, oldest first."""
        messages = self.get(f"/sandbox/users/{user_id}/chat")["messages"]
        return [message for message in messages if message["from"] == "bot"]

    def refunds(self) -> list[Json]:
        return [row for row in self.ledger()["transactions"] if "receiver" in row]

    def charge(self, update: Json) -> None:
        """Write the charge of a payment update into Telegram's ledger, so that it can be refunded there."""
        message = update["message"]
        payment = message["successful_payment"]
        self.post("/sandbox/users", {"id": message["from"]["id"], "first_name": message["from"]["first_name"]})
        self.post(
            "/sandbox/transactions",
            {
                "id": payment["telegram_payment_charge_id"],
                "amount": payment["total_amount"],
                "source": {
                    "type": "user",
                    "transaction_type": "invoice_payment",
                    "user": message["from"],
                    "invoice_payload": payment["invoice_payload"],
                },
            },
        )


# Who asks


def init_data(user_id: int = BEN, *, token: str | None = None, age_seconds: int = 0, **user: Any) -> str:
    """initData as Telegram signs it for a user."""
    who = {"id": user_id, "first_name": "Ben", "language_code": _LANGUAGES.get(user_id, "en"), **user}
    fields = {
        "query_id": "AAHdF6IQAAAAAN0XohDhrOrc",
        "user": json.dumps(who, ensure_ascii=False, separators=(",", ":")),
        "auth_date": str(int(time.time()) - age_seconds),
        "signature": "c2lnbmF0dXJlIG9mIHRlbGVncmFt",
    }
    checked = "\n".join(f"{name}={fields[name]}" for name in sorted(fields))
    key = hmac.new(b"WebAppData", (token or settings.TELEGRAM_BOT_TOKEN).encode(), hashlib.sha256).digest()
    return urlencode({**fields, "hash": hmac.new(key, checked.encode(), hashlib.sha256).hexdigest()})


def bearer(user_id: int = BEN, **details: Any) -> dict[str, str]:
    """The header of a request by a user."""
    return {"Authorization": f"tma {init_data(user_id, **details)}"}


# What Telegram sends


def sender(user_id: int = BEN) -> Json:
    return {
        "id": user_id,
        "is_bot": False,
        "first_name": "Anna" if user_id == ANNA else "Ben",
        "language_code": _LANGUAGES.get(user_id, "en"),
    }


def message_update(text: str, *, user_id: int = BEN, chat_type: str = "private") -> Json:
    return {
        "update_id": next(_numbers),
        "message": {
            "message_id": next(_numbers),
            "from": sender(user_id),
            "chat": {"id": user_id, "type": chat_type},
            "date": int(time.time()),
            "text": text,
        },
    }


def press_update(data: str, *, user_id: int = BEN) -> Json:
    """`callback_query`: a user presses a button of one of the bot's messages."""
    return {
        "update_id": next(_numbers),
        "callback_query": {
            "id": str(next(_numbers)),
            "from": sender(user_id),
            "message": {"message_id": next(_numbers), "chat": {"id": user_id, "type": "private"}, "date": 0},
            "chat_instance": str(user_id),
            "data": data,
        },
    }


def payment_update(order: Order, *, user_id: int | None = None, **changes: Any) -> Json:
    """`successful_payment` of an order by its owner; changes replace fields of the payment, `date` the time."""
    user_id = user_id or order.customer.telegram_user_id
    date = changes.pop("date", int(time.time()))
    return {
        "update_id": next(_numbers),
        "message": {
            "message_id": next(_numbers),
            "from": sender(user_id),
            "chat": {"id": user_id, "type": "private"},
            "date": int(date),
            "successful_payment": {
                "currency": "XTR",
                "total_amount": order.amount_stars,
                "invoice_payload": order.invoice.payload,
                "telegram_payment_charge_id": f"stx-charge-{next(_numbers)}",
                "provider_payment_charge_id": "",
                **changes,
            },
        },
    }


def refund_update(payment: Json) -> Json:
    """`refunded_payment` of the charge in a payment update."""
    message = payment["message"]
    return {
        "update_id": next(_numbers),
        "message": {
            "message_id": next(_numbers),
            "from": message["from"],
            "chat": message["chat"],
            "date": int(time.time()),
            "refunded_payment": message["successful_payment"],
        },
    }


def pre_checkout_update(order: Order, *, user_id: int | None = None, **changes: Any) -> Json:
    user_id = user_id or order.customer.telegram_user_id
    return {
        "update_id": next(_numbers),
        "pre_checkout_query": {
            "id": str(next(_numbers)),
            "from": sender(user_id),
            "currency": "XTR",
            "total_amount": order.amount_stars,
            "invoice_payload": order.invoice.payload,
            **changes,
        },
    }


def membership_update(status: str, *, user_id: int = BEN) -> Json:
    """`my_chat_member`: "kicked" when a user blocks the bot, "member" when they let it in again."""
    bot = {"id": 424242, "is_bot": True, "first_name": "eSIM Shop"}
    before = "member" if status == "kicked" else "kicked"
    return {
        "update_id": next(_numbers),
        "my_chat_member": {
            "chat": {"id": user_id, "type": "private"},
            "from": sender(user_id),
            "date": int(time.time()),
            "old_chat_member": {"user": bot, "status": before},
            "new_chat_member": {"user": bot, "status": status},
        },
    }


def send_update(update: Any, *, secret: str | None = None) -> Any:
    """Post an update to the webhook, as Telegram does; what fails there is a 500 and not the test's exception."""
    return Client(raise_request_exception=False).post(
        WEBHOOK,
        update if isinstance(update, bytes) else json.dumps(update).encode(),
        content_type="application/json",
        headers={"X-Telegram-Bot-Api-Secret-Token": settings.TELEGRAM_WEBHOOK_SECRET if secret is None else secret},
    )


def is_russian(text: str) -> bool:
    """Whether most letters are Cyrillic: names and units may be Latin."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum("а" <= letter.lower() <= "ё" for letter in letters) > len(letters) / 2


# Processes of their own


def database_url() -> str:
    """The test's own database, for a process that is started."""
    params = connection.get_connection_params()
    server = {name: params[name] for name in ("host", "port", "user", "password") if params.get(name)}
    return f"postgres://{server.pop('user')}@/{params['dbname']}?{urlencode(server, safe='/')}"


# What happens at once, and what happens later


def wait_until(is_true: Callable[[], bool], *, seconds: float = 5) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls made at the same moment, each in a thread with a database connection of its own."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait(10)
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@contextmanager
def broken_table(table: str) -> Iterator[None]:
    """PostgreSQL refuses every insert into a table meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'the disk is full'; END$$"
        )
        cursor.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse()")
        yield
        cursor.execute(f"DROP TRIGGER refuse ON {table}")
        cursor.execute("DROP FUNCTION pg_temp.refuse()")


def run_tasks(*, at_most: int = 100) -> list[str]:
    """Run what is queued in this thread and transaction, urgent first, until nothing is left. Returns the names."""
    ran: list[str] = []
    while job := _take_job():
        name, arguments = job
        ran.append(name.rpartition(".")[2])
        assert len(ran) <= at_most, f"tasks without end: {ran[-5:]}"
        app.tasks[name](**arguments)
    return ran


def _take_job() -> tuple[str, Json] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM procrastinate_jobs WHERE id ="
            " (SELECT id FROM procrastinate_jobs WHERE status = 'todo' ORDER BY priority DESC, id LIMIT 1)"
            " RETURNING task_name, args"
        )
        row = cursor.fetchone()
    if row is None:
        return None
    return row[0], row[1] if isinstance(row[1], dict) else json.loads(row[1])


def sweep() -> list[str]:
    """What the worker does every few seconds, and all that follows from it."""
    from orders.tasks import sweep_orders_task
    from payments.tasks import sweep_payments_task

    sweep_orders_task(timestamp=0)
    sweep_payments_task(timestamp=0)
    return run_tasks()
