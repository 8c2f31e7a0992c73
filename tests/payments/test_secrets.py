"""Nothing secret in logs, errors and timelines, whatever goes wrong in whichever outside call."""

from __future__ import annotations

import io
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from catalog.models import Plan, Rehearsal, SalesPause
from esimshop.clients.calls import OutsideCallError
from esimshop.logs import RedactingFormatter, logging_config
from esimshop.models import Alert
from orders.models import Delivery, Esim, Order, OrderEvent, Orphan, ProvisioningAttempt, WholesalerCall
from orders.tasks import reconcile_orders_task
from payments.models import Payment, PaymentEvent, Refund, StarTransaction, TelegramUpdate
from payments.tasks import reconcile_stars_task, watch_sales_task
from tests.outside import (
    BEN,
    SandboxControl,
    broken_table,
    init_data,
    message_update,
    payment_update,
    pre_checkout_update,
    run_tasks,
    send_update,
    sweep,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

CALLS = [
    "telegram.createInvoiceLink",
    "telegram.sendMessage",
    "telegram.sendPhoto",
    "telegram.refundStarPayment",
    "telegram.getUpdates",
    "telegram.setWebhook",
    "telegram.answerPreCheckoutQuery",
    "telegram.getStarTransactions",
    "telegram.getMyStarBalance",
    "esimgo.POST /orders",
    "esimgo.GET /esims/assignments",
    "esimgo.PUT /esims",
    "esimgo.GET /esims",
    "esimgo.GET /orders",
    "esimgo.GET /organisation",
]
ECHO = "bot{token} key={key} secret={webhook_secret} X-API-Key: {key} LPA:1$rsp.sandbox.example$SBX-1 tma {init_data}"
FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 400, "message": ECHO},
    {"kind": "status", "status": 403, "message": ECHO},
    {"kind": "status", "status": 500, "message": ECHO},
    {"kind": "html"},
    {"kind": "half_json"},
    {"kind": "drop"},
]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that the logs would hold: every handler of the settings, and the one of production beside it."""
    output = io.StringIO()
    ours = [handler for handler in logging.getLogger().handlers if isinstance(handler.formatter, RedactingFormatter)]
    assert ours
    form = logging_config(debug=False)["formatters"]["redacting"]
    in_production = logging.StreamHandler(output)
    in_production.setFormatter(
        RedactingFormatter(processors=form["processors"], foreign_pre_chain=form["foreign_pre_chain"])
    )
    streams = [handler.setStream(output) for handler in ours]
    logging.getLogger().addHandler(in_production)
    yield output
    logging.getLogger().removeHandler(in_production)
    for handler, stream in zip(ours, streams, strict=True):
        handler.setStream(stream)


def everything_written() -> str:
    """All texts that staff, logs of the database or reports could show, and all that is queued."""
    texts: list[Any] = [
        *Alert.objects.values_list("text", "cause"),
        *OrderEvent.objects.values_list("reason", "actor"),
        *PaymentEvent.objects.values_list("reason", "actor"),
        *ProvisioningAttempt.objects.values_list("error"),
        *Delivery.objects.values_list("error"),
        *Refund.objects.values_list("error", "reason"),
        *TelegramUpdate.objects.values_list("error", "body"),
        *SalesPause.objects.values_list("reason"),
        *Rehearsal.objects.values_list("message"),
        *Orphan.objects.values_list("note"),
        *StarTransaction.objects.values_list("note"),
        *WholesalerCall.objects.values_list("request", "response"),
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT args FROM procrastinate_jobs")
        texts += cursor.fetchall()
    return json.dumps(texts, default=str, ensure_ascii=False)


def assert_silent_about(secrets: dict[str, str], text: str) -> None:
    leaked = [name for name, secret in secrets.items() if secret and secret in text]
    assert not leaked, f"{leaked} in: {text[max(0, text.find(secrets[leaked[0]]) - 300) :][:600]}"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: " ".join(str(value) for value in fault.values())[:22])
@pytest.mark.parametrize("call", CALLS)
def test_a_purchase_that_goes_wrong_tells_no_secret(
    sandbox: SandboxControl, plan: Plan, call: str, fault: dict[str, Any], log: io.StringIO, settings: Any
) -> None:
    settings.ALERT_CHAT_ID = "777"
    raw = init_data(BEN)
    hidden = {
        "token": settings.TELEGRAM_BOT_TOKEN,
        "key": settings.ESIMGO_API_KEY,
        "webhook_secret": settings.TELEGRAM_WEBHOOK_SECRET,
        "init_data": raw,
    }
    if "message" in fault:
        fault = {**fault, "message": ECHO.format(**hidden)}
    if call == "esimgo.GET /esims/assignments":
        sandbox.post("/sandbox/settings", {"esims_in_order": False})
    if call == "telegram.refundStarPayment":
        sandbox.fail("esimgo.POST /orders validate", "drop")  # so that there is something to pay for
    if call == "telegram.refundStarPayment":
        sandbox.post(f"/sandbox/catalogue/{plan.bundle_name}", {"withdrawn": True})
    sandbox.fail(call, times=2, **fault)

    _buy(sandbox, plan, raw)

    assert '"event": "outside_call"' in log.getvalue()
    (esim,) = sandbox.ledger()["esims"] or [{"matchingId": "", "smdpAddress": ""}]
    secrets = {
        **hidden,
        "the token's secret half": settings.TELEGRAM_BOT_TOKEN.partition(":")[2],
        "hash of initData": raw.rpartition("hash=")[2],
        "matching id": esim["matchingId"],
        "activation code": "LPA:1$",
    }
    assert_silent_about(secrets, log.getvalue())
    assert_silent_about(secrets, everything_written())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: " ".join(str(value) for value in fault.values())[:22])
def test_a_rehearsal_that_goes_wrong_tells_no_secret(
    sandbox: SandboxControl, plan: Plan, fault: dict[str, Any], log: io.StringIO, settings: Any
) -> None:
    raw = init_data(BEN)
    hidden = {
        "token": settings.TELEGRAM_BOT_TOKEN,
        "key": settings.ESIMGO_API_KEY,
        "webhook_secret": settings.TELEGRAM_WEBHOOK_SECRET,
        "init_data": raw,
    }
    if "message" in fault:
        fault = {**fault, "message": ECHO.format(**hidden)}
    sandbox.fail("esimgo.POST /orders validate", **fault)

    answer = Client().post(
        "/api/telegram/stars/create-invoice",
        {"plan": plan.bundle_name},
        content_type="application/json",
        headers={"Authorization": f"tma {raw}"},
    )

    assert "validate_order" in log.getvalue()
    for text in (log.getvalue(), everything_written(), answer.content.decode()):
        assert_silent_about({**hidden, "activation code": "LPA:1$"}, text)


def _buy(sandbox: SandboxControl, plan: Plan, raw: str) -> None:
    """A purchase and some talk, on through failures, with as much patience as a customer has."""
    for _ in range(3):
        Client(raise_request_exception=False).post(
            "/api/telegram/stars/create-invoice",
            {"plan": plan.bundle_name},
            content_type="application/json",
            headers={"Authorization": f"tma {raw}"},
        )
    order = Order.objects.get()
    query = pre_checkout_update(order)
    sandbox.post("/sandbox/updates", {"pre_checkout_query": query["pre_checkout_query"]})
    for command in (["run_polling", "--once"], ["run_polling", "--once"], ["set_webhook"], ["set_webhook"]):
        try:
            call_command(*command)
        except CommandError as error:
            Alert.objects.create(cause=f"shown by {command} {Alert.objects.count()}", text=str(error))
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    send_update(message_update("/esims"))
    run_tasks_through_failures()
    now = timezone.now()
    for minutes in (1, 3, 20):
        with time_machine.travel(now + timedelta(minutes=minutes)):
            run_tasks_through_failures(swept=True)
            for task in (reconcile_stars_task, reconcile_orders_task, watch_sales_task):
                task(timestamp=0)
    assert Payment.objects.exists()


def run_tasks_through_failures(*, swept: bool = False) -> None:
    """A task that raises is the queue's matter, which logs it and tries again."""
    for _ in range(6):
        try:
            if swept:
                sweep()
            run_tasks()
        except OutsideCallError as error:
            Alert.objects.create(cause=f"raised by a task {Alert.objects.count()}", text=str(error))
        else:
            return


def test_an_error_of_our_own_tells_no_secret(sandbox: SandboxControl, plan: Plan, log: io.StringIO) -> None:
    raw = init_data(BEN)
    with broken_table("orders_order"):
        answer = Client(raise_request_exception=False).post(
            "/api/telegram/stars/create-invoice",
            {"plan": plan.bundle_name},
            content_type="application/json",
            headers={"Authorization": f"tma {raw}"},
        )
    assert answer.status_code == 500
    with broken_table("payments_telegramupdate"):
        assert send_update(message_update("/start")).status_code == 500
    assert "the disk is full" in log.getvalue()
    assert_silent_about(
        {
            "init_data": raw,
            "hash": raw.rpartition("hash=")[2],
            "webhook secret": settings.TELEGRAM_WEBHOOK_SECRET,
            "token": settings.TELEGRAM_BOT_TOKEN,
        },
        log.getvalue() + answer.content.decode(),
    )
    assert not Esim.objects.exists()
