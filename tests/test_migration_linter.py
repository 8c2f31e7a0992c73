"""The linter of migrations, as CI runs it: what locks or loses is refused."""

from __future__ import annotations

import importlib
import shutil
import sys
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as project
from django.core.management import call_command
from django_migration_linter.management.commands.lintmigrations import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db

ORDERS = project.BASE_DIR / "orders" / "migrations"
LAST = max(path.stem for path in ORDERS.glob("0*.py"))
PLANTED = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("orders", "{last}")]
    operations = [{operation}]
"""
BAD = {
    "a column that old code does not fill": (
        'migrations.AddField("order", "colour", models.CharField(max_length=9, default=""))',
        "NOT NULL constraint on columns",
    ),
    "a column that becomes required": (
        'migrations.AlterField("order", "paid_at", models.DateTimeField(default="2026-01-01T00:00Z"))',
        "NOT NULL constraint on columns",
    ),
    "a dropped column": ('migrations.RemoveField("order", "paid_at")', "DROPPING columns"),
    "a dropped table": ('migrations.DeleteModel("delivery")', "DROPPING table"),
    "a renamed column": ('migrations.RenameField("order", "paid_at", "charged_at")', "RENAMING columns"),
    "an index that locks": (
        'migrations.AddIndex("order", models.Index(fields=["paid_at"], name="planted"))',
        "CREATE INDEX locks table",
    ),
    "a data migration that cannot be undone": ("migrations.RunPython(lambda apps, editor: None)", "RunPython"),
}
GOOD = {
    "a column with a default of the database": (
        'migrations.AddField("order", "colour", models.CharField(max_length=9, default="", db_default=""))'
    ),
    "a column that may be empty": 'migrations.AddField("order", "seen_at", models.DateTimeField(null=True))',
    "a new table": 'migrations.CreateModel("Colour", [("id", models.BigAutoField(primary_key=True))])',
}


@pytest.fixture
def plant(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Give orders one more migration, with this operation."""

    def _plant(operation: str) -> None:
        shutil.copytree(ORDERS, tmp_path / "planted", ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "planted" / "9999_planted.py").write_text(PLANTED.format(last=LAST, operation=operation))
        importlib.invalidate_caches()
        settings.MIGRATION_MODULES = {"orders": "planted"}

    monkeypatch.syspath_prepend(tmp_path)
    yield _plant
    for name in [name for name in sys.modules if name.partition(".")[0] == "planted"]:
        del sys.modules[name]


def lint() -> tuple[int, str]:
    """The exit code and the words of the linter."""
    with redirect_stdout(StringIO()) as said:
        try:
            call_command(Command(), no_color=True)
        except SystemExit as error:
            return int(error.code or 0), said.getvalue()
    return 0, said.getvalue()


def test_the_migrations_of_the_shop_pass() -> None:
    assert lint()[0] == 0


@pytest.mark.parametrize("name", BAD)
def test_a_migration_that_locks_or_loses_is_refused(plant: Callable[[str], None], name: str) -> None:
    operation, complaint = BAD[name]
    plant(operation)

    code, said = lint()

    assert code == 1
    assert "(orders, 9999_planted)... ERR" in said
    assert complaint in said


@pytest.mark.parametrize("name", GOOD)
def test_a_migration_that_old_code_can_live_with_passes(plant: Callable[[str], None], name: str) -> None:
    plant(GOOD[name])

    assert lint()[0] == 0


def test_the_baseline_holds_no_migration_that_came_after_it() -> None:
    """The tool knows names without apps: a later migration of such a name would go unseen."""
    tool = tomllib.loads((project.BASE_DIR / "pyproject.toml").read_text())["tool"]["django_migration_linter"]
    files = [path for app in tool["include_apps"] for path in (project.BASE_DIR / app / "migrations").glob("*.py")]

    assert sorted(path.stem for path in files if path.stem in tool["ignore_name"]) == [
        "0002_nothing_lost",
        "0002_nothing_lost",
        "0003_back_office",
        "0004_mini_app",
        "0005_back_office",
        "0005_back_office",
        "0007_encrypted_at_rest",
        "0007_networks_and_rates",
    ]
