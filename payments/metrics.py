"""`/metrics` for Prometheus: what the processes counted, and what the database says at this moment."""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import Error
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from procrastinate.contrib.django.models import ProcrastinateJob
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from catalog.models import CatalogSync, WholesalerAccount
from esimshop.models import Alert
from esimshop.tasks import FULFILMENT, HOUSEKEEPING, PROVISIONING
from orders.models import Delivery, Order
from payments.health import age_seconds, worker_heartbeat_age_seconds
from payments.models import Payment, Refund, TelegramUpdate

#: A proxy on this machine sets these: whoever is behind it is not on this machine.
FORWARDING_HEADERS = ("X-Forwarded-For", "X-Real-IP", "Forwarded")


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format. 403 without METRICS_TOKEN as bearer, or where none is set from all but this machine."""
    if not _may_read(request):
        return HttpResponse("forbidden\n", status=403, content_type="text/plain; charset=utf-8")
    shop = CollectorRegistry()
    shop.register(ShopCollector())
    return HttpResponse(_counted() + generate_latest(shop), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), settings.METRICS_TOKEN.encode())
        return scheme.lower() == "bearer" and is_right
    if any(name in request.headers for name in FORWARDING_HEADERS):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _counted() -> bytes:
    """What all processes of this machine counted, or this one alone where they share no folder."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY)
    processes = CollectorRegistry()
    multiprocess.MultiProcessCollector(processes)
    return generate_latest(processes)


class ShopCollector(Collector):
    """The shop's state as gauges, by a number of queries that does not grow with its rows."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        try:
            gauges = list(_gauges())
        except Error:
            gauges = []
        yield _gauge("database_up", "Whether the database could be asked.", [([], int(bool(gauges)))])
        yield from gauges


def _gauges() -> Iterable[GaugeMetricFamily]:
    yield _gauge(
        "payments",
        "Payments by status and kind.",
        _counts(Payment.objects, {"status": Payment.Status.values, "kind": Payment.Kind.values}),
        ["status", "kind"],
    )
    yield _gauge("orders", "Orders by state.", _counts(Order.objects, {"status": Order.Status.values}), ["status"])
    oldest = Order.objects.unfinished().aggregate(paid_at=Min("paid_at"))["paid_at"]
    yield _gauge(
        "oldest_unfinished_order_age_seconds",
        "Since the payment of the oldest order that is neither completed, refunded nor with a person; 0: none.",
        [([], age_seconds(oldest))],
    )
    yield _gauge(
        "jobs",
        "Tasks by queue and status; finished ones are deleted.",
        _counts(
            ProcrastinateJob.objects.filter(status__in=["todo", "doing", "failed"]),
            {"queue_name": [PROVISIONING, FULFILMENT, HOUSEKEEPING], "status": ["todo", "doing", "failed"]},
        ),
        ["queue", "status"],
    )
    heartbeat = worker_heartbeat_age_seconds()
    yield _gauge(
        "worker_heartbeat_age_seconds",
        "Since any worker's last sign of life; absent: no worker is known.",
        [([], heartbeat)] if heartbeat is not None else [],
    )
    for name, text, count in (
        ("deliveries_pending", "Messages to customers that are not sent yet.", _pending(Delivery)),
        ("refunds_pending", "Refunds that Telegram has not answered yet.", _pending(Refund)),
        (
            "updates_failed",
            "Telegram updates whose handling failed.",
            TelegramUpdate.objects.filter(status=TelegramUpdate.Status.FAILED).count(),
        ),
        ("alerts_open", "Alerts that nobody has dealt with.", Alert.objects.filter(cleared_at=None).count()),
    ):
        yield _gauge(name, text, [([], count)])
    # Prometheus knows floats only; nothing is computed from these.
    balance = WholesalerAccount.objects.values_list("balance_usd", flat=True).first()
    yield _gauge(
        "wholesaler_balance_usd",
        "What eSIM Go last said that is left; absent: not known.",
        [([], float(balance))] if balance is not None else [],
    )
    synced_at = (
        CatalogSync.objects.filter(~Q(finished_at=None), error="")
        .order_by("-id")
        .values_list("finished_at", flat=True)
        .first()
    )
    yield _gauge(
        "catalogue_age_seconds",
        "Since the last good sync; absent: there was none.",
        [([], age_seconds(synced_at))] if synced_at else [],
    )


def _pending(model: type[Delivery] | type[Refund]) -> int:
    return model._default_manager.filter(status="pending").count()


def _counts(rows: object, expected: dict[str, Sequence[str]]) -> list[tuple[list[str], int]]:
    """Rows per combination of the fields, 0 for those without rows: an alert on a missing series would never fire."""
    fields = list(expected)
    counts: dict[tuple[str, ...], int] = {(): 0}
    for values in expected.values():
        counts = {(*labels, value): 0 for labels in counts for value in values}
    for *labels, count in rows.order_by().values_list(*fields).annotate(Count("pk")):  # type: ignore[attr-defined]
        counts[tuple(labels)] = count
    return [(list(labels), count) for labels, count in counts.items()]


def _gauge(
    name: str, text: str, samples: Iterable[tuple[list[str], float]], labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"esimshop_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family
