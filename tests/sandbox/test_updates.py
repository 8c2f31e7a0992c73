"""How updates reach the bot: Telegram's order, retries and filters, and what may go wrong on the way."""

from __future__ import annotations

import threading
import time

import pytest
import requests

from esimshop.sandbox.updates import _wait_after
from tests.sandbox.conftest import TOKEN, Bot, Json, SandboxClient, approve, until


def say(sandbox: SandboxClient, text: str, user_id: int = 1001) -> int:
    return int(sandbox.post(f"/sandbox/users/{user_id}/messages", text=text)["update_id"] or 0)


def texts(bot: Bot) -> list[str]:
    return [message["text"] for message in bot.messages("text")]


def outcome(sandbox: SandboxClient, update_id: int) -> str:
    records = sandbox.ledger()["updates"]
    return str(next(each["outcome"] for each in records if each["update"]["update_id"] == update_id))


def test_a_failed_delivery_is_repeated_with_the_same_id(sandbox: SandboxClient, bot: Bot) -> None:
    bot.answer = lambda update: (500 if len(bot.updates) < 4 else 200, None)
    update_id = say(sandbox, "hello")
    until(lambda: outcome(sandbox, update_id) == "delivered")
    assert [update["update_id"] for update in bot.updates] == [update_id] * 4
    info = sandbox.result("getWebhookInfo")
    assert info["last_error_message"] == "Wrong response from the webhook: 500 Internal Server Error"
    assert info["pending_update_count"] == 0


def test_the_waits_grow_as_telegrams_do() -> None:
    assert [_wait_after(attempts) for attempts in (1, 2, 3, 4, 5)] == [0, 2, 4, 8, 16]
    assert all(60 <= _wait_after(20) <= 120 for _ in range(20))


def test_the_webhooks_own_retry_after_is_obeyed(sandbox: SandboxClient, bot: Bot) -> None:
    bot.headers = {"Retry-After": "30"}
    bot.answer = lambda update: (503 if len(bot.updates) < 2 else 200, None)
    say(sandbox, "hello")
    until(lambda: len(bot.updates) == 2)
    assert bot.times[1] - bot.times[0] >= 0.3


def test_one_chat_waits_for_its_poisonous_message_and_others_do_not(sandbox: SandboxClient, bot: Bot) -> None:
    is_healed = threading.Event()

    def answer(update: Json) -> tuple[int, None]:
        return (500, None) if update["message"]["text"] == "poison" and not is_healed.is_set() else (200, None)

    bot.answer = answer
    say(sandbox, "poison")
    say(sandbox, "behind it")
    say(sandbox, "other chat", user_id=1002)
    until(lambda: "other chat" in texts(bot))
    assert "behind it" not in texts(bot)
    is_healed.set()
    until(lambda: "behind it" in texts(bot))


def test_a_pre_checkout_does_not_wait_behind_messages(sandbox: SandboxClient, bot: Bot) -> None:
    bot.answer = lambda update: approve(update) if "pre_checkout_query" in update else (500, None)
    say(sandbox, "poison")
    assert sandbox.pay(sandbox.invoice())["status"] == "paid"


def test_only_kinds_asked_for_are_delivered_and_the_list_stays(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.result("setWebhook", url=bot.url, allowed_updates=["pre_checkout_query"])
    sandbox.result("setWebhook", url=bot.url)
    assert sandbox.result("getWebhookInfo")["allowed_updates"] == ["pre_checkout_query"]
    assert say(sandbox, "unheard") == 0
    sandbox.result("setWebhook", url=bot.url, allowed_updates=[])
    assert "allowed_updates" not in sandbox.result("getWebhookInfo")
    assert say(sandbox, "heard") > 0
    until(lambda: texts(bot) == ["heard"])


def test_pending_updates_survive_until_a_webhook_is_set(sandbox: SandboxClient) -> None:
    say(sandbox, "early")
    assert sandbox.result("getWebhookInfo") == {
        "url": "",
        "has_custom_certificate": False,
        "pending_update_count": 1,
    }
    late = Bot()
    sandbox.result("setWebhook", url=late.url)
    until(lambda: texts(late) == ["early"])
    sandbox.result("deleteWebhook")
    late.stop()


def test_dropping_pending_updates_loses_them(sandbox: SandboxClient) -> None:
    update_id = say(sandbox, "early")
    sandbox.result("deleteWebhook", drop_pending_updates=True)
    assert outcome(sandbox, update_id) == "dropped"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "nonsense", "https://example.com/hook"])
def test_a_bad_webhook_address_is_refused(sandbox: SandboxClient, url: str) -> None:
    assert "bad webhook" in sandbox.bot("setWebhook", url=url).json()["description"]


def test_a_bad_webhook_secret_is_refused(sandbox: SandboxClient, bot: Bot) -> None:
    answer = sandbox.bot("setWebhook", url=bot.url, secret_token="with space")
    assert answer.json()["description"] == "Bad Request: secret token contains unallowed characters"


def test_polling_gets_updates_until_they_are_confirmed(sandbox: SandboxClient) -> None:
    first, second = say(sandbox, "one"), say(sandbox, "two")
    assert second == first + 1
    for _ in range(2):
        assert [update["update_id"] for update in sandbox.result("getUpdates")] == [first, second]
    assert [update["update_id"] for update in sandbox.result("getUpdates", offset=second)] == [second]
    assert sandbox.result("getUpdates", offset=second + 1) == []
    assert outcome(sandbox, second) == "delivered"


def test_a_long_poll_ends_with_the_first_update(sandbox: SandboxClient) -> None:
    threading.Timer(0.2, say, args=(sandbox, "at last")).start()
    began = time.monotonic()
    (update,) = sandbox.result("getUpdates", timeout=10)
    assert update["message"]["text"] == "at last"
    assert 0.1 < time.monotonic() - began < 5


def test_polling_conflicts_with_a_webhook_and_with_other_polls(sandbox: SandboxClient, bot: Bot) -> None:
    conflict = sandbox.bot("getUpdates")
    assert conflict.status_code == 409
    assert "can't use getUpdates method while webhook is active" in conflict.json()["description"]
    sandbox.result("deleteWebhook")
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(sandbox.bot("getUpdates", timeout=10)))
    thread.start()
    time.sleep(0.5)
    sandbox.result("getUpdates")
    thread.join(5)
    assert "terminated by other getUpdates request" in answers[0].json()["description"]


def test_an_update_can_be_sent_again_many_times_at_once(sandbox: SandboxClient, bot: Bot) -> None:
    update_id = say(sandbox, "again")
    until(lambda: bot.updates)
    sent = sandbox.post(f"/sandbox/updates/{update_id}/redeliver", times=20)
    assert sent["statuses"] == [200] * 20
    assert [update["update_id"] for update in bot.updates] == [update_id] * 21


def test_any_update_can_be_made_up(sandbox: SandboxClient, bot: Bot) -> None:
    made_up = {"update_id": 7, "message": {"message_id": 1, "from": {"id": 9}, "chat": {"id": 9}, "text": "forged"}}
    assert sandbox.post("/sandbox/updates", **made_up) == {"update_id": 7}
    until(lambda: bot.updates == [made_up])


def test_a_lost_update_never_comes(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.fault("webhook.successful_payment", "lose")
    paid = sandbox.pay(sandbox.invoice())
    assert paid["status"] == "paid"
    say(sandbox, "later")
    until(lambda: texts(bot) == ["later"])
    assert bot.messages("successful_payment") == []


def test_a_duplicate_comes_twice_with_one_id(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.fault("webhook.message", "duplicate")
    update_id = say(sandbox, "twice")
    until(lambda: len(bot.updates) == 2)
    assert {update["update_id"] for update in bot.updates} == {update_id}


def test_a_reordered_update_comes_after_the_next(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.fault("webhook", "reorder")
    say(sandbox, "first")
    say(sandbox, "second")
    until(lambda: texts(bot) == ["second", "first"])


@pytest.mark.parametrize("kind", ["drop_after_work", "timeout_after_work"])
def test_an_answer_that_is_lost_makes_telegram_send_again(sandbox: SandboxClient, bot: Bot, kind: str) -> None:
    sandbox.fault("webhook", kind)
    say(sandbox, "hello")
    until(lambda: texts(bot) == ["hello", "hello"])


def test_a_reply_may_carry_a_call_but_none_of_those_that_telegram_ignores(sandbox: SandboxClient, bot: Bot) -> None:
    replies = iter(
        [
            {"method": "deleteWebhook"},
            {"method": "sendMessage", "chat_id": 1001, "text": "by reply"},
            {"method": "sendMessage", "chat_id": 77, "text": "nobody sees this error"},
        ]
    )
    bot.answer = lambda update: (200, next(replies))
    for number in range(3):
        say(sandbox, str(number))
    until(lambda: len(bot.updates) == 3)
    until(lambda: sandbox.ledger()["calls"]["counts"].get("telegram.sendMessage") == 2)
    assert sandbox.result("getWebhookInfo")["url"] == bot.url
    chat = sandbox.get("/sandbox/users/1001/chat")["messages"]
    assert [message["text"] for message in chat if message["from"] == "bot"] == ["by reply"]


def test_who_lets_the_bot_write_from_the_mini_app_is_told_to_it(sandbox: SandboxClient, bot: Bot) -> None:
    from telegram import Update

    sandbox.post("/sandbox/users", id=1001, started=False)
    sandbox.post("/sandbox/users", id=1001, started=True)
    until(lambda: len(bot.updates) == 1)
    update = Update.de_json(bot.updates[0], None)
    assert update.message
    assert update.message.write_access_allowed
    assert update.message.write_access_allowed.from_request


def test_pythons_telegram_library_understands_the_updates(sandbox: SandboxClient, bot: Bot) -> None:
    from telegram import Update

    sandbox.pay(sandbox.invoice())
    sandbox.post("/sandbox/users", id=1001, blocked_bot=True)
    until(lambda: len(bot.updates) == 3)
    query, payment, change = (Update.de_json(update, None) for update in bot.updates)
    assert query.pre_checkout_query
    assert query.pre_checkout_query.total_amount == 552
    assert payment.message
    assert payment.message.successful_payment
    assert change.my_chat_member
    assert change.my_chat_member.new_chat_member.status == "kicked"
    for update in (query, payment.message, payment.message.successful_payment, change):
        assert not update.api_kwargs
    assert TOKEN not in repr(bot.updates)
