"""Statements that PostgreSQL plans once per connection instead of each time."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import psycopg
from django.db import connection


def fetch_prepared(sql: str, params: Sequence[Any] | Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Run a statement of the payment path inside Django's connection and transaction, and return its first row.

    The statements of a payment take less time to do than to plan, and Django's own cursor binds parameters on this
    side, so that nothing can be prepared. A connection pooler must keep sessions, see docs/setup.md.

    Raises: Django's database errors, like its own cursor.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(cast("Any", sql), params, prepare=True)
        return cursor.fetchone() if cursor.description else None
