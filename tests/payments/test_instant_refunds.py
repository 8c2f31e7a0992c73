"""A refund that the shop decides at once: who may have it, and how the case ends, whatever the wholesaler says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from orders.models import Delivery, Esim, Order
from payments.models import Case, Payment, RefundRequest, ServicePolicy
from payments.services.cases import decides_at_once, settle_decision
from tests.factories import PaymentFactory, PlanFactory
from tests.outside import (
    BEN,
    SandboxControl,
    is_russian,
    payment_update,
    press_update,
    run_tasks,
    send_update,
    sweep,
)
from tests.payments.test_cases import make_case

pytestmark = pytest.mark.django_db


def delivered(**fields: Any) -> Payment:
    """Ben's payment of an eSIM that was delivered a day ago; fields of its order begin with `order__`."""
    details = {
        "order__status": Order.Status.COMPLETED,
        "order__paid_at": timezone.now() - timedelta(days=1),
        "order__plan": PlanFactory(),
        **fields,
    }
    return PaymentFactory(**details)


def ask_before(payment: Payment, **fields: Any) -> RefundRequest:
    """An earlier request of a customer, by default carried out a moment ago."""
    return RefundRequest.objects.create(
        **{"payment": payment, "status": "done", "requested_by": "customer", "revokes_bundle": True, **fields}
    )


# Who may have it


def test_an_unused_esim_of_yesterday_is_decided_at_once() -> None:
    assert decides_at_once(delivered())


@pytest.mark.parametrize(
    "fields",
    [
        {"order__status": "paid"},
        {"order__status": "needs_attention"},
        {"status": "refunding"},
        {"status": "refund_failed"},
        {"kind": "extra", "extra_reason": "paid_twice"},
        {"amount_stars": 10_001},
    ],
)
def test_anything_but_a_paid_and_delivered_order_is_for_staff(fields: dict[str, Any]) -> None:
    assert not decides_at_once(delivered(**fields))


def test_the_policy_says_for_how_long_and_up_to_which_amount() -> None:
    now = timezone.now()
    assert decides_at_once(delivered(order__paid_at=now - timedelta(days=13, hours=23)))
    assert not decides_at_once(delivered(order__paid_at=now - timedelta(days=14, minutes=1)))
    assert decides_at_once(delivered(amount_stars=10_000))
    ServicePolicy.objects.create(instant_refund_days=2, second_person_stars=100)
    assert not decides_at_once(delivered(order__paid_at=now - timedelta(days=3), amount_stars=50))
    assert not decides_at_once(delivered(amount_stars=101))


def test_a_customer_has_two_a_month() -> None:
    third = delivered()
    long_ago = timezone.now() - timedelta(days=31)
    ask_before(delivered(), requested_at=long_ago)
    ask_before(delivered(), status="refused")
    ask_before(delivered(), requested_by="admin:olga")
    ask_before(delivered(order__customer__telegram_user_id=77))
    ask_before(delivered())
    assert decides_at_once(third)

    ask_before(delivered(), status="approved")

    assert not decides_at_once(third)


def test_what_was_refused_once_is_not_asked_again() -> None:
    payment = delivered()
    ask_before(payment, status="refused")

    assert not decides_at_once(payment)


# How it ends


def deciding(*, request_status: str = "approved", payment_status: str = "paid", note: str = "", **fields: Any) -> Case:
    payment = delivered(status=payment_status)
    request = ask_before(payment, status=request_status, note=note)
    return make_case(payment=payment, status="deciding", wish="refund", refund_request=request, **fields)


@pytest.mark.parametrize(("request_status", "payment_status"), [("approved", "paid"), ("done", "refunding")])
def test_while_it_is_being_carried_out_the_case_waits(request_status: str, payment_status: str) -> None:
    case = deciding(request_status=request_status, payment_status=payment_status)

    settle_decision(case.pk)

    case.refresh_from_db()
    assert (case.status, case.messages.count()) == ("deciding", 1)


@pytest.mark.parametrize("language", ["ru", "en"])
def test_with_the_stars_back_the_case_is_closed_and_the_customer_told(sandbox: SandboxControl, language: str) -> None:
    case = deciding(request_status="done", payment_status="refunded")
    case.customer.language = language
    case.customer.save()

    for _ in range(2):
        settle_decision(case.pk)
    run_tasks()

    case.refresh_from_db()
    line = case.messages.latest("pk")
    assert (case.status, line.before, line.after, line.actor) == ("closed", "deciding", "closed", "worker")
    assert case.first_answered_at == case.closed_at == line.created_at
    (message,) = sandbox.chat(case.customer.telegram_user_id)
    assert is_russian(message["text"]) is (language == "ru")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"request_status": "refused", "note": "the eSIM is installed"}, "the eSIM is installed"),
        ({"request_status": "declined"}, "declined"),
        ({"request_status": "done", "payment_status": "refund_failed"}, "Telegram refuses to return the Stars"),
        ({"opened_at": timezone.now() - timedelta(minutes=61)}, "within an hour"),
    ],
)
def test_what_the_shop_cannot_decide_is_for_staff_who_read_why(
    sandbox: SandboxControl, fields: dict[str, Any], why: str
) -> None:
    case = deciding(**fields)

    for _ in range(2):
        settle_decision(case.pk)

    case.refresh_from_db()
    inner, told = case.messages.order_by("pk")[1:]
    assert (inner.is_internal, told.is_internal) == (True, False)
    assert why in inner.text
    assert (case.status, told.before, told.after, case.first_answered_at) == ("open", "deciding", "open", None)
    assert "a person looks at it" in Delivery.objects.get().text


# With the wholesaler


@pytest.fixture
def bought(sandbox: SandboxControl, order: Order) -> Payment:
    """Ben's payment whose eSIM the sandbox has sold, at a wholesaler who gives prices back."""
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    sandbox.post("/sandbox/users", {"id": BEN, "first_name": "Ben", "language_code": "en", "started": True})
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    run_tasks()
    order.refresh_from_db()
    assert order.status == "completed"
    return Payment.objects.get()


def ask_for_stars(payment: Payment) -> Case:
    """Press "I want my Stars back", "I do not need it" in the bot, and let the worker do all that follows."""
    send_update(press_update(f"ps:o:{payment.pk}:r:u"))
    run_tasks()
    sweep()
    return Case.objects.get()


def test_an_unused_esim_goes_back_and_the_stars_come(sandbox: SandboxControl, bought: Payment) -> None:
    case = ask_for_stars(bought)

    bought.refresh_from_db()
    assert (case.status, bought.status, bought.order.status) == ("closed", "refunded", "refunded")  # type: ignore[union-attr]
    assert [row["amount"] for row in sandbox.refunds()] == [bought.amount_stars]
    texts = [message["text"] for message in sandbox.chat(BEN)]
    assert any("We are asking the carrier" in text for text in texts)
    assert any("We returned 130 Stars" in text for text in texts)
    assert any("Please do not install it any more." in text for text in texts)
    actors = set(bought.events.values_list("actor", flat=True))
    assert "customer" in actors


@pytest.mark.parametrize(
    ("use", "changed"),
    [
        ({"profile_status": "Installed"}, {}),
        ({"profile_status": "Enabled", "remaining_mb": 500}, {}),
        ({}, {"refunds_enabled": False}),
    ],
    ids=["installed", "used", "not refundable"],
)
def test_what_the_wholesaler_does_not_take_back_is_for_staff(
    sandbox: SandboxControl, bought: Payment, use: dict[str, Any], changed: dict[str, Any]
) -> None:
    if use:
        sandbox.post(f"/sandbox/esims/{Esim.objects.get().iccid}", use)
    if changed:
        sandbox.post("/sandbox/settings", changed)

    case = ask_for_stars(bought)

    bought.refresh_from_db()
    assert (case.status, bought.status, bought.order.status) == ("open", "paid", "completed")  # type: ignore[union-attr]
    assert sandbox.refunds() == []
    assert case.refund_request is not None
    assert case.refund_request.note in case.messages.get(is_internal=True).text
    assert "a person looks at it" in sandbox.chat(BEN)[-1]["text"]


def test_a_wholesaler_who_does_not_answer_hands_it_to_staff_in_the_end(
    sandbox: SandboxControl, bought: Payment
) -> None:
    sandbox.fail("esimgo", "drop", times=None)
    case = ask_for_stars(bought)
    assert case.status == "deciding"

    for minutes in range(2, 62, 4):
        with time_machine.travel(timezone.now() + timedelta(minutes=minutes)):
            sweep()

    case.refresh_from_db()
    bought.refresh_from_db()
    assert (case.status, bought.status) == ("open", "paid")


def test_a_press_in_the_middle_of_it_shows_the_case(sandbox: SandboxControl, bought: Payment) -> None:
    for _ in range(2):
        send_update(press_update(f"ps:o:{bought.pk}:r:u"))
    run_tasks()
    sweep()

    assert Case.objects.count() == RefundRequest.objects.count() == len(sandbox.refunds()) == 1


def test_a_third_refund_in_a_month_is_for_staff(sandbox: SandboxControl, bought: Payment) -> None:
    for _ in range(2):
        ask_before(delivered())

    case = ask_for_stars(bought)

    assert (case.status, case.refund_request, sandbox.refunds()) == ("open", None, [])
