"""`manage.py demo` as a newcomer meets it: one process in a terminal, real ports, real children."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

START_SECONDS = 90
# What a machine that also runs a real shop may have set. None of it may reach the demo.
REAL_SHOP = {
    "TELEGRAM_BOT_TOKEN": "987654:the-real-token",
    "TELEGRAM_API_BASE_URL": "https://api.telegram.org/bot",
    "TELEGRAM_WEBHOOK_SECRET": "the-real-secret",
    "ESIMGO_API_KEY": "the-real-key",
    "ESIMGO_API_KEY_OLD": "the-old-real-key",
    "SENTRY_DSN": "",
    "ALERT_CHAT_ID": "the-real-chat",
    "PUBLIC_URL": "https://the-real-shop.example",
}


class Demo:
    """A running `manage.py demo` and what it has said so far."""

    def __init__(self, *, database_url: str, folder: Path) -> None:
        self.port, self.sandbox_port = free_port(), free_port()
        self.shop_url = f"http://127.0.0.1:{self.port}"
        self.sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"
        self.process = subprocess.Popen(
            demo_command("--port", self.port, "--sandbox-port", self.sandbox_port, "--folder", folder),
            env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, **REAL_SHOP},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.output += line

    def wait_for(self, text: str, *, seconds: float = START_SECONDS) -> None:
        wait_until(lambda: text in self.output or self.process.poll() is not None, seconds=seconds, story=self.story)
        assert text in self.output, self.story()

    def story(self) -> str:
        return f"the demo said:\n{self.output}"

    def child(self, words: str) -> int:
        """The process id of the child whose command line contains `words`."""
        return next(pid for pid in children_of(self.process.pid) if words in command_line(pid))

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(40)
        self._reader.join(5)
        return code


def demo_command(*arguments: object) -> list[str]:
    return [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "demo", *map(str, arguments)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], *, seconds: float, story: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s; {story()}"
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def family_of(pid: int) -> list[int]:
    return [member for child in children_of(pid) for member in (child, *family_of(child))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        body = answer.read()
        return json.loads(body) if "json" in answer.headers["Content-Type"] else body.decode()


def groups_of_staff(database_url: str) -> dict[str, str | None]:
    with psycopg.connect(database_url) as session:
        return dict(
            session.execute(
                "SELECT username, auth_group.name FROM auth_user LEFT JOIN auth_user_groups ON auth_user.id = user_id"
                " LEFT JOIN auth_group ON auth_group.id = group_id WHERE is_staff"
            ).fetchall()
        )


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """An empty database of the demo's own, on the server that the tests use."""
    params = connection.get_connection_params()
    server = {key: params[key] for key in ("host", "port", "user", "password") if params.get(key)}
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as session:
        session.execute("DROP DATABASE IF EXISTS test_demo WITH (FORCE)")
        session.execute("CREATE DATABASE test_demo")
    login = f"{server['user']}:{server['password']}" if "password" in server else server["user"]
    query = "&".join(f"{key}={server[key]}" for key in ("host", "port") if key in server)
    yield f"postgres://{login}@/test_demo?{query}"
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as session:
        session.execute("DROP DATABASE test_demo WITH (FORCE)")


@pytest.mark.slow
def test_the_demo_starts_survives_a_killed_worker_ends_on_ctrl_c_and_starts_again(
    database_url: str, tmp_path: Path
) -> None:
    demo = Demo(database_url=database_url, folder=tmp_path)
    try:
        demo.wait_for("Ctrl-C stops it.")
        for address in (f"{demo.sandbox_url}/", f"{demo.shop_url}/admin/", f"{demo.shop_url}/api/schema"):
            assert address in demo.output
        assert get(f"{demo.shop_url}/api/plans")["count"] > 100
        assert "support, lead, finance, operator; password demo" in demo.output
        assert groups_of_staff(database_url) == {
            "admin": None,
            "support": "Support",
            "lead": "Support lead",
            "finance": "Finance",
            "operator": "Operator",
        }
        assert "csrfmiddlewaretoken" in get(f"{demo.shop_url}/admin/")

        worker = demo.child("manage.py worker")
        os.kill(worker, signal.SIGKILL)
        demo.wait_for("The worker was killed by SIGKILL and was started again", seconds=10)
        assert demo.child("manage.py worker") != worker

        family = family_of(demo.process.pid)
        assert demo.end(signal.SIGINT) == 0, demo.story()
        assert [pid for pid in family if is_alive(pid) and "postgres" not in command_line(pid)] == []
        stopped = re.findall(r"^  (\w+) \.+", demo.output.split("Stopping")[1], re.MULTILINE)
        assert stopped[:3] == ["web", "worker", "sandbox"]

        again = Demo(database_url=database_url, folder=tmp_path)
        try:
            again.wait_for("Ctrl-C stops it.")
            assert again.end(signal.SIGTERM) == 0, again.story()
        finally:
            again.process.kill()
    finally:
        demo.process.kill()


@pytest.mark.slow
def test_a_demo_that_is_killed_takes_its_children_along_and_knows_nothing_of_a_real_shop(
    database_url: str, tmp_path: Path
) -> None:
    demo = Demo(database_url=database_url, folder=tmp_path)
    try:
        demo.wait_for("Shop ....")
        family = [pid for pid in family_of(demo.process.pid) if "keeper.py" not in command_line(pid)]
        environments = [Path(f"/proc/{pid}/environ").read_text() for pid in children_of(demo.process.pid)]
        assert environments
        for value in filter(None, REAL_SHOP.values()):
            assert not any(value in environment for environment in environments), value
    finally:
        demo.process.kill()
        demo.process.wait()
    wait_until(lambda: not any(map(is_alive, family)), seconds=20)


def test_a_taken_port_is_named_with_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_demo("--port", port, "--folder", tmp_path)
    assert result.returncode == 1
    assert f"Port {port} cannot be used" in result.stderr
    assert f"--port {port + 1}" in result.stderr


def test_it_makes_no_well_known_login_in_what_looks_like_a_real_shop(tmp_path: Path) -> None:
    production = {
        "DEBUG": "off",
        "SECRET_KEY": "secret",
        "ALLOWED_HOSTS": "shop.example",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example",
        "DATABASE_URL": "postgres://shop@127.0.0.1:9/shop",
    }
    result = run_demo("--folder", tmp_path, environment=production)
    assert result.returncode == 1
    assert "looks like a real shop" in result.stderr


def run_demo(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        demo_command(*arguments),
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
