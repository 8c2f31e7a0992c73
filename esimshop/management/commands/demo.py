"""The whole shop on this machine, with the sandbox in place of Telegram and eSIM Go."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from esimshop.embedded_postgres.server import EmbeddedServer
from esimshop.sandbox import DEFAULT_API_KEY, DEFAULT_TOKEN

STAFF_NAME = "admin"
# A login for each role of setup_roles.
ROLE_NAMES = {"support": "Support", "lead": "Support lead", "finance": "Finance", "operator": "Operator"}
# Everybody knows it, and only this machine can reach the demo.
STAFF_PASSWORD = "demo"  # noqa: S105
START_SECONDS = 60
# Long enough for a purchase under way to end; what is cut off is taken up by the next start.
STOP_SECONDS = 8
MOST_RESTARTS = 5
RESTARTS_WITHIN_SECONDS = 20


PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Child:
    """A process of the demo, which is started again when it dies."""

    def __init__(self, name: str, arguments: list[str], *, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._environment = environment
        self._starts: list[float] = []
        log.write_bytes(b"")
        self.start()

    def start(self) -> None:
        self._starts.append(time.monotonic())
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self._arguments],
                cwd=settings.BASE_DIR,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the demo, which ends its children in order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def keeps_dying(self) -> bool:
        recent = [start for start in self._starts if time.monotonic() - start < RESTARTS_WITHIN_SECONDS]
        return len(recent) > MOST_RESTARTS

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Its own children (gunicorn's workers) are in its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


class Command(BaseCommand):
    help = (
        "Run the whole shop on this machine: PostgreSQL, a sandbox in place of Telegram and eSIM Go, web and "
        "worker. It talks to no outside service and reads no .env. Ctrl-C ends it; what was bought is still "
        "there next time."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="of the shop (default: 8000)")
        parser.add_argument("--sandbox-port", type=int, default=8900, help="of the sandbox (default: 8900)")
        parser.add_argument(
            "--folder",
            type=Path,
            default=settings.BASE_DIR / "var" / "demo",
            help="for logs and the sandbox's memory (default: var/demo)",
        )

    def handle(self, *, port: int, sandbox_port: int, folder: Path, **options: Any) -> None:
        self.shop_url = f"http://127.0.0.1:{port}"
        self.sandbox_url = f"http://127.0.0.1:{sandbox_port}"
        self.folder = folder.resolve()
        self.children: list[Child] = []
        self.environment = self._environment()
        self._refuse_where_it_would_do_harm()
        self._refuse_taken_ports(port=port, sandbox_port=sandbox_port)
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            began = time.monotonic()
            self._start(port=port, sandbox_port=sandbox_port)
            self._show_addresses(seconds=time.monotonic() - began)
            self._watch()
        except KeyboardInterrupt:
            pass
        finally:
            # A second Ctrl-C must not cut this short and leave processes behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            self._stop()

    # --- Before anything is started

    def _refuse_where_it_would_do_harm(self) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "DEBUG is off, so this looks like a real shop. The demo makes a staff login that everybody "
                "knows: run it without DEBUG, DATABASE_URL and the like in the environment."
            )

    def _refuse_taken_ports(self, *, port: int, sandbox_port: int) -> None:
        for option, number in (("--port", port), ("--sandbox-port", sandbox_port)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", number))
                except OSError as error:
                    raise CommandError(
                        f"Port {number} cannot be used ({error.strerror}). If another demo runs, stop it; "
                        f"or choose another port: manage.py demo {option} {number + 1}"
                    ) from None

    def _environment(self) -> dict[str, str]:
        """What the children know. Whatever this machine has set for a real shop is not among it."""
        inherited = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "DATABASE_URL")
        return {
            **{name: os.environ[name] for name in inherited if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "esimshop.settings",
            "PYTHONUNBUFFERED": "1",
            "READ_DOT_ENV": "off",
            "DEBUG": "on",
            "PUBLIC_URL": self.shop_url,
            "TELEGRAM_BOT_TOKEN": DEFAULT_TOKEN,
            "TELEGRAM_API_BASE_URL": f"{self.sandbox_url}/bot",
            "TELEGRAM_WEB_APP_JS_URL": f"{self.sandbox_url}/telegram-web-app.js",
            "TELEGRAM_WEBHOOK_SECRET": secrets.token_urlsafe(32),
            "ESIMGO_API_KEY": DEFAULT_API_KEY,
            "ESIMGO_BASE_URL": f"{self.sandbox_url}/esimgo/v2.5",
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_folder),
        }

    @property
    def _metrics_folder(self) -> Path:
        """Where web and worker keep the counters that /metrics adds up."""
        return self.folder / "metrics"

    # --- Starting

    def _start(self, *, port: int, sandbox_port: int) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING("Starting the demo shop"))
        with self._step("PostgreSQL"):
            try:
                connection.ensure_connection()
            except OperationalError as error:
                raise CommandError(str(error).strip()) from None
        shutil.rmtree(self._metrics_folder, ignore_errors=True)
        self._metrics_folder.mkdir(parents=True)
        state = str(self.folder / "sandbox.json")
        sandbox = self._child(
            "sandbox",
            [
                "manage.py",
                "sandbox",
                "--port",
                str(sandbox_port),
                "--state",
                state,
                "--shop-url",
                self.shop_url,
            ],
        )
        with self._step("Tables"):
            call_command("migrate", interactive=False, verbosity=0)
        with self._step("Roles and staff logins"):
            call_command("setup_roles", stdout=io.StringIO())
            self._make_staff_logins()
        connection.close()
        with self._step("Sandbox in place of Telegram and eSIM Go"):
            self._wait_for(f"{self.sandbox_url}/sandbox/faults", sandbox)
        web = self._child("web", self._gunicorn(port))
        worker = self._child("worker", ["manage.py", "worker"])
        with self._step("Catalogue from eSIM Go's stand-in"):
            self._run("sync_catalog")
        with self._step("Shop"):
            self._wait_for(f"{self.shop_url}/healthz", web)
        with self._step("Webhook, commands and menu button of the bot"):
            self._run("set_webhook")
        with self._step("Worker"):
            self._wait_for(f"{self.shop_url}/readyz", worker)

    def _gunicorn(self, port: int) -> list[str]:
        return [
            *("-m", "gunicorn", "esimshop.wsgi:application", "--bind", f"127.0.0.1:{port}"),
            *("--workers", "2", "--threads", "4", "--graceful-timeout", "5", "--no-control-socket"),
        ]

    def _child(self, name: str, arguments: list[str]) -> Child:
        child = Child(name, arguments, environment=self.environment, log=self.folder / f"{name}.log")
        self.children.append(child)
        return child

    def _make_staff_logins(self) -> None:
        users = get_user_model()._default_manager
        for name, role in {STAFF_NAME: None, **ROLE_NAMES}.items():
            staff, is_new = users.get_or_create(
                username=name, defaults={"is_staff": True, "is_superuser": role is None}
            )
            if is_new or not staff.check_password(STAFF_PASSWORD):
                staff.set_password(STAFF_PASSWORD)
                staff.save()
            if role:
                staff.groups.add(Group.objects.get(name=role))

    def _run(self, command: str) -> None:
        """Run a management command with the children's environment."""
        log = self.folder / f"{command}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "manage.py", command],
                cwd=settings.BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(START_SECONDS)
            except BaseException:
                process.kill()
                process.wait()
                raise
        if code:
            raise CommandError(f"{command} failed:\n{log.read_text(errors='replace').strip()}")

    def _wait_for(self, url: str, child: Child) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if child.has_ended:
                raise CommandError(f"The {child.name} {child.ending}:\n{child.last_lines()}")
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{url} did not answer as it should within {START_SECONDS} s. The end of {child.log}:\n"
                    f"{child.last_lines()}"
                )
            time.sleep(0.1)

    # --- Running

    def _watch(self) -> None:
        while True:
            time.sleep(0.2)
            for child in self.children:
                if not child.has_ended:
                    continue
                if child.keeps_dying:
                    raise CommandError(f"The {child.name} keeps dying. {child.log}:\n{child.last_lines()}")
                ending = child.ending
                child.start()
                self.stdout.write(
                    self.style.WARNING(
                        f"The {child.name} {ending} and was started again (process {child.process.pid})."
                    )
                )
                self.stdout.flush()

    def _stop(self) -> None:
        self.stdout.write("\nStopping")
        # The web first, so that nothing new comes; the sandbox last, since the others talk to it.
        for name in ("web", "worker", "sandbox"):
            for child in self.children:
                if child.name == name:
                    with self._step(name):
                        child.stop()
        with contextlib.suppress(OperationalError):
            connection.close()
        if connection.settings_dict["ENGINE"] == "esimshop.embedded_postgres":
            self._stop_postgres()
        self.stdout.write("Stopped. `make demo` (or manage.py demo) starts it again with everything in place.")

    def _stop_postgres(self) -> None:
        server = EmbeddedServer.of(settings.EMBEDDED_POSTGRES_DIR)
        server.detach()
        with self._step("PostgreSQL"):
            deadline = time.monotonic() + 3
            while server.is_running() and time.monotonic() < deadline:
                time.sleep(0.05)
        if server.is_running():
            self.stdout.write("  (PostgreSQL runs on: another process, such as a shell or a test run, uses it.)")

    # --- Telling

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self.stdout.write(f"  {name} ".ljust(52, "."), ending="")
        self.stdout.flush()
        try:
            yield
        except BaseException:
            self.stdout.write("")
            raise
        self.stdout.write(f" {time.monotonic() - began:4.1f} s")
        self.stdout.flush()

    def _show_addresses(self, *, seconds: float) -> None:
        lines = (
            (
                "Buy a plan",
                f"{self.sandbox_url}/",
                "a chat with the bot, as in Telegram; Stars are play money",
            ),
            ("Back office", f"{self.shop_url}/admin/", f"login {STAFF_NAME}, password {STAFF_PASSWORD}"),
            ("", "", f"or as one role: {', '.join(ROLE_NAMES)}; password {STAFF_PASSWORD}"),
            ("API", f"{self.shop_url}/api/schema", "OpenAPI"),
            ("Logs", os.path.relpath(self.folder), ""),
        )
        self.stdout.write(self.style.SUCCESS(f"\nReady in {seconds:.1f} s.\n"))
        for name, place, note in lines:
            self.stdout.write(f"  {name:<12} {place:<34} {note}".rstrip())
        self.stdout.write("\nCtrl-C stops it.")
        self.stdout.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    # So that a demo that was killed leaves no process that holds its ports. Only Linux has it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(url: str) -> bool:
    # No proxy of the environment: all addresses are on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
