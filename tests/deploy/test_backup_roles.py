"""A backup and its restoration on Debian's PostgreSQL, as the roles of a real server, which may do little."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography.fernet import Fernet

from tests.benchmarks.processes import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.server, pytest.mark.slow]
PROGRAMS = Path("/usr/lib/postgresql/15/bin")
ROLES = PROJECT / "deploy" / "postgres" / "roles.sql"


@pytest.fixture
def cluster() -> Iterator[Path]:
    """The folder of the socket of a new cluster of Debian's PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    shutil.chown(folder, "postgres")
    as_postgres = ["runuser", "--user", "postgres", "--"]
    subprocess.run(
        [*as_postgres, PROGRAMS / "initdb", "--auth=trust", "--pgdata", folder / "data"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    control = [*as_postgres, PROGRAMS / "pg_ctl", "--pgdata", folder / "data", "--wait", "--log", folder / "log"]
    options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
    subprocess.run([*control, "--options", options, "start"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield folder
    finally:
        subprocess.run([*control, "--mode=immediate", "stop"], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


def psql(cluster: Path, *arguments: str) -> None:
    subprocess.run(["psql", "--quiet", "--host", cluster, "--username", "postgres", *arguments], check=True)


def manage(cluster: Path, *command: str) -> str:
    """A command as the role that owns the tables."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "READ_DOT_ENV": "off",
        "DEBUG": "on",
        "DATA_KEYS": KEY,
        "DATABASE_URL": f"postgres://esimshop_owner@/esimshop?host={cluster}",
    }
    result = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


KEY = Fernet.generate_key().decode()


def test_the_owner_backs_up_and_restores_and_the_shop_may_use_what_comes_back(cluster: Path, tmp_path: Path) -> None:
    psql(cluster, "--file", str(ROLES))
    manage(cluster, "migrate")
    manage(cluster, "backup", str(tmp_path))
    [dump] = tmp_path.glob("*.dump")
    shop = f"postgres://esimshop@/esimshop?host={cluster}"
    count = "SELECT count(*) FROM django_migrations"
    with psycopg.connect(shop) as connection:
        before = connection.execute(count).fetchone()

    # Lost, and made anew as on a new server.
    psql(cluster, "--command", "DROP DATABASE esimshop")
    psql(cluster, "--file", str(ROLES))
    assert "is restored" in manage(cluster, "restore_backup", str(dump))

    with psycopg.connect(shop) as connection:
        assert connection.execute(count).fetchone() == before
        connection.execute("INSERT INTO esimshop_bot (id, username) VALUES (1, 'bot')")
        connection.execute("DELETE FROM esimshop_bot")
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert owners == [("esimshop_owner",)]
    # What the next migration makes is the shop's to use as well.
    with psycopg.connect(f"postgres://esimshop_owner@/esimshop?host={cluster}", autocommit=True) as connection:
        connection.execute("CREATE TABLE made_later (id int)")
    with psycopg.connect(shop) as connection:
        connection.execute("INSERT INTO made_later VALUES (1)")
