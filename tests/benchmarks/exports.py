"""`python -m tests.benchmarks.exports`: each report of a million payments, beside PostgreSQL's own COPY of its query.

Both write a file, each in a process of its own, one after the other: `manage.py export_report`, and libpq reading
COPY (the same query without guards) TO STDOUT (FORMAT csv, HEADER).
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.million import PAYMENTS, fill_shop
from tests.benchmarks.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_RATIO = 0.5
MOST_MEMORY_MB = 100
MB = 1_000_000
_HEADER = f"{'':<12}{'rows':>11}{'rows/s':>11}{'MB/s':>8}{'COPY rows/s':>13}{'MB/s':>8}{'ratio':>8}{'memory':>10}"


@dataclass(frozen=True)
class Export:
    """One file. size: in bytes. memory: bytes that the process grew at most over its idle size."""

    rows: int
    size: int
    seconds: float
    memory: int

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds

    @property
    def mb_per_second(self) -> float:
        return self.size / self.seconds / MB


def prepare(payments: int) -> None:
    """The tables, with so many payments."""
    from django.core.management import call_command
    from django.db import connection

    logging.getLogger().setLevel(logging.WARNING)
    call_command("migrate", interactive=False, verbosity=0)
    _say(f"{payments:,} payments")
    started = time.perf_counter()
    fill_shop(payments=payments)
    _say(f"  in {time.perf_counter() - started:.0f} s")
    connection.close()


def measure(folder: Path, *, rounds: int) -> bool:
    """Print a line for each report; whether all are fast and small enough."""
    from payments.reports.books import REPORTS

    print(_HEADER)
    are_ok = True
    for name in REPORTS:
        # Round by round, since the machine's mood changes between them.
        pairs = [(_run(export, name, folder), _run(copy, name, folder)) for _ in range(rounds)]
        are_ok &= _tell(name, [ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    return are_ok


def export(name: str, file: Path) -> None:
    """As finance does it."""
    from django.core.management import call_command

    with Path(os.devnull).open("w") as nowhere:
        call_command("export_report", name, output=str(file), stderr=nowhere)


def copy(name: str, file: Path) -> None:
    """The least that a client of PostgreSQL has to do for a file of the same query."""
    from psycopg.pq import ExecStatus

    from payments.reports.books import REPORTS
    from payments.reports.days import Days
    from payments.reports.export import bind, read_connection

    days = Days()
    with read_connection(days) as connection, file.open("wb") as output:
        query = bind(connection, REPORTS[name].select(is_guarded=False), days)
        result = connection.pgconn.exec_(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)".encode())
        if result.status != ExecStatus.COPY_OUT:
            raise RuntimeError(result.get_error_message())
        while True:
            length, row = connection.pgconn.get_copy_data(0)
            if length < 0:
                break
            output.write(row)


def _run(write: Callable[[str, Path], None], name: str, folder: Path) -> Export:
    """Write a report, in a new process."""
    file = folder / f"{name}.csv"
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            seconds, memory = process.submit(_watch, write, name, file).result()
        with file.open("rb") as lines:
            rows = sum(1 for _ in lines) - 1
        return Export(rows=rows, size=file.stat().st_size, seconds=seconds, memory=memory)
    finally:
        file.unlink(missing_ok=True)


def _watch(write: Callable[[str, Path], None], name: str, file: Path) -> tuple[float, int]:
    """How long this process takes to write, and how many bytes it grows by meanwhile."""
    import django

    django.setup()
    # Idle is a process that could begin at once.
    import payments.management.commands.export_report
    import payments.reports.closing  # noqa: F401

    idle = _memory("VmRSS")
    started = time.perf_counter()
    write(name, file)
    return time.perf_counter() - started, max(0, _memory("VmHWM") - idle)


def _memory(what: str) -> int:
    """Bytes, as Linux counts them for this process. VmRSS: now; VmHWM: at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


def _tell(name: str, ours: list[Export], theirs: list[Export]) -> bool:
    """Print the line of a report; whether it is fast and small enough."""
    pairs = zip(ours, theirs, strict=True)
    if len({each.rows for each in (*ours, *theirs)}) > 1:
        raise RuntimeError(f"Of {name} the export and the COPY hold different numbers of rows.")
    ratio = statistics.median(our.rows_per_second / their.rows_per_second for our, their in pairs)
    memory = max(each.memory for each in ours) / MB
    is_fast, is_small = ratio >= LEAST_RATIO, memory < MOST_MEMORY_MB
    verdict = "ok" if is_fast and is_small else "too large" if is_fast else "too slow"
    print(
        f"{name:<12}{ours[0].rows:>11,}{_speed(ours, 11)}{_speed(theirs, 13)}{ratio:>8.2f}{memory:>7.1f} MB"
        f"  ratio >= {LEAST_RATIO}, < {MOST_MEMORY_MB} MB  {verdict}",
        flush=True,
    )
    return is_fast and is_small


def _speed(exports: list[Export], width: int) -> str:
    rows = statistics.median(each.rows_per_second for each in exports)
    return f"{rows:>{width},.0f}{statistics.median(each.mb_per_second for each in exports):>8.1f}"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.exports", description=__doc__)
    parser.add_argument("--payments", type=int, default=PAYMENTS)
    parser.add_argument("--rounds", type=int, default=3, help="the median of them counts (default 3)")
    arguments = parser.parse_args()
    with Processes() as processes:
        # Nothing that this machine has set for a real shop may reach the run.
        os.environ.clear()
        os.environ.update(processes.environment)
        import django

        django.setup()
        prepare(arguments.payments)
        sys.exit(not measure(processes.folder, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
