"""Deleting a customer's data: what goes, what the books keep, when it must wait, and what may come between."""

from __future__ import annotations

import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from catalog.models import Plan
from orders.models import Customer, Delivery, Esim, Order
from orders.services.deliveries import RepeatRefused, owe_delivery, repeat_delivery
from orders.services.orders import expire_orders
from orders.services.reveals import RevealRefused, reveal_activation_code
from payments.models import Case, Payment, RefundRequest, TelegramUpdate
from payments.services import anonymisation
from payments.services.anonymisation import DELETED_TEXT, AnonymisationRefused, anonymise_customer, scrub_updates
from payments.services.cases import CaseRefused, answer_case, open_case, reopen_case
from payments.services.refunds import refund_payment
from payments.services.updates import replay_update
from tests.factories import CustomerFactory, EsimFactory, OrderFactory, PaymentFactory, PlanFactory
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    at_once,
    broken_table,
    membership_update,
    message_update,
    payment_update,
    pre_checkout_update,
    press_update,
    run_tasks,
    send_update,
    sweep,
)
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db


@pytest.fixture
def ben(db: None) -> Customer:
    return CustomerFactory(
        telegram_user_id=BEN, last_name="Miller", username="ben", chosen_language="ru", is_bot_blocked=True
    )


def forget(customer: Customer) -> Customer:
    anonymise_customer(customer, actor="customer", reason="asked for")
    customer.refresh_from_db()
    return customer


def completed(customer: Customer, plan: Plan) -> tuple[Order, Payment]:
    """A delivered order with its eSIM and its charge."""
    order = OrderFactory(customer=customer, plan=plan, status="completed", paid_at=timezone.now())
    EsimFactory(order=order)
    return order, PaymentFactory(order=order)


def pay(order: Order, **changes: Any) -> Payment:
    update = payment_update(order, **changes)
    assert send_update(update).status_code == 200
    return Payment.objects.get(charge_id=update["message"]["successful_payment"]["telegram_payment_charge_id"])


# What goes and what stays


def test_who_the_customer_was_is_gone(ben: Customer) -> None:
    assert forget(ben).telegram_user_id == -ben.pk
    assert (ben.first_name, ben.last_name, ben.username, ben.language_code, ben.chosen_language) == ("",) * 5
    assert (ben.wants_usage_notices, ben.is_bot_blocked) == (False, False)
    assert ben.anonymised_at is not None
    assert str(ben) == f"deleted customer {ben.pk}"


def test_it_is_done_once(ben: Customer) -> None:
    first = forget(ben).anonymised_at
    assert forget(ben).anonymised_at == first
    assert ben.telegram_user_id == -ben.pk


def test_charges_stay_as_the_books_require(ben: Customer, plan: Plan) -> None:
    order, payment = completed(ben, plan)
    forget(ben)
    payment.refresh_from_db()
    assert (payment.payer_id, payment.amount_stars, payment.status) == (BEN, order.amount_stars, "paid")
    (event,) = order.events.all()
    assert (event.actor, event.reason) == ("customer", "the customer's data are deleted: asked for")


def test_codes_are_gone_and_nobody_is_shown_them(ben: Customer, plan: Plan) -> None:
    order, _ = completed(ben, plan)
    forget(ben)
    assert Esim.objects.get().matching_id == ""
    with pytest.raises(RevealRefused, match="had their data deleted"):
        reveal_activation_code(order, actor="admin:olga", reason="to help")


def test_unpaid_orders_are_cancelled_without_a_word(ben: Customer, order: Order) -> None:
    forget(ben)
    order.refresh_from_db()
    assert (order.status, order.cause) == ("cancelled", "requested")
    move, note = order.events.all()
    assert (move.after, move.actor, note.actor) == ("cancelled", "customer", "customer")
    assert not Delivery.objects.exists()


def test_owed_messages_are_dropped_and_later_ones_never_sent(
    sandbox: SandboxControl, ben: Customer, plan: Plan
) -> None:
    order, _ = completed(ben, plan)
    for status in ("pending", "blocked", "sent"):
        Delivery.objects.create(customer=ben, order=order, kind="answer", text="a secret", status=status)
    forget(ben)
    owe_delivery(customer=ben, order=order, kind=Delivery.Kind.REFUNDED)
    sweep()
    assert list(Delivery.objects.order_by("pk").values_list("status", "text")) == [
        ("skipped", ""), ("skipped", ""), ("sent", ""), ("skipped", ""),
    ]  # fmt: skip
    assert sandbox.calls("sendMessage") == 0
    with pytest.raises(RepeatRefused, match="nobody to write to"):
        repeat_delivery(Delivery.objects.get(status="sent"), actor="admin:olga", reason="asked")


def test_what_was_written_in_requests_is_gone_and_they_are_closed(ben: Customer, plan: Plan) -> None:
    agent = User.objects.create_user("olga", is_staff=True)
    _, payment = completed(ben, plan)
    case = open_case(customer=ben, payment=payment, wish="help", reason="other").case
    send_update(message_update("My number is 555"))
    run_tasks()
    answer_case(case.pk, user=agent, text="Thank you, Ben", seen_pk=case.messages.latest("pk").pk)
    forget(ben)
    case.refresh_from_db()
    assert (case.status, case.closed_at is None) == ("closed", False)
    assert [(line.author, line.text) for line in case.messages.all()] == [
        ("customer", DELETED_TEXT),
        ("customer", DELETED_TEXT),
        ("staff", DELETED_TEXT),
        ("shop", "The customer's data are deleted."),
    ]
    with pytest.raises(CaseRefused, match="nobody could read"):
        reopen_case(case.pk, user=agent)


# When it must wait


@pytest.mark.parametrize("status", ["paid", "provisioning", "needs_attention", "refunding"])
def test_it_waits_for_an_order_on_its_way(ben: Customer, plan: Plan, status: str) -> None:
    order = OrderFactory(customer=ben, plan=plan, status=status)
    with pytest.raises(AnonymisationRefused, match=str(order.pk)):
        forget(ben)
    ben.refresh_from_db()
    assert (ben.telegram_user_id, ben.anonymised_at) == (BEN, None)


@pytest.mark.parametrize("status", ["completed", "refunded", "expired", "cancelled", "awaiting_payment"])
def test_it_does_not_wait_for_what_is_over(ben: Customer, plan: Plan, status: str) -> None:
    OrderFactory(customer=ben, plan=plan, status=status)
    assert forget(ben).anonymised_at


@pytest.mark.parametrize(
    ("kind", "status", "waits"),
    [
        ("extra", "refunding", True),
        ("extra", "refund_failed", True),
        ("extra", "refunded", False),
        ("order", "refund_failed", False),
        ("order", "refunded", False),
    ],
)
def test_it_waits_for_stars_on_their_way(ben: Customer, plan: Plan, kind: str, status: str, waits: bool) -> None:
    order = OrderFactory(customer=ben, plan=plan, status="completed")
    payment = PaymentFactory(order=order, kind=kind, status=status)
    if waits:
        with pytest.raises(AnonymisationRefused, match=payment.charge_id):
            forget(ben)
    else:
        assert forget(ben).anonymised_at


@pytest.mark.parametrize("status", ["waiting", "approved"])
def test_it_waits_for_a_refund_that_is_asked_for(ben: Customer, plan: Plan, status: str) -> None:
    _, payment = completed(ben, plan)
    RefundRequest.objects.create(payment=payment, status=status, reason="too dear", requested_by="admin:olga")
    with pytest.raises(AnonymisationRefused, match="not decided yet"):
        forget(ben)


def test_it_waits_for_the_shops_decision(ben: Customer, plan: Plan) -> None:
    _, payment = completed(ben, plan)
    Case.objects.create(customer=ben, payment=payment, reason="other", wish="refund", status="deciding")
    with pytest.raises(AnonymisationRefused, match="being decided"):
        forget(ben)


# What comes afterwards


def test_whoever_comes_back_is_a_new_customer(sandbox: SandboxControl, ben: Customer) -> None:
    forget(ben)
    send_update(message_update("/start"))
    run_tasks()
    new = Customer.objects.get(telegram_user_id=BEN)
    assert (new.pk != ben.pk, new.first_name, new.orders.count()) == (True, "Ben", 0)


@pytest.mark.parametrize("is_expired", [False, True])
def test_a_late_charge_of_an_old_invoice_goes_back_to_its_payer(
    sandbox: SandboxControl, ben: Customer, order: Order, is_expired: bool
) -> None:
    if is_expired:
        Order.objects.update(quote_expires_at=timezone.now() - timedelta(seconds=5))
        expire_orders()
    assert send_update(pre_checkout_update(order)).json()["ok"] is True if not is_expired else True
    update = payment_update(order)
    forget(ben)
    sandbox.charge(update)
    send_update(update)
    run_tasks()
    payment = Payment.objects.get()
    assert (payment.kind, payment.status, payment.payer_id) == ("extra", "refunded", BEN)
    order.refresh_from_db()
    assert order.status == ("expired" if is_expired else "cancelled")
    assert payment.customer.telegram_user_id == BEN
    assert "We returned" in sandbox.chat(BEN)[-1]["text"]


def test_staff_can_still_return_a_charge(sandbox: SandboxControl, ben: Customer, plan: Plan) -> None:
    order = invoiced_order(plan=plan, customer=ben)
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    Order.objects.update(status="completed")
    lead = User.objects.create_superuser("lead")
    forget(ben)
    refund_payment(Payment.objects.get(), actor="admin:lead", reason="asked by mail", forced_by=lead.username)
    run_tasks()
    payment = Payment.objects.get()
    assert (payment.status, payment.order.status) == ("refunded", "refunded")
    assert len(sandbox.refunds()) == 1
    assert sandbox.chat(BEN) == []


# What may come between


def test_all_of_it_or_nothing(ben: Customer, plan: Plan) -> None:
    order, payment = completed(ben, plan)
    Case.objects.create(customer=ben, payment=payment, reason="other", wish="help")
    with broken_table("payments_casemessage"), pytest.raises(ProgrammingError, match="the disk is full"):
        forget(ben)
    ben.refresh_from_db()
    assert (ben.first_name, ben.telegram_user_id, ben.anonymised_at) == ("Ben", BEN, None)
    assert Esim.objects.get().matching_id
    assert not order.events.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_expired", [False, True])
def test_a_charge_at_the_same_moment_pays_for_the_order_or_goes_back(is_expired: bool) -> None:
    plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    for user_id in range(7001, 7009):
        order = invoiced_order(plan=plan, user_id=user_id, status="expired" if is_expired else "awaiting_payment")
        customer = order.customer

        def delete(customer: Customer = customer) -> bool:
            try:
                forget(customer)
            except AnonymisationRefused:
                return False
            return True

        deleted, payment = at_once(delete, lambda order=order: pay(order))

        order.refresh_from_db()
        if deleted:
            assert (payment.kind, payment.status) == ("extra", "refunding")
            assert order.status == ("expired" if is_expired else "cancelled")
        else:
            assert (payment.kind, order.status) == ("order", "paid")


@pytest.mark.django_db(transaction=True)
def test_a_charge_that_waited_for_the_deletion_pays_for_nothing() -> None:
    """The charge has read whose order it is, and waits for the order's row, while the customer's data go."""
    order = invoiced_order(plan=PlanFactory(bundle_name="esim_1GB_7D_FR_V2"), status="expired")
    holds = []

    def delete() -> None:
        with transaction.atomic():
            Order.objects.select_for_update().get(pk=order.pk)
            holds.append(True)
            time.sleep(1)
            forget(order.customer)

    def charge() -> Payment:
        while not holds:
            time.sleep(0.05)
        return pay(order)

    _, payment = at_once(delete, charge)
    order.refresh_from_db()
    assert (payment.kind, payment.extra_reason, order.status) == ("extra", "too_late", "expired")


# What Telegram sent


def stored(update: dict[str, Any]) -> TelegramUpdate:
    return TelegramUpdate.objects.get(update_id=update["update_id"])


def test_stored_updates_are_cleared_part_by_part(
    sandbox: SandboxControl, ben: Customer, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anonymisation, "UPDATES_AT_ONCE", 2)
    with connection.cursor() as cursor:  # where many were stored before, and are trimmed: not looked through in vain
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('payments_telegramupdate', 'id'), 1000 + nextval("
            "pg_get_serial_sequence('payments_telegramupdate', 'id')))"
        )
    charge = payment_update(order)
    theirs = [
        message_update("my name is Ben"),
        press_update("ps:l:0"),
        membership_update("member"),
        pre_checkout_update(order),
        charge,
    ]
    others = message_update("hello", user_id=ANNA)
    for update in (*theirs[:2], others, *theirs[2:]):
        send_update(update)
    Order.objects.update(status="completed")
    run_tasks()
    forget(ben)
    after = message_update("/start")
    send_update(after)
    run_tasks()
    for update in theirs[:-1]:
        assert stored(update).body == {"update_id": update["update_id"]}
    assert stored(others).body == others
    assert stored(after).body == after
    message = charge["message"]
    assert stored(charge).body == {
        "update_id": charge["update_id"],
        "message": {
            "date": message["date"],
            "from": {"id": BEN},
            "successful_payment": message["successful_payment"],
        },
    }
    for update in theirs:
        assert replay_update(stored(update).pk).status == "handled"
    assert Payment.objects.count() == 1


def test_an_unanswered_message_is_not_answered_any_more(sandbox: SandboxControl, ben: Customer) -> None:
    update = message_update("/start")
    TelegramUpdate.objects.create(
        update_id=update["update_id"], kind="message", body=update, status="received", next_try_at=timezone.now()
    )
    forget(ben)
    run_tasks()
    assert (stored(update).status, stored(update).body) == ("handled", {"update_id": update["update_id"]})
    sweep()
    assert not Customer.objects.filter(telegram_user_id=BEN).exists()


def test_a_charge_that_is_not_taken_in_yet_is_kept_for_it(ben: Customer, order: Order) -> None:
    update = payment_update(order)
    TelegramUpdate.objects.create(
        update_id=update["update_id"], kind="successful_payment", body=update, status="failed"
    )
    pk = stored(update).pk
    scrub_updates(BEN, after=pk - 1, until=pk)
    assert stored(update).body == update
    job = ProcrastinateJob.objects.get()
    assert job.args == {"telegram_user_id": BEN, "after": pk - 1, "until": pk}
    assert job.scheduled_at > timezone.now() + timedelta(hours=23)
    replay_update(pk)
    scrub_updates(BEN, after=pk - 1, until=pk)
    assert set(stored(update).body["message"]) == {"date", "from", "successful_payment"}


# Staff


def test_a_lead_deletes_a_customers_data(client: Client, ben: Customer, order: Order) -> None:
    client.force_login(User.objects.create_superuser("lead"))
    assert "Delete their data" in client.get(f"/admin/orders/customer/{ben.pk}/change/").text
    page = "/admin/acts/anonymise-customer/"
    assert "cannot be undone" in client.get(page, {"id": ben.pk}).text
    assert "The data are deleted." in client.post(page, {"id": ben.pk, "reason": "a letter"}).text
    ben.refresh_from_db()
    assert ben.telegram_user_id == -ben.pk
    assert {event.actor for event in order.events.all()} == {"admin:lead"}
    shown = client.get(f"/admin/orders/customer/{ben.pk}/change/").text
    assert f"deleted customer {ben.pk}" in shown
    assert "Delete their data" not in shown


def test_a_lead_reads_why_it_must_wait(client: Client, ben: Customer, plan: Plan) -> None:
    client.force_login(User.objects.create_superuser("lead"))
    order = OrderFactory(customer=ben, plan=plan, paid=True)
    assert f"Order {order.pk} is paid." in client.get("/admin/acts/anonymise-customer/", {"id": ben.pk}).text


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("anonymise_customer", *arguments, "--reason", "a letter", stdout=output)
    return output.getvalue()


def test_the_command_deletes_a_customers_data(ben: Customer, plan: Plan) -> None:
    order, payment = completed(ben, plan)
    assert "Would delete" in run(str(BEN), "--dry-run")
    ben.refresh_from_db()
    assert ben.anonymised_at is None
    assert f"customer {ben.pk} in the books" in run(str(BEN))
    assert order.events.get().actor == "command:anonymise_customer"
    assert "nothing to delete" in run(str(BEN))
    # Support still finds the charge by the id that paid it.
    assert list(Payment.objects.filter(payer_id=BEN)) == [payment]


def test_the_command_refuses_while_something_is_on_its_way(ben: Customer, plan: Plan) -> None:
    OrderFactory(customer=ben, plan=plan, paid=True)
    for arguments in ([str(BEN)], [str(BEN), "--dry-run"]):
        with pytest.raises(CommandError, match=r"Not now: Order .* is paid"):
            run(*arguments)
