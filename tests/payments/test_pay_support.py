"""The dialog of /paysupport: choose a payment, a wish and a reason; nobody reaches what is not theirs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from orders.models import Customer, Order
from payments.models import Case, CaseMessage, Payment, ServicePolicy, TelegramUpdate
from payments.services import pay_support
from payments.services.pay_support import answer_press
from tests.factories import CustomerFactory, OrderFactory, PaymentFactory, PlanFactory
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    at_once,
    is_russian,
    message_update,
    press_update,
    run_tasks,
    send_update,
    sweep,
)

pytestmark = pytest.mark.django_db


def completed(*, user_id: int = BEN, language: str = "en", **fields: Any) -> Payment:
    """A payment whose eSIM is delivered, too long ago for an instant refund unless `paid_at` says otherwise."""
    paid_at = fields.pop("paid_at", timezone.now() - timedelta(days=60))
    return PaymentFactory(
        order__customer__telegram_user_id=user_id,
        order__customer__language=language,
        order__status=Order.Status.COMPLETED,
        order__paid_at=paid_at,
        charged_at=paid_at,
        **fields,
    )


def answers(sandbox: SandboxControl, update: dict[str, Any], *, user_id: int = BEN) -> list[dict[str, Any]]:
    """What the bot says to an update."""
    before = len(sandbox.chat(user_id))
    assert send_update(update).status_code == 200
    run_tasks()
    return sandbox.chat(user_id)[before:]


def ask(sandbox: SandboxControl, text: str = "/paysupport", *, user_id: int = BEN) -> dict[str, Any]:
    (answer,) = answers(sandbox, message_update(text, user_id=user_id), user_id=user_id)
    return answer


def press(sandbox: SandboxControl, data: str, *, user_id: int = BEN) -> dict[str, Any]:
    (answer,) = answers(sandbox, press_update(data, user_id=user_id), user_id=user_id)
    return answer


def keys(answer: dict[str, Any]) -> dict[str, str]:
    """The data of the buttons that can be pressed, by their words."""
    buttons = [button for row in answer["buttons"] for button in row]
    return {button["text"]: button["callback_data"] for button in buttons if "callback_data" in button}


def test_the_latest_payments_are_listed_with_title_stars_day_and_state(sandbox: SandboxControl) -> None:
    completed(charge_id="old")
    PaymentFactory(
        order__plan__bundle_name="esim_1GB_7D_FR_V3",
        status=Payment.Status.REFUNDED,
        charged_at=datetime(2026, 3, 9, 12, tzinfo=UTC),
    )

    answer = ask(sandbox)

    assert "1. France, 1 GB, 7 days\n130 Stars, March 9, 2026, Stars returned" in answer["text"]
    assert "2. France, 1 GB, 7 days\n130 Stars," in answer["text"]
    assert "eSIM delivered" in answer["text"]
    assert list(keys(answer)) == ["1. France, 1 GB, 7 days", "2. France, 1 GB, 7 days", "Write to a person"]


def test_older_payments_are_on_further_pages(sandbox: SandboxControl) -> None:
    payments = [completed(order__plan=PlanFactory()) for _ in range(pay_support.PAGE + 2)]

    first = ask(sandbox)
    second = press(sandbox, keys(first)["Older payments"])

    assert f"ps:p:{payments[1].pk}" in keys(second).values()
    assert f"ps:p:{payments[0].pk}" in keys(second).values()
    assert len(keys(second)) == 3
    assert "Older payments" not in keys(second)


def test_who_has_paid_nothing_gets_a_kind_word_and_a_way_to_a_person(sandbox: SandboxControl) -> None:
    answer = ask(sandbox)

    assert "You have not paid for anything here yet" in answer["text"]
    opened = press(sandbox, keys(answer)["Write to a person"])
    case = Case.objects.get()
    assert (case.payment, case.wish, case.reason, case.status) == (None, "help", "other", "open")
    assert f"Request {case.pk} is open" in opened["text"]


@pytest.mark.parametrize(("user_id", "language"), [(ANNA, "ru"), (BEN, "en")])
def test_a_case_is_opened_in_four_presses(sandbox: SandboxControl, user_id: int, language: str) -> None:
    payment = completed(user_id=user_id, language=language)

    listed = ask(sandbox, user_id=user_id)
    shown = press(sandbox, next(iter(keys(listed).values())), user_id=user_id)
    asked = press(sandbox, list(keys(shown).values())[1], user_id=user_id)
    assert len(keys(asked)) == 5  # four reasons and back
    opened = press(sandbox, list(keys(asked).values())[1], user_id=user_id)

    case = Case.objects.get()
    assert (case.customer, case.payment, case.order) == (payment.customer, payment, payment.order)
    assert (case.wish, case.reason, case.status) == ("refund", "does_not_work", "open")
    assert str(case.pk) in opened["text"]
    for answer in (listed, shown, asked, opened):
        assert is_russian(answer["text"]) is (language == "ru")
        assert len(answer["text"]) <= 4096
    (line,) = case.messages.all()
    assert (line.author, line.actor, line.after) == ("customer", "customer", "open")


def test_back_leads_back(sandbox: SandboxControl) -> None:
    payment = completed()

    shown = press(sandbox, f"ps:p:{payment.pk}")
    asked = press(sandbox, f"ps:w:{payment.pk}:h")

    assert press(sandbox, keys(asked)["‹ Back"])["text"] == shown["text"]
    assert "Which one is it about?" in press(sandbox, keys(shown)["‹ All payments"])["text"]


def test_the_order_number_of_the_mini_app_leads_to_its_payment_at_once(sandbox: SandboxControl) -> None:
    payment = completed()
    completed(order__plan=PlanFactory())

    answer = ask(sandbox, f"/paysupport {payment.order_id}")

    assert answer["text"].startswith("France, 1 GB, 7 days\n")
    assert f"ps:w:{payment.pk}:h" in keys(answer).values()
    assert "Which one is it about?" in ask(sandbox, "/paysupport 6e9b6f0c-0000-4000-8000-000000000000")["text"]
    assert "Which one is it about?" in ask(sandbox, "/paysupport what now")["text"]


@pytest.mark.parametrize("step", ["p:{}", "w:{}:h", "o:{}:r:n"])
def test_a_payment_of_somebody_else_is_not_there(sandbox: SandboxControl, step: str) -> None:
    foreign = completed(user_id=ANNA, language="ru")
    CustomerFactory()

    answer = press(sandbox, f"ps:{step.format(foreign.pk)}")

    assert answer["text"].startswith("This button leads nowhere any more.")
    assert not Case.objects.exists()
    assert "France" not in answer["text"]


@pytest.mark.parametrize(
    "data",
    ["", "ps", "ps:", "ps:p", "ps:p:", "ps:p:x", "ps:p:-1", "ps:p:1:2", "ps:w:1:x", "ps:o:{pk}:h:z", "ps:o:{pk}:z:n",
     "ps:zz:1", "older:button", "ps:p:99999999999999999999", "ps:x:77", "ps:p:٣"],
)  # fmt: skip
def test_a_button_that_nobody_knows_leads_to_the_payments(sandbox: SandboxControl, data: str) -> None:
    payment = completed()

    answer = press(sandbox, data.format(pk=payment.pk))

    assert answer["text"].startswith("This button leads nowhere any more.")
    assert f"ps:p:{payment.pk}" in keys(answer).values()
    assert not Case.objects.exists()


def test_what_was_paid_with_anothers_invoice_shows_nothing_of_their_order(sandbox: SandboxControl) -> None:
    order = OrderFactory(customer__telegram_user_id=ANNA, customer__language="ru", status="completed")
    ben = CustomerFactory()
    PaymentFactory(order=order, customer=ben, kind="extra", extra_reason="wrong_payer", status="refunding")

    answer = ask(sandbox)

    assert "Payment without an order" in answer["text"]
    assert "France" not in answer["text"]


# What is answered already


@pytest.mark.parametrize(
    ("status", "words"), [("refunded", "are back on your Telegram balance"), ("refunding", "are on their way back")]
)
def test_who_has_the_stars_back_is_told_so(sandbox: SandboxControl, status: str, words: str) -> None:
    payment = completed(status=status)

    shown = press(sandbox, f"ps:p:{payment.pk}")

    assert words in shown["text"]
    assert "I want my Stars back" not in keys(shown)
    assert press(sandbox, f"ps:o:{payment.pk}:r:n")["text"] == shown["text"]  # an old button
    assert not Case.objects.exists()
    press(sandbox, f"ps:o:{payment.pk}:h:o")
    assert Case.objects.get().wish == "help"


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(10, "Your eSIM comes within minutes; otherwise all Stars come back by themselves."),
     (-1, "This takes longer than we promised.")],
)  # fmt: skip
def test_who_waits_within_the_promise_is_told_so_and_may_ask_anyway(
    sandbox: SandboxControl, minutes: int, words: str
) -> None:
    payment = PaymentFactory(order__promise_at=timezone.now() + timedelta(minutes=minutes), order__paid=True)

    assert words in press(sandbox, f"ps:p:{payment.pk}")["text"]
    press(sandbox, f"ps:o:{payment.pk}:r:n")

    case = Case.objects.get()
    assert (case.status, case.refund_request) == ("open", None)


def test_the_open_case_of_a_payment_is_shown_in_place_of_a_second(sandbox: SandboxControl) -> None:
    payment = completed()
    press(sandbox, f"ps:o:{payment.pk}:h:w")
    case = Case.objects.get()

    for data in (f"ps:p:{payment.pk}", f"ps:w:{payment.pk}:r", f"ps:o:{payment.pk}:r:n"):
        assert f"You have asked already: request {case.pk}" in press(sandbox, data)["text"]
    assert Case.objects.count() == 1


def test_a_settled_case_is_closed_by_its_customer_alone(sandbox: SandboxControl) -> None:
    payment = completed()
    opened = press(sandbox, f"ps:o:{payment.pk}:h:w")
    settled = keys(opened)["It is settled"]

    assert "leads nowhere" not in press(sandbox, settled)["text"]
    case = Case.objects.get()
    assert (case.status, case.messages.last().actor) == ("closed", "customer")  # type: ignore[union-attr]

    Case.objects.update(status="open", closed_at=None)
    CustomerFactory(telegram_user_id=ANNA, language="ru")
    press(sandbox, settled, user_id=ANNA)
    case.refresh_from_db()
    assert case.status == "open"


# Presses


def press_in_sandbox(sandbox: SandboxControl, message: dict[str, Any], data: str) -> Any:
    """Press a button in the Telegram-like page, and have the bot poll meanwhile. Returns what the press showed."""
    result: dict[str, Any] = {}
    body = {"message_id": message["message_id"], "callback_data": data, "wait": 10}
    finger = threading.Thread(target=lambda: result.update(sandbox.post(f"/sandbox/users/{BEN}/press", body)))
    finger.start()
    while finger.is_alive():
        call_command("run_polling", "--once")
        run_tasks()
    return result["answer"]


def test_a_pressed_button_stops_waiting(sandbox: SandboxControl) -> None:
    payment = completed()
    listed = ask(sandbox)

    assert press_in_sandbox(sandbox, listed, f"ps:p:{payment.pk}") == {"text": "", "show_alert": False}
    assert f"ps:w:{payment.pk}:h" in keys(sandbox.chat(BEN)[-1]).values()


def test_a_pressed_button_stops_waiting_also_where_the_press_cannot_be_handled(
    sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = completed()
    listed = ask(sandbox)
    # A fault in the rules, as a mistake of ours would be.
    monkeypatch.setitem(pay_support._STEPS, "p", lambda *_: 1 // 0)

    assert press_in_sandbox(sandbox, listed, f"ps:p:{payment.pk}") is not None
    assert TelegramUpdate.objects.get(kind="callback_query").status == "failed"
    monkeypatch.undo()
    TelegramUpdate.objects.filter(status="failed").update(next_try_at=timezone.now())
    sweep()
    assert TelegramUpdate.objects.get(kind="callback_query").status == "handled"
    assert f"ps:w:{payment.pk}:h" in keys(sandbox.chat(BEN)[-1]).values()


def test_a_press_that_comes_twice_is_answered_once(sandbox: SandboxControl) -> None:
    update = press_update(f"ps:o:{completed().pk}:h:w")

    assert len(answers(sandbox, update)) == 1
    assert answers(sandbox, update) == []


def test_a_press_is_answered_later_where_telegram_cannot_be_reached(sandbox: SandboxControl) -> None:
    payment = completed()
    sandbox.fail("telegram.answerCallbackQuery", "drop")
    sandbox.fail("telegram.sendMessage", "status", status=429)

    assert answers(sandbox, press_update(f"ps:o:{payment.pk}:h:w")) == []
    assert TelegramUpdate.objects.get().status == "received"
    TelegramUpdate.objects.update(next_try_at=timezone.now())
    sweep()

    assert Case.objects.count() == CaseMessage.objects.count() == 1
    assert str(Case.objects.get().pk) in sandbox.chat(BEN)[-1]["text"]


@pytest.mark.django_db(transaction=True)
def test_two_presses_of_one_button_at_once_make_one_case() -> None:
    payment = completed()
    customer = Customer.objects.get()

    texts = at_once(*[lambda: answer_press(customer, f"ps:o:{payment.pk}:h:w").text] * 4)

    case = Case.objects.get()
    assert len([text for text in texts if f"Request {case.pk} is open" in text]) == 1
    assert len([text for text in texts if "You have asked already" in text]) == 3
    assert case.messages.count() == 1


def test_the_data_of_every_button_fits(sandbox: SandboxControl) -> None:
    payment = completed()
    Payment.objects.filter(pk=payment.pk).update(id=2**62)
    shown = press(sandbox, f"ps:w:{2**62}:r")
    assert all(len(data.encode()) <= 64 for data in keys(shown).values())


def test_a_customer_who_blocked_the_bot_meanwhile_is_no_failure(sandbox: SandboxControl) -> None:
    payment = completed()
    sandbox.post("/sandbox/users", {"id": BEN, "blocked_bot": True})

    send_update(press_update(f"ps:o:{payment.pk}:h:w"))
    run_tasks()

    assert TelegramUpdate.objects.get().status == "handled"
    assert Customer.objects.get().is_bot_blocked
    assert Case.objects.exists()


def test_without_instant_refunds_a_person_decides(sandbox: SandboxControl) -> None:
    ServicePolicy.objects.create(instant_refunds_per_month=0)
    payment = completed(paid_at=timezone.now())

    press(sandbox, f"ps:o:{payment.pk}:r:u")

    assert Case.objects.get().status == "open"
