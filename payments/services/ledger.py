"""Telegram's Stars ledger against our books: repairs what is certain, lists the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import BigIntegerField, Case, Exists, F, OuterRef, Sum, When
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.clients.telegram import TelegramError
from esimshop.logs import redact
from payments.models import Payment, StarsAccount, StarTransaction
from payments.services.held_charges import held_charges
from payments.services.ledger_matching import Matching, match_ledger
from payments.services.ledger_reading import Ledger, LedgerCopy, Reading, TelegramLedger, read_ledger

State = StarTransaction.State
Direction = StarTransaction.Direction

#: Of the one process that reads and matches.
LEDGER_LOCK = 0x53544152
#: What is younger may not have come to the ledger yet.
SETTLES_WITHIN = timedelta(minutes=10)
UNREAD_ALERT_AFTER = timedelta(minutes=30)
_LIST = "/admin/payments/startransaction/?state__exact="


class AlreadyReconciling(Exception):
    """Another process reconciles at this moment; it does what this one would do."""


@dataclass(frozen=True)
class Missing:
    """A charge, or the refund of one, that our books have and Telegram's ledger has not."""

    charge_id: str
    direction: str
    amount_stars: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class StarsReport:
    """What the books say of each other.

    rows_read, rows_new: rows of Telegram's ledger, all and those of this run.
    recorded, settled:   charge ids of payments, and of refunds, that only the ledger told of: repaired by this run.
    waiting:             charges younger than a minute, left to their updates.
    held:                extra charges that wait for a person: only the ledger told of them and they are more than the
                         policy's refunds an hour, or they are of a time that a restored backup has forgotten.
    unexplained_stars:   Telegram's balance less what our books explain of it. Explained are the rows that are matched,
                         history or other (in less out), and of those that are different and those that wait our, or
                         their, amount. It is the sum of the unexplained rows and of the differences, and of whatever
                         moved the balance without a row.
    doubt:               why the ledger was read again from its beginning; empty if it was not.
    """

    rows_read: int
    rows_new: int
    balance_stars: int
    unexplained_stars: int
    only_in_telegram: list[StarTransaction]
    only_here: list[Missing]
    different: list[StarTransaction]
    recorded: list[str]
    settled: list[str]
    adopted: int
    waiting: int
    held: list[Payment]
    doubt: str
    is_dry_run: bool

    @property
    def is_clean(self) -> bool:
        """Nothing is left for a person."""
        return not (self.only_in_telegram or self.only_here or self.different or self.held or self.unexplained_stars)

    def as_json(self) -> dict[str, Any]:
        """The report for machines: Stars are whole numbers, times RFC 3339."""
        return {
            "dry_run": self.is_dry_run,
            "rows_read": self.rows_read,
            "rows_new": self.rows_new,
            "balance_stars": self.balance_stars,
            "unexplained_stars": self.unexplained_stars,
            "only_in_telegram": [_as_json(row) for row in self.only_in_telegram],
            "only_here": [
                {
                    "charge_id": each.charge_id,
                    "direction": each.direction,
                    "amount_stars": each.amount_stars,
                    "date": each.at.isoformat(),
                }
                for each in self.only_here
            ],
            "different": [_as_json(row) for row in self.different],
            "recorded": self.recorded,
            "settled": self.settled,
            "adopted": self.adopted,
            "waiting": self.waiting,
            "held": [payment.charge_id for payment in self.held],
            "doubt": self.doubt,
            "clean": self.is_clean,
        }


def _as_json(row: StarTransaction) -> dict[str, Any]:
    return {
        "transaction_id": row.transaction_id,
        "direction": row.direction,
        "amount_stars": row.amount_stars,
        "date": row.date.isoformat(),
        "partner": row.partner_type,
        "user_id": row.user_id,
        "note": row.note,
    }


def reconcile_stars(*, adopt_history: bool = False, dry_run: bool = False) -> StarsReport:
    """Read Telegram's ledger, repair what is certain, list the rest, and keep the operators' alerts up to date.

    adopt_history: all rows until now that we cannot explain are from before the shop kept books.
    dry_run:       read everything, report what would be, and write nothing.
    Raises:        AlreadyReconciling; TelegramError, after which the next run goes on where this one stopped.
    """
    with _alone():
        if not dry_run:
            return _reconcile(TelegramLedger(), adopt_history=adopt_history, is_dry_run=False)
        copy = LedgerCopy(TelegramLedger())
        with transaction.atomic():
            report = _reconcile(copy, adopt_history=adopt_history, is_dry_run=True)
            transaction.set_rollback(True)
        return report


@contextmanager
def _alone() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LEDGER_LOCK])
        if not cursor.fetchone()[0]:
            raise AlreadyReconciling
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LEDGER_LOCK])


def _reconcile(ledger: Ledger, *, adopt_history: bool, is_dry_run: bool) -> StarsReport:
    reading = read_ledger(ledger)
    if adopt_history:
        StarsAccount.objects.update(history_until=timezone.now())
    account = StarsAccount.objects.get()
    matching = match_ledger(history_until=account.history_until)
    report = _report(account, reading, matching, is_dry_run=is_dry_run)
    _tell(
        "stars_failed",
        matching.failed,
        f"{len(matching.failed)} rows of Telegram's Stars ledger could not be matched with our books: the log has the "
        "tracebacks. They are tried again every 5 minutes.",
        path=f"{_LIST}{State.UNEXPLAINED}",
    )
    _tell_operators(report)
    return report


def _report(account: StarsAccount, reading: Reading, matching: Matching, *, is_dry_run: bool) -> StarsReport:
    unexplained = StarTransaction.objects.filter(state=State.UNEXPLAINED).order_by("date", "pk")
    assert account.balance_stars is not None
    return StarsReport(
        rows_read=account.rows_read,
        rows_new=reading.rows_new,
        balance_stars=account.balance_stars,
        unexplained_stars=account.balance_stars - _explained_stars(),
        only_in_telegram=list(unexplained),
        only_here=_only_here(),
        different=list(StarTransaction.objects.filter(state=State.DIFFERENT).order_by("date", "pk")),
        recorded=matching.recorded,
        settled=matching.settled,
        adopted=matching.adopted,
        waiting=StarTransaction.objects.filter(state=State.WAITING).count(),
        held=list(held_charges().order_by("pk")),
        doubt=reading.doubt,
        is_dry_run=is_dry_run,
    )


def _explained_stars() -> int:
    explained = StarTransaction.objects.exclude(state=State.UNEXPLAINED)
    amount = Case(
        When(state=State.DIFFERENT, then=F("payment__amount_stars")),
        default=F("amount_stars"),
        output_field=BigIntegerField(),
    )
    signed = Case(When(direction=Direction.IN, then=amount), default=-amount)
    stars: int | None = explained.aggregate(stars=Sum(signed))["stars"]
    return stars or 0


def _only_here() -> list[Missing]:
    """What a ledger that was read to its end should have by now."""
    settled_by = timezone.now() - SETTLES_WITHIN
    rows = StarTransaction.objects.filter(transaction_id=OuterRef("charge_id"))
    charges = Payment.objects.filter(created_at__lte=settled_by).exclude(Exists(rows.filter(direction=Direction.IN)))
    refunds = Payment.objects.filter(refunded_at__lte=settled_by).exclude(Exists(rows.filter(direction=Direction.OUT)))
    return [
        *(
            Missing(charge_id, Direction.IN, stars, at)
            for charge_id, stars, at in charges.order_by("pk").values_list("charge_id", "amount_stars", "charged_at")
        ),
        *(
            Missing(charge_id, Direction.OUT, stars, at)
            for charge_id, stars, at in refunds.order_by("pk").values_list("charge_id", "amount_stars", "refunded_at")
            if at
        ),
    ]


def _tell_operators(report: StarsReport) -> None:
    """One alert for each kind of trouble, however many rows it has; closed when it is over."""
    look = "`reconcile_stars` lists them"
    _tell(
        "stars_only_in_telegram",
        len(report.only_in_telegram),
        f"{len(report.only_in_telegram)} rows of Telegram's Stars ledger belong to nothing in our books. Nothing was "
        f"returned; {look}. If they are from before this shop kept books: `reconcile_stars --adopt-history`.",
        path=f"{_LIST}{State.UNEXPLAINED}",
    )
    _tell(
        "stars_only_here",
        len(report.only_here),
        f"{len(report.only_here)} charges or refunds in our books are missing in Telegram's Stars ledger; {look}. "
        "Check that TELEGRAM_BOT_TOKEN is that of the bot that took them.",
        path="/admin/payments/startransaction/",
    )
    _tell(
        "stars_different",
        len(report.different),
        f"{len(report.different)} rows of Telegram's Stars ledger have another amount than our books; {look}.",
        path=f"{_LIST}{State.DIFFERENT}",
    )
    _tell(
        "stars_held",
        len(report.held),
        f"{len(report.held)} extra charges wait for a person ({look}): more than the service policy returns in an "
        "hour, or of a time that a restored backup has forgotten. Return each with `refund_payment CHARGE_ID --reason "
        "TEXT`, or say that its eSIM was delivered: `keep_charge CHARGE_ID --reason TEXT`.",
        path="/admin/payments/payment/?kind__exact=extra&status__exact=paid",
    )
    has_lists = report.only_in_telegram or report.only_here or report.different
    _tell(
        "stars_balance",
        report.unexplained_stars and not has_lists,
        f"Telegram's balance differs by {report.unexplained_stars} Stars from the sum of its ledger, without a row "
        "that says why: perhaps a chargeback. Ask Telegram's support.",
        path="/admin/payments/starsaccount/",
    )
    _tell(
        "stars_ledger",
        report.doubt,
        f"Telegram's Stars ledger is not the one that was read before: {report.doubt}. It was read again from its "
        "beginning. Check that TELEGRAM_BOT_TOKEN is that of the bot that took the payments in this database.",
        path="/admin/payments/starsaccount/",
    )
    clear_alert(cause="stars_unread")


def _tell(cause: str, is_so: object, text: str, *, path: str) -> None:
    if is_so:
        raise_alert(cause=cause, text=text, path=path)
    else:
        clear_alert(cause=cause)


def note_unread_ledger(error: TelegramError) -> None:
    """Tell the operators if the ledger could not be read for long: until then the next run tries again."""
    read_at = StarsAccount.objects.values_list("read_at", flat=True).first()
    if read_at and read_at > timezone.now() - UNREAD_ALERT_AFTER:
        return
    raise_alert(
        cause="stars_unread",
        text=f"Telegram's Stars ledger cannot be read: {redact(str(error))}. Payments whose updates are lost are not "
        "found meanwhile. Check the bot's token and the network; `reconcile_stars` tries at once.",
        path="/admin/payments/starsaccount/",
    )
