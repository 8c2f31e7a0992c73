"""The shop refuses to start half configured in production."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.core import checks as django_checks
from django.db import connection

from esimshop import checks
from esimshop.sandbox import DEFAULT_API_KEY, DEFAULT_TOKEN

# As in a real shop; nothing is connected to.
PRODUCTION = {
    "READ_DOT_ENV": "off",
    "DEBUG": "off",
    "SECRET_KEY": "a-long-random-text-that-nobody-can-guess-0123456789",
    "DATA_KEYS": "made-up-made-up-made-up-made-up-made-up-mad=",
    "ALLOWED_HOSTS": "shop.example",
    "CSRF_TRUSTED_ORIGINS": "https://shop.example",
    "PUBLIC_URL": "https://shop.example",
    "DATABASE_URL": "postgres://shop:password@127.0.0.1:9/shop",
    "TELEGRAM_BOT_TOKEN": "1:AA-not_a_real_token",
    "TELEGRAM_WEBHOOK_SECRET": "not-a-real-secret",
    "ESIMGO_API_KEY": "not-a-real-key",
}


# What starts a shop: the web server as its unit does, and a worker.
STARTS = {"gunicorn": ["-m", "gunicorn", "--bind", "127.0.0.1:0"], "worker": ["manage.py", "worker"]}


def start(what: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Let a process run until it ends."""
    return subprocess.run(
        [sys.executable, *what],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], "READ_DOT_ENV": "off", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def production(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Complete settings of a real shop, in this process."""
    settings.DEBUG = False
    settings.SECRET_KEY = PRODUCTION["SECRET_KEY"]
    settings.DATA_KEYS = [PRODUCTION["DATA_KEYS"]]
    settings.ALLOWED_HOSTS = ["shop.example"]
    settings.PUBLIC_URL = "https://shop.example"
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.postgresql")
    settings.TELEGRAM_BOT_TOKEN = PRODUCTION["TELEGRAM_BOT_TOKEN"]
    settings.TELEGRAM_WEBHOOK_SECRET = PRODUCTION["TELEGRAM_WEBHOOK_SECRET"]
    settings.ESIMGO_API_KEY = PRODUCTION["ESIMGO_API_KEY"]
    settings.TELEGRAM_API_BASE_URL = "https://api.telegram.org/bot"
    settings.TELEGRAM_WEB_APP_JS_URL = "https://telegram.org/js/telegram-web-app.js"
    settings.ESIMGO_BASE_URL = "https://api.esim-go.com/v2.5"
    return settings


def found() -> set[str]:
    return {
        message.id
        for message in django_checks.run_checks(tags=[django_checks.Tags.security])
        if message.id.startswith("esimshop.")
    }


def test_a_complete_configuration_passes(production: Any) -> None:
    assert found() == set()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SECRET_KEY", "development-only", "esimshop.E001"),
        ("DATA_KEYS", [], "esimshop.E013"),
        ("DATA_KEYS", [settings.DEVELOPMENT_DATA_KEY], "esimshop.E013"),
        ("DATA_KEYS", [PRODUCTION["DATA_KEYS"], "too-short"], "esimshop.E013"),
        ("ALLOWED_HOSTS", [], "esimshop.E002"),
        ("PUBLIC_URL", "http://shop.example", "esimshop.E004"),
        ("PUBLIC_URL", "shop.example", "esimshop.E004"),
        ("TELEGRAM_BOT_TOKEN", "", "esimshop.E005"),
        ("TELEGRAM_BOT_TOKEN", "no-token", "esimshop.E005"),
        ("TELEGRAM_WEBHOOK_SECRET", "", "esimshop.E006"),
        ("TELEGRAM_WEBHOOK_SECRET", "with space", "esimshop.E006"),
        ("TELEGRAM_WEBHOOK_SECRET", "line\n", "esimshop.E006"),
        ("TELEGRAM_WEBHOOK_SECRET", "a" * 257, "esimshop.E006"),
        ("ESIMGO_API_KEY", "", "esimshop.E007"),
        ("TELEGRAM_API_BASE_URL", "http://127.0.0.1:8900/bot", "esimshop.E008"),
        ("TELEGRAM_WEB_APP_JS_URL", "http://localhost:8900/telegram-web-app.js", "esimshop.E008"),
        ("ESIMGO_BASE_URL", "http://[::1]:8900/esimgo/v2.5", "esimshop.E008"),
        ("ESIMGO_BASE_URL", "http://api.esim-go.com/v2.5", "esimshop.E009"),
        ("TELEGRAM_BOT_TOKEN", DEFAULT_TOKEN, "esimshop.E010"),
        ("ESIMGO_API_KEY", DEFAULT_API_KEY, "esimshop.E010"),
    ],
)
def test_each_gap_is_named(production: Any, name: str, value: object, expected: str) -> None:
    setattr(production, name, value)
    assert found() == {expected}
    production.DEBUG = True
    assert found() == set()


@pytest.mark.parametrize("engine", ["esimshop.embedded_postgres", "django.db.backends.sqlite3"])
def test_the_database_is_a_postgresql_server(production: Any, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setitem(connection.settings_dict, "ENGINE", engine)
    assert found() == {"esimshop.E003"}


@pytest.mark.parametrize("secret", ["a", "A-z_9" * 51, "a" * 256])
def test_every_secret_that_telegram_takes_is_taken(production: Any, secret: str) -> None:
    production.TELEGRAM_WEBHOOK_SECRET = secret
    assert found() == set()


def test_on_loopback_the_sandbox_and_plain_http_are_allowed_with_debug_off(production: Any) -> None:
    production.PUBLIC_URL = "http://127.0.0.1:8000"
    production.ALLOWED_HOSTS = ["127.0.0.1"]
    production.TELEGRAM_BOT_TOKEN = DEFAULT_TOKEN
    production.ESIMGO_API_KEY = DEFAULT_API_KEY
    production.TELEGRAM_API_BASE_URL = "http://127.0.0.1:8900/bot"
    production.ESIMGO_BASE_URL = "http://127.0.0.1:8900/esimgo/v2.5"
    assert found() == set()


def test_a_bot_api_server_of_ones_own_in_a_private_network_is_only_warned_about(production: Any) -> None:
    production.TELEGRAM_API_BASE_URL = "http://bot-api:8081/bot"
    messages = [message for message in checks.check_services_are_real() if message.id == "esimshop.E009"]
    assert [message.is_serious() for message in messages] == [False]


@pytest.mark.django_db
def test_the_version_of_postgresql_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_postgresql(databases=["default"]) == []
    monkeypatch.setattr(checks, "OLDEST_POSTGRESQL", connection.pg_version // 10_000 + 1)
    assert [message.id for message in checks.check_postgresql(databases=["default"])] == ["esimshop.E012"]


def test_the_application_server_starts_with_a_complete_configuration_even_while_the_database_is_down() -> None:
    result = start(["-c", "import esimshop.wsgi"], PRODUCTION)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("what", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "DATA_KEYS",
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
        "DATABASE_URL",
        "TELEGRAM_BOT_TOKEN",
        "TELEGRAM_WEBHOOK_SECRET",
        "ESIMGO_API_KEY",
    ],
)
def test_nothing_starts_half_configured_and_what_is_missing_is_named(what: list[str], name: str) -> None:
    result = start(what, {key: value for key, value in PRODUCTION.items() if key != name})
    assert result.returncode != 0
    assert name in result.stderr
    assert "Traceback" not in result.stderr
    assert PRODUCTION["TELEGRAM_BOT_TOKEN"] not in result.stderr


@pytest.mark.parametrize("what", STARTS.values(), ids=STARTS)
def test_with_nothing_set_everything_is_named_at_once(what: list[str]) -> None:
    result = start(what, {})
    assert result.returncode != 0
    required = set(PRODUCTION) - {"READ_DOT_ENV", "DEBUG", "PUBLIC_URL"}
    assert {name for name in required if name in result.stderr} == required
    assert "Traceback" not in result.stderr


def test_gunicorn_ends_rather_than_try_a_bad_configuration_again() -> None:
    """By the exit code after which its unit is not started again either."""
    unit = (settings.BASE_DIR / "deploy" / "systemd" / "esimshop-web.service").read_text()
    result = start(STARTS["gunicorn"], {})
    assert f"RestartPreventExitStatus={result.returncode}\n" in unit


def test_a_public_url_that_was_forgotten_is_warned_about(production: Any) -> None:
    production.PUBLIC_URL = "http://127.0.0.1:8000"
    warnings = [message.id for message in checks.check_public_url() if not message.is_serious()]
    assert warnings == ["esimshop.W001"]
    production.ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    assert not list(checks.check_public_url())
