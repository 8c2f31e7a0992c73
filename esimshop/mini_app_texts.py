"""The words of the Mini App, static/miniapp/texts/*.json: its pages get them ready, nothing in them breaks badly."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel import Locale
from babel.numbers import format_decimal
from django.conf import settings

from esimshop.languages import Language

NBSP = "\u00a0"
_UNIT_AFTER_NUMBER = re.compile(r"(\d|\{n\}) (?=[^\W\d_]|[%$⭐])")
_SHORT_WORD = re.compile(r"(?:(?<=[\s(«])|^)([^\W\d_]{1,2}) (?=\S)")


def mini_app_texts(language: Language) -> dict[str, Any]:
    """All words by their keys; a text that depends on a number `n` is a dictionary by CLDR's plural category."""
    file = Path(settings.BASE_DIR) / "static" / "miniapp" / "texts" / f"{language}.json"
    return _read(file, file.stat().st_mtime_ns)


def mini_app_text(key: str, language: Language, **values: Any) -> str:
    """The words under a key. A number `n` among the values picks the plural form. Raises: KeyError."""
    text = mini_app_texts(language)[key]
    if isinstance(text, dict):
        text = text.get(Locale(language).plural_form(values["n"]), text["other"])
    shown = {
        name: mini_app_number(value, language) if isinstance(value, int) else value for name, value in values.items()
    }
    return str(text).format(**shown)


def mini_app_number(value: int, language: Language) -> str:
    """As the page's own Intl.NumberFormat writes it."""
    return str(format_decimal(value, locale=language))


@lru_cache
def _read(file: Path, changed_at: int) -> dict[str, Any]:
    """changed_at: of the file, so that a developer sees new words at once."""
    texts = json.loads(file.read_text(encoding="utf-8"))
    return {
        key: {form: tie(words) for form, words in text.items()} if isinstance(text, dict) else tie(text)
        for key, text in texts.items()
    }


def tie(text: str) -> str:
    """Keep together what must not break: number and unit, short word and the next one, QR and code."""
    text = _UNIT_AFTER_NUMBER.sub(rf"\1{NBSP}", text)
    text = text.replace("≈ ", f"≈{NBSP}").replace(" —", f"{NBSP}—")
    text = _SHORT_WORD.sub(rf"\1{NBSP}", text)
    return text.replace("QR-", "QR\u2011").replace("Wi-Fi", "Wi\u2011Fi")
