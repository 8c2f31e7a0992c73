"""GET /api/orders, GET /api/orders/{id}, POST /api/orders/{id}/invoice-closed: a customer's own orders."""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog.models import Plan
from orders.documents import rfc3339
from orders.models import Delivery, Order, OrderEvent
from payments.documents import describe_order
from tests.factories import EsimFactory, OrderFactory, PaymentFactory, PlanFactory
from tests.outside import ANNA, BEN, SandboxControl, bearer, is_russian, run_tasks
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FIELDS = {
    "order_id",
    "status",
    "message",
    "plan",
    "amount_stars",
    "created_at",
    "paid_at",
    "promise_at",
    "completed_at",
    "refunded_at",
    "delivery",
    "invoice",
    "esim",
    "top_up_iccid",
}


def get(path: str, *, user_id: int = BEN) -> Any:
    answer = Client(raise_request_exception=False).get(path, headers=bearer(user_id))
    assert answer["Cache-Control"] == "no-store"
    return answer


def completed_order(plan: Plan, **fields: Any) -> Order:
    now = timezone.now()
    order = OrderFactory(
        plan=plan,
        status="completed",
        paid_at=now,
        promise_at=now + timedelta(minutes=15),
        completed_at=now,
        **fields,
    )
    EsimFactory(order=order)
    return order


def test_an_unpaid_order_shows_its_invoice(order: Order) -> None:
    shown = get(f"/api/orders/{order.pk}").json()
    assert set(shown) == FIELDS
    assert (shown["order_id"], shown["status"], shown["amount_stars"]) == (str(order.pk), "awaiting_payment", 130)
    assert shown["message"] == "Waiting for your payment."
    assert set(shown["invoice"]) == {"invoice_link", "expires_at"}
    assert shown["invoice"]["invoice_link"] == order.invoice.link
    assert (shown["esim"], shown["paid_at"], shown["promise_at"], shown["completed_at"]) == (None,) * 4
    assert shown["delivery"] == "pending"
    for moment in (shown["created_at"], shown["invoice"]["expires_at"]):
        assert TIME.fullmatch(moment)


def test_the_plan_is_the_plan_as_it_was_bought(order: Order) -> None:
    order.plan.price_stars = 999
    order.plan.validity_days = 1
    order.plan.save()
    shown = get(f"/api/orders/{order.pk}").json()["plan"]
    assert shown == {
        "bundle": "esim_1GB_7D_FR_V2",
        "title": "France, 1 GB, 7 days",
        "area": {"code": "FR", "name": "France", "kind": "country"},
        "data_mb": 1000,
        "days": 7,
        "unlimited": False,
        "fair_use": None,
        "speed": ["4G", "5G"],
        "countries": ["FR"],
        "price_stars": 130,
    }


def test_an_invoice_without_its_link_is_not_shown(order: Order) -> None:
    order.invoice.link = ""
    order.invoice.save()
    assert get(f"/api/orders/{order.pk}").json()["invoice"] is None


@pytest.mark.parametrize("status", sorted(set(Order.Status.values) - {"awaiting_payment"}))
def test_a_link_is_shown_only_while_it_is_to_be_paid(plan: Plan, status: str) -> None:
    order = invoiced_order(plan=plan, status=status)
    shown = get(f"/api/orders/{order.pk}").json()
    assert (shown["status"], shown["invoice"]) == (status, None)


@pytest.mark.parametrize(("user_id", "language"), [(ANNA, "ru"), (BEN, "en")])
@pytest.mark.parametrize("status", Order.Status.values)
def test_every_state_is_explained_in_the_customers_language(
    plan: Plan, status: str, user_id: int, language: str
) -> None:
    order = OrderFactory(plan=plan, status=status, customer__telegram_user_id=user_id, customer__language=language)
    message = get(f"/api/orders/{order.pk}", user_id=user_id).json()["message"]
    assert message
    assert is_russian(message) is (language == "ru")


@pytest.mark.parametrize("cause", Order.Cause.values)
def test_a_refund_says_why(plan: Plan, cause: str) -> None:
    order = OrderFactory(plan=plan, status="refunded", cause=cause)
    message = get(f"/api/orders/{order.pk}").json()["message"]
    assert message.endswith("Your Stars are back on your Telegram balance.")
    assert len(message) > 60


@pytest.mark.parametrize("status", ["completed", "refunding", "refunded"])
def test_a_refund_says_when(plan: Plan, status: str) -> None:
    order = OrderFactory(plan=plan, status=status)
    at = timezone.now() - timedelta(minutes=3)
    PaymentFactory(order=order, status="refunded", refunded_at=at)
    # One too many, which came back later.
    PaymentFactory(order=order, kind="extra", status="refunded", refunded_at=at + timedelta(minutes=1))
    shown = get(f"/api/orders/{order.pk}").json()["refunded_at"]
    assert shown == (rfc3339(at) if status == "refunded" else None)


def test_a_completed_order_shows_its_esim(plan: Plan) -> None:
    order = completed_order(plan)
    esim = order.esims.get()
    shown = get(f"/api/orders/{order.pk}").json()
    code = f"LPA:1${esim.smdp_address}${esim.matching_id}"
    assert set(shown["esim"]) == {
        "iccid",
        "smdp_address",
        "matching_id",
        "activation_code",
        "qr_svg",
        "apple_install_url",
        "android_install_url",
        "installed",
        "usage",
    }
    assert (shown["esim"]["iccid"], shown["esim"]["activation_code"]) == (esim.iccid, code)
    assert (shown["esim"]["smdp_address"], shown["esim"]["matching_id"]) == (esim.smdp_address, esim.matching_id)
    assert shown["esim"]["qr_svg"].startswith("<svg ")
    assert (shown["esim"]["installed"], shown["esim"]["usage"]) == (None, None)
    for system in ("apple", "android"):
        assert shown["esim"][f"{system}_install_url"].startswith(f"https://esimsetup.{system}.com/")
    for name in ("created_at", "paid_at", "promise_at", "completed_at"):
        assert TIME.fullmatch(shown[name])


@pytest.mark.parametrize("status", ["pending", "sent", "blocked"])
def test_the_delivery_has_a_state_of_its_own(plan: Plan, status: str) -> None:
    order = completed_order(plan)
    Delivery.objects.create(customer=order.customer, order=order, kind="attention", status="sent")
    Delivery.objects.create(customer=order.customer, order=order, kind="esim", status=status)
    assert get(f"/api/orders/{order.pk}").json()["delivery"] == status


def test_a_top_up_shows_the_esim_it_went_to(plan: Plan) -> None:
    esim = completed_order(plan).esims.get()
    top_up = OrderFactory(plan=plan, status="paid", top_up_esim=esim)
    shown = get(f"/api/orders/{top_up.pk}").json()
    assert (shown["esim"], shown["top_up_iccid"]) == (None, esim.iccid)
    Order.objects.filter(pk=top_up.pk).update(status="completed")
    shown = get(f"/api/orders/{top_up.pk}").json()
    assert (shown["esim"]["iccid"], shown["message"].partition(":")[0]) == (esim.iccid, "Topped up. Nothing to install")


# Whose


@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/{}"])
def test_orders_are_for_who_opened_the_app_from_telegram(order: Order, path: str) -> None:
    answer = Client().get(path.format(order.pk))
    assert (answer.status_code, answer.json()["code"]) == (401, "init_data_invalid")
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("order_id", ["another's", "none", "x", "1", "null", "%00", "a" * 500])
def test_what_is_not_ones_own_is_not_found(order: Order, order_id: str) -> None:
    named = {"another's": str(order.pk), "none": str(uuid.uuid4())}.get(order_id, order_id)
    answer = get(f"/api/orders/{named}", user_id=ANNA)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")


def test_the_list_holds_ones_own_newest_first(plan: Plan) -> None:
    now = timezone.now()
    mine = [OrderFactory(plan=plan, status="expired", created_at=now - timedelta(hours=hours)) for hours in (2, 0, 1)]
    OrderFactory(plan=plan, customer__telegram_user_id=ANNA, customer__language="ru")
    listed = get("/api/orders").json()
    assert set(listed) == {"count", "next", "previous", "results"}
    assert listed["count"] == 3
    assert [each["order_id"] for each in listed["results"]] == [str(mine[number].pk) for number in (1, 2, 0)]
    assert all(set(each) == FIELDS for each in listed["results"])
    assert (listed["next"], listed["previous"]) == (None, None)


def test_the_list_can_be_narrowed_to_states(plan: Plan) -> None:
    orders = {status: OrderFactory(plan=plan, status=status) for status in ("expired", "awaiting_payment", "paid")}
    for query, wanted in {
        "status=awaiting_payment": ["awaiting_payment"],
        "status=awaiting_payment&status=paid": ["awaiting_payment", "paid"],
        "status=refunded": [],
        "": ["awaiting_payment", "expired", "paid"],
    }.items():
        listed = get(f"/api/orders?{query}").json()["results"]
        assert {each["order_id"] for each in listed} == {str(orders[status].pk) for status in wanted}, query


@pytest.mark.parametrize("query", ["status=lost", "status=", "status=paid&status=x", "status=%00"])
def test_a_state_that_does_not_exist_is_a_bad_request(order: Order, query: str) -> None:
    answer = get(f"/api/orders?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_who_has_bought_nothing_has_an_empty_list(db: None) -> None:
    assert get("/api/orders").json() == {"count": 0, "next": None, "previous": None, "results": []}


def test_the_list_comes_in_pages(plan: Plan) -> None:
    for _ in range(5):
        OrderFactory(plan=plan, status="expired")
    first = get("/api/orders?page_size=2").json()
    assert (first["count"], len(first["results"])) == (5, 2)
    assert "page=2" in first["next"]
    last = get("/api/orders?page_size=2&page=3").json()
    assert (len(last["results"]), last["next"]) == (1, None)


@pytest.mark.parametrize("query", ["page=0", "page=99", "page=x", "page_size=0", "page_size=x", "page=-1"])
def test_a_page_that_does_not_exist_is_a_bad_request(order: Order, query: str) -> None:
    answer = get(f"/api/orders?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_list_costs_the_same_queries_whatever_its_length(plan: Plan) -> None:
    counts = []
    for number in (1, 6):
        for _ in range(number):
            completed_order(plan)
        with CaptureQueriesContext(connection) as queries:
            assert get("/api/orders").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 8


# Hints


def close(order: Any, body: Any, *, user_id: int = BEN) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Client(raise_request_exception=False).post(
        f"/api/orders/{order}/invoice-closed", content, content_type="application/json", headers=bearer(user_id)
    )


@pytest.mark.parametrize("status", ["paid", "cancelled", "failed", "pending"])
def test_a_closed_invoice_is_noted_and_changes_no_state(order: Order, status: str) -> None:
    answer = close(order.pk, {"status": status})
    assert (answer.status_code, answer.content) == (204, b"")
    order.refresh_from_db()
    assert (order.status, order.paid_at) == ("awaiting_payment", None)
    event = OrderEvent.objects.get(order=order)
    assert (event.kind, event.actor, event.after) == ("hint", "customer", "")
    assert status in event.reason


@pytest.mark.parametrize("body", [{}, {"status": "won"}, {"status": None}, {"status": ["paid"]}, [], b"x", b"\xff"])
def test_a_hint_that_is_none_is_a_bad_request(order: Order, body: Any) -> None:
    answer = close(order.pk, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert not OrderEvent.objects.exists()


def test_a_hint_about_another_ones_order_is_not_found(order: Order) -> None:
    answer = close(order.pk, {"status": "paid"}, user_id=ANNA)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
    assert not OrderEvent.objects.exists()


def test_a_hint_needs_init_data(order: Order) -> None:
    answer = Client().post(f"/api/orders/{order.pk}/invoice-closed", {"status": "paid"}, "application/json")
    assert answer.status_code == 401


def test_the_document_needs_no_query_of_its_own(plan: Plan) -> None:
    PlanFactory()
    completed_order(plan)
    loaded = (
        Order.objects.select_related("invoice", "top_up_esim")
        .prefetch_related("esims__bundles", "top_up_esim__bundles", "deliveries", "payments")
        .get()
    )
    with CaptureQueriesContext(connection) as queries:
        describe_order(loaded, "en")
    assert len(queries) == 0


# The message with the eSIM, once more


def ask_for_message(order: Any, *, user_id: int = BEN) -> Any:
    return Client(raise_request_exception=False).post(f"/api/orders/{order}/message", headers=bearer(user_id))


def test_the_bot_sends_an_esim_again_when_its_owner_asks(plan: Plan, sandbox: SandboxControl) -> None:
    order = completed_order(plan)
    Delivery.objects.create(customer=order.customer, order=order, kind="esim", status="sent")
    assert (ask_for_message(order.pk).status_code, ask_for_message(order.pk).status_code) == (204, 204)
    run_tasks()
    (message,) = sandbox.chat(BEN)
    assert order.esims.get().activation_code in message["text"]
    event = OrderEvent.objects.get(order=order)
    assert (event.actor, "message sent again" in event.reason) == ("customer", True)
    # It has just come.
    assert ask_for_message(order.pk).status_code == 204
    run_tasks()
    assert len(sandbox.chat(BEN)) == 1


@pytest.mark.parametrize("status", sorted(set(Order.Status.values) - {"completed"}))
def test_an_order_without_an_esim_has_no_message_to_send(plan: Plan, status: str) -> None:
    answer = ask_for_message(OrderFactory(plan=plan, status=status).pk)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")


def test_another_ones_esim_is_sent_to_nobody(plan: Plan) -> None:
    order = completed_order(plan)
    Delivery.objects.create(customer=order.customer, order=order, kind="esim", status="sent")
    answer = ask_for_message(order.pk, user_id=ANNA)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
    assert Delivery.objects.get().status == "sent"


def test_the_bot_is_not_asked_for_messages_without_end(plan: Plan) -> None:
    order = completed_order(plan)
    answers = [ask_for_message(order.pk) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [204] * 10 + [429]
    assert (answers[-1].json()["code"], int(answers[-1]["Retry-After"]) > 0) == ("rate_limited", True)
