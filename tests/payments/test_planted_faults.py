"""Each fault that an operator meets, planted for real: `doctor` finds it, says its cure and ends with 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import requests
from django.conf import settings as shop_settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from catalog.models import CatalogSync, WholesalerAccount
from esimshop.clients.telegram import telegram_client
from payments.services.bot_set_up import webhook_url
from tests.certificates import tls_server
from tests.factories import EsimFactory, OrderFactory
from tests.orders.esims import call_back
from tests.outside import database_url, wait_until
from tests.payments.test_doctor import ask, shop
from tests.payments.test_health import let_worker_beat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.outside import SandboxControl

__all__ = ["shop"]  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)


def set_webhook(sandbox: SandboxControl, url: str, *allowed_updates: str) -> None:
    """As somebody else does with the same token: by hand, or another shop."""
    requests.post(
        f"{sandbox.bot_api_base_url}{shop_settings.TELEGRAM_BOT_TOKEN}/setWebhook",
        json={"url": url, "allowed_updates": list(allowed_updates)},
        timeout=10,
    ).raise_for_status()


def use_another_token(sandbox: SandboxControl, settings: Any) -> None:
    settings.TELEGRAM_BOT_TOKEN = "424242:token-of-another-bot"


def give_the_bot_to_a_second_shop(sandbox: SandboxControl, settings: Any) -> None:
    set_webhook(sandbox, "http://127.0.0.1:9/api/telegram/stars/webhook", "message", "pre_checkout_query")


def leave_out_pre_checkouts(sandbox: SandboxControl, settings: Any) -> None:
    set_webhook(sandbox, webhook_url(), "message", "callback_query", "my_chat_member")


def let_updates_pile_up(sandbox: SandboxControl, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    telegram_client().set_webhook(url=webhook_url(), secret="secret")
    sandbox.post("/sandbox/users/1002/messages", {"text": "/start"})
    wait_until(lambda: telegram_client().get_webhook_info().last_error_at is not None, seconds=20)


def use_another_key(sandbox: SandboxControl, settings: Any) -> None:
    settings.ESIMGO_API_KEY = "key-of-somebody-else"


def call_back_unsigned(sandbox: SandboxControl, settings: Any) -> None:
    esim = EsimFactory(order__plan__bundle_name="esim_of_a_callback")
    assert call_back({"iccid": esim.iccid, "alertType": "Utilisation"}, signature="").status_code == 403


def call_back_with_another_key(sandbox: SandboxControl, settings: Any) -> None:
    esim = EsimFactory(order__plan__bundle_name="esim_of_a_callback")
    assert call_back({"iccid": esim.iccid, "alertType": "Utilisation"}, key="key-before").status_code == 403


def spend_the_balance(sandbox: SandboxControl, settings: Any) -> None:
    WholesalerAccount.objects.update(balance_usd=Decimal(0), read_at=timezone.now())


def put_our_clock_off(sandbox: SandboxControl, settings: Any) -> None:
    theirs = timezone.now() - timedelta(minutes=2)
    headers = {"Date": theirs.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    sandbox.fail("telegram.getMe", "status", status=503, headers=headers, times=None)


def stop_the_worker(sandbox: SandboxControl, settings: Any) -> None:
    let_worker_beat(seconds_ago=90)


def let_an_order_stick(sandbox: SandboxControl, settings: Any) -> None:
    then = timezone.now() - timedelta(minutes=40)
    OrderFactory(paid=True, plan__bundle_name="esim_stuck", paid_at=then, promise_at=then + timedelta(minutes=15))


def let_the_catalogue_grow_stale(sandbox: SandboxControl, settings: Any) -> None:
    CatalogSync.objects.update(finished_at=timezone.now() - timedelta(hours=25))


FAULTS: list[tuple[Callable[[SandboxControl, Any], None], str, str, str]] = [
    (use_another_token, "bot", "Telegram refuses the token", "Set TELEGRAM_BOT_TOKEN to what @BotFather shows"),
    (give_the_bot_to_a_second_shop, "webhook", "not to http", "manage.py set_webhook; if another shop uses this bot"),
    (leave_out_pre_checkouts, "webhook", "does not send pre_checkout_query: nobody can pay", "manage.py set_webhook"),
    (let_updates_pile_up, "webhook", "1 updates wait", "proxy, certificate and TELEGRAM_WEBHOOK_SECRET"),
    (use_another_key, "eSIM Go", "refuses us", "Check ESIMGO_API_KEY"),
    (call_back_unsigned, "callbacks", "not signed: version V2", "Choose version V3"),
    (call_back_with_another_key, "callbacks", "signed with another key", "ESIMGO_API_KEY_OLD"),
    (spend_the_balance, "balance", "Nothing is left to sell from", "Top up in eSIM Go's portal"),
    (put_our_clock_off, "Telegram's clock", "ahead of Telegram's", "NTP"),
    (stop_the_worker, "worker", "sign of life for 90 s", "manage.py worker"),
    (let_an_order_stick, "orders", "1 paid orders are past their promise", "/admin/orders/order/"),
    (let_the_catalogue_grow_stale, "catalogue", "Last synced 25 h ago", "manage.py sync_catalog"),
]


@pytest.mark.parametrize(("plant", "name", "text", "cure"), FAULTS, ids=[plant.__name__ for plant, *_ in FAULTS])
def test_a_planted_fault_is_found_with_its_cure(
    shop: SandboxControl, settings: Any, plant: Callable[[SandboxControl, Any], None], name: str, text: str, cure: str
) -> None:
    assert ask()[0] == 0, "well before"

    plant(shop, settings)

    assert_found(name, text, cure)


def assert_found(name: str, text: str, cure: str) -> None:
    code, output = ask("--json")
    problems = [finding for finding in json.loads(output) if finding["state"] == "problem"]
    assert code == 1
    assert [finding for finding in problems if finding["name"] == name and text in finding["text"]], problems
    assert any(cure in finding["cure"] for finding in problems if text in finding["text"]), problems


def test_a_migration_that_is_not_applied(shop: SandboxControl) -> None:
    graph = MigrationLoader(connection).graph
    [(app, newest)] = graph.leaf_nodes("payments")
    before = next(name for label, name in graph.forwards_plan((app, newest))[-2::-1] if label == app)
    call_command("migrate", app, before, fake=True, verbosity=0)
    try:
        assert_found("migrations", f"1 migrations are not applied: {app} {newest}", "manage.py migrate")
    finally:
        call_command("migrate", app, fake=True, verbosity=0)


@pytest.mark.parametrize(
    ("ends_in", "is_trusted", "code", "text"),
    [
        (timedelta(days=60), True, 0, "in 59 days"),
        (timedelta(days=13, hours=1), True, 0, "in 13 days"),
        (timedelta(days=2, hours=1), True, 1, "in 2 days"),
        (timedelta(days=-1), True, 1, "is not good: certificate has expired"),
        (timedelta(days=60), False, 1, "is not good: unable to get local issuer"),
    ],
)
def test_a_certificate_near_its_end(
    shop: SandboxControl, settings: Any, tmp_path: Path, monkeypatch: Any, ends_in: timedelta, is_trusted: bool,
    code: int, text: str,
) -> None:  # fmt: skip
    with tls_server(tmp_path, monkeypatch, ends_in=ends_in, is_trusted=is_trusted) as url:
        settings.PUBLIC_URL = url
        telegram_client().set_webhook(url=webhook_url(), secret="secret")
        ended_with, output = ask("--json")
    [finding] = [finding for finding in json.loads(output) if finding["name"] == "certificate"]
    assert text in finding["text"]
    assert (ended_with, "renews it" in finding["cure"]) == (code, ends_in < timedelta(days=14) or not is_trusted)


# Callbacks: what is known of the refused ones


def test_a_signed_callback_after_the_unsigned_ones_is_the_end_of_the_trouble(
    shop: SandboxControl, settings: Any
) -> None:
    esim = EsimFactory(order__plan__bundle_name="esim_of_a_callback")
    body = {"iccid": esim.iccid, "alertType": "Utilisation"}
    call_back(body, signature="")
    assert ask()[0] == 1
    assert call_back(body).status_code == 200
    assert ask()[0] == 0


def test_strangers_leave_no_trace(shop: SandboxControl) -> None:
    for body in (
        b"",
        b"{",
        b"[" * 100_000,
        b'"8944538000000000001"',
        b'{"iccid": {}}',
        b'{"iccid": "8944538999999999999"}',
    ):
        assert call_back(body, signature="").status_code == 403
    assert ask()[0] == 0


# As it is really run


def environment_of(sandbox: SandboxControl) -> dict[str, str]:
    """What a process of its own needs to be this shop."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "READ_DOT_ENV": "off",
        "DEBUG": "on",
        "ALERT_CHAT_ID": "1002",
        "DATABASE_URL": database_url(),
        "TELEGRAM_BOT_TOKEN": shop_settings.TELEGRAM_BOT_TOKEN,
        "TELEGRAM_API_BASE_URL": sandbox.bot_api_base_url,
        "ESIMGO_API_KEY": shop_settings.ESIMGO_API_KEY,
        "ESIMGO_BASE_URL": sandbox.esimgo_base_url,
    }


def test_the_command_in_a_shell(shop: SandboxControl) -> None:
    def doctor(**changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", "doctor"],
            cwd=shop_settings.BASE_DIR,
            env=environment_of(shop) | changes,
            capture_output=True,
            text=True,
            timeout=120,
        )

    well = doctor()
    assert (well.returncode, "problem " in well.stdout) == (0, False), well.stdout + well.stderr
    ill = doctor(ESIMGO_API_KEY="key-of-somebody-else")
    assert ill.returncode == 1
    assert "problem  eSIM Go" in ill.stdout
    assert "key-of-somebody-else" not in ill.stdout + ill.stderr
