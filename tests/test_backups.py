"""Dumps: whole or not there, kept as long as asked for, and read only into an empty database."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection, connections

from esimshop import backups
from esimshop.backups import BackupFailed, back_up, restore, trim_backups

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)


@pytest.mark.django_db(transaction=True)
def test_a_backup_is_one_private_file_with_its_checksum(tmp_path: Path) -> None:
    output = io.StringIO()
    call_command("backup", str(tmp_path / "new"), "--json", stdout=output)
    report = json.loads(output.getvalue())
    [file, checksum] = sorted((tmp_path / "new").iterdir())
    assert str(file) == report["file"]
    assert report["bytes"] == file.stat().st_size > 100_000
    assert file.stat().st_mode & 0o777 == 0o600
    assert checksum.read_text().split()[1] == file.name


@pytest.mark.django_db(transaction=True)
def test_a_backup_that_fails_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "hush")
    elsewhere = {**backups._address(), "NAME": "no_such_database"}
    monkeypatch.setattr(backups, "_address", lambda: elsewhere)
    with pytest.raises(CommandError, match=r"There is no new backup.*no_such_database") as failure:
        call_command("backup", str(tmp_path))
    assert "hush" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_in_use_is_not_restored_into(tmp_path: Path) -> None:
    file = back_up(tmp_path)
    with pytest.raises(BackupFailed, match="is not empty"):
        restore(file)


@pytest.mark.django_db(transaction=True)
def test_a_backup_that_was_changed_is_refused(tmp_path: Path) -> None:
    file = back_up(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BackupFailed, match="checksum differs"):
        restore(file)
    file.with_name(f"{file.name}.sha256").unlink()
    with pytest.raises(CommandError, match=r"Nothing was restored.*sha256 cannot be read"):
        call_command("restore_backup", str(file))


@pytest.mark.django_db
def test_a_program_of_another_version_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backups._find("pg_dump")
    monkeypatch.setitem(vars(connections["default"]), "pg_version", 990_001)
    with pytest.raises(BackupFailed, match="postgresql-client-99"):
        backups._find("pg_dump")


@time_machine.travel(NOW, tick=False)
def test_two_days_are_kept_whole_and_the_last_of_each_day_for_long(tmp_path: Path) -> None:
    taken = [NOW - timedelta(hours=hours) for hours in range(0, 24 * 40, 6)]
    for moment in taken:
        (tmp_path / f"esimshop-{moment:%Y%m%dT%H%M%SZ}.dump").touch()
        (tmp_path / f"esimshop-{moment:%Y%m%dT%H%M%SZ}.dump.sha256").touch()
    (tmp_path / "something-else.dump").touch()
    removed = trim_backups(tmp_path, keep_days=30)
    left = sorted(file.name for file in tmp_path.glob("esimshop-*.dump"))
    assert len(removed) + len(left) == len(taken)
    assert len(left) == 9 + 28
    assert len({name[9:17] for name in left}) == 31
    assert all(name[18:20] == "18" for name in left[:-9])
    assert len(list(tmp_path.glob("*.sha256"))) == len(left)
    assert (tmp_path / "something-else.dump").exists()
    assert trim_backups(tmp_path, keep_days=30) == []


@time_machine.travel(NOW, tick=False)
def test_the_youngest_backup_stays_however_old_it_is(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"esimshop-2025010{day}T000000Z.dump").touch()
    trim_backups(tmp_path, keep_days=30)
    assert [file.name for file in tmp_path.iterdir()] == ["esimshop-20250102T000000Z.dump"]
