"""`/metrics` for Prometheus: what the processes counted, and what the database says at this moment."""

from __future__ import annotations

import hmac
import ipaddress

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from esimshop.counted import counted_here
from payments.gauges import ShopCollector

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
    return HttpResponse(generate_latest(counted_here()) + generate_latest(shop), content_type=CONTENT_TYPE_LATEST)


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
