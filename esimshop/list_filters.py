"""Filters of the admin's lists."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateFilter


class DaysFilter(RangeDateFilter):
    """From the beginning of one day to the end of another, both in the staff member's time zone; either may lack."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if first := self._start("from"):
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": first})
        if after := self._start("to", days_later=1):
            queryset = queryset.filter(**{f"{self.parameter_name}__lt": after})
        return queryset

    def _start(self, end: str, *, days_later: int = 0) -> datetime | None:
        text = self.used_parameters.get(f"{self.parameter_name}_{end}")
        try:
            return start_of_day(date.fromisoformat(text) + timedelta(days=days_later)) if text else None
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(f"{text} is no date such as 2026-11-24.") from error


def start_of_day(day: date) -> datetime:
    """The moment at which a day begins in the time zone of the moment."""
    return datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())
