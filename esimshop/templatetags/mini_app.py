"""What the pages of the Mini App are written with: its words, its numbers, its flags."""

from __future__ import annotations

from django import template
from django.utils.translation import get_language

from esimshop.languages import Language, language_of
from esimshop.mini_app_texts import mini_app_number, mini_app_text

register = template.Library()


@register.simple_tag
def text(key: str, **values: object) -> str:
    """{% text "countries" n=12 %}"""
    return mini_app_text(key, _language(), **values)


@register.filter
def grouped(number: int) -> str:
    """1132 as the language writes it."""
    return mini_app_number(number, _language())


@register.filter
def flag(code: str) -> str:
    """The flag of a country by its ISO code; nothing for codes that are none."""
    if len(code) != 2 or not code.isascii() or not code.isalpha():
        return ""
    return "".join(chr(0x1F1E6 + ord(letter) - ord("A")) for letter in code.upper())


def _language() -> Language:
    return language_of(get_language())
