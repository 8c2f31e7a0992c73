"""Several worker hosts on one PostgreSQL, each in a network of its own: two are lost in the middle of a purchase.

The database's host is a bare server, opened to the hosts as docs/deployment.md says; web and sandbox run there too. A
host has a cable to it, and nothing else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests

from esimshop.sandbox import DEFAULT_API_KEY, DEFAULT_TOKEN
from orders.services.purchase_lock import PURCHASE_LOCK
from tests.deploy.buyers import Buyers
from tests.deploy.server import Server, blocks_of
from tests.deploy.settling import LOOSE_POLICY, assert_every_payment_is_one_esim
from tests.outside import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "deployment.md").read_text()
DATABASE_HOST = "10.0.0.1"
SANDBOX_PORT, OFFERED_PORT = 8900, 8901
SANDBOX_URL, SHOP_URL = f"http://127.0.0.1:{SANDBOX_PORT}", "http://127.0.0.1:8000"
PASSWORD = "password-of-the-hosts"
ESIMGO_TIMEOUT, DELAY = 6, 5
HOSTS = ("one", "two", "three")


class Hosts:
    """The database's host with web and sandbox, and worker hosts by their names."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._enter = ["nsenter", f"--net=/proc/{server.pid}/ns/net"]
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        # As the page has it, the options of the address too.
        options = re.search(r"esimshop\?(sslmode=[^`]*)`", PAGE)
        assert options
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "READ_DOT_ENV": "off",
            "DEBUG": "off",
            "SECRET_KEY": "a-long-random-text-that-nobody-can-guess-0123456789",
            "DATA_KEYS": "bm90LWEtcmVhbC1rZXktb25seS1mb3ItdGVzdHMtMDE=",
            "ALLOWED_HOSTS": "127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": SHOP_URL,
            "PUBLIC_URL": SHOP_URL,
            "DATABASE_URL": f"postgres://esimshop:{PASSWORD}@{DATABASE_HOST}:5432/esimshop?{options[1]}",
            "TELEGRAM_BOT_TOKEN": DEFAULT_TOKEN,
            "TELEGRAM_WEBHOOK_SECRET": "webhook-secret-of-the-hosts",
            "TELEGRAM_API_BASE_URL": f"{SANDBOX_URL}/bot",
            "TELEGRAM_WEB_APP_JS_URL": f"{SANDBOX_URL}/telegram-web-app.js",
            "ESIMGO_API_KEY": DEFAULT_API_KEY,
            "ESIMGO_BASE_URL": f"{SANDBOX_URL}/esimgo/v2.5",
            "ESIMGO_TIMEOUT": str(ESIMGO_TIMEOUT),
        }

    def open_database(self) -> None:
        """Roles as on the page, the network as on the page, and the tables, made by their owner."""
        self.server.run(
            f"ip link add bridge type bridge; ip address add {DATABASE_HOST}/24 dev bridge; ip link set bridge up"
        )
        roles = PROJECT / "deploy" / "postgres" / "roles.sql"
        # Only root can read the way to the working tree.
        self.server.write("/opt/esimshop/current/deploy/postgres/roles.sql", roles.read_text())
        [block] = [block for block in blocks_of("More worker hosts", PAGE) if "listen_addresses" in block]
        self.server.run(block.replace("RUNTIME_PASSWORD=...", f"RUNTIME_PASSWORD={PASSWORD} OWNER_PASSWORD={PASSWORD}"))
        owner = f"hostssl esimshop esimshop_owner {DATABASE_HOST}/32 scram-sha-256"
        self.server.run(f"echo '{owner}' >> /etc/postgresql/15/main/pg_hba.conf; systemctl restart postgresql")
        owners = self.environment["DATABASE_URL"].replace("//esimshop:", "//esimshop_owner:")
        self.manage("migrate", "--no-input", "--verbosity=0", DATABASE_URL=owners)

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a command of manage.py on the database's host."""
        result = subprocess.run(
            ["nsenter", f"--net=/proc/{self.server.pid}/ns/net", sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    def python(self, code: str) -> str:
        return self.manage("shell", "--verbosity=0", "-c", code)

    def start_outside_world_and_web(self) -> None:
        sandbox = {**self.environment, "DEBUG": "on", "TELEGRAM_BOT_TOKEN": "", "ESIMGO_API_KEY": ""}
        command = [sys.executable, str(PROJECT / "manage.py"), "sandbox", f"--port={SANDBOX_PORT}"]
        self.server.spawn(command, sandbox, log="sandbox")
        self.server.spawn(
            [*_relay(f"{DATABASE_HOST}:{OFFERED_PORT}", f"127.0.0.1:{SANDBOX_PORT}")], self.environment, log="offered"
        )
        wait_until(lambda: self.answers(f"{SANDBOX_URL}/sandbox/faults"), seconds=60)
        self.ask_sandbox("/sandbox/settings", {"rate_limit": False, "balance_usd": 1_000_000})
        self.manage("sync_catalog")
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--chdir",
            str(PROJECT),
            "--config",
            str(PROJECT / "gunicorn.conf.py"),
        ]
        self.server.spawn([*command, "--bind=127.0.0.1:8000"], self.environment, log="web")
        wait_until(lambda: self.answers(f"{SHOP_URL}/healthz"), seconds=60)
        self.manage("set_webhook")
        self.python(LOOSE_POLICY)

    def start(self, name: str) -> None:
        """A host with its cable, a way to the outside world through it, and a worker."""
        keeper = self._keepers[name] = self.server.spawn(
            ["unshare", "--net", "sleep", "infinity"], self.environment, log=f"{name}-keeper"
        )
        wait_until(lambda: os.readlink(f"/proc/{keeper.pid}/ns/net") != os.readlink(f"/proc/{self.server.pid}/ns/net"))
        time.sleep(0.1)
        address = f"10.0.0.{10 + len(self._keepers)}"
        enter = ["nsenter", f"--net=/proc/{keeper.pid}/ns/net"]
        for command in (
            ["ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "cable", "netns", str(keeper.pid)],
            ["ip", "link", "set", f"to-{name}", "master", "bridge", "up"],
        ):
            subprocess.run(["nsenter", f"--net=/proc/{self.server.pid}/ns/net", *command], check=True)
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["ip", "address", "add", f"{address}/24", "dev", "cable"],
            ["ip", "link", "set", "cable", "up"],
        ):
            subprocess.run([*enter, *command], check=True)
        relay = _relay(f"127.0.0.1:{SANDBOX_PORT}", f"{DATABASE_HOST}:{OFFERED_PORT}")
        self.server.spawn([*enter, *relay], self.environment, log=f"{name}-way-out")
        worker = [sys.executable, str(PROJECT / "manage.py"), "worker"]
        self._workers[name] = self.server.spawn([*enter, *worker], self.environment, log=f"{name}-worker")

    def kill_worker(self, name: str) -> None:
        self._workers[name].kill()

    def cut(self, name: str) -> None:
        """Pull the cable: nothing is said to either side."""
        subprocess.run([*self._enter, "ip", "link", "set", f"to-{name}", "down"], check=True)

    def watch(self) -> None:
        """Be able to see at any time who has the purchase of the account in hand."""
        with self.server.network():
            self._session = psycopg.connect(self.environment["DATABASE_URL"], autocommit=True)

    def buying(self) -> str | None:
        """The host that has it."""
        row = self._session.execute(
            "SELECT host(client_addr) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted",
            [PURCHASE_LOCK],
        ).fetchone()
        return list(self._keepers)[int(row[0].rpartition(".")[2]) - 11] if row else None

    def answers(self, url: str) -> bool:
        with self.server.network():
            try:
                return requests.get(url, timeout=5).ok
            except requests.ConnectionError:
                return False

    def ask_sandbox(self, path: str, body: Json | None = None) -> Json:
        with self.server.network():
            answer = requests.request("GET" if body is None else "POST", f"{SANDBOX_URL}{path}", json=body, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def catch_buying(self, among: set[str]) -> str:
        """A host that has just sent a purchase, for whose answer it has to wait three seconds more."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.ask_sandbox("/sandbox/faults", {"target": "esimgo.POST /orders", "kind": "delay", "seconds": DELAY})
            delayed_until = time.monotonic() + DELAY + 1
            while time.monotonic() < delayed_until:
                before = self.buying(), self._sold()
                time.sleep(1)  # an answer without delay takes a tenth of it
                if before[0] in among and before == (self.buying(), self._sold()):
                    return str(before[0])
        raise AssertionError("nobody buys")

    def _sold(self) -> int:
        return len(self.ask_sandbox("/sandbox/ledger")["orders"])

    def sells_again(self) -> None:
        """Wait until the last one has bought; what the two that were lost had in hand may still arrive before."""
        sold = self._sold()
        wait_until(lambda: self._sold() > sold + 2, seconds=120)


def _relay(listen: str, connect: str) -> list[str]:
    """Pass connections on: the sandbox speaks to its own machine only."""
    return ["systemd-socket-activate", f"--listen={listen}", "/lib/systemd/systemd-socket-proxyd", connect]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Server() as server:
        running = Hosts(server)
        running.open_database()
        running.start_outside_world_and_web()
        for name in HOSTS:
            running.start(name)
        wait_until(lambda: running.answers(f"{SHOP_URL}/readyz"), seconds=60)
        yield running


def test_of_three_hosts_one_is_killed_and_one_cut_off_and_the_last_goes_on(
    hosts: Hosts, record_testsuite_property: Any
) -> None:
    hosts.watch()
    with Buyers(
        shop_url=SHOP_URL, sandbox_url=SANDBOX_URL, bundles=_bundles(hosts), network=hosts.server.network, buyers=3
    ) as buyers:
        buyers.wait_for(5)
        killed = hosts.catch_buying(set(HOSTS))
        hosts.kill_worker(killed)
        cut = hosts.catch_buying(set(HOSTS) - {killed})
        hosts.cut(cut)
        assert hosts.buying() == cut
        lost_at = time.monotonic()
        # Its session holds the lock of purchases until PostgreSQL notices that nobody is there.
        hosts.sells_again()
        stood_still = time.monotonic() - lost_at
    assert buyers.failures == []
    charges = assert_every_payment_is_one_esim(
        hosts.python, lambda: hosts.ask_sandbox("/sandbox/ledger"), hosts.server.folder, seconds=150
    )
    record_testsuite_property("worker hosts", f"{charges} paid; purchases stood still for {stood_still:.0f} s")


def _bundles(hosts: Hosts) -> list[str]:
    with hosts.server.network():
        answer = requests.get(f"{SHOP_URL}/api/plans?page_size=5", timeout=10).json()
    return [plan["bundle"] for plan in answer["results"]]
