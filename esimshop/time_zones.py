"""The back office shows and asks times in the time zone of whoever reads: static/backoffice/time_zone.js tells it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

#: Named in static/backoffice/time_zone.js too.
COOKIE = "time_zone"


class TimeZoneMiddleware:
    """Activates the time zone that the browser's cookie names, on the pages of the back office alone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(reverse("admin:index")):
            return self.get_response(request)
        with timezone.override(zone_of(request)):
            return self.get_response(request)


def zone_of(request: HttpRequest) -> ZoneInfo:
    """The time zone that a request's cookie names; UTC where it names none."""
    name = request.COOKIES.get(COOKIE, "")
    # Looked up before it is used: a name is also a path to the zone's file.
    return ZoneInfo(name if name in _known_zones() else "UTC")


@cache
def _known_zones() -> frozenset[str]:
    # `localtime` is a file of the server's own, and no name that PostgreSQL knows.
    return frozenset(available_timezones() - {"localtime"})
