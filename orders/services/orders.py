"""Making orders, and what the customer or the clock does to an unpaid one."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from catalog.services.quotes import Quote
from catalog.titles import describe_plan
from esimshop.languages import LANGUAGES
from orders.models import Customer, Delivery, Esim, Order, OrderEvent, StaleOrder, move_order, note_event
from orders.services.deliveries import owe_delivery


class IdempotencyKeyReused(Exception):
    """The same Idempotency-Key came with another request: the client must take a new key."""


@dataclass(frozen=True)
class PlacedOrder:
    order: Order
    is_new: bool


def place_order(
    *,
    customer: Customer,
    quote: Quote,
    top_up_esim: Esim | None,
    quote_expires_at: datetime,
    idempotency_key: str | None,
    request_digest: str,
) -> PlacedOrder:
    """The customer's order for a quoted plan: the one that is there already, or a new one.

    An order is used again when it came under the same key, or is unpaid for the same plan, and its price is still
    the quoted one. An unpaid order whose price or time is over makes room as `expired`.
    Call inside a transaction that holds the customer's row: so two taps at once make one order.
    Raises: IdempotencyKeyReused.
    """
    keyed = None
    if idempotency_key:
        keyed = Order.objects.filter(customer=customer, idempotency_key=idempotency_key).first()
        if keyed and keyed.request_digest != request_digest:
            raise IdempotencyKeyReused(idempotency_key)
        if keyed and keyed.status not in {
            Order.Status.AWAITING_PAYMENT,
            Order.Status.EXPIRED,
            Order.Status.CANCELLED,
        }:
            return PlacedOrder(order=keyed, is_new=False)
    unpaid = Order.objects.filter(
        customer=customer, plan=quote.plan, top_up_esim=top_up_esim, status=Order.Status.AWAITING_PAYMENT
    ).first()
    if unpaid and unpaid.amount_stars == quote.amount_stars and unpaid.quote_expires_at > timezone.now():
        return PlacedOrder(order=unpaid, is_new=False)
    if unpaid:
        move_order(unpaid, Order.Status.EXPIRED, actor="customer", reason="asked for again at a new quote")
    if keyed:
        Order.objects.filter(pk=keyed.pk).update(idempotency_key=None)
    order = Order.objects.create(
        customer=customer,
        plan=quote.plan,
        top_up_esim=top_up_esim,
        bought_plan={language: describe_plan(quote.plan, language=language) for language in LANGUAGES},
        amount_stars=quote.amount_stars,
        cost_usd=quote.cost_usd,
        pricing_policy=quote.policy if quote.policy.pk else None,
        quote_expires_at=quote_expires_at,
        idempotency_key=idempotency_key,
        request_digest=request_digest,
    )
    note_event(order, actor="customer", reason=f"quoted {quote.amount_stars} Stars, wholesale {quote.cost_usd} USD")
    return PlacedOrder(order=order, is_new=True)


def expire_orders(*, limit: int = 500) -> int:
    """Close unpaid orders whose quote is over. Returns how many."""
    expired = 0
    due = Order.objects.filter(status=Order.Status.AWAITING_PAYMENT, quote_expires_at__lte=timezone.now())
    for order in due.order_by("quote_expires_at")[:limit]:
        try:
            move_order(order, Order.Status.EXPIRED, actor="clock", reason="quote is over")
        except StaleOrder:
            continue
        expired += 1
    return expired


class CancelRefused(Exception):
    """The order cannot be cancelled; the text says why, for staff."""


def cancel_order(order: Order, *, actor: str, reason: str) -> None:
    """Close an unpaid order for good and tell its customer; Stars that come later are returned by themselves.

    Raises: CancelRefused where it is no longer unpaid.
    """
    with transaction.atomic():
        order = Order.objects.select_for_update(of=["self"]).select_related("customer").get(pk=order.pk)
        if order.status != Order.Status.AWAITING_PAYMENT:
            raise CancelRefused(f"It is {order.get_status_display().lower()}: only an unpaid order is cancelled.")
        move_order(order, Order.Status.CANCELLED, actor=actor, reason=reason, cause=Order.Cause.REQUESTED)
        owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.CANCELLED)


def note_invoice_closed(*, order: Order, status: str) -> None:
    """Keep what the Mini App says about a closed invoice: a hint for people, never proof of payment."""
    note_event(order, actor="customer", reason=f"invoice closed: {status}", kind=OrderEvent.Kind.HINT)
