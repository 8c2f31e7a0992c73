"""A command that the finance handbook gives is run in a running shop, as it is written."""

from __future__ import annotations

import csv
import shlex
from typing import TYPE_CHECKING

import pytest

from payments.reports.books import REPORTS
from tests.docs.documents import read_document

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.shop import Shop

pytestmark = pytest.mark.slow


def arguments_of(document: str, command: str) -> list[str]:
    """Of the one example in the document that runs a command of manage.py."""
    calls = [found.text for found in read_document(document).commands if f"manage.py {command} " in f"{found.text} "]
    return shlex.split(calls[0].partition("manage.py ")[2])


def test_the_report_of_finance_is_written(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "november.csv"
    arguments = [str(file) if each == file.name else each for each in arguments_of("docs/finance.md", "export_report")]
    assert str(file) in arguments
    shop.run(*arguments)
    lines = list(csv.reader(file.read_text().splitlines()))
    assert lines[0] == [column.name for column in REPORTS["daily"].columns]
    assert len(lines) == 1 + 30
