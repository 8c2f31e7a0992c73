"""The refund of staff in the admin: what the page says first, and what a press does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client

from esimshop.acts import act_url, acts_for, find_act
from esimshop.alerts import raise_alert
from esimshop.models import Alert
from orders.models import Order
from payments.models import Payment, Refund, RefundRequest
from payments.services.held_charges import held_charges
from tests.factories import CustomerFactory, PaymentFactory
from tests.outside import SandboxControl, at_once, run_tasks
from tests.payments.conftest import invoiced_order
from tests.payments.test_refund_requests import above_limit, change_esim, delivered, paid, pay  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db
SUPPORT = ("refund_undelivered",)
LEAD = ("refund_undelivered", "refund_delivered", "approve_refundrequest")


class Desk:
    """A member of staff and their browser."""

    def __init__(self, username: str, *permissions: str) -> None:
        self.user = User.objects.create_user(username, is_staff=True)
        self.user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        self.client = Client()
        self.client.force_login(self.user)

    def look(self, name: str, *rows: Model) -> str:
        answer = self.client.get(_url(name, *rows))
        assert answer.status_code == 200, answer.status_code
        return answer.content.decode()

    def press(self, name: str, *rows: Model, **values: str) -> str:
        data: dict[str, Any] = {"id": [str(row.pk) for row in rows], "reason": "he asked", **values}
        answer = self.client.post(_url(name), data)
        assert answer.status_code == 200, answer.status_code
        return answer.content.decode()

    def buttons(self, row: Model) -> list[str]:
        """The refund acts offered on a row's page."""
        row.refresh_from_db()
        return [act.name for act in acts_for(row, self.user) if "refund" in act.name]


def chosen(page: str) -> int:
    """How many choices of a page's form are made already."""
    return len(re.findall(r"\schecked[\s>]", page))


def _url(name: str, *rows: Model) -> str:
    act = find_act(name)
    assert act
    return act_url(act, *rows)


@pytest.fixture
def maria(db: None) -> Desk:
    return Desk("maria", *SUPPORT)


@pytest.fixture
def olga(db: None) -> Desk:
    return Desk("olga", *LEAD)


@pytest.fixture
def pavel(db: None) -> Desk:
    return Desk("pavel", *LEAD)


def states(payment: Payment) -> tuple[str, str]:
    payment.refresh_from_db()
    payment.order.refresh_from_db()
    return payment.status, payment.order.status


def test_each_is_offered_what_makes_sense_and_what_they_may(
    paid: Payment,  # noqa: F811
    maria: Desk,
    olga: Desk,
) -> None:
    assert (maria.buttons(paid), maria.buttons(paid.order)) == (["refund-payment"], ["refund-order"])
    run_tasks()
    assert (maria.buttons(paid), maria.buttons(paid.order)) == ([], [])
    assert (olga.buttons(paid), olga.buttons(paid.order)) == (["refund-bought-payment"], ["refund-bought-order"])
    assert maria.client.get(_url("refund-bought-order", paid.order)).status_code == 403
    olga.press("refund-bought-payment", paid, how="in_spite")
    assert (olga.buttons(paid), olga.buttons(paid.order)) == ([], [])


@pytest.mark.parametrize("by", ["payment", "order"])
def test_support_refunds_what_was_not_bought(
    sandbox: SandboxControl,
    paid: Payment,  # noqa: F811
    maria: Desk,
    by: str,
) -> None:
    row: Model = paid if by == "payment" else paid.order
    assert "130 Stars go back" in maria.look(f"refund-{by}", row)
    assert not Refund.objects.exists()
    assert "130 Stars go back: the worker" in maria.press(f"refund-{by}", row)
    run_tasks()
    assert states(paid) == ("refunded", "refunded")
    refund = Refund.objects.get()
    assert (refund.requested_by, refund.reason, refund.forced_by) == ("admin:maria", "he asked", "")


def test_an_unused_esim_is_offered_to_be_taken_back_first(
    sandbox: SandboxControl,
    delivered: Payment,  # noqa: F811
    olga: Desk,
) -> None:
    page = olga.look("refund-bought-order", delivered.order)
    for words in ("never installed", "unused", "Nothing: its price comes back"):
        assert words in page
    assert 'value="revoke"' in page
    assert chosen(page) == 1
    assert "eSIM Go take the bundle back" in olga.press("refund-bought-order", delivered.order, how="revoke")
    run_tasks()
    assert states(delivered) == ("refunded", "refunded")
    assert delivered.order.attempts.get().status == "revoked"


def test_a_used_esim_costs_and_is_not_offered_to_be_taken_back(
    sandbox: SandboxControl,
    delivered: Payment,  # noqa: F811
    olga: Desk,
) -> None:
    change_esim(sandbox, profile_status="Installed", remaining_mb=300)
    page = olga.look("refund-bought-payment", delivered)
    for words in ("is or was installed", "in use", "1.15 USD", "keep a working eSIM"):
        assert words in page
    assert 'value="revoke"' not in page
    assert chosen(page) == 0
    olga.press("refund-bought-payment", delivered, how="in_spite")
    assert Refund.objects.get().forced_by == "olga"
    run_tasks()
    assert states(delivered) == ("refunded", "refunded")


def test_without_a_choice_nothing_happens(delivered: Payment, olga: Desk) -> None:  # noqa: F811
    assert "This field is required." in olga.press("refund-bought-payment", delivered)
    assert not RefundRequest.objects.exists()


def test_while_esim_go_is_away_the_page_says_so_and_a_lead_may_decide(
    sandbox: SandboxControl,
    delivered: Payment,  # noqa: F811
    olga: Desk,
) -> None:
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "status", status=503, times=None)
    page = olga.look("refund-bought-order", delivered.order)
    assert "eSIM Go could not be asked" in page
    assert 'value="revoke"' in page
    assert chosen(page) == 0
    assert "Stars go back" in olga.press("refund-bought-order", delivered.order, how="in_spite")


def test_what_may_have_been_bought_is_not_offered_to_be_taken_back(
    paid: Payment,  # noqa: F811
    olga: Desk,
) -> None:
    Order.objects.update(status="needs_attention", cause="outcome_unknown")
    paid.order.attempts.create(bundle_name="b", status="open")
    page = olga.look("refund-bought-order", paid.order)
    assert "may have been" in page
    assert 'value="revoke"' not in page
    assert "Stars go back" in olga.press("refund-bought-order", paid.order, how="in_spite")


def test_a_refund_that_telegram_refused_can_be_asked_for_again(
    sandbox: SandboxControl,
    paid: Payment,  # noqa: F811
    maria: Desk,
) -> None:
    sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    maria.press("refund-payment", paid)
    run_tasks()
    assert "refused once" in maria.look("refund-payment", Payment.objects.get())
    maria.press("refund-payment", paid)
    run_tasks()
    assert states(paid) == ("refunded", "refunded")


def test_an_extra_charge_leaves_its_order_alone(paid: Payment, maria: Desk) -> None:  # noqa: F811
    extra = PaymentFactory(order=paid.order, kind="extra", customer=paid.customer)
    assert "no order changes" in maria.look("refund-payment", extra)
    maria.press("refund-payment", extra)
    assert states(paid)[0] == "paid"
    extra.refresh_from_db()
    assert extra.status == "refunding"


def test_all_orders_of_one_cause_are_refunded_in_one_press(paid: Payment, maria: Desk) -> None:  # noqa: F811
    orders = [paid.order]
    for _ in range(2):
        order = PaymentFactory(order__plan=paid.order.plan).order
        orders.append(order)
    Order.objects.update(status="needs_attention", cause="promise_missed")
    orders[2].attempts.create(bundle_name="b", status="open")  # may have been bought: not by support
    page = maria.client.get(f"{_url('refund-order')}?cause=promise_missed").content.decode()
    assert page.count("Stars go back") == 2
    assert "makes no sense in its present state" in page
    results = maria.press("refund-order", *orders)
    assert results.count("the worker asks Telegram") == 2
    assert Refund.objects.count() == 2


def test_a_large_refund_takes_two(
    sandbox: SandboxControl,
    delivered: Payment,  # noqa: F811
    olga: Desk,
    pavel: Desk,
) -> None:
    above_limit(delivered)
    assert "second person" in olga.look("refund-bought-order", delivered.order)
    assert "waits for a second person" in olga.press("refund-bought-order", delivered.order, how="revoke")
    request = RefundRequest.objects.get()
    assert "cannot be its second person" in olga.press("approve-refund", request)
    assert "has asked for it already" in pavel.look("refund-bought-order", delivered.order)
    assert "admin:olga asks to return 130 Stars" in pavel.look("approve-refund", request)
    assert "take the bundle back" in pavel.press("approve-refund", request)
    run_tasks()
    assert states(delivered) == ("refunded", "refunded")
    assert "present state" in pavel.look("decline-refund", request)


def test_the_second_person_declines(paid: Payment, maria: Desk, olga: Desk) -> None:  # noqa: F811
    above_limit(paid)
    maria.press("refund-payment", paid)
    request = RefundRequest.objects.get()
    assert maria.client.get(_url("approve-refund", request)).status_code == 403
    assert "stay with us" in olga.press("decline-refund", request)
    request.refresh_from_db()
    assert (request.status, states(paid)[0]) == ("declined", "paid")


@pytest.mark.django_db(transaction=True)
def test_two_who_press_at_once_refund_once(sandbox: SandboxControl, transactional_db: None) -> None:
    payment = pay(sandbox, invoiced_order())
    desks = [Desk(name, *SUPPORT) for name in ("maria", "vera")]
    pages = at_once(*[lambda desk=desk: desk.press("refund-payment", payment) for desk in desks])
    assert sum("the worker asks Telegram" in page for page in pages) == 1
    assert Refund.objects.count() == 1


def test_waiting_requests_come_first_in_their_list(
    paid: Payment,  # noqa: F811
    admin_client: Client,
) -> None:
    for number, status in enumerate(["done", "waiting", "declined"]):
        RefundRequest.objects.create(
            payment=PaymentFactory(order__plan=paid.order.plan, order__status="completed")
            if number
            else paid,
            status=status, reason=status, requested_by="admin:olga",
        )  # fmt: skip
    page = admin_client.get("/admin/payments/refundrequest/").content.decode()
    assert re.findall(r"field-reason.*?>\s*(waiting|done|declined)", page, re.DOTALL) == ["waiting", "declined", "done"]


def test_a_lead_keeps_the_stars_of_a_refused_refund_once_the_customer_has_the_esim(maria: Desk, olga: Desk) -> None:
    payment = PaymentFactory(status=Payment.Status.REFUND_FAILED, order__status=Order.Status.NEEDS_ATTENTION)
    cause = f"refund:{payment.charge_id}"
    raise_alert(cause=cause, text="Telegram refuses.")
    assert not find_act("keep-charge").suits(payment)  # type: ignore[union-attr]  its order is not served yet
    assert "present state" in olga.look("keep-charge", payment)

    Order.objects.update(status=Order.Status.COMPLETED)
    payment = Payment.objects.get()
    assert "keep-charge" not in [act.name for act in acts_for(payment, maria.user)]
    assert "keep-charge" in [act.name for act in acts_for(payment, olga.user)]
    assert "refused" in olga.look("keep-charge", payment)
    olga.press("keep-charge", payment)
    payment.refresh_from_db()
    assert payment.status == Payment.Status.PAID
    event = payment.events.last()
    assert (event.actor, event.reason) == ("admin:olga", "kept, its eSIM was delivered: he asked")
    assert Alert.objects.get(cause=cause).cleared_at
    assert "present state" in olga.look("keep-charge", payment)


def test_a_lead_keeps_a_charge_that_is_held(olga: Desk) -> None:
    payment = PaymentFactory(
        order=None,
        customer=CustomerFactory(),
        amount_stars=150,
        kind=Payment.Kind.EXTRA,
        extra_reason=Payment.ExtraReason.UNKNOWN_INVOICE,
    )
    assert "restored" in olga.look("keep-charge", payment)
    olga.press("keep-charge", payment)
    payment.refresh_from_db()
    assert payment.extra_reason == Payment.ExtraReason.DELIVERED
    assert not held_charges().exists()
