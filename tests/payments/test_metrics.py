"""`/metrics`."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django import app
from prometheus_client.parser import text_string_to_metric_families

from catalog.models import CatalogSync, WholesalerAccount
from esimshop.clients.calls import recorded_call
from esimshop.models import Alert
from orders.models import Delivery, Order
from payments.models import Payment, Refund, TelegramUpdate
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

    assert counts[0] == counts[1] <= 12


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
from payments import metrics
print(metrics._counted().decode())
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
