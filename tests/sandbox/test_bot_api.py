"""The Bot API of the sandbox, held to Telegram's documented shapes, limits and errors."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import qrcode
import requests

from tests.sandbox.conftest import TOKEN, Bot, SandboxClient, until

INVOICE: dict[str, Any] = {
    "title": "Türkiye, 10 GB, 30 days",
    "description": "Mobile data",
    "payload": "p",
    "currency": "XTR",
    "prices": [{"label": "Türkiye", "amount": 552}],
}


def png() -> bytes:
    content = io.BytesIO()
    qrcode.make("LPA:1$rsp.example.com$CODE").save(content)
    return content.getvalue()


def description(answer: requests.Response) -> str:
    body = answer.json()
    assert body["ok"] is False
    assert body["error_code"] == answer.status_code
    return str(body["description"])


def test_a_wrong_token_is_unauthorized(sandbox: SandboxClient) -> None:
    answer = requests.get(f"{sandbox.url}/bot1:WRONG/getMe", timeout=5)
    assert (answer.status_code, description(answer)) == (401, "Unauthorized")


def test_an_unknown_method_is_not_found(sandbox: SandboxClient) -> None:
    answer = sandbox.bot("sendLove")
    assert (answer.status_code, description(answer)) == (404, "Not Found")


def test_the_bot_introduces_itself(sandbox: SandboxClient) -> None:
    me = sandbox.result("getMe")
    assert me["id"] == int(TOKEN.split(":")[0])
    assert me["is_bot"] is True


@pytest.mark.parametrize("encoding", ["form", "multipart", "json", "query"])
def test_parameters_come_in_every_form_that_telegram_takes(sandbox: SandboxClient, encoding: str) -> None:
    url = f"{sandbox.server.bot_api_base_url}{TOKEN}/createInvoiceLink"
    flat = {**INVOICE, "prices": json.dumps(INVOICE["prices"])}
    sending: dict[str, Any] = {
        "form": {"data": flat},
        "multipart": {"files": {name: (None, value) for name, value in flat.items()}},
        "json": {"json": INVOICE},
        "query": {"params": flat},
    }[encoding]
    answer = requests.post(url, timeout=5, **sending).json()
    assert answer["result"].startswith("https://t.me/$")
    assert next(iter(sandbox.ledger()["invoices"].values()))["title"] == INVOICE["title"]


def test_method_names_know_no_case(sandbox: SandboxClient) -> None:
    assert sandbox.bot("CREATEinvoicelink", **INVOICE).ok


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"title": ""}, "INVOICE_TITLE_INVALID"),
        ({"title": "t" * 33}, "INVOICE_TITLE_INVALID"),
        ({"description": "d" * 256}, "INVOICE_DESCRIPTION_INVALID"),
        ({"payload": ""}, "INVOICE_PAYLOAD_INVALID"),
        ({"payload": "ё" * 65}, "INVOICE_PAYLOAD_INVALID"),
        ({"currency": "XTS"}, "PAYMENT_PROVIDER_INVALID"),
        ({"prices": []}, "STARS_INVOICE_INVALID"),
        ({"prices": [{"label": "a", "amount": 1}, {"label": "b", "amount": 1}]}, "STARS_INVOICE_INVALID"),
        ({"prices": "nonsense"}, "can't parse prices JSON object"),
        ({"prices": [{"label": "", "amount": 1}]}, "label"),
        ({"prices": [{"label": "a", "amount": 1.5}]}, "amount"),
        ({"prices": [{"label": "a", "amount": 0}]}, "CURRENCY_TOTAL_AMOUNT_INVALID"),
        ({"prices": [{"label": "a", "amount": 100_001}]}, "CURRENCY_TOTAL_AMOUNT_INVALID"),
        ({"max_tip_amount": 5}, "STARS_INVOICE_INVALID"),
        ({"provider_token": "1:abc"}, "STARS_INVOICE_INVALID"),
        ({"subscription_period": 60}, "SUBSCRIPTION_PERIOD_INVALID"),
        (
            {"subscription_period": 2_592_000, "prices": [{"label": "a", "amount": 10_001}]},
            "SUBSCRIPTION_AMOUNT_INVALID",
        ),
    ],
)
def test_a_bad_invoice_is_refused(sandbox: SandboxClient, changes: dict[str, Any], error: str) -> None:
    answer = sandbox.bot("createInvoiceLink", **{**INVOICE, **changes})
    assert answer.status_code == 400
    assert description(answer).startswith("Bad Request: ")
    assert error in description(answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "t" * 32, "description": "d" * 255, "payload": "ё" * 64},
        {"prices": [{"label": "a", "amount": 1}]},
        {"prices": [{"label": "a", "amount": 100_000}]},
        {"provider_token": ""},
    ],
)
def test_an_invoice_at_its_limits_is_taken(sandbox: SandboxClient, changes: dict[str, Any]) -> None:
    assert sandbox.bot("createInvoiceLink", **{**INVOICE, **changes}).ok


def test_html_becomes_text_and_entities(sandbox: SandboxClient) -> None:
    message = sandbox.result(
        "sendMessage", chat_id=1001, text="⭐😀 <b>жирный <i>и</i></b> &amp; <code>x</code>", parse_mode="HTML"
    )
    assert message["text"] == "⭐😀 жирный и & x"
    assert message["entities"] == [
        {"type": "bold", "offset": 4, "length": 8},
        {"type": "italic", "offset": 11, "length": 1},
        {"type": "code", "offset": 15, "length": 1},
    ]
    assert message["chat"] == {"id": 1001, "first_name": "Anna", "username": "anna_sandbox", "type": "private"}


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"text": ""}, "message text is empty"),
        ({"text": "x" * 4097}, "message is too long"),
        ({"text": "<b>x", "parse_mode": "HTML"}, "can't parse entities"),
        ({"text": "<span>x</span>", "parse_mode": "HTML"}, 'unsupported start tag "span"'),
        ({"text": "x", "chat_id": 77}, "chat not found"),
        ({"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "x"}]]}}, "text buttons are unallowed"),
        (
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "x", "callback_data": "d" * 65}]]}},
            "BUTTON_DATA_INVALID",
        ),
        (
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "x", "url": "esim:1"}]]}},
            "BUTTON_URL_INVALID",
        ),
        (
            {
                "text": "x",
                "reply_markup": {"inline_keyboard": [[{"text": "x", "web_app": {"url": "http://example.com/"}}]]},
            },
            "Only HTTPS links are allowed",
        ),
    ],
)
def test_a_bad_message_is_refused(sandbox: SandboxClient, parameters: dict[str, Any], error: str) -> None:
    answer = sandbox.bot("sendMessage", **{"chat_id": 1001, **parameters})
    assert answer.status_code == 400
    assert error in description(answer)


def test_a_photo_is_stored_and_shown_in_the_chat(sandbox: SandboxClient) -> None:
    url = f"{sandbox.server.bot_api_base_url}{TOKEN}/sendPhoto"
    keyboard = {"inline_keyboard": [[{"text": "iPhone", "url": "https://esimsetup.apple.com/"}]]}
    data = {"chat_id": "1001", "caption": "<b>Ready</b>", "parse_mode": "HTML", "reply_markup": json.dumps(keyboard)}
    content = png()
    message = requests.post(url, data=data, files={"photo": ("qr.png", content)}, timeout=5).json()["result"]
    assert message["caption"] == "Ready"
    assert message["photo"][0]["file_size"] == len(content)
    shown = sandbox.get("/sandbox/users/1001/chat")["messages"][-1]
    assert shown["buttons"] == keyboard["inline_keyboard"]
    assert requests.get(f"{sandbox.url}{shown['photo']}", timeout=5).content == content


def test_a_photo_that_is_none_is_refused(sandbox: SandboxClient) -> None:
    url = f"{sandbox.server.bot_api_base_url}{TOKEN}/sendPhoto"
    answer = requests.post(url, data={"chat_id": "1001"}, files={"photo": ("x.png", b"<svg/>")}, timeout=5)
    assert description(answer) == "Bad Request: IMAGE_PROCESS_FAILED"


def test_a_caption_has_at_most_1024_characters(sandbox: SandboxClient) -> None:
    url = f"{sandbox.server.bot_api_base_url}{TOKEN}/sendPhoto"
    data = {"chat_id": "1001", "caption": "x" * 1025}
    answer = requests.post(url, data=data, files={"photo": ("qr.png", png())}, timeout=5)
    assert description(answer) == "Bad Request: message caption is too long"


def test_who_blocked_the_bot_cannot_be_written_to(sandbox: SandboxClient) -> None:
    sandbox.post("/sandbox/users", id=1001, blocked_bot=True)
    answer = sandbox.bot("sendMessage", chat_id=1001, text="x")
    assert (answer.status_code, description(answer)) == (403, "Forbidden: bot was blocked by the user")


def test_who_never_started_the_bot_cannot_be_written_to(sandbox: SandboxClient) -> None:
    sandbox.post("/sandbox/users", id=5, first_name="New", started=False)
    answer = sandbox.bot("sendMessage", chat_id=5, text="x")
    assert (answer.status_code, description(answer)) == (403, "Forbidden: bot can't initiate conversation with a user")


def test_a_message_can_be_edited_but_not_into_itself(sandbox: SandboxClient) -> None:
    message_id = sandbox.result("sendMessage", chat_id=1001, text="before")["message_id"]
    edited = sandbox.result("editMessageText", chat_id=1001, message_id=message_id, text="after")
    assert edited["text"] == "after"
    again = sandbox.bot("editMessageText", chat_id=1001, message_id=message_id, text="after")
    assert "message is not modified" in description(again)


def test_commands_are_kept_by_language(sandbox: SandboxClient) -> None:
    sandbox.result("setMyCommands", commands=[{"command": "start", "description": "Начать"}], language_code="ru")
    assert sandbox.result("getMyCommands", language_code="ru") == [{"command": "start", "description": "Начать"}]
    assert sandbox.result("getMyCommands") == []
    assert not sandbox.bot("setMyCommands", commands=["start"]).ok
    bad = sandbox.bot("setMyCommands", commands=[{"command": "Bad-name", "description": "x"}])
    assert description(bad) == "Bad Request: BOT_COMMAND_INVALID"


def test_a_pressed_button_asks_the_bot_and_shows_its_answer(sandbox: SandboxClient, bot: Bot) -> None:
    bot.answer = lambda update: (
        200,
        {"method": "answerCallbackQuery", "callback_query_id": update["callback_query"]["id"], "text": "Done"},
    )
    keyboard = {"inline_keyboard": [[{"text": "Stop", "callback_data": "stop:1"}]]}
    message = sandbox.result("sendMessage", chat_id=1001, text="x", reply_markup=keyboard)
    pressed = {"message_id": message["message_id"], "callback_data": "stop:1"}
    assert sandbox.post("/sandbox/users/1001/press", **pressed)["answer"]["text"] == "Done"
    query = bot.updates[0]["callback_query"]
    assert (query["data"], query["from"]["id"], query["message"]["text"]) == ("stop:1", 1001, "x")


def test_a_command_arrives_with_its_entity(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.post("/sandbox/users/1002/messages", text="/start FR")
    message = until(lambda: bot.messages("text"))[0]
    assert message["text"] == "/start FR"
    assert message["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]
    assert message["from"]["language_code"] == "en"


def test_blocking_the_bot_is_told_to_it(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.post("/sandbox/users", id=1001, blocked_bot=True)
    change = until(lambda: bot.updates)[0]["my_chat_member"]
    assert change["old_chat_member"]["status"] == "member"
    assert change["new_chat_member"]["status"] == "kicked"
