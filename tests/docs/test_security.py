"""The threat model names tests that exist, and every secret of the environment."""

from __future__ import annotations

import re

import pytest

from tests.docs.documents import PROJECT

TEXT = (PROJECT / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", TEXT)))
SECRETS = re.compile(r"^#? ?([A-Z_]*(?:TOKEN|SECRET|KEY|KEYS))=", re.MULTILINE)


def missing(file: str, function: str) -> bool:
    path = PROJECT / "tests" / file
    return not path.is_file() or (bool(function) and f"\ndef {function}(" not in path.read_text())


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_a_test_that_is_named_exists(file: str, function: str) -> None:
    assert not missing(file, function)


def test_each_row_names_a_test() -> None:
    rows = TEXT.partition("## Who attacks")[2].partition("\n## ")[0].splitlines()
    rows = [row for row in rows if row.startswith("| ")][1:]

    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"`[\w/]+\.py(::\w+)?` ?(\||,)", row)] == []


def test_it_says_how_every_secret_is_changed() -> None:
    secrets = set(SECRETS.findall((PROJECT / ".env.example").read_text()))
    assert {"SECRET_KEY", "TELEGRAM_BOT_TOKEN", "METRICS_TOKEN"} <= secrets

    changed = TEXT.partition("## Changing a secret")[2]

    assert {name for name in secrets if f"`{name}`" not in changed} == set()


def test_a_test_that_is_gone_is_missed() -> None:
    assert missing("test_admin.py", "test_of_nothing")
    assert missing("test_of_nothing.py", "")
