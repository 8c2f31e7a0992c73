"""docs/setup.md, walked in a clean folder with the sandbox outside: from no environment to a sale and its refund."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests
from cryptography.fernet import Fernet

from esimshop.sandbox.server import DEFAULT_API_KEY, DEFAULT_TOKEN, Sandbox
from tests.docs.chat import Chat
from tests.docs.desk import Desk
from tests.docs.documents import PROJECT, Fence, planted, read_document
from tests.e2e.shop import database_url, server_session
from tests.outside import ANNA, BEN, SandboxControl, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENT = read_document("docs/setup.md")
FENCES = [fence for fence in DOCUMENT.fences if fence.info == "sh"]
OWNER, PASSWORD = "owner", "a-password-of-the-owner"
PLAN = "esim_1GB_7D_FR_V2"
PATIENCE_SECONDS = 120
NAME = "test_docs_setup"


class Newcomer:
    """Somebody with a copy of the project, who does what the document says.

    done: fences that were run.
    """

    def __init__(self, folder: Path, sandbox: SandboxControl, port: int) -> None:
        self.folder, self.sandbox, self.port = folder, sandbox, port
        self.url = f"http://127.0.0.1:{port}"
        self.done: list[Fence] = []
        self._services: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }
        left_out = ("tests", "var", "staticfiles", "test-results", "__pycache__", ".git", ".venv", ".*_cache", ".env")
        shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*left_out))
        # What `pip install` would bring is here already.
        (folder / ".venv").symlink_to(sys.prefix)

    def fence(self, words: str) -> Fence:
        [fence] = [fence for fence in FENCES if words in fence.text]
        return fence

    def run(self, words: str, **values: str) -> str:
        """Run the one example that has these words. values: what stands in its `<…>`. Returns what it said."""
        fence = self.fence(words)
        self.done.append(fence)
        return self.sh(fence.text, **values)

    def sh(self, text: str, **values: str) -> str:
        for name, value in values.items():
            text = text.replace(f"<{name.replace('_', ' ')}>", value)
        text = text.replace("https://shop.example", self.url).replace("NAME", OWNER)
        done = subprocess.run(
            ["bash", "-ec", text],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def start(self, words: str) -> None:
        """Run the lines of an example side by side, as services."""
        fence = self.fence(words)
        self.done.append(fence)
        for at, line in enumerate(fence.text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}").splitlines()):
            with (self.folder / f"service-{at}.log").open("wb") as log:
                self._services.append(
                    subprocess.Popen(
                        ["bash", "-c", f"exec {line}"],
                        cwd=self.folder,
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def stop(self) -> None:
        for service in self._services:
            service.terminate()
        for service in self._services:
            with suppress(subprocess.TimeoutExpired):
                service.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(service.pid, 9)
            service.wait()

    def fill_in(self, values: dict[str, str]) -> None:
        """Set names in `.env`, each of which the example must have. Raises: KeyError."""
        file = self.folder / ".env"
        text = file.read_text()
        for name, value in values.items():
            text, count = re.subn(
                rf"^(# )?{name}=.*$", lambda found, to=f"{name}={value}": to, text, flags=re.MULTILINE
            )
            if count != 1:
                raise KeyError(name)
        file.write_text(text)

    def api(self, path: str) -> requests.Response:
        init_data = self.sandbox.get(f"/sandbox/users/{BEN}/init-data")["init_data"]
        return requests.get(f"{self.url}{path}", headers={"Authorization": f"tma {init_data}"}, timeout=15)

    def buy(self) -> str:
        """Ben's purchase. Returns the order's id."""
        init_data = self.sandbox.get(f"/sandbox/users/{BEN}/init-data")["init_data"]
        placed = requests.post(
            f"{self.url}/api/telegram/stars/create-invoice",
            json={"plan": PLAN},
            headers={"Authorization": f"tma {init_data}"},
            timeout=30,
        )
        assert placed.ok, placed.text
        self.sandbox.post(f"/sandbox/users/{BEN}/pay", {"link": placed.json()["invoice_link"]})
        return str(placed.json()["order_id"])

    def state_of(self, order_id: str) -> str:
        return str(self.api(f"/api/orders/{order_id}").json()["status"])


class Failed(Exception):
    """A command of the document ended with an error."""


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = Sandbox(shop_url=f"http://127.0.0.1:{port}")
    server.start()
    with server_session() as session:
        session.execute(f'DROP DATABASE IF EXISTS "{NAME}" WITH (FORCE)')
        session.execute(f'CREATE DATABASE "{NAME}"')
    somebody = Newcomer(tmp_path / "shop", SandboxControl(server), port)
    yield somebody
    somebody.stop()
    server.stop()
    with server_session() as session:
        session.execute(f'DROP DATABASE "{NAME}" WITH (FORCE)')


def one_star_policy() -> dict[str, str]:
    """What the document has one change in the pricing policy, as the form's fields."""
    rows = DOCUMENT.section("7. The first real sale").rows()
    return {row[0].strip("*").lower().replace(" ", "_"): row[1] for row in rows}


@pytest.mark.slow
def test_the_set_up_is_walked_to_the_first_sale_and_its_refund(newcomer: Newcomer) -> None:
    sandbox = newcomer.sandbox
    sandbox.post("/sandbox/settings", {"rate_limit": False})
    sandbox.post("/sandbox/users", {"id": ANNA, "started": True})
    sandbox.post("/sandbox/users", {"id": BEN, "started": True})

    # 3 and 4: the environment, and what is made from it. Half filled in, nothing starts, and it says why.
    lines = newcomer.fence("cp .env.example").text.splitlines()
    newcomer.done.append(newcomer.fence("cp .env.example"))
    assert lines.pop(0).startswith("python3 -m venv")
    newcomer.sh(lines.pop(0))
    with pytest.raises(Failed, match="SECRET_KEY"):
        newcomer.sh(lines[0])
    newcomer.fill_in(
        {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": newcomer.url,
            "PUBLIC_URL": newcomer.url,
            "DATABASE_URL": database_url(NAME),
            "DATA_KEYS": Fernet.generate_key().decode(),
            "TELEGRAM_BOT_TOKEN": DEFAULT_TOKEN,
            "TELEGRAM_WEBHOOK_SECRET": secrets.token_urlsafe(32),
            "TELEGRAM_API_BASE_URL": sandbox.bot_api_base_url,
            "TELEGRAM_WEB_APP_JS_URL": f"{sandbox.url}/telegram-web-app.js",
            "ESIMGO_API_KEY": DEFAULT_API_KEY,
            "ESIMGO_BASE_URL": sandbox.esimgo_base_url,
            "ALERT_CHAT_ID": str(ANNA),
        }
    )
    for line in lines:
        # Alone, it asks for name and password.
        newcomer.sh(
            line.replace("createsuperuser", f"createsuperuser --noinput --username {OWNER} --email o@shop.example")
        )

    newcomer.start("gunicorn --bind")
    wait_until(lambda: _is_ready(newcomer.url), seconds=PATIENCE_SECONDS)
    newcomer.run("manage.py webhook_info")
    # The other way, and back again.
    newcomer.run("delete_webhook")
    with pytest.raises(Failed):
        newcomer.sh(".venv/bin/python manage.py webhook_info")
    newcomer.sh(".venv/bin/python manage.py set_webhook")

    # 6: the login, which opens no page before there is a second factor.
    newcomer.run("remove_second_factor")
    desk = Desk(newcomer.url, OWNER, PASSWORD)
    desk.set_up_second_factor()

    # 7: a sale for one Star.
    price = _price(newcomer)
    assert price > 1
    desk.submit("/admin/catalog/pricingpolicy/add/", **one_star_policy(), reason="the first sale")
    wait_until(lambda: _price(newcomer) == 1, seconds=PATIENCE_SECONDS)
    stars = _stars_of_ben(sandbox)
    order_id = newcomer.buy()
    wait_until(lambda: newcomer.state_of(order_id) == "completed", seconds=PATIENCE_SECONDS)
    assert _stars_of_ben(sandbox) == stars - 1
    old = {"stars_per_usd": "100", "max_stars": "100000", "payout_usd_per_star": "0.013"}
    desk.submit("/admin/catalog/pricingpolicy/add/", **old, reason="the old prices")
    wait_until(lambda: _price(newcomer) == price, seconds=PATIENCE_SECONDS)

    [charge] = [row["id"] for row in sandbox.ledger()["transactions"]]
    newcomer.run("refund_payment", charge_id=charge, username=OWNER)
    wait_until(lambda: newcomer.state_of(order_id) == "refunded", seconds=PATIENCE_SECONDS)
    assert _stars_of_ben(sandbox) == stars
    Chat(sandbox, BEN).wait_for("We returned")

    desk.press("pause-sales", reason="the test alert")
    Chat(sandbox, ANNA).wait_for("Sales are paused")
    [pause] = re.findall(r"/admin/catalog/salespause/(\d+)/change/", desk.open("/admin/catalog/salespause/"))[:1]
    desk.press("resume-sales", pause, reason="it came")

    assert "orphans" in newcomer.run("reconcile_orders")
    assert set(FENCES) - set(newcomer.done) == set(), "an example was not walked"


def test_a_name_that_the_example_lacks_is_a_fault(newcomer: Newcomer) -> None:
    newcomer.sh("cp .env.example .env")
    with pytest.raises(KeyError):
        newcomer.fill_in({"NOT_IN_THE_EXAMPLE": "x"})
    with pytest.raises(Failed):
        newcomer.sh(planted("```sh\n.venv/bin/python manage.py set_web_hook\n```").fences[0].text)


def _is_ready(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{url}/readyz", timeout=5).ok
    time.sleep(0.2)
    return False


def _price(newcomer: Newcomer) -> int:
    return int(newcomer.api(f"/api/plans/{PLAN}").json()["price_stars"])


def _stars_of_ben(sandbox: SandboxControl) -> int:
    return next(int(user["stars"]) for user in sandbox.ledger()["users"] if user["id"] == BEN)
