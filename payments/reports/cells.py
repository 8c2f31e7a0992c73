"""How PostgreSQL writes a value into a cell that a spreadsheet opens.

Foreign text that could be a formula gets an apostrophe in front (OWASP, CSV injection), and has no line breaks:
then each line feed of the whole file ends a row, and becomes CRLF on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """plain: written as it is: numbers, dates, and words that only the shop chooses. text: somebody else's words."""

    PLAIN = "plain"
    TEXT = "text"
    TIME = "time"


@dataclass(frozen=True)
class Column:
    """A column of a report: its name, and the SQL of its value."""

    name: str
    value: str
    kind: Kind = Kind.PLAIN

    def guarded(self) -> str:
        """The SQL of its cell."""
        if self.kind is Kind.TEXT:
            return _text(self.value)
        if self.kind is Kind.TIME:
            return _time(self.value)
        return self.value


def text(name: str, value: str) -> Column:
    return Column(name, value, Kind.TEXT)


def moment(name: str, value: str) -> Column:
    return Column(name, value, Kind.TIME)


# What spreadsheets read over, before what makes a formula; full-width signs count, too.
_FORMULA = r"^(?=[\s\u00A0\uFEFF\u200B-\u200F\u2060]*[-=+@＝＋－＠]|\t)"


def _text(value: str) -> str:
    # Most texts begin with a letter or digit and are one line, which is seen in a quarter of an expression's time.
    harmless = f"(ascii({value}) BETWEEN 65 AND 122 OR ascii({value}) BETWEEN 48 AND 57)"
    one_line = rf"strpos({value}, E'\n') = 0 AND strpos({value}, E'\r') = 0"
    mended = rf"regexp_replace(translate({value}, E'\r\n', '  '), '{_FORMULA}', '''')"
    return f"CASE WHEN {harmless} AND {one_line} THEN {value} ELSE {mended} END"


def _time(value: str) -> str:
    """ISO 8601 with the offset of the session's time zone, whole seconds: 2026-11-01T09:30:00+01:00."""
    return f"btrim(to_json(date_trunc('second', {value}))::text, '\"')"
