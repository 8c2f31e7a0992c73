"""Streaming a report: PostgreSQL writes the rows (COPY), this passes them on."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
from django.db import connections

from catalog.models import PricingPolicy
from payments.models import ServicePolicy
from payments.reports.books import Report
from payments.reports.days import Days

BOM = b"\xef\xbb\xbf"
#: So much is collected before it is passed on.
CHUNK_BYTES = 64 * 1024
#: For sorting and joining on the server, which else writes to its disk.
WORK_MEM = "64MB"


def file_name(report: Report, days: Days) -> str:
    """`esimshop-payments-2026-11-01--2026-11-30.csv`."""
    return f"esimshop-{report.name}-{days}.csv"


def stream_report(report: Report, days: Days, *, has_bom: bool = False) -> Generator[bytes, None, None]:
    """The CSV file in chunks: UTF-8, RFC 4180, a header and a line for every row, as all were at one moment.

    Closing the generator before its end cancels the query.
    has_bom: begin with a byte order mark, by which Excel knows UTF-8.
    """
    if has_bom:
        yield BOM
    with read_connection(days) as connection, connection.cursor() as cursor:
        query = bind(connection, report.select(is_guarded=True), days)
        chunk, size = [], 0
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)".encode()) as rows:
            for row in rows:
                chunk.append(row)
                size += len(row)
                if size >= CHUNK_BYTES:
                    yield _as_lines(chunk)
                    chunk, size = [], 0
        if chunk:
            yield _as_lines(chunk)


def _as_lines(rows: list[Any]) -> bytes:
    # No cell has a line feed of its own: see `cells`.
    return b"".join(rows).replace(b"\n", b"\r\n")


@contextmanager
def read_connection(days: Days) -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own, reading one moment of the database, with the time zone of the days."""
    wrapper = connections["default"].copy()
    try:
        wrapper.connect()
        connection: psycopg.Connection[Any] = wrapper.connection  # type: ignore[assignment]
        connection.autocommit = False
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute(
            "SELECT set_config('TimeZone', %s, TRUE), set_config('work_mem', %s, TRUE), set_config('jit', 'off', TRUE)",
            [days.zone, WORK_MEM],
        )
        yield connection
    finally:
        wrapper.close()


def bind(connection: psycopg.Connection[Any], query: str, days: Days) -> str:
    """The query with its parameters written into it: COPY takes none."""
    policy: ServicePolicy = ServicePolicy.in_force()
    parameters = {
        "start": days.start,
        "end": days.end,
        "first": days.first,
        "last": days.last or days.today,
        "today": days.today,
        "payout": PricingPolicy().payout_usd_per_star,
        "hold_days": policy.hold_days,
        "reserve": Decimal(policy.reserve_percent) / 100,
    }
    return psycopg.ClientCursor(connection).mogrify(query, parameters)
