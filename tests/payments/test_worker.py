"""The real worker on the real queue: from a payment to the QR code, and what a rolled back payment leaves."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from procrastinate.contrib.django.models import ProcrastinateJob

from orders.models import Order
from payments.models import Payment
from tests.outside import ANNA, BEN, SandboxControl, at_once, broken_table, payment_update, send_update
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db(transaction=True)


def work(*, concurrency: int) -> None:
    """Run what is queued, in a thread: the main one may have a browser's event loop running in it."""
    at_once(lambda: call_command("worker", "--once", "--concurrency", str(concurrency)))


def test_a_payment_wakes_the_worker_who_buys_and_delivers(sandbox: SandboxControl, settings: Any) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    extra = payment_update(order, user_id=ANNA)
    sandbox.charge(extra)
    for update in (payment_update(order), extra):
        assert send_update(update).status_code == 200
    work(concurrency=3)
    order.refresh_from_db()
    assert (order.status, order.delivery_state) == ("completed", "sent")
    assert sorted(Payment.objects.values_list("kind", "status")) == [("extra", "refunded"), ("order", "paid")]
    assert len(sandbox.chat(BEN)) == len(sandbox.chat(ANNA)) == 1
    assert sandbox.ledger()["esims"][0]["customerRef"] == str(order.pk)
    assert not ProcrastinateJob.objects.filter(queue_name="fulfilment", status="failed").exists()


def test_once_waits_for_what_a_slow_purchase_queues(sandbox: SandboxControl) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    sandbox.fail("esimgo.POST /orders", "delay", seconds=1)
    send_update(payment_update(order))
    work(concurrency=3)
    order.refresh_from_db()
    assert (order.status, order.delivery_state) == ("completed", "sent")


def test_tasks_that_run_at_once_share_the_work(sandbox: SandboxControl) -> None:
    first = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    orders = [first, *(invoiced_order(user_id=7000 + number, plan=first.plan) for number in range(5))]
    for order in orders:
        sandbox.post("/sandbox/users", {"id": order.customer.telegram_user_id, "first_name": "Guest"})
        send_update(payment_update(order))
    work(concurrency=4)
    assert set(Order.objects.values_list("status", flat=True)) == {"completed"}
    assert len(sandbox.orders()) == 6


def test_a_payment_that_was_rolled_back_leaves_no_task() -> None:
    order = invoiced_order()
    with broken_table("orders_orderevent"):
        assert send_update(payment_update(order)).status_code == 200
    names = set(ProcrastinateJob.objects.values_list("task_name", flat=True))
    assert names == {"esimshop.tasks.send_alert_task"}
    assert not Payment.objects.exists()
