"""POST /api/telegram/stars/webhook: updates stored, handled once, kept where handling fails."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import close_old_connections, connection
from django.test import Client
from django.utils import timezone

from catalog.models import Plan
from esimshop.init_data import TelegramUser
from esimshop.models import Alert
from orders.models import Customer, Order
from payments.models import Payment, PreCheckout, TelegramUpdate
from payments.services.invoices import create_invoice
from payments.services.updates import handle_update
from tests.factories import PlanFactory
from tests.outside import (
    WEBHOOK,
    SandboxControl,
    at_once,
    broken_table,
    membership_update,
    message_update,
    payment_update,
    pre_checkout_update,
    run_tasks,
    send_update,
    sweep,
    wait_until,
)
from tests.payments.conftest import invoiced_order

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


# Who may post


@pytest.mark.parametrize("secret", ["", "wrong", "ключ", "webhook-secret-of-the-test"])
def test_a_wrong_secret_is_forbidden(order: Order, secret: str) -> None:
    answer = send_update(payment_update(order), secret=secret)
    assert answer.status_code == 403
    assert not TelegramUpdate.objects.exists()


def test_a_missing_secret_is_forbidden_whatever_the_body() -> None:
    for body in (b"", b"garbage", b"{" * 2_000_000):
        assert Client().post(WEBHOOK, body, content_type="application/json").status_code == 403


def test_a_project_without_a_secret_takes_no_update(order: Order, settings: Any) -> None:
    settings.TELEGRAM_WEBHOOK_SECRET = ""
    assert send_update(payment_update(order), secret="").status_code == 403


@pytest.mark.parametrize("method", ["get", "put", "delete", "head"])
def test_only_post_is_taken(method: str) -> None:
    assert getattr(Client(), method)(WEBHOOK).status_code == 405


# What is an update


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'"update"',
        b"5",
        b"{}",
        b'{"message": {}}',
        b'{"update_id": "5"}',
        b'{"update_id": true}',
        b'{"update_id": 5.0}',
        b'{"update_id": -1}',
        b'{"update_id": null}',
        b'{"update_id": 99999999999999999999}',
        b'{"update_id": ' + b"9" * 6_000 + b"}",
        b'{"update_id": 5',
        b"[" * 200_000,
        b'{"update_id": 5, "a": ' + b'{"a": ' * 900 + b"1" + b"}" * 901,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_update_is_a_bad_request(body: bytes) -> None:
    answer = send_update(body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "detail"}
    assert not TelegramUpdate.objects.exists()


def test_more_than_a_mebibyte_is_too_large() -> None:
    answer = send_update(b'{"update_id": 5, "message": {"text": "' + b"x" * (1024 * 1024) + b'"}}')
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "content",
    [
        {"edited_message": {"text": "hi"}},
        {"poll": {"id": "1"}},
        {"subscription": {"state": "x"}},
        {"inline_query": {"id": "1", "query": "x"}},
        {"callback_query": "x"},
        {"message": None},
        {"message": "text"},
        {},
    ],
)
def test_a_kind_that_is_not_used_is_stored_and_answered_200(content: Any) -> None:
    answer = send_update({"update_id": 77, **content})
    assert (answer.status_code, answer.content) == (200, b"")
    update = TelegramUpdate.objects.get(update_id=77)
    assert (update.kind, update.status, update.body) == ("other", "handled", {"update_id": 77, **content})


def test_what_json_allows_and_postgresql_does_not_is_stored_all_the_same() -> None:
    body = b'{"update_id": 78, "poll": {"a\\u0000": "b\\u0000c", "d": "\\ud800", "e": NaN, "f": 1e999, "g": -Infinity}}'
    assert send_update(body).status_code == 200
    assert TelegramUpdate.objects.get(update_id=78).body["poll"]["e"] is None


# Once


def test_a_repeat_changes_nothing(order: Order) -> None:
    update = payment_update(order)
    assert [send_update(update).status_code for _ in range(3)] == [200, 200, 200]
    assert Payment.objects.count() == TelegramUpdate.objects.count() == 1
    order.refresh_from_db()
    assert (order.status, order.events.count()) == ("paid", 1)


@pytest.mark.django_db(transaction=True)
def test_the_same_update_twenty_times_at_once_is_one_payment_and_one_esim(sandbox: SandboxControl) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    update = payment_update(order)
    answers = at_once(*[lambda: send_update(update).status_code] * 20)
    assert answers == [200] * 20
    run_tasks()
    payment = Payment.objects.get()
    assert (payment.kind, payment.status) == ("order", "paid")
    order.refresh_from_db()
    assert (order.status, order.esims.count(), order.attempts.count()) == ("completed", 1, 1)
    assert len(sandbox.orders()) == 1
    assert [event.after for event in order.events.all()] == ["paid", "provisioning", "completed"]
    assert len(sandbox.chat(order.customer.telegram_user_id)) == 1
    assert not Alert.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_charge_under_ten_update_ids_at_once_is_one_payment() -> None:
    order = invoiced_order()
    first = payment_update(order)
    copies = [{**first, "update_id": first["update_id"] + 1000 + number} for number in range(10)]
    answers = at_once(*[lambda copy=copy: send_update(copy).status_code for copy in copies])
    assert answers == [200] * 10
    assert (Payment.objects.get().kind, TelegramUpdate.objects.filter(status="handled").count()) == ("order", 10)
    assert not Alert.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_charges_of_one_order_at_once_pay_for_it_once(sandbox: SandboxControl) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    updates = [payment_update(order), payment_update(order)]
    for update in updates:
        sandbox.charge(update)
    assert at_once(*[lambda update=update: send_update(update).status_code for update in updates]) == [200, 200]
    run_tasks()
    assert sorted(Payment.objects.values_list("kind", "extra_reason", "status")) == [
        ("extra", "paid_twice", "refunded"),
        ("order", "", "paid"),
    ]
    assert len(sandbox.orders()) == 1
    assert len(sandbox.refunds()) == 1


def test_updates_out_of_order_come_to_the_same_end(sandbox: SandboxControl, plan: Plan) -> None:
    orders = [invoiced_order(user_id=5000 + number, plan=plan) for number in range(4)]
    payments = [payment_update(order) for order in orders]
    updates = [*payments, *(pre_checkout_update(order) for order in orders), *payments]
    random.Random(3).shuffle(updates)
    assert {send_update(update).status_code for update in updates} == {200}
    assert set(Order.objects.values_list("status", flat=True)) == {"paid"}
    assert Payment.objects.filter(kind="order").count() == 4


# Failing


def test_an_update_that_cannot_be_stored_is_a_500_and_comes_again(order: Order) -> None:
    update = payment_update(order)
    with broken_table("payments_telegramupdate"):
        assert send_update(update).status_code == 500
    order.refresh_from_db()
    assert (order.status, Payment.objects.count()) == ("awaiting_payment", 0)
    assert send_update(update).status_code == 200
    order.refresh_from_db()
    assert (order.status, Payment.objects.count()) == ("paid", 1)


def test_an_update_that_cannot_be_handled_is_kept_alerted_and_handled_when_it_comes_again(order: Order) -> None:
    update = payment_update(order)
    with broken_table("payments_payment"):
        assert send_update(update).status_code == 200
    stored = TelegramUpdate.objects.get()
    assert (stored.status, stored.body, stored.attempts) == ("failed", update, 1)
    assert "the disk is full" in stored.error
    order.refresh_from_db()
    assert (order.status, order.events.count()) == ("awaiting_payment", 0)
    assert Alert.objects.get(cleared_at=None).cause == f"update:{update['update_id']}"

    assert send_update(update).status_code == 200
    stored.refresh_from_db()
    order.refresh_from_db()
    assert (stored.status, stored.error, order.status) == ("handled", "", "paid")
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_an_update_that_cannot_be_handled_is_replayed_by_itself(sandbox: SandboxControl, order: Order) -> None:
    with broken_table("payments_payment"):
        send_update(payment_update(order))
        assert "handle_update_task" not in sweep()
        with time_machine.travel(timezone.now() + timedelta(minutes=2)):
            assert "handle_update_task" in sweep()
    assert TelegramUpdate.objects.get().attempts == 2
    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        sweep()
    order.refresh_from_db()
    assert order.status == "completed"
    assert TelegramUpdate.objects.get().status == "handled"


def test_a_poisonous_update_does_not_block_the_next(order: Order) -> None:
    poison = payment_update(order)
    del poison["message"]["successful_payment"]["telegram_payment_charge_id"]
    assert send_update(poison).status_code == 200
    assert send_update(payment_update(order)).status_code == 200
    order.refresh_from_db()
    assert order.status == "paid"
    stored = TelegramUpdate.objects.get(update_id=poison["update_id"])
    assert (stored.status, stored.error) == ("failed", "KeyError: 'telegram_payment_charge_id'")


def test_a_poisonous_update_is_tried_ten_times_and_no_more(sandbox: SandboxControl, order: Order) -> None:
    poison = payment_update(order, total_amount="many")
    send_update(poison)
    now = timezone.now()
    for hour in range(1, 15):
        with time_machine.travel(now + timedelta(hours=2 * hour)):
            sweep()
    stored = TelegramUpdate.objects.get()
    assert (stored.status, stored.attempts, stored.next_try_at) == ("failed", 10, None)
    assert Alert.objects.filter(cause=f"update:{poison['update_id']}").count() == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"date": 10**17},
        {"total_amount": 10**12},
        {"total_amount": None},
        {"telegram_payment_charge_id": "x" * 300},
        {"currency": "XTRXTR"},
    ],
)
def test_nonsense_in_a_payment_is_kept_and_never_a_500(order: Order, changes: Any) -> None:
    assert send_update(payment_update(order, **changes)).status_code == 200
    assert TelegramUpdate.objects.get().status == "failed"
    assert not Payment.objects.exists()


def test_replay_updates_handles_what_failed(order: Order, capsys: Any) -> None:
    update = payment_update(order)
    with broken_table("payments_payment"):
        send_update(update)
        with pytest.raises(CommandError):
            call_command("replay_updates", "--failed")
    call_command("replay_updates", "--failed", "--dry-run")
    order.refresh_from_db()
    assert order.status == "awaiting_payment"
    call_command("replay_updates", "--id", str(update["update_id"]))
    order.refresh_from_db()
    assert order.status == "paid"
    call_command("replay_updates", "--id", str(update["update_id"]))
    assert "0 failed" in capsys.readouterr().out
    assert Payment.objects.count() == 1


def test_replay_updates_does_not_know_every_update() -> None:
    with pytest.raises(CommandError, match="No update 404 is stored"):
        call_command("replay_updates", "--id", "404")


# Messages and membership


def test_a_message_is_stored_at_once_and_answered_by_the_worker(sandbox: SandboxControl) -> None:
    assert send_update(message_update("/start")).status_code == 200
    assert TelegramUpdate.objects.get().status == "received"
    assert sandbox.chat(1002) == []
    assert run_tasks() == ["handle_update_task"]
    assert len(sandbox.chat(1002)) == 1
    update = TelegramUpdate.objects.get()
    assert (update.status, update.handled_at is None) == ("handled", False)


def test_a_repeated_message_is_answered_once(sandbox: SandboxControl) -> None:
    update = message_update("/start")
    for _ in range(3):
        send_update(update)
    run_tasks()
    handle_update(TelegramUpdate.objects.get().pk)
    assert len(sandbox.chat(1002)) == 1


def test_a_message_whose_task_died_is_answered_by_the_sweep(sandbox: SandboxControl) -> None:
    send_update(message_update("/start"))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    sweep()
    assert sandbox.chat(1002) == []
    with time_machine.travel(timezone.now() + timedelta(seconds=70)):
        sweep()
    assert len(sandbox.chat(1002)) == 1


def test_while_telegram_is_away_an_answer_waits(sandbox: SandboxControl) -> None:
    sandbox.fail("telegram.sendMessage", "status", status=429, headers={"Retry-After": "1"}, times=2)
    send_update(message_update("/start"))
    run_tasks()
    assert (TelegramUpdate.objects.get().status, sandbox.chat(1002)) == ("received", [])
    now = timezone.now()
    for minutes in (5, 10):
        with time_machine.travel(now + timedelta(minutes=minutes)):
            sweep()
    assert len(sandbox.chat(1002)) == 1
    assert TelegramUpdate.objects.get().status == "handled"


def test_a_poisonous_message_is_kept_and_alerted(sandbox: SandboxControl) -> None:
    update = message_update("/start")
    update["message"]["from"]["id"] = "not a number"
    send_update(update)
    run_tasks()
    stored = TelegramUpdate.objects.get()
    assert (stored.status, stored.attempts) == ("failed", 1)
    assert Alert.objects.filter(cause=f"update:{update['update_id']}", cleared_at=None).exists()
    send_update(message_update("/start"))
    run_tasks()
    assert len(sandbox.chat(1002)) == 1


def test_the_bot_notes_who_blocks_it(sandbox: SandboxControl) -> None:
    send_update(membership_update("kicked"))
    run_tasks()
    assert Customer.objects.get(telegram_user_id=1002).is_bot_blocked
    send_update(membership_update("member"))
    run_tasks()
    assert not Customer.objects.get(telegram_user_id=1002).is_bot_blocked


def test_telegram_itself_delivers_to_the_webhook(sandbox: SandboxControl, live_server: Any, settings: Any) -> None:
    """The whole way by HTTP: pay sheet, pre-checkout in the webhook's response, charge, eSIM."""
    PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    settings.PUBLIC_URL = live_server.url
    call_command("set_webhook")
    ben = TelegramUser(id=1002, first_name="Ben", language_code="en")
    created = create_invoice(user=ben, bundle_name="esim_1GB_7D_FR_V2")
    paid = sandbox.post("/sandbox/users/1002/pay", {"link": created.invoice.link})
    assert paid["status"] == "paid"
    updates = sandbox.ledger()["updates"]
    statuses = sandbox.post(f"/sandbox/updates/{updates[-1]['update']['update_id']}/redeliver", {"times": 20})
    assert statuses == {"statuses": [200] * 20}
    run_tasks()
    assert Payment.objects.get().charge_id == paid["charge_id"]
    assert (PreCheckout.objects.count(), len(sandbox.orders())) == (1, 1)
    assert len(sandbox.chat(1002)) == 1


def test_a_body_is_json_whatever_its_content_type(order: Order, settings: Any) -> None:
    answer = Client().post(
        WEBHOOK,
        json.dumps(payment_update(order)),
        content_type="text/plain",
        headers={"X-Telegram-Bot-Api-Secret-Token": settings.TELEGRAM_WEBHOOK_SECRET},
    )
    assert answer.status_code == 200


def test_a_bot_put_out_of_a_group_has_not_been_blocked() -> None:
    update = membership_update("kicked")
    update["my_chat_member"]["chat"] = {"id": -100123, "type": "supergroup"}
    send_update(update)
    run_tasks()
    assert not Customer.objects.filter(is_bot_blocked=True).exists()


# The database was restarted: the connection that the web process keeps is dead


@pytest.fixture
def kept_connection(transactional_db: None) -> Iterator[None]:
    """This thread's connection is kept from request to request, as a server's is."""
    kept = connection.settings_dict
    before = kept["CONN_MAX_AGE"], kept["CONN_HEALTH_CHECKS"]
    kept["CONN_MAX_AGE"], kept["CONN_HEALTH_CHECKS"] = None, True
    connection.close()
    yield
    kept["CONN_MAX_AGE"], kept["CONN_HEALTH_CHECKS"] = before
    connection.close()


def kill_connection() -> None:
    """Have PostgreSQL end this thread's connection, unnoticed here."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    params = connection.get_connection_params()
    for django_only in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(django_only, None)
    with psycopg.connect(**params, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone())
    close_old_connections()  # as at the beginning of every request


@pytest.mark.parametrize("kind", ["pre_checkout_query", "successful_payment", "message"])
def test_an_update_on_a_dead_connection_is_handled_on_a_new_one(kept_connection: None, kind: str) -> None:
    order = invoiced_order(plan=PlanFactory(bundle_name="esim_1GB_7D_FR_V2"))
    update = {
        "pre_checkout_query": pre_checkout_update(order),
        "successful_payment": payment_update(order),
        "message": message_update("/help"),
    }[kind]
    kill_connection()

    answer = send_update(update)

    assert answer.status_code == 200
    stored = TelegramUpdate.objects.get()
    assert (stored.kind, stored.error) == (kind, "")
    order.refresh_from_db()
    assert order.status == ("paid" if kind == "successful_payment" else "awaiting_payment")
    assert kind != "pre_checkout_query" or answer.json()["ok"]
    assert not Alert.objects.exists()
