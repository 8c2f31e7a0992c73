"""GET, PATCH and DELETE /api/customer, GET /api/cases: what a customer sets, asks and wishes to have forgotten."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog.models import Plan
from orders.models import Customer
from payments.models import Case, CaseMessage
from payments.services.cases import answer_case, close_own_case, note_in_case, open_case
from tests.factories import CustomerFactory, OrderFactory, PaymentFactory
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    bearer,
    is_russian,
    message_update,
    run_tasks,
    send_update,
)

pytestmark = pytest.mark.django_db
DEFAULTS = {"language": "en", "chosen_language": None, "usage_notices": True}


def call(method: str, path: str, body: Any = None, *, user_id: int = BEN, **details: Any) -> Any:
    answer = Client(raise_request_exception=False).generic(
        method,
        path,
        "" if body is None else json.dumps(body),
        content_type="application/json",
        headers=bearer(user_id, **details),
    )
    assert answer["Cache-Control"] == "no-store"
    return answer


def choose(user_id: int = BEN, **settings: Any) -> Any:
    answer = call("PATCH", "/api/customer", settings, user_id=user_id)
    assert answer.status_code == 200, answer.content
    return answer


# Settings


def test_somebody_unknown_has_the_defaults_and_stays_unknown() -> None:
    assert call("GET", "/api/customer").json() == DEFAULTS
    assert call("GET", "/api/customer", user_id=ANNA).json() == {**DEFAULTS, "language": "ru"}
    assert call("PATCH", "/api/customer", {}).json() == DEFAULTS
    assert not Customer.objects.exists()


def test_without_init_data_nothing_is_told(client: Client) -> None:
    assert client.get("/api/customer").json()["code"] == "init_data_invalid"
    assert client.get("/api/cases").status_code == 401


def test_a_chosen_language_is_spoken_at_once_and_everywhere(sandbox: SandboxControl, plan: Plan) -> None:
    answer = choose(chosen_language="ru")
    assert answer.json() == {"language": "ru", "chosen_language": "ru", "usage_notices": True}
    assert answer["Content-Language"] == "ru"
    order = OrderFactory(plan=plan, customer=Customer.objects.get())
    shown = call("GET", f"/api/orders/{order.pk}")
    assert shown["Content-Language"] == "ru"
    assert shown.json()["plan"]["title"].startswith("Франция")
    assert is_russian(shown.json()["message"])
    assert is_russian(call("GET", "/api/orders/nothing").json()["detail"])


def test_invoice_and_bot_follow_the_chosen_language(sandbox: SandboxControl, plan: Plan) -> None:
    choose(chosen_language="ru")
    created = call("POST", "/api/telegram/stars/create-invoice", {"plan": plan.bundle_name}).json()
    assert is_russian(sandbox.invoice(created["invoice_link"])["title"])
    send_update(message_update("/start"))
    run_tasks()
    assert is_russian(sandbox.chat(BEN)[-1]["text"])
    customer = Customer.objects.get()
    assert (customer.language_code, customer.language) == ("en", "ru")


def test_telegrams_language_comes_back_with_null(plan: Plan) -> None:
    choose(chosen_language="ru")
    answer = choose(chosen_language=None)
    assert (answer.json(), answer["Content-Language"]) == (DEFAULTS, "en")
    assert Customer.objects.get().language == "en"


def test_without_a_choice_the_language_is_telegrams_of_this_moment() -> None:
    CustomerFactory(telegram_user_id=BEN, language="en")
    assert call("GET", "/api/customer", language_code="ru").json()["language"] == "ru"


def test_usage_notices_are_switched() -> None:
    assert choose(usage_notices=False).json() == {**DEFAULTS, "usage_notices": False}
    assert call("GET", "/api/customer").json()["usage_notices"] is False
    assert choose(chosen_language="ru").json()["usage_notices"] is False
    assert choose(usage_notices=True).json()["usage_notices"] is True


@pytest.mark.parametrize(
    "body",
    [
        {"chosen_language": "de"},
        {"chosen_language": ""},
        {"chosen_language": 1},
        {"chosen_language": ["ru"]},
        {"usage_notices": "true"},
        {"usage_notices": 1},
        {"usage_notices": None},
        {"language": "ru"},
        {"usage_notices": True, "is_bot_blocked": False},
        [],
        "ru",
    ],
)
def test_a_body_that_makes_no_sense_changes_nothing(body: Any) -> None:
    answer = call("PATCH", "/api/customer", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert not Customer.objects.exists()


def test_changes_are_limited() -> None:
    for _ in range(60):
        choose(usage_notices=False)
    answer = call("PATCH", "/api/customer", {"usage_notices": True})
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert int(answer["Retry-After"]) >= 1
    assert call("DELETE", "/api/customer").status_code == 429


# Deletion: the rules are in test_anonymisation.py


def test_deleted_data_are_gone_for_the_api(plan: Plan) -> None:
    choose(chosen_language="ru", usage_notices=False)
    OrderFactory(plan=plan, customer=Customer.objects.get(), status="completed")
    assert call("DELETE", "/api/customer").status_code == 204
    assert call("GET", "/api/customer").json() == DEFAULTS
    assert call("GET", "/api/orders").json()["count"] == 0
    assert call("DELETE", "/api/customer").status_code == 204


def test_whoever_is_unknown_can_be_deleted() -> None:
    assert call("DELETE", "/api/customer").status_code == 204
    assert not Customer.objects.exists()


@pytest.mark.parametrize(("user_id", "language"), [(ANNA, "ru"), (BEN, "en")])
def test_a_deletion_that_must_wait_says_so(plan: Plan, user_id: int, language: str) -> None:
    OrderFactory(plan=plan, paid=True, customer__telegram_user_id=user_id, customer__language=language)
    answer = call("DELETE", "/api/customer", user_id=user_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "still_on_the_way")
    assert is_russian(answer.json()["detail"]) is (language == "ru")
    assert Customer.objects.get().telegram_user_id == user_id


# Requests


@pytest.fixture
def agent(db: None) -> User:
    return User.objects.create_user("olga", is_staff=True)


def test_a_request_shows_what_both_sides_said_and_nothing_internal(
    sandbox: SandboxControl, plan: Plan, agent: User
) -> None:
    payment = PaymentFactory(order__status="needs_attention", order__plan=plan)
    case = open_case(customer=payment.customer, payment=payment, wish="help", reason="does_not_work").case
    send_update(message_update("It says no service"))
    run_tasks()
    note_in_case(case.pk, user=agent, text="An old phone, I think")
    answer_case(case.pk, user=agent, text="Is roaming on?", seen_pk=case.messages.latest("pk").pk)
    photo = message_update("")
    photo["message"] |= {"photo": [{"file_id": "1"}], "caption": "Here"}
    send_update(photo)
    run_tasks()
    close_own_case(customer=payment.customer, case_pk=case.pk)

    (shown,) = call("GET", "/api/cases").json()["results"]

    case.refresh_from_db()
    assert [(line["author"], line["text"]) for line in shown.pop("messages")] == [
        ("customer", "I need help. The eSIM does not work."),
        ("customer", "It says no service"),
        ("support", "Is roaming on?"),
        ("customer", "📎 Here"),
        ("customer", "It is settled."),
    ]
    for moment in ("opened_at", "updated_at"):
        assert shown.pop(moment).endswith("Z")
    assert shown == {
        "case_id": case.pk,
        "status": "closed",
        "reason": "does_not_work",
        "title": "France, 1 GB, 7 days",
        "order_id": str(payment.order.pk),
    }


@pytest.mark.parametrize("wish", Case.Wish.values)
@pytest.mark.parametrize("reason", Case.Reason.values)
def test_what_a_customer_pressed_is_said_in_their_language(plan: Plan, wish: str, reason: str) -> None:
    anna = CustomerFactory(telegram_user_id=ANNA, language="ru")
    payment = PaymentFactory(order__status="needs_attention", order__plan=plan, order__customer=anna)
    open_case(customer=anna, payment=payment, wish=wish, reason=reason)
    (shown,) = call("GET", "/api/cases", user_id=ANNA).json()["results"]
    assert is_russian(shown["messages"][0]["text"])
    assert shown["title"].startswith("Франция")


def test_a_request_about_no_order_of_theirs_names_none(plan: Plan) -> None:
    ben = CustomerFactory(telegram_user_id=BEN)
    annas = OrderFactory(plan=plan, customer__telegram_user_id=ANNA, customer__language="ru", status="completed")
    paid = PaymentFactory(order=annas, customer=ben, payer_id=BEN, kind="extra", extra_reason="wrong_payer")
    open_case(customer=ben, payment=paid, wish="help", reason="other")
    open_case(customer=ben, payment=None, wish="help", reason="other")
    shown = call("GET", "/api/cases").json()["results"]
    assert [(case["title"], case["order_id"]) for case in shown] == [
        ("A question", None),
        ("Payment without an order", None),
    ]


def test_requests_of_others_are_not_there(plan: Plan) -> None:
    payment = PaymentFactory(order__status="completed", order__plan=plan)
    open_case(customer=payment.customer, payment=payment, wish="help", reason="other")
    assert call("GET", "/api/cases", user_id=ANNA).json()["count"] == 0
    assert call("GET", "/api/cases").json()["count"] == 1


def test_requests_cost_the_same_queries_whatever_their_number_and_come_in_pages(plan: Plan) -> None:
    ben, counts = CustomerFactory(telegram_user_id=BEN), []
    for number in (1, 5):
        for _ in range(number):
            order = OrderFactory(plan=plan, customer=ben, status="completed")
            case = Case.objects.create(
                customer=ben, order=order, reason="other", wish="help", payment=PaymentFactory(order=order)
            )
            for text in ("one", "two"):
                CaseMessage.objects.create(case=case, author="staff", actor="admin:olga", text=text)
            Case.objects.filter(pk=case.pk).update(updated_at=timezone.now() + timedelta(seconds=case.pk))
        with CaptureQueriesContext(connection) as queries:
            call("GET", "/api/cases")
        counts.append(len(queries))
    assert counts[0] == counts[1]
    page = call("GET", "/api/cases?page=2&page_size=4").json()
    assert (page["count"], page["next"], len(page["results"])) == (6, None, 2)
    ids = [case["case_id"] for case in call("GET", "/api/cases").json()["results"]]
    assert ids == sorted(ids, reverse=True)
