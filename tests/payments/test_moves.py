"""The payment's transition table: every pair of states."""

import itertools

import pytest
from django.db import IntegrityError, transaction

from orders.models import IllegalMove
from payments.models import ALLOWED_PAYMENT_MOVES, Payment, PaymentEvent, Refund, StalePayment, move_payment
from payments.services.refunds import RefundBlocked, refund_unfulfillable_order, start_refund
from tests.factories import OrderFactory, PaymentFactory

Status = Payment.Status
pytestmark = pytest.mark.django_db

# Written out a second time: a slip in the table must not pass unseen.
SPECIFIED = {
    ("paid", "refunding"),
    ("paid", "refunded"),  # by Telegram itself
    ("refunding", "refunded"),
    ("refunding", "refund_failed"),
    ("refund_failed", "refunding"),
    ("refund_failed", "refunded"),
    ("refund_failed", "paid"),  # by a lead, where the customer has the eSIM
}


def test_the_table_knows_every_state() -> None:
    assert set(ALLOWED_PAYMENT_MOVES) == set(Status)


@pytest.mark.parametrize(("before", "after"), [*itertools.product(Status.values, repeat=2)])
def test_a_payment_moves_only_along_the_table(before: str, after: str) -> None:
    payment = PaymentFactory(status=before)
    if (before, after) in SPECIFIED:
        move_payment(payment, after, actor="admin:olga", reason="because")
        event = PaymentEvent.objects.get(payment=payment)
        assert (event.before, event.after) == (before, after)
        assert (event.actor, event.reason) == ("admin:olga", "because")
    else:
        with pytest.raises(IllegalMove):
            move_payment(payment, after, actor="admin:olga")
        assert not PaymentEvent.objects.exists()
    payment.refresh_from_db()
    assert payment.status == (after if (before, after) in SPECIFIED else before)


def test_a_move_by_an_old_reading_of_the_payment_is_refused() -> None:
    payment = PaymentFactory()
    old = Payment.objects.get(pk=payment.pk)
    move_payment(payment, Status.REFUNDING, actor="worker")
    with pytest.raises(StalePayment):
        move_payment(old, Status.REFUNDED, actor="telegram")
    payment.refresh_from_db()
    assert (payment.status, payment.events.count()) == (Status.REFUNDING, 1)


def test_a_payment_is_refunded_once() -> None:
    payment = PaymentFactory()
    old = Payment.objects.get(pk=payment.pk)
    start_refund(payment=payment, actor="admin:olga", reason="asked for")
    with pytest.raises(IllegalMove):
        start_refund(payment=payment, actor="admin:olga", reason="asked for again")
    with pytest.raises(StalePayment), transaction.atomic():
        start_refund(payment=old, actor="admin:pavel", reason="asked for at the same moment")
    assert Refund.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        Refund.objects.create(payment=payment, reason="x", requested_by="x")


def test_an_order_has_one_payment_that_pays_for_it() -> None:
    payment = PaymentFactory()
    with pytest.raises(IntegrityError), transaction.atomic():
        PaymentFactory(order=payment.order)
    PaymentFactory(order=payment.order, kind="extra")
    with pytest.raises(IntegrityError), transaction.atomic():
        PaymentFactory(charge_id=payment.charge_id, order=OrderFactory(status="paid", plan=payment.order.plan))


@pytest.mark.parametrize(("status", "reference"), [("open", None), ("placed", "ref-1")])
def test_an_order_that_was_bought_or_may_have_been_is_not_refunded_by_itself(
    status: str, reference: str | None
) -> None:
    payment = PaymentFactory(order__status="provisioning")
    payment.order.attempts.create(bundle_name="x", status=status, reference=reference)
    with pytest.raises(RefundBlocked), transaction.atomic():
        refund_unfulfillable_order(payment.order, cause="sold_out", actor="worker", reason="")
    payment.refresh_from_db()
    payment.order.refresh_from_db()
    assert (payment.status, payment.order.status) == ("paid", "provisioning")


def test_an_order_whose_stars_are_back_already_is_closed_without_another_refund() -> None:
    payment = PaymentFactory(status="refunded")
    with transaction.atomic():
        refund_unfulfillable_order(payment.order, cause="sold_out", actor="worker", reason="no")
    payment.order.refresh_from_db()
    assert payment.order.status == "refunded"
    assert not Refund.objects.exists()
