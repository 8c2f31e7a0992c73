"""Telegram's Stars ledger against our books: what is certain is repaired, the rest is listed, and nothing is harmed."""

from __future__ import annotations

import io
import itertools
import json
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog.models import Plan
from esimshop.clients.telegram import TelegramError
from esimshop.models import Alert
from orders.models import Customer, Delivery, Esim, Order, OrderEvent, ProvisioningAttempt
from payments.models import Payment, PaymentEvent, Refund, ServicePolicy, StarsAccount, StarTransaction
from payments.services import ledger
from payments.services.ledger import StarsReport, reconcile_stars
from payments.services.updates import receive_update
from payments.tasks import reconcile_stars_task
from tests.factories import PlanFactory
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    at_once,
    payment_update,
    refund_update,
    run_tasks,
    send_update,
    sender,
    sweep,
)
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db

_ids = itertools.count(1)


def row(
    sandbox: SandboxControl,
    *,
    payload: str = "a-payload-of-another-shop",
    amount: int = 130,
    age: timedelta = timedelta(),
    user_id: int = BEN,
    **changes: Any,
) -> str:
    """A charge in Telegram's ledger of which no update comes. Returns its id."""
    charge_id = changes.pop("id", f"stx-row-{next(_ids)}")
    partner = {
        "type": "user",
        "transaction_type": "invoice_payment",
        "user": sender(user_id),
        "invoice_payload": payload,
    }
    sandbox.post(
        "/sandbox/transactions",
        {
            "id": charge_id,
            "amount": amount,
            "date": int((timezone.now() - age).timestamp()),
            **(changes or {"source": partner}),
        },
    )
    return str(charge_id)


def lost(sandbox: SandboxControl, order: Order, **changes: Any) -> str:
    """A charge for an order, two minutes old, whose update never came."""
    details = {"payload": order.invoice.payload, "amount": order.amount_stars, "age": timedelta(minutes=2), **changes}
    return row(sandbox, **details)


def states() -> dict[str, str]:
    return {f"{each.direction} {each.transaction_id}": each.state for each in StarTransaction.objects.all()}


def open_alerts() -> list[str]:
    return sorted(Alert.objects.filter(cleared_at=None).values_list("cause", flat=True))


def reconcile(**options: Any) -> tuple[int, str]:
    """The command's exit code and what it wrote."""
    written = io.StringIO()
    try:
        call_command("reconcile_stars", stdout=written, **options)
    except CommandError as error:
        return 1, f"{written.getvalue()}{error}"
    return 0, written.getvalue()


# What agrees


def test_a_paid_order_agrees_with_the_ledger(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    report = reconcile_stars()
    assert report.is_clean
    assert (report.balance_stars, report.unexplained_stars, report.recorded) == (130, 0, [])
    (stored,) = StarTransaction.objects.all()
    payment = Payment.objects.get()
    assert (stored.state, stored.payment, stored.user_id) == ("matched", payment, BEN)
    assert (stored.invoice_payload, stored.amount_stars) == (order.invoice.payload, 130)
    assert not payment.is_from_ledger
    assert reconcile()[0] == 0
    assert open_alerts() == []


def test_an_extra_charge_and_its_refund_agree(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order, total_amount=7)
    sandbox.charge(update)
    send_update(update)
    run_tasks()
    report = reconcile_stars()
    assert report.is_clean
    assert sorted(states().values()) == ["matched", "matched"]
    assert report.balance_stars == 0


# An update that never came


def test_a_payment_whose_update_is_lost_is_fulfilled(sandbox: SandboxControl, order: Order) -> None:
    charge_id = lost(sandbox, order)
    report = reconcile_stars()
    assert (report.recorded, report.is_clean) == ([charge_id], True)
    payment = Payment.objects.get()
    assert (payment.charge_id, payment.kind, payment.is_from_ledger) == (charge_id, "order", True)
    assert (payment.customer, payment.payer_id) == (order.customer, BEN)
    order.refresh_from_db()
    assert order.status == "paid"
    assert order.look_up_from is not None
    assert order.look_up_from < payment.charged_at
    assert timedelta(minutes=14) < order.promise_at - timezone.now()
    run_tasks()
    order.refresh_from_db()
    assert (order.status, len(sandbox.orders())) == ("completed", 1)
    assert Customer.objects.get().first_name == "Ben"
    assert open_alerts() == []


def test_an_update_that_comes_after_the_ledger_changes_nothing(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order)
    sandbox.charge(update)
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert len(reconcile_stars().recorded) == 1
        run_tasks()
        assert send_update(update).status_code == 200
        run_tasks()
        assert reconcile_stars().is_clean
    order.refresh_from_db()
    assert (order.status, Payment.objects.count(), len(sandbox.orders())) == ("completed", 1, 1)
    assert (Refund.objects.count(), sandbox.refunds()) == (0, [])


def test_a_fresh_charge_is_left_to_its_update(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order)
    sandbox.charge(update)
    report = reconcile_stars()
    assert (report.recorded, report.waiting, report.is_clean) == ([], 1, True)
    assert not Payment.objects.exists()
    send_update(update)
    report = reconcile_stars()
    assert (report.waiting, list(states().values())) == (0, ["matched"])
    assert not Payment.objects.get().is_from_ledger


def test_a_charge_found_after_its_order_expired_is_honoured_by_telegrams_time(
    sandbox: SandboxControl, order: Order
) -> None:
    lost(sandbox, order, age=timedelta(hours=20))
    quoted_until = timezone.now() - timedelta(hours=19, minutes=55)
    Order.objects.update(status="expired", quote_expires_at=quoted_until)
    reconcile_stars()
    order.refresh_from_db()
    assert order.status == "paid"


def test_a_charge_in_time_is_honoured_whatever_became_of_its_plan(sandbox: SandboxControl, order: Order) -> None:
    """In a restored backup its order has expired, though it was delivered long ago: it is looked up, not refunded."""
    lost(sandbox, order, age=timedelta(hours=2))
    Order.objects.update(status="expired", quote_expires_at=timezone.now() - timedelta(minutes=100))
    Plan.objects.update(is_on_sale=False)
    reconcile_stars()
    order.refresh_from_db()
    assert (order.status, Refund.objects.count()) == ("paid", 0)
    assert order.look_up_from is not None


@pytest.mark.parametrize(
    ("reason", "changes"),
    [("wrong_payer", {"user_id": ANNA}), ("wrong_amount", {"amount": 3}), ("too_late", {}), ("paid_twice", {})],
)
def test_a_lost_charge_that_does_not_fit_is_returned_and_its_payer_told(
    sandbox: SandboxControl, order: Order, reason: str, changes: dict[str, Any]
) -> None:
    if reason == "too_late":
        Order.objects.update(status="cancelled")
    if reason == "paid_twice":
        Order.objects.update(status="completed")
    charge_id = lost(sandbox, order, **changes)
    reconcile_stars()
    run_tasks()
    payment = Payment.objects.get()
    assert (payment.charge_id, payment.kind, payment.extra_reason) == (charge_id, "extra", reason)
    assert (payment.status, Refund.objects.get().requested_by) == ("refunded", "ledger")
    (message,) = sandbox.chat(changes.get("user_id", BEN))
    assert str(payment.amount_stars) in message["text"]
    order.refresh_from_db()
    assert order.events.count() == 0
    assert reconcile_stars().is_clean


def test_what_we_know_of_a_payer_stays_when_the_ledger_tells_less(sandbox: SandboxControl, order: Order) -> None:
    anna = invoiced_order(user_id=ANNA, language="ru", plan=order.plan).customer
    lost(sandbox, order, user_id=ANNA)
    reconcile_stars()
    anna.refresh_from_db()
    assert (anna.first_name, anna.language) == ("Anna", "ru")


def test_of_two_lost_charges_the_first_pays_and_the_second_goes_back(sandbox: SandboxControl, order: Order) -> None:
    first, second = lost(sandbox, order, age=timedelta(minutes=9)), lost(sandbox, order)
    reconcile_stars()
    run_tasks()
    assert Payment.objects.get(charge_id=first).kind == "order"
    extra = Payment.objects.get(charge_id=second)
    assert (extra.kind, extra.extra_reason, extra.status) == ("extra", "paid_twice", "refunded")
    assert [refund["id"] for refund in sandbox.refunds()] == [second]


def test_an_unknown_payload_that_came_by_update_is_returned_and_agrees(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order, invoice_payload="nobody-knows-this-payload")
    sandbox.charge(update)
    assert not reconcile_stars().is_clean
    send_update(update)
    run_tasks()
    assert Payment.objects.get().status == "refunded"
    assert reconcile_stars().is_clean
    assert open_alerts() == []


# What must never be harmed


def test_250_charges_of_another_shop_are_listed_and_none_is_returned(sandbox: SandboxControl, order: Order) -> None:
    ids = [row(sandbox, age=timedelta(days=9)) for _ in range(250)]
    code, written = reconcile(json=True)
    report = json.loads(written.splitlines()[0])
    assert code == 1
    assert [each["transaction_id"] for each in report["only_in_telegram"]] == ids
    assert report["unexplained_stars"] == 250 * 130
    run_tasks()
    assert (Payment.objects.count(), Refund.objects.count(), sandbox.refunds()) == (0, 0, [])
    assert open_alerts() == ["stars_only_in_telegram"]
    assert "250 rows" in Alert.objects.get(cleared_at=None).text
    reconcile_stars()
    assert Alert.objects.count() == 1


def test_a_charge_of_ours_older_than_48_hours_is_listed_and_left_alone(sandbox: SandboxControl, order: Order) -> None:
    lost(sandbox, order, age=timedelta(hours=48, minutes=1))
    report = reconcile_stars()
    assert "48 hours" in report.only_in_telegram[0].note
    assert not Payment.objects.exists()
    order.refresh_from_db()
    assert order.status == "awaiting_payment"


def test_history_is_adopted_when_a_person_says_so_and_its_alert_closes(sandbox: SandboxControl, order: Order) -> None:
    for _ in range(3):
        row(sandbox, age=timedelta(days=2))
    lost(sandbox, order, age=timedelta(hours=1))
    row(sandbox, receiver={"type": "user", "transaction_type": "invoice_payment", "user": sender()}, amount=1)
    reconcile_stars(dry_run=True, adopt_history=True)
    assert StarTransaction.objects.count() == 0
    code, written = reconcile(adopt_history=True)
    assert code == 0, written
    assert set(states().values()) == {"history"}
    assert not Payment.objects.exists()
    assert open_alerts() == []
    row(sandbox)
    assert len(reconcile_stars().only_in_telegram) == 1


def test_adopting_history_closes_an_alert_and_takes_nothing_of_ours(sandbox: SandboxControl, order: Order) -> None:
    row(sandbox, age=timedelta(hours=1))
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    reconcile_stars()
    assert open_alerts() == ["stars_only_in_telegram"]
    report = reconcile_stars(adopt_history=True)
    assert (report.adopted, report.is_clean, open_alerts()) == (1, True, [])
    assert sorted(states().values()) == ["history", "matched"]


def test_a_charge_that_waits_for_its_update_is_no_history(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order)
    sandbox.charge(update)
    assert reconcile_stars(adopt_history=True).adopted == 0
    send_update(update)
    reconcile_stars()
    assert list(states().values()) == ["matched"]


def test_an_update_that_comes_after_adoption_still_matches(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order, invoice_payload="unknown")
    sandbox.charge(update)
    reconcile_stars(adopt_history=True)
    assert list(states().values()) == ["history"]
    send_update(update)
    reconcile_stars()
    assert list(states().values()) == ["matched"]


def test_refunds_of_charges_from_the_ledger_stop_at_the_policys_figure(sandbox: SandboxControl, order: Order) -> None:
    ServicePolicy(ledger_refunds_per_hour=3).save()
    Order.objects.update(status="cancelled")
    ids = [lost(sandbox, order) for _ in range(5)]
    report = reconcile_stars()
    run_tasks()
    assert [payment.charge_id for payment in report.held] == ids[3:]
    assert [refund["id"] for refund in sandbox.refunds()] == ids[:3]
    assert open_alerts() == ["stars_held"]
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        assert reconcile()[0] == 1
        run_tasks()
    assert len(sandbox.refunds()) == 3
    for charge_id in ids[3:]:
        call_command("refund_payment", charge_id, reason="looked at", stdout=io.StringIO())
    run_tasks()
    assert len(sandbox.refunds()) == 5
    assert reconcile_stars().is_clean
    assert open_alerts() == []


def test_a_charge_that_came_and_went_buys_nothing(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order)
    sandbox.charge(update)
    sandbox.post(
        "/sandbox/transactions",
        {
            "id": update["message"]["successful_payment"]["telegram_payment_charge_id"],
            "amount": 130,
            "receiver": {"type": "user", "transaction_type": "invoice_payment", "user": sender()},
        },
    )
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        report = reconcile_stars()
        assert (report.is_clean, len(report.recorded), len(report.settled)) == (True, 1, 1)
        send_update(update)  # too late to buy anything with it
        run_tasks()
        assert reconcile_stars().is_clean
    payment = Payment.objects.get()
    assert (payment.kind, payment.extra_reason) == ("extra", "returned")
    assert (payment.status, payment.is_refunded_outside) == ("refunded", True)
    assert (sandbox.orders(), len(sandbox.refunds())) == ([], 1)
    order.refresh_from_db()
    assert order.status == "awaiting_payment"


# Refunds in the ledger


def back(sandbox: SandboxControl, payment: Payment, **partner: Any) -> None:
    """The Stars of a payment go back at Telegram, and no message comes."""
    receiver = {"type": "user", "transaction_type": "invoice_payment", "user": sender(), **partner}
    sandbox.post("/sandbox/transactions", {"id": payment.charge_id, "amount": 130, "receiver": receiver})


def paid(sandbox: SandboxControl, order: Order) -> Payment:
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    return Payment.objects.get()


@pytest.mark.parametrize("partner", [{}, {"type": "other"}])
def test_stars_taken_back_stop_a_purchase_that_is_not_sent(
    sandbox: SandboxControl, order: Order, partner: dict[str, Any]
) -> None:
    payment = paid(sandbox, order)
    back(sandbox, payment, **partner)
    report = reconcile_stars()
    assert (report.settled, report.is_clean) == ([payment.charge_id], True)
    run_tasks()
    payment.refresh_from_db()
    order.refresh_from_db()
    assert (payment.status, payment.is_refunded_outside, order.status) == ("refunded", True, "paid")
    assert sandbox.orders() == []
    assert open_alerts() == [f"refund:{payment.charge_id}"]
    refund = Refund.objects.get()
    assert (refund.status, refund.requested_by) == ("done", "ledger")
    assert send_update(refund_update(payment_update(order, telegram_payment_charge_id=payment.charge_id)))
    assert Alert.objects.count() == 1


def test_stars_taken_back_after_delivery_leave_the_order_completed(sandbox: SandboxControl, order: Order) -> None:
    payment = paid(sandbox, order)
    run_tasks()
    back(sandbox, payment)
    reconcile_stars()
    order.refresh_from_db()
    payment.refresh_from_db()
    assert (order.status, payment.status) == ("completed", "refunded")
    assert "decide about its eSIM" in Alert.objects.get(cleared_at=None).text


def test_the_ledger_settles_our_refund_whose_answer_never_came(sandbox: SandboxControl, order: Order) -> None:
    update = payment_update(order, total_amount=130, invoice_payload="unknown")
    sandbox.charge(update)
    sandbox.fail("telegram.refundStarPayment", "drop_after_work", times=1)
    sandbox.fail("webhook.refunded_payment", "lose", times=1)
    send_update(update)
    run_tasks()
    assert Payment.objects.get().status == "refunding"
    reconcile_stars()
    run_tasks()
    payment = Payment.objects.get()
    assert (payment.status, payment.is_refunded_outside, Refund.objects.get().status) == ("refunded", False, "done")
    assert len(sandbox.chat(BEN)) == 1
    assert reconcile_stars().is_clean


@pytest.mark.parametrize("status", ["paid", "provisioning", "completed"])
def test_a_refund_that_seemed_refused_is_told_where_its_order_went_on(
    sandbox: SandboxControl, order: Order, status: str
) -> None:
    payment = paid(sandbox, order)
    Order.objects.update(status=status)
    Payment.objects.update(status="refund_failed")
    Refund.objects.create(payment=payment, status="refused", reason="x", requested_by="worker")
    back(sandbox, payment)
    reconcile_stars()
    payment.refresh_from_db()
    order.refresh_from_db()
    assert (payment.status, payment.is_refunded_outside, order.status) == ("refunded", True, status)
    assert Alert.objects.filter(cause=f"refund:{payment.charge_id}", cleared_at=None).exists()
    run_tasks()
    assert sandbox.orders() == []


@pytest.mark.parametrize("status", ["needs_attention", "completed"])
def test_the_ledger_settles_a_refund_that_seemed_to_be_refused(
    sandbox: SandboxControl, order: Order, status: str
) -> None:
    payment = paid(sandbox, order)
    Order.objects.update(status=status, cause="refund_refused")
    Payment.objects.update(status="refund_failed")
    forced_by = "olga" if status == "completed" else ""
    Refund.objects.create(payment=payment, status="refused", reason="x", requested_by="worker", forced_by=forced_by)
    back(sandbox, payment)
    reconcile_stars()
    payment.refresh_from_db()
    order.refresh_from_db()
    assert (payment.status, order.status, Refund.objects.get().status) == ("refunded", "refunded", "done")
    assert Delivery.objects.filter(kind="refunded").count() == 1


def test_a_refund_of_a_charge_that_nobody_knows_is_listed(sandbox: SandboxControl) -> None:
    row(sandbox, receiver={"type": "user", "transaction_type": "invoice_payment", "user": sender()})
    report = reconcile_stars()
    assert [each.direction for each in report.only_in_telegram] == ["out"]
    assert report.unexplained_stars == -130


# Rows of other kinds


@pytest.mark.parametrize(
    "changes",
    [
        {"receiver": {"type": "fragment", "withdrawal_state": {"type": "pending"}}},
        {"source": {"type": "fragment"}},
        {"receiver": {"type": "telegram_ads"}},
        {"receiver": {"type": "telegram_api", "request_count": 4}},
        {"source": {"type": "affiliate_program", "commission_per_mille": 10}},
        {"source": {"type": "other"}},
        {"receiver": {"type": "user", "transaction_type": "premium_purchase", "user": sender()}},
    ],
)
def test_what_is_no_sale_is_kept_and_explained(sandbox: SandboxControl, changes: dict[str, Any]) -> None:
    row(sandbox, **changes)
    report = reconcile_stars()
    assert report.is_clean
    (stored,) = StarTransaction.objects.all()
    assert (stored.state, bool(stored.note)) == ("other", True)


def test_a_withdrawals_note_follows_its_state(sandbox: SandboxControl) -> None:
    row(sandbox, receiver={"type": "fragment", "withdrawal_state": {"type": "pending"}})
    reconcile_stars()
    assert StarTransaction.objects.get().note == "withdrawal pending"


def test_a_kind_that_nobody_knows_is_kept_and_listed(sandbox: SandboxControl) -> None:
    row(sandbox, source={"type": "gift_shop_of_2031"})
    assert StarTransaction.objects.count() == 0
    report = reconcile_stars()
    assert [each.partner_type for each in report.only_in_telegram] == ["gift_shop_of_2031"]


def test_billionths_of_a_star_are_noted(sandbox: SandboxControl) -> None:
    sandbox.post(
        "/sandbox/transactions",
        {"id": "ads", "amount": 5, "nanostar_amount": 250_000_000, "receiver": {"type": "telegram_ads"}},
    )
    reconcile_stars()
    assert "250000000 billionths" in StarTransaction.objects.get().note


# Differences


def test_another_amount_than_ours_is_listed_and_told(sandbox: SandboxControl, order: Order) -> None:
    payment = paid(sandbox, order)
    Payment.objects.update(amount_stars=100)
    report = reconcile_stars()
    assert [each.payment for each in report.different] == [payment]
    assert (report.unexplained_stars, open_alerts()) == (30, ["stars_different"])
    Payment.objects.update(amount_stars=130)
    assert reconcile_stars().is_clean
    assert open_alerts() == []


def test_a_payment_that_telegram_does_not_list_is_only_here(sandbox: SandboxControl, order: Order) -> None:
    send_update(payment_update(order))
    assert reconcile_stars().is_clean
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        report = reconcile_stars()
        assert [(each.direction, each.amount_stars) for each in report.only_here] == [("in", 130)]
        assert open_alerts() == ["stars_only_here"]


# Reading


@pytest.fixture
def offsets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets at which pages are asked for."""
    asked: list[int] = []
    page = ledger.TelegramLedger.page

    def watched(self: Any, offset: int) -> Any:
        asked.append(offset)
        return page(self, offset)

    monkeypatch.setattr(ledger.TelegramLedger, "page", watched)
    return asked


def test_it_pages_through_all_and_then_goes_on_where_it_stopped(sandbox: SandboxControl, offsets: list[int]) -> None:
    for _ in range(310):
        row(sandbox)
    report = reconcile_stars()
    assert (report.rows_read, report.rows_new) == (310, 310)
    assert offsets == [0, 100, 200, 300, 310]
    for _ in range(5):
        row(sandbox)
    offsets.clear()
    report = reconcile_stars()
    assert (report.rows_read, report.rows_new, report.doubt) == (315, 5, "")
    assert offsets == [210, 310, 315]
    assert StarTransaction.objects.count() == 315


def test_rows_that_come_between_the_pages_are_read_too(sandbox: SandboxControl, monkeypatch: Any) -> None:
    for _ in range(300):
        row(sandbox)
    page = ledger.TelegramLedger.page

    def busy_page(self: Any, offset: int) -> Any:
        rows = page(self, offset)
        if StarTransaction.objects.count() < 320:
            row(sandbox)
        return rows

    monkeypatch.setattr(ledger.TelegramLedger, "page", busy_page)
    reconcile_stars()
    report = reconcile_stars()
    total = len(sandbox.ledger()["transactions"])
    assert StarTransaction.objects.count() >= total - 2
    assert report.doubt == ""
    monkeypatch.undo()
    report = reconcile_stars()
    assert (StarTransaction.objects.count(), report.unexplained_stars) == (total, total * 130)


def test_an_interrupted_reading_keeps_what_it_has_and_goes_on_there(
    sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(250):
        row(sandbox)
    page = ledger.TelegramLedger.page

    def breaking_page(self: Any, offset: int) -> Any:
        if offset == 200:
            sandbox.fail("telegram.getStarTransactions", "status", status=502)
        return page(self, offset)

    monkeypatch.setattr(ledger.TelegramLedger, "page", breaking_page)
    with pytest.raises(TelegramError):
        reconcile_stars()
    monkeypatch.undo()
    assert StarTransaction.objects.count() == StarsAccount.objects.get().rows_read == 200
    report = reconcile_stars()
    assert (report.rows_read, report.doubt, StarTransaction.objects.count()) == (250, "", 250)


def test_a_ledger_that_is_shorter_than_before_is_read_from_its_beginning(sandbox: SandboxControl) -> None:
    for _ in range(120):
        row(sandbox)
    reconcile_stars()
    sandbox.reset()
    row(sandbox, id="the-first-of-another-bot")
    report = reconcile_stars()
    assert (report.rows_read, report.doubt) == (1, "it is shorter than before")
    assert "in the-first-of-another-bot" in states()
    assert "stars_ledger" in open_alerts()
    assert reconcile_stars().doubt == ""
    assert "stars_ledger" not in open_alerts()


def test_another_ledger_that_is_as_long_is_noticed_by_the_overlap(sandbox: SandboxControl) -> None:
    for _ in range(120):
        row(sandbox)
    reconcile_stars()
    sandbox.reset()
    for _ in range(130):
        row(sandbox)
    report = reconcile_stars()
    assert report.doubt
    assert StarTransaction.objects.count() == 250


def test_a_ledger_that_is_newest_first_is_read_whole_every_time(sandbox: SandboxControl) -> None:
    for hours in range(150):
        row(sandbox, age=timedelta(hours=hours))
    report = reconcile_stars()
    assert (report.rows_read, report.doubt) == (150, "its rows are not in the order of their dates")
    assert open_alerts() == ["stars_ledger", "stars_only_in_telegram"]


def test_a_row_that_comes_first_is_found_by_those_that_come_again(
    sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ledger.TelegramLedger.page

    def newest_first(self: Any, offset: int) -> Any:
        rows = [*page(self, 0), *page(self, 100)]
        return rows[::-1][offset : offset + 100]

    monkeypatch.setattr(ledger.TelegramLedger, "page", newest_first)
    with time_machine.travel(timezone.now(), tick=False):
        for _ in range(150):
            row(sandbox)
        assert reconcile_stars().doubt == ""
        row(sandbox)
        report = reconcile_stars()
    assert (report.doubt, StarTransaction.objects.count()) == ("rows that were read before come again", 151)


def test_a_ledger_that_cannot_be_read_is_told_once_it_lasts(sandbox: SandboxControl) -> None:
    reconcile_stars_task(timestamp=0)
    sandbox.fail("telegram.getStarTransactions", "status", status=502, times=None)
    reconcile_stars_task(timestamp=0)
    assert open_alerts() == []
    with time_machine.travel(timezone.now() + timedelta(minutes=31)):
        reconcile_stars_task(timestamp=0)
        assert open_alerts() == ["stars_unread"]
        assert reconcile()[0] == 1
        sandbox.heal()
        reconcile_stars_task(timestamp=0)
    assert open_alerts() == []


def test_a_row_that_breaks_does_not_keep_the_others(sandbox: SandboxControl, order: Order) -> None:
    lost(sandbox, order, amount=-5, age=timedelta(minutes=3))  # no payment can hold it
    charge_id = lost(sandbox, order)
    report = reconcile_stars()
    assert report.recorded == [charge_id]
    assert [each.amount_stars for each in report.only_in_telegram] == [-5]
    assert open_alerts() == ["stars_failed", "stars_only_in_telegram"]
    StarTransaction.objects.filter(amount_stars=-5).update(amount_stars=5)
    reconcile_stars()
    assert "stars_failed" not in open_alerts()


# The command


def test_only_one_process_reconciles(sandbox: SandboxControl) -> None:
    params = {name: connection.get_connection_params()[name] for name in ("host", "port", "user", "dbname")}
    with psycopg.connect(**params, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [ledger.LEDGER_LOCK])
        code, written = reconcile()
        assert (code, "Another process" in written) == (0, True)
        reconcile_stars_task(timestamp=0)
    assert not StarTransaction.objects.exists()
    assert open_alerts() == []
    assert isinstance(reconcile_stars(), StarsReport)


def test_a_dry_run_tells_all_and_writes_nothing(sandbox: SandboxControl, order: Order) -> None:
    lost(sandbox, order)
    row(sandbox)
    code, written = reconcile(dry_run=True)
    assert code == 1
    assert "Would be: 1 payments recorded" in written
    assert "Only in Telegram (1)" in written
    assert [model.objects.count() for model in (Payment, StarTransaction, StarsAccount)] == [0, 0, 0]
    assert (open_alerts(), run_tasks()) == ([], [])
    order.refresh_from_db()
    assert order.status == "awaiting_payment"


def test_the_report_for_machines_has_the_three_lists_and_the_figure(sandbox: SandboxControl, order: Order) -> None:
    paid(sandbox, order)
    code, written = reconcile(json=True)
    report = json.loads(written)
    assert code == 0
    assert {"only_in_telegram", "only_here", "different", "unexplained_stars"} <= report.keys()
    assert (report["clean"], report["balance_stars"], report["rows_new"]) == (True, 130, 1)


@pytest.fixture
def restored(sandbox: SandboxControl, order: Order) -> str:
    """The database is as before a payment; Telegram's ledger and eSIM Go are not. The ICCID of what was bought."""
    paid(sandbox, order)
    reconcile_stars()
    run_tasks()
    iccid = Esim.objects.get().iccid
    for model in (StarTransaction, PaymentEvent, Payment, Delivery, OrderEvent, Esim, ProvisioningAttempt):
        model.objects.all().delete()
    StarsAccount.objects.all().delete()
    Order.objects.update(
        status="awaiting_payment", paid_at=None, promise_at=None, completed_at=None, next_try_at=None, lease_until=None
    )
    return iccid


def test_a_restored_backup_fulfils_without_a_second_purchase(
    sandbox: SandboxControl, order: Order, restored: str
) -> None:
    bought = sandbox.orders()
    with time_machine.travel(timezone.now() + timedelta(hours=3)):
        assert len(reconcile_stars().recorded) == 1
        run_tasks()
        assert reconcile_stars().is_clean
    order.refresh_from_db()
    assert (order.status, order.esim.iccid) == ("completed", restored)
    assert sandbox.orders() == bought
    assert (Refund.objects.count(), sandbox.refunds()) == (0, [])


def test_a_restored_backup_returns_nothing_before_esim_go_was_asked(
    sandbox: SandboxControl, order: Order, restored: str
) -> None:
    bought = sandbox.orders()
    now = timezone.now() + timedelta(hours=3)
    sandbox.fail("esimgo.GET /orders", "status", status=503, times=None)
    with time_machine.travel(now):
        reconcile_stars()
        run_tasks()
    with time_machine.travel(now + timedelta(minutes=16)):
        sweep()
    order.refresh_from_db()
    assert (order.status, order.cause, sandbox.refunds()) == ("needs_attention", "outcome_unknown", [])
    assert f"order:{order.pk}" in open_alerts()
    sandbox.heal()
    with time_machine.travel(now + timedelta(minutes=22)):
        sweep()
    order.refresh_from_db()
    assert (order.status, order.esim.iccid) == ("completed", restored)
    assert (sandbox.orders(), sandbox.refunds()) == (bought, [])


def test_the_queries_do_not_grow_with_the_rows(sandbox: SandboxControl) -> None:
    def count(rows: int) -> int:
        for _ in range(rows):
            row(sandbox)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            reconcile_stars()
        return len(queries)

    count(1)
    few = count(5)
    assert count(60) <= few + 2


@pytest.mark.django_db(transaction=True)
def test_the_ledger_and_copies_of_the_update_at_once_record_one_payment(
    sandbox: SandboxControl, transactional_db: None
) -> None:
    plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    for _ in range(5):
        order = invoiced_order(plan=plan)
        update = payment_update(order)
        charge_id = update["message"]["successful_payment"]["telegram_payment_charge_id"]
        lost(sandbox, order, id=charge_id)
        at_once(reconcile_stars, *[partial(receive_update, update)] * 2)
        payment = Payment.objects.get(charge_id=charge_id)
        assert (payment.kind, payment.order) == ("order", order)
        order.refresh_from_db()
        assert [event.after for event in order.events.filter(kind="move")] == ["paid"]
        run_tasks()
    assert (len(sandbox.orders()), sandbox.refunds()) == (5, [])
    assert reconcile_stars().is_clean
    assert not Alert.objects.filter(cause__startswith="update:").exists()
