"""docs/deployment.md, typed on a bare Debian from the first line to the last; then restarts and an upgrade under load.

Its `sh` blocks run as they stand, but for what is named in TYPED_OTHERWISE. The server is one of namespaces (server.py)
with Debian's own Python, PostgreSQL and Caddy; only systemd is stood in for, by a program that reads the units
(supervisor.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from esimshop.sandbox import DEFAULT_API_KEY, DEFAULT_TOKEN
from tests.deploy.buyers import Buyers
from tests.deploy.server import BlockFailed, Server, blocks_of
from tests.deploy.settling import LOOSE_POLICY, assert_every_payment_is_one_esim
from tests.outside import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "deployment.md").read_text()
FIRST, SECOND = "1.0.0", "1.1.0"
SANDBOX_PORT = 8900
SANDBOX_URL = f"http://127.0.0.1:{SANDBOX_PORT}"
SHOP_URL = "https://localhost"
AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"

# What a test types otherwise than the page has it: the server's name and the place of the code are its own; the address
# is of this machine, about which Django warns; its certificate lasts for half a day, the one problem that doctor may
# find; and nobody is there to answer questions.
TYPED_OTHERWISE = {
    "DOMAIN=shop.example": "DOMAIN=localhost",
    "REPOSITORY=https://git.example/esimshop.git": "REPOSITORY=file://{repository}",
    "--fail-level WARNING": "--fail-level ERROR",
    "esimshop createsuperuser": (
        "DJANGO_SUPERUSER_PASSWORD=password-of-the-owner"
        " esimshop createsuperuser --no-input --username owner --email owner@shop.example"
    ),
    "esimshop doctor": (
        "esimshop doctor > /opt/findings"
        """ || [ "$(grep ^problem /opt/findings | cut --delimiter ' ' --fields 3)" = certificate ]"""
    ),
}
# The lines of the environment that are edited; the rest stays as .env.example has it.
ENVIRONMENT = {
    "SECRET_KEY": "a-long-random-text-that-nobody-can-guess-0123456789-abcdefg",
    "ALLOWED_HOSTS": "localhost,127.0.0.1",
    "CSRF_TRUSTED_ORIGINS": SHOP_URL,
    "PUBLIC_URL": SHOP_URL,
    "DATABASE_URL": "postgres:///esimshop?host=/run/postgresql",
    "DATA_KEYS": "bm90LWEtcmVhbC1rZXktb25seS1mb3ItdGVzdHMtMDE=",
    "TELEGRAM_BOT_TOKEN": DEFAULT_TOKEN,
    "TELEGRAM_WEBHOOK_SECRET": "webhook-secret-of-the-walk",
    "TELEGRAM_API_BASE_URL": f"{SANDBOX_URL}/bot",
    "TELEGRAM_WEB_APP_JS_URL": f"{SANDBOX_URL}/telegram-web-app.js",
    "ESIMGO_API_KEY": DEFAULT_API_KEY,
    "ESIMGO_BASE_URL": f"{SANDBOX_URL}/esimgo/v2.5",
    "METRICS_TOKEN": "metrics-token-of-the-walk",
}
EDITOR = """#!/usr/bin/python3
import re, sys
with open(sys.argv[1]) as file:
    text = file.read()
for name, value in {values!r}.items():
    text, edits = re.subn(rf"^(# )?{{name}}=.*$", f"{{name}}={{value}}", text, flags=re.MULTILINE)
    assert edits == 1, name
with open(sys.argv[1], "w") as file:
    file.write(text)
"""
# A release that adds a column and an index on a table that is being written, as the page advises.
MIGRATION = """
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("orders", "{latest}")]
    operations = [
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        migrations.AddField("order", "note", models.TextField(null=True)),
        AddIndexConcurrently("order", models.Index(fields=["note"], name="order_note")),
    ]
"""
MODEL = """

models.TextField(null=True).contribute_to_class(Order, "note")
Order._meta.indexes.append(models.Index(fields=["note"], name="order_note"))
"""


class Walk:
    """What is typed on the server, in one shell's memory of its variables."""

    def __init__(self, server: Server, repository: Path) -> None:
        self.server = server
        self._repository = repository
        self._variables = ""

    def section(self, name: str) -> list[str]:
        """Type the blocks of a section of the page. Returns what each wrote."""
        return [self.block(block) for block in blocks_of(name, PAGE)]

    def block(self, block: str) -> str:
        for theirs, ours in TYPED_OTHERWISE.items():
            block = block.replace(theirs, ours.replace("{repository}", str(self._repository)))
        if all(re.match(r"[A-Z]+=", line) for line in block.splitlines()):
            self._variables += block
            return ""
        if block.startswith("RELEASE="):
            self._variables += block.splitlines()[0] + "\n"
        # Packages come by the network of this machine.
        return self.server.run(self._variables + block, has_internet="pip" in block)

    def set(self, **variables: str) -> None:
        self._variables += "".join(f"{name}={value}\n" for name, value in variables.items())

    def python(self, code: str) -> str:
        """Run a line of Python in the shop's own shell."""
        self.server.write("/opt/code", code)
        return self.server.run('esimshop shell --verbosity 0 -c "$(cat /opt/code)"')


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree with two tagged releases: as it is, and with a migration more."""
    folder = tmp_path_factory.mktemp("code") / "esimshop"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for file in filter(None, files):
        if (PROJECT / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / file, folder / file)

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=Tests", "-c", "user.email=tests@shop.example"]
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "As it is")
    git("tag", FIRST)
    latest = max(path.stem for path in (folder / "orders/migrations").glob("[0-9]*.py"))
    (folder / "orders/migrations/9999_note.py").write_text(MIGRATION.replace("{latest}", latest))
    with (folder / "orders/models.py").open("a") as models:
        models.write(MODEL)
    git("add", "--all")
    git("commit", "--quiet", "--message", "With a note")
    git("tag", SECOND)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def sandbox(server: Server) -> str:
    """Telegram and eSIM Go, on the server's own loopback, which trust its certificate authority."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "READ_DOT_ENV": "off",
        "DEBUG": "on",
        "REQUESTS_CA_BUNDLE": f"{server.root}{AUTHORITY}",
    }
    command = [
        sys.executable,
        str(PROJECT / "manage.py"),
        "sandbox",
        f"--port={SANDBOX_PORT}",
        f"--shop-url={SHOP_URL}",
    ]
    server.spawn(command, environment, log="sandbox")

    def answers() -> bool:
        try:
            return bool(ask_sandbox(server, "/sandbox/settings", {"rate_limit": False, "balance_usd": 1_000_000}))
        except requests.ConnectionError:
            return False

    wait_until(answers, seconds=30)
    return SANDBOX_URL


@pytest.fixture(scope="module")
def shop(server: Server, sandbox: str, repository: Path) -> Walk:
    """The page, typed up to the shop that is open."""
    server.write("/usr/local/bin/editor", EDITOR.format(values=ENVIRONMENT), mode=0o755)
    walk = Walk(server, repository)
    *blocks, opening = blocks_of("A plain Debian server", PAGE)
    for block in blocks:
        walk.block(block)
    # Caddy has made it by now.
    wait_until((server.root / AUTHORITY.lstrip("/")).exists, seconds=20)
    walk.section("A local certificate")
    walk.block(opening)
    walk.python(LOOSE_POLICY)
    return walk


def ask_sandbox(server: Server, path: str, body: Json | None = None) -> Json:
    with server.network():
        answer = requests.request("GET" if body is None else "POST", f"{SANDBOX_URL}{path}", json=body, timeout=30)
    answer.raise_for_status()
    return dict(answer.json())


def get(server: Server, url: str, **details: Any) -> requests.Response:
    with server.network():
        return requests.get(url, timeout=30, verify=f"{server.root}{AUTHORITY}", **details)


def start_buying(server: Server, **details: Any) -> Buyers:
    plans = get(server, f"{SHOP_URL}/api/plans?page_size=5").json()["results"]
    return Buyers(
        shop_url=SHOP_URL,
        sandbox_url=SANDBOX_URL,
        bundles=[plan["bundle"] for plan in plans],
        network=server.network,
        trust=f"{server.root}{AUTHORITY}",
        **details,
    )


def assert_books_are_equal(walk: Walk) -> None:
    assert_every_payment_is_one_esim(
        walk.python, lambda: ask_sandbox(walk.server, "/sandbox/ledger"), walk.server.folder
    )


def refused_by_the_proxy(server: Server) -> list[str]:
    """Requests that Caddy answered with an error of the server's side, of the webhook too."""
    entries = [json.loads(line) for line in server.log("caddy.service").splitlines() if line.startswith("{")]
    served = [entry for entry in entries if entry.get("logger", "").startswith("http.log.access")]
    assert served
    return [f"{entry['status']} {entry['request']['uri']}" for entry in served if entry["status"] >= 500]


def releases_of(server: Server, command: str) -> set[str]:
    """The releases whose code the processes of a command run."""
    return {os.readlink(f"/proc/{pid}/cwd").rpartition("/")[2] for pid in server.processes_of(command)}


def test_a_stranger_who_types_the_page_has_a_shop(shop: Walk) -> None:
    server = shop.server
    assert get(server, f"{SHOP_URL}/readyz").json()["status"] == "ready"
    # Who comes by plain HTTP is sent on, and whoever came by HTTPS stays with it.
    plain = get(server, "http://localhost/", allow_redirects=False)
    assert (plain.status_code, plain.headers["Location"]) == (308, f"{SHOP_URL}/")
    page = get(server, f"{SHOP_URL}/")
    assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert "Server" not in page.headers
    # Static files, by their hashed names, from the shop itself.
    script = re.search(r'src="(/static/[^"]+\.js)"', page.text)
    assert script
    assert "immutable" in get(server, SHOP_URL + script[1]).headers["Cache-Control"]
    # Two folders of which others may read neither the secrets nor change the code.
    assert server.run("stat --format '%a %U %G' /etc/esimshop/environment").split() == ["640", "root", "esimshop"]
    with pytest.raises(BlockFailed):
        server.run("runuser --user esimshop -- touch /opt/esimshop/current/manage.py")
    webhook = server.run("esimshop webhook_info")
    assert f"{SHOP_URL}/api/telegram/stars/webhook" in webhook


def test_a_purchase_goes_through_the_proxy(shop: Walk) -> None:
    with start_buying(shop.server, buyers=1, pause_seconds=0.1) as buyers:
        buyers.wait_for(1)
    assert buyers.failures == []
    assert_books_are_equal(shop)


def test_the_proxy_believes_no_callers_word_and_logs_nothing_secret(shop: Walk) -> None:
    server = shop.server
    forged = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "http",
        "X-Telegram-Bot-Api-Secret-Token": "guessed-secret",
    }
    with server.network():
        answer = requests.post(
            f"{SHOP_URL}/api/telegram/stars/webhook?token=in-the-query",
            json={"update_id": 1},
            headers=forged,
            verify=f"{server.root}{AUTHORITY}",
            timeout=30,
        )
        assert answer.status_code == 403
        large = requests.post(
            f"{SHOP_URL}/api/telegram/stars/webhook",
            data=b"x" * (1024 * 1024 + 1),
            headers={"X-Telegram-Bot-Api-Secret-Token": ENVIRONMENT["TELEGRAM_WEBHOOK_SECRET"]},
            verify=f"{server.root}{AUTHORITY}",
            timeout=30,
        )
        assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")
        # /metrics takes what comes by the proxy for a stranger, whatever address it names.
        assert requests.get(f"{SHOP_URL}/metrics", verify=f"{server.root}{AUTHORITY}", timeout=30).status_code == 403
        mine = {"Authorization": f"Bearer {ENVIRONMENT['METRICS_TOKEN']}"}
        metrics = requests.get(f"{SHOP_URL}/metrics", headers=mine, verify=f"{server.root}{AUTHORITY}", timeout=30)
        assert metrics.status_code == 200
    written = server.log("caddy.service")
    assert "/api/telegram/stars/webhook" in written
    for secret in ("guessed-secret", "in-the-query", "tma ", ENVIRONMENT["TELEGRAM_WEBHOOK_SECRET"], "203.0.113.7"):
        assert secret not in written
    everything = written + "".join(server.log(f"esimshop-{unit}.service") for unit in ("web", "worker@1", "worker@2"))
    for secret in (ENVIRONMENT["SECRET_KEY"], ENVIRONMENT["METRICS_TOKEN"], DEFAULT_TOKEN):
        assert secret not in everything


def test_the_running_shop_may_change_rows_and_no_table(shop: Walk) -> None:
    def psql(user: str, statement: str) -> str:
        return shop.server.run(f'runuser --user {user} -- psql --quiet --tuples-only -d esimshop -c "{statement}"')

    for statement in (
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE orders_order ADD COLUMN mine int",
        "DROP TABLE orders_order",
        "TRUNCATE orders_orderevent",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "SET ROLE esimshop_owner",
        "COPY orders_order TO '/tmp/orders'",
        "SELECT pg_read_file('/etc/passwd')",
    ):
        with pytest.raises(BlockFailed, match=r"permission denied|must be (owner|superuser)"):
            psql("esimshop", statement)
    owners = psql("postgres", "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").split()
    assert owners == ["esimshop_owner"]
    # PostgreSQL itself writes the reports.
    assert "payment_id" in shop.server.run("esimshop export_report payments")


def test_a_rolling_restart_under_load_fails_no_request_and_loses_no_update(
    shop: Walk, record_testsuite_property: Any
) -> None:
    server = shop.server
    before = set(server.processes_of("gunicorn")), set(server.processes_of("manage.py worker"))
    with start_buying(server) as buyers:
        buyers.wait_for(5)
        shop.section("Rolling restart")
        buyers.wait_for(5)
    assert before[0].isdisjoint(server.processes_of("gunicorn"))
    assert before[1].isdisjoint(server.processes_of("manage.py worker"))
    assert buyers.failures == []
    assert refused_by_the_proxy(server) == []
    assert_books_are_equal(shop)
    record_testsuite_property("rolling restart", buyers.summary())


def test_a_reload_under_load_makes_nobody_wait(shop: Walk) -> None:
    server = shop.server
    with start_buying(server) as buyers:
        buyers.wait_for(3)
        server.run("systemctl reload esimshop-web")
        buyers.wait_for(20)
    assert buyers.failures == []
    assert refused_by_the_proxy(server) == []


def test_a_killed_worker_comes_back(shop: Walk) -> None:
    server = shop.server
    killed = server.processes_of("manage.py worker")[0]
    os.kill(killed, 9)
    wait_until(
        lambda: len(server.processes_of("manage.py worker")) == 2 and killed not in server.processes_of("manage"),
        seconds=20,
    )


def test_an_upgrade_with_migrations_under_load_fails_no_request_and_loses_no_update(
    shop: Walk, record_testsuite_property: Any
) -> None:
    server = shop.server
    shop.set(VERSION=SECOND)
    beside, *steps = blocks_of("Upgrade", PAGE)
    shop.block(beside)  # files alone, which the running shop does not see
    with start_buying(server) as buyers:
        buyers.wait_for(3)
        for step in steps:
            shop.block(step)
        buyers.wait_for(5)
    assert buyers.failures == []
    assert refused_by_the_proxy(server) == []
    assert releases_of(server, "gunicorn") == releases_of(server, "manage.py worker") == {SECOND}
    # The new code writes what the migration added.
    assert shop.python("from orders.models import Order; print(Order.objects.filter(note=None).count())").strip() != "0"
    assert_books_are_equal(shop)
    record_testsuite_property("upgrade", buyers.summary())


def test_the_release_before_runs_on_the_tables_of_the_new_one(shop: Walk) -> None:
    server = shop.server
    shop.set(VERSION=FIRST)
    with start_buying(server) as buyers:
        buyers.wait_for(3)
        shop.section("Back to the release before")
        buyers.wait_for(5)
    assert buyers.failures == []
    assert refused_by_the_proxy(server) == []
    assert releases_of(server, "gunicorn") == releases_of(server, "manage.py worker") == {FIRST}
    assert_books_are_equal(shop)
