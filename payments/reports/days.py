"""The days of a report, in a time zone: both ends are included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

from django.utils import timezone

#: PostgreSQL's times and Python's end elsewhere; nothing of the shop lies outside.
FIRST, LAST = date(2000, 1, 1), date(2199, 12, 31)


class BadDays(ValueError):
    """No such days or time zone; the text says why, for whoever asked."""


@dataclass(frozen=True)
class Days:
    """From the first moment of `first` to the last of `last`, by the clocks of `zone`. None: without that border."""

    first: date | None = None
    last: date | None = None
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.zone not in available_timezones():
            raise BadDays(f"{self.zone} is no time zone. Name one as in Europe/Berlin.")
        for day in (self.first, self.last):
            if day and not FIRST <= day <= LAST:
                raise BadDays(f"{day} is not between {FIRST} and {LAST}.")
        if self.first and self.last and self.first > self.last:
            raise BadDays(f"The first day, {self.first}, is after the last, {self.last}.")

    @property
    def start(self) -> datetime:
        """The first moment."""
        return self._midnight(self.first or FIRST)

    @property
    def end(self) -> datetime:
        """The first moment that is over."""
        return self._midnight((self.last or LAST) + timedelta(days=1))

    @property
    def today(self) -> date:
        """The day that it is in the zone."""
        return timezone.now().astimezone(ZoneInfo(self.zone)).date()

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time.min, tzinfo=ZoneInfo(self.zone))

    def __str__(self) -> str:
        borders = [each.isoformat() if each else "" for each in (self.first, self.last)]
        return "--".join(borders) if any(borders) else "all"


def parse_day(text: str) -> date:
    """A date as 2026-11-30. Raises: BadDays."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadDays(f"{text} is no date. Write it as 2026-11-30.") from error
