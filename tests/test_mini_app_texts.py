"""The words of the Mini App: complete in every language, used, and right where they count."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from babel import Locale

from esimshop.languages import LANGUAGES, Language

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = "\n".join(
    file.read_text()
    for folder, pattern in (("static/miniapp/js", "*.js"), ("templates/miniapp", "*.html"))
    for file in sorted((PROJECT / folder).glob(pattern))
)
# A key as it stands in the sources, and one of which a part is known in the page alone: `error.${name}.title`.
WHOLE = re.compile(r"[\"'`]([a-z][\w.]*)[\"'`]")
BUILT = re.compile(r"`([a-z][^`\n]*\$\{[^`\n]*)`")
# What a key may have at its end for words of its own: `${key}.top_up`.
ENDING = re.compile(r"`\$\{key\}(\.\w+)`")


def texts_of(language: Language) -> dict[str, Any]:
    return dict(json.loads((PROJECT / f"static/miniapp/texts/{language}.json").read_text()))


def forms_of(text: Any) -> list[str]:
    return list(text.values()) if isinstance(text, dict) else [text]


TEXTS = {language: texts_of(language) for language in LANGUAGES}
KEYS = sorted({key for texts in TEXTS.values() for key in texts})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything(language: Language) -> None:
    assert [key for key in KEYS if not TEXTS[language].get(key)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_counts_has_every_plural_form_of_its_language(language: Language) -> None:
    counting = {key: text for key, text in TEXTS[language].items() if isinstance(text, dict)}
    needed = set(Locale(language).plural_form.tags) | {"other"}

    assert {key: sorted(needed - set(forms)) for key, forms in counting.items() if needed - set(forms)} == {}


def test_all_languages_fill_the_same_gaps() -> None:
    gaps = {
        key: {
            language: {name for form in forms_of(TEXTS[language][key]) for name in re.findall(r"\{(\w+)\}", form)}
            for language in LANGUAGES
        }
        for key in KEYS
    }

    assert {key: each for key, each in gaps.items() if len(set(map(frozenset, each.values()))) > 1} == {}


def test_nothing_is_said_that_is_not_used_and_nothing_used_that_is_not_said() -> None:
    whole = set(WHOLE.findall(SOURCES))
    built = [
        re.compile(re.sub(r"\\\$\\\{.*?\\\}", r"[\\w.]+", re.escape(text))) for text in set(BUILT.findall(SOURCES))
    ]
    endings = tuple(ENDING.findall(SOURCES))
    used = {key for key in KEYS if key in whole or any(each.fullmatch(key) for each in built)}
    unused = [key for key in KEYS if key not in used and not (key.endswith(endings) and key.rpartition(".")[0] in used)]
    asked = set(re.findall(r"(?:\bt\(|data-(?:text|label|placeholder)=|{% text )\"([\w.]+)\"", SOURCES))

    assert unused == []
    assert sorted(asked - set(KEYS)) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_is_shouted_at(language: Language) -> None:
    assert [key for key, text in TEXTS[language].items() if any("!" in form for form in forms_of(text))] == []
