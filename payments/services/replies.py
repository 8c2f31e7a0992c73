"""What the bot answers: its commands, and a kind word to anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.utils.translation import gettext, override

from esimshop.clients.telegram import Button, TelegramBlocked, telegram_client
from orders.messages import Message, order_url, plan_title, shop_button
from orders.models import Customer, Order
from orders.services.customers import note_blocked, note_sender
from orders.services.deliveries import resume_deliveries

log = structlog.get_logger(__name__)

COMMANDS = ("start", "esims", "help", "terms", "privacy", "support", "paysupport")


def describe_commands(language: str) -> list[tuple[str, str]]:
    """(command, description) pairs for Telegram's menu."""
    with override(language):
        return [
            ("start", gettext("Open the shop")),
            ("esims", gettext("My eSIMs and orders")),
            ("help", gettext("How it works")),
            ("paysupport", gettext("Help with a payment")),
            ("support", gettext("Contact support")),
            ("terms", gettext("Terms of sale")),
            ("privacy", gettext("Privacy policy")),
        ]


def answer_message(message: Mapping[str, Any]) -> None:
    """Answer a private message in its sender's language.

    Raises: TelegramUnreachable, TelegramOutcomeUnknown.
    """
    sender = message.get("from")
    if not isinstance(sender, dict) or sender.get("is_bot") or message.get("chat", {}).get("type") != "private":
        return
    customer = note_sender(sender)
    # Also the first word of one who bought without ever having started the bot; Telegram tells of no unblocking then.
    resume_deliveries(customer)
    with override(customer.language):
        reply = _reply(customer, str(message.get("text") or ""))
    try:
        telegram_client().send_message(chat_id=customer.telegram_user_id, text=reply.text, buttons=reply.buttons)
    except TelegramBlocked:
        note_blocked(customer=customer, is_blocked=True)


def note_membership(change: Mapping[str, Any]) -> None:
    """Take in `my_chat_member`: the customer blocked the bot, or let it in again, and then gets what is owed.

    Only a private chat is the customer's: a bot that is put out of a group has not been blocked.
    """
    if change.get("chat", {}).get("type") != "private":
        return
    customer = note_sender(change["from"])
    status = change["new_chat_member"]["status"]
    if status in {"kicked", "left"}:
        note_blocked(customer=customer, is_blocked=True)
    else:
        resume_deliveries(customer)


def _reply(customer: Customer, text: str) -> Message:
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    command = word.removeprefix("/").split("@")[0] if word.startswith("/") else ""
    return _REPLIES.get(command, _unknown)(customer)


def _start(customer: Customer) -> Message:
    text = gettext(
        "<b>Mobile data for your trip</b>\n\n"
        "Choose a plan, pay with Telegram Stars, and the eSIM's QR code comes here in seconds."
    )
    return Message(text=text, buttons=(shop_button(gettext("Choose a plan")),))


def _esims(customer: Customer) -> Message:
    orders = customer.orders.filter(status__in=[*_PAID_STATES]).order_by("-created_at")[:8]
    if not orders:
        text = gettext("Your eSIMs will live here. You have none yet.")
        return Message(text=text, buttons=(shop_button(gettext("Choose a plan")),))
    rows = tuple(
        (Button(text=plan_title(order, language=customer.language), web_app_url=order_url(order)),) for order in orders
    )
    return Message(text=gettext("<b>Your latest orders</b>\nOpen one for its QR code and guide."), buttons=rows)


_PAID_STATES = frozenset(Order.Status) - {
    Order.Status.AWAITING_PAYMENT, Order.Status.EXPIRED, Order.Status.CANCELLED,
}  # fmt: skip


def _help(customer: Customer) -> Message:
    text = gettext(
        "<b>How it works</b>\n\n"
        "1. Choose a country and a plan in the shop.\n"
        "2. Confirm the Stars in Telegram.\n"
        "3. The QR code comes here and stays in the shop. Install it on Wi‑Fi before the trip.\n"
        "4. On arrival switch the eSIM and its data roaming on.\n\n"
        "Does your phone take eSIM? Dial *#06#: if you see EID, it does.\n"
        "If an eSIM is not ready in 15 minutes, your Stars come back or a person takes over."
    )
    return Message(text=text, buttons=(shop_button(gettext("Open the shop")),))


def _terms(customer: Customer) -> Message:
    text = gettext(
        "<b>Terms of sale</b>\n\n"
        "You buy prepaid mobile data as an eSIM. The price in Stars is fixed when you confirm it. The days start as "
        "the plan says, most often with the first connection. You get the eSIM within 15 minutes of payment, or all "
        "Stars back, or a person on it. A second payment of one order is returned by itself. An installed eSIM "
        "cannot be returned, unless it does not work. Your phone must support eSIM and must not be locked to a "
        "carrier. Unlimited plans slow down after a daily amount that stands on their card.\n\n"
        "We sell; Telegram only carries the payment, and its support cannot help with our sales: /paysupport."
    )
    return Message(text=text, buttons=())


def _privacy(customer: Customer) -> Message:
    text = gettext(
        "<b>Privacy policy</b>\n\n"
        "We keep your Telegram id, name and language, your orders and payments, and the eSIMs you bought: what it "
        "takes to deliver, to help and to keep our books. The wholesaler of the eSIM gets our order number, not your "
        "name. We sell nothing of it and show no advertising. To have your data deleted, write /support; charges stay "
        "as long as the law asks."
    )
    return Message(text=text, buttons=())


def _support(customer: Customer) -> Message:
    text = gettext(
        "<b>Support</b>\n\nSomething does not work, or you have a question? Describe it and name the order number from "
        "the order's page. About a payment: /paysupport."
    )
    return Message(text=text, buttons=(shop_button(gettext("My eSIMs and orders")),))


def _pay_support(customer: Customer) -> Message:
    text = gettext(
        "<b>Help with a payment</b>\n\n"
        "• Paid and no eSIM yet? It comes within 15 minutes, or all Stars come back by themselves.\n"
        "• Paid twice? The second payment comes back by itself.\n"
        "• The eSIM does not work, or something else? Write to /support with the order number.\n\n"
        "Telegram's own support cannot help with purchases from this bot; we do."
    )
    return Message(text=text, buttons=(shop_button(gettext("My eSIMs and orders")),))


def _unknown(customer: Customer) -> Message:
    text = gettext("I sell mobile data for trips. Open the shop, or see /help and /paysupport.")
    return Message(text=text, buttons=(shop_button(gettext("Open the shop")),))


_REPLIES: dict[str, Callable[[Customer], Message]] = {
    "start": _start,
    "esims": _esims,
    "help": _help,
    "terms": _terms,
    "privacy": _privacy,
    "support": _support,
    "paysupport": _pay_support,
}
