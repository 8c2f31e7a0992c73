"""Statements that PostgreSQL plans once per connection, inside Django's connection and transaction."""

import pytest
from django.db import DataError, connection, transaction

from esimshop.models import RateCount
from esimshop.prepared import fetch_prepared


@pytest.mark.django_db
def test_the_first_row_comes_back_or_none() -> None:
    assert fetch_prepared("SELECT %s::int + 1, %s::text", [1, "a"]) == (2, "a")
    assert fetch_prepared("SELECT 1 WHERE %(is_there)s::boolean", {"is_there": False}) is None


@pytest.mark.django_db
def test_it_is_planned_once_on_a_connection() -> None:
    for number in range(3):
        fetch_prepared("SELECT %s::int AS planned_once", [number])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%AS planned_once%'")
        assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_it_belongs_to_djangos_transaction() -> None:
    with transaction.atomic():
        fetch_prepared(
            "INSERT INTO esimshop_ratecount (key, \"window\", count) VALUES ('undone', now(), 1) RETURNING id", []
        )
        transaction.set_rollback(True)
    assert not RateCount.objects.filter(key="undone").exists()


@pytest.mark.django_db
def test_errors_are_djangos() -> None:
    with pytest.raises(DataError), transaction.atomic():
        fetch_prepared("SELECT %s::int", ["no number"])
