"""Backups of the database: whole dumps by PostgreSQL's own tools, each with its checksum beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.db import connection
from django.db.backends.postgresql.client import DatabaseClient
from django.utils import timezone

from esimshop.embedded_postgres.server import EmbeddedServerError, program_folder

#: Every dump is kept so long; of the days before, the last of each.
KEEP_ALL = timedelta(days=2)
_NAME = "esimshop-%Y%m%dT%H%M%SZ.dump"
_NAMED = re.compile(r"esimshop-\d{8}T\d{6}Z\.dump")


class BackupFailed(Exception):
    """The text says why. No file of this backup is left, and the database is as it was."""


def back_up(folder: Path) -> Path:
    """Dump the database while the shop runs. Returns the file, which is there only once it is complete and readable.

    Raises: BackupFailed.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The time before the dump begins: the backup knows all until then.
    file = folder / f"{timezone.now().astimezone(UTC):{_NAME}}"
    unfinished = file.with_suffix(".unfinished")
    try:
        # Only its owner may read it: names, messages and amounts are in it.
        unfinished.touch(mode=0o600)
        _run("pg_dump", "--format=custom", "--no-password", f"--file={unfinished}")
        _run("pg_restore", "--list", str(unfinished), connects=False)
        _checksum_of(file).write_text(f"{_digest(unfinished)}  {file.name}\n")
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.rename(file)
    except OSError as error:
        raise BackupFailed(str(error)) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return file


def trim_backups(folder: Path, *, keep_days: int) -> list[Path]:
    """Remove dumps older than two days of which a younger one of the same day is kept, and all older than `keep_days`.

    The youngest always stays.
    Returns: what was removed.
    """
    now = timezone.now()
    dumps = sorted((file for file in folder.iterdir() if _NAMED.fullmatch(file.name)), reverse=True)
    removed: list[Path] = []
    days_kept = set()
    for file in dumps:
        taken = datetime.strptime(file.name, _NAME).replace(tzinfo=UTC)
        age = now - taken
        is_kept = age <= KEEP_ALL or (age <= timedelta(days=keep_days) and taken.date() not in days_kept)
        days_kept.add(taken.date())
        if not is_kept and file != dumps[0]:
            file.unlink()
            _checksum_of(file).unlink(missing_ok=True)
            removed.append(file)
    return removed


def restore(file: Path) -> None:
    """Read a dump into the database of the settings, which must be empty: all of it or nothing.

    Raises: BackupFailed.
    """
    _check(file)
    if tables := connection.introspection.table_names():
        raise BackupFailed(
            f"The database {connection.settings_dict['NAME']} is not empty: it has {len(tables)} tables. Make a new "
            "one, and let DATABASE_URL name it."
        )
    # The roles of the shop are there already, and whoever restores owns the tables.
    _run("pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--no-password", str(file))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _check(file: Path) -> None:
    try:
        expected = _checksum_of(file).read_text().split()[0]
        found = _digest(file)
    except (OSError, IndexError) as error:
        raise BackupFailed(f"{file} and its checksum {_checksum_of(file).name} cannot be read: {error}") from error
    if found != expected:
        raise BackupFailed(f"{file} is not what was written: its checksum differs. Take another backup.")


def _checksum_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _run(program: str, *arguments: str, connects: bool = True) -> None:
    """Run one of PostgreSQL's programs. No list of processes shows the password: it goes by the environment."""
    connection.ensure_connection()
    # As `manage.py dbshell` would call psql.
    settings = {**connection.settings_dict, **_address()}
    (_, *server, database), environment = DatabaseClient.settings_to_cmd_args_env(settings, [])
    command: Sequence[str] = [_find(program), *(server if connects else []), *arguments]
    if connects:
        command = [*command, f"--dbname={database}"]
    result = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise BackupFailed(f"{program}: {result.stderr.strip() or f'exit code {result.returncode}'}")


def _address() -> dict[str, object]:
    """Where the connection that is open leads: the embedded server's address stands in no settings."""
    params = connection.get_connection_params()
    return {
        "HOST": params.get("host", ""),
        "PORT": params.get("port", ""),
        "USER": params.get("user", ""),
        "NAME": params["dbname"],
    }


def _find(program: str) -> str:
    """The program in the server's own version: an older one refuses, a younger one writes what it cannot read."""
    version = str(connection.pg_version // 10_000)  # type: ignore[attr-defined]  # the stubs do not know it
    places = [f"/usr/lib/postgresql/{version}/bin/{program}", shutil.which(program) or ""]
    with contextlib.suppress(EmbeddedServerError):
        places.append(str(program_folder() / program))
    for place in filter(os.path.exists, places):
        told = subprocess.run([place, "--version"], capture_output=True, text=True, check=True).stdout
        if told.split()[2].startswith(f"{version}."):
            return place
    raise BackupFailed(
        f"{program} of PostgreSQL {version} is not installed. On Debian and Ubuntu: apt-get install "
        f"postgresql-client-{version}"
    )
