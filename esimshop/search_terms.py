"""What staff paste into a search field, read as the identifier that it means."""

from __future__ import annotations

import re
import unicodedata
from uuid import UUID

from django.db.models import Q

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_LABEL = re.compile(
    r"^(?:(?:order|payment|charge|invoice|payload|iccid|esim|reference|ref|customer|user|telegram|id|заказ|платёж)"
    r"(?:\s*[:=#№]\s*|\s+))+",
    re.IGNORECASE,
)
_PROFILE = re.compile(
    r"^(?:(?:https?://)?(?:www\.)?(?:t|telegram)\.me/|tg://resolve\?domain=|tg://user\?id=)@?(\w+)", re.IGNORECASE
)
_AROUND = " \"'`“”„‘’‚«»‹›()[]<>{}.,;:!?#№"


def read_term(text: str) -> str:
    """The identifier in a pasted text: without spaces, invisible characters, quotes, labels, a link's beginning.

    "Order: «7F5D1E0C …»" is "7F5D1E0C…", "https://t.me/anna" is "anna". Case is kept: charge ids tell it apart.
    """
    visible = "".join(char for char in text if unicodedata.category(char) not in {"Cf", "Cc"} or char in "\n\r\t")
    term = " ".join(visible.translate(_DASHES).split()).strip(_AROUND)
    term = _LABEL.sub("", term).strip(_AROUND)
    if profile := _PROFILE.match(term):
        term = profile[1]
    return "".join(term.split())


NOTHING = Q(pk__in=[])


def match_number(field: str, term: str) -> Q:
    """Rows whose number, such as a Telegram id, is the searched text; none where it is no bigint."""
    return Q(**{field: int(term)}) if term.isascii() and term.isdecimal() and len(term) < 19 else NOTHING


def match_uuid(field: str, term: str) -> Q:
    """Rows whose UUID begins with the searched text; none where that is not 8 hexadecimal digits or more."""
    digits = term.replace("-", "").lower()
    if not 8 <= len(digits) <= 32 or not set(digits) <= set("0123456789abcdef"):
        return NOTHING
    return Q(**{f"{field}__gte": UUID(digits.ljust(32, "0")), f"{field}__lte": UUID(digits.ljust(32, "f"))})
