"""Before money moves: what could not be served is not sold, and sales pause and resume by themselves."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.db import connections
from django.utils import timezone

from catalog.models import Rehearsal, SalesPause, WholesalerAccount
from catalog.services.brake import find_pause, pause_sales, resume_sales
from esimshop.models import Alert
from orders.models import Delivery, Order, ProvisioningAttempt
from orders.services.deliveries import owe_delivery
from payments.services.policies import set_service_policy
from payments.services.sales_watch import watch_sales
from tests.factories import OrderFactory, PlanFactory
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    at_once,
    bearer,
    is_russian,
    pre_checkout_update,
    run_tasks,
    send_update,
)
from tests.payments.conftest import invoiced_order

if TYPE_CHECKING:
    from django.test import Client

    from catalog.models import Plan

pytestmark = pytest.mark.django_db
Cause = SalesPause.Cause
VALIDATE = "esimgo.POST /orders validate"
CREATE_INVOICE = "/api/telegram/stars/create-invoice"


def buy(client: Client, bundle_name: str = "esim_1GB_7D_FR_V2") -> Any:
    return client.post(CREATE_INVOICE, {"plan": bundle_name}, content_type="application/json", headers=bearer(BEN))


def open_pauses() -> set[str]:
    return set(SalesPause.objects.filter(ended_at=None).values_list("cause", flat=True))


def open_alerts() -> set[str]:
    return set(Alert.objects.filter(cleared_at=None).values_list("cause", flat=True))


def later(**delta: float) -> Any:
    return time_machine.travel(timezone.now() + timedelta(**delta))


# The brake itself


def test_a_pause_is_opened_once_told_once_and_ended(db: None) -> None:
    for reason in ("first", "second"):
        pause_sales(cause=Cause.ERRORS, reason=reason)
    assert SalesPause.objects.get().reason == "second"
    alert = Alert.objects.get()
    assert (alert.cause, alert.path) == ("sales_pause:errors", "/admin/catalog/salespause/")
    resume_sales(cause=Cause.ERRORS)
    resume_sales(cause=Cause.ERRORS)
    assert (open_pauses(), open_alerts()) == (set(), set())


@pytest.mark.django_db(transaction=True)
def test_two_at_once_pause_once() -> None:
    at_once(*[lambda: pause_sales(cause=Cause.ACCOUNT, reason="no balance")] * 4)
    assert SalesPause.objects.count() == Alert.objects.count() == 1
    connections.close_all()


def test_a_pause_beyond_a_price_leaves_cheaper_plans_on_sale(db: None) -> None:
    pause_sales(cause=Cause.BALANCE, reason="low", min_cost_usd=Decimal("5.0001"))
    assert find_pause(Decimal("5.0000")) is None
    assert find_pause(Decimal("5.0001")) is not None


def test_no_invoice_is_made_and_no_payment_approved_while_sales_are_paused(
    client: Client, sandbox: SandboxControl, plan: Plan
) -> None:
    order = invoiced_order(plan=plan)
    pause_sales(cause=Cause.QUEUE, reason="paid orders wait")
    answer = buy(client)
    assert (answer.status_code, answer.json()["code"]) == (409, "sales_paused")
    answer = send_update(pre_checkout_update(order)).json()
    assert "Sales are paused" in answer["error_message"]
    resume_sales(cause=Cause.QUEUE)
    assert buy(client).status_code == 200  # the order that was there
    assert send_update(pre_checkout_update(order)).json()["ok"]


def test_under_a_balance_pause_a_cheap_plan_is_still_sold(client: Client, sandbox: SandboxControl, plan: Plan) -> None:
    pause_sales(cause=Cause.BALANCE, reason="low", min_cost_usd=plan.wholesale_usd + Decimal("0.0001"))
    assert buy(client).status_code == 201
    assert send_update(pre_checkout_update(Order.objects.get())).json()["ok"]


# Watching


def test_a_low_balance_pauses_what_it_cannot_pay_for_and_resumes_after_a_top_up(
    sandbox: SandboxControl, plan: Plan
) -> None:
    dear = PlanFactory(bundle_name="esim_100GB_30D_FR_V2", wholesale_usd=Decimal(90), price_stars=9000)
    OrderFactory(plan=plan, paid=True)  # 1.30 USD are promised
    sandbox.post("/sandbox/settings", {"balance_usd": 61.30})
    watch_sales()
    pause = SalesPause.objects.get()
    # 61.30 less 1.30 less the 20 that stay
    assert (pause.cause, pause.min_cost_usd) == ("balance", Decimal("40.0001"))
    assert find_pause(plan.wholesale_usd) is None
    assert find_pause(dear.wholesale_usd) is not None
    assert "61.3" in pause.reason
    sandbox.post("/sandbox/settings", {"balance_usd": 112})
    watch_sales()
    assert (open_pauses(), open_alerts()) == (set(), set())


def test_an_empty_balance_pauses_everything(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.post("/sandbox/settings", {"balance_usd": 20})
    watch_sales()
    assert SalesPause.objects.get().min_cost_usd is None


def test_the_brake_does_not_flap_around_its_mark(sandbox: SandboxControl, plan: Plan) -> None:
    PlanFactory(bundle_name="esim_100GB_30D_FR_V2", wholesale_usd=Decimal(90), price_stars=9000)
    levels = []
    for balance in (60, 61, 59, 62, 70):
        sandbox.post("/sandbox/settings", {"balance_usd": balance})
        watch_sales()
        levels.append(SalesPause.objects.get().min_cost_usd)
    assert [level.quantize(Decimal(1)) for level in levels if level] == [40, 40, 39, 39, 50]


def test_a_balance_that_cannot_be_read_changes_nothing(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.fail("esimgo.GET /organisation", "status", status=500)
    watch_sales()
    assert open_pauses() == set()


def _attempts(status: str, count: int, **fields: Any) -> None:
    for _ in range(count):
        order = OrderFactory(plan=PlanFactory(), status=Order.Status.REFUNDED)
        ProvisioningAttempt.objects.create(
            order=order,
            bundle_name=order.plan.bundle_name,
            status=status,
            reference=f"ref-{order.pk}" if status == "placed" else None,
            started_at=timezone.now() - timedelta(minutes=3),
            **fields,
        )


def test_too_many_failed_purchases_pause_sales_until_they_are_past(sandbox: SandboxControl) -> None:
    _attempts("placed", 4)
    _attempts("open", 5)
    watch_sales()
    assert open_pauses() == set()  # nine say nothing yet
    _attempts("rejected", 1, error="429: slow down")
    watch_sales()
    assert open_pauses() == {"errors"}
    with later(minutes=16):
        watch_sales()
        assert open_pauses() == set()


def test_a_certain_no_for_a_bundle_is_no_failure_of_the_wholesaler(sandbox: SandboxControl) -> None:
    _attempts("rejected", 12, error="400: unknown bundle")
    watch_sales()
    assert open_pauses() == set()


def test_paid_orders_that_wait_pause_sales_until_they_are_served(sandbox: SandboxControl, plan: Plan) -> None:
    order = OrderFactory(plan=plan, paid=True, paid_at=timezone.now() - timedelta(minutes=6))
    watch_sales()
    assert open_pauses() == {"queue"}
    order.attempts.create(bundle_name=plan.bundle_name)  # its turn has come
    watch_sales()
    assert open_pauses() == set()


def test_the_accounts_pause_ends_when_the_wholesaler_would_sell_again(sandbox: SandboxControl, plan: Plan) -> None:
    pause_sales(cause=Cause.ACCOUNT, reason="403: Forbidden")
    sandbox.fail(VALIDATE, "status", status=403)
    watch_sales()
    assert open_pauses() == {"account"}
    watch_sales()
    assert open_pauses() == set()
    assert sandbox.orders() == []


def test_the_purchase_limits_pause_ends_with_its_hour(sandbox: SandboxControl) -> None:
    set_service_policy(by=None, reason="test", purchases_per_hour=5)
    _attempts("placed", 5)
    pause_sales(cause=Cause.PURCHASE_LIMIT, reason="5 an hour")
    watch_sales()
    assert open_pauses() == {"purchase_limit"}
    with later(minutes=61):
        watch_sales()
        assert open_pauses() == set()


# The rehearsal


def test_a_sale_is_rehearsed_once_a_minute(client: Client, sandbox: SandboxControl, plan: Plan) -> None:
    assert buy(client).status_code == 201
    assert Rehearsal.objects.get().is_accepted
    assert buy(client).status_code == 200
    assert sandbox.calls(VALIDATE) == 1
    with later(seconds=61):
        buy(client)
    assert sandbox.calls(VALIDATE) == 2
    assert sandbox.orders() == []


def test_a_bundle_that_is_sold_no_more_is_declined_before_anybody_pays(
    client: Client, sandbox: SandboxControl, plan: Plan
) -> None:
    sandbox.post(f"/sandbox/catalogue/{plan.bundle_name}", {"withdrawn": True})
    for _ in range(2):
        answer = buy(client)
        assert (answer.status_code, answer.json()["code"]) == (404, "plan_not_found")
    assert sandbox.calls(VALIDATE) == 1  # the refusal is remembered
    assert not Order.objects.exists()


def test_a_bundle_that_became_too_dear_is_not_sold_at_a_loss(
    client: Client, sandbox: SandboxControl, plan: Plan
) -> None:
    sandbox.post(f"/sandbox/catalogue/{plan.bundle_name}", {"price": 1.69})  # 130 Stars pay 1.69 USD
    assert buy(client).status_code == 201
    sandbox.post(f"/sandbox/catalogue/{plan.bundle_name}", {"price": 1.70})
    with later(minutes=2):
        answer = buy(client)
    assert (answer.status_code, answer.json()["code"]) == (409, "sales_paused")


@pytest.mark.parametrize(
    ("fault", "pause"),
    [
        ({"status": 403}, "account"),
        ({"status": 401}, "account"),
        ({"status": 400, "message": "insufficient balance"}, "balance"),
    ],
)
def test_a_refused_account_pauses_sales(
    client: Client, sandbox: SandboxControl, plan: Plan, fault: dict[str, Any], pause: str
) -> None:
    sandbox.fail(VALIDATE, "status", **fault)
    assert buy(client).json()["code"] == "sales_paused"
    assert open_pauses() == {pause}
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "delay", "seconds": 3},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "drop"},
        {"kind": "html"},
        {"kind": "half_json"},
        {"kind": "empty"},
    ],
    ids=lambda fault: str(fault),
)
def test_without_an_answer_the_shop_sells_on_what_it_knows(
    client: Client, sandbox: SandboxControl, plan: Plan, fault: dict[str, Any]
) -> None:
    sandbox.fail(VALIDATE, **fault)
    assert buy(client).status_code == 201
    assert open_pauses() == set()


def test_twenty_buyers_at_once_are_not_promised_more_than_the_balance(sandbox: SandboxControl, plan: Plan) -> None:
    WholesalerAccount.objects.create(balance_usd=Decimal("3.90"))
    orders = [invoiced_order(plan=plan, user_id=900 + number) for number in range(20)]
    answers = [send_update(pre_checkout_update(order)).json()["ok"] for order in orders]
    assert sum(answers) == 3


# Paid, and not ready at once


@pytest.mark.parametrize(("user_id", "language"), [(ANNA, "ru"), (BEN, "en")])
def test_who_waits_reads_that_the_esim_is_being_prepared(
    sandbox: SandboxControl, plan: Plan, user_id: int, language: str
) -> None:
    order = invoiced_order(plan=plan, user_id=user_id, language=language, status="provisioning")
    owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.PREPARING)
    run_tasks()
    (message,) = sandbox.chat(user_id)
    assert "130" in message["text"]
    assert is_russian(message["text"]) is (language == "ru")
    assert Delivery.objects.get().status == "sent"


@pytest.mark.parametrize("status", ["completed", "refunding", "refunded", "needs_attention"])
def test_who_has_the_esim_already_does_not(sandbox: SandboxControl, plan: Plan, status: str) -> None:
    order = invoiced_order(plan=plan, status=status)
    owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.PREPARING)
    run_tasks()
    assert sandbox.chat(BEN) == []
    assert Delivery.objects.get().status == "skipped"
