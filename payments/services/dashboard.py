"""The figures of the back office's start page: how the shop sells, what waits for a person, and whether all is well.

Nothing outside is asked: what Telegram and eSIM Go said last stands in our rows, with its age.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from django.db.models import Aggregate, Count, DurationField, ExpressionWrapper, F, Min, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from catalog.models import CatalogSync, PricingPolicy, SalesPause, WholesalerAccount
from esimshop.models import Alert
from orders.models import Order, Orphan
from payments.health import worker_heartbeat_age_seconds
from payments.models import Case, Payment, Refund, RefundRequest, StarsAccount, StarTransaction, TelegramUpdate

DAYS = 30


class _Percentile(Aggregate):
    """PostgreSQL's percentile_cont over durations."""

    template = "PERCENTILE_CONT(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = DurationField()


@dataclass(kw_only=True)
class Sales:
    """What was sold in a period. Stars are whole numbers.

    invoices, invoices_paid, invoices_delivered: of the orders made in it: those with an invoice, those of them that
                                                 were paid for, and those whose eSIM is there.
    median, slow: from payment to eSIM, of half and of 95 % of the orders paid in it; None: there was none.
    """

    payments: int = 0
    stars: int = 0
    refunds: int = 0
    stars_refunded: int = 0
    invoices: int = 0
    invoices_paid: int = 0
    invoices_delivered: int = 0
    median: timedelta | None = None
    slow: timedelta | None = None


@dataclass(kw_only=True)
class Day:
    """One day of the charts, in the zone that was asked for."""

    date: date
    payments: int = 0
    stars: int = 0
    refunds: int = 0
    stars_refunded: int = 0
    median: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """today, month: since midnight, and of the last DAYS days, today included. days: the month's, oldest first."""

    today: Sales
    month: Sales
    days: list[Day]
    starts: datetime
    month_starts: datetime


def read_figures(zone: tzinfo) -> Figures:
    """Sales of today and of the last 30 days, by days of this zone; a fixed number of queries over indexed ranges."""
    today = timezone.now().astimezone(zone).date()
    starts = datetime.combine(today, time(), zone)
    first = today - timedelta(days=DAYS - 1)
    month_starts = datetime.combine(first, time(), zone)
    days = {first + timedelta(days=number): Day(date=first + timedelta(days=number)) for number in range(DAYS)}
    _count_payments(days, month_starts, zone)
    _count_refunds(days, month_starts, zone)
    for each, length in (
        Order.objects.filter(paid_at__gte=month_starts, completed_at__gt=F("paid_at"))
        .annotate(day=TruncDate("paid_at", tzinfo=zone))
        .values_list("day")
        .annotate(median=_Percentile(_took(), fraction=0.5))
        .order_by("day")
    ):
        if each in days:
            days[each].median = length
    return Figures(
        today=_sum_up([days[today]], starts),
        month=_sum_up(list(days.values()), month_starts),
        days=list(days.values()),
        starts=starts,
        month_starts=month_starts,
    )


def _count_payments(days: dict[date, Day], since: datetime, zone: tzinfo) -> None:
    rows = (
        Payment.objects.filter(charged_at__gte=since)
        .annotate(day=TruncDate("charged_at", tzinfo=zone))
        .values_list("day")
        .annotate(count=Count("pk"), stars=Sum("amount_stars"))
        .order_by("day")
    )
    for each, count, stars in rows:
        if each in days:
            days[each].payments, days[each].stars = count, stars


def _count_refunds(days: dict[date, Day], since: datetime, zone: tzinfo) -> None:
    rows = (
        Refund.objects.filter(refunded_at__gte=since, status=Refund.Status.DONE)
        .annotate(day=TruncDate("refunded_at", tzinfo=zone))
        .values_list("day")
        .annotate(count=Count("pk"), stars=Sum("payment__amount_stars"))
        .order_by("day")
    )
    for each, count, stars in rows:
        if each in days:
            days[each].refunds, days[each].stars_refunded = count, stars


def _sum_up(days: list[Day], since: datetime) -> Sales:
    invoiced = Order.objects.filter(created_at__gte=since, invoice__isnull=False).aggregate(
        made=Count("pk"), paid=Count("paid_at"), delivered=Count("completed_at")
    )
    took = Order.objects.filter(paid_at__gte=since, completed_at__gt=F("paid_at")).aggregate(
        median=_Percentile(_took(), fraction=0.5), slow=_Percentile(_took(), fraction=0.95)
    )
    return Sales(
        payments=sum(day.payments for day in days),
        stars=sum(day.stars for day in days),
        refunds=sum(day.refunds for day in days),
        stars_refunded=sum(day.stars_refunded for day in days),
        invoices=invoiced["made"],
        invoices_paid=invoiced["paid"],
        invoices_delivered=invoiced["delivered"],
        median=took["median"],
        slow=took["slow"],
    )


def _took() -> ExpressionWrapper[Any]:
    return ExpressionWrapper(F("completed_at") - F("paid_at"), output_field=DurationField())


@dataclass(frozen=True, kw_only=True)
class StuckOrders:
    """Paid orders that one cause holds up. oldest: when the first of them was paid."""

    status: str
    cause: str
    count: int
    stars: int
    oldest: datetime | None


def find_stuck_orders() -> list[StuckOrders]:
    """Orders that wait for a person, or for something that a person must mend first; the most on top."""
    held_up = [Order.Cause.ACCOUNT, Order.Cause.UNREACHABLE, Order.Cause.PURCHASE_LIMIT]
    rows = (
        Order.objects.filter(Q(status=Order.Status.NEEDS_ATTENTION) | Q(status=Order.Status.PAID, cause__in=held_up))
        .values("status", "cause")
        .annotate(count=Count("pk"), stars=Sum("amount_stars"), oldest=Min("paid_at"))
        .order_by("-count")
    )
    return [StuckOrders(**row) for row in rows]


@dataclass(frozen=True)
class Waiting:
    """Rows of one kind that wait for a person."""

    count: int
    oldest: datetime | None


def find_waiting() -> dict[str, Waiting]:
    """What else waits for a person, by name; a query each, over indexes of open rows."""
    queries = {
        "cases": (Case.objects.filter(status=Case.Status.OPEN), "updated_at"),
        "refund_requests": (RefundRequest.objects.filter(status=RefundRequest.Status.WAITING), "requested_at"),
        "refused_refunds": (Payment.objects.filter(status=Payment.Status.REFUND_FAILED), "charged_at"),
        "unexplained": (
            StarTransaction.objects.filter(
                state__in=[StarTransaction.State.UNEXPLAINED, StarTransaction.State.DIFFERENT]
            ),
            "date",
        ),
        "orphans": (Orphan.objects.filter(status=Orphan.Status.OPEN), "found_at"),
        "failed_updates": (TelegramUpdate.objects.filter(status=TelegramUpdate.Status.FAILED), "received_at"),
        "failed_jobs": (ProcrastinateJob.objects.filter(status="failed"), "scheduled_at"),
        "alerts": (Alert.objects.filter(cleared_at=None), "raised_at"),
    }
    found = {}
    for name, (rows, moment) in queries.items():
        told = rows.aggregate(count=Count("pk"), oldest=Min(moment))
        found[name] = Waiting(told["count"], told["oldest"])
    return found


@dataclass(frozen=True, kw_only=True)
class Health:
    """What the shop last knew of itself and of its partners; ages are of now, None where nothing is known."""

    balance_usd: Decimal | None
    balance_age: timedelta | None
    balance_stars: int | None
    stars_age: timedelta | None
    catalogue_age: timedelta | None
    heartbeat_age: timedelta | None
    update_age: timedelta | None
    is_selling: bool
    pauses: list[SalesPause]


def read_health() -> Health:
    """Balances, ages and pauses, from our rows alone."""
    now = timezone.now()
    account = WholesalerAccount.objects.first()
    stars = StarsAccount.objects.first()
    synced = CatalogSync.objects.filter(error="").exclude(finished_at=None).order_by("-id").first()
    heartbeat = worker_heartbeat_age_seconds()
    update = TelegramUpdate.objects.order_by("-received_at").values_list("received_at", flat=True).first()
    return Health(
        balance_usd=account.balance_usd if account else None,
        balance_age=_age(account.read_at if account else None, now),
        balance_stars=stars.balance_stars if stars else None,
        stars_age=_age(stars.read_at if stars else None, now),
        catalogue_age=_age(synced.finished_at if synced else None, now),
        heartbeat_age=None if heartbeat is None else timedelta(seconds=heartbeat),
        update_age=_age(update, now),
        is_selling=PricingPolicy.in_force().is_selling,
        pauses=list(SalesPause.objects.filter(ended_at=None).order_by("id")),
    )


def _age(moment: datetime | None, now: datetime) -> timedelta | None:
    return None if moment is None else max(now - moment, timedelta())
