"""What a run starts and stops again: a PostgreSQL of its own, and the shop's processes in production's settings."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from esimshop.embedded_postgres.server import EmbeddedServer
from esimshop.sandbox import DEFAULT_API_KEY, DEFAULT_TOKEN

if TYPE_CHECKING:
    from types import TracebackType

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 10
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class NotStarted(Exception):
    """A process ended, or did not answer in time; the text has the end of its log."""


class Processes:
    """A context: on leaving it every process has ended and the database is gone.

    environment: of all processes, and meant for this one too.
    """

    def __init__(self) -> None:
        # A short path, since the name of a socket in it has little room.
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
        self.shop_port, self.bare_port, self.sandbox_port = _free_ports(3)
        self.sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"
        self.postgres_log = self.folder / "postgres" / "log"
        self._postgres = EmbeddedServer.of(self.folder / "postgres")
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Processes:
        address = self._postgres.attach()
        self.environment = {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "esimshop.settings",
            "READ_DOT_ENV": "off",
            "DEBUG": "off",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATA_KEYS": Fernet.generate_key().decode(),
            "STAFF_SECOND_FACTOR": "optional",
            "ALLOWED_HOSTS": "127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": f"http://127.0.0.1:{self.shop_port}",
            "DATABASE_URL": f"postgres://{address.user}@/esimshop?host={address.socket_folder}",
            "PUBLIC_URL": f"http://127.0.0.1:{self.shop_port}",
            "TELEGRAM_BOT_TOKEN": DEFAULT_TOKEN,
            "TELEGRAM_API_BASE_URL": f"{self.sandbox_url}/bot",
            "TELEGRAM_WEB_APP_JS_URL": f"{self.sandbox_url}/telegram-web-app.js",
            "TELEGRAM_WEBHOOK_SECRET": secrets.token_urlsafe(32),
            "ESIMGO_API_KEY": DEFAULT_API_KEY,
            "ESIMGO_BASE_URL": f"{self.sandbox_url}/esimgo/v2.5",
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, _ in reversed(self._running):
            stop_process(process)
        self._postgres.detach()
        deadline = time.monotonic() + STOP_SECONDS
        while self._postgres.is_running() and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_sandbox(self, *, rate_sheet: Path) -> None:
        self._start("sandbox", "manage.py", "sandbox", f"--port={self.sandbox_port}", f"--rate-sheet={rate_sheet}")
        self._wait_for(f"{self.sandbox_url}/sandbox/faults")

    def start_shop(self) -> None:
        self._start_gunicorn("shop", "esimshop.wsgi:application", self.shop_port)
        self._wait_for(f"http://127.0.0.1:{self.shop_port}/healthz")

    def start_bare(self) -> None:
        self._start_gunicorn("bare", "tests.benchmarks.bare:application", self.bare_port)
        self._wait_for(f"http://127.0.0.1:{self.bare_port}/healthz")

    def start_worker(self) -> None:
        self._start("worker", "manage.py", "worker")
        self._wait_for(f"http://127.0.0.1:{self.shop_port}/readyz")

    def _start_gunicorn(self, name: str, application: str, port: int) -> None:
        # Named here, since the figures that are wanted were set for these.
        self._start(
            name,
            *("-m", "gunicorn", application, f"--bind=127.0.0.1:{port}"),
            *("--workers=2", "--threads=4", "--no-control-socket"),
        )

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=PROJECT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the run, which ends them in order.
                start_new_session=True,
            )
        self._running.append((process, log))
        return process

    def _wait_for(self, url: str) -> None:
        """Wait until `url` answers 200, for the process that was started last."""
        process, log = self._running[-1]
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").splitlines()[-25:]
                raise NotStarted(f"{url} does not answer as it should. The end of the log:\n" + "\n".join(lines))
            time.sleep(0.1)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # Its own children, such as gunicorn's workers, are in its session.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
