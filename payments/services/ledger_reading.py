"""Reading Telegram's Stars ledger into our rows: oldest first, from where it stopped, whatever interrupts it.

The ledger can only be skipped through by a number of rows. So the last page is read again every time: only if it
holds exactly the rows that lay there before does the number mean what it meant, else all is read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from django.db import transaction
from django.utils import timezone

from esimshop.clients.telegram import StarTransaction as LedgerRow
from esimshop.clients.telegram import telegram_client
from payments.models import StarsAccount, StarTransaction

PAGE = 100
#: While rows come in, the balance is that of no moment that was read: so often it is tried again.
MOST_BALANCE_READS = 3


class Ledger(Protocol):
    """Telegram's ledger, or a copy of it."""

    def page(self, offset: int) -> Sequence[LedgerRow]:
        """At most PAGE rows after the first `offset`, oldest first; fewer only at the end."""

    def balance(self) -> int:
        """Stars on the bot's account."""


class TelegramLedger:
    """The ledger itself. Raises: TelegramError."""

    def page(self, offset: int) -> Sequence[LedgerRow]:
        return telegram_client().get_star_transactions(offset=offset, limit=PAGE)

    def balance(self) -> int:
        return telegram_client().get_star_balance()


class LedgerCopy:
    """All of it, read at once: nothing outside is asked while a transaction is open. Raises: TelegramError."""

    def __init__(self, ledger: Ledger) -> None:
        self._rows = [row for _, page in _pages(ledger, 0) for row in page]
        self._balance = ledger.balance()

    def page(self, offset: int) -> Sequence[LedgerRow]:
        return self._rows[offset : offset + PAGE]

    def balance(self) -> int:
        return self._balance


@dataclass(frozen=True)
class Reading:
    """rows_new: stored by this reading.
    doubt:    why the ledger is not the one that was read before, or not oldest first; empty if nothing is odd.
    """

    rows_new: int
    doubt: str


def read_ledger(ledger: Ledger) -> Reading:
    """Store the rows that are new, each once, and the balance. Call outside transactions: each page is committed.

    Raises: TelegramError; what was stored until then stays, and the next reading goes on there.
    """
    account, _ = StarsAccount.objects.get_or_create(pk=1)
    rows_new, doubt = _store_pages(ledger, start=max(0, account.rows_read - PAGE), rows_read=account.rows_read)
    if doubt:
        StarsAccount.objects.update(rows_read=0)
        more, _ = _store_pages(ledger, start=0, rows_read=0)
        rows_new += more
    balance, more = _read_balance(ledger)
    for _ in range(MOST_BALANCE_READS - 1):
        if not more:
            break
        rows_new += more
        balance, more = _read_balance(ledger)
    StarsAccount.objects.update(balance_stars=balance, read_at=timezone.now())
    return Reading(rows_new=rows_new + more, doubt=doubt)


def _read_balance(ledger: Ledger) -> tuple[int, int]:
    """The balance, and how many rows came while it was asked for: with none, it is that of the stored rows."""
    balance = ledger.balance()
    rows_read = StarsAccount.objects.values_list("rows_read", flat=True).get()
    rows_new, _ = _store_pages(ledger, start=rows_read, rows_read=rows_read)
    return balance, rows_new


def _pages(ledger: Ledger, start: int) -> Iterator[tuple[int, Sequence[LedgerRow]]]:
    before: Sequence[LedgerRow] = ()
    offset, is_last = start, False
    while not is_last:
        page = ledger.page(offset)
        # The same rows again: the offset is not heeded, and there would be no end.
        is_last = len(page) < PAGE or page == before
        yield offset, page
        offset, before = offset + len(page), page


def _store_pages(ledger: Ledger, *, start: int, rows_read: int) -> tuple[int, str]:
    """Store what follows after `start` rows, of which `rows_read - start` are known. Returns: new rows, any doubt."""
    rows_new, doubt = 0, ""
    end, last_date = start, None
    for offset, page in _pages(ledger, start):
        new = _store_page(page, rows_read=offset + len(page))
        rows_new += sum(new)
        end = offset + len(page)
        overlap = max(0, rows_read - offset)
        if any(new[:overlap]):
            doubt = "rows lie where others lay before"
        elif rows_read and not all(new[overlap:]):
            doubt = "rows that were read before come again"
        dates = [*([last_date] if last_date else []), *(row.date for row in page)]
        if any(earlier > later for earlier, later in pairwise(dates)):
            doubt = doubt or "its rows are not in the order of their dates"
        last_date = dates[-1] if dates else None
    if end < rows_read:
        doubt = "it is shorter than before"
    return rows_new, doubt


@transaction.atomic
def _store_page(page: Sequence[LedgerRow], *, rows_read: int) -> list[bool]:
    """Store a page, and that so many rows are stored then. Returns for each of its rows whether it is new."""
    stored = StarTransaction.objects.filter(transaction_id__in=[row.id for row in page])
    known = {(row.transaction_id, row.direction): row for row in stored}
    new = [(row.id, row.direction) not in known for row in page]
    StarTransaction.objects.bulk_create(
        (_as_stored(row) for row, is_new in zip(page, new, strict=True) if is_new), ignore_conflicts=True
    )
    for row in page:  # a withdrawal that was pending
        before = known.get((row.id, row.direction))
        if before and before.state == StarTransaction.State.OTHER and before.note != (note := _note(row)):
            StarTransaction.objects.filter(pk=before.pk).update(note=note)
    StarsAccount.objects.update(rows_read=rows_read)
    return new


def _as_stored(row: LedgerRow) -> StarTransaction:
    return StarTransaction(
        transaction_id=row.id,
        direction=row.direction,
        amount_stars=row.amount_stars,
        date=row.date,
        partner_type=row.partner_type[:32],
        transaction_type=row.transaction_type[:32],
        user_id=row.user_id,
        invoice_payload=row.invoice_payload,
        state=StarTransaction.State.UNEXPLAINED,
        note=_note(row),
    )


def _note(row: LedgerRow) -> str:
    parts = [
        f"withdrawal {row.withdrawal_state}" if row.withdrawal_state else "",
        f"and {row.nanostars} billionths of a Star" if row.nanostars else "",
    ]
    return ", ".join(part for part in parts if part)
