"""Giving Stars back: asked for once, tried until Telegram has answered for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.backoff import wait_after
from esimshop.clients.telegram import TelegramError, TelegramRejected, telegram_client
from esimshop.logs import redact
from orders.models import ALLOWED_MOVES, Delivery, Order, ProvisioningAttempt, move_order
from orders.services.deliveries import owe_delivery
from orders.services.endings import stop_for_person
from orders.services.fulfilment import stop_purchase
from orders.services.revocations import is_revoked, were_revoked
from payments.models import Payment, Refund, move_payment

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
GIVE_UP_AFTER = timedelta(hours=24)


class RefundBlocked(Exception):
    """An eSIM was bought, or may have been: returning the Stars needs a person to decide first."""


class NotALead(Exception):
    """A refund in spite of an eSIM needs the name of somebody active who may decide that."""


@dataclass(frozen=True)
class AskedRefund:
    """refund: None only where the Stars went back before refunds were noted."""

    refund: Refund | None
    is_new: bool


def lock_payment(payment_pk: int) -> Payment:
    """The payment as it is now, with its order; both rows are held until the transaction ends.

    The order first, always: whoever decides about an order holds it before its payment.
    """
    order_id = Payment.objects.get(pk=payment_pk).order_id
    order = Order.objects.select_for_update().get(pk=order_id) if order_id else None
    payment = Payment.objects.select_for_update().get(pk=payment_pk)
    payment.order = order
    return payment


def start_refund(*, payment: Payment, actor: str, reason: str, forced_by: str = "") -> Refund:
    """Note that all Stars of a paid charge go back, and wake the worker. Call inside a transaction.

    Raises: IllegalMove or StalePayment if the payment is being refunded already.
    """
    from payments.tasks import perform_refund_task

    forced = f" (in spite of its eSIM: {forced_by})" if forced_by else ""
    move_payment(payment, Payment.Status.REFUNDING, actor=actor, reason=f"{reason}{forced}")
    refund = Refund.objects.create(payment=payment, reason=reason, requested_by=actor, forced_by=forced_by)
    perform_refund_task.defer(refund_id=refund.pk)
    return refund


def refund_payment(payment: Payment, *, actor: str, reason: str, forced_by: str = "") -> AskedRefund:
    """Return all Stars of a charge because a person wants it; a charge is returned once, whoever asks.

    forced_by: username of a lead, where an eSIM was delivered or may have been bought; kept with the refund.
    Returns:   the refund; the first one, where the charge is or was being returned already.
    Raises:    RefundBlocked without `forced_by` where it is needed, NotALead if that is nobody who may.
    """
    with transaction.atomic():
        payment = lock_payment(payment.pk)
        if payment.status in {Payment.Status.REFUNDING, Payment.Status.REFUNDED}:
            first = payment.refunds.exclude(status=Refund.Status.REFUSED).first()
            return AskedRefund(first, is_new=False)
        block = check_refundable(payment, forced_by=forced_by)
        order = payment.order if payment.kind == Payment.Kind.ORDER else None
        if order and Order.Status.REFUNDING in ALLOWED_MOVES[order.status]:
            _move_to_refunding(order, cause=Order.Cause.REQUESTED, actor=actor, reason=reason)
        refund = start_refund(payment=payment, actor=actor, reason=reason, forced_by=forced_by if block else "")
        clear_alert(cause=f"refund:{payment.charge_id}")
        return AskedRefund(refund, is_new=True)


def check_refundable(payment: Payment, *, forced_by: str = "") -> str:
    """Whether the Stars of a payment may go back as things stand.

    Returns: what a lead takes on themselves by it; empty where that is nothing.
    Raises:  RefundBlocked without `forced_by` where it is needed, NotALead if that is nobody who may.
    """
    order = payment.order if payment.kind == Payment.Kind.ORDER else None
    block = _what_blocks(order) if order else ""
    if block and not forced_by:
        raise RefundBlocked(block)
    if block:
        _check_lead(forced_by)
    return block


def _what_blocks(order: Order) -> str:
    """Why the Stars of an order, whose row is held, go back only by a lead's name; empty if nothing does.

    Nothing does where eSIM Go took the bundle of a delivered order back: nobody can use it any more.
    """
    found = set(order.attempts.values_list("status", flat=True))
    if order.status == Order.Status.COMPLETED and not were_revoked(found):
        return f"The eSIM of order {order.pk} is delivered."
    if found & {ProvisioningAttempt.Status.OPEN, ProvisioningAttempt.Status.PLACED}:
        return f"An eSIM was bought for order {order.pk}, or may have been: its attempt is open or placed."
    return ""


def _check_lead(username: str) -> None:
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None or not user.has_perm("payments.refund_delivered"):
        raise NotALead(f"{username} is nobody active with the permission to refund a delivered order.")


def refund_unfulfillable_order(order: Order, *, cause: str, actor: str, reason: str) -> None:
    """What happens to an order that cannot be fulfilled: `refunding`, and its Stars go back. Call inside a transaction.

    Raises: RefundBlocked if an eSIM was bought for it or may have been; StaleOrder if somebody moved it first.
    """
    Order.objects.select_for_update().get(pk=order.pk)  # so that no worker opens an attempt meanwhile
    if block := _what_blocks(order):
        raise RefundBlocked(block)
    _move_to_refunding(order, cause=cause, actor=actor, reason=reason)
    payment = Payment.objects.select_for_update().get(order=order, kind=Payment.Kind.ORDER)
    if payment.status == Payment.Status.REFUNDED:
        # Telegram took the Stars back before we could.
        move_order(order, Order.Status.REFUNDED, actor=actor, reason="the Stars were back already")
        return
    start_refund(payment=payment, actor=actor, reason=reason)


def _move_to_refunding(order: Order, *, cause: str, actor: str, reason: str) -> None:
    move_order(
        order,
        Order.Status.REFUNDING,
        actor=actor,
        reason=reason,
        cause=cause,
        lease_until=None,
        next_try_at=None,
    )


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
            payment = lock_payment(refund.payment_id)
            settle_refund(payment, actor="worker", reason="Telegram returned the Stars", at=timezone.now())


def _is_about_us(error: TelegramRejected) -> bool:
    """Whether every refund would be refused, for the bot's token or its balance: then this one waits for a person."""
    return error.code in {401, 404} or "balance" in error.description.lower()


def settle_refund(payment: Payment, *, actor: str, reason: str, at: datetime) -> bool:
    """Write down that the Stars are back, whoever returned them: the worker's call, a message or the ledger says so.

    What we had asked for closes the order and is told to the customer. What Telegram did by itself leaves the order
    its state, stops a purchase that is not yet sent, and is told to staff.
    Call inside a transaction, with a payment from `lock_payment`.

    at:      when the Stars went back.
    Returns: False where that was known already.
    """
    if payment.status == Payment.Status.REFUNDED:
        return False
    was_asked = payment.status == Payment.Status.REFUNDING or _was_thought_refused(payment)
    move_payment(
        payment,
        Payment.Status.REFUNDED,
        actor=actor,
        reason=reason,
        refunded_at=at,
        is_refunded_outside=not was_asked,
    )
    # The newest is the one that waits, or the one that was thought to be refused.
    refund = payment.refunds.order_by("-pk").first()
    if refund is None:
        refund = Refund(payment=payment, reason=reason, requested_by=actor, next_try_at=at)
    refund.status, refund.refunded_at, refund.error = Refund.Status.DONE, at, ""
    refund.save()
    for cause in (f"refund:{refund.pk}", f"refund:{payment.charge_id}"):
        clear_alert(cause=cause)
    order = payment.order if payment.kind == Payment.Kind.ORDER else None
    if not was_asked:
        _take_in_outside_refund(payment, order, actor=actor, reason=reason)
        return True
    if order is not None:
        _close_refunded(order, actor=actor, reason=reason)
    kind = Delivery.Kind.REFUNDED if order is not None else Delivery.Kind.EXTRA_REFUNDED
    owe_delivery(customer=payment.customer, order=payment.order, kind=kind, amount_stars=payment.amount_stars)
    return True


def _was_thought_refused(payment: Payment) -> bool:
    """Whether a refund that Telegram seemed to have refused is still what its order waits for.

    One that was brought on its way again meanwhile is not: for it the Stars are gone without anybody's wish.
    """
    if payment.status != Payment.Status.REFUND_FAILED:
        return False
    order = payment.order if payment.kind == Payment.Kind.ORDER else None
    if order is None or order.status == Order.Status.NEEDS_ATTENTION:
        return True
    return order.status == Order.Status.COMPLETED and payment.refunds.exclude(forced_by="").exists()


def _close_refunded(order: Order, *, actor: str, reason: str) -> None:
    if order.status == Order.Status.COMPLETED:  # the lead's refund, which Telegram seemed to have refused
        _move_to_refunding(order, cause=Order.Cause.REQUESTED, actor=actor, reason=reason)
    if Order.Status.REFUNDED in ALLOWED_MOVES[order.status]:
        move_order(order, Order.Status.REFUNDED, actor=actor, reason=reason, lease_until=None, next_try_at=None)
        clear_alert(cause=f"order:{order.pk}")


def _take_in_outside_refund(payment: Payment, order: Order | None, *, actor: str, reason: str) -> None:
    if order is None:  # an extra charge: it would have gone back anyway
        return
    if stop_purchase(order, actor=actor, reason=f"no purchase: {reason}"):
        what = f"Telegram took the Stars of order {order.pk} back by itself. Nothing is bought for it."
    else:
        what = (
            f"Telegram took the Stars of order {order.pk} back by itself. The order keeps its state: "
            "decide about its eSIM."
        )
    raise_alert(cause=f"refund:{payment.charge_id}", text=what, path=f"/admin/payments/payment/{payment.pk}/change/")


def refuse_refund(refund: Refund, *, error: str) -> None:
    """Telegram will not return the Stars: a person is told and decides."""
    with transaction.atomic():
        payment = lock_payment(refund.payment_id)
        if payment.status != Payment.Status.REFUNDING:
            return  # A message or the ledger has told meanwhile that the Stars are back.
        Refund.objects.filter(pk=refund.pk).update(status=Refund.Status.REFUSED, error=error)
        move_payment(payment, Payment.Status.REFUND_FAILED, actor="worker", reason=error)
        order = payment.order if payment.kind == Payment.Kind.ORDER else None
        if order is None or order.status != Order.Status.REFUNDING:
            _tell_refused(payment, f"of an extra charge: {error}.")
        elif order.completed_at and not is_revoked(order):
            move_order(order, Order.Status.COMPLETED, actor="worker", reason=error, cause=Order.Cause.NONE)
            _tell_refused(payment, f"of order {order.pk}, which stays delivered: {error}.")
        else:
            what = f"{error} (its eSIM was taken back)" if order.completed_at else error
            stop_for_person(order, cause=Order.Cause.REFUND_REFUSED, reason=what)


def _tell_refused(payment: Payment, what: str) -> None:
    raise_alert(
        cause=f"refund:{payment.charge_id}",
        text=f"Telegram refuses to return {payment.amount_stars} Stars {what} Settle it with the customer, or ask "
        f"again: refund_payment {payment.charge_id}.",
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
