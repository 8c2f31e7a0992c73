"""What was measured, and the table that says it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.benchmarks.closed_loop import Load

_NAME_WIDTH = 44
_HEADER = f"{'':<{_NAME_WIDTH}}{'req/s':>7}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'ratio':>8}{'at least':>10}"


@dataclass
class Measure:
    """One line of requests, over all rounds.

    reference: another measure, of which this one is a share, round by round: the machine's mood changes between them.
    least:     the share that it should reach.
    """

    name: str
    reference: Measure | None = None
    least: float | None = None
    rounds: list[Load] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return statistics.median(load.per_second for load in self.rounds)

    @property
    def ratio(self) -> float | None:
        if self.reference is None:
            return None
        pairs = zip(self.rounds, self.reference.rounds, strict=True)
        return statistics.median(ours.per_second / theirs.per_second for ours, theirs in pairs)

    def line(self) -> str:
        latencies = [latency for load in self.rounds for latency in load.latencies]
        ratio, verdict = "", ""
        if self.ratio is not None:
            ratio = f"{self.ratio:.2f}"
        if self.ratio is not None and self.least is not None:
            verdict = f"{self.least:>10.2f}  {_verdict(self.ratio >= self.least)}"
        return f"{self.name:<{_NAME_WIDTH}}{self.per_second:>7.0f}{_percentiles(latencies)}{ratio:>8}{verdict}".rstrip()


@dataclass(frozen=True)
class Wait:
    """One line of waiting times in seconds; longest_p50: what the median should stay under."""

    name: str
    seconds: list[float]
    longest_p50: float

    def line(self) -> str:
        is_ok = statistics.median(self.seconds) < self.longest_p50
        wanted = f"p50 < {self.longest_p50 * 1000:.0f} ms"
        return f"{self.name:<{_NAME_WIDTH}}{'':>7}{_percentiles(self.seconds)}{wanted:>18}  {_verdict(is_ok)}"


def table(measures: Iterable[Measure], waits: Iterable[Wait]) -> Iterator[str]:
    """The lines of the table."""
    yield _HEADER
    for measure in measures:
        yield measure.line()
    for wait in waits:
        yield wait.line()


def _percentiles(seconds: list[float]) -> str:
    return "".join(f"{percentile(seconds, share) * 1000:>9.1f}" for share in (0.5, 0.95, 0.99))


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _verdict(is_ok: bool) -> str:
    return "ok" if is_ok else "too slow"
