"""What the bot answers to messages and pressed buttons: its commands, cases, and a kind word to anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import structlog
from django.db.models import Q
from django.utils.translation import gettext, override

from esimshop.clients.telegram import Button, TelegramBlocked, TelegramError, telegram_client
from esimshop.rate_limits import count_use
from orders.messages import Message, esim_url, order_url, plan_title, shop_button, view_url
from orders.models import Customer, Order
from orders.services.customers import note_blocked, note_sender
from orders.services.deliveries import resume_deliveries
from payments.legal import LegalText, privacy, terms
from payments.models import TelegramUpdate
from payments.services.cases import take_message
from payments.services.pay_support import answer_press, contact_button, open_dialog

log = structlog.get_logger(__name__)

COMMANDS = ("start", "esims", "help", "terms", "privacy", "support", "paysupport")

#: A customer who writes more than this within the time is asked for patience, once; all of it is kept.
MESSAGES_AT_ONCE, BURST_SECONDS = 20, 600


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


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the bot says to a customer once the update is taken in.

    query_id: of the pressed button, which waits for an answer; empty where the customer wrote.
    """

    customer: Customer
    message: Message
    query_id: str = ""


def take_in(update: TelegramUpdate) -> Reply | None:
    """Do what a message or a pressed button asks for, in the database alone; again for the same update changes nothing.

    Returns: the answer, in the sender's language; None where the bot has nothing to say, for example in groups.
    """
    content = update.body[update.kind]
    sender = content.get("from")
    if not isinstance(sender, dict) or sender.get("is_bot"):
        return None
    if update.kind == "callback_query":
        customer = note_sender(sender)
        with override(customer.language):
            message = answer_press(customer, str(content.get("data") or ""))
        return Reply(customer=customer, message=message, query_id=str(content["id"]))
    if content.get("chat", {}).get("type") != "private":
        return None
    customer = note_sender(sender)
    # Also the first word of one who bought without ever having started the bot; Telegram tells of no unblocking then.
    resume_deliveries(customer)
    if "write_access_allowed" in content:
        return None  # given in the Mini App, which asked for it: nothing was said that wants an answer
    with override(customer.language):
        answer = _reply(customer, str(content.get("text") or "")) or _take_words(customer, update, content)
    return Reply(customer=customer, message=answer) if answer else None


def send_reply(reply: Reply) -> None:
    """Send what `take_in` decided. Raises: TelegramUnreachable, TelegramOutcomeUnknown."""
    if reply.query_id:
        end_waiting(reply.query_id)
    message = reply.message
    try:
        telegram_client().send_message(
            chat_id=reply.customer.telegram_user_id, text=message.text, buttons=message.buttons
        )
    except TelegramBlocked:
        note_blocked(customer=reply.customer, is_blocked=True)


def end_waiting(query_id: str, text: str = "") -> None:
    """Stop the spinner on a pressed button; it stops by itself where Telegram does not hear of it."""
    try:
        telegram_client().answer_callback_query(query_id=query_id, text=text)
    except TelegramError as error:
        log.warning("press_not_acknowledged", error=str(error))


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


def _reply(customer: Customer, text: str) -> Message | None:
    """The answer to a command of ours; None for anything else."""
    word, words = [*text.split(maxsplit=1), "", ""][:2]
    command = word.removeprefix("/").split("@")[0] if word.startswith("/") else ""
    if command == "paysupport":
        return open_dialog(customer, words)
    answer = _REPLIES.get(command)
    return answer(customer) if answer else None


def _take_words(customer: Customer, update: TelegramUpdate, content: Mapping[str, Any]) -> Message | None:
    """Put what was written into the customer's case, if there is one, and thank for it, once where it is a series."""
    words, replied = _words_of(content), content.get("reply_to_message")
    replied_to = replied.get("message_id") if isinstance(replied, dict) else None
    taken = take_message(customer=customer, update=update, text=words, replied_to=replied_to) if words else None
    if taken is None:
        return _unknown(customer)
    if count_use(key=f"case:{customer.pk}", limit=MESSAGES_AT_ONCE, seconds=BURST_SECONDS):
        is_told = count_use(key=f"case-calm:{customer.pk}", limit=1, seconds=BURST_SECONDS)
        text = gettext("We have all your messages and read them together. Please give us a little time.")
        return None if is_told else Message(text=text)
    if not taken.is_thanked_for:
        return None
    text = gettext("Thank you, we have it. The answer comes here. (Request %(number)s)") % {"number": taken.case.pk}
    if not content.get("text"):
        text += "\n\n" + gettext("We cannot see pictures or hear voices here: please tell us in words.")
    return Message(text=text)


def _words_of(content: Mapping[str, Any]) -> str:
    """What a customer wrote, for staff; of what is not text, its kind and caption. Empty for a command, or nothing."""
    if text := str(content.get("text") or "").strip():
        return "" if text.startswith("/") else text
    kind = next((kind for kind in _MEDIA if kind in content), None)
    return f"[sent {_MEDIA[kind]}] {content.get('caption') or ''}".strip() if kind else ""


_MEDIA = {
    "photo": "a photo",
    "voice": "a voice message",
    "video_note": "a video message",
    "video": "a video",
    "animation": "an animation",
    "audio": "a recording",
    "sticker": "a sticker",
    "document": "a file",
    "location": "a place",
    "contact": "a contact",
}


def _start(customer: Customer) -> Message:
    text = gettext(
        "<b>Mobile data for your trip</b>\n\n"
        "Choose a plan, pay with Telegram Stars, and the eSIM's QR code comes here in seconds."
    )
    return Message(text=text, buttons=(shop_button(gettext("Choose a plan")),))


def _esims(customer: Customer) -> Message:
    paid = customer.orders.filter(status__in=[*_PAID_STATES]).select_related("top_up_esim").prefetch_related("esims")
    # What was added to an eSIM is seen at that eSIM.
    added = Q(status=Order.Status.COMPLETED, top_up_esim__isnull=False)
    latest = paid.exclude(added).order_by("-created_at")[:8]
    if not latest:
        text = gettext("Your eSIMs will live here. You have none yet.")
        return Message(text=text, buttons=(shop_button(gettext("Choose a plan")),))
    rows = tuple(
        (
            Button(
                text=plan_title(order, language=customer.language),
                web_app_url=esim_url(order.esim) if order.esim else order_url(order),
            ),
        )
        for order in latest
    )
    all_esims = (Button(text=gettext("All my eSIMs"), web_app_url=view_url("esims")),)
    text = gettext("<b>Your latest eSIMs</b>\nOpen one to see what is left, to top it up, and for its QR code.")
    return Message(text=text, buttons=(*rows, all_esims))


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
        "If an eSIM is not ready in 15 minutes, your Stars come back or a person takes over.\n\n"
        "Questions and answers, your requests and the settings (language, messages, Delete my data) are in the shop. "
        "A person helps by /paysupport or /support."
    )
    questions = (Button(text=gettext("Questions and answers"), web_app_url=view_url("help")),)
    return Message(text=text, buttons=(shop_button(gettext("Open the shop")), questions, _settings_button()))


def _terms(customer: Customer) -> Message:
    return _legal(terms())


def _privacy(customer: Customer) -> Message:
    return _legal(privacy())


def _legal(legal: LegalText) -> Message:
    parts = [f"<b>{escape(title)}</b>\n{escape(text)}" for title, text in legal.sections]
    return Message(text="\n\n".join([f"<b>{escape(legal.title)}</b>", *parts]), buttons=(_settings_button(),))


def _settings_button() -> tuple[Button, ...]:
    return (Button(text=gettext("Settings"), web_app_url=view_url("settings")),)


def _support(customer: Customer) -> Message:
    text = gettext(
        "<b>Support</b>\n\nSomething does not work, or you have a question? If it is about a payment or an eSIM that "
        "you bought, send /paysupport and choose it there. About anything else, write to a person."
    )
    return Message(
        text=text,
        buttons=(contact_button(), (Button(text=gettext("My eSIMs and orders"), web_app_url=view_url("esims")),)),
    )


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
}
