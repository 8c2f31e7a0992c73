"""Charges of which a person decides whether they were earned: extra ones that are not returned by themselves, and those
whose refund Telegram refused.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet

from esimshop.alerts import clear_alert
from orders.models import Order
from payments.models import Payment, move_payment, note_payment_event
from payments.services.refunds import lock_payment


class NotHeld(Exception):
    """The charge waits for nobody's decision; the text says why. Nothing changed."""


def held_charges() -> QuerySet[Payment]:
    """Charges that pay for nothing we know, and whose Stars nobody has begun to return."""
    extra = Payment.objects.filter(kind=Payment.Kind.EXTRA, status=Payment.Status.PAID)
    return extra.exclude(extra_reason=Payment.ExtraReason.DELIVERED)


def may_be_kept(payment: Payment) -> bool:
    """Whether it is held, or its refund was refused and the customer has the eSIM all the same."""
    if payment.kind == Payment.Kind.ORDER:
        is_served = payment.order is not None and payment.order.status == Order.Status.COMPLETED
        return is_served and payment.status == Payment.Status.REFUND_FAILED
    return held_charges().filter(pk=payment.pk).exists()


@transaction.atomic
def keep_charge(payment: Payment, *, actor: str, reason: str) -> None:
    """Decide that a charge was earned: the customer has its eSIM.

    It can still be returned by `refund_payment`. Raises: NotHeld.
    """
    payment = lock_payment(payment.pk)
    if not may_be_kept(payment):
        raise NotHeld(f"Charge {payment.charge_id} is {payment.status} and waits for no decision.")
    reason = f"kept, its eSIM was delivered: {reason}"
    if payment.kind == Payment.Kind.ORDER:
        move_payment(payment, Payment.Status.PAID, actor=actor, reason=reason)
        clear_alert(cause=f"refund:{payment.charge_id}")
    else:
        Payment.objects.filter(pk=payment.pk).update(extra_reason=Payment.ExtraReason.DELIVERED)
        note_payment_event(payment, actor=actor, reason=reason)
