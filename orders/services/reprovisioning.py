"""Bringing an order that waits for a person on its way again, without buying twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from esimshop.alerts import clear_alert
from orders.hooks import payment_hooks
from orders.models import Order, ProvisioningAttempt, move_order
from orders.services.endings import order_alert

_Attempt = ProvisioningAttempt.Status

_WHY_NOT = {
    Order.Status.AWAITING_PAYMENT: "it is not paid for",
    Order.Status.EXPIRED: "it is not paid for",
    Order.Status.CANCELLED: "it was cancelled",
    Order.Status.PAID: "it is on its way already: the worker buys it",
    Order.Status.PROVISIONING: "it is on its way already: the worker has it",
    Order.Status.COMPLETED: "it has its eSIM",
    Order.Status.REFUNDING: "its Stars are being given back",
    Order.Status.REFUNDED: "its Stars were given back",
}


class ReprovisionRefused(Exception):
    """The order cannot be brought on its way again; the text says why, for staff."""


@dataclass(frozen=True, kw_only=True)
class Reprovisioning:
    """What happens to an order next, in a sentence for staff."""

    order: Order
    next_step: str


def plan_reprovisioning(order_id: str) -> Reprovisioning:
    """What `reprovision_order` would do; changes nothing.

    Raises: Order.DoesNotExist, ReprovisionRefused.
    """
    order = Order.objects.select_related("customer").get(pk=order_id)
    return Reprovisioning(order=order, next_step=_next_step(order))


def reprovision_order(order_id: str, *, actor: str, reason: str) -> Reprovisioning:
    """Give an order that waits for a person a new promise and wake the worker.

    Nothing is bought before eSIM Go was asked: an open attempt is looked up, an earlier purchase searched for, and only
    what is proven absent is bought again.

    Raises: Order.DoesNotExist, ReprovisionRefused; StaleOrder if somebody else moved the order at the same moment.
    """
    from orders.tasks import provision_order_task

    minutes = payment_hooks().promise_minutes()
    with transaction.atomic():
        order = Order.objects.select_for_update(of=("self",)).select_related("customer").get(pk=order_id)
        next_step = _next_step(order)
        now = timezone.now()
        # Two look-ups of now prove absence, not those before somebody asked.
        order.attempts.filter(status=_Attempt.OPEN).update(empty_look_ups=0)
        move_order(
            order,
            Order.Status.PROVISIONING,
            actor=actor,
            reason=f"{reason} (new promise: {minutes} minutes)",
            cause=Order.Cause.NONE,
            promise_at=now + timedelta(minutes=minutes),
            # What anybody may have bought for it since it was paid for is looked for before it is bought.
            look_up_from=order.paid_at or order.created_at,
            lease_until=None,
            next_try_at=None,
        )
        clear_alert(cause=order_alert(order))
        provision_order_task.defer(order_id=str(order.pk))
    return Reprovisioning(order=order, next_step=next_step)


def _next_step(order: Order) -> str:
    """Raises: ReprovisionRefused."""
    if order.status != Order.Status.NEEDS_ATTENTION:
        raise ReprovisionRefused(_WHY_NOT[Order.Status(order.status)])
    if not payment_hooks().is_paid_for(order):
        raise ReprovisionRefused("its Stars were given back, or are on their way")
    found = set(order.attempts.values_list("status", flat=True))
    if _Attempt.PLACED in found:
        return "It is bought already: its eSIM is fetched from eSIM Go. Nothing is bought."
    if _Attempt.OPEN in found:
        return (
            "Its last purchase has an unknown outcome: it is looked up at eSIM Go at once, and adopted if it is there. "
            "It is bought again only once two complete look-ups have proven that it is not."
        )
    return "Earlier purchases are searched for at eSIM Go, and adopted; if there is none, it is bought."
