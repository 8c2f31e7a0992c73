"""Giving Stars back: asked for once, tried until Telegram has answered for good."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.backoff import wait_after
from esimshop.clients.telegram import TelegramError, TelegramRejected, telegram_client
from esimshop.logs import redact
from orders.models import Delivery, Order, ProvisioningAttempt, move_order
from orders.services.deliveries import owe_delivery
from orders.services.endings import stop_for_person
from payments.models import Payment, Refund, move_payment

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
GIVE_UP_AFTER = timedelta(hours=24)


class RefundBlocked(Exception):
    """An eSIM was bought, or may have been: returning the Stars needs a person to decide first."""


def start_refund(*, payment: Payment, actor: str, reason: str) -> Refund:
    """Note that all Stars of a paid charge go back, and wake the worker. Call inside a transaction.

    Raises: IllegalMove or StalePayment if the payment is being refunded already.
    """
    from payments.tasks import perform_refund_task

    move_payment(payment, Payment.Status.REFUNDING, actor=actor, reason=reason)
    refund = Refund.objects.create(payment=payment, reason=reason, requested_by=actor)
    perform_refund_task.defer(refund_id=refund.pk)
    return refund


def refund_unfulfillable_order(order: Order, *, cause: str, actor: str, reason: str) -> None:
    """What happens to an order that cannot be fulfilled: `refunding`, and its Stars go back. Call inside a transaction.

    Raises: RefundBlocked if an eSIM was bought for it or may have been; StaleOrder if somebody moved it first.
    """
    maybe_bought = [ProvisioningAttempt.Status.OPEN, ProvisioningAttempt.Status.PLACED]
    Order.objects.select_for_update().get(pk=order.pk)  # so that no worker opens an attempt meanwhile
    if order.attempts.filter(status__in=maybe_bought).exists():
        raise RefundBlocked(f"order {order.pk} has an attempt that is open or placed")
    move_order(
        order,
        Order.Status.REFUNDING,
        actor=actor,
        reason=reason,
        cause=cause,
        lease_until=None,
        next_try_at=None,
    )
    payment = Payment.objects.select_for_update().get(order=order, kind=Payment.Kind.ORDER)
    if payment.status == Payment.Status.REFUNDED:
        # Telegram took the Stars back before we could.
        move_order(order, Order.Status.REFUNDED, actor=actor, reason="the Stars were back already")
        return
    start_refund(payment=payment, actor=actor, reason=reason)


def perform_refund(refund_id: int) -> None:
    """Ask Telegram for a refund that is due. Does nothing if it is not, or another worker has it.

    Safe to repeat: Telegram refunds a charge once, and CHARGE_ALREADY_REFUNDED counts as done.
    Source: Bot API refundStarPayment.
    """
    now = timezone.now()
    claimed = Refund.objects.filter(pk=refund_id, status=Refund.Status.PENDING, next_try_at__lte=now).update(
        next_try_at=now + LEASE, attempts=F("attempts") + 1
    )
    if not claimed:
        return
    refund = Refund.objects.select_related("payment").get(pk=refund_id)
    structlog.contextvars.bind_contextvars(charge_id=refund.payment.charge_id)
    try:
        telegram_client().refund_star_payment(user_id=refund.payment.payer_id, charge_id=refund.payment.charge_id)
    except TelegramError as error:
        if isinstance(error, TelegramRejected) and not _is_about_us(error):
            refuse_refund(refund, error=redact(str(error)))
        elif now - refund.requested_at > GIVE_UP_AFTER:
            refuse_refund(refund, error=redact(f"no success within 24 hours: {error}"))
        else:
            _wait(refund, error)
    else:
        clear_alert(cause="refunds_wait")
        with transaction.atomic():
            payment = Payment.objects.select_for_update().get(pk=refund.payment_id)
            if payment.status != Payment.Status.REFUNDED:
                settle_refund(payment, actor="worker", reason="Telegram returned the Stars")


def _is_about_us(error: TelegramRejected) -> bool:
    """Whether every refund would be refused, for the bot's token or its balance: then this one waits for a person."""
    return error.code in {401, 404} or "balance" in error.description.lower()


def settle_refund(payment: Payment, *, actor: str, reason: str) -> None:
    """Write down that the Stars are back, tell the customer, close the order that waited for it.

    Call inside a transaction that holds the payment's row.
    """
    now = timezone.now()
    was_ours = payment.status == Payment.Status.REFUNDING
    move_payment(payment, Payment.Status.REFUNDED, actor=actor, reason=reason, refunded_at=now)
    for refund in payment.refunds.filter(status=Refund.Status.PENDING):
        Refund.objects.filter(pk=refund.pk).update(status=Refund.Status.DONE, refunded_at=now, error="")
        clear_alert(cause=f"refund:{refund.pk}")
    if not was_ours:
        return
    order = payment.order
    if payment.kind == Payment.Kind.ORDER and order is not None:
        if order.status == Order.Status.REFUNDING:
            move_order(order, Order.Status.REFUNDED, actor=actor, reason=reason)
            clear_alert(cause=f"order:{order.pk}")
        owe_delivery(
            customer=payment.customer,
            order=order,
            kind=Delivery.Kind.REFUNDED,
            amount_stars=payment.amount_stars,
        )
    else:
        owe_delivery(
            customer=payment.customer,
            order=order,
            kind=Delivery.Kind.EXTRA_REFUNDED,
            amount_stars=payment.amount_stars,
        )


def refuse_refund(refund: Refund, *, error: str) -> None:
    """Telegram will not return the Stars: a person is told and decides."""
    with transaction.atomic():
        Refund.objects.filter(pk=refund.pk).update(status=Refund.Status.REFUSED, error=error)
        payment = (
            Payment.objects.select_for_update(of=("self",)).select_related("order__customer").get(pk=refund.payment_id)
        )
        move_payment(payment, Payment.Status.REFUND_FAILED, actor="worker", reason=error)
        order = payment.order
        if payment.kind == Payment.Kind.ORDER and order is not None and order.status == Order.Status.REFUNDING:
            stop_for_person(order, cause=Order.Cause.REFUND_REFUSED, reason=error)
        else:
            raise_alert(
                cause=f"refund:{payment.charge_id}",
                text=f"Telegram refuses to return {payment.amount_stars} Stars of an extra charge: {error}.",
                path=f"/admin/payments/payment/{payment.pk}/change/",
            )


def _wait(refund: Refund, error: TelegramError) -> None:
    wait = wait_after(attempts=refund.attempts, retry_after=getattr(error, "retry_after", None))
    if isinstance(error, TelegramRejected):
        raise_alert(
            cause="refunds_wait",
            text=f"Telegram refuses refunds: {error}. They wait, up to 24 hours each. Check the bot's token and Stars.",
            path="/admin/payments/refund/?status__exact=pending",
        )
    Refund.objects.filter(pk=refund.pk).update(next_try_at=timezone.now() + wait, error=redact(str(error)))


def sweep_refunds(*, limit: int = 500) -> int:
    """Wake refunds that are due and have no task any more. Returns how many."""
    from payments.tasks import perform_refund_task

    due = Refund.objects.filter(status=Refund.Status.PENDING, next_try_at__lte=timezone.now() - timedelta(seconds=5))
    ids = list(due.values_list("pk", flat=True)[:limit])
    for pk in ids:
        perform_refund_task.defer(refund_id=pk)
    return len(ids)
