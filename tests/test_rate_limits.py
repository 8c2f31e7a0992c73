"""How often anybody may ask for what. The table below is the whole of it; docs/security.md refers to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import get_resolver

from catalog import middleware
from esimshop.models import RateCount
from esimshop.rate_limits import count_use_of_address
from orders import customer_view
from orders.models import WholesalerCallback
from payments import customer_views, views
from payments.models import ServicePolicy, TelegramUpdate
from tests.factories import EsimFactory, OrderFactory, PlanFactory
from tests.orders.esims import CALLBACK
from tests.outside import BEN, WEBHOOK, bearer

if TYPE_CHECKING:
    from catalog.models import Plan

pytestmark = pytest.mark.django_db

CACHED = "said from memory"
MISSES = "by address, what is not said from memory: catalog.middleware.MISSES_PER_MINUTE"
CALLS = "by customer, all calls together: orders.customer_view.CALLS_PER_MINUTE"
SECRET = "refused before the database is asked, without secret or signature"
LIMITS = {
    "mini-app": CACHED,
    "schema": CACHED,
    "faq": CACHED,
    "terms": CACHED,
    "privacy": CACHED,
    "areas": MISSES,
    "area": MISSES,
    "plans": MISSES,
    "plan": MISSES,
    "currencies": MISSES,
    "customer": f"{CALLS}; changes: payments.customer_views.CHANGES_PER_MINUTE",
    "cases": CALLS,
    "orders": CALLS,
    "order": CALLS,
    "esims": CALLS,
    "esim": f"{CALLS}; questions to eSIM Go: orders.services.top_ups.TRIES_PER_MINUTE, and usage once a minute",
    "create-invoice": f"{CALLS}; ServicePolicy.invoices_per_minute",
    "invoice-closed": f"{CALLS}; payments.views.HINTS_PER_MINUTE",
    "esim-message": f"{CALLS}; payments.views.MESSAGES_PER_HOUR",
    "telegram-webhook": SECRET,
    "esimgo-callback": f"{SECRET}, but for whether an eSIM of the number in it exists",
    "metrics": SECRET,
    "healthz": "asks nothing of the database",
    "readyz": "four small queries; whoever is in front may close it to the outside",
}


def names_of_routes(patterns: list[Any]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        if not str(pattern.pattern).startswith("admin/"):
            found |= names_of_routes(pattern.url_patterns) if hasattr(pattern, "url_patterns") else {pattern.name}
    return found


@pytest.fixture
def plan() -> Plan:
    cache.clear()
    return PlanFactory()


def test_every_public_address_is_in_the_table() -> None:
    assert names_of_routes(get_resolver().url_patterns) == set(LIMITS)


def test_a_customer_who_calls_too_often_waits_and_nobody_else_does(client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(customer_view, "CALLS_PER_MINUTE", 3)
    paths = ["/api/orders", "/api/esims", "/api/cases", "/api/customer"]

    answers = [client.get(path, headers=bearer(BEN)) for path in paths]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert client.get("/api/orders", headers=bearer(2001)).status_code == 200


def test_whoever_only_claims_to_be_a_customer_uses_up_nothing_of_theirs(client: Client) -> None:
    for _ in range(5):
        client.get("/api/orders", headers={"Authorization": f"{bearer(BEN)['Authorization'][:-1]}0x"})

    assert not RateCount.objects.exists()


def test_an_address_that_makes_the_catalogue_be_searched_anew_waits(
    client: Client, plan: Plan, monkeypatch: Any
) -> None:
    monkeypatch.setattr(middleware, "MISSES_PER_MINUTE", 3)
    searches = [f"/api/plans?search=x{number}" for number in range(4)]

    answers = [client.get(path, REMOTE_ADDR="203.0.113.7") for path in searches]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert "Retry-After" in answers[-1]
    assert "ETag" not in answers[-1]
    russian = client.get("/api/plans?search=y", REMOTE_ADDR="203.0.113.7", headers={"Accept-Language": "ru"})
    assert russian.json()["detail"].startswith("Слишком")
    assert client.get("/api/plans?search=y", REMOTE_ADDR="203.0.113.8").status_code == 200


def test_what_is_said_from_memory_is_said_to_everybody_however_often(
    client: Client, plan: Plan, monkeypatch: Any
) -> None:
    monkeypatch.setattr(middleware, "MISSES_PER_MINUTE", 1)

    assert {client.get("/api/plans", REMOTE_ADDR="203.0.113.7").status_code for _ in range(5)} == {200}


@pytest.mark.parametrize(("address", "waits"), [("127.0.0.1", False), ("::1", False), ("", False), ("192.0.2.1", True)])
def test_this_machine_itself_is_not_counted(rf: Any, address: str, waits: bool) -> None:
    for _ in range(2):
        wait = count_use_of_address(rf.get("/", REMOTE_ADDR=address), name="test", limit=1, seconds=60)

    assert bool(wait) is waits


def test_invoices_hints_messages_and_changes_have_limits_of_their_own(client: Client, monkeypatch: Any) -> None:
    order = EsimFactory(order=OrderFactory(status="completed")).order
    ServicePolicy.objects.create(invoices_per_minute=1)
    for module, name in (
        (views, "HINTS_PER_MINUTE"),
        (views, "MESSAGES_PER_HOUR"),
        (customer_views, "CHANGES_PER_MINUTE"),
    ):
        monkeypatch.setattr(module, name, 1)
    calls: dict[str, tuple[str, str, Any]] = {
        "create-invoice": ("POST", "/api/telegram/stars/create-invoice", {"plan": "none"}),
        "invoice-closed": ("POST", f"/api/orders/{order.pk}/invoice-closed", {"status": "paid"}),
        "esim-message": ("POST", f"/api/orders/{order.pk}/message", {}),
        "customer": ("PATCH", "/api/customer", {"usage_notices": False}),
    }

    for method, path, body in calls.values():
        answers = [
            client.generic(method, path, json.dumps(body), content_type="application/json", headers=bearer())
            for _ in range(2)
        ]
        assert [answer.status_code == 429 for answer in answers] == [False, True], path


@pytest.mark.parametrize("path", [WEBHOOK, CALLBACK, "/metrics"])
def test_without_secret_or_signature_nothing_is_asked_of_the_database(
    client: Client, path: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        for headers in ({}, {"X-Telegram-Bot-Api-Secret-Token": "x", "X-Signature-SHA256": "x"}):
            send = client.get if path == "/metrics" else client.post
            assert send(path, headers=headers, REMOTE_ADDR="203.0.113.7").status_code == 403
    assert not TelegramUpdate.objects.exists()
    assert not WholesalerCallback.objects.exists()
