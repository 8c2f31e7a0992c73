"""What a charge means: the first valid one pays for its order, any other goes back by itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from catalog.models import Plan
from esimshop.models import Alert
from orders.models import Delivery, Order
from orders.services.orders import expire_orders
from payments.models import Payment, PaymentEvent, PreCheckout, Refund, ServicePolicy
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    is_russian,
    payment_update,
    pre_checkout_update,
    refund_update,
    run_tasks,
    send_update,
    sweep,
)
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db


def pay(sandbox: SandboxControl | None, order: Order, **changes: Any) -> Payment:
    """Charge an order at Telegram and tell the shop of it."""
    update = payment_update(order, **changes)
    if sandbox:
        sandbox.charge(update)
    assert send_update(update).status_code == 200
    return Payment.objects.get(charge_id=update["message"]["successful_payment"]["telegram_payment_charge_id"])


def test_a_valid_charge_pays_for_its_order(order: Order) -> None:
    payment = pay(None, order, date=1_790_000_000)
    assert (payment.kind, payment.extra_reason, payment.status) == ("order", "", "paid")
    assert (payment.order, payment.customer, payment.payer_id) == (order, order.customer, BEN)
    assert (payment.amount_stars, payment.currency) == (130, "XTR")
    assert payment.charged_at == datetime.fromtimestamp(1_790_000_000, tz=UTC)
    order.refresh_from_db()
    assert order.status == "paid"
    assert abs(order.promise_at - order.paid_at - timedelta(minutes=15)) < timedelta(seconds=1)
    (event,) = order.events.all()
    assert (event.before, event.after, event.actor) == ("awaiting_payment", "paid", "telegram")
    (event,) = payment.events.all()
    assert (event.before, event.after, event.actor) == ("", "paid", "telegram")


def test_the_promise_is_the_policys(order: Order) -> None:
    ServicePolicy(promise_minutes=40).save()
    pay(None, order)
    order.refresh_from_db()
    assert timedelta(minutes=39) < order.promise_at - timezone.now() <= timedelta(minutes=40)


# Charges that pay for nothing


def _assert_returned(sandbox: SandboxControl, payment: Payment, *, to: int) -> None:
    run_tasks()
    payment.refresh_from_db()
    assert (payment.kind, payment.status) == ("extra", "refunded")
    assert payment.refunded_at is not None
    refund = Refund.objects.get(payment=payment)
    assert (refund.status, refund.requested_by) == ("done", "telegram")
    (row,) = sandbox.refunds()
    assert (row["id"], row["receiver"]["user"]["id"]) == (payment.charge_id, to)
    moves = [(event.before, event.after) for event in payment.events.all()]
    assert moves == [("", "paid"), ("paid", "refunding"), ("refunding", "refunded")]
    (message,) = sandbox.chat(to)
    assert str(payment.amount_stars) in message["text"]
    delivery = Delivery.objects.get(kind="extra_refunded")
    assert (delivery.status, delivery.customer.telegram_user_id) == ("sent", to)
    assert sandbox.orders() == []


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("unknown_invoice", {"invoice_payload": "nobody-knows-this-payload"}),
        ("wrong_amount", {"total_amount": 1}),
        ("wrong_amount", {"total_amount": 131}),
        ("wrong_amount", {"currency": "USD"}),
    ],
)
def test_a_charge_that_does_not_fit_is_returned_and_its_payer_told(
    sandbox: SandboxControl, order: Order, reason: str, changes: dict[str, Any]
) -> None:
    payment = pay(sandbox, order, **changes)
    assert payment.extra_reason == reason
    _assert_returned(sandbox, payment, to=BEN)
    order.refresh_from_db()
    assert (order.status, order.events.count()) == ("awaiting_payment", 0)


def test_a_stranger_who_pays_gets_the_stars_back(sandbox: SandboxControl, order: Order) -> None:
    payment = pay(sandbox, order, user_id=ANNA)
    assert (payment.extra_reason, payment.customer.telegram_user_id) == ("wrong_payer", ANNA)
    _assert_returned(sandbox, payment, to=ANNA)
    assert is_russian(sandbox.chat(ANNA)[0]["text"])
    order.refresh_from_db()
    assert order.status == "awaiting_payment"
    assert pay(sandbox, order).kind == "order"


@pytest.mark.parametrize(
    "status", ["paid", "provisioning", "completed", "needs_attention", "refunding", "refunded", "cancelled"]
)
def test_a_charge_of_a_closed_order_is_returned_and_leaves_it_alone(
    sandbox: SandboxControl, plan: Plan, status: str
) -> None:
    order = invoiced_order(
        plan=plan,
        status=status,
        promise_at=timezone.now() + timedelta(minutes=9),
        lease_until=timezone.now() + timedelta(1),
    )
    payment = pay(sandbox, order)
    assert payment.extra_reason == ("too_late" if status == "cancelled" else "paid_twice")
    _assert_returned(sandbox, payment, to=BEN)
    order.refresh_from_db()
    assert (order.status, order.events.count()) == (status, 0)


# Late charges


def _expired(order: Order, *, ago: timedelta) -> Order:
    Order.objects.filter(pk=order.pk).update(quote_expires_at=timezone.now() - ago)
    assert expire_orders() == 1
    order.refresh_from_db()
    assert order.status == "expired"
    return order


def test_a_charge_just_after_expiry_is_honoured(sandbox: SandboxControl, order: Order) -> None:
    payment = pay(sandbox, _expired(order, ago=timedelta(minutes=9)))
    assert payment.kind == "order"
    order.refresh_from_db()
    assert order.status == "paid"
    run_tasks()
    order.refresh_from_db()
    assert order.status == "completed"


def test_a_late_charge_is_judged_by_telegrams_time_and_not_by_its_arrival(order: Order) -> None:
    _expired(order, ago=timedelta(hours=3))
    payment = pay(None, order, date=time.time() - 3 * 3600)
    assert payment.kind == "order"


def test_a_charge_after_the_grace_is_returned(sandbox: SandboxControl, order: Order) -> None:
    payment = pay(sandbox, _expired(order, ago=timedelta(minutes=11)))
    assert payment.extra_reason == "too_late"
    _assert_returned(sandbox, payment, to=BEN)
    order.refresh_from_db()
    assert order.status == "expired"


def test_a_charge_that_was_approved_is_honoured_however_late(order: Order) -> None:
    assert send_update(pre_checkout_update(order)).json()["ok"]
    payment = pay(None, _expired(order, ago=timedelta(days=2)))
    assert payment.kind == "order"


def test_a_refused_pre_checkout_makes_no_late_charge_good(sandbox: SandboxControl, order: Order) -> None:
    assert not send_update(pre_checkout_update(order, total_amount=1)).json()["ok"]
    assert PreCheckout.objects.get().order == order
    payment = pay(sandbox, _expired(order, ago=timedelta(days=2)))
    assert payment.extra_reason == "too_late"


@pytest.mark.parametrize("changes", [{"is_on_sale": False}, {"wholesale_usd": Decimal("1.70")}])
def test_a_late_charge_of_a_plan_that_is_gone_or_sold_at_a_loss_is_returned(
    sandbox: SandboxControl, order: Order, changes: dict[str, Any]
) -> None:
    _expired(order, ago=timedelta(minutes=1))
    Plan.objects.update(**changes)
    payment = pay(sandbox, order)
    assert payment.extra_reason == "too_late"
    _assert_returned(sandbox, payment, to=BEN)


def test_a_late_charge_that_just_pays_for_the_plan_is_honoured(order: Order) -> None:
    _expired(order, ago=timedelta(minutes=1))
    Plan.objects.update(wholesale_usd=Decimal("1.69"))  # 130 Stars at 0.013 USD
    assert pay(None, order).kind == "order"


# Refunds


def test_a_refund_is_tried_again_until_telegram_answers(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("telegram.refundStarPayment", "status", status=502, times=2)
    payment = pay(sandbox, order, total_amount=5)
    run_tasks()
    payment.refresh_from_db()
    assert payment.status == "refunding"
    now = timezone.now()
    for minutes in (1, 3):
        with time_machine.travel(now + timedelta(minutes=minutes)):
            sweep()
    payment.refresh_from_db()
    assert (payment.status, Refund.objects.get().attempts) == ("refunded", 3)
    assert len(sandbox.refunds()) == 1


@pytest.mark.parametrize("kind", ["drop_after_work", "html", "half_json", "empty"])
def test_a_refund_whose_answer_was_lost_is_made_once(sandbox: SandboxControl, order: Order, kind: str) -> None:
    sandbox.fail("telegram.refundStarPayment", kind)
    payment = pay(sandbox, order, total_amount=5)
    run_tasks()
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        sweep()
    payment.refresh_from_db()
    assert payment.status == "refunded"
    assert len(sandbox.refunds()) == 1
    assert len(sandbox.chat(BEN)) == 1


def test_a_refund_that_telegram_refuses_for_good_goes_to_a_person(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order, total_amount=5)
    send_update(update)  # Telegram's ledger does not know this charge
    run_tasks()
    payment = Payment.objects.get()
    assert (payment.status, Refund.objects.get().status) == ("refund_failed", "refused")
    assert Alert.objects.filter(cause=f"refund:{payment.charge_id}", cleared_at=None).count() == 1
    assert sandbox.chat(BEN) == []


@pytest.mark.parametrize(
    "fault", [{"status": 400, "message": "Bad Request: BALANCE_TOO_LOW"}, {"status": 401}, {"status": 404}]
)
def test_a_refusal_that_is_about_the_bot_waits_with_one_alert(
    sandbox: SandboxControl, order: Order, fault: dict[str, Any]
) -> None:
    sandbox.fail("telegram.refundStarPayment", "status", times=3, **fault)
    payment = pay(sandbox, order, total_amount=5)
    run_tasks()
    now = timezone.now()
    for minutes in (2, 8):
        with time_machine.travel(now + timedelta(minutes=minutes)):
            sweep()
    payment.refresh_from_db()
    assert payment.status == "refunding"
    assert Alert.objects.filter(cause="refunds_wait", cleared_at=None).count() == 1
    with time_machine.travel(now + timedelta(minutes=30)):
        sweep()
    payment.refresh_from_db()
    assert payment.status == "refunded"
    assert not Alert.objects.filter(cleared_at=None).exists()


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 400, "message": "Bad Request: BALANCE_TOO_LOW"}])
def test_a_refund_without_success_for_a_day_goes_to_a_person(
    sandbox: SandboxControl, order: Order, fault: dict[str, Any]
) -> None:
    sandbox.fail("telegram.refundStarPayment", "status", times=None, **fault)
    payment = pay(sandbox, order, total_amount=5)
    run_tasks()
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        sweep()
    payment.refresh_from_db()
    assert payment.status == "refund_failed"
    assert Alert.objects.filter(cause=f"refund:{payment.charge_id}").exists()


def test_telegrams_own_message_settles_our_refund_once(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("telegram.refundStarPayment", "drop_after_work")
    update = payment_update(order, total_amount=5)
    sandbox.charge(update)
    send_update(update)
    run_tasks()
    assert send_update(refund_update(update)).status_code == 200
    payment = Payment.objects.get()
    assert (payment.status, Refund.objects.get().status) == ("refunded", "done")
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        sweep()
    assert len(sandbox.chat(BEN)) == 1
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_stars_that_telegram_took_back_itself_are_noted_and_told_to_staff(order: Order) -> None:
    update = payment_update(order)
    send_update(update)
    Order.objects.update(status=Order.Status.COMPLETED)
    assert send_update(refund_update(update)).status_code == 200
    payment = Payment.objects.get()
    order.refresh_from_db()
    assert (payment.status, order.status) == ("refunded", "completed")
    assert Alert.objects.filter(cause=f"refund:{payment.charge_id}", cleared_at=None).exists()


@pytest.mark.parametrize("status", ["paid", "provisioning"])
def test_nothing_is_bought_with_stars_that_telegram_took_back(
    sandbox: SandboxControl, order: Order, status: str
) -> None:
    update = payment_update(order)
    send_update(update)
    Order.objects.update(status=status)
    send_update(refund_update(update))
    run_tasks()
    with time_machine.travel(timezone.now() + timedelta(minutes=14)):
        sweep()
    order.refresh_from_db()
    assert (order.status, sandbox.orders()) == (status, [])
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        sweep()
    order.refresh_from_db()
    assert (order.status, sandbox.orders(), sandbox.refunds()) == ("refunded", [], [])
    assert Payment.objects.get().status == "refunded"


def test_a_refund_of_a_charge_that_nobody_recorded_is_told_to_staff(order: Order) -> None:
    update = refund_update(payment_update(order))
    assert send_update(update).status_code == 200
    assert Alert.objects.filter(cause__startswith="refund:", cleared_at=None).count() == 1
    assert not PaymentEvent.objects.exists()
