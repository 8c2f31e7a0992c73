"""A refund that the shop decides at once: who may have it, and how the case ends, whatever the wholesaler says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Delivery, Order
from payments.models import Case, Payment, RefundRequest, ServicePolicy
from payments.services.cases import decides_at_once, settle_decision
from tests.factories import PaymentFactory, PlanFactory
from tests.outside import SandboxControl, is_russian, run_tasks
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
