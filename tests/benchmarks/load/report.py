"""What a run found, as lines and as JSON."""

from __future__ import annotations

import os
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tests.benchmarks.figures import percentile
from tests.benchmarks.load.gauges import OTHERS
from tests.benchmarks.load.mix import PER_PURCHASE, STEADY
from tests.chaos.books import ZEROS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.load.run import Outcome, Run

PROCESSORS = len(os.sched_getaffinity(0))
SHARES = (0.5, 0.95, 0.99)
_MOST_TABLES = 8
#: What a shop brings along; sandbox and load generator stand for the world around it.
OWN = ("web", "worker", "PostgreSQL")


def report(run: Run) -> Iterator[str]:
    yield f"seed {run.seed}, {PROCESSORS} processors for everything: shop, sandbox and load generator"
    yield ""
    yield from _mix()
    yield ""
    yield from _day(run)
    for name in ("limit", "slow_telegram"):
        yield ""
        yield from _short_phase(run.outcomes[name])
    yield ""
    yield from _steps(run)
    yield ""
    yield from _ending(run)


def _mix() -> Iterator[str]:
    yield "requests for each purchase"
    yield from (f"  {kind:<32}{times:>7.1f}" for kind, times in PER_PURCHASE.items())
    yield "requests a second at any hour"
    yield from (f"  {kind:<32}{rate:>7.1f}" for kind, rate in STEADY.items())


def _day(run: Run) -> Iterator[str]:
    outcome = run.outcomes["day"]
    rates = outcome.phase.purchases
    yield (
        f"the day in {outcome.phase.seconds:.0f} s, {outcome.web} web and {outcome.workers} worker processes:"
        f" {outcome.charges} purchases, {min(rates):.2f} to {max(rates):.2f} a second"
    )
    yield f"  {'':<26}{'count':>7}{'req/s':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}{'p95/bare':>10}"
    bare = percentile(outcome.record.latencies["bare view"], 0.95)
    for kind, latencies in sorted(outcome.record.latencies.items()):
        per_second = len(latencies) / (outcome.phase.seconds - outcome.phase.warm_seconds)
        ratio = percentile(latencies, 0.95) / bare
        yield f"  {kind:<26}{len(latencies):>7}{per_second:>8.1f}{_ms(latencies)}{ratio:>10.1f}"
    yield f"  all but the bare view: {outcome.requests_per_second:.0f} requests a second"
    yield f"  charge to QR code: {_seconds(outcome.waits)}"
    yield f"  charge to eSIM on the order page: {_seconds(outcome.ready)}"
    yield f"  the generator sent later than it should by p99 {percentile(outcome.record.lateness, 0.99) * 1000:.1f} ms"
    yield f"  errors: {_counts(outcome.record.errors)}; told to try again: {outcome.record.turned_away}"
    yield "  processors used: " + ", ".join(f"{name} {used:.2f}" for name, used in outcome.cpu.items())
    spent = {name: outcome.cpu[name] * outcome.phase.seconds / max(1, outcome.charges) for name in OWN}
    yield (
        "  processor time of the shop for a purchase and all that comes with it: "
        + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in spent.items())
        + f"; {PROCESSORS} processors of its own would be full at"
        f" {PROCESSORS / sum(spent.values()):.1f} purchases a second"
    )
    yield f"  connections to each web process at the end: {', '.join(map(str, outcome.connections))}"
    yield "  memory, MB (what processes share counted once), start, peak, end:"
    for name, memory in run.memory.items():
        yield f"    {name:<20}{memory.start:>7.0f}{memory.peak:>7.0f}{memory.end:>7.0f}"
    yield from _growth(run)


def _growth(run: Run) -> Iterator[str]:
    growth = run.growth
    per_thousand = 1000 / max(1, growth.purchases)
    grown = sorted(growth.tables.items(), key=lambda each: -each[1])
    total = sum(growth.tables.values()) * per_thousand
    yield f"  database, for 1,000 purchases: {total / 1e6:.1f} MB, and {growth.wal * per_thousand / 1e6:.0f} MB of WAL"
    for name, size in grown[:_MOST_TABLES]:
        yield f"    {name:<36}{size * per_thousand / 1e6:>7.2f} MB"


def _short_phase(outcome: Outcome) -> Iterator[str]:
    yield f"{outcome.phase.name}: {max(outcome.phase.purchases):g} purchases a second for {outcome.phase.seconds:.0f} s"
    bare = outcome.record.latencies["bare view"]
    for name, latencies in (
        ("webhook", outcome.webhook),
        ("create-invoice", outcome.record.latencies["create-invoice"]),
        ("areas", outcome.record.latencies["areas"]),
        ("order page", outcome.record.latencies["order page"]),
        ("bare view", bare),
    ):
        yield f"  {name:<26}{len(latencies):>7}{'':>8}{_ms(latencies)}"
    yield f"  charge to QR code: {_seconds(outcome.waits)}"
    yield (
        f"  {outcome.charges} charges; at the end waited {outcome.backlog.orders} orders,"
        f" {outcome.backlog.tasks} tasks, {outcome.backlog.readings} readings of usage;"
        f" purchases all done {outcome.settle_seconds:.0f} s later"
    )
    if calls := outcome.wholesaler_calls:
        per_second = calls.total() / (outcome.phase.seconds + outcome.settle_seconds)
        per_charge = calls.total() / max(1, outcome.charges)
        yield f"  eSIM Go was asked {per_second:.1f} times a second, {per_charge:.1f} times for each charge:"
        yield from (f"    {name.removeprefix('esimgo.'):<48}{count:>6}" for name, count in calls.most_common())
    yield f"  errors: {_counts(outcome.record.errors)}; told to try again: {outcome.record.turned_away}"


def _steps(run: Run) -> Iterator[str]:
    yield "steps: the highest that is held has no error, a webhook p95 of at most 250 ms, and 3 s of purchases waiting"
    yield (
        f"  {'web':>4}{'workers':>8}{'purch./s':>9}{'req/s':>7}{'webhook p95':>12}{'page p95':>10}{'QR p50':>8}"
        f"{'QR p95':>8}{'waiting':>8}{'reads':>6}{'web':>6}{'worker':>7}{'PG':>6}{'load':>6}{'else':>6}{'errors':>7}"
    )
    for steps in run.steps.values():
        yield from (_step(outcome) for outcome in steps)
    for (web, workers), steps in run.steps.items():
        held = [outcome for outcome in steps if outcome.is_held]
        what = (
            f"{max(held[-1].phase.purchases):g} purchases a second, {held[-1].requests_per_second:.0f} requests"
            if held
            else "none"
        )
        yield f"  {web} web, {workers} workers hold {what}"


def _step(outcome: Outcome) -> str:
    cpu, record = outcome.cpu, outcome.record
    other = sum(used for name, used in cpu.items() if name not in {*OWN, OTHERS})
    page = record.latencies["Mini App page"]
    return (
        f"  {outcome.web:>4}{outcome.workers:>8}{max(outcome.phase.purchases):>9g}{outcome.requests_per_second:>7.0f}"
        f"{_one(outcome.webhook, 0.95):>9} ms{_one(page, 0.95):>7} ms"
        f"{_s(outcome.waits, 0.5):>8}{_s(outcome.waits, 0.95):>8}"
        f"{outcome.backlog.orders:>8}{outcome.backlog.readings:>6}{cpu['web']:>6.2f}{cpu['worker']:>7.2f}"
        f"{cpu['PostgreSQL']:>6.2f}{other:>6.2f}{cpu[OTHERS]:>6.2f}{record.errors.total():>7}"
        f"  {'held' if outcome.is_held else 'not held'}"
    )


def _ending(run: Run) -> Iterator[str]:
    books = run.books
    ends = " + ".join(f"{books.ends[end]} {end}" for end in ("completed", "refunded", "needs_attention"))
    yield f"books: {ends} = {books.ends.total()} of {books.charges} charges; {books.bought} bought at the wholesaler"
    for name in ZEROS:
        yield f"  {name}: {len(books.faults[name])}"
        yield from (f"    {line}" for line in books.faults[name][:5])
    yield f"  not settled: {_counts(run.unfinished)}"
    yield f"  errors: {_counts(run.errors)}"


def as_json(run: Run) -> dict[str, Any]:
    """The same, for a script."""
    return {
        "seed": run.seed,
        "processors": PROCESSORS,
        "phases": {name: _outcome(outcome) for name, outcome in run.outcomes.items()},
        "steps": [_outcome(outcome) for steps in run.steps.values() for outcome in steps],
        "memory_mb": {name: asdict(memory) for name, memory in run.memory.items()},
        "growth": asdict(run.growth),
        "books": {"charges": run.books.charges, "bought": run.books.bought, "ends": dict(run.books.ends)},
        "faults": {name: len(run.books.faults[name]) for name in ZEROS},
        "unfinished": run.unfinished,
        "errors": run.errors,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.phase.name,
        "web": outcome.web,
        "workers": outcome.workers,
        "seconds": outcome.phase.seconds,
        "charges": outcome.charges,
        "requests_per_second": outcome.requests_per_second,
        "latency_seconds": {kind: _summary(each) for kind, each in outcome.record.latencies.items()},
        "webhook_seconds": _summary(outcome.webhook),
        "charge_to_qr_seconds": _summary(outcome.waits),
        "charge_to_page_seconds": _summary(outcome.ready),
        "cpu": outcome.cpu,
        "connections": outcome.connections,
        "backlog": asdict(outcome.backlog),
        "errors": dict(outcome.record.errors),
        "wholesaler_calls": dict(outcome.wholesaler_calls),
        "turned_away": outcome.record.turned_away,
        "is_held": outcome.is_held,
    }


def _summary(values: list[float]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    named = {f"p{share * 100:g}": percentile(values, share) for share in SHARES}
    return {"count": len(values), "mean": statistics.mean(values), **named, "max": max(values)}


def _ms(seconds: list[float]) -> str:
    if not seconds:
        return f"{'none':>9}"
    figures = (*(percentile(seconds, share) for share in SHARES), max(seconds))
    return "".join(f"{each * 1000:>9.1f}" for each in figures)


def _seconds(values: list[float]) -> str:
    if not values:
        return "none"
    shares = ", ".join(f"p{share * 100:g} {percentile(values, share):.2f} s" for share in SHARES)
    return f"{shares}, max {max(values):.2f} s ({len(values)})"


def _one(seconds: list[float], share: float) -> str:
    return f"{percentile(seconds, share) * 1000:.0f}" if seconds else "-"


def _s(seconds: list[float], share: float) -> str:
    return f"{percentile(seconds, share):.1f} s" if seconds else "-"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
