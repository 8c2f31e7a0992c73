"""The embedded PostgreSQL: one server however many ask, there while anybody uses it, gone after the last."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from esimshop.embedded_postgres.server import Address, EmbeddedServer, EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# A process that attaches, says so with the server's start time, and holds on until its standard input ends.
USER = """
import sys, psycopg
from pathlib import Path
from esimshop.embedded_postgres.server import EmbeddedServer
address = EmbeddedServer.of(Path(sys.argv[1])).attach()
with psycopg.connect(host=str(address.socket_folder), user=address.user, dbname="esimshop") as connection:
    print(connection.execute("select pg_postmaster_start_time()").fetchone()[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a path short enough for a socket."""
    place = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    yield place / "postgres"
    wait_until(lambda: not EmbeddedServer(place / "postgres").is_running())
    shutil.rmtree(place)


def start_user(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def started_at(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    line = user.stdout.readline().strip()
    assert line, "the process did not get to the server"
    return line


def connect(address: Address) -> psycopg.Connection[Any]:
    return psycopg.connect(host=str(address.socket_folder), user=address.user, dbname="esimshop")


def end(*users: subprocess.Popen[str]) -> None:
    for user in users:
        user.communicate(timeout=20)


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_processes_starting_at_once_share_one_server_and_the_last_lets_it_stop(folder: Path) -> None:
    users = [start_user(folder) for _ in range(4)]
    assert len({started_at(user) for user in users}) == 1
    pid = postmaster(folder)
    end(*users[:3])
    time.sleep(0.3)
    assert is_alive(pid)
    end(users[3])
    wait_until(lambda: not is_alive(pid))
    assert not (folder / "address").exists()


def test_the_server_stops_when_its_last_user_is_killed(folder: Path) -> None:
    user = start_user(folder)
    started_at(user)
    pid = postmaster(folder)
    user.kill()
    end(user)
    wait_until(lambda: not is_alive(pid))


def test_a_second_start_finds_the_data_of_the_first(folder: Path) -> None:
    server = EmbeddedServer(folder)
    for statement in ("create table kept as select 'here' as note", "select note from kept"):
        address = server.attach()
        with connect(address) as session:
            rows = session.execute(statement)
            if rows.description:
                assert rows.fetchone() == ("here",)
        server.detach()
        wait_until(lambda: not server.is_running())


def test_a_server_that_died_is_started_again_by_the_next_connection(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.attach()
    os.kill(postmaster(folder), signal.SIGKILL)
    wait_until(lambda: not server.is_running())
    address = server.attach()
    connect(address).close()
    server.detach()


def test_a_server_whose_keeper_was_killed_is_taken_over(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.attach()
    orphan = postmaster(folder)
    keeper = int(Path(f"/proc/{orphan}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not server.is_running())
    address = server.attach()
    connect(address).close()
    assert not is_alive(orphan)
    server.detach()


def test_a_forked_child_does_not_keep_the_server_of_its_parent(folder: Path) -> None:
    server = EmbeddedServer.of(folder)
    server.attach()
    child = subprocess.Popen(["sleep", "30"])
    forked = os.fork()
    if not forked:
        time.sleep(30)
        os._exit(0)
    try:
        server.detach()
        wait_until(lambda: not server.is_running())
    finally:
        child.kill()
        child.wait()
        os.kill(forked, signal.SIGKILL)
        os.waitpid(forked, 0)


def test_only_the_owner_can_reach_the_server(folder: Path) -> None:
    server = EmbeddedServer(folder)
    address = server.attach()
    for private in (address.socket_folder, folder / "data"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((address.socket_folder / ".s.PGSQL.5432").stat().st_mode) == 0o700
    with connect(address) as session:
        assert session.execute("show listen_addresses").fetchone() == ("",)
        assert session.execute("select lower('ПАРИЖ É'), current_setting('server_encoding')").fetchone() == (
            "париж é",
            "UTF8",
        )
    server.detach()


def test_a_path_too_long_for_a_socket_gets_a_private_folder_elsewhere(folder: Path) -> None:
    deep = folder / ("long" * 25)
    server = EmbeddedServer(deep)
    address = server.attach()
    assert len(str(address.socket_folder)) < 60
    assert stat.S_IMODE(address.socket_folder.stat().st_mode) == 0o700
    connect(address).close()
    server.detach()
    wait_until(lambda: not server.is_running())
    assert not address.socket_folder.exists()


def test_a_start_that_was_cut_off_half_way_leaves_nothing_in_the_way(folder: Path) -> None:
    (folder / "data.unfinished" / "base").mkdir(parents=True)
    server = EmbeddedServer(folder)
    server.attach()
    assert not (folder / "data.unfinished").exists()
    server.detach()


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = EmbeddedServer(folder)
    (folder / "data").mkdir(parents=True)
    with pytest.raises(EmbeddedServerError, match=r"postgresql\.conf"):
        server.attach()
    server.detach()


embedded_only = pytest.mark.skipif(
    connection.settings_dict["ENGINE"] != "esimshop.embedded_postgres", reason="DATABASE_URL is set"
)


@embedded_only
def test_it_refuses_to_serve_where_debug_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[os.environ["DJANGO_SETTINGS_MODULE"]], "DEBUG", False)
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        connection.get_connection_params()


@embedded_only
def test_a_folder_that_cannot_be_used_is_a_database_error(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.EMBEDDED_POSTGRES_DIR = tmp_path / "file" / "postgres"
    with pytest.raises(OperationalError, match="DATABASE_URL"):
        connection.get_connection_params()
