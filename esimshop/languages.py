"""The languages the shop speaks."""

from typing import Final, Literal

Language = Literal["ru", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("ru", "en")


def language_of(language_code: str | None) -> Language:
    """The shop's language for an IETF tag as Telegram gives it (`ru`, `en-GB`, none at all)."""
    return "ru" if (language_code or "").lower().startswith("ru") else "en"
