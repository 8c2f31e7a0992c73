"""A scrape reads what is open, and one day: never a large table from end to end, however long the shop has run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.benchmarks.million import fill_shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

pytestmark = pytest.mark.django_db

GROWING = re.compile(r"Seq Scan on (?:orders|payments)_\w+")
#: One row, or as many as there are reasons, or as often as staff changed a policy.
SMALL = {
    f"Seq Scan on {table}"
    for table in ("orders_refusedcallback", "payments_starsaccount", "payments_webhookstate", "payments_servicepolicy")
}
#: Whole indexes are not read either: their first condition is on an index whose rows are few.
FEW_ROWS = 2_000


@pytest.fixture(scope="module")
def _large_shop(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """20,000 payments of a year, emptied afterwards."""
    with django_db_blocker.unblock():
        fill_shop(payments=20_000)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO payments_telegramupdate (update_id, kind, body, status, error, attempts, received_at)"
                " SELECT number, 'message', '{}', 'handled', '', 0, now() FROM generate_series(1, 20000) number"
            )
            cursor.execute("ANALYZE payments_telegramupdate")
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE orders_customer, catalog_area, payments_telegramupdate RESTART IDENTITY CASCADE")


@pytest.mark.usefixtures("_large_shop")
def test_no_query_of_a_scrape_reads_a_growing_table_from_end_to_end(client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert b"esimshop_database_up 1.0" in client.get("/metrics").content

    asked = [query["sql"] for query in queries if "orders_" in query["sql"] or "payments_" in query["sql"]]
    assert len(asked) >= 10
    for sql in asked:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert not set(GROWING.findall(plan)) - SMALL, f"{sql}\n{plan}"
        read = [int(rows) for rows in re.findall(r"actual rows=(\d+)", plan)]
        assert max(read) < FEW_ROWS, f"{sql}\n{plan}"
