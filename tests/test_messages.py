"""Every word that the server says exists in Russian, and the compiled catalogue is the one in use."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.conf import settings

FOLDER = Path(settings.LOCALE_PATHS[0]) / "ru" / "LC_MESSAGES"
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}


@pytest.fixture(scope="module")
def translations() -> Catalog:
    with (FOLDER / "django.po").open("rb") as file:
        return read_po(file, locale="ru")


def test_every_message_of_the_code_is_translated(translations: Catalog) -> None:
    missing = [
        f"{app}/{path}:{line}: {message}"
        for app in ("esimshop", "catalog", "orders", "payments")
        for path, line, message, _comments, context in extract_from_dir(
            str(Path(settings.BASE_DIR) / app), method_map=[("**.py", "python")], keywords=KEYWORDS
        )
        if not _is_translated(translations, message[0] if isinstance(message, tuple) else message, context)
    ]
    assert missing == []


def test_no_translation_is_a_guess_or_loses_a_placeholder(translations: Catalog) -> None:
    assert [message.id for message in translations if message.id and message.fuzzy] == []
    for message in translations:
        if not message.id or isinstance(message.id, tuple):
            continue
        assert _placeholders(str(message.string)) == _placeholders(message.id), message.id


def test_the_compiled_messages_are_those_of_the_source(translations: Catalog) -> None:
    """After an edit of the .po file: make messages."""
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = read_mo(file)
    assert _texts(compiled) == _texts(translations)


def _texts(catalog: Catalog) -> dict[tuple[str, ...], tuple[str, ...]]:
    return {(message.context or "", *_forms(message.id)): _forms(message.string) for message in catalog if message.id}


def _forms(text: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _is_translated(translations: Catalog, message: str, context: str | None) -> bool:
    found = translations.get(message, context)
    if found is None:
        return False
    return all(_forms(found.string))


def _placeholders(text: str) -> set[str]:
    named = {name for _text, name, _spec, _conversion in string.Formatter().parse(text.replace("%", "")) if name}
    percent = {part.split(")")[0] for part in text.split("%(")[1:]}
    return named | percent
