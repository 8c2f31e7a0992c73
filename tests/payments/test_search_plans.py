"""No search reads a large table from end to end: what PostgreSQL says of each query of each page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.benchmarks.million import Purchase, fill_shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

pytestmark = pytest.mark.django_db

LARGE = re.compile(r"Seq Scan on (?:orders|payments)_\w+")


@pytest.fixture(scope="module")
def _large_shop(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """20,000 payments, which a careless query would read from end to end; emptied afterwards."""
    with django_db_blocker.unblock():
        fill_shop(payments=20_000)
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE orders_customer, catalog_area RESTART IDENTITY CASCADE")


@pytest.mark.usefixtures("_large_shop")
@pytest.mark.parametrize(
    "term",
    [
        lambda row: row.charge_id,
        lambda row: row.charge_id[:20],
        lambda row: str(row.order_id),
        lambda row: str(row.order_id)[:8],
        lambda row: row.payload,
        lambda row: row.iccid,
        lambda row: row.iccid[:16],
        lambda row: row.reference,
        lambda row: row.reference[:9],
        lambda row: str(row.telegram_user_id),
        lambda row: f"@{row.username.lower()}",
        lambda row: "nothing_of_the_kind",
    ],
)
def test_no_search_counts_or_reads_a_large_table_from_end_to_end(
    client: Client, term: Callable[[Purchase], str]
) -> None:
    client.force_login(User.objects.create_superuser("lead"))

    for path in ("/admin/find/", "/admin/orders/order/", "/admin/payments/payment/"):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path, {"q": term(Purchase(12_345))})
        assert answer.status_code in {200, 302}
        for sql in (query["sql"] for query in queries if query["sql"].startswith(("SELECT", "(SELECT"))):
            if "LIMIT 100) subquery" in sql:  # the badge of open cases, on every page
                continue
            assert "COUNT(" not in sql
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
            # Few are open at a time, and they have their own small tables.
            assert not set(LARGE.findall(plan)) - {"Seq Scan on orders_orphan"}, f"{sql}\n{plan}"
