"""The words and pictures of the bot's messages about orders, in the customer's language.

HTML as Telegram's `parse_mode` takes it: what comes from data is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape, unescape

from babel.dates import format_datetime
from django.conf import settings
from django.utils import timezone
from django.utils.html import strip_tags
from django.utils.translation import gettext, ngettext, override

from catalog.titles import amount_text, data_text
from esimshop.activation_codes import android_install_url, apple_install_url, qr_png
from esimshop.clients.telegram import Button
from esimshop.languages import Language, language_of
from orders.models import Delivery, Esim, EsimBundle, Order
from orders.usage import MB

#: Of a text under a photo.
CAPTION_LENGTH = 1024


@dataclass(frozen=True)
class Message:
    """text: HTML, at most CAPTION_LENGTH characters where a photo (PNG bytes) goes with it."""

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
        if delivery.bundle is not None:
            return _usage_notice(delivery, delivery.bundle)
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


def esim_url(esim: Esim) -> str:
    """The Mini App at this eSIM: what is left, and what tops it up."""
    return f"{settings.PUBLIC_URL}/?esim={esim.iccid}"


def view_url(name: str) -> str:
    """The Mini App at one of its views."""
    return f"{settings.PUBLIC_URL}/?view={name}"


def guide_url(order: Order) -> str:
    """The Mini App at the guide that installs this order's eSIM."""
    return f"{settings.PUBLIC_URL}/?guide={order.pk}"


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
    open_order = (Button(text=gettext("Open the order"), web_app_url=order_url(order)),)
    if order.top_up_esim_id == esim.pk:
        text = gettext(
            "<b>Topped up: %(plan)s</b>\n\nNothing to install: the data reach your eSIM within ten minutes."
        ) % {"plan": _title(order)}
        return Message(text=text, buttons=(open_order,))
    return Message(
        text=_install_guide(order, esim),
        photo=qr_png(esim.activation_code),
        buttons=(
            (
                Button(text="iPhone", url=apple_install_url(esim.activation_code)),
                Button(text="Android", url=android_install_url(esim.activation_code)),
            ),
            (Button(text=gettext("Step by step"), web_app_url=guide_url(order)),),
            open_order,
        ),
    )


def _install_guide(order: Order, esim: Esim) -> str:
    """As much of it as goes under a photo: the codes may be long, and stand in the picture and the order as well."""
    opening = gettext(
        "<b>Your eSIM is ready: %(plan)s</b>\n\n"
        "Install it now on Wi‑Fi, switch it on when you arrive. The code works once.\n\n"
        "• On this phone: tap iPhone (iOS 17.4 or later) or Android below.\n"
        "• On another phone: Settings → Add eSIM, and scan the QR code.\n"
        "• By hand: enter the codes; no confirmation code is needed."
    ) % {"plan": _title(order)}
    codes = gettext(
        "SM-DP+ <code>%(address)s</code>\nCode <code>%(matching_id)s</code>\nIn full <code>%(activation_code)s</code>"
    ) % {
        "address": escape(esim.smdp_address),
        "matching_id": escape(esim.matching_id),
        "activation_code": escape(esim.activation_code),
    }
    arrival = gettext(
        "<b>When you arrive</b>\nSwitch on the eSIM and its data roaming, choose it for mobile data, and give it two "
        "minutes. No network? Restart the phone."
    )
    whole = f"{opening}\n\n{codes}\n\n{arrival}"
    return whole if _shown_length(whole) <= CAPTION_LENGTH else f"{opening}\n\n{arrival}"


def _shown_length(text: str) -> int:
    """How Telegram counts: UTF-16 units of what is left once the markup is read."""
    return len(unescape(strip_tags(text)).encode("utf-16-le")) // 2


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


def _usage_notice(delivery: Delivery, bundle: EsimBundle) -> Message:
    assert delivery.order is not None
    language = language_of(delivery.customer.language)
    words = {
        "area": escape(str(delivery.order.bought_plan[language]["area"]["name"])),
        "percent": -(-(bundle.remaining_bytes or 0) * 100 // (bundle.initial_bytes or 1)),
        "left": _left_of(bundle, language),
        "time": _day_and_time(bundle.ends_at, language) if bundle.ends_at else "",
    }
    texts = {
        Delivery.Kind.DATA_LOW: gettext(
            "<b>%(area)s: %(percent)s%% of the data left</b>\n\nThat is %(left)s. Topping up needs no new install."
        ),
        Delivery.Kind.DATA_GONE: gettext(
            "<b>%(area)s: the data is used up</b>\n\nTop up and it is back in a couple of minutes, on the same eSIM."
        ),
        Delivery.Kind.THREE_DAYS: gettext(
            "<b>%(area)s: the last three days</b>\n\nYour plan ends on %(time)s. Topping up needs no new install."
        ),
        Delivery.Kind.ONE_DAY: gettext(
            "<b>%(area)s: the last day</b>\n\nYour plan ends on %(time)s. Topping up needs no new install."
        ),
    }
    return Message(
        text=texts[Delivery.Kind(delivery.kind)] % words,
        buttons=(
            (Button(text=gettext("Top up"), web_app_url=esim_url(bundle.esim)),),
            (Button(text=gettext("Switch such notices off"), web_app_url=f"{settings.PUBLIC_URL}/?view=settings"),),
        ),
    )


def _left_of(bundle: EsimBundle, language: Language) -> str:
    """As in "1.9 GB, 12 days"."""
    data_mb = -(-(bundle.remaining_bytes or 0) // MB)
    if data_mb >= 1000:
        data_mb = round(data_mb, -2)
    if bundle.ends_at is None:
        return data_text(data_mb, language=language)
    days = max(1, round((bundle.ends_at - timezone.now()) / timedelta(days=1)))
    return amount_text(data_mb=data_mb, days=days, language=language)


def _day_and_time(at: datetime, language: str) -> str:
    """As in "Wednesday, 2 December, 18:40 UTC": where the customer is, the server does not know."""
    pattern = "EEEE, d MMMM, HH:mm" if language == "ru" else "EEEE d MMMM, HH:mm"
    return f"{format_datetime(at.astimezone(UTC), pattern, locale=language)} UTC"


def _answer(delivery: Delivery) -> Message:
    text = gettext("<b>Support</b>\n\n%(text)s\n\n<i>Write here to answer.</i>") % {"text": escape(delivery.text)}
    return Message(text=text)
