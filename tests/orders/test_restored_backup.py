"""A database restored to before some purchases: they are found at eSIM Go, and nothing is bought or refunded again."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import transaction
from django.utils import timezone

from catalog.models import Plan
from esimshop.models import Alert
from orders.models import Delivery, Esim, Order, Orphan, ProvisioningAttempt
from orders.services.fulfilment import provision_order
from orders.services.orphans import OrphanRefused, adopt_orphan
from orders.services.reconciliation import OrdersReport, reconcile_orders
from tests.factories import OrderFactory, PaymentFactory
from tests.orders.conftest import paid_order
from tests.outside import ANNA, BEN, SandboxControl, run_tasks

pytestmark = pytest.mark.django_db


def buy(order: Order) -> None:
    provision_order(str(order.pk))
    run_tasks()


def pay(order: Order, *, status: str = Order.Status.PAID) -> None:
    now = timezone.now()
    Order.objects.filter(pk=order.pk).update(status=status, paid_at=now, promise_at=now + timedelta(minutes=15))
    PaymentFactory(order=order)


def reconcile_later() -> OrdersReport:
    with time_machine.travel(timezone.now() + timedelta(minutes=30)):
        return reconcile_orders()


def test_each_purchase_the_backup_does_not_know_is_listed_once_and_nothing_is_bought_or_refunded(
    sandbox: SandboxControl, plan: Plan
) -> None:
    buy(paid_order(sandbox, plan=plan))
    unpaid = OrderFactory(plan=plan)
    known = sandbox.orders()

    backup = transaction.savepoint()
    pay(unpaid)
    buy(unpaid)
    for user_id in (ANNA, BEN):
        buy(paid_order(sandbox, plan=plan, user_id=user_id))
    transaction.savepoint_rollback(backup)
    forgotten = {order["orderReference"] for order in sandbox.orders()} - {order["orderReference"] for order in known}
    before = list(Order.objects.order_by("pk").values())

    reports = [reconcile_later() for _ in range(3)]
    run_tasks()

    assert len(forgotten) == 3
    for report in reports:
        assert sorted(row.reference or "" for row in report.unlinked_there) == sorted(forgotten)
        assert report.needs_person
        assert (report.unlinked_here, report.repaired, report.revoked) == ([], [], [])
    assert [report.new_orphans for report in reports] == [3, 0, 0]
    assert {orphan.reference for orphan in Orphan.objects.all()} == forgotten
    assert Alert.objects.count() == 3
    # eSIM Go has our order ids on the eSIMs: it names the order that the backup still knows.
    assert [orphan.order for orphan in Orphan.objects.exclude(order=None)] == [unpaid]

    assert len(sandbox.orders()) == len(known) + 3
    assert sandbox.refunds() == []
    assert list(Order.objects.order_by("pk").values()) == before
    assert (ProvisioningAttempt.objects.count(), Esim.objects.count(), Delivery.objects.count()) == (1, 1, 1)
    assert {state["fields"]["bundleState"] for esim in sandbox.ledger()["esims"] for state in esim["assignments"]} == {
        "queued"
    }


def test_a_forgotten_purchase_is_adopted_only_once_its_order_is_known_to_be_paid(
    sandbox: SandboxControl, plan: Plan
) -> None:
    order = OrderFactory(plan=plan)
    backup = transaction.savepoint()
    pay(order)
    buy(order)
    transaction.savepoint_rollback(backup)
    reconcile_later()
    orphan = Orphan.objects.get()

    with pytest.raises(OrphanRefused, match="awaiting payment"):
        adopt_orphan(orphan, order=order, actor="admin:lead", reason="after the backup")

    pay(order, status=Order.Status.NEEDS_ATTENTION)
    adopt_orphan(orphan, order=order, actor="admin:lead", reason="after the backup")
    run_tasks()
    order.refresh_from_db()
    assert (order.status, order.esims.get().iccid) == ("completed", orphan.iccid)
    assert len(sandbox.orders()) == 1
    assert not reconcile_later().needs_person
