"""What payments do for orders, which may not import them."""

from __future__ import annotations

from orders.hooks import Hooks, register_hooks
from orders.models import Order
from payments.models import Payment, ServicePolicy
from payments.services.refunds import refund_unfulfillable_order


def is_paid_for(order: Order) -> bool:
    """Whether we have the Stars of an order and are not giving them back."""
    kept = [Payment.Status.PAID, Payment.Status.REFUND_FAILED]
    return Payment.objects.filter(order=order, kind=Payment.Kind.ORDER, status__in=kept).exists()


def register_order_hooks() -> None:
    """Called once, when Django is ready."""
    register_hooks(
        Hooks(
            give_up_order=refund_unfulfillable_order,
            is_paid_for=is_paid_for,
            promise_minutes=lambda: ServicePolicy.in_force().promise_minutes,
            purchases_per_hour=lambda: ServicePolicy.in_force().purchases_per_hour,
        )
    )
