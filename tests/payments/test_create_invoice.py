"""POST /api/telegram/stars/create-invoice: an order at today's price, and the link that pays for it."""

from __future__ import annotations

import json
import runpy
import time
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from catalog.models import Plan, PricingPolicy
from catalog.services.pricing_policies import set_pricing_policy
from esimshop.models import Alert
from esimshop.waiting_places import PLACES
from orders.models import Customer, Order
from payments.models import Invoice, ServicePolicy
from tests.factories import AreaFactory, EsimFactory, InvoiceFactory, OrderFactory, PlanFactory
from tests.outside import ANNA, BEN, SandboxControl, at_once, bearer, init_data, run_tasks

URL = "/api/telegram/stars/create-invoice"
pytestmark = pytest.mark.django_db


def ask(body: Any = None, *, user_id: int = BEN, key: str | None = None, **headers: str) -> Any:
    """Create an invoice as a user of the Mini App does; body: JSON, or bytes as they are."""
    sent = {**bearer(user_id), **({"Idempotency-Key": key} if key else {}), **headers}
    content = body if isinstance(body, bytes) else json.dumps(body or {"plan": "esim_1GB_7D_FR_V2"}).encode()
    client = Client(raise_request_exception=False)
    return client.post(URL, content, content_type="application/json", headers=sent)


def code_of(answer: Any) -> str:
    assert set(answer.json()) >= {"code", "detail"}
    assert answer["Cache-Control"] == "no-store"
    return str(answer.json()["code"])


# What one gets


def test_a_plan_becomes_an_order_with_an_invoice_link(sandbox: SandboxControl, plan: Plan) -> None:
    before = timezone.now()
    answer = ask({"plan": plan.bundle_name})
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"order_id", "invoice_link", "amount_stars", "currency", "expires_at"}
    assert (answer.json()["amount_stars"], answer.json()["currency"]) == (130, "XTR")

    order = Order.objects.get(pk=UUID(answer.json()["order_id"]))
    assert (order.status, order.amount_stars, order.cost_usd) == ("awaiting_payment", 130, Decimal("1.3"))
    assert order.pricing_policy == PricingPolicy.in_force()
    assert order.customer.telegram_user_id == BEN
    assert order.bought_plan["ru"]["title"] != order.bought_plan["en"]["title"]
    expires_at = datetime.fromisoformat(answer.json()["expires_at"])
    assert timedelta(minutes=14, seconds=55) < expires_at - before < timedelta(minutes=15, seconds=10)

    invoice = sandbox.invoice(answer.json()["invoice_link"])
    assert (invoice["amount"], invoice["currency"]) == (130, "XTR")
    assert order.invoice.link == answer.json()["invoice_link"]


def test_the_payload_is_a_token_of_its_own(sandbox: SandboxControl, plan: Plan) -> None:
    ask()
    (told,) = sandbox.ledger()["invoices"].values()
    order = Order.objects.get()
    assert told["payload"] == order.invoice.payload
    assert len(told["payload"]) == 32
    assert str(order.pk) not in told["payload"]
    assert str(BEN) not in told["payload"]


@pytest.mark.parametrize(("user_id", "word"), [(ANNA, "Франция"), (BEN, "France")])
def test_the_invoice_speaks_the_customers_language(
    sandbox: SandboxControl, plan: Plan, user_id: int, word: str
) -> None:
    invoice = sandbox.invoice(ask(user_id=user_id).json()["invoice_link"])
    assert word in invoice["title"]
    assert word in invoice["description"]
    assert Customer.objects.get().language == ("ru" if user_id == ANNA else "en")


@pytest.mark.parametrize("user_id", [ANNA, BEN])
@pytest.mark.parametrize("code", ["RBH", "RMENA", "VI", "GB", "CD", "VC"])
def test_the_longest_names_stay_within_telegrams_limits(sandbox: SandboxControl, code: str, user_id: int) -> None:
    area = AreaFactory(code=code, countries=["FR", "DE"])
    PlanFactory(bundle_name="esim_long", area=area, data_mb=100_000, validity_days=365)
    sandbox.fail("esimgo.POST /orders validate", "drop")  # it does not sell this one
    answer = ask({"plan": "esim_long"}, user_id=user_id)
    assert answer.status_code == 201
    invoice = sandbox.invoice(answer.json()["invoice_link"])
    assert 1 <= len(invoice["title"]) <= 32
    assert 1 <= len(invoice["description"]) <= 255


# Who may ask


def test_without_init_data_nobody_gets_an_invoice(plan: Plan) -> None:
    answer = Client().post(URL, {"plan": plan.bundle_name}, content_type="application/json")
    assert (answer.status_code, code_of(answer)) == (401, "init_data_invalid")


@pytest.mark.parametrize(
    "authorization",
    ["tma ", "tma garbage", "tma user=%7B%7D&hash=00", "Bearer abc", "tma \xff\xfe", "tma " + "a=b&" * 5000],
)
def test_what_is_no_init_data_is_refused(plan: Plan, authorization: str) -> None:
    answer = ask(Authorization=authorization)
    assert (answer.status_code, code_of(answer)) == (401, "init_data_invalid")


def test_init_data_signed_with_another_token_is_refused(plan: Plan) -> None:
    answer = ask(Authorization=f"tma {init_data(token='1:other')}")
    assert (answer.status_code, code_of(answer)) == (401, "init_data_invalid")


def test_init_data_with_another_user_put_in_is_refused(plan: Plan) -> None:
    forged = init_data(BEN).replace(str(BEN), str(ANNA))
    answer = ask(Authorization=f"tma {forged}")
    assert (answer.status_code, code_of(answer)) == (401, "init_data_invalid")


def test_old_init_data_is_stale(plan: Plan) -> None:
    answer = ask(Authorization=f"tma {init_data(age_seconds=86_500)}")
    assert (answer.status_code, code_of(answer)) == (401, "init_data_stale")
    assert not Order.objects.exists()


def test_init_data_of_yesterday_evening_still_buys(sandbox: SandboxControl, plan: Plan) -> None:
    assert ask(Authorization=f"tma {init_data(age_seconds=80_000)}").status_code == 201


def test_init_data_from_the_future_is_refused(plan: Plan) -> None:
    answer = ask(Authorization=f"tma {init_data(age_seconds=-300)}")
    assert (answer.status_code, code_of(answer)) == (401, "init_data_invalid")


# What one may ask


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b'{"plan": "esim_1GB_7D_FR_V2"',
        b'{"plan": "\xff\xfe"}',
        b"[]",
        b"null",
        b'"esim_1GB_7D_FR_V2"',
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"plan": "\\u0000"}',
        b'{"plan": "\\ud800"}',
        b'{"plan": NaN}',
        b'{"expected_stars": ' + b"9" * 6_000 + b', "plan": "esim_1GB_7D_FR_V2"}',
        b"{}",
        b'{"plan": null}',
        b'{"plan": ""}',
        b'{"plan": 5}',
        b'{"plan": ["esim_1GB_7D_FR_V2"]}',
        b'{"plan": {"bundle": "esim_1GB_7D_FR_V2"}}',
        b'{"plan": true}',
        json.dumps({"plan": "x" * 101}).encode(),
        b'{"plan": "esim_1GB_7D_FR_V2", "expected_stars": "cheap"}',
        b'{"plan": "esim_1GB_7D_FR_V2", "expected_stars": 0}',
        b'{"plan": "esim_1GB_7D_FR_V2", "expected_stars": -5}',
        b'{"plan": "esim_1GB_7D_FR_V2", "expected_stars": 1.5}',
        b'{"plan": "esim_1GB_7D_FR_V2", "expected_stars": true}',
        b'{"plan": "esim_1GB_7D_FR_V2", "expected_stars": [130]}',
        b'{"plan": "esim_1GB_7D_FR_V2", "expected_stars": 1e400}',
        b'{"plan": "esim_1GB_7D_FR_V2", "iccid": "not digits"}',
        b'{"plan": "esim_1GB_7D_FR_V2", "iccid": 8944538000000000001}',
        '{"plan": "esim_1GB_7D_FR_V2", "iccid": "١١١١١١١١١١١١١١١١١١١"}'.encode(),
        b'{"plan": "esim_1GB_7D_FR_V2", "price": 1}',
        b'{"plan": "esim_1GB_7D_FR_V2", "amount_stars": 1}',
    ],
    ids=lambda body: repr(body[:50]),
)
def test_a_body_that_makes_no_sense_is_a_bad_request(plan: Plan, body: bytes) -> None:
    answer = ask(body) if body else Client().post(URL, b"", content_type="application/json", headers=bearer())
    assert (answer.status_code, code_of(answer)) == (400, "bad_request")
    assert not Order.objects.exists()


def test_a_body_without_end_is_too_large(plan: Plan) -> None:
    answer = ask(b'{"plan": "' + b"x" * 1_100_000 + b'"}')
    assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")


@pytest.mark.parametrize("key", ["k" * 101, "ключ", "a\tb"])
def test_a_key_that_is_no_key_is_a_bad_request(plan: Plan, key: str) -> None:
    answer = ask(key=key)
    assert (answer.status_code, code_of(answer)) == (400, "bad_request")


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_only_post_makes_invoices(plan: Plan, method: str) -> None:
    answer = getattr(Client(), method)(URL, headers=bearer())
    assert (answer.status_code, code_of(answer)) == (405, "bad_request")


def test_a_form_is_not_taken(plan: Plan) -> None:
    answer = Client().post(URL, {"plan": plan.bundle_name}, headers=bearer())
    assert (answer.status_code, code_of(answer)) == (415, "bad_request")


def test_an_unknown_plan_is_not_found() -> None:
    answer = ask({"plan": "esim_1GB_7D_XX_V2"})
    assert (answer.status_code, code_of(answer)) == (404, "plan_not_found")


def test_a_plan_that_is_not_on_sale_is_not_found() -> None:
    plan = PlanFactory(is_on_sale=False)
    answer = ask({"plan": plan.bundle_name})
    assert (answer.status_code, code_of(answer)) == (404, "plan_not_found")


def test_errors_speak_the_language_of_the_telegram_user() -> None:
    details = {
        user_id: ask({"plan": "esim_gone"}, user_id=user_id, **{"Accept-Language": "de"}).json()["detail"]
        for user_id in (ANNA, BEN)
    }
    assert details[BEN] == "This plan is not on sale. Please choose another one."
    assert details[ANNA] == "Этот тариф не продаётся. Выберите другой."


def test_paused_sales_are_a_conflict(plan: Plan) -> None:
    set_pricing_policy(by=None, reason="pause", is_selling=False)
    answer = ask()
    assert (answer.status_code, code_of(answer)) == (409, "sales_paused")


def test_a_price_that_changed_is_a_conflict_and_told(plan: Plan) -> None:
    answer = ask({"plan": plan.bundle_name, "expected_stars": 129})
    assert (answer.status_code, code_of(answer)) == (409, "price_changed")
    assert answer.json()["amount_stars"] == 130
    assert not Order.objects.exists()


def test_the_price_that_the_customer_saw_is_taken(sandbox: SandboxControl, plan: Plan) -> None:
    assert ask({"plan": plan.bundle_name, "expected_stars": 130}).status_code == 201


# Asking again


def test_a_second_tap_gets_the_same_order_and_link(sandbox: SandboxControl, plan: Plan) -> None:
    first, second = ask(), ask()
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert sandbox.calls("telegram.createInvoiceLink") == 1


def test_a_repeated_key_gets_the_same_order_and_link(sandbox: SandboxControl, plan: Plan) -> None:
    first, second = ask(key="one"), ask(key="one")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


def test_a_key_with_another_body_is_a_conflict(sandbox: SandboxControl, plan: Plan) -> None:
    PlanFactory(bundle_name="esim_2GB_15D_FR_V2", wholesale_usd=Decimal(3))
    ask(key="one")
    answer = ask({"plan": "esim_2GB_15D_FR_V2"}, key="one")
    assert (answer.status_code, code_of(answer)) == (409, "idempotency_key_reused")
    assert Order.objects.count() == 1


def test_a_key_is_its_customers_own(sandbox: SandboxControl, plan: Plan) -> None:
    assert ask(key="one").json()["order_id"] != ask(key="one", user_id=ANNA).json()["order_id"]


def test_a_repeated_key_of_a_paid_order_makes_no_second_one(sandbox: SandboxControl, plan: Plan) -> None:
    first = ask(key="one").json()
    Order.objects.update(status=Order.Status.PAID)
    again = ask(key="one")
    assert (again.status_code, again.json()["order_id"]) == (200, first["order_id"])


def test_after_paying_the_same_plan_can_be_bought_again(sandbox: SandboxControl, plan: Plan) -> None:
    first = ask().json()
    Order.objects.update(status=Order.Status.COMPLETED)
    second = ask()
    assert second.status_code == 201
    assert second.json()["order_id"] != first["order_id"]


@pytest.mark.parametrize("key", [None, "one"])
def test_an_order_whose_quote_is_over_makes_room_for_a_new_one(
    sandbox: SandboxControl, plan: Plan, key: str | None
) -> None:
    first = ask(key=key).json()
    with time_machine.travel(timezone.now() + timedelta(minutes=15, seconds=1)):
        second = ask(key=key)
    assert second.status_code == 201
    assert second.json()["order_id"] != first["order_id"]
    assert second.json()["invoice_link"] != first["invoice_link"]
    assert Order.objects.get(pk=first["order_id"]).status == Order.Status.EXPIRED


@pytest.mark.parametrize("key", [None, "one"])
def test_an_order_at_yesterdays_price_makes_room_for_a_new_one(
    sandbox: SandboxControl, plan: Plan, key: str | None
) -> None:
    first = ask(key=key).json()
    set_pricing_policy(by=None, reason="dearer", stars_per_usd=Decimal(200))
    second = ask(key=key)
    assert (second.status_code, second.json()["amount_stars"]) == (201, 260)
    assert Order.objects.get(pk=first["order_id"]).status == Order.Status.EXPIRED
    assert ask(key=key).json() == second.json()


def test_a_key_of_an_expired_order_starts_anew(sandbox: SandboxControl, plan: Plan) -> None:
    first = ask(key="one").json()
    Order.objects.update(status=Order.Status.EXPIRED)
    second = ask(key="one")
    assert second.status_code == 201
    assert second.json()["order_id"] != first["order_id"]
    assert ask(key="one").json() == second.json()


def test_a_link_that_a_crash_left_missing_is_asked_for_again(sandbox: SandboxControl, plan: Plan) -> None:
    first = ask().json()
    Invoice.objects.update(link="")
    second = ask()
    assert (second.status_code, second.json()["order_id"]) == (200, first["order_id"])
    assert second.json()["invoice_link"].startswith("https://t.me/$")
    assert {invoice["payload"] for invoice in sandbox.ledger()["invoices"].values()} == {Invoice.objects.get().payload}


def test_an_order_that_lost_its_invoice_gets_one(sandbox: SandboxControl, plan: Plan) -> None:
    first = ask().json()
    Invoice.objects.all().delete()
    second = ask()
    assert (second.status_code, second.json()["order_id"]) == (200, first["order_id"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", [None, "one"])
def test_taps_at_once_make_one_order(sandbox: SandboxControl, key: str | None) -> None:
    PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    answers = at_once(*[lambda: ask(key=key)] * 6)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert Order.objects.count() == Invoice.objects.count() == Customer.objects.count() == 1


# How often one may ask


def test_too_many_calls_have_to_wait(sandbox: SandboxControl, plan: Plan) -> None:
    policy = ServicePolicy(invoices_per_minute=2)
    policy.save()
    with time_machine.travel(timezone.now().replace(second=20), tick=False):
        statuses = [ask().status_code for _ in range(3)]
        answer = ask()
        other = ask(user_id=ANNA)
    assert statuses == [201, 200, 429]
    assert code_of(answer) == "rate_limited"
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert other.status_code == 201
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        assert ask().status_code == 200


# Telegram away


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 502}),
        ("status", {"status": 429, "headers": {"Retry-After": "7"}}),
        ("html", {}),
        ("html", {"status": 502}),
        ("half_json", {}),
        ("empty", {}),
        ("malformed", {}),
        ("drop", {}),
        ("drop_after_work", {}),
        ("cut", {}),
        pytest.param("timeout_after_work", {"seconds": 12}, marks=pytest.mark.slow),
    ],
)
def test_while_telegram_is_away_the_order_stays_and_the_next_call_goes_on(
    sandbox: SandboxControl, plan: Plan, kind: str, details: dict[str, Any]
) -> None:
    sandbox.fail("telegram.createInvoiceLink", kind, **details)
    answer = ask(key="one")
    assert (answer.status_code, code_of(answer)) == (503, "telegram_unreachable")
    assert int(answer["Retry-After"]) >= 1
    order = Order.objects.get()
    assert (order.status, order.invoice.link) == ("awaiting_payment", "")
    again = ask(key="one")
    assert (again.status_code, again.json()["order_id"]) == (200, str(order.pk))
    assert again.json()["invoice_link"].startswith("https://t.me/$")


def test_telegrams_wish_to_wait_is_handed_on(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.fail("telegram.createInvoiceLink", "status", status=429, headers={"Retry-After": "7"})
    assert ask()["Retry-After"] == "7"


def test_where_nothing_listens_telegram_is_unreachable(plan: Plan) -> None:
    answer = ask()
    assert (answer.status_code, code_of(answer)) == (503, "telegram_unreachable")


@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_by_telegram_is_told_to_the_operators_once(sandbox: SandboxControl, plan: Plan, status: int) -> None:
    sandbox.fail("telegram.createInvoiceLink", "status", status=status, times=None)
    assert [ask().status_code, ask().status_code] == [503, 503]
    assert Alert.objects.filter(cause="create_invoice_link", cleared_at=None).count() == 1
    run_tasks()
    sandbox.heal()
    assert ask().status_code == 200
    assert not Alert.objects.filter(cause="create_invoice_link", cleared_at=None).exists()


# Telegram slow


@pytest.mark.django_db(transaction=True)
def test_buyers_who_wait_for_telegram_leave_threads_to_everybody_else(sandbox: SandboxControl) -> None:
    PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    sandbox.fail("telegram.createInvoiceLink", "delay", seconds=3, times=None)

    def ask_and_wait(user_id: int) -> tuple[int, Any]:
        started = time.monotonic()
        answer = ask(user_id=user_id)
        return round(time.monotonic() - started), answer

    answers = at_once(*[partial(ask_and_wait, 9_000 + number) for number in range(PLACES + 3)])
    refused = [(seconds, answer) for seconds, answer in answers if answer.status_code == 503]
    assert sorted(answer.status_code for _, answer in answers) == [201] * PLACES + [503] * 3
    for seconds, answer in refused:
        assert seconds < 3
        assert code_of(answer) == "telegram_unreachable"
        # The Mini App asks again by itself.
        assert 1 <= int(answer["Retry-After"]) <= 10
    sandbox.heal()
    assert ask(user_id=9_000 + PLACES + 3).status_code == 201


def test_gunicorn_has_threads_beside_those_that_may_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    served = runpy.run_path(str(settings.BASE_DIR / "gunicorn.conf.py"))
    assert served["threads"] - PLACES >= 4


# Top-ups


def test_an_own_esim_is_topped_up(sandbox: SandboxControl, plan: Plan) -> None:
    esim = EsimFactory(order__plan=plan)
    sandbox.fail("esimgo.POST /orders validate", "drop", times=None)  # it knows nothing of this eSIM
    answer = ask({"plan": plan.bundle_name, "iccid": esim.iccid})
    assert answer.status_code == 201
    assert Order.objects.get(pk=answer.json()["order_id"]).top_up_esim == esim
    assert ask({"plan": plan.bundle_name, "iccid": esim.iccid}).json() == answer.json()


def test_a_top_up_and_a_new_esim_of_one_plan_are_two_orders(sandbox: SandboxControl, plan: Plan) -> None:
    esim = EsimFactory(order__plan=plan)
    sandbox.fail("esimgo.POST /orders validate", "drop", times=None)  # it knows nothing of this eSIM
    top_up = ask({"plan": plan.bundle_name, "iccid": esim.iccid})
    new = ask({"plan": plan.bundle_name})
    assert (top_up.status_code, new.status_code) == (201, 201)
    assert top_up.json()["order_id"] != new.json()["order_id"]


@pytest.mark.parametrize("owner", ["somebody", "nobody"])
def test_somebody_elses_esim_is_not_found(sandbox: SandboxControl, plan: Plan, owner: str) -> None:
    esim = EsimFactory(order__plan=plan, order__customer__telegram_user_id=ANNA, order__customer__language="ru")
    iccid = esim.iccid if owner == "somebody" else "8944538999999999999"
    answer = ask({"plan": plan.bundle_name, "iccid": iccid})
    assert (answer.status_code, code_of(answer)) == (404, "esim_not_found")
    assert Order.objects.count() == 1


def test_the_database_itself_allows_one_unpaid_order_of_a_plan(plan: Plan) -> None:
    from django.db import IntegrityError, transaction

    order = OrderFactory(plan=plan)
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderFactory(plan=plan, customer=order.customer)
    invoice = InvoiceFactory(order=order)
    with pytest.raises(IntegrityError), transaction.atomic():
        InvoiceFactory(order=order)
    assert Invoice.objects.get() == invoice
