"""What really leaves for Sentry, read off the wire: where it broke, and nothing of what it broke over."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as shop_settings

from tests.clients.scripted_server import ScriptedServer, answer
from tests.outside import database_url, init_data

if TYPE_CHECKING:
    from tests.outside import SandboxControl

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "5555555:AAFZehRPBRs8Seg40oDjTMIW8uTGPuW1zfQ"
SECRETS = {
    "TELEGRAM_BOT_TOKEN": TOKEN,
    "TELEGRAM_WEBHOOK_SECRET": "webhook-secret-of-this-test",
    "ESIMGO_API_KEY": "api-key-of-this-test",
    "ESIMGO_API_KEY_OLD": "old-key-of-this-test",
    "METRICS_TOKEN": "metrics-token-of-this-test",
    "SECRET_KEY": "secret-key-of-this-test",
}
#: What no pattern knows: only an event that is written anew is without it.
PERSONAL = {
    "NAME": "Zebulon Quixote",
    "CYRILLIC": "Аделаида",
    "USERNAME": "zebulon_q",
    "MATCHING_ID": "JQ-28S4YU-1OHXVSO",
    "ICCID": "8944538321976518672",
    "COOKIE": "session-cookie-of-this-test",
}

# Everything in it is planted: in arguments, locals, texts, requests, tasks, queries, and calls to the outside.
SCRIPT = """
import json, logging, os, sys
import django; django.setup()
import requests, sentry_sdk, structlog
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.test import RequestFactory
from procrastinate.contrib.django import app
from esimshop.alerts import raise_alert
from orders.models import Customer

planted = json.loads(os.environ["PLANTED"])
everything = " ".join(planted.values())
log = structlog.get_logger("esimshop.planted")

def leave_breadcrumbs():
    log.info("crumb_of_ours", text=everything, **{name.lower(): value for name, value in planted.items()})
    log.info(f"no event but a text: {everything}")
    logging.getLogger("library").warning("a name: %s", everything, extra=dict(planted))
    logging.getLogger("library").warning(everything)
    list(Customer.objects.filter(first_name=planted["NAME"], username=planted["USERNAME"]))
    for path in (planted["TELEGRAM_BOT_TOKEN"], planted["NAME"]):
        try: requests.get(f"{settings.ESIMGO_BASE_URL}/bot{path}/getMe?q={planted['NAME']}", timeout=5)
        except requests.RequestException: pass

# A request
def break_in_a_view(body):
    local = everything
    leave_breadcrumbs()
    raise ArithmeticError(f"in a view: {local}")
import payments.webhook
payments.webhook.receive_update = break_in_a_view
from esimshop.wsgi import application
factory = RequestFactory()
factory.cookies["sessionid"] = planted["COOKIE"]
request = factory.post(
    "/api/telegram/stars/webhook?q=" + planted["NAME"],
    json.dumps({"update_id": 1, "message": planted}),
    content_type="application/json",
    headers={
        "X-Telegram-Bot-Api-Secret-Token": settings.TELEGRAM_WEBHOOK_SECRET,
        "Authorization": "tma " + planted["INIT_DATA"],
        "User-Agent": planted["NAME"], "Referer": "https://shop.example/?" + planted["INIT_DATA"],
    },
)
list(application(request.environ, lambda *answer: None))

# A task of the worker
@app.task(queue="fulfilment", name="planted_task")
def planted_task(**arguments):
    leave_breadcrumbs()
    raise KeyError(arguments["name"])
planted_task.defer(name=everything, matching_id=planted["MATCHING_ID"])
call_command("worker", "--once")

# A row that a constraint refuses
try:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_customer (telegram_user_id, first_name, username) VALUES (NULL, %s, %s)",
            [planted["NAME"], planted["MATCHING_ID"]],
        )
except Exception:
    log.exception("row_refused", text=everything)

# Lines of the log
log.error("line_of_ours", text=everything, nested={"list": [everything]})
logging.getLogger("library").error("a line: %s", everything, extra=dict(planted))
logging.getLogger("library").error(everything)

# An alert, whose text is our own, and a client's error
text = f"Look at order 17: {planted['TELEGRAM_BOT_TOKEN']} LPA:1$rsp.example${planted['MATCHING_ID']}"
raise_alert(cause="planted", text=text)
call_command("worker", "--once")
from esimshop.clients.telegram import TelegramClient
try: TelegramClient(token=planted["TELEGRAM_BOT_TOKEN"], base_url="http://127.0.0.1:9/bot").get_me()
except Exception: log.exception("call_failed")
sentry_sdk.flush(10)
raise RuntimeError(f"at the end: {everything}")
"""


def events_of(server: ScriptedServer) -> tuple[str, list[dict[str, Any]]]:
    """All that was sent, as text with its letters as they are, and the events of it."""
    text, events = "", []
    for request in server.requests:
        body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
        items = [json.loads(line) for line in body.decode().splitlines() if line.strip()]
        text += body.decode() + json.dumps(items, ensure_ascii=False) + json.dumps(request.headers)
        events += [item for item in items if "event_id" in item and "level" in item]
    return text, events


def test_events_say_where_it_broke_and_nothing_of_what_it_broke_over(sandbox: SandboxControl, settings: Any) -> None:
    data = init_data(token=TOKEN, first_name=PERSONAL["NAME"], last_name=PERSONAL["CYRILLIC"])
    planted = {
        **SECRETS,
        **PERSONAL,
        "INIT_DATA": data,
        "LPA": f"LPA:1$rsp.example.com${PERSONAL['MATCHING_ID']}",
    }
    with closing(ScriptedServer()) as server:
        server.script = [answer({})]
        address = server.url.removeprefix("http://")
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, f"--reason={PERSONAL['NAME']}"],
            cwd=shop_settings.BASE_DIR,
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                **SECRETS,
                "DJANGO_SETTINGS_MODULE": "esimshop.settings",
                "READ_DOT_ENV": "off",
                "DEBUG": "on",
                "ALLOWED_HOSTS": "testserver",
                "DATABASE_URL": database_url(),
                "TELEGRAM_API_BASE_URL": sandbox.bot_api_base_url,
                "ESIMGO_BASE_URL": sandbox.esimgo_base_url,
                "SENTRY_DSN": f"http://0123456789abcdef@{address}/1",
                "PLANTED": json.dumps(planted),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "RuntimeError" in done.stderr, done.stderr[-2000:]
        text, events = events_of(server)

    told = {event.get("message") or event["exception"]["values"][-1]["type"] for event in events}
    assert {"ArithmeticError", "row_refused", "line_of_ours", "call_failed", "RuntimeError"} <= told, told
    assert any("KeyError" in json.dumps(event) for event in events), "a task's error"
    assert any((event.get("message") or "").startswith("Look at order 17: [redacted]") for event in events)
    # And helps: the view, the function, the line, and what our log said before.
    [of_the_view] = [event for event in events if "ArithmeticError" in json.dumps(event.get("exception"))]
    assert of_the_view["transaction"] == "/api/telegram/stars/webhook"
    assert of_the_view["request"] == {"method": "POST"}
    assert of_the_view["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"] == "break_in_a_view"
    assert [crumb["message"] for crumb in of_the_view["breadcrumbs"]["values"]].count("crumb_of_ours") == 1
    assert "request_id" in of_the_view["tags"]

    hidden = {**planted, "hash": data.rpartition("hash=")[2], "first name": "Zebulon", "surname": "Quixote"}
    assert {name for name, value in hidden.items() if value in text} == set()
