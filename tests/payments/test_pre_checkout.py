"""Telegram's last question: every refusal with its sentence, and no more approvals than the balance covers."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from catalog.models import Plan, WholesalerAccount
from catalog.services.pricing_policies import set_pricing_policy
from orders.models import Order
from payments.models import PreCheckout, TelegramUpdate
from payments.services.pre_checkout import explain_refusal
from tests.factories import PlanFactory
from tests.outside import ANNA, BEN, at_once, is_russian, pre_checkout_update, send_update
from tests.payments.conftest import invoiced_order

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


def answer_to(update: Any) -> dict[str, Any]:
    """The Bot API call in the webhook's response."""
    response = send_update(update)
    assert response.status_code == 200
    answer = response.json()
    assert answer["method"] == "answerPreCheckoutQuery"
    assert answer["pre_checkout_query_id"] == update["pre_checkout_query"]["id"]
    assert ("error_message" in answer) is not answer["ok"]
    return dict(answer)


def test_an_order_in_order_is_approved(order: Order) -> None:
    update = pre_checkout_update(order)
    assert answer_to(update) == {
        "method": "answerPreCheckoutQuery",
        "pre_checkout_query_id": update["pre_checkout_query"]["id"],
        "ok": True,
    }
    decision = PreCheckout.objects.get()
    assert (decision.order, decision.refusal, decision.cost_usd) == (order, "", order.cost_usd)
    assert order.events.count() == 0


def _to_state(status: str) -> Callable[[Order], Any]:
    return lambda order: Order.objects.filter(pk=order.pk).update(status=status)


def _expire_quote(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(quote_expires_at=timezone.now())


def _take_off_sale(order: Order) -> None:
    Plan.objects.update(is_on_sale=False)


def _pause_sales(order: Order) -> None:
    set_pricing_policy(by=None, reason="pause", is_selling=False)


def _spend_balance(order: Order) -> None:
    WholesalerAccount.objects.create(balance_usd=order.cost_usd - Decimal("0.0001"))


SENTENCES = {
    "unknown_invoice": "We do not know this invoice. Open the shop and choose the plan again; no Stars were taken.",
    "not_yours": "This invoice is someone else's. Open the shop to buy your own; no Stars were taken.",
    "wrong_amount": "The price does not match. Reopen the order; no Stars were taken.",
    "not_awaiting": "This order is paid or closed already. Look into My orders; no Stars were taken.",
    "quote_expired": "The price is out of date. Reopen the order; no Stars were taken.",
    "plan_gone": "This plan is no longer sold. Choose another one; no Stars were taken.",
    "sales_paused": "Sales are paused for a short while. Try again later; no Stars were taken.",
    "no_balance": "This plan cannot be delivered right now. Try again later; no Stars were taken.",
}
STRANGER = 31337
REFUSALS: list[Any] = [
    ("unknown_invoice", None, {"invoice_payload": "x" * 32}),
    ("unknown_invoice", None, {"invoice_payload": ""}),
    ("unknown_invoice", None, {"invoice_payload": "\x00"}),
    ("unknown_invoice", None, {"invoice_payload": "я" * 500}),
    ("wrong_amount", None, {"total_amount": 1}),
    ("wrong_amount", None, {"total_amount": 10**15}),
    ("wrong_amount", None, {"total_amount": "130"}),
    ("wrong_amount", None, {"currency": "USD"}),
    ("not_awaiting", _to_state("paid"), {}),
    ("not_awaiting", _to_state("provisioning"), {}),
    ("not_awaiting", _to_state("completed"), {}),
    ("not_awaiting", _to_state("needs_attention"), {}),
    ("not_awaiting", _to_state("refunding"), {}),
    ("not_awaiting", _to_state("refunded"), {}),
    ("not_awaiting", _to_state("cancelled"), {}),
    ("quote_expired", _to_state("expired"), {}),
    ("quote_expired", _expire_quote, {}),
    ("plan_gone", _take_off_sale, {}),
    ("sales_paused", _pause_sales, {}),
    ("no_balance", _spend_balance, {}),
]


@pytest.mark.parametrize(("user_id", "language"), [(ANNA, "ru"), (BEN, "en")])
@pytest.mark.parametrize(("refusal", "spoil", "changes"), REFUSALS)
def test_a_refusal_says_why_in_the_customers_language(
    plan: Plan, refusal: str, spoil: Any, changes: dict[str, Any], user_id: int, language: str
) -> None:
    order = invoiced_order(plan=plan, user_id=user_id, language=language)
    if spoil:
        spoil(order)
    answer = answer_to(pre_checkout_update(order, **changes))
    assert not answer["ok"]
    if language == "en":
        assert answer["error_message"] == SENTENCES[refusal]
    else:
        assert is_russian(answer["error_message"])
    assert PreCheckout.objects.get().refusal == refusal


def test_somebody_else_cannot_pay(order: Order) -> None:
    answer = answer_to(pre_checkout_update(order, user_id=STRANGER))
    assert answer["error_message"] == SENTENCES["not_yours"]
    answer = answer_to(pre_checkout_update(order, user_id=ANNA))
    assert is_russian(answer["error_message"])


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_refusal_has_its_sentence(language: str) -> None:
    with override(language):
        sentences = {explain_refusal(refusal) for refusal in PreCheckout.Refusal.values if refusal}
    assert len(sentences) == len(SENTENCES) == len(PreCheckout.Refusal.values) - 1
    assert all(is_russian(sentence) for sentence in sentences) is (language == "ru")
    # Bot API, answerPreCheckoutQuery: no limit is published; clients show about this much.
    assert all(len(sentence) <= 200 for sentence in sentences)


def test_a_repeated_update_gets_the_same_answer_whatever_happened_meanwhile(order: Order) -> None:
    update = pre_checkout_update(order)
    first = answer_to(update)
    Order.objects.update(status=Order.Status.PAID)
    assert answer_to(update) == first
    assert answer_to({**update, "update_id": update["update_id"] + 500}) == first
    assert PreCheckout.objects.count() == 1


def test_a_repeated_refusal_stays_a_refusal(order: Order) -> None:
    Plan.objects.update(is_on_sale=False)
    update = pre_checkout_update(order)
    first = answer_to(update)
    Plan.objects.update(is_on_sale=True)
    assert answer_to(update) == first


def test_a_query_that_makes_no_sense_is_kept_and_not_answered(order: Order) -> None:
    update = pre_checkout_update(order)
    del update["pre_checkout_query"]["from"]
    response = send_update(update)
    assert (response.status_code, response.content) == (200, b"")
    stored = TelegramUpdate.objects.get()
    # It is over by the time anybody could replay it.
    assert (stored.status, stored.next_try_at) == ("failed", None)


def test_the_decision_needs_few_queries_and_no_outside_call(order: Order) -> None:
    WholesalerAccount.objects.create(balance_usd=Decimal(100))
    with CaptureQueriesContext(connection) as queries:
        answer_to(pre_checkout_update(order))
    assert len(queries) <= 15


# The balance


def test_a_balance_nobody_knows_stops_no_sale(order: Order) -> None:
    WholesalerAccount.objects.create(balance_usd=None)
    assert answer_to(pre_checkout_update(order))["ok"]


def test_what_is_paid_and_not_yet_bought_is_not_sold_again(plan: Plan) -> None:
    WholesalerAccount.objects.create(balance_usd=Decimal("3.90"))  # three times the plan
    for number, status in enumerate(["paid", "provisioning", "completed", "refunded"]):
        invoiced_order(plan=plan, user_id=700 + number, status=status)
    first, second = (invoiced_order(plan=plan, user_id=800 + number) for number in range(2))
    assert answer_to(pre_checkout_update(first))["ok"]
    assert answer_to(pre_checkout_update(second))["error_message"] == SENTENCES["no_balance"]


def test_an_approval_holds_its_part_of_the_balance_for_150_seconds(plan: Plan) -> None:
    WholesalerAccount.objects.create(balance_usd=Decimal("1.30"))
    first, second = (invoiced_order(plan=plan, user_id=800 + number) for number in range(2))
    assert answer_to(pre_checkout_update(first))["ok"]
    assert not answer_to(pre_checkout_update(second))["ok"]
    with time_machine.travel(timezone.now() + timedelta(seconds=151)):
        assert answer_to(pre_checkout_update(second))["ok"]


def test_a_second_try_of_one_order_does_not_stand_in_its_own_way(plan: Plan) -> None:
    WholesalerAccount.objects.create(balance_usd=Decimal("1.30"))
    order = invoiced_order(plan=plan)
    assert [answer_to(pre_checkout_update(order))["ok"] for _ in range(3)] == [True] * 3


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_do_not_oversell_the_balance() -> None:
    WholesalerAccount.objects.create(balance_usd=Decimal("6.60"))  # five times 1.30, and 0.10 over
    plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    orders = [invoiced_order(user_id=900 + number, plan=plan) for number in range(20)]
    updates = [pre_checkout_update(order) for order in orders]
    answers = at_once(*[lambda update=update: send_update(update).json()["ok"] for update in updates])
    assert sorted(answers) == [False] * 15 + [True] * 5
