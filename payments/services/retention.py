"""What the shop forgets by itself: operational rows after some days, and customers who have been gone for years.

Orders, their events, payments, refunds and Telegram's ledger are the books: they stay. How long the rest is kept, the
service policy says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from catalog.models import CatalogSync
from esimshop.models import Alert
from orders.models import Customer, Esim, EsimBundle, Order, WholesalerCall, WholesalerCallback
from orders.usage import USABLE
from payments.models import Case, CaseMessage, Payment, ServicePolicy, TelegramUpdate
from payments.services.anonymisation import AnonymisationRefused, anonymise_customer

log = structlog.get_logger(__name__)

TrimmedModel = TelegramUpdate | WholesalerCall | WholesalerCallback | CatalogSync | Alert
_CLOSED = [Order.Status.COMPLETED, Order.Status.REFUNDED, Order.Status.EXPIRED, Order.Status.CANCELLED]
#: Rows deleted in one transaction, and of one kind in one run: what is more waits for the next night.
BATCH = 1_000
MOST_ROWS = 100_000
#: Each is looked for in all stored updates.
MOST_CUSTOMERS = 100


@dataclass
class Trimmed:
    """What was deleted, or would be: rows by their names, and customers who were forgotten, or could not be."""

    is_dry_run: bool
    rows: dict[str, int] = field(default_factory=dict)
    customers_forgotten: int = 0
    customers_kept: int = 0


def trim_data(*, dry_run: bool = False) -> Trimmed:
    """Delete what has been kept long enough, and forget customers who have been gone long enough; some at a time.

    Call outside transactions: each batch is one. It can be stopped anywhere and run again.
    """
    policy = ServicePolicy.in_force()
    now = timezone.now()
    trimmed = Trimmed(is_dry_run=dry_run)
    for name, old in _old_rows(policy, now):
        trimmed.rows[name] = old.count() if dry_run else _delete(old)
    jobs_before = now - timedelta(days=policy.keep_operations_days)
    trimmed.rows["finished_tasks"] = _finished_jobs(jobs_before, dry_run=dry_run)
    if policy.anonymise_after_days:
        _forget_customers(policy.anonymise_after_days, now, trimmed)
    log.info("data_trimmed", dry_run=dry_run, **trimmed.rows, customers=trimmed.customers_forgotten)
    return trimmed


def _old_rows(policy: ServicePolicy, now: datetime) -> Iterator[tuple[str, QuerySet[TrimmedModel]]]:
    updates_before = now - timedelta(days=policy.keep_updates_days)
    # One that is not handled may be a payment still.
    handled = TelegramUpdate.objects.filter(status=TelegramUpdate.Status.HANDLED, received_at__lt=updates_before)
    yield "telegram_updates", handled
    calls_before = now - timedelta(days=policy.keep_calls_days)
    yield "wholesaler_calls", WholesalerCall.objects.filter(started_at__lt=calls_before, order__status__in=_CLOSED)
    yield "wholesaler_callbacks", WholesalerCallback.objects.filter(received_at__lt=calls_before)
    operations_before = now - timedelta(days=policy.keep_operations_days)
    # The last good one says how old the catalogue is.
    good = CatalogSync.objects.filter(error="").exclude(finished_at=None).order_by("-pk").values("pk")[:1]
    yield "catalog_syncs", CatalogSync.objects.filter(started_at__lt=operations_before).exclude(pk__in=good)
    yield "closed_alerts", Alert.objects.filter(cleared_at__lt=operations_before)


def _delete(old: QuerySet[TrimmedModel]) -> int:
    """Delete in batches, the oldest first. Returns how many."""
    deleted = 0
    while deleted < MOST_ROWS:
        pks = list(old.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if not pks:
            break
        with transaction.atomic():
            if old.model is TelegramUpdate:
                # What a customer wrote in a case stays there; Telegram sends it no more.
                CaseMessage.objects.filter(update__in=pks).update(update=None)
            old.model._default_manager.filter(pk__in=pks).delete()
        deleted += len(pks)
    return deleted


# The queue has no dates on its jobs, only on their events.
_FINISHED = """
    FROM procrastinate_jobs j
   WHERE j.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
     AND NOT EXISTS (SELECT 1 FROM procrastinate_events e WHERE e.job_id = j.id AND e.at >= %(before)s)
"""


def _finished_jobs(before: datetime, *, dry_run: bool) -> int:
    """Delete the queue's jobs that ended, other than well, before a moment: who ends well is deleted at once."""
    with connection.cursor() as cursor:
        if dry_run:
            cursor.execute(f"SELECT count(*) {_FINISHED}", {"before": before})
            return int(cursor.fetchone()[0])
        deleted = 0
        while deleted < MOST_ROWS:
            cursor.execute(
                f"DELETE FROM procrastinate_jobs WHERE id IN (SELECT j.id {_FINISHED} LIMIT {BATCH})",  # noqa: S608
                {"before": before},
            )
            if not cursor.rowcount:
                break
            deleted += cursor.rowcount
        return deleted


# Customers who are gone


def gone_customers(*, days: int, now: datetime) -> QuerySet[Customer]:
    """Those of whom nothing has been heard, and who have nothing left, for so many days; the longest gone first."""
    since = now - timedelta(days=days)
    mine = Q(customer=OuterRef("pk"))
    lively = [
        Order.objects.filter(mine, Q(created_at__gte=since) | Q(paid_at__gte=since) | Q(completed_at__gte=since)),
        Payment.objects.filter(mine, Q(created_at__gte=since) | Q(refunded_at__gte=since)),
        Case.objects.filter(mine).filter(~Q(status=Case.Status.CLOSED) | Q(updated_at__gte=since)),
        Esim.objects.filter(mine, created_at__gte=since),
        EsimBundle.objects.filter(
            Q(state__in=USABLE, told_at__gte=since) | Q(ends_at__gte=now), esim__customer=OuterRef("pk")
        ),
    ]
    gone = Customer.objects.filter(anonymised_at=None, created_at__lt=since)
    for rows in lively:
        gone = gone.exclude(Exists(rows))
    return gone.order_by("pk")


def _forget_customers(days: int, now: datetime, trimmed: Trimmed) -> None:
    gone = gone_customers(days=days, now=now)
    if trimmed.is_dry_run:
        trimmed.customers_forgotten = gone.count()
        return
    for customer in gone.iterator(chunk_size=MOST_CUSTOMERS):
        # Who cannot be forgotten costs little, and must not keep those behind waiting every night.
        if trimmed.customers_forgotten == MOST_CUSTOMERS:
            break
        try:
            anonymise_customer(customer, actor="clock", reason=f"nothing heard of them for {days} days")
        except AnonymisationRefused as refusal:
            log.warning("customer_not_forgotten", customer=customer.pk, reason=str(refusal))
            trimmed.customers_kept += 1
        else:
            log.info("customer_forgotten", customer=customer.pk)
            trimmed.customers_forgotten += 1
