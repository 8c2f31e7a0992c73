"""Who asks for what how often, and when: what a run sends, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

PURCHASE = "purchase"
ABANDONED = "invoice that is not paid"

#: Requests for each purchase of the hour: twenty visits, of which eight are a phone's first.
PER_PURCHASE = {
    "Mini App page": 8.0,
    "Mini App page, 304": 12.0,
    "static file": 96.0,
    "areas": 8.0,
    "areas, 304": 12.0,
    "currencies": 8.0,
    "plans of an area": 24.0,
    "plans of an area, 304": 12.0,
    "plan": 10.0,
    "settings": 20.0,
    "own orders": 20.0,
    "own eSIMs": 6.0,
    "eSIM page": 4.0,
    "order page": 2.0,  # looked at later; a buyer's own polling comes with the purchase
    "callback": 3.0,
    ABANDONED: 0.5,
    # create-invoice, pre-checkout, successful_payment, invoice-closed, and the order page until the eSIM is there
    PURCHASE: 1.0,
}
#: Requests a second at any hour: two members of staff at work, and the reference.
STEADY = {
    "admin start page": 0.1,
    "admin search": 0.4,
    "admin order page": 0.4,
    "bare view": 5.0,
}
REPORT = "report"
SYNC = "catalogue sync"
RECONCILIATION = "reconciliation"
#: At these parts of a phase: a report of all payments, and tasks of the worker.
MOMENTS = {REPORT: (0.35, 0.7), SYNC: (0.25, 0.65), RECONCILIATION: (0.15, 0.45, 0.8)}

#: Of the day's mean, hour by hour: a quiet night, a peak at noon and a higher one in the evening.
HOURS = (
    *(0.4, 0.25, 0.2, 0.15, 0.15, 0.2, 0.35, 0.6, 0.85, 1.05, 1.2, 1.35),
    *(1.5, 1.35, 1.2, 1.15, 1.2, 1.35, 1.6, 1.9, 2.1, 1.8, 1.2, 0.7),
)


@dataclass(frozen=True)
class Phase:
    """purchases: a second, slot by slot, each of slot_seconds. warm_seconds: at the beginning, not counted."""

    name: str
    purchases: Sequence[float]
    slot_seconds: float
    warm_seconds: float = 0.0
    has_moments: bool = False

    @property
    def seconds(self) -> float:
        return len(self.purchases) * self.slot_seconds

    def arrivals(self, dice: random.Random) -> list[tuple[float, str]]:
        """When what begins, in seconds of the phase: independent of one another, and of how the server does."""
        found = [
            (moment, kind)
            for kind, times in PER_PURCHASE.items()
            for moment in _moments(dice, [times * rate for rate in self.purchases], self.slot_seconds)
        ]
        for kind, rate in STEADY.items():
            found += [(moment, kind) for moment in _moments(dice, [rate], self.seconds)]
        if self.has_moments:
            found += [(part * self.seconds, kind) for kind, parts in MOMENTS.items() for part in parts]
        return sorted(found)


def day(*, minutes: float, purchases_per_second: float) -> Phase:
    """All hours of a day in so many minutes; purchases_per_second: its mean."""
    mean = sum(HOURS) / len(HOURS)
    rates = [purchases_per_second * weight / mean for weight in HOURS]
    return Phase("the day", rates, slot_seconds=minutes * 60 / len(HOURS), has_moments=True)


def _moments(dice: random.Random, rates: Sequence[float], slot_seconds: float) -> Iterator[float]:
    for number, rate in enumerate(rates):
        moment = number * slot_seconds
        while rate and (moment := moment + dice.expovariate(rate)) < (number + 1) * slot_seconds:
            yield moment
