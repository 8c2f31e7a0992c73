"""The words and pictures of the bot's messages about orders, in the customer's language.

HTML as Telegram's `parse_mode` takes it: what comes from data is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from django.conf import settings
from django.utils.translation import gettext, ngettext, override

from esimshop.activation_codes import android_install_url, apple_install_url, qr_png
from esimshop.clients.telegram import Button
from orders.models import Delivery, Esim, Order


@dataclass(frozen=True)
class Message:
    """text: HTML, at most 1,024 characters where a photo (PNG bytes) goes with it."""

    text: str
    photo: bytes | None = None
    buttons: tuple[tuple[Button, ...], ...] = ()


def write_message(delivery: Delivery) -> Message:
    """The message of a delivery, as it is to be sent now."""
    with override(delivery.customer.language):
        if delivery.kind == Delivery.Kind.EXTRA_REFUNDED:
            return _extra_refunded(delivery)
        if delivery.kind == Delivery.Kind.ANSWER:
            return _answer(delivery)
        assert delivery.order is not None
        if delivery.kind == Delivery.Kind.PREPARING:
            return _preparing(delivery.order)
        if delivery.kind == Delivery.Kind.ESIM:
            return _esim_ready(delivery.order)
        if delivery.kind == Delivery.Kind.REFUNDED:
            return _refunded(delivery.order)
        if delivery.kind == Delivery.Kind.CANCELLED:
            return _cancelled(delivery.order)
        return _attention(delivery.order)


def plan_title(order: Order, *, language: str) -> str:
    """The title of the plan as it was bought, e.g. "Türkiye, 10 GB, 30 days"."""
    return str(order.bought_plan[language]["title"])


def count_stars(amount: int) -> str:
    """A number of Stars in words of the active language."""
    return ngettext("%(count)s Star", "%(count)s Stars", amount) % {"count": f"{amount:,}".replace(",", "\u00a0")}


def order_url(order: Order) -> str:
    """The Mini App at this order."""
    return f"{settings.PUBLIC_URL}/?order={order.pk}"


def view_url(name: str) -> str:
    """The Mini App at one of its views."""
    return f"{settings.PUBLIC_URL}/?view={name}"


def shop_button(text: str) -> tuple[Button, ...]:
    """A row with one button that opens the Mini App."""
    return (Button(text=text, web_app_url=f"{settings.PUBLIC_URL}/"),)


def refund_reason(cause: str) -> str:
    """Why the Stars came back, in a sentence for the customer."""
    return {
        Order.Cause.SOLD_OUT: gettext("The carrier had run out of this plan."),
        Order.Cause.ACCOUNT: gettext("We did not make it in time."),
        Order.Cause.UNREACHABLE: gettext("We did not make it in time."),
        Order.Cause.PROMISE_MISSED: gettext("We did not make it in time."),
        Order.Cause.PURCHASE_LIMIT: gettext("We did not make it in time."),
        Order.Cause.REQUESTED: gettext("At your request."),
    }.get(Order.Cause(cause), gettext("We could not deliver this eSIM."))


def _title(order: Order) -> str:
    return escape(plan_title(order, language=order.customer.language))


def _preparing(order: Order) -> Message:
    text = gettext(
        "<b>Paid: %(stars)s</b>\n\nWe are preparing %(plan)s. It comes here within 15 minutes; otherwise all Stars "
        "come back by themselves."
    ) % {"stars": count_stars(order.amount_stars), "plan": _title(order)}
    return Message(text=text, buttons=((Button(text=gettext("Open the order"), web_app_url=order_url(order)),),))


def _esim_ready(order: Order) -> Message:
    esim = order.esim
    assert esim is not None
    open_order = (Button(text=gettext("Open the order and guide"), web_app_url=order_url(order)),)
    if order.top_up_esim_id == esim.pk:
        text = gettext("<b>Topped up: %(plan)s</b>\n\nNothing to install: the data are on your eSIM.") % {
            "plan": _title(order)
        }
        return Message(text=text, buttons=(open_order,))
    return Message(
        text=_install_guide(order, esim),
        photo=qr_png(esim.activation_code),
        buttons=(
            (
                Button(text="iPhone", url=apple_install_url(esim.activation_code)),
                Button(text="Android", url=android_install_url(esim.activation_code)),
            ),
            open_order,
        ),
    )


def _install_guide(order: Order, esim: Esim) -> str:
    return gettext(
        "<b>Your eSIM is ready: %(plan)s</b>\n\n"
        "Install it now on Wi‑Fi, switch it on when you arrive. The code works once.\n\n"
        "1. On this phone: tap iPhone (iOS 17.4 or later) or Android below.\n"
        "2. On another phone: scan the QR code in its settings, Add eSIM.\n"
        "3. On arrival: switch the eSIM and its data roaming on.\n\n"
        "SM-DP+ <code>%(address)s</code>\nCode <code>%(matching_id)s</code>\n"
        "In full <code>%(activation_code)s</code>"
    ) % {
        "plan": _title(order),
        "address": escape(esim.smdp_address),
        "matching_id": escape(esim.matching_id),
        "activation_code": escape(esim.activation_code),
    }


def _refunded(order: Order) -> Message:
    text = gettext("<b>We returned %(stars)s</b>\n\n%(plan)s: %(reason)s The Stars are on your Telegram balance.") % {
        "stars": count_stars(order.amount_stars),
        "plan": _title(order),
        "reason": refund_reason(order.cause),
    }
    return Message(text=text, buttons=(shop_button(gettext("Choose another plan")),))


def _cancelled(order: Order) -> Message:
    text = gettext(
        "<b>Your order is cancelled</b>\n\n%(plan)s: nothing was charged. Please do not pay its invoice any more; "
        "Stars that still come are returned by themselves."
    ) % {"plan": _title(order)}
    return Message(text=text, buttons=(shop_button(gettext("Choose a plan")),))


def _extra_refunded(delivery: Delivery) -> Message:
    stars = count_stars(delivery.amount_stars or 0)
    text = gettext(
        "<b>We returned %(stars)s</b>\n\nThis payment was one too many: its order was paid or closed already, or the "
        "invoice was someone else's. The Stars are on your Telegram balance."
    ) % {"stars": stars}
    return Message(text=text, buttons=(shop_button(gettext("Open the shop")),))


def _attention(order: Order) -> Message:
    text = gettext(
        "<b>This needs a little longer</b>\n\n%(plan)s: a person is on it. Your Stars are safe: you get the eSIM or "
        "all of them back. Please do not buy again."
    ) % {"plan": _title(order)}
    return Message(text=text, buttons=((Button(text=gettext("Open the order"), web_app_url=order_url(order)),),))


def _answer(delivery: Delivery) -> Message:
    text = gettext("<b>Support</b>\n\n%(text)s\n\n<i>Write here to answer.</i>") % {"text": escape(delivery.text)}
    return Message(text=text)
