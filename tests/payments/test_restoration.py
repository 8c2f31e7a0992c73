"""A backup that was put back: what it does not know is neither bought again nor returned by itself."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from catalog.models import Plan
from esimshop.models import Alert
from orders.models import Order, OrderEvent, Orphan, Restoration
from orders.services.reconciliation import reconcile_orders
from orders.services.restorations import ShopIsRunning, last_trace, note_restoration
from payments.models import Payment, StarTransaction, payload_of
from payments.services import lost_orders
from payments.services.ledger import reconcile_stars
from payments.services.lost_orders import recover_lost_orders
from tests.factories import InvoiceFactory, OrderFactory
from tests.outside import BEN, SandboxControl, payment_update, run_tasks, send_update, sweep
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db
BACKUP = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
RESTORED = BACKUP + timedelta(hours=10)


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(BACKUP, tick=True) as traveller:
        yield traveller


def pay(sandbox: SandboxControl, order: Order, **changes: Any) -> Any:
    update = payment_update(order, **changes)
    sandbox.charge(update)
    send_update(update)
    return update


def restore(clock: Any, savepoint: str) -> None:
    transaction.savepoint_rollback(savepoint)
    clock.move_to(RESTORED)
    note_restoration(actor="command:note_restoration", forgotten_from=BACKUP)


def status(order: Order) -> str:
    return Order.objects.get(pk=order.pk).status


def is_delivered_once(sandbox: SandboxControl, order: Order) -> bool:
    return (status(order), len(sandbox.orders()), sandbox.refunds()) == ("completed", 1, [])


@pytest.mark.parametrize("hours", [0, 10])
def test_an_order_that_was_paid_in_the_backup_and_bought_since_is_neither_bought_nor_refunded(
    sandbox: SandboxControl, order: Order, clock: Any, hours: int
) -> None:
    pay(sandbox, order)
    backup = transaction.savepoint()
    run_tasks()
    assert is_delivered_once(sandbox, order)
    transaction.savepoint_rollback(backup)
    clock.move_to(BACKUP + timedelta(hours=hours, minutes=1))
    noted = note_restoration(actor="command:note_restoration", forgotten_from=BACKUP)
    assert noted.orders_in_doubt == 1
    for _ in range(3):
        sweep()
        clock.shift(timedelta(minutes=2))
    assert is_delivered_once(sandbox, order)
    assert OrderEvent.objects.filter(order=order, reason__contains="was restored").exists()


def test_what_was_paid_in_the_backup_and_not_bought_is_returned_once_its_time_is_over(
    sandbox: SandboxControl, order: Order, clock: Any
) -> None:
    pay(sandbox, order)
    restore(clock, transaction.savepoint())
    for _ in range(3):
        sweep()
        clock.shift(timedelta(minutes=2))
    assert (status(order), sandbox.orders()) == ("refunded", [])


def test_an_update_that_telegram_sends_again_buys_nothing_twice(
    sandbox: SandboxControl, order: Order, clock: Any
) -> None:
    backup = transaction.savepoint()
    update = pay(sandbox, order)
    run_tasks()
    restore(clock, backup)
    send_update(update)
    run_tasks()
    sweep()
    assert is_delivered_once(sandbox, order)


@pytest.mark.parametrize("by", ["update", "ledger", "ledger, history adopted"])
def test_a_charge_of_an_order_that_was_lost_is_kept_for_a_person(
    sandbox: SandboxControl, plan: Plan, clock: Any, by: str
) -> None:
    backup = transaction.savepoint()
    update = pay(sandbox, invoiced_order(plan=plan))
    run_tasks()
    restore(clock, backup)
    if by == "update":
        send_update(update)
    report = reconcile_stars(adopt_history="adopted" in by)
    run_tasks()
    sweep()
    payment = Payment.objects.get()
    assert (payment.kind, payment.extra_reason, payment.status) == ("extra", "unknown_invoice", "paid")
    assert [held.charge_id for held in report.held] == [payment.charge_id]
    assert (report.only_in_telegram, report.unexplained_stars) == ([], 0)
    assert StarTransaction.objects.get().state == "matched"
    assert sandbox.refunds() == []
    assert Alert.objects.get(cause="stars_held").cleared_at is None

    call_command("keep_charge", payment.charge_id, reason="Ben has it", stdout=io.StringIO())
    assert reconcile_stars().is_clean
    assert Alert.objects.get(cause="stars_held").cleared_at
    with pytest.raises(CommandError, match="waits for no decision"):
        call_command("keep_charge", payment.charge_id, reason="again")
    call_command("refund_payment", payment.charge_id, reason="after all", stdout=io.StringIO())
    run_tasks()
    assert len(sandbox.refunds()) == 1


def test_what_was_forgotten_becomes_no_history_however_soon_somebody_adopts_it(
    sandbox: SandboxControl, plan: Plan, clock: Any
) -> None:
    backup = transaction.savepoint()
    pay(sandbox, invoiced_order(plan=plan))
    transaction.savepoint_rollback(backup)
    clock.shift(timedelta(seconds=20))
    note_restoration(actor="command:note_restoration", forgotten_from=BACKUP)
    report = reconcile_stars(adopt_history=True)
    assert (report.adopted, report.waiting, report.held) == (0, 1, [])
    clock.shift(timedelta(minutes=1))
    assert len(reconcile_stars().held) == 1


def test_a_charge_for_an_order_that_the_backup_saw_expire_is_kept_for_a_person(
    sandbox: SandboxControl, order: Order, clock: Any
) -> None:
    Order.objects.filter(pk=order.pk).update(status="expired", quote_expires_at=BACKUP - timedelta(hours=1))
    clock.shift(timedelta(minutes=10))
    backup = transaction.savepoint()
    update = payment_update(order)
    sandbox.charge(update)
    restore(clock, backup)
    [held] = reconcile_stars().held
    run_tasks()
    assert (held.extra_reason, sandbox.refunds()) == ("too_late", [])


def test_one_that_is_certainly_too_much_is_returned_as_ever(sandbox: SandboxControl, order: Order, clock: Any) -> None:
    pay(sandbox, order)
    run_tasks()
    clock.shift(timedelta(minutes=10))
    backup = transaction.savepoint()
    sandbox.charge(payment_update(order))
    restore(clock, backup)
    reconcile_stars()
    run_tasks()
    assert len(sandbox.refunds()) == 1
    assert status(order) == "completed"


def test_charges_after_the_restoration_are_judged_as_ever(sandbox: SandboxControl, order: Order, clock: Any) -> None:
    restore(clock, transaction.savepoint())
    clock.shift(timedelta(hours=1))
    pay(sandbox, order, invoice_payload="of another shop")
    run_tasks()
    assert len(sandbox.refunds()) == 1


def test_a_charge_of_a_known_order_is_taken_in_however_late_the_backup_was_restored(
    sandbox: SandboxControl, order: Order, clock: Any
) -> None:
    backup = transaction.savepoint()
    pay(sandbox, order)
    run_tasks()
    transaction.savepoint_rollback(backup)
    clock.move_to(BACKUP + timedelta(days=5))
    note_restoration(actor="command:note_restoration", forgotten_from=BACKUP)
    reconcile_stars(adopt_history=True)
    for _ in range(2):
        run_tasks()
        sweep()
    assert is_delivered_once(sandbox, order)


# Orders that are lost


def lose(sandbox: SandboxControl, plan: Plan, clock: Any, *, tasks: bool = True) -> Order:
    """An order of after the backup, bought and delivered, and forgotten."""
    backup = transaction.savepoint()
    order = OrderFactory(plan=plan)
    InvoiceFactory(order=order, payload=payload_of(order.pk))
    pay(sandbox, order)
    if tasks:
        run_tasks()
    restore(clock, backup)
    reconcile_stars()
    reconcile_orders()
    return order


def test_a_lost_order_is_made_anew_from_its_charge_and_its_esim(
    sandbox: SandboxControl, plan: Plan, clock: Any
) -> None:
    lost = lose(sandbox, plan, clock)
    assert not Order.objects.exists()
    assert recover_lost_orders(actor="me", dry_run=True).recovered == [str(lost.pk)]
    assert not Order.objects.exists()

    before = len(sandbox.chat(BEN))
    recovery = recover_lost_orders(actor="me")
    run_tasks()
    assert (recovery.recovered, recovery.stopped, recovery.held, recovery.nameless) == ([str(lost.pk)], {}, [], [])
    order = Order.objects.get()
    assert (order.pk, order.amount_stars, order.customer.telegram_user_id) == (lost.pk, lost.amount_stars, BEN)
    assert is_delivered_once(sandbox, order)
    assert any(message["photo"] for message in sandbox.chat(BEN)[before:])
    payment = Payment.objects.get()
    assert (payment.kind, payment.extra_reason, payment.order) == ("order", "", order)
    assert reconcile_stars().is_clean
    assert not reconcile_orders().needs_person
    assert recover_lost_orders(actor="me").recovered == []


def test_a_charge_for_which_nothing_was_bought_stays_with_a_person(
    sandbox: SandboxControl, plan: Plan, clock: Any
) -> None:
    lose(sandbox, plan, clock, tasks=False)
    output = io.StringIO()
    with pytest.raises(CommandError, match="left for a person"):
        call_command("recover_lost_orders", "--json", stdout=output)
    assert json.loads(output.getvalue())["held"] == [Payment.objects.get().charge_id]
    assert (sandbox.orders(), sandbox.refunds(), Order.objects.count()) == ([], [], 0)


def test_a_charge_that_somebody_returns_at_this_moment_makes_no_order(
    sandbox: SandboxControl, plan: Plan, clock: Any
) -> None:
    lose(sandbox, plan, clock)
    seen = Payment.objects.get()
    call_command("refund_payment", seen.charge_id, reason="lost", stdout=io.StringIO())
    assert lost_orders._make_anew(Orphan.objects.get(), seen, plan, actor="me") is None
    assert not Order.objects.exists()
    assert Payment.objects.get().kind == "extra"


def test_an_esim_of_another_order_is_nobodys(sandbox: SandboxControl, plan: Plan, clock: Any) -> None:
    lose(sandbox, plan, clock)
    Orphan.objects.update(named_order_id=uuid4())
    assert recover_lost_orders(actor="me").recovered == []
    assert Payment.objects.get().kind == "extra"


def test_a_lost_order_whose_esim_is_gone_goes_to_a_person(sandbox: SandboxControl, plan: Plan, clock: Any) -> None:
    lost = lose(sandbox, plan, clock)
    sandbox.fail("esimgo.GET /esims", "status", status=400, message="no")
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "status", status=400, message="no")
    Orphan.objects.update(reference="another")
    recovery = recover_lost_orders(actor="me")
    run_tasks()
    assert list(recovery.stopped) == [str(lost.pk)]
    assert (status(lost), sandbox.refunds(), len(sandbox.orders())) == ("needs_attention", [], 1)


def test_an_invoices_payload_follows_from_its_order_for_whoever_has_a_key(settings: Any) -> None:
    first, second = uuid4(), uuid4()
    assert len(payload_of(first)) == 32
    assert payload_of(first) == payload_of(first) != payload_of(second)
    assert first.hex[:8] not in payload_of(first)
    old = settings.DATA_KEYS[0]
    before = payload_of(first)
    settings.DATA_KEYS = [Fernet.generate_key().decode(), old]
    assert payload_of(first) != before == payload_of(first, key=old)


# Noting it


def test_the_youngest_trace_says_what_the_backup_knows(clock: Any) -> None:
    assert last_trace() is None
    invoiced = invoiced_order(user_id=BEN)
    OrderEvent.objects.create(order=invoiced, kind="note", actor="customer", reason="quoted", created_at=BACKUP)
    clock.move_to(RESTORED)
    output = io.StringIO()
    call_command("note_restoration", stdout=output)
    noted = Restoration.objects.get()
    assert (noted.forgotten_from, noted.forgotten_until.replace(microsecond=0)) == (BACKUP, RESTORED)
    assert "2026-11-20 03:00:00 UTC" in output.getvalue()


def test_a_shop_that_is_running_is_told_to_stop_first() -> None:
    OrderEvent.objects.create(order=invoiced_order(), kind="note", actor="customer", created_at=timezone.now())
    with pytest.raises(CommandError, match="Stop web and worker"):
        call_command("note_restoration")
    with pytest.raises(ShopIsRunning):
        note_restoration(actor="command:note_restoration")
    call_command("note_restoration", "--forgotten-from", "2026-11-20T03:00:00Z", stdout=io.StringIO())
    assert Restoration.objects.get().forgotten_from == BACKUP
