"""The Telegram client against a server that says what the Bot API says, and worse."""

import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from esimshop.clients.telegram import (
    ALLOWED_UPDATES,
    Button,
    TelegramBlocked,
    TelegramClient,
    TelegramError,
    TelegramOutcomeUnknown,
    TelegramRejected,
    TelegramUnreachable,
    telegram_client,
)
from tests.clients import scripted_server as scripts
from tests.clients.scripted_server import ScriptedServer, Step, answer

TOKEN = "424242:AAE-token-of-the-tests-0123456789abcdef"
MESSAGE = {"message_id": 77, "date": 1767532543, "chat": {"id": 1001, "type": "private"}}


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[TelegramClient]:
    client = TelegramClient(token=TOKEN, base_url=f"{server.url}/bot", deadline_seconds=1.0)
    yield client
    client.close()


@pytest.fixture
def hasty_client(server: ScriptedServer) -> Iterator[TelegramClient]:
    """With a short deadline, for servers that never finish."""
    client = TelegramClient(token=TOKEN, base_url=f"{server.url}/bot", deadline_seconds=0.4)
    yield client
    client.close()


def result(value: Any) -> Step:
    return answer({"ok": True, "result": value})


def refusal(code: int, description: str, **parameters: Any) -> Step:
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    if parameters:
        body["parameters"] = parameters
    return answer(body, status=code)


def make_link(client: TelegramClient) -> str:
    return client.create_invoice_link(title="France", description="1 GB", payload="p" * 32, amount_stars=117)


def send(client: TelegramClient) -> int:
    return client.send_message(chat_id=1001, text="<b>Ready</b>")


def send_picture(client: TelegramClient) -> int:
    return client.send_photo(chat_id=1001, photo=b"\x89PNG", caption="Ready")


def refund(client: TelegramClient) -> bool:
    return client.refund_star_payment(user_id=1001, charge_id="charge-1")


# What is sent and what comes back


def test_an_invoice_has_one_price_in_whole_stars(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result("https://t.me/$slug")]

    assert make_link(client) == "https://t.me/$slug"

    (request,) = server.requests
    assert request.path == f"/bot{TOKEN}/createInvoiceLink"
    assert request.form["currency"] == "XTR"
    assert json.loads(request.form["prices"]) == [{"label": "France", "amount": 117}]
    assert request.form["payload"] == "p" * 32
    assert "provider_token" not in request.form


def test_a_pressed_button_is_answered_with_or_without_a_notice(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result(True), result(True)]

    client.answer_callback_query(query_id="4711")
    client.answer_callback_query(query_id="4712", text="Done")

    assert [request.path for request in server.requests] == [f"/bot{TOKEN}/answerCallbackQuery"] * 2
    assert [request.form for request in server.requests] == [
        {"callback_query_id": "4711"},
        {"callback_query_id": "4712", "text": "Done"},
    ]


def test_a_message_is_html_with_rows_of_buttons(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result(MESSAGE)]
    buttons = [
        [Button(text="Open", web_app_url="https://shop.example/"), Button(text="Again", callback_data="again")],
        [Button(text="iPhone", url="https://esimsetup.apple.com/x")],
    ]

    assert client.send_message(chat_id=1001, text="<b>Ready</b>", buttons=buttons) == 77

    form = server.requests[0].form
    assert (form["chat_id"], form["text"], form["parse_mode"]) == ("1001", "<b>Ready</b>", "HTML")
    assert json.loads(form["reply_markup"])["inline_keyboard"] == [
        [{"text": "Open", "web_app": {"url": "https://shop.example/"}}, {"text": "Again", "callback_data": "again"}],
        [{"text": "iPhone", "url": "https://esimsetup.apple.com/x"}],
    ]


def test_a_photo_travels_as_a_file_with_its_caption(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result(MESSAGE)]

    assert send_picture(client) == 77

    (request,) = server.requests
    assert request.path.endswith("/sendPhoto")
    assert request.headers["content-type"].startswith("multipart/form-data")
    assert b"\x89PNG" in request.body


def test_a_refund_says_whether_it_was_done_now_or_before(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result(True), refusal(400, "Bad Request: CHARGE_ALREADY_REFUNDED")]

    assert refund(client) is True
    assert refund(client) is False
    assert server.requests[0].form == {"user_id": "1001", "telegram_payment_charge_id": "charge-1"}


def test_a_refund_of_an_unknown_charge_is_rejected(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [refusal(400, "Bad Request: CHARGE_NOT_FOUND")]

    with pytest.raises(TelegramRejected) as caught:
        refund(client)

    assert caught.value.code == 400
    assert "charge_not_found" in caught.value.description.lower()


def test_the_ledger_is_read_row_by_row(server: ScriptedServer, client: TelegramClient) -> None:
    buyer = {"id": 1001, "is_bot": False, "first_name": "Anna"}
    partner = {"type": "user", "transaction_type": "invoice_payment", "user": buyer, "invoice_payload": "p1"}
    server.script = [
        result(
            {
                "transactions": [
                    {"id": "charge-1", "amount": 117, "date": 1767532543, "source": partner},
                    {"id": "charge-1", "amount": 117, "date": 1767532600, "receiver": partner},
                    {"id": "w", "amount": 1000, "date": 1767532700, "receiver": {"type": "fragment"}},
                    {"id": "new", "amount": 1, "date": 1767532800, "receiver": {"type": "of_tomorrow"}},
                    {"id": "odd", "amount": 117, "date": 1767532900, "receiver": {"type": "user", "user": buyer}},
                    {"id": "bare", "amount": 3, "date": 1767533000},
                ]
            }
        )
    ]

    bought, refunded, withdrawn, new, odd, bare = client.get_star_transactions(offset=3, limit=100)

    assert server.requests[0].query == {"offset": ["3"], "limit": ["100"]}
    assert (bought.id, bought.direction, bought.amount_stars) == ("charge-1", "in", 117)
    assert (bought.partner_type, bought.transaction_type) == ("user", "invoice_payment")
    assert (bought.user_id, bought.invoice_payload) == (1001, "p1")
    assert bought.date == datetime(2026, 1, 4, 13, 15, 43, tzinfo=UTC)
    assert (refunded.id, refunded.direction) == ("charge-1", "out")
    assert (withdrawn.partner_type, withdrawn.user_id, withdrawn.invoice_payload) == ("fragment", None, "")
    assert new.partner_type == "of_tomorrow"
    # Shapes that no document shows, such as that of a chargeback: read all the same.
    assert (odd.direction, odd.user_id, odd.transaction_type) == ("out", 1001, "")
    assert (bare.direction, bare.partner_type) == ("out", "other")


def test_the_balance_may_be_negative(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result({"amount": -5})]

    assert client.get_star_balance() == -5


def test_the_webhook_names_its_updates_and_drops_none(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result(True)]

    client.set_webhook(url="https://shop.example/api/telegram/stars/webhook", secret="s3cret")
    client.delete_webhook()

    set_up, removed = (request.form for request in server.requests)
    assert json.loads(set_up["allowed_updates"]) == list(ALLOWED_UPDATES)
    assert set_up["secret_token"] == "s3cret"
    assert {set_up["drop_pending_updates"], removed["drop_pending_updates"]} == {"false"}


def test_the_state_of_the_webhook_is_read(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [
        result(
            {
                "url": "https://shop.example/hook",
                "has_custom_certificate": False,
                "pending_update_count": 3,
                "last_error_date": 1767532543,
                "last_error_message": "Read timeout expired",
                "allowed_updates": ["message"],
            }
        ),
        result({"url": "", "has_custom_certificate": False, "pending_update_count": 0}),
    ]

    info, none = client.get_webhook_info(), client.get_webhook_info()

    assert (info.url, info.pending_update_count, info.allowed_updates) == ("https://shop.example/hook", 3, ("message",))
    assert info.last_error_at == datetime(2026, 1, 4, 13, 15, 43, tzinfo=UTC)
    assert info.last_error_message == "Read timeout expired"
    assert (none.url, none.allowed_updates, none.last_error_at) == ("", (), None)


def test_updates_come_as_telegram_sent_them(server: ScriptedServer, client: TelegramClient) -> None:
    updates = [{"update_id": 1, "of_tomorrow": {"x": 1}}, {"update_id": 2, "message": "not even an object"}]
    server.script = [result(updates)]

    assert client.get_updates(offset=1, timeout_seconds=0, limit=50) == updates

    query = server.requests[0].query
    assert (query["offset"], query["timeout"], query["limit"]) == (["1"], ["0"], ["50"])
    assert json.loads(query["allowed_updates"][0]) == list(ALLOWED_UPDATES)


def test_waiting_for_updates_may_take_longer_than_other_calls(server: ScriptedServer, client: TelegramClient) -> None:
    def late(connection: Any, request: Any) -> None:
        time.sleep(1.4)
        result([])(connection, request)

    server.script = [late]

    assert client.get_updates(offset=0, timeout_seconds=1) == []


def test_polling_beside_a_webhook_is_rejected(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [refusal(409, "Conflict: can't use getUpdates method while webhook is active")]

    with pytest.raises(TelegramRejected) as caught:
        client.get_updates(offset=0, timeout_seconds=0)

    assert caught.value.code == 409


def test_the_pre_checkout_answer_carries_a_reason_only_when_it_refuses(
    server: ScriptedServer, client: TelegramClient
) -> None:
    server.script = [result(True)]

    client.answer_pre_checkout_query(query_id="q1")
    client.answer_pre_checkout_query(query_id="q2", error_message="Sold out")

    assert server.requests[0].form == {"pre_checkout_query_id": "q1", "ok": "true"}
    assert server.requests[1].form == {
        "pre_checkout_query_id": "q2",
        "ok": "false",
        "error_message": "Sold out",
    }


def test_the_bot_gets_its_commands_and_its_menu_button(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result(True)]

    client.set_commands({"": [("start", "Open")], "ru": [("start", "Открыть")]})
    client.set_menu_button(text="Shop", url="https://shop.example/")

    everyone, russian, menu = (request.form for request in server.requests)
    assert "language_code" not in everyone
    assert russian["language_code"] == "ru"
    assert json.loads(russian["commands"]) == [{"command": "start", "description": "Открыть"}]
    assert json.loads(menu["menu_button"]) == {
        "type": "web_app",
        "text": "Shop",
        "web_app": {"url": "https://shop.example/"},
    }


def test_the_bot_knows_itself(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result({"id": 424242, "is_bot": True, "first_name": "Shop", "username": "shop_bot"})]

    me = client.get_me()

    assert (me.id, me.username, me.first_name) == (424242, "shop_bot", "Shop")


# What goes wrong


@pytest.mark.parametrize(
    ("code", "description", "kind"),
    [
        (400, "Bad Request: message text is empty", TelegramRejected),
        (400, "Bad Request: chat not found", TelegramBlocked),
        (401, "Unauthorized", TelegramRejected),
        (403, "Forbidden: bot was blocked by the user", TelegramBlocked),
        (403, "Forbidden: user is deactivated", TelegramBlocked),
        (404, "Not Found", TelegramRejected),
    ],
)
def test_a_no_of_telegram_is_final(
    server: ScriptedServer, client: TelegramClient, code: int, description: str, kind: type[TelegramRejected]
) -> None:
    server.script = [refusal(code, description)]

    with pytest.raises(TelegramRejected) as caught:
        send(client)

    assert type(caught.value) is kind
    assert caught.value.code == code


@pytest.mark.parametrize("call", [make_link, send, send_picture, refund])
def test_too_many_requests_say_how_long_to_wait(
    server: ScriptedServer, client: TelegramClient, call: Callable[[TelegramClient], Any]
) -> None:
    server.script = [refusal(429, "Too Many Requests: retry after 7", retry_after=7)]

    with pytest.raises(TelegramUnreachable) as caught:
        call(client)

    assert caught.value.retry_after == 7


DOUBTS = {
    "500": refusal(500, "Internal Server Error"),
    "502 of a proxy": answer("<html>Bad Gateway</html>", status=502),
    "403 of a proxy": scripts.HTML_REFUSAL,
    "400 of a proxy": answer("<html>Bad Request</html>", status=400),
    "dropped": scripts.drop,
    "half a JSON": scripts.HALF_JSON,
    "HTML": scripts.HTML,
    "nothing": scripts.EMPTY,
    "deep JSON": scripts.DEEP_JSON,
    "a list": answer([]),
    "no result": answer({"ok": True}),
    "another result": result([1]),
    "silence": scripts.silence(3),
    "dripping headers": scripts.DRIPPING_HEADERS,
    "dripping body": scripts.DRIPPING_BODY,
}


@pytest.mark.parametrize("name", [name for name in DOUBTS if name != "another result"])
@pytest.mark.parametrize("call", [make_link, refund])
def test_doubt_is_unreachable_where_a_repeat_does_no_harm(
    server: ScriptedServer, hasty_client: TelegramClient, call: Callable[[TelegramClient], Any], name: str
) -> None:
    server.script = [DOUBTS[name]]
    started = time.monotonic()

    with pytest.raises(TelegramUnreachable):
        call(hasty_client)

    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize("name", DOUBTS)
@pytest.mark.parametrize("call", [send, send_picture])
def test_doubt_about_a_message_is_an_unknown_outcome(
    server: ScriptedServer, hasty_client: TelegramClient, call: Callable[[TelegramClient], Any], name: str
) -> None:
    server.script = [DOUBTS[name]]

    with pytest.raises(TelegramOutcomeUnknown):
        call(hasty_client)

    assert len(server.requests) == 1


def test_an_update_that_is_no_object_is_refused(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result([1])]

    with pytest.raises(TelegramUnreachable):
        client.get_updates(offset=0, timeout_seconds=0)


def test_nobody_listening_means_that_no_message_was_sent() -> None:
    client = TelegramClient(token=TOKEN, base_url="http://127.0.0.1:9/bot", deadline_seconds=1)

    with pytest.raises(TelegramUnreachable):
        send(client)

    client.close()


def test_a_client_without_a_token_is_rejected() -> None:
    with pytest.raises(TelegramRejected):
        send(TelegramClient(token="", base_url="http://127.0.0.1:9/bot"))


@pytest.mark.parametrize("name", DOUBTS)
def test_the_token_is_in_no_error_and_no_log(
    server: ScriptedServer, hasty_client: TelegramClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [DOUBTS[name]]

    with caplog.at_level(logging.DEBUG), pytest.raises(TelegramError) as caught:
        send(hasty_client)

    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "outside_call" in told
    assert TOKEN not in told
    assert TOKEN.partition(":")[2] not in told


@pytest.mark.parametrize("code", [400, 403])
def test_the_token_is_taken_out_of_what_telegram_quotes(
    server: ScriptedServer, client: TelegramClient, code: int
) -> None:
    server.script = [refusal(code, f"Bad Request: no {TOKEN} at /bot{TOKEN}/sendMessage")]

    with pytest.raises(TelegramRejected) as caught:
        send(client)

    assert TOKEN.lower() not in str(caught.value).lower()
    assert TOKEN.lower() not in caught.value.description.lower()


# The connection


def test_calls_share_one_warm_connection_and_no_get_me(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result("https://t.me/$slug")]

    for _ in range(3):
        make_link(client)

    assert {request.connection for request in server.requests} == {1}
    assert {request.path.rpartition("/")[2] for request in server.requests} == {"createInvoiceLink"}


def test_many_threads_call_at_once(server: ScriptedServer, client: TelegramClient) -> None:
    def slow(connection: Any, request: Any) -> None:
        time.sleep(0.3)
        result("https://t.me/$slug")(connection, request)

    server.script = [slow]
    links: list[str] = []
    threads = [threading.Thread(target=lambda: links.append(make_link(client))) for _ in range(8)]
    started = time.monotonic()

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert links == ["https://t.me/$slug"] * 8
    assert time.monotonic() - started < 1.0


def test_a_closed_client_opens_again(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result("https://t.me/$slug")]
    make_link(client)

    client.close()
    make_link(client)

    assert [request.connection for request in server.requests] == [1, 2]


# Forking beside threads is what this is about, and this child does nothing but one call.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(server: ScriptedServer, client: TelegramClient) -> None:
    server.script = [result("https://t.me/$slug")]
    make_link(client)

    child = os.fork()
    if child == 0:
        # No assertion and no exception may leave the child: it would go on as a second test run.
        try:
            os._exit(0 if make_link(client) == "https://t.me/$slug" else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    make_link(client)

    assert os.waitstatus_to_exitcode(status) == 0
    assert [request.connection for request in server.requests] == [1, 2, 1]


def test_the_client_of_the_settings_follows_them(settings: Any, server: ScriptedServer) -> None:
    server.script = [result("https://t.me/$slug")]
    settings.TELEGRAM_API_BASE_URL = f"{server.url}/bot"

    make_link(telegram_client())

    assert server.requests[0].path.startswith(f"/bot{settings.TELEGRAM_BOT_TOKEN}/")
    assert telegram_client() is telegram_client()
    telegram_client().close()
