"""Where an order stands, in words for staff: what is so, whose turn it is, until when, and what to do next.

The sentences stand in one table, by status and cause: the order's page and the dashboard say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from orders.models import Delivery, Order, ProvisioningAttempt
from payments.models import Payment, Refund
from payments.services.refunds import GIVE_UP_AFTER

_Attempt = ProvisioningAttempt.Status
S, C = Order.Status, Order.Cause

#: By status and cause; the cause "" is for whatever has no sentence of its own.
_NEXT_ACTIONS: dict[tuple[str, str], str] = {
    (S.AWAITING_PAYMENT, C.NONE): "Nothing to do. Whoever says that they paid can tell the charge id: search for it.",
    (S.EXPIRED, C.NONE): "Nothing to do: the customer orders again at today's price.",
    (S.CANCELLED, C.NONE): "Nothing to do: a charge that comes after all is returned by itself.",
    (
        S.PAID,
        C.NONE,
    ): "Wait: the worker buys it within seconds. Where orders stay here, run doctor: the worker is down.",
    (S.PAID, C.ACCOUNT): "Top up eSIM Go's balance, or mend the API key. The shop then buys by itself; else it refunds "
    "when the promise is over.",
    (S.PAID, C.UNREACHABLE): "Wait: the shop tries again by itself. Where many orders wait, look at eSIM Go's status.",
    (S.PAID, C.PURCHASE_LIMIT): "Find out who buys so much. If the purchases are real, raise the purchases per hour in "
    "the service policy.",
    (S.PROVISIONING, C.NONE): "Wait: the shop is buying it, or looking up what became of its purchase.",
    (S.COMPLETED, C.NONE): "Nothing to do. Where the customer misses the QR code, send it again.",
    (S.NEEDS_ATTENTION, C.NONE): "Read the last entries below, then re-provision it or refund it.",
    (S.NEEDS_ATTENTION, C.OUTCOME_UNKNOWN): "Look for the purchase in eSIM Go's portal. Found: adopt it. Not found: "
    "re-provision; it looks first and buys only what is proven absent.",
    (S.NEEDS_ATTENTION, C.SEVERAL_MATCHES): "See in eSIM Go's portal which purchase is its own: adopt that one, and "
    "revoke or write off the others.",
    (S.NEEDS_ATTENTION, C.NO_ESIM_DATA): "It is bought: buy nothing. Ask eSIM Go for the eSIM of its reference, then "
    "re-provision to fetch it.",
    (S.NEEDS_ATTENTION, C.REFUND_REFUSED): "Read why Telegram refused. Then refund again, or re-provision it if the "
    "customer still wants the eSIM.",
    (S.NEEDS_ATTENTION, C.ACCOUNT): "Top up eSIM Go's balance, or mend the API key; then re-provision.",
    (S.REFUNDING, C.NONE): "Wait: the shop asks Telegram until the Stars are back, and a person after 24 hours.",
    (S.REFUNDED, C.NONE): "Nothing to do: the Stars are on the customer's balance in Telegram.",
}

_STATES: dict[str, str] = {
    S.AWAITING_PAYMENT: "Not paid yet",
    S.EXPIRED: "Not paid in time",
    S.CANCELLED: "Cancelled unpaid",
    S.PAID: "Paid, waits to be bought",
    S.PROVISIONING: "Paid, is being bought",
    S.COMPLETED: "Delivered",
    S.NEEDS_ATTENTION: "Needs a person",
    S.REFUNDING: "The Stars are on their way back",
    S.REFUNDED: "Refunded",
}

CUSTOMER, SHOP, TELEGRAM, WHOLESALER, YOU, NOBODY = (
    "the customer's",
    "the shop's",
    "Telegram's",
    "eSIM Go's",
    "yours",
    "nobody's: it is done",
)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """state: in words, with the cause; turn: whose it is, one of the words above; until: its end, if it has one.

    promise: what became of the promise, in words; empty where none was made. is_late: it is missed.
    """

    state: str
    turn: str
    until: datetime | None
    promise: str
    is_late: bool
    next_action: str


def next_action(status: str, cause: str = "") -> str:
    """What a member of staff does next about an order, in a sentence or two."""
    return _NEXT_ACTIONS.get((status, cause)) or _NEXT_ACTIONS[status, C.NONE]


def describe_situation(order: Order) -> Situation:
    """Reads the order's attempts, deliveries and payments with their refunds: prefetch them."""
    turn, until = _turn(order)
    promise, is_late = _promise(order)
    return Situation(
        state=_state(order),
        turn=turn,
        until=until,
        promise=promise,
        is_late=is_late,
        next_action=_next_action_now(order),
    )


def describe_duration(length: timedelta) -> str:
    """A length of time in its two largest units: "2 d 3 h", "4 min 10 s"."""
    seconds = max(0, round(length.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    told = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(told[:2]) or "under 1 s"


def _state(order: Order) -> str:
    state = _STATES[order.status]
    if order.status == S.COMPLETED:
        state = {
            Delivery.Status.SENT: state,
            Delivery.Status.BLOCKED: "Completed, but the customer blocked the bot",
        }.get(Delivery.Status(order.delivery_state), "Completed, the QR code is on its way")
    if _is_refunded_outside(order):
        state = f"{state}; Telegram took the Stars back by itself"
    return f"{state}: {C(order.cause).label}" if order.cause else state


def _turn(order: Order) -> tuple[str, datetime | None]:
    match order.status:
        case S.AWAITING_PAYMENT:
            return CUSTOMER, order.quote_expires_at
        case S.NEEDS_ATTENTION:
            return YOU, None
        case S.REFUNDING:
            return TELEGRAM, next((pending.requested_at + GIVE_UP_AFTER for pending in _pending_refunds(order)), None)
        case S.PAID | S.PROVISIONING:
            return _turn_before_purchase(order), order.promise_at
        case S.COMPLETED if order.delivery_state == Delivery.Status.PENDING:
            return SHOP, None
        case S.COMPLETED if order.delivery_state == Delivery.Status.BLOCKED:
            return CUSTOMER, None
    return NOBODY, None


def _turn_before_purchase(order: Order) -> str:
    if order.cause in {C.ACCOUNT, C.PURCHASE_LIMIT}:
        return YOU
    attempts = {attempt.status: attempt for attempt in order.attempts.all()}
    is_awaited = _Attempt.PLACED in attempts or (_Attempt.OPEN in attempts and attempts[_Attempt.OPEN].error != "")
    return WHOLESALER if is_awaited or order.cause == C.UNREACHABLE else SHOP


def _pending_refunds(order: Order) -> list[Refund]:
    return [
        refund
        for payment in _paying(order)
        for refund in payment.refunds.all()
        if refund.status == Refund.Status.PENDING
    ]


def _promise(order: Order) -> tuple[str, bool]:
    if order.promise_at is None:
        return "", False
    if order.status == S.COMPLETED and order.completed_at and order.paid_at:
        taken = describe_duration(order.completed_at - order.paid_at)
        if order.completed_at <= order.promise_at:
            return f"kept: ready {taken} after payment", False
        return f"missed: ready {taken} after payment", True
    if order.status in {S.REFUNDED, S.COMPLETED}:
        return "over: the Stars went back", False
    left = order.promise_at - timezone.now()
    if left > timedelta(0):
        return f"{describe_duration(left)} left", False
    return f"missed by {describe_duration(-left)}", True


def _is_refunded_outside(order: Order) -> bool:
    return any(payment.is_refunded_outside for payment in _paying(order))


def _paying(order: Order) -> list[Payment]:
    """The payment that pays for the order, if there is one: without the extra charges."""
    return [payment for payment in order.payments.all() if payment.kind == Payment.Kind.ORDER]


def _next_action_now(order: Order) -> str:
    if _is_refunded_outside(order) and order.status in {S.PAID, S.PROVISIONING}:
        return "Nothing to do: what is not bought yet is not bought any more, and the promise closes the order."
    if _is_refunded_outside(order) and order.status == S.COMPLETED:
        return "Decide about the eSIM: leave it to the customer, or have its bundle revoked at eSIM Go."
    if order.status == S.COMPLETED and any(each.status == Payment.Status.REFUND_FAILED for each in _paying(order)):
        return "Telegram refused the refund: settle it with the customer, or refund again."
    if order.status == S.COMPLETED and order.delivery_state == Delivery.Status.BLOCKED:
        return "The customer finds the QR code in the Mini App. Unblocking the bot sends it by itself."
    return next_action(order.status, order.cause)
