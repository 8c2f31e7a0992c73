"""Buying at eSIM Go: once and only once, whatever its answer is or is not."""

from __future__ import annotations

import itertools
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from catalog.models import Plan, WholesalerAccount
from esimshop.clients.esimgo import InstallData
from esimshop.models import Alert
from orders.models import Delivery, Esim, Order, ProvisioningAttempt, StaleOrder
from orders.services.deliveries import send_delivery
from orders.services.endings import complete_order
from orders.services.fulfilment import provision_order, sweep_customer_refs
from orders.tasks import provision_order_task, send_delivery_task
from payments.models import Payment
from payments.services.sales_watch import watch_sales
from tests.factories import EsimFactory, OrderFactory, PlanFactory
from tests.orders.conftest import paid_order
from tests.outside import ANNA, BEN, SandboxControl, at_once, broken_table, is_russian, run_tasks, sweep

pytestmark = pytest.mark.django_db
Attempt = ProvisioningAttempt.Status


def moves_of(order: Order) -> list[str]:
    return [event.after for event in order.events.all()]


def later(**delta: float) -> Any:
    """Move the clock on."""
    return time_machine.travel(timezone.now() + timedelta(**delta))


# It goes well


def test_a_paid_order_becomes_an_esim(sandbox: SandboxControl, order: Order) -> None:
    WholesalerAccount.objects.create(balance_usd=Decimal(1))
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert (order.status, order.cause, order.lease_until, order.next_try_at) == ("completed", "", None, None)
    assert order.completed_at is not None
    assert moves_of(order) == ["provisioning", "completed"]
    assert {event.actor for event in order.events.all()} == {"worker"}

    (bought,) = sandbox.orders()
    attempt = order.attempts.get()
    assert (attempt.status, attempt.reference) == (Attempt.PLACED, bought["orderReference"])
    assert (attempt.bundle_name, attempt.cost_usd) == ("esim_1GB_7D_FR_V2", Decimal("1.15"))
    assert attempt.finished_at is not None
    (line,) = bought["order"]
    assert (line["item"], line["quantity"]) == ("esim_1GB_7D_FR_V2", 1)

    esim = order.esims.get()
    (theirs,) = sandbox.ledger()["esims"]
    assert (esim.iccid, esim.smdp_address, esim.matching_id) == (
        theirs["iccid"],
        theirs["smdpAddress"],
        theirs["matchingId"],
    )
    assert esim.customer == order.customer
    assert WholesalerAccount.objects.get().balance_usd == Decimal("9998.85")


def test_our_order_id_is_written_on_the_esim(sandbox: SandboxControl, order: Order) -> None:
    provision_order(str(order.pk))
    assert "set_customer_ref_task" in run_tasks()
    (esim,) = sandbox.ledger()["esims"]
    assert esim["customerRef"] == str(order.pk)
    assert Esim.objects.get().referenced_at is not None
    assert sandbox.calls("esimgo.PUT /esims") == 1


def test_an_order_id_that_could_not_be_written_is_written_later(sandbox: SandboxControl, order: Order) -> None:
    esim = EsimFactory(order=order, created_at=timezone.now() - timedelta(minutes=11))
    assert sweep_customer_refs() == 1
    Esim.objects.update(referenced_at=timezone.now())
    assert sweep_customer_refs() == 0
    assert esim.order == order


@pytest.mark.parametrize(
    "status", ["awaiting_payment", "expired", "cancelled", "completed", "needs_attention", "refunding", "refunded"]
)
def test_only_a_paid_order_is_ever_bought(sandbox: SandboxControl, plan: Plan, status: str) -> None:
    order = OrderFactory(plan=plan, status=status)
    provision_order(str(order.pk))
    sweep()
    with later(hours=1):
        provision_order(str(order.pk))
        sweep()
    assert sandbox.orders() == []
    assert not order.attempts.exists()


def test_an_order_that_does_not_exist_is_no_matter(db: None) -> None:
    provision_order("00000000-0000-4000-8000-000000000000")


def test_a_second_task_of_one_order_buys_nothing(sandbox: SandboxControl, order: Order) -> None:
    for _ in range(3):
        provision_order(str(order.pk))
    assert len(sandbox.orders()) == 1
    assert moves_of(order) == ["provisioning", "completed"]


@pytest.mark.django_db(transaction=True)
def test_eight_workers_on_one_order_buy_once(sandbox: SandboxControl) -> None:
    order = paid_order(sandbox, plan=PlanFactory(bundle_name="esim_1GB_7D_FR_V2"))
    at_once(*[lambda: provision_order(str(order.pk))] * 8)
    assert len(sandbox.orders()) == order.attempts.count() == 1
    assert moves_of(order) == ["provisioning", "completed"]


@pytest.mark.django_db(transaction=True)
def test_one_purchase_at_a_time_is_in_flight(sandbox: SandboxControl) -> None:
    plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    orders = [paid_order(sandbox, plan=plan, user_id=6000 + number) for number in range(4)]
    sandbox.fail("esimgo.POST /orders", "delay", seconds=0.2, times=4)
    at_once(*[lambda order=order: provision_order(str(order.pk)) for order in orders])
    assert set(Order.objects.values_list("status", flat=True)) == {"completed"}
    spans = sorted(ProvisioningAttempt.objects.values_list("started_at", "finished_at"))
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))


@pytest.mark.django_db(transaction=True)
def test_the_interval_between_two_purchases_is_kept(sandbox: SandboxControl, settings: Any) -> None:
    settings.ESIMGO_ORDER_INTERVAL = 0.5
    plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    for number in range(2):
        provision_order(str(paid_order(sandbox, plan=plan, user_id=6000 + number).pk))
    first, second = ProvisioningAttempt.objects.order_by("pk").values_list("started_at", flat=True)
    assert second - first >= timedelta(seconds=0.5)


def test_the_database_itself_allows_one_open_or_placed_attempt(order: Order) -> None:
    order.attempts.create(bundle_name="x", status=Attempt.REJECTED)
    order.attempts.create(bundle_name="x", status=Attempt.OPEN)
    for status, reference in [(Attempt.OPEN, None), (Attempt.PLACED, "ref")]:
        with pytest.raises(IntegrityError), transaction.atomic():
            order.attempts.create(bundle_name="x", status=status, reference=reference)


def test_a_top_up_lands_on_the_customers_esim(sandbox: SandboxControl, plan: Plan, order: Order) -> None:
    provision_order(str(order.pk))
    esim = order.esims.get()
    top_up = paid_order(sandbox, plan=plan, top_up_esim=esim)
    provision_order(str(top_up.pk))
    top_up.refresh_from_db()
    assert (top_up.status, top_up.esim) == ("completed", esim)
    assert Esim.objects.count() == 1
    assert len(sandbox.ledger()["esims"][0]["assignments"]) == 2


# The eSIM comes later


def test_an_answer_without_the_esim_is_completed_later(sandbox: SandboxControl, order: Order) -> None:
    sandbox.post("/sandbox/settings", {"esims_in_order": False})
    sandbox.fail("esimgo.GET /esims/assignments", "status", status=503)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert (order.status, order.attempts.get().status) == ("provisioning", Attempt.PLACED)
    provision_order(str(order.pk))  # not due yet
    assert sandbox.calls("esimgo.GET /esims/assignments") == 1
    with later(seconds=20):
        assert "provision_order_task" in sweep()
    order.refresh_from_db()
    assert order.status == "completed"
    assert order.esims.get().iccid == sandbox.ledger()["esims"][0]["iccid"]
    assert len(sandbox.orders()) == 1


def test_an_answer_without_the_esim_is_completed_at_once_where_it_is_there(
    sandbox: SandboxControl, order: Order
) -> None:
    sandbox.post("/sandbox/settings", {"esims_in_order": False})
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == "completed"


def test_an_esim_that_never_comes_goes_to_a_person_at_the_promise(sandbox: SandboxControl, order: Order) -> None:
    sandbox.post("/sandbox/settings", {"esims_in_order": False})
    sandbox.fail("esimgo.GET /esims/assignments", "status", status=400, times=None)
    provision_order(str(order.pk))
    with later(minutes=14):
        sweep()
    order.refresh_from_db()
    assert order.status == "provisioning"
    with later(minutes=16):
        sweep()
    order.refresh_from_db()
    assert (order.status, order.cause) == ("needs_attention", "no_esim_data")
    assert sandbox.refunds() == []
    assert len(sandbox.orders()) == 1


def test_what_was_bought_is_known_even_if_its_esim_could_not_be_stored(sandbox: SandboxControl, order: Order) -> None:
    with broken_table("orders_esim"), pytest.raises(DatabaseError):
        provision_order(str(order.pk))
    (bought,) = sandbox.orders()
    attempt = order.attempts.get()
    assert (attempt.status, attempt.reference) == (Attempt.PLACED, bought["orderReference"])
    with later(seconds=40):
        sweep()
    order.refresh_from_db()
    assert (order.status, len(sandbox.orders())) == ("completed", 1)


@pytest.mark.parametrize("status", ["refunding", "refunded", "completed", "cancelled"])
def test_an_esim_that_comes_after_the_stars_went_back_is_never_delivered(plan: Plan, status: str) -> None:
    order = OrderFactory(plan=plan, status=status)
    late = InstallData(iccid="8944538000000000001", smdp_address="rsp.example.com", matching_id="K2-LATE")
    with pytest.raises(StaleOrder):
        complete_order(order, install_data=late, actor="worker")
    order.refresh_from_db()
    assert order.status == status
    assert not Esim.objects.exists()
    assert not Delivery.objects.exists()


# A certain no


def test_a_bundle_that_is_refused_is_refunded_and_the_customer_told(sandbox: SandboxControl, order: Order) -> None:
    sandbox.post(f"/sandbox/catalogue/{order.plan.bundle_name}", {"withdrawn": True})
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert (order.status, order.cause) == ("refunding", "sold_out")
    run_tasks()
    order.refresh_from_db()
    assert order.status == "refunded"
    payment = Payment.objects.get()
    assert payment.status == "refunded"
    assert [row["id"] for row in sandbox.refunds()] == [payment.charge_id]
    (message,) = sandbox.chat(BEN)
    assert "We returned 130 Stars" in message["text"]
    assert "The carrier had run out of this plan." in message["text"]
    assert order.attempts.get().status == Attempt.REJECTED
    assert moves_of(order) == ["provisioning", "refunding", "refunded"]
    assert sandbox.orders() == []


def test_a_refund_speaks_russian_to_who_speaks_russian(sandbox: SandboxControl, plan: Plan) -> None:
    order = paid_order(sandbox, plan=plan, user_id=ANNA, language="ru")
    sandbox.post(f"/sandbox/catalogue/{plan.bundle_name}", {"withdrawn": True})
    provision_order(str(order.pk))
    run_tasks()
    assert is_russian(sandbox.chat(ANNA)[0]["text"])


def test_an_unfulfillable_order_whose_refund_is_refused_goes_to_a_person(sandbox: SandboxControl, order: Order) -> None:
    sandbox.post(f"/sandbox/catalogue/{order.plan.bundle_name}", {"withdrawn": True})
    sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    provision_order(str(order.pk))
    run_tasks()
    order.refresh_from_db()
    assert (order.status, order.cause) == ("needs_attention", "refund_refused")
    assert Payment.objects.get().status == "refund_failed"
    assert Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).exists()
    assert len(sandbox.chat(BEN)) == 1


# Not now


NOT_NOW = [
    ({"kind": "status", "status": 403}, "account"),
    ({"kind": "status", "status": 401}, "account"),
    ({"kind": "status", "status": 400, "message": "insufficient balance"}, "account"),
    ({"kind": "status", "status": 429, "headers": {"Retry-After": "3"}}, "unreachable"),
]


@pytest.mark.parametrize(("fault", "cause"), NOT_NOW)
def test_a_certain_not_now_waits_and_then_buys(
    sandbox: SandboxControl, order: Order, fault: dict[str, Any], cause: str
) -> None:
    sandbox.fail("esimgo.POST /orders", **fault)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert (order.status, order.cause) == ("paid", cause)
    assert order.attempts.get().status == Attempt.REJECTED
    provision_order(str(order.pk))  # not due yet
    assert order.attempts.count() == 1
    with later(seconds=30):
        sweep()
        watch_sales()
    order.refresh_from_db()
    assert (order.status, order.cause, len(sandbox.orders())) == ("completed", "", 1)
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_without_balance_all_orders_wait_with_one_alert_and_are_refunded_at_their_promise(
    sandbox: SandboxControl, plan: Plan, settings: Any
) -> None:
    settings.ALERT_CHAT_ID = "777"
    sandbox.post("/sandbox/users", {"id": 777, "first_name": "Olga"})
    orders = [paid_order(sandbox, plan=plan, user_id=user_id) for user_id in (BEN, ANNA)]
    sandbox.post("/sandbox/settings", {"balance_usd": 0})
    for order in orders:
        provision_order(str(order.pk))
    run_tasks()
    assert set(Order.objects.values_list("status", "cause")) == {("paid", "account")}
    for minutes in (1, 5, 14):
        with later(minutes=minutes):
            sweep()
    assert Alert.objects.count() == 1
    assert len(sandbox.chat(777)) == 1
    assert sandbox.refunds() == []
    with later(minutes=16):
        sweep()
    assert set(Order.objects.values_list("status", "cause")) == {("refunded", "account")}
    assert len(sandbox.refunds()) == 2
    assert "We returned 130 Stars" in sandbox.chat(BEN)[-1]["text"]
    assert sandbox.orders() == []


def test_where_nothing_listens_the_order_waits(sandbox: SandboxControl, order: Order, settings: Any) -> None:
    real, settings.ESIMGO_BASE_URL = settings.ESIMGO_BASE_URL, "http://127.0.0.1:9/esimgo/v2.5"
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert (order.status, order.cause) == ("paid", "unreachable")
    settings.ESIMGO_BASE_URL = real
    with later(seconds=30):
        sweep()
    order.refresh_from_db()
    assert order.status == "completed"


def test_a_promise_that_is_over_before_anything_was_bought_is_refunded(sandbox: SandboxControl, order: Order) -> None:
    with later(minutes=16):
        provision_order(str(order.pk))
        sweep()
    order.refresh_from_db()
    assert (order.status, order.cause) == ("refunded", "promise_missed")
    assert moves_of(order) == ["refunding", "refunded"]
    assert sandbox.orders() == []


def test_the_sweep_alone_finds_an_order_whose_task_died(sandbox: SandboxControl, order: Order) -> None:
    sweep()
    order.refresh_from_db()
    assert order.status == "paid"
    with later(seconds=11):
        sweep()
    order.refresh_from_db()
    assert order.status == "completed"


def test_a_worker_that_died_before_it_bought_is_followed_by_another(sandbox: SandboxControl, plan: Plan) -> None:
    order = paid_order(sandbox, plan=plan, status="provisioning", lease_until=timezone.now() + timedelta(seconds=30))
    provision_order(str(order.pk))
    assert sandbox.orders() == []
    with later(seconds=31):
        sweep()
    order.refresh_from_db()
    assert (order.status, len(sandbox.orders())) == ("completed", 1)


# Too late


def test_a_worker_that_slept_past_its_deadline_sends_nothing(sandbox: SandboxControl, order: Order) -> None:
    from esimshop.clients.esimgo import EsimGoUnreachable, esimgo_client

    with pytest.raises(EsimGoUnreachable):
        esimgo_client().place_order(
            bundle_name=order.plan.bundle_name, started_at=timezone.now() - timedelta(seconds=3)
        )
    assert sandbox.orders() == []


def test_what_is_owed_to_a_customer_is_sent_by_the_sweep_after_a_crash(sandbox: SandboxControl, order: Order) -> None:
    provision_order(str(order.pk))
    delivery = Delivery.objects.get()
    with later(seconds=6):
        sweep()
    delivery.refresh_from_db()
    assert delivery.status == "sent"
    send_delivery(delivery.pk)
    assert len(sandbox.chat(BEN)) == 1


# What nobody foresaw


def test_a_purchase_whose_task_breaks_is_told_once_and_goes_on_when_it_is_mended(
    sandbox: SandboxControl, order: Order
) -> None:
    for minutes in (0, 5):
        with later(minutes=minutes), broken_table("orders_esim"), pytest.raises(DatabaseError):
            provision_order_task(order_id=str(order.pk))
    assert Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).count() == 1
    with later(minutes=10):
        provision_order_task(order_id=str(order.pk))
    order.refresh_from_db()
    assert order.status == "completed"
    assert len(sandbox.orders()) == 1
    assert not Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).exists()


def test_a_message_that_cannot_be_written_is_told_once_and_sent_when_it_is_mended(
    sandbox: SandboxControl, order: Order
) -> None:
    provision_order(str(order.pk))
    delivery = Delivery.objects.get(order=order)
    bought_plan = order.bought_plan
    Order.objects.filter(pk=order.pk).update(bought_plan={})
    for minutes in (0, 5):
        with later(minutes=minutes), pytest.raises(KeyError):
            send_delivery_task(delivery_id=delivery.pk)
    assert Alert.objects.filter(cause=f"delivery:{delivery.pk}", cleared_at=None).count() == 1
    Order.objects.filter(pk=order.pk).update(bought_plan=bought_plan)
    with later(minutes=10):
        send_delivery_task(delivery_id=delivery.pk)
    delivery.refresh_from_db()
    assert delivery.status == "sent"
    assert not Alert.objects.filter(cause=f"delivery:{delivery.pk}", cleared_at=None).exists()
