"""Terms of sale and privacy policy: one text for the bot and the Mini App, true to the policy in force."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext, ngettext

from payments.models import ServicePolicy


@dataclass(frozen=True, kw_only=True)
class LegalText:
    """sections: (heading, text) pairs, plain text."""

    title: str
    sections: tuple[tuple[str, str], ...]


def terms() -> LegalText:
    """The terms of sale, in the active language."""
    policy = ServicePolicy.in_force()
    return LegalText(
        title=gettext("Terms of sale"),
        sections=(
            (
                gettext("What you buy"),
                gettext(
                    "Prepaid mobile data as an eSIM. Your phone must support eSIM and must not be locked to a carrier. "
                    "The days start as the plan says, most often with the first connection. Unlimited plans slow down "
                    "after a daily amount that stands on their page."
                ),
            ),
            (
                gettext("Price and payment"),
                gettext(
                    "You pay with Telegram Stars; the price is fixed when you confirm it. Prices in other currencies "
                    "are a guide. We sell; Telegram only carries the payment, and its support cannot help with our "
                    "sales: send /paysupport."
                ),
            ),
            (
                gettext("Delivery"),
                ngettext(
                    "Within %(minutes)s minute of payment you get the eSIM, or all Stars back, or a person on it. A "
                    "second payment of one order is returned by itself.",
                    "Within %(minutes)s minutes of payment you get the eSIM, or all Stars back, or a person on it. A "
                    "second payment of one order is returned by itself.",
                    policy.promise_minutes,
                )
                % {"minutes": policy.promise_minutes},
            ),
            (
                gettext("Returns"),
                ngettext(
                    "An eSIM that is neither used nor installed can be returned within %(days)s day of payment, if "
                    "the carrier takes it back. An installed one cannot, unless it does not work: then we make it work "
                    "or return the Stars.",
                    "An eSIM that is neither used nor installed can be returned within %(days)s days of payment, if "
                    "the carrier takes it back. An installed one cannot, unless it does not work: then we make it work "
                    "or return the Stars.",
                    policy.instant_refund_days,
                )
                % {"days": policy.instant_refund_days},
            ),
        ),
    )


def privacy() -> LegalText:
    """The privacy policy, in the active language."""
    return LegalText(
        title=gettext("Privacy policy"),
        sections=(
            (
                gettext("What we keep"),
                gettext(
                    "Your Telegram id, name and language, your orders and payments, the eSIMs you bought with their "
                    "data left, and what you write to support: what it takes to deliver, to help and to keep our books."
                ),
            ),
            (
                gettext("Who gets what"),
                gettext(
                    "The wholesaler of the eSIM gets our order number, not your name. Telegram carries payments and "
                    "messages. We sell nothing of it and show no advertising."
                ),
            ),
            (
                gettext("Have it deleted"),
                gettext(
                    "In the shop: Settings, Delete my data. Your name, language, settings, requests and the codes of "
                    "your eSIMs are gone at once; an installed eSIM goes on working. Orders stay without a name, and "
                    "charges with the Telegram id that paid them, as long as the law asks: a charge can be found and "
                    "returned only by it. Messages in the chat with the bot are yours to delete."
                ),
            ),
        ),
    )
