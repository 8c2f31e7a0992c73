"""The dialog of /paysupport: a customer chooses a payment, what they wish and why. Nothing is kept between presses.

Everything a press needs is in the button: letters and row ids, of which each is looked up among the customer's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from uuid import UUID

from babel.dates import format_date
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from esimshop.clients.telegram import Button
from orders.messages import Message, count_stars, order_url, plan_title, shop_button
from orders.models import Customer, Order
from payments.models import Case, Payment
from payments.services.cases import close_own_case, open_case

PAGE = 5
#: As long as Telegram shows of a button on a phone, about.
MOST_TITLE = 40

_WISHES = {"h": Case.Wish.HELP, "r": Case.Wish.REFUND}
_REASONS = {
    "n": Case.Reason.NOT_RECEIVED,
    "w": Case.Reason.DOES_NOT_WORK,
    "u": Case.Reason.NOT_NEEDED,
    "o": Case.Reason.OTHER,
}
_ON_THE_WAY = {Order.Status.PAID, Order.Status.PROVISIONING}
_BACK = {Payment.Status.REFUNDING, Payment.Status.REFUNDED}


def open_dialog(customer: Customer, words: str = "") -> Message:
    """The customer's latest payments to choose from; with an order number in `words`, that payment at once."""
    order_id = _order_id(words)
    payment = _payments(customer).filter(order=order_id).order_by("kind", "pk").last() if order_id else None
    return _show_payment(customer, payment) if payment else _list_payments(customer, _payments(customer))


def answer_press(customer: Customer, data: str) -> Message:
    """What follows on a button, whenever it was sent; what is not the customer's is not there."""
    word, *values = data.split(":")[1:] if data.startswith("ps:") else [""]
    step = _STEPS.get(word)
    answer = step(customer, *values) if step and len(values) == _VALUES[word] else None
    return answer or _outdated(customer)


def contact_button() -> tuple[Button, ...]:
    """A row with a button that opens a case about no payment."""
    return (Button(text=gettext("Write to a person"), callback_data="ps:n"),)


# Steps: each returns None where the button names something that is not the customer's


def _list(customer: Customer, before: str) -> Message | None:
    pk = _number(before)
    payments = _payments(customer)
    return _list_payments(customer, payments.filter(pk__lt=pk) if pk else payments)


def _payment(customer: Customer, pk: str) -> Message | None:
    payment = _own_payment(customer, pk)
    return _show_payment(customer, payment) if payment else None


def _wish(customer: Customer, pk: str, wish: str) -> Message | None:
    payment = _own_payment(customer, pk)
    if payment is None or wish not in _WISHES:
        return None
    if shown := _nothing_to_ask(customer, payment, wish):
        return shown
    question = gettext("Why do you want the Stars back?") if wish == "r" else gettext("What do you need help with?")
    words = {
        "n": gettext("I paid, but no eSIM came"),
        "w": gettext("The eSIM does not work"),
        "u": gettext("I do not need it, or bought it by mistake"),
        "o": gettext("Something else"),
    }
    rows = [(Button(text=text, callback_data=f"ps:o:{payment.pk}:{wish}:{key}"),) for key, text in words.items()]
    text = f"<b>{escape(_title(customer, payment))}</b>\n\n{question}"
    return Message(text=text, buttons=(*rows, _back(f"ps:p:{payment.pk}")))


def _open(customer: Customer, pk: str, wish: str, reason: str) -> Message | None:
    payment = _own_payment(customer, pk)
    if payment is None or wish not in _WISHES or reason not in _REASONS:
        return None
    if shown := _nothing_to_ask(customer, payment, wish):
        return shown
    opened = open_case(customer=customer, payment=payment, wish=_WISHES[wish], reason=_REASONS[reason])
    return _show_case(opened.case, is_new=opened.is_new)


def _open_without_payment(customer: Customer) -> Message:
    opened = open_case(customer=customer, payment=None, wish=Case.Wish.HELP, reason=Case.Reason.OTHER)
    return _show_case(opened.case, is_new=opened.is_new)


def _close(customer: Customer, pk: str) -> Message | None:
    case_pk = _number(pk)
    if not case_pk or close_own_case(customer=customer, case_pk=case_pk) is None:
        return None
    text = gettext("Good. Your request is closed. Write here if something is still wrong: it is opened again.")
    return Message(text=text, buttons=(_back("ps:l:0"),))


_STEPS: dict[str, Callable[..., Message | None]] = {
    "l": _list,
    "p": _payment,
    "w": _wish,
    "o": _open,
    "n": _open_without_payment,
    "x": _close,
}
_VALUES = {"l": 1, "p": 1, "w": 2, "o": 3, "n": 0, "x": 1}


# What is shown


def _list_payments(customer: Customer, payments: QuerySet[Payment]) -> Message:
    rows = list(payments.order_by("-pk")[: PAGE + 1])
    shown = rows[:PAGE]
    if not shown:
        text = gettext("You have not paid for anything here yet. Did you, and it is missing? Write to a person.")
        return Message(text=_help_text(text), buttons=(contact_button(), shop_button(gettext("Open the shop"))))
    lines = [gettext("Which one is it about?")]
    for number, payment in enumerate(shown, 1):
        lines.append(f"<b>{number}. {escape(_title(customer, payment))}</b>\n{_describe(customer, payment)}")
    choices = [
        (Button(text=_short(f"{number}. {_title(customer, payment)}"), callback_data=f"ps:p:{payment.pk}"),)
        for number, payment in enumerate(shown, 1)
    ]
    if len(rows) > PAGE:
        choices.append((Button(text=gettext("Older payments"), callback_data=f"ps:l:{shown[-1].pk}"),))
    return Message(text=_help_text("\n\n".join(lines)), buttons=(*choices, contact_button()))


def _help_text(text: str) -> str:
    heading = gettext("Help with a payment")
    # Telegram wants bots that sell to say so.
    ours = gettext("Telegram's own support cannot help with purchases from this bot; we do.")
    return f"<b>{heading}</b>\n\n{text}\n\n{ours}"


def _show_payment(customer: Customer, payment: Payment) -> Message:
    if case := _open_case_of(payment):
        return _show_case(case, is_new=False)
    text = (
        f"<b>{escape(_title(customer, payment))}</b>\n{_describe(customer, payment)}\n\n{_what_happens(payment)}"
    ).rstrip()
    rows = [(Button(text=gettext("I need help"), callback_data=f"ps:w:{payment.pk}:h"),)]
    if payment.status not in _BACK:
        rows.append((Button(text=gettext("I want my Stars back"), callback_data=f"ps:w:{payment.pk}:r"),))
    if order := _own_order(customer, payment):
        rows.append((Button(text=gettext("Open the order"), web_app_url=order_url(order)),))
    return Message(text=text, buttons=(*rows, _back("ps:l:0")))


def _what_happens(payment: Payment) -> str:
    """What the customer should know before they ask."""
    order = payment.order
    if payment.status == Payment.Status.REFUNDED:
        return gettext("All Stars of this payment are back on your Telegram balance.")
    if payment.status == Payment.Status.REFUNDING:
        return gettext("The Stars of this payment are on their way back to you.")
    if payment.kind == Payment.Kind.ORDER and order is not None and order.status in _ON_THE_WAY:
        if order.promise_at is not None and order.promise_at > timezone.now():
            return gettext("Your eSIM comes within minutes; otherwise all Stars come back by themselves.")
        return gettext("This takes longer than we promised. Tell us, and a person looks at it.")
    if payment.status == Payment.Status.REFUND_FAILED or (order and order.status == Order.Status.NEEDS_ATTENTION):
        return gettext("A person is on it already: you get the eSIM or all Stars back. You can write to them here.")
    return ""


def _nothing_to_ask(customer: Customer, payment: Payment, wish: str) -> Message | None:
    """The payment's page in place of a question that is answered already; None where there is something to ask."""
    is_back = wish == "r" and payment.status in _BACK
    return _show_payment(customer, payment) if is_back or _open_case_of(payment) else None


def _show_case(case: Case, *, is_new: bool) -> Message:
    words = {
        Case.Status.DECIDING: gettext(
            "We are asking the carrier whether the eSIM is unused. If it is, all Stars come back in a moment; if not, "
            "a person decides. You read it here."
        ),
        Case.Status.OPEN: gettext("Tell us in a message here what happened. A person reads it and answers here."),
        Case.Status.ANSWERED: gettext("We have answered you, see above. Write here if you want to say more."),
    }
    heading = gettext("Request %(number)s is open") if is_new else gettext("You have asked already: request %(number)s")
    text = f"<b>{heading % {'number': case.pk}}</b>\n\n{words[Case.Status(case.status)]}"
    rows = [] if case.status == Case.Status.DECIDING else [_settled(case)]
    return Message(text=text, buttons=(*rows, _back("ps:l:0")))


def _settled(case: Case) -> tuple[Button, ...]:
    return (Button(text=gettext("It is settled"), callback_data=f"ps:x:{case.pk}"),)


def _outdated(customer: Customer) -> Message:
    text = gettext("This button leads nowhere any more. Here is where we are now.")
    shown = _list_payments(customer, _payments(customer))
    return Message(text=f"{text}\n\n{shown.text}", buttons=shown.buttons)


def _back(data: str) -> tuple[Button, ...]:
    text = gettext("All payments") if data == "ps:l:0" else gettext("Back")
    return (Button(text=f"‹ {text}", callback_data=data),)


# Whose is what


def _payments(customer: Customer) -> QuerySet[Payment]:
    return Payment.objects.filter(customer=customer).select_related("order", "customer")


def _own_payment(customer: Customer, pk: str) -> Payment | None:
    number = _number(pk)
    return _payments(customer).filter(pk=number).first() if number else None


def _own_order(customer: Customer, payment: Payment) -> Order | None:
    """The payment's order; None where another's invoice was paid."""
    return payment.order if payment.order and payment.order.customer_id == customer.pk else None


def _open_case_of(payment: Payment) -> Case | None:
    return payment.cases.exclude(status=Case.Status.CLOSED).first()


def _number(text: str) -> int:
    """A row's id; 0 for what is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def _order_id(words: str) -> UUID | None:
    try:
        return UUID(words.strip())
    except ValueError:
        return None


# Words for a payment


def _title(customer: Customer, payment: Payment) -> str:
    order = _own_order(customer, payment)
    return plan_title(order, language=customer.language) if order else gettext("Payment without an order")


def _describe(customer: Customer, payment: Payment) -> str:
    day = format_date(payment.charged_at.date(), format="long", locale=customer.language)
    return ", ".join([count_stars(payment.amount_stars), day, _state(payment)])


def _state(payment: Payment) -> str:
    order = payment.order if payment.kind == Payment.Kind.ORDER else None
    if payment.status == Payment.Status.REFUNDED:
        return gettext("Stars returned")
    if payment.status == Payment.Status.REFUNDING:
        return gettext("Stars on their way back")
    if order is not None and order.status == Order.Status.COMPLETED:
        return gettext("eSIM delivered")
    if order is not None and order.status in _ON_THE_WAY:
        return gettext("eSIM on its way")
    return gettext("a person is on it")


def _short(text: str) -> str:
    return text if len(text) <= MOST_TITLE else f"{text[: MOST_TITLE - 1]}…"
