"""What the documents name exists: tests and files of tests; and the columns of the reports are explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from payments.reports.books import REPORTS

PROJECT = Path(__file__).resolve().parents[1]
PROCESS = (PROJECT / "docs" / "payment-process.md").read_text()
TESTS = "\n".join(file.read_text() for file in (PROJECT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PROCESS))))
def test_a_test_that_guards_a_property_exists(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(?:tests/)?((?:\w+/)?test_\w+\.py)`", PROCESS))))
def test_a_file_of_tests_exists(path: str) -> None:
    assert list((PROJECT / "tests").rglob(path))


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_the_finance_handbook_explains_every_column_of_a_report(name: str) -> None:
    handbook = (PROJECT / "docs" / "finance.md").read_text()
    section = handbook.split(f"\n### {name}:")[1].split("\n### ")[0].split("\n## ")[0]

    explained = set(re.findall(r"`([a-z0-9_]+)`", section))

    assert {column.name for column in REPORTS[name].columns} <= explained
