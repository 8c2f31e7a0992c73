"""How an order's way ends: with its eSIM, with its Stars given back, or with a person."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.clients.esimgo import InstallData
from orders.hooks import payment_hooks
from orders.models import Delivery, Esim, Order, StaleOrder, move_order, note_event
from orders.services.deliveries import owe_delivery
from orders.services.usage import AFTER_A_PURCHASE, have_usage_read

FIRST_LOOK = timedelta(minutes=1)

_WHAT_TO_DO = {
    Order.Cause.OUTCOME_UNKNOWN: "It is looked up at eSIM Go on and on. If you find it there yourself, adopt it; "
    "buy again only with reprovision_order, which looks first.",
    Order.Cause.SEVERAL_MATCHES: "Look at eSIM Go's portal which purchase is its own, and adopt or revoke the others.",
    Order.Cause.NO_ESIM_DATA: "It is bought; its eSIM is fetched on and on. Ask eSIM Go where it is.",
    Order.Cause.REFUND_REFUSED: "Settle it with the customer, or re-provision it.",
}


def complete_order(order: Order, *, install_data: InstallData | None, actor: str, reason: str = "") -> None:
    """Store the eSIM of a purchase, complete its order and owe the customer the QR code.

    install_data: None only for a top-up, whose eSIM we have.
    Raises: StaleOrder if the order is no longer on its way, for example because its Stars are being given back.
    """
    from orders.tasks import set_customer_ref_task

    if order.status not in {Order.Status.PROVISIONING, Order.Status.NEEDS_ATTENTION}:
        raise StaleOrder(f"order {order.pk} is {order.status}")
    with transaction.atomic():
        move_order(
            order,
            Order.Status.COMPLETED,
            actor=actor,
            reason=reason,
            completed_at=timezone.now(),
            lease_until=None,
            next_try_at=None,
            cause=Order.Cause.NONE,
        )
        if install_data and not (order.top_up_esim and order.top_up_esim.iccid == install_data.iccid):
            esim = Esim.objects.create(
                iccid=install_data.iccid,
                order=order,
                customer=order.customer,
                smdp_address=install_data.smdp_address,
                matching_id=install_data.matching_id,
                usage_due_at=timezone.now() + AFTER_A_PURCHASE,
            )
            set_customer_ref_task.defer(esim_id=esim.pk)
        elif order.top_up_esim:
            have_usage_read(order.top_up_esim)
        owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.ESIM)
        clear_alert(cause=order_alert(order))


def give_up_order(order: Order, *, cause: str, actor: str, reason: str) -> None:
    """Return the Stars of an order for which certainly nothing was bought. Call inside a transaction."""
    # Closed first: should Telegram refuse the refund, somebody must be told again.
    clear_alert(cause=order_alert(order))
    payment_hooks().give_up_order(order, cause=cause, actor=actor, reason=reason)


def stop_for_person(order: Order, *, cause: str, reason: str, actor: str = "worker") -> None:
    """Move an order to `needs_attention`, tell the operators and the customer.

    Machines go on looking for what may have been bought (`next_try_at`), save where only the refund is open.
    """
    is_looked_up = cause != Order.Cause.REFUND_REFUSED
    with transaction.atomic():
        move_order(
            order,
            Order.Status.NEEDS_ATTENTION,
            actor=actor,
            reason=reason,
            cause=cause,
            lease_until=None,
            next_try_at=timezone.now() + FIRST_LOOK if is_looked_up else None,
        )
        owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.ATTENTION)
        _tell_operators(order, reason)


def change_cause(order: Order, *, cause: str, reason: str) -> None:
    """Note that an order which waits for a person needs them for another cause now, and tell them."""
    with transaction.atomic():
        is_new = Order.objects.filter(pk=order.pk, status=order.status).exclude(cause=cause).update(cause=cause)
        if not is_new:
            return
        order.cause = cause
        note_event(order, actor="worker", reason=reason)
        clear_alert(cause=order_alert(order))
        _tell_operators(order, reason)


def order_alert(order: Order) -> str:
    """The cause under which operators are told of an order."""
    return f"order:{order.pk}"


def _tell_operators(order: Order, reason: str) -> None:
    cause = Order.Cause(order.cause)
    raise_alert(
        cause=order_alert(order),
        text=f"Order {order.pk} needs a person ({cause.label}): {reason}. {_WHAT_TO_DO.get(cause, '')}".strip(),
        path=f"/admin/orders/order/{order.pk}/change/",
    )
