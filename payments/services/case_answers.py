"""Ready-made answers: what staff write every day, in the customer's language, to be changed before it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext, override


@dataclass(frozen=True)
class ReadyAnswer:
    """label: for staff, in English. text: in the customer's language."""

    label: str
    text: str


def ready_answers(language: str) -> list[ReadyAnswer]:
    """The ready-made answers in a customer's language."""
    with override(language):
        return [
            ReadyAnswer(
                "Which phone?",
                gettext(
                    "Hello! Which phone do you have, in which country are you, and what do you see when you open the "
                    "eSIM's settings?"
                ),
            ),
            ReadyAnswer(
                "Switch roaming on",
                gettext(
                    "Hello! Please look at this: in the phone's settings the eSIM is switched on and chosen for mobile "
                    "data, and its data roaming is on. Then restart the phone. Did it help?"
                ),
            ),
            ReadyAnswer(
                "Scan the QR code",
                gettext(
                    "Hello! Your eSIM is in this chat and in the shop under My eSIMs and orders. Be on Wi‑Fi, then "
                    "scan the QR code in the phone's settings: Add eSIM. The code works once."
                ),
            ),
            ReadyAnswer(
                "We are asking",
                gettext("Hello! We have asked the carrier and write to you here as soon as we know. Please wait."),
            ),
            ReadyAnswer(
                "Stars are coming back",
                gettext(
                    "Hello! We are returning all Stars of this payment. They come to your Telegram balance by "
                    "themselves."
                ),
            ),
            ReadyAnswer(
                "Installed: no refund",
                gettext(
                    "Hello! The eSIM is installed already, so the carrier does not take it back and we cannot return "
                    "the Stars. If it does not work, tell us what you see: we make it work or find a way."
                ),
            ),
            ReadyAnswer("Good trip", gettext("Glad that it works. Good trip!")),
        ]
