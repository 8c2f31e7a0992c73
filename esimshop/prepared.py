"""Statements that PostgreSQL plans once per connection instead of each time."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, cast

import psycopg
from django.db import connections
from procrastinate import App
from procrastinate.contrib.django.django_connector import DjangoConnector, wrap_exceptions
from psycopg.rows import dict_row


def fetch_prepared(sql: str, params: Sequence[Any] | Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Run a statement of the payment path inside Django's connection and transaction, and return its first row.

    The statements of a payment take less time to do than to plan, and Django's own cursor binds parameters on this
    side, so that nothing can be prepared. A connection pooler must keep sessions, see docs/setup.md.

    Raises: Django's database errors, like its own cursor.
    """
    database = connections["default"]
    database.ensure_connection()
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        cursor.execute(cast("Any", sql), params, prepare=True)
        return cursor.fetchone() if cursor.description else None


class PreparedConnector(DjangoConnector):
    """How a service queues a task: as procrastinate does it in Django's transaction, but prepared."""

    @wrap_exceptions()
    def execute_query_all(self, query: LiteralString, **arguments: Any) -> list[dict[str, Any]]:
        database = connections[self.alias]
        database.ensure_connection()
        with database.wrap_database_errors, psycopg.Cursor(database.connection, row_factory=dict_row) as cursor:
            cursor.execute(query, self._wrap_json(arguments), prepare=True)
            return cursor.fetchall()


def use_prepared_statements(app: App) -> None:
    """PROCRASTINATE_ON_APP_READY: queue tasks by prepared statements."""
    app.connector = app.job_manager.connector = PreparedConnector()
