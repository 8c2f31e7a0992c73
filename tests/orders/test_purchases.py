"""When nothing is bought: pauses that eSIM Go asks for, its account, our own limit, and Stars that are gone."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from catalog.models import Plan, SalesPause, WholesalerAccount
from esimshop.models import Alert
from orders.models import Delivery, Order, ProvisioningAttempt
from orders.services.fulfilment import provision_order, sweep_orders
from payments.models import Payment
from payments.services.policies import set_service_policy
from payments.services.sales_watch import watch_sales
from tests.factories import OrderFactory
from tests.orders.conftest import paid_order
from tests.outside import ANNA, BEN, SandboxControl, run_tasks, sweep

pytestmark = pytest.mark.django_db
Attempt = ProvisioningAttempt.Status


def later(**delta: float) -> Any:
    return time_machine.travel(timezone.now() + timedelta(**delta))


def open_pauses() -> list[str]:
    return list(SalesPause.objects.filter(ended_at=None).values_list("cause", flat=True))


# eSIM Go asks for patience


def test_a_short_pause_is_sat_out_and_the_order_bought_in_one_go(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("esimgo.POST /orders", "status", status=429, headers={"Retry-After": "1"})
    began = timezone.now()
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == "completed"
    assert timezone.now() - began >= timedelta(seconds=0.9)
    assert [attempt.status for attempt in order.attempts.all()] == [Attempt.REJECTED, Attempt.PLACED]


def test_who_is_told_to_be_patient_again_and_again_waits_outside_the_lock(
    sandbox: SandboxControl, order: Order
) -> None:
    sandbox.fail("esimgo.POST /orders", "status", status=429, headers={"Retry-After": "0.1"}, times=None)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert (order.status, order.cause) == ("paid", "unreachable")
    assert {attempt.status for attempt in order.attempts.all()} == {Attempt.REJECTED}
    assert sandbox.orders() == []


def test_a_long_pause_holds_up_every_order_until_it_is_over(sandbox: SandboxControl, plan: Plan) -> None:
    first, second = (paid_order(sandbox, plan=plan, user_id=user_id) for user_id in (BEN, ANNA))
    sandbox.fail("esimgo.POST /orders", "status", status=429, headers={"Retry-After": "60"})
    provision_order(str(first.pk))
    provision_order(str(second.pk))
    second.refresh_from_db()
    assert (second.status, second.cause) == ("paid", "unreachable")
    assert not second.attempts.exists()
    assert second.next_try_at == WholesalerAccount.objects.get().wait_until
    with later(seconds=50):
        sweep()
    assert sandbox.calls("esimgo.POST /orders") == 1
    with later(seconds=62):
        sweep()
    assert set(Order.objects.values_list("status", flat=True)) == {"completed"}


def test_a_pause_that_comes_with_a_success_is_kept(sandbox: SandboxControl, order: Order) -> None:
    sandbox.post("/sandbox/settings", {"rate_limit": True})
    time.sleep(1 - time.time() % 1)  # eSIM Go counts by the second: this one is all ours
    for _ in range(9):
        sandbox_answer(sandbox)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == "completed"
    assert WholesalerAccount.objects.get().wait_until is not None


def sandbox_answer(sandbox: SandboxControl) -> None:
    """Use up one token of eSIM Go's rate limit."""
    from esimshop.clients.esimgo import esimgo_client

    esimgo_client().get_organisation()


# The account


def test_an_account_that_is_refused_pauses_sales_until_a_purchase_succeeds(
    sandbox: SandboxControl, order: Order
) -> None:
    sandbox.fail("esimgo.POST /orders", "status", status=403)
    provision_order(str(order.pk))
    assert open_pauses() == ["account"]
    with later(seconds=30):
        sweep()
    order.refresh_from_db()
    assert order.status == "completed"
    assert open_pauses() == []
    assert not Alert.objects.filter(cleared_at=None).exists()


# Our own limit


def test_more_purchases_than_the_policy_allows_wait_with_one_alert_and_sales_paused(
    sandbox: SandboxControl, plan: Plan
) -> None:
    set_service_policy(by=None, reason="test", purchases_per_hour=2)
    orders = [paid_order(sandbox, plan=plan, user_id=user_id) for user_id in (BEN, ANNA, BEN, ANNA)]
    for order in orders:
        provision_order(str(order.pk))
    states = [Order.objects.get(pk=order.pk) for order in orders]
    assert [(order.status, order.cause) for order in states] == [
        ("completed", ""),
        ("completed", ""),
        ("paid", "purchase_limit"),
        ("paid", "purchase_limit"),
    ]
    assert open_pauses() == ["purchase_limit"]
    assert Alert.objects.filter(cause="sales_pause:purchase_limit", cleared_at=None).count() == 1
    with later(minutes=14):
        sweep()
    assert len(sandbox.orders()) == 2
    with later(minutes=16):
        sweep()
    assert [Order.objects.get(pk=order.pk).status for order in orders[2:]] == ["refunded", "refunded"]
    assert open_pauses() == ["purchase_limit"]
    with later(minutes=61):
        watch_sales()
    assert open_pauses() == []
    assert not Alert.objects.filter(cause="sales_pause:purchase_limit", cleared_at=None).exists()


def test_only_what_may_have_been_bought_counts_against_the_limit(sandbox: SandboxControl, plan: Plan) -> None:
    set_service_policy(by=None, reason="test", purchases_per_hour=1)
    for status in (Attempt.REJECTED, Attempt.ABSENT):
        OrderFactory(plan=plan, status="refunded").attempts.create(bundle_name="x", status=status)
    old = OrderFactory(plan=plan, status="completed").attempts
    old.create(bundle_name="x", status=Attempt.PLACED, reference="old", started_at=timezone.now() - timedelta(hours=2))
    order = paid_order(sandbox, plan=plan)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == "completed"


# Stars that are gone


def test_nothing_is_bought_for_stars_that_are_gone(sandbox: SandboxControl, order: Order) -> None:
    Payment.objects.update(status=Payment.Status.REFUNDED)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == "refunded"
    assert sandbox.orders() == []


# The sweep


def test_an_order_whose_task_is_queued_already_is_not_queued_again(sandbox: SandboxControl, order: Order) -> None:
    with later(seconds=11):
        assert sweep_orders() == 1
        assert sweep_orders() == 0
        run_tasks()
    order.refresh_from_db()
    assert order.status == "completed"


def test_only_who_waits_is_told_that_it_is_being_prepared_and_only_once(sandbox: SandboxControl, plan: Plan) -> None:
    quick, slow = (paid_order(sandbox, plan=plan, user_id=user_id) for user_id in (BEN, ANNA))
    provision_order(str(quick.pk))
    sandbox.fail("esimgo.POST /orders", "status", status=403, times=None)
    provision_order(str(slow.pk))
    sweep_orders()
    assert not Delivery.objects.filter(kind="preparing").exists()
    for seconds in (9, 12):
        with later(seconds=seconds):
            sweep_orders()
    assert [delivery.order for delivery in Delivery.objects.filter(kind="preparing")] == [slow]
