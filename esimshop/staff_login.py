"""The guard at the login of the staff.

Five wrong passwords for one name from one address lock that pair for a quarter of an hour (django-axes, see
AXES_ in the settings); fifty wrong ones from one address lock the address until the hour is over, whatever the names.
"""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import Any

from axes.helpers import get_client_username
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib import admin
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from esimshop.addresses import address_of
from esimshop.rate_limits import count_use, seconds_to_wait

FAILURES_PER_HOUR = 50
KEEP_DAYS = 90


def count_failure(request: HttpRequest) -> None:
    """A login failed."""
    count_use(**_of_address(request))


def seconds_locked(request: HttpRequest) -> int:
    """For how long no login is tried from this address; 0: at once."""
    return seconds_to_wait(**_of_address(request))


def _of_address(request: HttpRequest) -> dict[str, Any]:
    return {"key": f"login:{address_of(request)}", "limit": FAILURES_PER_HOUR, "seconds": 3600}


def answer_locked(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None) -> HttpResponse:
    """The page for a name that django-axes locked for an address. The same whether there is such a name or not."""
    last_failure = (
        AccessAttempt.objects.filter(username=get_client_username(request, credentials), ip_address=address_of(request))
        .values_list("attempt_time", flat=True)
        .first()
    )
    until = (last_failure or timezone.now()) + settings.AXES_COOLOFF_TIME
    return locked_page(request, seconds=ceil((until - timezone.now()).total_seconds()))


def locked_page(request: HttpRequest, *, seconds: int) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": "Too many attempts", "minutes": max(1, ceil(seconds / 60))}
    response = render(request, "backoffice/locked.html", context, status=429)
    response["Retry-After"] = str(max(1, seconds))
    return response


def trim_logins() -> None:
    """Forget who logged in, or tried to, long ago, and sessions that are over."""
    oldest = timezone.now() - timedelta(days=KEEP_DAYS)
    AccessLog.objects.filter(attempt_time__lt=oldest).delete()
    AccessAttempt.objects.filter(attempt_time__lt=oldest).delete()
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
