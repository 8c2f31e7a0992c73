"""The bot's answers, by webhook and by long polling; and that polling confirms only what is committed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from catalog.models import Plan
from esimshop.init_data import TelegramUser
from orders.models import Customer, Order
from payments.models import Payment, TelegramUpdate
from payments.services.bot_set_up import set_up_webhook
from payments.services.invoices import create_invoice
from payments.services.polling import poll_updates
from payments.services.replies import COMMANDS, describe_commands
from tests.factories import CustomerFactory, EsimFactory, OrderFactory
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    broken_table,
    is_russian,
    message_update,
    run_tasks,
    send_update,
)

pytestmark = pytest.mark.django_db
USERS = pytest.mark.parametrize(("user_id", "language"), [(ANNA, "ru"), (BEN, "en")])


def write(sandbox: SandboxControl, text: str, *, user_id: int, way: str) -> dict[str, Any]:
    """Write to the bot and get its answer."""
    before = len(sandbox.chat(user_id))
    if way == "webhook":
        assert send_update(message_update(text, user_id=user_id)).status_code == 200
    else:
        sandbox.post(f"/sandbox/users/{user_id}/messages", {"text": text})
        call_command("run_polling", "--once")
    run_tasks()
    (answer,) = sandbox.chat(user_id)[before:]
    return dict(answer)


@USERS
@pytest.mark.parametrize("way", ["webhook", "polling"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_answered_in_the_users_language(
    sandbox: SandboxControl, command: str, way: str, user_id: int, language: str
) -> None:
    answer = write(sandbox, f"/{command}", user_id=user_id, way=way)
    assert len(answer["text"]) > 30
    assert is_russian(answer["text"]) is (language == "ru")
    customer = Customer.objects.get(telegram_user_id=user_id)
    assert (customer.language, customer.language_code) == (language, language)


@USERS
def test_the_answers_differ(sandbox: SandboxControl, user_id: int, language: str) -> None:
    texts = {write(sandbox, f"/{command}", user_id=user_id, way="webhook")["text"] for command in COMMANDS}
    texts.add(write(sandbox, "hello", user_id=user_id, way="webhook")["text"])
    assert len(texts) == len(COMMANDS) + 1


@pytest.mark.parametrize("text", ["/start promo", "/start@esim_sandbox_bot", "/start\nhello", "  /start"])
def test_a_command_is_known_with_whatever_comes_with_it(sandbox: SandboxControl, text: str) -> None:
    plain = write(sandbox, "/start", user_id=BEN, way="webhook")
    assert write(sandbox, text, user_id=BEN, way="webhook")["text"] == plain["text"]


@pytest.mark.parametrize("text", ["hello", "/unknown", "/", "", " ", "/start_now"])
def test_anything_else_gets_a_kind_word_and_a_button(sandbox: SandboxControl, text: str) -> None:
    answer = write(sandbox, text, user_id=BEN, way="webhook")
    assert "I sell mobile data for trips" in answer["text"]
    assert answer["buttons"][0][0]["web_app"]


def test_start_opens_the_mini_app(sandbox: SandboxControl, settings: Any) -> None:
    answer = write(sandbox, "/start", user_id=BEN, way="webhook")
    assert answer["buttons"][0][0]["web_app"] == {"url": f"{settings.PUBLIC_URL}/"}


def test_pay_support_says_that_telegram_does_not_handle_our_sales(sandbox: SandboxControl) -> None:
    answer = write(sandbox, "/paysupport", user_id=BEN, way="webhook")
    assert "Telegram's own support cannot help with purchases from this bot; we do." in answer["text"]


def test_my_esims_are_buttons_into_the_mini_app(sandbox: SandboxControl, plan: Plan, settings: Any) -> None:
    empty = write(sandbox, "/esims", user_id=BEN, way="webhook")
    assert "none yet" in empty["text"]
    ben = CustomerFactory()
    done = OrderFactory(plan=plan, customer=ben, status="completed")
    esim = EsimFactory(order=done, customer=ben)
    OrderFactory(plan=plan, customer=ben, status="completed", top_up_esim=esim)
    preparing = OrderFactory(plan=plan, customer=ben, status="provisioning")
    OrderFactory(plan=plan, customer=ben, status="expired")
    OrderFactory(plan=plan, customer=ben, status="awaiting_payment")
    OrderFactory(plan=plan, customer__telegram_user_id=ANNA, customer__language="ru", status="completed")
    answer = write(sandbox, "/esims", user_id=BEN, way="webhook")
    assert [row[0]["web_app"]["url"] for row in answer["buttons"]] == [
        f"{settings.PUBLIC_URL}/?order={preparing.pk}",
        f"{settings.PUBLIC_URL}/?esim={esim.iccid}",
        f"{settings.PUBLIC_URL}/?view=esims",
    ]
    assert answer["buttons"][0][0]["text"] == "France, 1 GB, 7 days"


@pytest.mark.parametrize("chat_type", ["group", "supergroup", "channel"])
def test_the_bot_speaks_in_private_chats_only(sandbox: SandboxControl, chat_type: str) -> None:
    send_update(message_update("/start", chat_type=chat_type))
    run_tasks()
    assert sandbox.chat(BEN) == []
    assert TelegramUpdate.objects.get().status == "handled"


def test_the_bot_does_not_speak_with_bots(sandbox: SandboxControl) -> None:
    update = message_update("/start")
    update["message"]["from"]["is_bot"] = True
    send_update(update)
    run_tasks()
    assert sandbox.chat(BEN) == []


def test_who_lets_the_bot_write_is_no_longer_blocked_and_gets_no_small_talk(sandbox: SandboxControl) -> None:
    CustomerFactory(telegram_user_id=BEN, is_bot_blocked=True)
    update = message_update("")
    del update["message"]["text"]
    update["message"]["write_access_allowed"] = {"from_request": True}
    send_update(update)
    run_tasks()
    assert not Customer.objects.get().is_bot_blocked
    assert sandbox.chat(BEN) == []
    assert TelegramUpdate.objects.get().status == "handled"


def test_a_message_of_somebody_who_blocked_the_bot_meanwhile_is_no_failure(sandbox: SandboxControl) -> None:
    sandbox.post("/sandbox/users", {"id": BEN, "blocked_bot": True})
    send_update(message_update("/start"))
    run_tasks()
    assert Customer.objects.get().is_bot_blocked
    assert TelegramUpdate.objects.get().status == "handled"


# Set-up


def test_the_webhook_names_its_updates_and_drops_none(sandbox: SandboxControl, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:8789"
    sandbox.fail("webhook", "drop", times=None)
    sandbox.post(f"/sandbox/users/{BEN}/messages", {"text": "/start"})
    assert set_up_webhook() == "http://127.0.0.1:8789/api/telegram/stars/webhook"
    ledger = sandbox.ledger()
    assert ledger["webhook"]["url"] == "http://127.0.0.1:8789/api/telegram/stars/webhook"
    assert len(ledger["pending_updates"]) == 1
    call_command("webhook_info")


def test_a_webhook_of_somebody_else_is_no_webhook_of_ours(sandbox: SandboxControl) -> None:
    with pytest.raises(CommandError):
        call_command("webhook_info")


def test_the_command_menu_speaks_both_languages(sandbox: SandboxControl) -> None:
    for language in ("ru", "en"):
        menu = describe_commands(language)
        assert {name for name, _ in menu} == set(COMMANDS)
        assert all(is_russian(text.replace("eSIM", "")) is (language == "ru") for _, text in menu)


# Long polling


def test_polling_sells_as_the_webhook_does(sandbox: SandboxControl, plan: Plan) -> None:
    ben = TelegramUser(id=BEN, first_name="Ben", language_code="en")
    created = create_invoice(user=ben, bundle_name=plan.bundle_name)
    result: dict[str, Any] = {}
    buyer = threading.Thread(
        target=lambda: result.update(sandbox.post(f"/sandbox/users/{BEN}/pay", {"link": created.invoice.link}))
    )
    buyer.start()
    while buyer.is_alive():
        call_command("run_polling", "--once")
    call_command("run_polling", "--once")
    run_tasks()
    assert result["status"] == "paid"
    order = Order.objects.get()
    assert order.status == "completed"
    assert Payment.objects.get().charge_id == result["charge_id"]
    assert sandbox.ledger()["pending_updates"] == []


def test_a_refusal_reaches_the_pay_sheet_by_polling(sandbox: SandboxControl, plan: Plan) -> None:
    ben = TelegramUser(id=BEN, first_name="Ben", language_code="en")
    created = create_invoice(user=ben, bundle_name=plan.bundle_name)
    Plan.objects.update(is_on_sale=False)
    result: dict[str, Any] = {}
    buyer = threading.Thread(
        target=lambda: result.update(sandbox.post(f"/sandbox/users/{BEN}/pay", {"link": created.invoice.link}))
    )
    buyer.start()
    while buyer.is_alive():
        call_command("run_polling", "--once")
    assert result["status"] == "failed"
    assert result["error"] == "This plan is no longer sold. Choose another one; no Stars were taken."


def test_polling_confirms_only_what_is_stored(sandbox: SandboxControl) -> None:
    for number in range(3):
        sandbox.post(f"/sandbox/users/{BEN}/messages", {"text": f"message {number}"})
    first = sandbox.ledger()["pending_updates"][0]
    with broken_table("payments_telegramupdate"):
        polled = poll_updates(offset=0, timeout_seconds=0)
        assert (polled.offset, polled.count, polled.is_broken) == (0, 0, True)
        with pytest.raises(CommandError):
            call_command("run_polling", "--once")
    assert len(sandbox.ledger()["pending_updates"]) == 3
    assert not TelegramUpdate.objects.exists()

    polled = poll_updates(offset=0, timeout_seconds=0)
    assert (polled.offset, polled.count, polled.is_broken) == (first + 3, 3, False)
    assert len(sandbox.ledger()["pending_updates"]) == 3  # stored, and not yet confirmed
    assert TelegramUpdate.objects.count() == 3
    assert poll_updates(offset=polled.offset, timeout_seconds=0).count == 0
    assert sandbox.ledger()["pending_updates"] == []


def test_polling_goes_on_after_a_poisonous_update(sandbox: SandboxControl, order: Order) -> None:
    sandbox.post("/sandbox/updates", {"message": {"from": {"id": BEN}, "successful_payment": {"x": 1}}})
    sandbox.post(f"/sandbox/users/{BEN}/messages", {"text": "/start"})
    call_command("run_polling", "--once")
    assert [update.status for update in TelegramUpdate.objects.order_by("update_id")] == ["failed", "received"]
    assert sandbox.ledger()["pending_updates"] == []


def test_polling_beside_a_webhook_says_so(sandbox: SandboxControl, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:8789"
    set_up_webhook()
    with pytest.raises(CommandError, match="webhook_info"):
        call_command("run_polling", "--once")


def test_polling_once_says_when_telegram_does_not_answer(sandbox: SandboxControl) -> None:
    sandbox.fail("telegram.getUpdates", "drop")
    with pytest.raises(CommandError, match="did not answer"):
        call_command("run_polling", "--once")
