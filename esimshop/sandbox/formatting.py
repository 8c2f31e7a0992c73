"""Telegram's HTML formatting: tags in, plain text and entities out."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

_ENTITIES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "tg-spoiler": "spoiler",
    "a": "text_link",
}


class FormattingError(ValueError):
    """The text is not in Telegram's HTML; its words are those of the Bot API."""


def parse_html(text: str) -> tuple[str, list[dict[str, Any]]]:
    """Plain text and its MessageEntity list, offsets in UTF-16 units. Raises FormattingError."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    if parser.open_tags:
        tag = parser.open_tags[-1][0]
        raise FormattingError(f"can't parse entities: can't find end tag corresponding to start tag \"{tag}\"")
    return parser.text, sorted(parser.entities, key=lambda entity: (entity["offset"], -entity["length"]))


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.entities: list[dict[str, Any]] = []
        self.open_tags: list[tuple[str, int, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _ENTITIES:
            raise FormattingError(f'can\'t parse entities: unsupported start tag "{tag}"')
        entity: dict[str, Any] = {"type": _ENTITIES[tag]}
        if tag == "a":
            entity["url"] = dict(attrs).get("href") or ""
        self.open_tags.append((tag, utf16_length(self.text), entity))

    def handle_endtag(self, tag: str) -> None:
        if not self.open_tags or self.open_tags[-1][0] != tag:
            raise FormattingError(f'can\'t parse entities: unexpected end tag "{tag}"')
        _, offset, entity = self.open_tags.pop()
        length = utf16_length(self.text) - offset
        if length:
            self.entities.append({**entity, "offset": offset, "length": length})

    def handle_data(self, data: str) -> None:
        self.text += data
