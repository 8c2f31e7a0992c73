"""Which worker has an order: a lease in its row. Whoever lost theirs changes nothing any more."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from orders.models import Order, OrderQuerySet, StaleOrder, move_order
from orders.services.purchase_lock import lease


def claim_order(order_id: str) -> Order | None:
    """Take a due order for this worker, or None.

    A `paid` one becomes `provisioning`; a `provisioning` one whose lease is over is resumed; one that waits for a
    person is looked at again.
    """
    now = timezone.now()
    order = Order.objects.select_related("customer", "plan", "top_up_esim").filter(pk=order_id).first()
    if order is None or (order.next_try_at and order.next_try_at > now):
        return None
    if order.status == Order.Status.PAID:
        if order.promise_at and order.promise_at <= now:
            return None
        return order if _begin(order, now=now) else None
    is_resumed = order.status == Order.Status.PROVISIONING or (
        order.status == Order.Status.NEEDS_ATTENTION and order.next_try_at is not None
    )
    if not is_resumed or (order.lease_until and order.lease_until > now):
        return None
    return order if renew_claim(order) else None


def _begin(order: Order, *, now: datetime) -> bool:
    try:
        move_order(order, Order.Status.PROVISIONING, actor="worker", lease_until=now + lease(), next_try_at=None)
    except StaleOrder:
        return False
    return True


def renew_claim(order: Order, **changes: object) -> bool:
    """Make the lease count from now, if it is still this worker's, and lock the row where a transaction is open."""
    lease_until = timezone.now() + lease()
    renewed = _mine(order).update(lease_until=lease_until, next_try_at=None, **changes)
    if renewed:
        order.lease_until = lease_until
        order.next_try_at = None
    return bool(renewed)


def send_back(order: Order, *, cause: str, reason: str, until: datetime) -> None:
    """A certain "not now": the order waits as `paid`, unless it is another's by now. Call inside a transaction."""
    if renew_claim(order):
        move_order(
            order,
            Order.Status.PAID,
            actor="worker",
            reason=reason,
            cause=cause,
            lease_until=None,
            next_try_at=until,
        )


def look_later(order: Order, *, until: datetime) -> None:
    """Give the order back in its state, to be looked at again then."""
    _mine(order).update(lease_until=None, next_try_at=until)


def _mine(order: Order) -> OrderQuerySet:
    return Order.objects.filter(pk=order.pk, status=order.status, lease_until=order.lease_until)
