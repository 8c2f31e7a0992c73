"""Whether the process lives (`/healthz`) and whether the shop can keep its promises (`/readyz`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, connection
from django.db.models import Min
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from catalog.models import Plan
from orders.models import Order

#: A worker writes its heartbeat every 10 s.
WORKER_SILENT_AFTER = timedelta(seconds=30)
#: What a promise may be late while its refund or its hand-over to a person is under way.
PROMISE_SLACK = timedelta(minutes=5)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Liveness: this process answers. Asks nothing of the database, whose failure a restart would not cure."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Readiness: 200, or 503 where a check fails.

    `{"status": "ready"|"not_ready", "failed": [names], "checks": {name: {"ok": bool, …}}}` with the checks database,
    worker, orders and catalogue; without a database the others are not made.
    """
    checks = run_checks()
    failed = [name for name, check in checks.items() if not check["ok"]]
    return JsonResponse(
        {"status": "not_ready" if failed else "ready", "failed": failed, "checks": checks},
        status=503 if failed else 200,
    )


def run_checks() -> dict[str, dict[str, Any]]:
    try:
        return {"database": {"ok": True}, **{name: check() for name, check in _CHECKS.items()}}
    except Error:
        # Without its text, which may name host and user.
        return {"database": {"ok": False}}


def _check_worker() -> dict[str, Any]:
    age = worker_heartbeat_age_seconds()
    return {
        "ok": age is not None and age <= WORKER_SILENT_AFTER.total_seconds(),
        "heartbeat_age_seconds": None if age is None else round(age, 1),
        "allowed_seconds": WORKER_SILENT_AFTER.total_seconds(),
    }


def _check_orders() -> dict[str, Any]:
    oldest = Order.objects.unfinished().aggregate(paid_at=Min("paid_at"), promise_at=Min("promise_at"))
    promise_at: datetime | None = oldest["promise_at"]
    return {
        "ok": promise_at is None or timezone.now() <= promise_at + PROMISE_SLACK,
        "oldest_unfinished_seconds": age_seconds(oldest["paid_at"]),
    }


def _check_catalogue() -> dict[str, Any]:
    return {"ok": Plan.objects.filter(is_offered=True).exists()}


_CHECKS: dict[str, Callable[[], dict[str, Any]]] = {
    "worker": _check_worker,
    "orders": _check_orders,
    "catalogue": _check_catalogue,
}


def worker_heartbeat_age_seconds() -> float | None:
    """Seconds since the last sign of life of any worker; None where there is none at all."""
    with connection.cursor() as cursor:
        # By the database's clock, which also writes the heartbeat.
        cursor.execute("SELECT extract(epoch FROM clock_timestamp() - max(last_heartbeat)) FROM procrastinate_workers")
        (age,) = cursor.fetchone()
    return None if age is None else float(age)


def age_seconds(since: datetime | None) -> int:
    """Whole seconds since then; 0 for None."""
    return max(0, int((timezone.now() - since).total_seconds())) if since else 0
