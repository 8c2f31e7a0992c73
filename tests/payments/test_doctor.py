"""`doctor`: a healthy shop is well, and each fault is found and comes with its cure."""

from __future__ import annotations

import io
import json
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from catalog.models import CatalogSync, Plan, SalesPause, WholesalerAccount
from catalog.services.pricing_policies import set_pricing_policy
from esimshop.clients.telegram import TelegramClient, telegram_client
from esimshop.models import Alert
from orders.models import Order, Orphan
from payments.models import Payment, Refund, StarsAccount, StarTransaction, TelegramUpdate
from payments.services.bot_set_up import webhook_url
from payments.services.diagnosis import Finding, diagnose
from tests.clients.scripted_server import ScriptedServer, answer
from tests.factories import OrderFactory, PaymentFactory, PlanFactory
from tests.outside import SandboxControl, message_update, wait_until
from tests.payments.test_health import let_worker_beat

# Each check looks in a thread, with a connection of its own.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(sandbox: SandboxControl, settings: Any) -> SandboxControl:
    """A shop that is well."""
    settings.DEBUG, settings.ALERT_CHAT_ID = True, "1002"
    now = timezone.now()
    telegram_client().set_webhook(url=webhook_url(), secret=settings.TELEGRAM_WEBHOOK_SECRET)
    PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    CatalogSync.objects.create(finished_at=now)
    WholesalerAccount.objects.update_or_create(pk=1, defaults={"balance_usd": Decimal(500), "read_at": now})
    StarsAccount.objects.update_or_create(pk=1, defaults={"balance_stars": 0, "read_at": now})
    let_worker_beat(seconds_ago=1)
    return sandbox


def ask(*arguments: str) -> tuple[int, str]:
    """The exit code and what was printed."""
    output = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=output)
    except CommandError as error:
        return error.returncode, output.getvalue()
    return 0, output.getvalue()


def found(name: str, **options: Any) -> list[Finding]:
    return [finding for finding in diagnose(**options) if finding.name == name]


def expect(name: str, state: str, *, text: str, cure: str) -> None:
    """One finding of this name has the state, the words and the cure; doctor ends accordingly."""
    findings = [finding for finding in found(name) if text in finding.text]
    assert findings, found(name)
    assert findings[0].state == state
    assert cure in findings[0].cure


def test_a_healthy_shop_is_well(shop: SandboxControl) -> None:
    code, output = ask("--json")
    findings = json.loads(output)
    assert [finding for finding in findings if finding["state"] != "ok"] == []
    assert code == 0
    assert {"bot", "webhook", "eSIM Go", "worker", "ledger", "orphans"} <= {finding["name"] for finding in findings}


def test_people_read_a_table_without_colours_in_a_pipe(shop: SandboxControl) -> None:
    telegram_client().delete_webhook()
    code, output = ask()
    assert code == 0
    assert "warning  webhook           No webhook is set: updates come only while run_polling runs." in output
    assert "→ manage.py set_webhook" in output
    assert "\x1b" not in output


def test_a_problem_ends_it_with_1(shop: SandboxControl) -> None:
    let_worker_beat(seconds_ago=60)
    assert ask()[0] == ask("--json")[0] == 1


# Telegram


def test_a_wrong_token(shop: SandboxControl, settings: Any) -> None:
    settings.TELEGRAM_BOT_TOKEN = "424242:another-token"
    expect("bot", "problem", text="refuses the token", cure="TELEGRAM_BOT_TOKEN")
    assert "another-token" not in ask()[1]


def test_telegram_away(shop: SandboxControl, settings: Any) -> None:
    settings.TELEGRAM_API_BASE_URL = "http://127.0.0.1:9/bot"
    for name in ("bot", "webhook", "Telegram's clock", "Stars"):
        expect(name, "problem", text="Telegram does not answer", cure="TELEGRAM_API_BASE_URL")
    assert "sandbox-token" not in ask()[1]


def test_a_webhook_elsewhere(shop: SandboxControl) -> None:
    telegram_client().set_webhook(url="http://127.0.0.1:9/elsewhere", secret="secret")
    expect("webhook", "problem", text="/elsewhere, not to", cure="set_webhook")


def test_a_webhook_without_pre_checkouts(shop: SandboxControl, monkeypatch: Any) -> None:
    monkeypatch.setattr("esimshop.clients.telegram.ALLOWED_UPDATES", ("message", "callback_query"))
    telegram_client().set_webhook(url=webhook_url(), secret="secret")
    expect("webhook", "problem", text="does not send pre_checkout_query", cure="set_webhook")


def test_a_webhook_without_pressed_buttons(shop: SandboxControl, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "esimshop.clients.telegram.ALLOWED_UPDATES", ("message", "pre_checkout_query", "my_chat_member")
    )
    telegram_client().set_webhook(url=webhook_url(), secret="secret")
    expect("webhook", "warning", text="does not send callback_query", cure="set_webhook")


def test_a_webhook_that_telegram_cannot_deliver_to(shop: SandboxControl, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    telegram_client().set_webhook(url=webhook_url(), secret="secret")
    shop.post("/sandbox/users/1002/messages", {"text": "/start"})
    wait_until(lambda: found("webhook")[0].state != "ok")
    expect("webhook", "problem", text="could not deliver", cure="proxy")


def test_updates_that_nobody_fetches(shop: SandboxControl) -> None:
    telegram_client().delete_webhook()
    shop.post("/sandbox/users/1002/messages", {"text": "/start"})
    expect("webhook", "problem", text="nobody fetches them", cure="run_polling")


def test_a_clock_that_differs_from_telegrams(shop: SandboxControl) -> None:
    date = (timezone.now() - timedelta(seconds=20)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    shop.fail("telegram.getMe", "status", status=503, headers={"Date": date}, times=None)
    expect("Telegram's clock", "problem", text="s ahead of Telegram's", cure="NTP")


def test_a_clock_that_differs_from_the_databases(shop: SandboxControl, monkeypatch: Any) -> None:
    now = timezone.now
    monkeypatch.setattr("payments.services.diagnosis.timezone.now", lambda: now() - timedelta(seconds=9))
    expect("database's clock", "problem", text="9 s behind the database's", cure="NTP")


def test_fewer_stars_than_owed(shop: SandboxControl) -> None:
    payment = PaymentFactory(order__plan=Plan.objects.get(), status=Payment.Status.REFUNDING)
    Refund.objects.create(payment=payment, reason="test", requested_by="test")
    expect("Stars", "problem", text="0 Stars and owes 130", cure="Send Stars")


# eSIM Go


def test_a_wrong_key(shop: SandboxControl, settings: Any) -> None:
    settings.ESIMGO_API_KEY = "some-other-key-of-ours"
    expect("eSIM Go", "problem", text="refuses us", cure="ESIMGO_API_KEY")
    assert "some-other-key-of-ours" not in ask()[1]


def test_esimgo_away(shop: SandboxControl) -> None:
    shop.fail("esimgo.GET /organisation", "status", status=500, times=None)
    expect("eSIM Go", "problem", text="does not answer", cure="ESIMGO_BASE_URL")


def test_an_account_in_another_currency(shop: SandboxControl, settings: Any) -> None:
    with closing(ScriptedServer()) as server:
        server.script = [answer({"name": "Shop", "currency": "GBP", "balance": 100})]
        settings.ESIMGO_BASE_URL = server.url
        expect("eSIM Go", "problem", text="GBP", cure="USD")


@pytest.mark.parametrize(
    ("balance", "minutes", "state", "text"),
    [("1.00", 0, "problem", "Nothing is left"), ("15.00", 0, "warning", "Low"), ("500", 30, "warning", "Old")],
)
def test_a_balance_that_is_low_or_old(shop: SandboxControl, balance: str, minutes: int, state: str, text: str) -> None:
    OrderFactory(paid=True, plan=Plan.objects.get(), cost_usd=Decimal("1.30"))
    WholesalerAccount.objects.update(balance_usd=Decimal(balance), read_at=timezone.now() - timedelta(minutes=minutes))
    expect("balance", state, text=text, cure="portal" if minutes == 0 else "worker")


# The shop itself


def test_settings_that_production_needs(shop: SandboxControl, settings: Any) -> None:
    settings.DEBUG, settings.SECRET_KEY = False, "development-only"
    expect("settings", "problem", text="SECRET_KEY is not set", cure="long random text")


def test_debug_in_public(shop: SandboxControl, settings: Any) -> None:
    settings.DEBUG, settings.IS_LOOPBACK = True, False
    expect("settings", "problem", text="DEBUG is on", cure="DEBUG=off")


def test_a_broken_database_is_a_finding_and_the_rest_is_told(shop: SandboxControl, monkeypatch: Any) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise psycopg.OperationalError("connection to database.example, user shop, failed")

    monkeypatch.setattr(psycopg, "connect", refuse)
    monkeypatch.setattr(psycopg.Connection, "connect", refuse)
    code, output = ask("--json")
    findings = {finding["name"]: finding for finding in json.loads(output)}
    assert code == 1
    assert "DATABASE_URL" in findings["database"]["cure"]
    assert "example" not in output
    assert findings["bot"]["state"] == "ok"
    assert "orders" not in findings


def test_a_migration_that_was_not_applied(shop: SandboxControl) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions' RETURNING app, name, applied")
        row = cursor.fetchone()
        try:
            expect("migrations", "problem", text="sessions 0001_initial", cure="migrate")
        finally:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", row)


def test_no_worker(shop: SandboxControl) -> None:
    let_worker_beat(seconds_ago=31)
    expect("worker", "problem", text="sign of life for 3", cure="manage.py worker")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
    expect("worker", "problem", text="No worker runs", cure="manage.py worker")


def test_a_stalled_task_and_one_that_waits(shop: SandboxControl) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status)"
            " VALUES ('fulfilment', 'some.task', 'doing'), ('fulfilment', 'some.task', 'todo')"
        )
        cursor.execute("UPDATE procrastinate_events SET at = now() - interval '10 minutes'")
    expect("queue", "problem", text="1 tasks belong to workers that are gone", cure="worker")
    expect("queue", "problem", text="1 tasks wait, the oldest for 60", cure="worker")


def test_no_plan_on_sale(shop: SandboxControl) -> None:
    Plan.objects.update(is_on_sale=False)
    expect("catalogue", "problem", text="No plan is on sale", cure="sync_catalog")


@pytest.mark.parametrize(("hours", "state"), [(4, "warning"), (30, "problem")])
def test_an_old_catalogue(shop: SandboxControl, hours: int, state: str) -> None:
    CatalogSync.objects.update(finished_at=timezone.now() - timedelta(hours=hours))
    CatalogSync.objects.create(finished_at=timezone.now(), error="eSIM Go does not answer")
    expect("catalogue", state, text=f"{hours} h ago", cure="sync_catalog")


def test_an_order_past_its_promise(shop: SandboxControl) -> None:
    then = timezone.now() - timedelta(minutes=40)
    order = OrderFactory(paid=True, plan=Plan.objects.get(), paid_at=then, promise_at=then + timedelta(minutes=15))
    expect("orders", "problem", text="paid 40 min ago", cure=str(order.pk))


def test_an_order_that_needs_a_person(shop: SandboxControl) -> None:
    OrderFactory(paid=True, plan=Plan.objects.get(), status=Order.Status.NEEDS_ATTENTION)
    expect("needs attention", "problem", text="1 orders", cure="reprovision_order")


def test_refunds_that_are_stuck_or_refused(shop: SandboxControl) -> None:
    plan = Plan.objects.get()
    stuck = PaymentFactory(order__plan=plan, status=Payment.Status.REFUNDING)
    PaymentFactory(order__plan=plan, status=Payment.Status.REFUND_FAILED)
    Refund.objects.create(
        payment=stuck, reason="test", requested_by="test", requested_at=timezone.now() - timedelta(minutes=20)
    )
    expect("refunds", "problem", text="refused to refund 1", cure="refund_payment")
    expect("refunds", "problem", text="asked for 20 min ago", cure="refund/?status__exact=pending")


def test_updates_that_failed_or_wait(shop: SandboxControl) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    for number, status in enumerate(("failed", "received")):
        TelegramUpdate.objects.create(
            update_id=number, kind="message", body=message_update("hello"), status=status, received_at=long_ago
        )
    expect("updates", "problem", text="1 updates could not", cure="replay_updates --failed")
    expect("updates", "warning", text="1 messages", cure="worker")


def test_alerts_that_are_open_or_reach_nobody(shop: SandboxControl, settings: Any) -> None:
    Alert.objects.create(cause="test", text="test", raised_at=timezone.now() - timedelta(minutes=5))
    expect("alerts", "warning", text="1 alerts are open", cure="/admin/esimshop/alert/")
    expect("alerts", "problem", text="1 alerts could not be sent", cure="started the bot")
    settings.ALERT_CHAT_ID = "the operators"
    expect("alerts", "problem", text="no number", cure="ALERT_CHAT_ID")
    settings.ALERT_CHAT_ID = ""
    expect("alerts", "warning", text="Nobody is told", cure="SENTRY_DSN")


def test_stars_that_nobody_can_explain(shop: SandboxControl) -> None:
    StarTransaction.objects.create(
        transaction_id="1", direction="in", amount_stars=130, date=timezone.now(), partner_type="user",
        state=StarTransaction.State.UNEXPLAINED,
    )  # fmt: skip
    expect("ledger", "problem", text="1 rows of Telegram's ledger, 130 Stars", cure="reconcile_stars")


@pytest.mark.parametrize(("minutes", "state"), [(None, "warning"), (30, "problem")])
def test_a_ledger_that_is_not_read(shop: SandboxControl, minutes: int | None, state: str) -> None:
    StarsAccount.objects.update(read_at=timezone.now() - timedelta(minutes=minutes) if minutes else None)
    expect("ledger", state, text="was last read", cure="reconcile_stars")


def test_a_purchase_without_an_order(shop: SandboxControl) -> None:
    Orphan.objects.create(reference="one")
    expect("orphans", "problem", text="1 purchases", cure="reconcile_orders")


def test_paused_sales(shop: SandboxControl) -> None:
    SalesPause.objects.create(cause="balance", min_cost_usd=Decimal(3), reason="Only 3 USD are left.")
    expect("sales", "warning", text="plans from 3.00 USD: Only 3 USD are left.", cure="salespause")
    set_pricing_policy(by=None, reason="test", is_selling=False)
    expect("sales", "warning", text="switched off", cure="pricingpolicy")


# No check holds up, or breaks, the others


def test_a_check_that_hangs_or_breaks_is_a_finding(shop: SandboxControl, monkeypatch: Any) -> None:
    monkeypatch.setattr(TelegramClient, "get_me", lambda self: 1 / 0)
    shop.fail("telegram.getWebhookInfo", "delay", seconds=3)
    findings = {finding.name: finding for finding in diagnose(check_seconds=1)}
    assert findings["bot"].state == findings["webhook"].state == "problem"
    assert "ZeroDivisionError" in findings["bot"].text
    assert "No answer within 1 s" in findings["webhook"].text
    assert findings["orders"].state == "ok"
