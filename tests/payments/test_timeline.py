"""An order's page: where it stands, whose turn it is, and its whole story, to whoever may read it."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Delivery, Esim, Order, OrderEvent, Orphan, ProvisioningAttempt, WholesalerCall, note_event
from orders.services.orders import note_invoice_closed
from payments.models import (
    Case,
    CaseMessage,
    Payment,
    PaymentEvent,
    PreCheckout,
    Refund,
    RefundRequest,
    StarTransaction,
)
from payments.order_page import by_day, money_of
from payments.services.refunds import refund_payment
from payments.services.situation import describe_duration, describe_situation, next_action
from payments.services.timeline import Entry, prefetch_order, read_payment_timeline, read_timeline
from tests.factories import CustomerFactory, EsimFactory, InvoiceFactory, OrderFactory, PaymentFactory
from tests.outside import SandboxControl, payment_update, pre_checkout_update, run_tasks, send_update

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

HOSTILE = ["<script>alert(1)</script>", "\u202eevil\u202d", "Ж" * 200, "]]>'\"&amp;{{ x }}{% y %}", "🦊" * 60]


@pytest.fixture
def lead(db: None) -> User:
    return User.objects.create_superuser("lead", password="password")


def page_of(client: Client, row: Any) -> str:
    answer = client.get(f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


def lines(entries: list[Entry]) -> list[str]:
    return [entry.what for entry in entries]


def with_everything(*, each: int) -> Order:
    """An order with `each` rows of everything that a timeline tells of."""
    key = uuid4().hex[:8]
    payment = PaymentFactory(order__plan__bundle_name=f"esim_{key}")
    order = payment.order
    InvoiceFactory(order=order)
    case = Case.objects.create(customer=order.customer, order=order, payment=payment, reason="other", wish="help")
    payments = [payment]
    for number in range(each):
        note_event(order, actor="worker", reason=f"event {number}")
        PreCheckout.objects.create(query_id=f"{key}-{number}", order=order)
        extra = PaymentFactory(order=order, customer=order.customer, kind="extra", extra_reason="paid_twice")
        payments.append(extra)
        Refund.objects.create(payment=extra, reason="paid twice", requested_by="worker", status="done")
        ProvisioningAttempt.objects.create(order=order, bundle_name="esim", status="absent", finished_at=timezone.now())
        WholesalerCall.objects.create(
            order=order, call="get_order", outcome="ok", duration_ms=5, started_at=timezone.now(), http_status=200,
            request={"method": "GET", "path": f"/orders/{number}"},
        )  # fmt: skip
        EsimFactory(order=order)
        Delivery.objects.create(customer=order.customer, order=order, kind="esim")
        Orphan.objects.create(reference=f"orphan-{key}-{number}", order=order, bundle_name="esim")
        CaseMessage.objects.create(case=case, author="customer", actor="customer", text=f"question {number}")
    for number, each_payment in enumerate(payments):
        PaymentEvent.objects.create(payment=each_payment, before="paid", after="refunding", actor="worker")
        RefundRequest.objects.create(
            payment=each_payment, status="declined", reason="x", requested_by="admin:anna", decided_by="admin:ben",
            decided_at=timezone.now(),
        )  # fmt: skip
        StarTransaction.objects.create(
            transaction_id=f"{key}-{number}", direction="in", amount_stars=130, date=timezone.now(),
            partner_type="user", payment=each_payment, state="matched",
        )  # fmt: skip
    return order


# The story


def test_a_purchase_is_told_from_the_quote_to_the_qr_code(
    sandbox: SandboxControl, order: Order, client: Client, lead: User
) -> None:
    note_event(order, actor="customer", reason="quoted 130 Stars, wholesale 1.3000 USD")
    send_update(pre_checkout_update(order))
    note_invoice_closed(order=order, status="paid")
    send_update(payment_update(order))
    run_tasks()
    client.force_login(lead)

    story = read_timeline(Order.objects.get(pk=order.pk), lead)

    told = lines(story)
    expected = [
        "Quoted 130 Stars, wholesale 1.3000 USD",
        "Pre-checkout approved",
        "Hint: invoice closed: paid",
        "130 Stars charged",
        "Order: awaiting payment → paid",
        "Order: paid → provisioning",
        "Purchase of esim_1GB_7D_FR_V2 begun",
        "Order: provisioning → completed",
    ]
    assert [what for what in told if what in expected] == expected
    for beginning in (
        "Invoice made",
        "Place order: ok, HTTP 200",
        "Purchase placed",
        "eSIM …",
        "Message sent: the eSIM",
    ):
        assert any(what.startswith(beginning) for what in told), beginning
    assert [entry.at for entry in story] == sorted(entry.at for entry in story)
    page = page_of(client, order)
    esim, payment, delivery = Esim.objects.get(), Payment.objects.get(), order.deliveries.get()
    for part in (payment.charge_id, order.invoice.payload, f"…{esim.iccid[-4:]}", str(delivery.message_id), "/orders"):
        assert part in page
    assert esim.iccid not in page
    assert esim.matching_id not in page


def test_a_call_is_told_with_what_was_asked_and_answered(lead: User) -> None:
    order = OrderFactory()
    WholesalerCall.objects.create(
        order=order, call="list_orders", outcome="unreachable", http_status=503, duration_ms=1200, response="busy",
        started_at=timezone.now(),
        request={"method": "GET", "path": "/orders", "params": {"createdAt": ["gte:1", "lte:2"]}, "body": {"a": 1}},
    )  # fmt: skip

    (entry,) = read_timeline(order, lead)

    assert entry.what == "List orders: nothing came of it, HTTP 503, 1,200 ms"
    assert entry.texts == (
        ("request", 'GET /orders\n  createdAt=gte:1\n  createdAt=lte:2\n{\n "a": 1\n}'),
        ("response", "busy"),
    )


def test_refunds_are_told_with_who_asked_who_agreed_and_what_telegram_said(lead: User) -> None:
    order = with_everything(each=1)
    told = lines(read_timeline(order, lead))
    for line in (
        "Refund begun, done since",
        "Refund asked for: the second person said no",
        "Declined the refund",
        "Payment: paid → refunding",
        "Ledger read: +130 Stars, agrees with a payment or refund of ours",
        "130 Stars charged, an extra charge: the order was paid already",
        f"Found at eSIM Go without an order: {order.orphans.get()}",
        "Case opened: something else; wants help",
    ):
        assert line in told


def test_a_page_costs_the_same_number_of_queries_for_one_event_and_for_two_hundred(client: Client, lead: User) -> None:
    client.force_login(lead)

    def count(order: Order) -> int:
        with CaptureQueriesContext(connection) as queries:
            page_of(client, order)
        return len(queries)

    few, many = with_everything(each=1), with_everything(each=200)
    assert count(few) == count(many)
    assert count(few) <= 28


def test_a_long_timeline_folds_the_calls_that_repeat(lead: User) -> None:
    order = OrderFactory()
    start = timezone.now() - timedelta(days=1)
    rows = [
        WholesalerCall(
            order=order, call="list_orders", outcome="ok", duration_ms=1, started_at=start + timedelta(minutes=number),
            request={"method": "GET", "path": "/orders"}, response=f"answer {number}",
        )
        for number in range(400)
    ]  # fmt: skip
    WholesalerCall.objects.bulk_create(rows)
    OrderEvent.objects.create(
        order=order,
        kind="note",
        actor="worker",
        reason="between",
        created_at=start + timedelta(minutes=100, seconds=30),
    )

    first, between, last = read_timeline(order, lead)

    assert (first.count, between.what, last.count) == (101, "Between", 299)
    assert last.first_at == start + timedelta(minutes=101)
    assert last.texts[-1] == ("response", "answer 399")


def test_days_are_those_of_the_time_zone_of_whoever_looks() -> None:
    entries = [
        Entry(at=datetime(2026, 11, 24, hour, 30, tzinfo=UTC), icon="", tone="", who="", what="") for hour in (20, 22)
    ]
    assert [day.day for day, _ in by_day(entries)] == [24]
    with timezone.override(zoneinfo.ZoneInfo("Europe/Moscow")):
        assert [day.day for day, _ in by_day(entries)] == [24, 25]


# Who may read it


def test_each_table_is_told_to_whoever_may_view_it(client: Client) -> None:
    order = with_everything(each=1)
    support = User.objects.create_user("support", password="password", is_staff=True)
    support.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(support)
    assert read_timeline(order, support) == []
    page = page_of(client, order)
    payment = order.payments.get(kind="order")
    assert payment.charge_id not in page
    assert "Payout" not in page
    assert order.customer.first_name not in page
    assert "SM-DP+" not in page
    assert "Case opened" not in page

    support.user_permissions.add(Permission.objects.get(codename="view_case"))
    told = lines(read_timeline(Order.objects.get(pk=order.pk), User.objects.get(pk=support.pk)))
    assert told == ["Case opened: something else; wants help", "Wrote"]


def test_what_a_customer_or_staff_wrote_shows_no_activation_code(lead: User) -> None:
    esim = EsimFactory(matching_id="K2-SECRET-1")
    note_event(esim.order, actor="admin:anna", reason="read K2-SECRET-1 to them")
    case = Case.objects.create(customer=esim.customer, order=esim.order, reason="other", wish="help")
    CaseMessage.objects.create(case=case, author="customer", actor="customer", text=f"{esim.activation_code} fails")

    assert "K2-SECRET-1" not in str(read_timeline(esim.order, lead))


# Hostile and foreign texts


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_texts_break_no_page(client: Client, lead: User, name: str) -> None:
    customer = CustomerFactory(telegram_user_id=77, first_name=name, last_name=name, username=name[:32])
    payment = PaymentFactory(order__customer=customer, charge_id=name)
    order = payment.order
    note_event(order, actor=f"admin:{name[:60]}", reason=name)
    WholesalerCall.objects.create(
        order=order, call="place_order", outcome="ok", duration_ms=1, started_at=timezone.now(),
        request={"method": name, "path": name, "params": {name: [name]}, "body": [name]}, response=name,
    )  # fmt: skip
    client.force_login(lead)

    for row in (order, payment):
        page = page_of(client, row)
        assert "<script>alert" not in page
        assert HOSTILE[0] not in page


# What can be done


def test_only_what_makes_sense_now_and_may_be_done_has_a_button(client: Client, lead: User) -> None:
    order = PaymentFactory(order__paid=True).order
    button = "/admin/acts/reprovision/"
    client.force_login(lead)
    assert button not in page_of(client, order)
    Order.objects.update(status="needs_attention", cause="outcome_unknown")
    page = page_of(client, order)
    assert page.count(button) == 1
    assert page.index(button) < page.index("Timeline")
    finance = User.objects.create_user("finance", password="password", is_staff=True)
    finance.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(finance)
    assert button not in page_of(client, order)


# What else waits


def test_what_waits_for_a_decision_stands_at_the_top(client: Client, lead: User) -> None:
    order = with_everything(each=1)
    payment = order.payments.get(kind="order")
    RefundRequest.objects.create(payment=payment, status="waiting", reason="x", requested_by="admin:anna")
    client.force_login(lead)

    matters = client.get(f"/admin/orders/order/{order.pk}/change/").context["open_matters"]

    assert [(matter["name"], matter["text"]) for matter in matters] == [
        ("Case", "waits for staff"),
        ("Found purchase", "waits for a decision"),
        ("Refund", "waits for a second person"),
    ]
    Case.objects.update(status="closed")
    Orphan.objects.update(status="written_off")
    RefundRequest.objects.update(status="done")
    assert client.get(f"/admin/orders/order/{order.pk}/change/").context["open_matters"] == []


# A payment without an order


def test_an_extra_charge_without_an_order_tells_its_own_story(client: Client, lead: User) -> None:
    payment = PaymentFactory(order=None, customer=CustomerFactory(), kind="extra", extra_reason="unknown_invoice",
                             amount_stars=50)  # fmt: skip
    refund_payment(payment, actor="admin:anna", reason="unknown")
    StarTransaction.objects.create(
        transaction_id=payment.charge_id, direction="in", amount_stars=50, date=timezone.now(), partner_type="user",
        payment=payment, state="matched",
    )  # fmt: skip
    client.force_login(lead)

    told = lines(read_payment_timeline(payment, lead))

    assert told == [
        "50 Stars charged, an extra charge: no invoice of ours has this payload",
        "Payment: paid → refunding",
        "Refund begun, Telegram has not answered yet",
        "Ledger read: +50 Stars, agrees with a payment or refund of ours",
    ]
    page = page_of(client, payment)
    assert "Refund begun, Telegram has not answered yet" in page
    assert "anna" in page


# Where it stands


def situation_of(**fields: Any) -> Any:
    order = PaymentFactory(order=OrderFactory(paid=True, **fields)).order
    prefetch_order(order)
    return describe_situation(order)


def test_every_status_and_cause_has_a_next_action() -> None:
    for status in Order.Status:
        for cause in Order.Cause:
            assert len(next_action(status, cause)) > 10


def test_what_waits_for_a_person_says_so_and_what_to_do() -> None:
    found = situation_of(status="needs_attention", cause="outcome_unknown")
    assert found.state == "Needs a person: not known whether the wholesaler placed the order"
    assert found.turn == "yours"
    assert "re-provision" in found.next_action


def test_an_unpaid_order_waits_for_the_customer_until_its_quote_ends() -> None:
    order = OrderFactory()
    found = describe_situation(order)
    assert (found.turn, found.until, found.promise) == ("the customer's", order.quote_expires_at, "")


@pytest.mark.parametrize(
    ("fields", "turn"),
    [
        ({}, "the shop's"),
        ({"cause": "account"}, "yours"),
        ({"cause": "unreachable"}, "eSIM Go's"),
        ({"status": "refunding"}, "Telegram's"),
        ({"status": "refunded"}, "nobody's: it is done"),
        ({"status": "completed"}, "the shop's"),
    ],
)
def test_it_is_somebodys_turn(fields: dict[str, Any], turn: str) -> None:
    assert situation_of(**fields).turn == turn


def test_a_purchase_whose_answer_was_lost_waits_for_the_wholesaler() -> None:
    order = OrderFactory(paid=True, status="provisioning")
    ProvisioningAttempt.objects.create(order=order, bundle_name="esim", error="timed out")
    assert describe_situation(order).turn == "eSIM Go's"


def test_a_blocked_bot_leaves_the_turn_to_the_customer() -> None:
    order = OrderFactory(paid=True, status="completed", completed_at=timezone.now())
    Delivery.objects.create(customer=order.customer, order=order, kind="esim", status="blocked")
    found = describe_situation(order)
    assert (found.turn, found.state) == ("the customer's", "Completed, but the customer blocked the bot")


def test_the_promise_is_counted_down_and_then_missed() -> None:
    order = OrderFactory(paid=True)
    with time_machine.travel(order.promise_at - timedelta(minutes=4, seconds=10), tick=False):
        found = describe_situation(order)
        assert (found.promise, found.is_late) == ("4 min 10 s left", False)
    with time_machine.travel(order.promise_at + timedelta(hours=3, minutes=5), tick=False):
        found = describe_situation(order)
        assert (found.promise, found.is_late) == ("missed by 3 h 5 min", True)


def test_a_promise_that_was_kept_says_how_fast() -> None:
    order = OrderFactory(paid=True, status="completed")
    order.completed_at = order.paid_at + timedelta(seconds=4)
    assert describe_situation(order).promise == "kept: ready 4 s after payment"


def test_stars_that_telegram_took_back_by_itself_are_told_beside_the_state() -> None:
    order = PaymentFactory(order__paid=True, status="refunded", is_refunded_outside=True).order
    found = describe_situation(order)
    assert found.state == "Paid, waits to be bought; Telegram took the Stars back by itself"
    assert "not bought any more" in found.next_action
    order.status = Order.Status.COMPLETED
    assert "Decide about the eSIM" in describe_situation(order).next_action


def test_a_refund_of_a_delivered_order_that_telegram_refused_is_to_be_settled() -> None:
    order = PaymentFactory(order__paid=True, status="refund_failed").order
    order.status = Order.Status.COMPLETED
    assert "settle it with the customer" in describe_situation(order).next_action


def test_lengths_of_time_are_told_in_two_units() -> None:
    told = [describe_duration(timedelta(**length)) for length in ({}, {"seconds": 59}, {"days": 2, "hours": 3})]
    assert told == ["under 1 s", "59 s", "2 d 3 h"]


# Its money


def test_what_an_order_earns_is_expected_then_known_and_gone_with_a_refund() -> None:
    payment = PaymentFactory()
    order = payment.order
    money = money_of(order)
    assert (money.payout_usd, money.margin_usd, money.is_expected) == (Decimal("1.69"), Decimal("0.39"), True)

    ProvisioningAttempt.objects.create(
        order=order, bundle_name="esim", status="placed", reference="r", cost_usd="1.1500", finished_at=timezone.now()
    )
    money = money_of(Order.objects.get(pk=order.pk))
    assert (money.cost_usd, money.margin_usd, money.is_expected) == (Decimal("1.15"), Decimal("0.54"), False)

    Payment.objects.update(status="refunded")
    assert money_of(Order.objects.get(pk=order.pk)).margin_usd == Decimal("-1.15")
