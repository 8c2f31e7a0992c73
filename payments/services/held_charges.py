"""Extra charges that are not returned by themselves: a person decides each."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet

from payments.models import Payment, note_payment_event
from payments.services.refunds import lock_payment


class NotHeld(Exception):
    """The charge waits for nobody's decision; the text says why. Nothing changed."""


def held_charges() -> QuerySet[Payment]:
    """Charges that pay for nothing we know, and whose Stars nobody has begun to return."""
    extra = Payment.objects.filter(kind=Payment.Kind.EXTRA, status=Payment.Status.PAID)
    return extra.exclude(extra_reason=Payment.ExtraReason.DELIVERED)


@transaction.atomic
def keep_charge(payment: Payment, *, actor: str, reason: str) -> None:
    """Decide that a held charge was earned: its eSIM was delivered, and its order lost with the books.

    It can still be returned by `refund_payment`. Raises: NotHeld.
    """
    payment = lock_payment(payment.pk)
    if not held_charges().filter(pk=payment.pk).exists():
        raise NotHeld(f"Charge {payment.charge_id} is {payment.status} and waits for no decision.")
    Payment.objects.filter(pk=payment.pk).update(extra_reason=Payment.ExtraReason.DELIVERED)
    note_payment_event(payment, actor=actor, reason=f"kept, its eSIM was delivered: {reason}")
