"""`/healthz` and `/readyz`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from catalog.models import Plan
from orders.models import Order
from tests.factories import OrderFactory, PlanFactory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready_shop() -> None:
    PlanFactory(bundle_name="esim_of_a_ready_shop")
    let_worker_beat(seconds_ago=1)


def let_worker_beat(*, seconds_ago: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s * interval '1 second')",
            [seconds_ago],
        )


def ask_ready(client: Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/readyz")
    return answer.status_code, answer.json()


@pytest.fixture
def _broken_database() -> Iterator[None]:
    def refuse(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        raise OperationalError("connection to database.example, user shop, failed")

    with connection.execute_wrapper(refuse):
        yield


@pytest.mark.usefixtures("_broken_database")
def test_liveness_does_not_ask_the_database(client: Client) -> None:
    answer = client.get("/healthz")

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.usefixtures("ready_shop")
def test_a_shop_with_database_worker_and_catalogue_is_ready(client: Client) -> None:
    code, answer = ask_ready(client)

    assert (code, answer["status"], answer["failed"]) == (200, "ready", [])
    assert set(answer["checks"]) == {"database", "worker", "orders", "catalogue"}


@pytest.mark.usefixtures("_broken_database")
def test_without_a_database_it_is_not_ready_and_does_not_say_which_one(client: Client) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["failed"] == ["database"]
    assert "example" not in answer.content.decode()


@pytest.mark.usefixtures("ready_shop")
def test_a_worker_that_was_silent_for_31_seconds_counts_as_gone(client: Client) -> None:
    let_worker_beat(seconds_ago=29)
    assert ask_ready(client)[0] == 200

    let_worker_beat(seconds_ago=31)
    code, answer = ask_ready(client)

    assert (code, answer["failed"]) == (503, ["worker"])
    assert answer["checks"]["worker"]["heartbeat_age_seconds"] >= 31


@pytest.mark.usefixtures("ready_shop")
def test_without_any_worker_it_is_not_ready(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")

    assert ask_ready(client)[1]["failed"] == ["worker"]


@pytest.mark.usefixtures("ready_shop")
def test_an_order_past_its_promise_makes_the_shop_not_ready(client: Client) -> None:
    now = timezone.now()
    order = OrderFactory(paid=True, paid_at=now - timedelta(minutes=18), promise_at=now - timedelta(minutes=3))
    assert ask_ready(client)[0] == 200, "its refund may still be under way"

    Order.objects.filter(pk=order.pk).update(promise_at=now - timedelta(minutes=6))
    code, answer = ask_ready(client)

    assert (code, answer["failed"]) == (503, ["orders"])
    assert answer["checks"]["orders"]["oldest_unfinished_seconds"] in range(1079, 1100)


@pytest.mark.usefixtures("ready_shop")
@pytest.mark.parametrize("status", [Order.Status.COMPLETED, Order.Status.REFUNDED, Order.Status.NEEDS_ATTENTION])
def test_an_old_order_that_is_settled_or_with_a_person_does_not_count(client: Client, status: str) -> None:
    long_ago = timezone.now() - timedelta(days=1)
    OrderFactory(paid=True, status=status, paid_at=long_ago, promise_at=long_ago)

    assert ask_ready(client)[0] == 200


@pytest.mark.usefixtures("ready_shop")
def test_without_plans_it_is_not_ready(client: Client) -> None:
    Plan.objects.update(is_offered=False)

    assert ask_ready(client)[1]["failed"] == ["catalogue"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_they_are_only_for_reading(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
