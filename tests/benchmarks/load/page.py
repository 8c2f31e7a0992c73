"""The section *Measured* of docs/capacity.md."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.benchmarks.figures import percentile
from tests.benchmarks.load.report import OWN, PROCESSORS, SHARES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.load.run import Outcome, Run

_SHARES_OF_WAITS = (0.5, 0.95)
_MOST_TABLES = 6


HEADING = "## Measured\n"


def write_measured(run: Run, document: Path) -> None:
    """Put the figures where the last ones were."""
    before, heading, after = document.read_text(encoding="utf-8").partition(HEADING)
    if not heading:
        raise ValueError(f"{document} has no heading {HEADING.strip()!r}")
    _, following, rest = after.partition("\n## ")
    section = "\n".join(_measured(run))
    document.write_text(f"{before}{HEADING}\n{section}\n{following}{rest}", encoding="utf-8")


def _measured(run: Run) -> Iterator[str]:
    day = run.outcomes["day"]
    others = day.cpu["anything else"]
    yield (
        f"{datetime.now(UTC):%d %B %Y}, {PROCESSORS} cores for shop, sandbox and load generator together"
        f" (other programs used {others:.2f} of a core), seed {run.seed}. Books equal: {run.books.ends['completed']} of"
        f" {run.books.charges} charges ended with their eSIM. Errors: {sum(run.errors.values())}."
    )
    yield ""
    yield from _day(day)
    yield ""
    yield from _cost(run)
    yield ""
    yield from _steps(run)
    yield ""
    yield from _troubles(run)


def _day(day: Outcome) -> Iterator[str]:
    yield (
        f"The day in {day.phase.seconds:.0f} seconds, {day.web} web and {day.workers} worker processes:"
        f" {day.charges} purchases, at most {max(day.phase.purchases):.1f} a second,"
        f" {day.requests_per_second:.0f} requests a second in the mean."
    )
    yield ""
    yield "| ms from when it was due | number | p50 | p95 | p99 | longest |"
    yield "|---|---|---|---|---|---|"
    for kind, latencies in sorted(day.record.latencies.items()):
        figures = (*(percentile(latencies, share) for share in SHARES), max(latencies))
        yield f"| {kind} | {len(latencies)} | {' | '.join(f'{each * 1000:.0f}' for each in figures)} |"
    waits = (*(percentile(day.waits, share) for share in SHARES), max(day.waits))
    yield f"| from charge to QR code | {len(day.waits)} | {' | '.join(f'{each * 1000:.0f}' for each in waits)} |"


def _cost(run: Run) -> Iterator[str]:
    day, growth = run.outcomes["day"], run.growth
    spent = {name: day.cpu[name] * day.phase.seconds / max(1, day.charges) for name in OWN}
    per_thousand = 1000 / max(1, growth.purchases)
    grown = sorted(growth.tables.items(), key=lambda each: -each[1])[:_MOST_TABLES]
    total = sum(growth.tables.values()) * per_thousand / 1e6
    yield "| | web | worker | PostgreSQL |"
    yield "|---|---|---|---|"
    memories = [f"{each.start:.0f}, {each.peak:.0f}, {each.end:.0f}" for each in (run.memory[name] for name in OWN)]
    yield f"| memory, MB: start, peak, end | {' | '.join(memories)} |"
    yield f"| seconds of a core for a purchase and its visits | {' | '.join(f'{spent[name]:.2f}' for name in OWN)} |"
    yield ""
    yield (
        f"For 1,000 purchases the database grows by {total:.0f} MB and writes"
        f" {growth.wal * per_thousand / 1e6:.0f} MB of WAL; most of it: "
        + ", ".join(f"`{name}` {size * per_thousand / 1e6:.1f}" for name, size in grown)
        + "."
    )


def _steps(run: Run) -> Iterator[str]:
    columns = ("web", "workers", "held: purchases/s", "requests/s", "webhook p95", "QR p95", "not held", "webhook p95")
    yield f"| {' | '.join(columns)} | orders waiting |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for (web, workers), steps in run.steps.items():
        held = next((each for each in reversed(steps) if each.is_held), None)
        broken = next((each for each in steps if not each.is_held), None)
        yield f"| {web} | {workers} | {_held(held)} | {_broken(broken)} |"


def _held(outcome: Outcome | None) -> str:
    if outcome is None:
        return "none | | |"
    return (
        f"{max(outcome.phase.purchases):g} | {outcome.requests_per_second:.0f} |"
        f" {percentile(outcome.webhook, 0.95) * 1000:.0f} ms | {percentile(outcome.waits, 0.95):.1f} s"
    )


def _broken(outcome: Outcome | None) -> str:
    if outcome is None:
        return "none | |"
    webhook = f"{percentile(outcome.webhook, 0.95) * 1000:.0f} ms" if outcome.webhook else "-"
    return f"{max(outcome.phase.purchases):g} | {webhook} | {outcome.backlog.orders}"


def _troubles(run: Run) -> Iterator[str]:
    yield "| | purchases/s | webhook p95 | areas p95 | QR p50, p95 | told to try again |"
    yield "|---|---|---|---|---|---|"
    for name, title in (
        ("limit", "eSIM Go's ten calls a second"),
        ("slow_telegram", f"Telegram takes {run.scale.telegram_seconds:g} s for a link"),
    ):
        outcome = run.outcomes[name]
        waits = ", ".join(f"{percentile(outcome.waits or [0.0], share):.1f} s" for share in _SHARES_OF_WAITS)
        webhook, areas = outcome.webhook or [0.0], outcome.record.latencies["areas"] or [0.0]
        yield (
            f"| {title} | {max(outcome.phase.purchases):g} | {percentile(webhook, 0.95) * 1000:.0f} ms |"
            f" {percentile(areas, 0.95) * 1000:.0f} ms | {waits} | {outcome.record.turned_away} |"
        )
    limited = run.outcomes["limit"]
    calls = limited.wholesaler_calls.total()
    yield ""
    yield (
        f"Under its limit eSIM Go was asked {calls / max(1, limited.charges):.1f} times for each purchase with all that"
        f" its customers looked at; {limited.backlog.readings} readings of usage were waiting at the end."
    )
