"""A whole shop for the browser: sandbox, web, worker and a database of its own, as `manage.py demo` runs them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
import requests
from django.conf import settings
from django.db import connection

from esimshop.sandbox.server import DEFAULT_API_KEY, DEFAULT_TOKEN, Sandbox
from tests.outside import SandboxControl, wait_until

if TYPE_CHECKING:
    from types import TracebackType

Json = dict[str, Any]

STAFF_NAME, STAFF_PASSWORD = "lead", "password-of-the-lead"
WEBHOOK_SECRET = "webhook-secret-of-the-tests"
START_SECONDS = 90
STOP_SECONDS = 10
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
# One process for all of it: most of a command's time is its start.
_SET_UP = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", interactive=False, verbosity=0)
call_command("sync_catalog")
call_command("set_webhook")
call_command("createsuperuser", interactive=False, username="lead", email="")
"""
_customers = itertools.count(5_000_001)


class NotStarted(Exception):
    """A process ended, or did not answer in time; the text has the end of its log."""


class Shop:
    """A context: on leaving it every process has ended and the database is gone.

    url, sandbox_url: where customers meet the shop and Telegram. sandbox: to steer the outside world.
    Tests share one shop and differ by customer, so that none waits for another's start. name: of its database, for a
    shop that stands beside that one.
    """

    def __init__(self, *, name: str = "e2e") -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._bind = f"127.0.0.1:{port}"
        self._server = Sandbox(shop_url=self.url)
        self.sandbox = SandboxControl(self._server)
        self.sandbox_url = self._server.url
        self._database = f"test_{name}_{os.getpid()}"
        self._folder = tempfile.TemporaryDirectory(prefix="e2e-")
        self._bought_before = Counter[str]()
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Shop:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, *command: str) -> str:
        """Run a command of manage.py, as an operator does. Returns what it said. Raises: NotStarted if it fails."""
        self._run(command[0], "manage.py", *command)
        return self._log(command[0]).read_text()

    def new_customer(self, *, language: str = "ru", stars: int = 5000, name: str = "Вера") -> int:
        """Somebody whom the shop has never seen. Returns the Telegram id."""
        user_id = next(_customers)
        self.sandbox.post(
            "/sandbox/users",
            {"id": user_id, "first_name": name, "language_code": language, "stars": stars, "started": True},
        )
        return user_id

    def stars_of(self, user_id: int) -> int:
        """What a customer has left."""
        return next(int(user["stars"]) for user in self.sandbox.ledger()["users"] if user["id"] == user_id)

    def plan(self, bundle: str) -> Json:
        """A plan as anybody sees it in the API."""
        return dict(self._get(f"/api/plans/{bundle}"))

    def areas(self) -> list[Json]:
        """All countries and regions, likewise."""
        return list(self._get("/api/areas?page_size=100")["results"])

    def plans(self, area: str) -> list[Json]:
        """The plans of an area, likewise."""
        return list(self._get(f"/api/plans?area={area}")["results"])

    def orders_of(self, user_id: int) -> list[Json]:
        """A customer's orders as the API gives them to nobody else, newest first."""
        return list(self._get("/api/orders", self._bearer(user_id))["results"])

    def init_data_of(self, user_id: int) -> str:
        """What Telegram hands to the Mini App of a customer."""
        return str(self.sandbox.get(f"/sandbox/users/{user_id}/init-data")["init_data"])

    def place_order(self, user_id: int, bundle: str) -> Json:
        """An order that awaits its payment, made without a screen: where it is only what comes before."""
        answer = requests.post(
            f"{self.url}/api/telegram/stars/create-invoice",
            json={"plan": bundle},
            headers=self._bearer(user_id),
            timeout=15,
        )
        answer.raise_for_status()
        return dict(answer.json())

    def buy(self, user_id: int, bundle: str, *, until: str = "completed") -> Json:
        """A paid order that has come to a state, likewise."""
        placed = self.place_order(user_id, bundle)
        self.sandbox.post(f"/sandbox/users/{user_id}/pay", {"link": placed["invoice_link"]})
        path = f"/api/orders/{placed['order_id']}"

        def read() -> Json:
            return dict(self._get(path, self._bearer(user_id)))

        wait_until(lambda: read()["status"] == until, seconds=START_SECONDS)
        return read()

    def use(self, iccid: str, **changes: Any) -> None:
        """Move an eSIM's life on, and let eSIM Go tell of it."""
        self.sandbox.post(f"/sandbox/esims/{iccid}", changes)
        self.sandbox.post("/sandbox/callbacks", {"iccid": iccid})

    def start_counting(self) -> None:
        """What others bought in this shop counts no longer."""
        self._bought_before = self._count_bought()

    def bought(self, bundle: str) -> int:
        """How often the wholesaler sold a bundle since the count began."""
        return self._count_bought()[bundle] - self._bought_before[bundle]

    def _count_bought(self) -> Counter[str]:
        return Counter(item["item"] for order in self.sandbox.orders() for item in order["order"])

    # --- Processes

    def _start(self) -> None:
        self._server.start()
        # Its ten calls a second are a fact about eSIM Go and no part of what is tested here.
        self.sandbox.post("/sandbox/settings", {"rate_limit": False, "balance_usd": 1_000_000})
        self._environment = self._make_environment()
        with server_session() as session:
            session.execute(f'CREATE DATABASE "{self._database}"')
        self._spawn(
            "web",
            *("-m", "gunicorn", "esimshop.wsgi:application", "--bind", self._bind),
            *("--workers", "2", "--threads", "4", "--no-control-socket"),
        )
        self._run("set-up", "-c", _SET_UP)
        self._spawn("worker", "manage.py", "worker")
        self._wait_for(f"{self.url}/readyz")

    def _stop(self) -> None:
        for _, process in self._running:
            process.terminate()
        for _, process in self._running:
            _end(process)
        self._server.stop()
        with server_session() as session:
            session.execute(f'DROP DATABASE IF EXISTS "{self._database}" WITH (FORCE)')
        self._folder.cleanup()

    def _make_environment(self) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "esimshop.settings",
            "DJANGO_SUPERUSER_PASSWORD": STAFF_PASSWORD,
            "READ_DOT_ENV": "off",
            "DEBUG": "on",
            "DATABASE_URL": database_url(self._database),
            "PUBLIC_URL": self.url,
            "TELEGRAM_BOT_TOKEN": DEFAULT_TOKEN,
            "TELEGRAM_API_BASE_URL": self.sandbox.bot_api_base_url,
            "TELEGRAM_WEB_APP_JS_URL": f"{self.sandbox_url}/telegram-web-app.js",
            "TELEGRAM_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "ESIMGO_API_KEY": DEFAULT_API_KEY,
            "ESIMGO_BASE_URL": self.sandbox.esimgo_base_url,
            "ESIMGO_TIMEOUT": "5",
        }

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log(name).open("wb") as output:
            process = self._popen(arguments, output)
        self._running.append((name, process))
        return process

    def _run(self, name: str, *arguments: str) -> None:
        with self._log(name).open("wb") as output:
            process = self._popen(arguments, output)
        try:
            code = process.wait(START_SECONDS)
        finally:
            _end(process)
        if code:
            raise NotStarted(f"{name} failed:\n{self._last_lines(name)}")

    def _popen(self, arguments: tuple[str, ...], output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the tests, which end their processes in order.
            start_new_session=True,
        )

    def _log(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.log"

    def _last_lines(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-25:])

    def _wait_for(self, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            dead = [name for name, process in self._running if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = "\n".join(f"{name}:\n{self._last_lines(name)}" for name, _ in self._running)
                raise NotStarted(f"{url} does not answer as it should.\n{logs}")
            time.sleep(0.1)

    def _bearer(self, user_id: int) -> dict[str, str]:
        return {"Authorization": f"tma {self.init_data_of(user_id)}"}

    def _get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        answer = requests.get(f"{self.url}{path}", headers=headers, timeout=15)
        answer.raise_for_status()
        return answer.json()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # Its own children, such as gunicorn's workers, are in its session.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def _server_params() -> dict[str, Any]:
    params = connection.get_connection_params()
    return {key: params[key] for key in ("host", "port", "user", "password") if params.get(key)}


def server_session() -> psycopg.Connection[Any]:
    """To make and drop databases on the server that the tests use."""
    return psycopg.connect(**_server_params(), dbname="postgres", autocommit=True)


def database_url(name: str) -> str:
    """Of a database on that server."""
    server = _server_params()
    login = f"{server['user']}:{server['password']}" if "password" in server else server["user"]
    query = "&".join(f"{key}={server[key]}" for key in ("host", "port") if key in server)
    return f"postgres://{login}@/{name}?{query}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
