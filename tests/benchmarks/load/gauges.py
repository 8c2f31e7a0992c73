"""What the processes and the database take: memory, processor time, rows, bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Mapping

MB = 1_000_000
OURSELVES, OTHERS = "load generator", "anything else"


@dataclass
class Memory:
    """MB of a group of processes, what they share counted once."""

    start: float = 0.0
    peak: float = 0.0
    end: float = 0.0

    def note(self, megabytes: float) -> None:
        self.start = self.start or megabytes
        self.peak = max(self.peak, megabytes)
        self.end = megabytes


@dataclass
class Gauges:
    """Looks at groups of processes. groups: by name, the process ids that began each; their children belong to them.

    This process is none of them: it began all others. Its own name is `OURSELVES`.
    """

    groups: Mapping[str, list[int]]
    memory: dict[str, Memory] = field(default_factory=dict)

    def look(self) -> None:
        found = {name: sum(map(_megabytes, _families(pids))) for name, pids in self.groups.items()}
        found[OURSELVES] = _megabytes(psutil.Process())
        for name, megabytes in found.items():
            self.memory.setdefault(name, Memory()).note(megabytes)

    def start(self) -> None:
        self._started = time.monotonic()
        self._cpu = self._cpu_seconds()

    def cpu_shares(self) -> dict[str, float]:
        """Processors that each group has used since `start`: 1.0 is one of them, all the time."""
        seconds = time.monotonic() - self._started
        now = self._cpu_seconds()
        return {name: (now[name] - self._cpu[name]) / seconds for name in now}

    def count_connections(self, name: str, port: int) -> list[int]:
        """How many connections to a port each child of the group's first process has."""
        return [
            sum(each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in child.net_connections())
            for child in psutil.Process(self.groups[name][0]).children()
        ]

    def _cpu_seconds(self) -> dict[str, float]:
        own = psutil.Process().cpu_times()
        groups = {name: sum(_cpu_of(pid) for pid in pids) for name, pids in self.groups.items()}
        groups[OURSELVES] = own.user + own.system
        all_of_it = psutil.cpu_times()
        idle = all_of_it.idle + all_of_it.iowait
        # A machine that others use too says little of what it could do.
        return {**groups, OTHERS: sum(all_of_it[:8]) - idle - sum(groups.values())}


def _families(pids: list[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        parent = psutil.Process(pid)
        found += [parent, *parent.children(recursive=True)]
    return found


def _megabytes(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / MB
    except psutil.NoSuchProcess:
        return 0.0


def _cpu_of(pid: int) -> float:
    """Of a process and its children, those that have ended included."""
    parent = psutil.Process(pid)
    times = parent.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in parent.children(recursive=True):
        try:
            own = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += own.user + own.system
    return float(total)


@dataclass(frozen=True)
class Backlog:
    """What waits. tasks: of purchases, messages and refunds; readings: of usage and other housekeeping."""

    orders: int
    tasks: int
    readings: int


def read_backlog() -> Backlog:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE queue_name <> 'housekeeping'), count(*) FILTER (WHERE queue_name ="
            " 'housekeeping') FROM procrastinate_jobs WHERE status = 'todo'"
            " AND (scheduled_at IS NULL OR scheduled_at <= now())"
        )
        tasks, readings = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM orders_order WHERE status IN ('paid', 'provisioning')")
        (orders,) = cursor.fetchone()
    return Backlog(orders=orders, tasks=tasks, readings=readings)


@dataclass(frozen=True)
class Sizes:
    """Bytes of each table with its indexes, and of all that was ever written to the log (WAL)."""

    tables: dict[str, int]
    wal: int


def read_sizes() -> Sizes:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        tables = {str(name): int(size) for name, size in cursor.fetchall()}
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        (wal,) = cursor.fetchone()
    return Sizes(tables=tables, wal=int(wal))


def postmaster_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    return int(psutil.Process(pid).ppid())
