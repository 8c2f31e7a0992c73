"""The shop's state as gauges for Prometheus, from our rows alone.

Every query reads an index of open rows, or of one day: a scrape costs the same after a year as after a week.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error
from django.db.models import Count, Min, Q, QuerySet, Sum
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from catalog.models import CatalogSync, Plan, PricingPolicy, SalesPause, WholesalerAccount
from esimshop.models import Alert
from orders.models import Delivery, Order, RefusedCallback
from payments.health import age_seconds, worker_heartbeat_age_seconds
from payments.models import (
    Payment,
    Refund,
    ServicePolicy,
    StarsAccount,
    StarTransaction,
    TelegramUpdate,
    WebhookState,
)
from payments.services.queue import QUEUES, count_stalled_jobs, count_workers, read_waits
from payments.services.webhook_watch import Place, missing_updates, webhook_place

#: States that an order leaves again, and those of a payment. The others only grow, so they are not counted as a whole.
OPEN_ORDERS = ("awaiting_payment", "paid", "provisioning", "needs_attention", "refunding")
OPEN_PAYMENTS = ("refunding", "refund_failed")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

Sample = tuple[list[str], float]


class ShopCollector(Collector):
    """All gauges; without a database, that it is down."""

    def collect(self) -> Iterable[Metric]:
        try:
            found = [metric for group in GROUPS for metric in group()]
        except Error:
            found = []
        yield _gauge("database_up", "Whether the database could be asked.", [([], int(bool(found)))])
        yield from found


def _orders() -> Iterator[Metric]:
    yield _gauge(
        "orders",
        "Orders in states that they leave again; recent_orders has the others.",
        _counts(Order.objects.filter(status__in=OPEN_ORDERS), {"status": OPEN_ORDERS}),
        ["status"],
    )
    yield _gauge(
        "recent_orders",
        "Orders paid within the last 24 hours, by their state now.",
        _counts(Order.objects.filter(paid_at__gte=timezone.now() - DAY), {"status": Order.Status.values}),
        ["status"],
    )
    oldest = Order.objects.unfinished().aggregate(paid_at=Min("paid_at"), promise_at=Min("promise_at"))
    yield _number(
        "oldest_unfinished_order_age_seconds",
        "Since the payment of the oldest order that is neither completed, refunded nor with a person; 0: none.",
        age_seconds(oldest["paid_at"]),
    )
    yield _number(
        "oldest_unfinished_order_overdue_seconds",
        "For how long a promise to such an order has been broken; 0: none is.",
        age_seconds(oldest["promise_at"]),
    )
    yield _number("deliveries_pending", "Messages to customers that are not sent yet.", _pending(Delivery).count())


def _money() -> Iterator[Metric]:
    yield _gauge(
        "payments",
        "Payments whose Stars are on their way back, or were refused to go back, by kind.",
        _counts(
            Payment.objects.filter(status__in=OPEN_PAYMENTS), {"status": OPEN_PAYMENTS, "kind": Payment.Kind.values}
        ),
        ["status", "kind"],
    )
    an_hour_ago, a_day_ago = timezone.now() - HOUR, timezone.now() - DAY
    sold = Payment.objects.filter(created_at__gte=a_day_ago, kind=Payment.Kind.ORDER).aggregate(
        orders_1h=Count("pk", filter=Q(created_at__gte=an_hour_ago)),
        stars_1h=Sum("amount_stars", filter=Q(created_at__gte=an_hour_ago)),
        orders_24h=Count("pk"),
        stars_24h=Sum("amount_stars"),
    )
    back = Refund.objects.filter(refunded_at__gte=a_day_ago).aggregate(
        stars_1h=Sum("payment__amount_stars", filter=Q(refunded_at__gte=an_hour_ago)),
        stars_24h=Sum("payment__amount_stars"),
    )
    for name, text, counted, prefix in (
        ("sold_orders", "Orders paid within the window.", sold, "orders"),
        ("sold_stars", "Stars paid for orders within the window.", sold, "stars"),
        ("refunded_stars", "Stars returned within the window.", back, "stars"),
    ):
        samples = [([window], counted[f"{prefix}_{window}"] or 0) for window in ("1h", "24h")]
        yield _gauge(name, text, samples, ["window"])
    owed = _pending(Refund).aggregate(count=Count("pk"), oldest=Min("requested_at"), stars=Sum("payment__amount_stars"))
    yield _number("refunds_pending", "Refunds that Telegram has not answered yet.", owed["count"])
    yield _number(
        "oldest_pending_refund_age_seconds", "Since the oldest of them was asked for.", age_seconds(owed["oldest"])
    )
    yield _number("stars_owed", "Stars of refunds that Telegram has not answered yet.", owed["stars"] or 0)
    unexplained = StarTransaction.objects.filter(
        state__in=[StarTransaction.State.UNEXPLAINED, StarTransaction.State.DIFFERENT]
    )
    yield _number(
        "stars_unexplained_rows", "Rows of Telegram's ledger that do not agree with ours.", unexplained.count()
    )
    stars = StarsAccount.objects.first()
    yield _number(
        "stars_balance", "Stars of the bot as last read; absent: not known.", stars.balance_stars if stars else None
    )
    yield _age("stars_ledger_age_seconds", "Since Telegram's ledger was last read.", stars.read_at if stars else None)


def _wholesaler() -> Iterator[Metric]:
    account = WholesalerAccount.objects.first()
    # Prometheus knows floats only; nothing is computed from these.
    yield _number(
        "wholesaler_balance_usd",
        "What eSIM Go last said that is left; absent: not known.",
        float(account.balance_usd) if account and account.balance_usd is not None else None,
    )
    yield _age("wholesaler_balance_age_seconds", "Since it said so.", account.read_at if account else None)
    promised = Order.objects.promised().aggregate(usd=Sum("cost_usd"))["usd"]
    yield _number(
        "wholesaler_promised_usd", "What paid orders that are not bought yet will cost.", float(promised or 0)
    )
    yield _number(
        "wholesaler_low_balance_usd",
        "The service policy's low balance.",
        float(ServicePolicy.in_force().low_balance_usd),
    )
    counted = dict(RefusedCallback.objects.values_list("reason", "count"))
    refused = CounterMetricFamily(
        "esimshop_callbacks_refused", "Callbacks about eSIMs of ours without a right signature.", labels=["reason"]
    )
    for reason in RefusedCallback.Reason.values:
        refused.add_metric([reason], counted.get(reason, 0))
    yield refused


def _catalogue() -> Iterator[Metric]:
    good = CatalogSync.objects.filter(~Q(finished_at=None), error="").order_by("-id")
    synced_at = good.values_list("finished_at", flat=True).first()
    yield _age("catalogue_age_seconds", "Since the last good sync; absent: there was none.", synced_at)
    yield _number("plans_on_sale", "Plans that can be bought.", Plan.objects.on_sale().count())
    yield _number("sales_on", "Whether the pricing policy says that we sell.", int(PricingPolicy.in_force().is_selling))
    yield _gauge(
        "sales_pauses",
        "Open pauses of sales by cause.",
        _counts(SalesPause.objects.filter(ended_at=None), {"cause": SalesPause.Cause.values}),
        ["cause"],
    )


def _queue() -> Iterator[Metric]:
    yield _gauge(
        "jobs",
        "Tasks by queue and status; finished ones are deleted.",
        _counts(
            ProcrastinateJob.objects.filter(status__in=["todo", "doing", "failed"]),
            {"queue_name": QUEUES, "status": ["todo", "doing", "failed"]},
        ),
        ["queue", "status"],
    )
    yield _gauge(
        "job_wait_seconds",
        "For how long the oldest task that is due has been waiting; 0: none waits.",
        [([queue], wait.seconds) for queue, wait in read_waits().items()],
        ["queue"],
    )
    yield _number("jobs_stalled", "Tasks of workers that are gone.", count_stalled_jobs())
    yield _number("workers", "Workers with a fresh sign of life, two of each process.", count_workers())
    yield _number(
        "worker_heartbeat_age_seconds",
        "Since any worker's last sign of life; absent: no worker is known.",
        worker_heartbeat_age_seconds(),
    )


def _webhook() -> Iterator[Metric]:
    """As a task last read it: see payments.services.webhook_watch."""
    state = WebhookState.objects.first() or WebhookState()
    is_read = state.read_at is not None
    place = webhook_place(state.url) if is_read else None
    yield _gauge(
        "webhook",
        "1 for where Telegram sends updates; 0 everywhere: not known.",
        [([each], int(each == place)) for each in Place],
        ["place"],
    )
    yield _number(
        "webhook_pending_updates", "Updates that wait at Telegram.", state.pending_updates if is_read else None
    )
    yield _number(
        "webhook_missing_updates",
        "Kinds of updates that we need and Telegram does not send.",
        len(missing_updates(state.allowed_updates)) if place == Place.OURS else 0,
    )
    yield _age(
        "webhook_last_error_age_seconds", "Since Telegram last failed to deliver; absent: never.", state.last_error_at
    )
    yield _age("webhook_state_age_seconds", "Since Telegram was last asked about the webhook.", state.read_at)
    needs_certificate = settings.PUBLIC_URL.startswith("https:")
    ends_at = state.certificate_ends_at if needs_certificate else None
    yield _number(
        "certificate_left_seconds",
        "Until the certificate of PUBLIC_URL ends; absent: not known, or none is needed.",
        (ends_at - timezone.now()).total_seconds() if ends_at else None,
    )
    yield _number(
        "certificate_refused",
        "Whether the certificate of PUBLIC_URL is not good.",
        int(needs_certificate and bool(state.certificate_error)),
    )
    yield _age(
        "certificate_state_age_seconds",
        "Since the certificate was last read; absent: never.",
        state.certificate_read_at if needs_certificate else None,
    )


def _attention() -> Iterator[Metric]:
    failed = TelegramUpdate.objects.filter(status=TelegramUpdate.Status.FAILED)
    yield _number("updates_failed", "Telegram updates whose handling failed.", failed.count())
    yield _number("alerts_open", "Alerts that nobody has dealt with.", Alert.objects.filter(cleared_at=None).count())


GROUPS = (_orders, _money, _wholesaler, _catalogue, _queue, _webhook, _attention)


def _pending(model: type[Delivery] | type[Refund]) -> QuerySet[Delivery] | QuerySet[Refund]:
    return model._default_manager.filter(status="pending")


def _counts(
    rows: QuerySet[Order] | QuerySet[Payment] | QuerySet[SalesPause] | QuerySet[ProcrastinateJob],
    expected: dict[str, Sequence[str]],
) -> list[Sample]:
    """Rows per combination of the fields, 0 for those without rows: an alert on a missing series would never fire."""
    fields = list(expected)
    counts: dict[tuple[str, ...], int] = {(): 0}
    for values in expected.values():
        counts = {(*labels, value): 0 for labels in counts for value in values}
    for *labels, count in rows.order_by().values_list(*fields).annotate(Count("pk")):
        counts[tuple(labels)] = count
    return [(list(labels), count) for labels, count in counts.items()]


def _age(name: str, text: str, since: datetime | None) -> GaugeMetricFamily:
    return _number(name, text, age_seconds(since) if since else None)


def _number(name: str, text: str, number: float | None) -> GaugeMetricFamily:
    """One number, or no sample where it is not known."""
    return _gauge(name, text, [] if number is None else [([], number)])


def _gauge(name: str, text: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"esimshop_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family
