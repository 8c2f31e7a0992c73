"""What each row of Telegram's ledger means for our books.

| row                                                         | what happens                                      |
|-------------------------------------------------------------|---------------------------------------------------|
| in, a charge that we have                                   | matched; different where the amount is another    |
| in, a charge of our invoice, younger than FRESH             | waiting: left to its update                       |
| in, a charge of our invoice, not older than RECORDED_WITHIN | recorded as its update would have been; as extra  |
|                                                             | and bought for nothing where it went back already |
| in, a charge of a time that a restored backup forgot        | the same, however old; of an unknown invoice: kept |
|                                                             | as extra, and held for a person                   |
| in, any other charge                                        | history before `history_until`, else unexplained  |
| out, the refund of a charge that we have                    | matched; settles the payment if it is not settled |
| out, the refund of another charge                           | history, else unexplained                         |
| in and out, of another charge that we do not have           | other: it came and went                           |
| withdrawals, advertisements, fees, gifts, …                 | other                                             |
| of a kind that nobody knows                                 | history, else unexplained                         |

Nothing that only the ledger knows is ever returned by itself, unless its payload names an invoice of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from orders.services.restorations import forgotten_times
from payments.models import Invoice, Payment, Refund, ServicePolicy, StarTransaction
from payments.services.payments import record_ledger_payment
from payments.services.refunds import lock_payment, settle_refund

log = structlog.get_logger(__name__)

State = StarTransaction.State
Direction = StarTransaction.Direction

#: So long a charge's own update has to come first.
FRESH = timedelta(seconds=60)
#: An older charge that we do not know is for a person: nobody waits for it any more, or our books were lost.
RECORDED_WITHIN = timedelta(hours=48)
BATCH = 500

CAME_AND_WENT = "charged and returned, and never recorded here"
NOT_OURS = "its payload names no order of ours"
TOO_OLD = "it names an order of ours, but is older than 48 hours"
UNKNOWN_CHARGE = "the refund of a charge that we do not know"
UNKNOWN_KIND = "of a kind that we do not know"

#: Partners with whom the shop has no sales.
OTHER_PARTNERS = {
    "fragment": "a withdrawal",
    "telegram_ads": "an advertisement",
    "telegram_api": "a fee for paid broadcasts",
    "affiliate_program": "an affiliate's commission",
    "chat": "a chat",
    "other": "Telegram does not say what",
}


@dataclass
class Matching:
    """recorded: charge ids of payments whose updates never came.
    settled:  charge ids whose refunds only the ledger told of.
    failed:   ids of rows whose matching broke.
    adopted:  rows that became history.
    """

    recorded: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    adopted: int = 0


@dataclass(frozen=True)
class _Known:
    """What our books say of the rows of a batch.

    forgotten: keys of the rows of times that a restored backup has forgotten.
    """

    payments: dict[str, Payment]
    payloads: frozenset[str]
    forgotten: frozenset[int]
    came: frozenset[str]
    went: frozenset[str]
    now: datetime
    history_until: datetime | None


def match_ledger(*, history_until: datetime | None) -> Matching:
    """Match every stored row that is not explained, oldest first. Only one process at a time may do it."""
    matching = Matching()
    pks = list(_unsettled().order_by("date", "pk").values_list("pk", flat=True))
    for start in range(0, len(pks), BATCH):
        rows = list(StarTransaction.objects.filter(pk__in=pks[start : start + BATCH]).order_by("date", "pk"))
        known = _what_we_know(rows, history_until)
        changed = [row for row in rows if _match_safely(row, known, matching)]
        StarTransaction.objects.bulk_update(changed, ["state", "note", "payment"])
    return matching


def _unsettled() -> QuerySet[StarTransaction]:
    """Rows without an explanation, and explained ones whose payment came to our books since."""
    payment_came = Exists(Payment.objects.filter(charge_id=OuterRef("transaction_id")))
    return StarTransaction.objects.filter(
        Q(state__in=[State.WAITING, State.UNEXPLAINED, State.DIFFERENT])
        | Q(payment_came, state__in=[State.OTHER, State.HISTORY], payment=None)
    )


def _what_we_know(rows: list[StarTransaction], history_until: datetime | None) -> _Known:
    charge_ids = [row.transaction_id for row in rows]
    payloads = {row.invoice_payload for row in rows if row.invoice_payload}
    sides = StarTransaction.objects.filter(transaction_id__in=charge_ids).values_list("transaction_id", "direction")
    return _Known(
        payments={payment.charge_id: payment for payment in Payment.objects.filter(charge_id__in=charge_ids)},
        payloads=frozenset(Invoice.objects.filter(payload__in=payloads).values_list("payload", flat=True)),
        forgotten=frozenset(
            StarTransaction.objects.filter(forgotten_times("date"), pk__in=[row.pk for row in rows]).values_list(
                "pk", flat=True
            )
        ),
        came=frozenset(charge_id for charge_id, direction in sides if direction == Direction.IN),
        went=frozenset(charge_id for charge_id, direction in sides if direction == Direction.OUT),
        now=timezone.now(),
        history_until=history_until,
    )


def _match_safely(row: StarTransaction, known: _Known, matching: Matching) -> bool:
    """One row that breaks must not keep the others from being matched: it stays as it was and is tried again."""
    try:
        return _match(row, known, matching)
    except Exception as error:  # whatever it is, and told by the report
        log.error("star_transaction_failed", transaction_id=row.transaction_id, exc_info=error)
        matching.failed.append(row.transaction_id)
        return False


def _match(row: StarTransaction, known: _Known, matching: Matching) -> bool:
    """Give a row its state, and do what follows from it. Returns whether the row changed."""
    before = (row.state, row.note, row.payment_id)
    was_history = row.state == State.HISTORY
    payment = known.payments.get(row.transaction_id)
    if payment is None and _is_lost(row, known):
        payment = known.payments[row.transaction_id] = _record(row, known, matching)
    if payment is not None:
        _match_payment(row, payment, matching)
    else:
        _explain(row, known)
    matching.adopted += row.state == State.HISTORY and not was_history
    return before != (row.state, row.note, row.payment_id)


def _is_charge(row: StarTransaction) -> bool:
    return (
        row.direction == Direction.IN
        and row.partner_type == "user"
        and row.transaction_type in {"", "invoice_payment"}
        and row.user_id is not None
    )


def _is_ours(row: StarTransaction, known: _Known) -> bool:
    return _is_charge(row) and row.invoice_payload in known.payloads


def _is_lost(row: StarTransaction, known: _Known) -> bool:
    """Whether a charge that we do not have is one that its update should have brought, or had brought once."""
    is_due = row.date <= known.now - FRESH
    if row.pk in known.forgotten:
        return is_due and _is_charge(row)
    is_young = row.date >= known.now - RECORDED_WITHIN
    return is_due and is_young and _is_ours(row, known) and not _is_history(row, known)


def _is_history(row: StarTransaction, known: _Known) -> bool:
    # By when it was read: Telegram's dates are whole seconds.
    return known.history_until is not None and row.first_read_at <= known.history_until


def _record(row: StarTransaction, known: _Known, matching: Matching) -> Payment:
    with transaction.atomic():
        payment = record_ledger_payment(
            row, is_returned=row.transaction_id in known.went, is_refund_held=not _may_refund()
        )
    if payment.is_from_ledger:
        log.warning("payment_from_ledger", charge_id=payment.charge_id)
        matching.recorded.append(payment.charge_id)
    return payment


def _may_refund() -> bool:
    """Whether this hour has room for one more automatic refund of a charge that only the ledger told of."""
    made = Refund.objects.filter(
        payment__is_from_ledger=True, requested_by="ledger", requested_at__gt=timezone.now() - timedelta(hours=1)
    )
    most: int = ServicePolicy.in_force().ledger_refunds_per_hour
    return made.count() < most


def _match_payment(row: StarTransaction, payment: Payment, matching: Matching) -> None:
    row.payment = payment
    row.state, row.note = State.MATCHED, ""
    if row.amount_stars != payment.amount_stars:
        row.state, row.note = State.DIFFERENT, f"in our books: {payment.amount_stars} Stars"
    elif row.direction == Direction.OUT:
        with transaction.atomic():
            if settle_refund(
                lock_payment(payment.pk), actor="ledger", reason="Telegram's ledger has the refund", at=row.date
            ):
                matching.settled.append(payment.charge_id)


def _explain(row: StarTransaction, known: _Known) -> None:
    """Say what a row is that belongs to no payment of ours."""
    is_sale = row.partner_type == "user" and row.transaction_type in {"", "invoice_payment"}
    may_be_ours = _is_ours(row, known) or (row.pk in known.forgotten and _is_charge(row))
    if may_be_ours and row.date > known.now - FRESH:
        row.state, row.note = State.WAITING, ""
    elif row.partner_type in OTHER_PARTNERS:
        row.state, row.note = State.OTHER, row.note or OTHER_PARTNERS[row.partner_type]
    elif row.partner_type == "user" and not is_sale:
        row.state, row.note = State.OTHER, row.transaction_type.replace("_", " ")
    elif _is_history(row, known):
        row.state, row.note = State.HISTORY, ""
    elif is_sale and row.transaction_id in known.came & known.went:
        row.state, row.note = State.OTHER, CAME_AND_WENT
    else:
        row.state, row.note = State.UNEXPLAINED, _what_is_odd(row, known)


def _what_is_odd(row: StarTransaction, known: _Known) -> str:
    if row.partner_type != "user":
        return UNKNOWN_KIND
    if row.direction == Direction.OUT:
        return UNKNOWN_CHARGE
    return TOO_OLD if _is_ours(row, known) else NOT_OURS
