"""One refund for each charge, whoever asks; and none in spite of an eSIM unless a lead says so by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections, transaction
from django.utils import timezone

from catalog.services.quotes import Quote, quote_plan
from esimshop.clients.esimgo import InstallData
from esimshop.init_data import TelegramUser
from esimshop.models import Alert
from orders.models import Delivery, Esim, Order, ProvisioningAttempt, StaleOrder
from orders.services.endings import complete_order
from payments.models import Payment, Refund
from payments.services import invoices
from payments.services.refunds import (
    AskedRefund,
    NotALead,
    RefundBlocked,
    lock_payment,
    perform_refund,
    refund_payment,
    refund_unfulfillable_order,
    settle_refund,
)
from payments.services.updates import receive_update
from tests.outside import (
    BEN,
    SandboxControl,
    at_once,
    payment_update,
    refund_update,
    run_tasks,
    send_update,
    wait_until,
)
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db


@pytest.fixture
def lead(db: None) -> User:
    user = User.objects.create_user("olga")
    user.user_permissions.add(Permission.objects.get(codename="refund_delivered"))
    return user


@pytest.fixture
def payment(sandbox: SandboxControl, order: Order) -> Payment:
    """Ben's charge for `order`, in Telegram's ledger too."""
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    return Payment.objects.get()


def stand_at(payment: Payment, status: str, *, attempt: str = "") -> Order:
    """The payment's order in a state of its own, with an attempt."""
    assert payment.order is not None
    Order.objects.update(status=status, completed_at=timezone.now() if status == "completed" else None)
    if attempt:
        reference = "r-1" if attempt == "placed" else None
        ProvisioningAttempt.objects.create(
            order=payment.order, bundle_name="b", status=attempt, reference=reference, error=""
        )
    payment.order.refresh_from_db()
    return payment.order


def ask(payment: Payment, **details: Any) -> AskedRefund:
    return refund_payment(payment, **{"actor": "admin:pavel", "reason": "asked for", **details})


# Who may


@pytest.mark.parametrize("status", ["paid", "provisioning", "needs_attention"])
@pytest.mark.parametrize("attempt", ["", "rejected", "absent", "revoked"])
def test_staff_return_what_was_certainly_not_bought(
    sandbox: SandboxControl, payment: Payment, status: str, attempt: str
) -> None:
    order = stand_at(payment, status, attempt=attempt)
    asked = ask(payment)
    assert (asked.is_new, asked.refund.requested_by, asked.refund.forced_by) == (True, "admin:pavel", "")
    run_tasks()
    order.refresh_from_db()
    payment.refresh_from_db()
    assert (order.status, order.cause, payment.status) == ("refunded", "requested", "refunded")
    assert (len(sandbox.refunds()), sandbox.orders()) == (1, [])
    assert (payment.is_refunded_outside, Delivery.objects.get(kind="refunded").amount_stars) == (False, 130)


@pytest.mark.parametrize(
    ("status", "attempt"),
    [
        ("provisioning", "open"),
        ("provisioning", "placed"),
        ("needs_attention", "open"),
        ("needs_attention", "placed"),
        ("completed", "placed"),
        ("completed", ""),
    ],
)
def test_what_was_or_may_have_been_bought_needs_a_lead_by_name(
    payment: Payment, lead: User, status: str, attempt: str
) -> None:
    order = stand_at(payment, status, attempt=attempt)
    with pytest.raises(RefundBlocked):
        ask(payment)
    User.objects.create_user("pavel")
    for nobody in ("pavel", "unknown"):
        with pytest.raises(NotALead):
            ask(payment, forced_by=nobody)
    assert not Refund.objects.exists()
    refund = ask(payment, forced_by="olga").refund
    assert refund.forced_by == "olga"
    order.refresh_from_db()
    assert order.status == "refunding"
    assert "olga" in payment.events.last().reason


def test_a_lead_who_left_decides_nothing(payment: Payment, lead: User) -> None:
    stand_at(payment, "completed")
    User.objects.update(is_active=False)
    with pytest.raises(NotALead):
        ask(payment, forced_by="olga")


def test_a_name_is_not_kept_where_none_was_needed(payment: Payment, lead: User) -> None:
    assert ask(payment, forced_by="olga").refund.forced_by == ""


def test_an_extra_charge_is_returned_and_leaves_its_order_alone(sandbox: SandboxControl, payment: Payment) -> None:
    order = stand_at(payment, "completed", attempt="placed")
    Payment.objects.update(kind="extra")
    assert ask(payment).is_new
    run_tasks()
    order.refresh_from_db()
    assert (order.status, len(sandbox.refunds())) == ("completed", 1)


def test_a_second_ask_gets_the_first_refund(sandbox: SandboxControl, payment: Payment) -> None:
    first = ask(payment)
    again = ask(payment, actor="admin:olga")
    assert (again.is_new, again.refund) == (False, first.refund)
    run_tasks()
    late = ask(payment)
    assert (late.is_new, late.refund, late.refund.status) == (False, first.refund, "done")
    assert len(sandbox.refunds()) == 1


def test_stars_that_telegram_took_back_are_not_returned_again(payment: Payment) -> None:
    with transaction.atomic():
        assert settle_refund(lock_payment(payment.pk), actor="telegram", reason="x", at=timezone.now())
        assert not settle_refund(lock_payment(payment.pk), actor="ledger", reason="x", at=timezone.now())
    asked = ask(payment)
    assert (asked.is_new, asked.refund.requested_by) == (False, "telegram")
    assert Refund.objects.count() == 1


# What Telegram answers


def test_a_refused_refund_of_a_delivered_order_leaves_it_completed(
    sandbox: SandboxControl, payment: Payment, lead: User
) -> None:
    order = stand_at(payment, "completed", attempt="placed")
    ask(payment, forced_by="olga")
    sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    run_tasks()
    order.refresh_from_db()
    payment.refresh_from_db()
    assert (order.status, order.cause, payment.status) == ("completed", "", "refund_failed")
    assert order.completed_at is not None
    alert = Alert.objects.get(cleared_at=None)
    assert "refund_payment" in alert.text
    assert ask(payment, forced_by="olga").is_new
    run_tasks()
    order.refresh_from_db()
    assert (order.status, len(sandbox.refunds())) == ("refunded", 1)
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_a_refused_refund_of_an_undelivered_order_waits_for_a_person(sandbox: SandboxControl, payment: Payment) -> None:
    order = stand_at(payment, "paid")
    ask(payment)
    sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    run_tasks()
    order.refresh_from_db()
    assert (order.status, order.cause) == ("needs_attention", "refund_refused")
    assert ask(payment).is_new
    run_tasks()
    order.refresh_from_db()
    assert (order.status, len(sandbox.refunds())) == ("refunded", 1)


def test_a_charge_that_telegram_returned_already_is_done(sandbox: SandboxControl, payment: Payment) -> None:
    receiver = {"type": "user", "transaction_type": "invoice_payment", "user": {"id": payment.payer_id}}
    sandbox.post("/sandbox/transactions", {"id": payment.charge_id, "amount": 130, "receiver": receiver})
    ask(payment)
    run_tasks()
    payment.refresh_from_db()
    assert payment.status == "refunded"
    assert len(sandbox.refunds()) == 1


def test_a_refusal_that_comes_after_telegrams_message_changes_nothing(
    sandbox: SandboxControl, payment: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund = ask(payment).refund
    sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    update = refund_update(payment_update(payment.order, telegram_payment_charge_id=payment.charge_id))
    from payments.services import refunds

    refuse = refunds.refuse_refund

    def after_the_message(*args: Any, **details: Any) -> None:
        send_update(update)
        refuse(*args, **details)

    monkeypatch.setattr(refunds, "refuse_refund", after_the_message)
    perform_refund(refund.pk)
    payment.refresh_from_db()
    refund.refresh_from_db()
    assert (payment.status, refund.status) == ("refunded", "done")


# An eSIM that comes too late


@pytest.mark.parametrize("after", ["refunding", "refunded"])
def test_an_esim_that_comes_after_a_refund_is_not_delivered(
    sandbox: SandboxControl, payment: Payment, lead: User, after: str
) -> None:
    order = stand_at(payment, "provisioning", attempt="open")
    in_worker = Order.objects.get(pk=order.pk)
    ask(payment, forced_by="olga")
    if after == "refunded":
        run_tasks()
    data = InstallData(iccid="8943108170000000017", smdp_address="rsp.example.com", matching_id="K2-1")
    with pytest.raises(StaleOrder):
        complete_order(in_worker, install_data=data, actor="worker")
    assert not Esim.objects.exists()
    assert not Delivery.objects.filter(kind="esim").exists()


# At once


@pytest.fixture
def committed(transactional_db: None, sandbox: SandboxControl) -> tuple[Payment, dict[str, Any]]:
    """A paid order that other connections see, and the update that paid for it."""
    update = payment_update(invoiced_order())
    sandbox.charge(update)
    send_update(update)
    return Payment.objects.get(), update


@pytest.mark.django_db(transaction=True)
def test_two_of_staff_at_once_make_one_refund(
    sandbox: SandboxControl, committed: tuple[Payment, dict[str, Any]]
) -> None:
    payment, _ = committed
    asked = at_once(*[lambda: ask(payment)] * 4)
    assert sorted(each.is_new for each in asked) == [False, False, False, True]
    assert len({each.refund.pk for each in asked}) == 1
    run_tasks()
    assert len(sandbox.refunds()) == 1


@pytest.mark.django_db(transaction=True)
def test_telegrams_message_and_our_refund_at_once_do_not_lock_each_other(
    sandbox: SandboxControl, committed: tuple[Payment, dict[str, Any]]
) -> None:
    payment, update = committed
    order = payment.order
    assert order is not None
    message = refund_update(update)

    def give_up() -> str:
        try:
            with transaction.atomic():
                Order.objects.select_for_update().get(pk=order.pk)
                wait_until(_somebody_waits)
                refund_unfulfillable_order(order, cause="sold_out", actor="worker", reason="no")
        except Exception as error:
            return type(error).__name__
        return "done"

    def told() -> str:
        wait_until(lambda: _holders(order) > 0)
        receive_update(message)
        return "done"

    assert at_once(give_up, told) == ["done", "done"]
    payment.refresh_from_db()
    order.refresh_from_db()
    run_tasks()
    payment.refresh_from_db()
    order.refresh_from_db()
    assert (payment.status, order.status, Refund.objects.count()) == ("refunded", "refunded", 1)
    assert not Alert.objects.filter(cause__startswith="update:").exists()


def _count(sql: str) -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def _somebody_waits() -> bool:
    return _count("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0


def _holders(order: Order) -> int:
    """Transactions that hold rows of orders at this moment."""
    return _count("SELECT count(*) FROM pg_locks WHERE relation = 'orders_order'::regclass AND mode = 'RowShareLock'")


@pytest.mark.django_db(transaction=True)
def test_a_refund_and_a_delivery_at_once_have_one_winner(
    sandbox: SandboxControl, committed: tuple[Payment, dict[str, Any]]
) -> None:
    payment, _ = committed
    Order.objects.update(status="provisioning")
    order = Order.objects.select_related("customer", "top_up_esim").get()
    data = InstallData(iccid="8943108170000000017", smdp_address="rsp.example.com", matching_id="K2-1")

    def outcome(call: Callable[[], Any]) -> str:
        try:
            call()
        except (StaleOrder, RefundBlocked) as error:
            return type(error).__name__
        return "won"

    outcomes = at_once(
        lambda: outcome(lambda: complete_order(order, install_data=data, actor="worker")),
        lambda: outcome(lambda: ask(payment)),
    )
    assert outcomes.count("won") == 1
    order.refresh_from_db()
    assert order.status == ("completed" if outcomes[0] == "won" else "refunding")
    assert Esim.objects.count() == Delivery.objects.filter(kind="esim").count() == int(outcomes[0] == "won")


@pytest.mark.django_db(transaction=True)
def test_a_payment_need_not_wait_for_a_customer_who_asks_for_another_invoice(
    sandbox: SandboxControl, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payment holds its order, which the new invoice closes; so it must not wait for what the invoice holds."""
    order = invoiced_order()
    update = payment_update(order)
    done: list[str] = []

    def pay_meanwhile(bundle_name: str) -> Quote:
        if connections["default"].in_atomic_block:  # the customer's row is held
            done.extend(at_once(lambda: _paid_within_2_s(update)))
        return quote_plan(bundle_name)

    monkeypatch.setattr(invoices, "quote_plan", pay_meanwhile)
    invoices.create_invoice(user=TelegramUser(id=BEN, first_name="Ben"), bundle_name=order.plan.bundle_name)
    assert done[0] == "paid"


def _paid_within_2_s(update: dict[str, Any]) -> str:
    with connections["default"].cursor() as cursor:
        cursor.execute("SET lock_timeout = '2s'")
    receive_update(update)
    return str(Order.objects.get().status)
