"""Paying with Stars: pre-checkout, charge, ledger and refund."""

from __future__ import annotations

import time

from tests.sandbox.conftest import Bot, Json, SandboxClient, until


def user(sandbox: SandboxClient, user_id: int = 1001) -> Json:
    return next(each for each in sandbox.ledger()["users"] if each["id"] == user_id)


def test_a_payment_is_asked_charged_told_and_booked(sandbox: SandboxClient, bot: Bot) -> None:
    paid = sandbox.pay(sandbox.invoice(payload="order-7"))
    assert (paid["status"], paid["shown"]) == ("paid", "paid")
    message = until(lambda: bot.messages("successful_payment"))[0]
    query = bot.updates[0]["pre_checkout_query"]
    asked = {"currency": "XTR", "total_amount": 552, "invoice_payload": "order-7"}
    assert {name: query[name] for name in asked} == asked
    assert message["from"] == query["from"]
    assert message["successful_payment"] == {
        **asked,
        "telegram_payment_charge_id": paid["charge_id"],
        "provider_payment_charge_id": "",
    }
    assert user(sandbox)["stars"] == 5000 - 552
    (row,) = sandbox.result("getStarTransactions")["transactions"]
    assert (row["id"], row["amount"]) == (paid["charge_id"], 552)
    assert row["source"]["transaction_type"] == "invoice_payment"
    assert row["source"]["invoice_payload"] == "order-7"
    assert row["source"]["user"]["id"] == 1001
    assert sandbox.result("getMyStarBalance") == {"amount": 552}
    assert bot.secrets == ["secret-1"] * 2


def test_a_refused_payment_says_why_and_takes_nothing(sandbox: SandboxClient, bot: Bot) -> None:
    bot.answer = lambda update: (
        200,
        {
            "method": "answerPreCheckoutQuery",
            "pre_checkout_query_id": update["pre_checkout_query"]["id"],
            "ok": False,
            "error_message": "Цена устарела",
        },
    )
    assert sandbox.pay(sandbox.invoice()) == {"status": "failed", "error": "Цена устарела", "shown": "failed"}
    assert user(sandbox)["stars"] == 5000
    assert sandbox.result("getStarTransactions") == {"transactions": []}


def test_a_pre_checkout_without_an_answer_times_out(sandbox: SandboxClient, bot: Bot) -> None:
    bot.answer = lambda update: (200, None)
    began = time.monotonic()
    assert sandbox.pay(sandbox.invoice())["error"] == "BOT_PRECHECKOUT_TIMEOUT"
    assert time.monotonic() - began >= 0.5
    assert user(sandbox)["stars"] == 5000
    late = sandbox.bot(
        "answerPreCheckoutQuery", pre_checkout_query_id=bot.updates[0]["pre_checkout_query"]["id"], ok=True
    )
    assert late.json()["description"] == (
        "Bad Request: query is too old and response timeout expired or query ID is invalid"
    )


def test_without_the_update_kind_every_checkout_times_out(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.result("setWebhook", url=bot.url, allowed_updates=["message"])
    assert sandbox.pay(sandbox.invoice())["error"] == "BOT_PRECHECKOUT_TIMEOUT"
    assert bot.updates == []


def test_the_pre_checkout_may_be_answered_by_a_call(sandbox: SandboxClient, bot: Bot) -> None:
    def answer(update: Json) -> tuple[int, None]:
        if query := update.get("pre_checkout_query"):
            sandbox.result("answerPreCheckoutQuery", pre_checkout_query_id=query["id"], ok=True)
        return 200, None

    bot.answer = answer
    assert sandbox.pay(sandbox.invoice())["status"] == "paid"


def test_too_few_stars_fail_before_the_bot_is_asked(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.post("/sandbox/users", id=1001, stars=551)
    assert sandbox.pay(sandbox.invoice())["error"] == "BALANCE_TOO_LOW"
    assert bot.updates == []


def test_a_cancelled_payment_asks_nobody(sandbox: SandboxClient, bot: Bot) -> None:
    assert sandbox.pay(sandbox.invoice(), cancel=True)["status"] == "cancelled"
    assert bot.updates == []


def test_one_link_can_be_paid_again_and_by_anyone(sandbox: SandboxClient, bot: Bot) -> None:
    slug = sandbox.invoice()
    paid = [sandbox.pay(slug, user_id=payer)["charge_id"] for payer in (1001, 1001, 1002)]
    assert len(set(paid)) == 3
    assert [row["source"]["user"]["id"] for row in sandbox.ledger()["transactions"]] == [1001, 1001, 1002]


def test_the_client_may_claim_failure_though_it_charged(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.fault("client.invoice_closed", "claim", claim="failed")
    first, second = sandbox.pay(sandbox.invoice()), sandbox.pay(sandbox.invoice())
    assert (first["status"], first["shown"]) == ("paid", "failed")
    assert (second["status"], second["shown"]) == ("paid", "paid")


def test_another_amount_is_what_the_bot_hears(sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.pay(sandbox.invoice(), amount=1, currency="USD")
    payment = until(lambda: bot.messages("successful_payment"))[0]["successful_payment"]
    assert (payment["total_amount"], payment["currency"]) == (1, "USD")


def test_a_refund_returns_the_stars_once(sandbox: SandboxClient, bot: Bot) -> None:
    charge_id = sandbox.pay(sandbox.invoice(payload="order-7"))["charge_id"]
    charge = {"user_id": 1001, "telegram_payment_charge_id": charge_id}
    assert sandbox.result("refundStarPayment", **charge) is True
    assert user(sandbox)["stars"] == 5000
    refunded = until(lambda: bot.messages("refunded_payment"))[0]["refunded_payment"]
    assert refunded["telegram_payment_charge_id"] == charge_id
    assert refunded["invoice_payload"] == "order-7"
    income, refund = sandbox.result("getStarTransactions")["transactions"]
    assert income["id"] == refund["id"] == charge_id
    assert "source" in income
    assert refund["receiver"]["user"]["id"] == 1001
    again = sandbox.bot("refundStarPayment", **charge)
    assert again.json()["description"] == "Bad Request: CHARGE_ALREADY_REFUNDED"
    assert user(sandbox)["stars"] == 5000


def test_a_wrong_refund_is_refused(sandbox: SandboxClient, bot: Bot) -> None:
    charge_id = sandbox.pay(sandbox.invoice())["charge_id"]

    def error(**parameters: object) -> str:
        return str(sandbox.bot("refundStarPayment", **parameters).json()["description"])

    assert error(telegram_payment_charge_id=charge_id) == "Bad Request: invalid user_id specified"
    assert error(user_id=1001) == "Bad Request: CHARGE_ID_EMPTY"
    assert error(user_id=1001, telegram_payment_charge_id="stx0") == "Bad Request: CHARGE_NOT_FOUND"
    assert error(user_id=1002, telegram_payment_charge_id=charge_id) == "Bad Request: USER_ID_INVALID"
    assert error(user_id=42, telegram_payment_charge_id=charge_id) == "Bad Request: USER_ID_INVALID"


def test_the_ledger_is_read_oldest_first_in_pages(sandbox: SandboxClient, bot: Bot) -> None:
    charges = [sandbox.pay(sandbox.invoice(amount=amount))["charge_id"] for amount in (1, 2, 3)]

    def ids(**page: int) -> list[str]:
        return [row["id"] for row in sandbox.result("getStarTransactions", **page)["transactions"]]

    assert ids() == charges
    assert ids(offset=1, limit=1) == charges[1:2]
    assert ids(offset=3) == []


def test_any_row_can_be_written_into_the_ledger(sandbox: SandboxClient) -> None:
    sandbox.post("/sandbox/transactions", id="w1", amount=0, receiver={"type": "fragment"})
    assert sandbox.result("getStarTransactions")["transactions"][0]["receiver"] == {"type": "fragment"}
