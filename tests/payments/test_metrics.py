"""`/metrics`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django import app
from prometheus_client.parser import text_string_to_metric_families

from catalog.models import CatalogSync, SalesPause, WholesalerAccount
from catalog.services.pricing_policies import set_pricing_policy
from esimshop.clients.calls import recorded_call
from esimshop.models import Alert
from orders.models import Delivery, Order, RefusedCallback
from payments.models import Payment, Refund, StarsAccount, StarTransaction, TelegramUpdate, WebhookState
from payments.services.bot_set_up import webhook_url
from tests.factories import CustomerFactory, OrderFactory, PaymentFactory, PlanFactory

if TYPE_CHECKING:
    from pathlib import Path

    from django.test import Client

pytestmark = pytest.mark.django_db


def scrape(client: Client, **labels: str) -> dict[str, float]:
    """The shop's samples by name; of those with labels, the one that has them."""
    text = client.get("/metrics").content.decode()
    return {
        sample.name.removeprefix("esimshop_"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("esimshop_") and labels.items() >= sample.labels.items()
    }


def make_orders(count: int) -> None:
    for number in range(count):
        customer = CustomerFactory(telegram_user_id=7000 + Order.objects.count())
        order = OrderFactory(paid=True, customer=customer, plan=PlanFactory())
        payment = PaymentFactory(order=order, status=Payment.Status.REFUNDING)
        Refund.objects.create(payment=payment, reason="test", requested_by="test")
        Delivery.objects.create(customer=customer, order=order, kind=Delivery.Kind.ESIM)
        Alert.objects.create(cause=f"order:{order.pk}", text="test")
        TelegramUpdate.objects.create(
            update_id=Order.objects.count(), kind="message", body={}, status=TelegramUpdate.Status.FAILED
        )
        app.tasks["orders.tasks.provision_order_task"].defer(order_id=f"{number}")


def test_it_tells_the_state_of_the_shop(client: Client) -> None:
    make_orders(2)
    Order.objects.update(paid_at=timezone.now() - timedelta(minutes=4))
    WholesalerAccount.objects.create(balance_usd=Decimal("12.5"), read_at=timezone.now())
    CatalogSync.objects.create(finished_at=timezone.now() - timedelta(hours=2))

    samples = scrape(client, status="paid")
    assert samples["orders"] == 2
    assert samples["oldest_unfinished_order_age_seconds"] in range(239, 260)
    assert samples["deliveries_pending"] == samples["refunds_pending"] == samples["updates_failed"] == 2
    assert samples["alerts_open"] == 2
    assert samples["wholesaler_balance_usd"] == 12.5
    assert samples["catalogue_age_seconds"] in range(7199, 7220)
    assert samples["database_up"] == 1
    assert scrape(client, status="refunding", kind="order")["payments"] == 2
    assert scrape(client, queue="provisioning", status="todo")["jobs"] == 2


def test_it_tells_what_was_sold_and_returned(client: Client) -> None:
    now = timezone.now()
    for minutes, status in ((5, "completed"), (30 * 60, "completed"), (120, "refunded")):
        then = now - timedelta(minutes=minutes)
        customer = CustomerFactory(telegram_user_id=7000 + minutes)
        order = OrderFactory(paid=True, status=status, paid_at=then, customer=customer, plan=PlanFactory())
        payment = PaymentFactory(order=order, created_at=then)
        if status == "refunded":
            Refund.objects.create(payment=payment, reason="test", requested_by="test", status="done", refunded_at=now)
    PaymentFactory(order=order, kind=Payment.Kind.EXTRA)

    hour, day = scrape(client, window="1h"), scrape(client, window="24h")
    assert (hour["sold_orders"], hour["sold_stars"], hour["refunded_stars"]) == (1, 130, 130)
    assert (day["sold_orders"], day["sold_stars"], day["refunded_stars"]) == (2, 260, 130)
    assert scrape(client, status="completed")["recent_orders"] == 1
    assert scrape(client, status="refunded")["recent_orders"] == 1
    assert "orders" not in scrape(client, status="completed"), "their number only grows"


def test_it_tells_what_is_late_and_what_is_owed(client: Client) -> None:
    make_orders(1)
    assert scrape(client)["oldest_unfinished_order_overdue_seconds"] == 0
    then = timezone.now() - timedelta(minutes=7)
    Order.objects.update(promise_at=then)
    Refund.objects.update(requested_at=then)
    StarsAccount.objects.create(balance_stars=90, read_at=then)
    StarTransaction.objects.create(
        transaction_id="1", direction="in", amount_stars=130, date=then, partner_type="user", state="unexplained"
    )

    samples = scrape(client)
    assert samples["oldest_unfinished_order_overdue_seconds"] in range(420, 440)
    assert samples["oldest_pending_refund_age_seconds"] in range(420, 440)
    assert samples["stars_ledger_age_seconds"] in range(420, 440)
    assert (samples["stars_owed"], samples["stars_balance"], samples["stars_unexplained_rows"]) == (130, 90, 1)
    assert samples["wholesaler_promised_usd"] == 1.3
    assert samples["wholesaler_low_balance_usd"] == 20


def test_it_tells_whether_we_sell(client: Client) -> None:
    PlanFactory()
    assert (scrape(client)["sales_on"], scrape(client, cause="balance")["sales_pauses"]) == (1, 0)
    SalesPause.objects.create(cause="balance", reason="test")
    set_pricing_policy(by=None, reason="test", is_selling=False)
    assert (scrape(client)["sales_on"], scrape(client, cause="balance")["sales_pauses"]) == (0, 1)
    assert scrape(client)["plans_on_sale"] == 1


def test_it_tells_how_the_queue_fares(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status)"
            " VALUES ('fulfilment', 'some.task', 'doing'), ('fulfilment', 'some.task', 'todo')"
        )
        cursor.execute("UPDATE procrastinate_events SET at = now() - interval '10 minutes'")
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now()), (now()), (now() - interval '1 minute')"
        )
    samples = scrape(client, queue="fulfilment")
    assert 600 <= samples["job_wait_seconds"] < 620
    assert scrape(client, queue="provisioning")["job_wait_seconds"] == 0
    assert (scrape(client)["jobs_stalled"], scrape(client)["workers"]) == (1, 2)


def test_it_tells_how_telegram_reaches_us_as_it_was_last_read(client: Client, settings: Any) -> None:
    assert "webhook_pending_updates" not in scrape(client), "not read is not zero"
    assert scrape(client, place="ours")["webhook"] == 0
    then = timezone.now() - timedelta(seconds=90)
    state = WebhookState.objects.create(url=webhook_url(), pending_updates=7, read_at=then)
    assert scrape(client, place="ours")["webhook"] == 1
    assert scrape(client)["webhook_missing_updates"] == 0
    assert "webhook_last_error_age_seconds" not in scrape(client)

    state.allowed_updates, state.last_error_at = ["message", "callback_query"], then
    state.certificate_ends_at, state.certificate_read_at = timezone.now() + timedelta(days=3), then
    state.save()
    samples = scrape(client)
    assert (samples["webhook_pending_updates"], samples["webhook_missing_updates"]) == (7, 2)
    assert samples["webhook_state_age_seconds"] in range(90, 110)
    assert samples["webhook_last_error_age_seconds"] in range(90, 110)
    assert "certificate_left_seconds" not in samples, "none is needed on this machine"

    settings.PUBLIC_URL = "https://shop.example"
    samples = scrape(client)
    assert scrape(client, place="elsewhere")["webhook"] == 1
    assert 3 * 86400 - 20 < samples["certificate_left_seconds"] <= 3 * 86400
    assert (samples["certificate_refused"], samples["certificate_state_age_seconds"]) == (0, pytest.approx(90, abs=20))
    WebhookState.objects.update(certificate_error="expired")
    assert scrape(client)["certificate_refused"] == 1


def test_it_counts_refused_callbacks(client: Client) -> None:
    RefusedCallback.objects.create(reason="unsigned", count=3)
    assert scrape(client, reason="unsigned")["callbacks_refused_total"] == 3
    assert scrape(client, reason="wrong_signature")["callbacks_refused_total"] == 0


def test_states_without_rows_are_there_as_zero(client: Client) -> None:
    assert scrape(client, status="needs_attention")["orders"] == 0
    assert scrape(client, status="refund_failed", kind="extra")["payments"] == 0
    assert scrape(client, queue="provisioning", status="failed")["jobs"] == 0
    assert "wholesaler_balance_usd" not in scrape(client), "not known is not zero"


def test_a_scrape_costs_the_same_number_of_queries_however_much_there_is(client: Client) -> None:
    counts = []
    for more in (1, 9):
        make_orders(more)
        with CaptureQueriesContext(connection) as queries:
            scrape(client)
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 30


def test_without_a_database_the_processes_still_tell_what_they_counted(client: Client) -> None:
    def refuse(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        raise OperationalError("gone")

    with connection.execute_wrapper(refuse):
        samples = scrape(client)

    assert samples["database_up"] == 0
    assert "orders" not in samples


def test_outside_calls_are_counted_by_outcome(client: Client) -> None:
    def count() -> float:
        labels = {"service": "esimgo", "call": "test_metrics", "outcome": "ok"}
        return scrape(client, **labels).get("outside_call_seconds_count", 0)

    before = count()
    with recorded_call("esimgo", "test_metrics"):
        pass

    assert count() == before + 1


# Who may read


@pytest.mark.parametrize(
    ("remote", "headers", "code"),
    [
        ("127.0.0.1", {}, 200),
        ("127.8.8.8", {}, 200),
        ("::1", {}, 200),
        ("192.0.2.7", {}, 403),
        ("", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"X-Real-IP": "192.0.2.7"}, 403),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}, 403),
    ],
)
def test_without_a_token_only_this_machine_may_read(
    client: Client, settings: Any, remote: str, headers: dict[str, str], code: int
) -> None:
    settings.METRICS_TOKEN = ""

    answer = client.get("/metrics", headers=headers, REMOTE_ADDR=remote)

    assert answer.status_code == code
    assert (b"esimshop_" in answer.content) == (code == 200)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("Bearer metrics-token", 200),
        ("bearer metrics-token", 200),
        ("Bearer metrics-toke", 403),
        ("Bearer ключ", 403),
        ("Basic metrics-token", 403),
        ("metrics-token", 403),
        ("", 403),
    ],
)
def test_with_a_token_it_is_needed_from_everywhere(client: Client, settings: Any, given: str, code: int) -> None:
    settings.METRICS_TOKEN = "metrics-token"

    assert client.get("/metrics", headers={"Authorization": given}).status_code == code
    far = client.get("/metrics", headers={"Authorization": given}, REMOTE_ADDR="192.0.2.7")
    assert far.status_code == code


# Several processes

COUNT = """
import django; django.setup()
from esimshop.clients.calls import recorded_call
with recorded_call("telegram", "several_processes"): pass
"""
SCRAPE = """
import django; django.setup()
from prometheus_client import generate_latest
from esimshop.counted import counted_here
print(generate_latest(counted_here()).decode())
"""


def test_what_several_processes_counted_is_added_up(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "tests.settings"}

    def run(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=settings.BASE_DIR,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    run(COUNT)
    run(COUNT)

    counted = [line for line in run(SCRAPE).splitlines() if "seconds_count" in line and "several_processes" in line]
    assert [line.rpartition(" ")[2] for line in counted] == ["2.0"]


def test_a_worker_serves_its_own_counts_where_it_is_told_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(CommandError, match=f"Metrics cannot be served on 127.0.0.1:{port}"):
            call_command("worker", "--once", "--metrics-port", port)
    serve = f"""
import urllib.request
import django; django.setup()
from esimshop.clients.calls import recorded_call
from esimshop.management.commands.worker import _serve_metrics
with recorded_call("telegram", "of_a_worker"): pass
_serve_metrics({port}, "127.0.0.1")
print(urllib.request.urlopen("http://127.0.0.1:{port}/metrics").read().decode())
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    served = subprocess.run(
        [sys.executable, "-c", serve],
        env=environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 'call="of_a_worker"' in served.stdout, served.stderr
