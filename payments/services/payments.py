"""Recording Stars payments: one row a charge, and what the charge means for its order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from catalog.models import PricingPolicy
from catalog.pricing import is_sellable
from esimshop.alerts import raise_alert
from esimshop.moves import make_row
from orders.models import Customer, Order
from orders.services.customers import know_customer, note_sender
from orders.services.fulfilment import mark_order_paid
from orders.services.restorations import is_forgotten
from payments.models import Payment, PaymentEvent, PreCheckout, ServicePolicy, StarTransaction
from payments.services.invoiced_orders import InvoicedOrder, find_invoiced_order, keep_and_find
from payments.services.refunds import lock_payment, settle_refund, start_refund

log = structlog.get_logger(__name__)

ExtraReason = Payment.ExtraReason
#: Clocks of Telegram, eSIM Go and ours may differ by no more.
LOOK_UP_MARGIN = timedelta(minutes=5)
#: No backup is restored so fast: a younger charge cannot be one that it has forgotten, and nobody need ask.
RESTORED_WITHIN = timedelta(seconds=10)
#: Such charges of a time that was forgotten may have been delivered: a person decides about them.
HELD_AFTER_RESTORATION = frozenset({ExtraReason.UNKNOWN_INVOICE, ExtraReason.TOO_LATE})


@transaction.atomic(savepoint=False)
def receive_successful_payment(update: Mapping[str, Any]) -> bool:
    """Store an update with `successful_payment` and record its charge.

    Returns: False where the update was stored before; then nothing changed.
    """
    message = update["message"]
    payload = str(message["successful_payment"]["invoice_payload"])
    is_new, invoiced = keep_and_find(update, kind="successful_payment", payload=payload)
    if is_new:
        _record_charge(message, invoiced)
    return is_new


@transaction.atomic(savepoint=False)
def record_successful_payment(message: Mapping[str, Any]) -> Payment:
    """Record the charge of a message with `successful_payment`; the first valid one pays for its order.

    Any other charge is kept as extra and returned by itself. A charge that is recorded already changes nothing.
    Source: Bot API SuccessfulPayment.
    """
    payload = str(message["successful_payment"]["invoice_payload"])
    return _record_charge(message, find_invoiced_order(payload, lock=True))


@transaction.atomic(savepoint=False)
def record_ledger_payment(row: StarTransaction, *, is_returned: bool, is_refund_held: bool) -> Payment:
    """Record a charge whose update never came, by the rules of one that came.

    Our memory may have a gap there (a restored backup): what was bought since then is looked up before buying.
    is_returned:    its Stars went back already: it pays for nothing.
    is_refund_held: an extra charge is recorded, and waits for a person to return it.
    """
    message = {
        "from": {"id": row.user_id},
        "date": int(row.date.timestamp()),
        "successful_payment": {
            "telegram_payment_charge_id": row.transaction_id,
            "invoice_payload": row.invoice_payload,
            "total_amount": row.amount_stars,
            "currency": "XTR",
        },
    }
    invoiced = find_invoiced_order(row.invoice_payload, lock=True)
    return _record_charge(
        message, invoiced, is_from_ledger=True, is_returned=is_returned, is_refund_held=is_refund_held
    )


def _record_charge(
    message: Mapping[str, Any],
    invoiced: InvoicedOrder | None,
    *,
    is_from_ledger: bool = False,
    is_returned: bool = False,
    is_refund_held: bool = False,
) -> Payment:
    charge = message["successful_payment"]
    charge_id = str(charge["telegram_payment_charge_id"])
    structlog.contextvars.bind_contextvars(charge_id=charge_id)
    payload = str(charge["invoice_payload"])
    order = invoiced.order if invoiced else None
    charged_at = datetime.fromtimestamp(int(message["date"]), tz=UTC)
    amount, currency = int(charge["total_amount"]), str(charge["currency"])
    payer_id = int(message["from"]["id"])
    actor = "ledger" if is_from_ledger else "telegram"
    was_forgotten = charged_at <= timezone.now() - RESTORED_WITHIN and is_forgotten(charged_at)
    # The ledger's user is taken for what we know of them.
    note_payer = know_customer if is_from_ledger else note_sender
    extra_reason = _extra_reason(
        invoiced,
        payer_id=payer_id,
        amount=amount,
        currency=currency,
        charged_at=charged_at,
        may_be_forgotten=is_from_ledger or was_forgotten,
    )
    is_refund_held = is_refund_held or (was_forgotten and extra_reason in HELD_AFTER_RESTORATION)
    if is_returned:
        extra_reason = ExtraReason.RETURNED
    payment = Payment(
        charge_id=charge_id,
        payer_id=payer_id,
        customer_id=order.customer_id if order and not extra_reason else note_payer(message["from"]).pk,
        order=order,
        invoice_payload=payload,
        kind=Payment.Kind.EXTRA if extra_reason else Payment.Kind.ORDER,
        extra_reason=extra_reason,
        amount_stars=amount,
        currency=currency,
        charged_at=charged_at,
        is_from_ledger=is_from_ledger,
    )
    event = PaymentEvent(after=payment.status, actor=actor, reason=extra_reason)
    if not make_row(payment, unless_known="charge_id", event=event, link="payment"):
        return Payment.objects.get(charge_id=charge_id)
    if extra_reason and not (is_returned or is_refund_held):
        label = ExtraReason(extra_reason).label
        start_refund(payment=payment, actor=actor, reason=f"extra charge: {label}")
    elif not extra_reason:
        assert invoiced is not None
        promise = timezone.now() + timedelta(minutes=invoiced.promise_minutes or ServicePolicy().promise_minutes)
        look_up_from = charged_at - LOOK_UP_MARGIN if is_from_ledger or was_forgotten else None
        mark_order_paid(
            invoiced.order,
            promise_at=promise,
            actor=actor,
            reason=f"charge {charge_id}",
            look_up_from=look_up_from,
        )
    return payment


def _extra_reason(
    invoiced: InvoicedOrder | None,
    *,
    payer_id: int,
    amount: int,
    currency: str,
    charged_at: datetime,
    may_be_forgotten: bool,
) -> str:
    """Why a charge does not pay for its order; empty if it does."""
    if invoiced is None:
        return ExtraReason.UNKNOWN_INVOICE
    order = invoiced.order
    if payer_id != invoiced.owner_id:
        return ExtraReason.WRONG_PAYER
    if amount != order.amount_stars or currency != "XTR":
        return ExtraReason.WRONG_AMOUNT
    if order.status == Order.Status.AWAITING_PAYMENT:
        return ExtraReason.NONE
    if order.status == Order.Status.EXPIRED:
        # Asked anew: the customer's data may have been deleted while this charge waited for the order's row.
        if Customer.objects.filter(pk=order.customer_id).exclude(anonymised_at=None).exists():
            return ExtraReason.TOO_LATE
        # In a restored backup even an order that was paid in time, and delivered, has expired: it is looked up.
        was_in_time = may_be_forgotten and charged_at <= order.quote_expires_at
        return ExtraReason.NONE if was_in_time or _is_honoured(order, charged_at) else ExtraReason.TOO_LATE
    if order.status == Order.Status.CANCELLED:
        return ExtraReason.TOO_LATE
    return ExtraReason.PAID_TWICE


def _is_honoured(order: Order, charged_at: datetime) -> bool:
    """An expired order takes a charge that came just after, or that we approved, while its plan is sold at no loss."""
    grace = timedelta(minutes=ServicePolicy.in_force().grace_minutes)
    in_time = charged_at <= order.quote_expires_at + grace
    approved = PreCheckout.objects.filter(order=order, refusal=PreCheckout.Refusal.NONE).exists()
    return (
        (in_time or approved)
        and order.plan.is_on_sale
        and is_sellable(
            price_stars=order.amount_stars,
            wholesale_usd=order.plan.wholesale_usd,
            policy=PricingPolicy.in_force(),
        )
    )


@transaction.atomic(savepoint=False)
def record_refunded_payment(message: Mapping[str, Any]) -> None:
    """Take in a `refunded_payment` message: it confirms our refund, or tells of one made elsewhere.

    Source: Bot API RefundedPayment.
    """
    charge_id = str(message["refunded_payment"]["telegram_payment_charge_id"])
    structlog.contextvars.bind_contextvars(charge_id=charge_id)
    pk = Payment.objects.filter(charge_id=charge_id).values_list("pk", flat=True).first()
    if pk is None:
        raise_alert(
            cause=f"refund:{charge_id}",
            text="Telegram returned the Stars of a charge that we have not recorded. Run `manage.py reconcile_stars`.",
            path="/admin/payments/startransaction/",
        )
        return
    at = datetime.fromtimestamp(int(message["date"]), tz=UTC)
    settle_refund(lock_payment(pk), actor="telegram", reason="Telegram's refunded_payment message", at=at)
