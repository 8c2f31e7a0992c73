"""Nothing secret in a log: not in a message, an argument, an event, a traceback or a library's line."""

import io
import json
import logging
import logging.config
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from esimshop.logs import RedactingFormatter, logging_config, redact

TOKEN = "5555555:AAFZehRPBRs8Seg40oDjTMIW8uTGPuW1zfQ"
HASH = "2174df5b000556d044f3f020384e879c8efcab55ddea2ced4eb752e93e7080d6"
INIT_DATA = f"user=%7B%22id%22%3A279058397%7D&auth_date=1733584787&hash={HASH}"
MATCHING_ID = "JQ-28S4YU-1OHXVSO"
LPA = f"LPA:1$rsp.truphone.com${MATCHING_ID}"
API_KEY = "api-key-of-this-test"
OLD_KEY = "old-key-of-this-test"
WEBHOOK_SECRET = "webhook-secret-of-this-test"

SECRETS = {
    "token": (TOKEN, TOKEN),
    "token in a URL": (f"POST https://api.telegram.org/bot{TOKEN}/sendMessage", TOKEN),
    "short token in a URL": ("http://127.0.0.1:8900/bot77:short/getMe", "short"),
    "API key": (f"key {API_KEY} refused", API_KEY),
    "old API key": (f"{OLD_KEY}", OLD_KEY),
    "webhook secret": (f"got {WEBHOOK_SECRET}", WEBHOOK_SECRET),
    "a header": ("{'X-API-Key': 'of-somebody-else'}", "of-somebody-else"),
    "Telegram's header": ("x-telegram-bot-api-secret-token: of-another", "of-another"),
    "bearer": ("Authorization: Bearer abc.def", "abc.def"),
    "initData": (f"Authorization: tma {INIT_DATA}", HASH),
    "hash of initData": (f"bad initData {INIT_DATA}", HASH),
    "initData in a launch URL": (f"https://shop.example/#tgWebAppData=user%3Dx%26hash%3D{HASH}&v=1", HASH),
    "activation code": (f"sent {LPA} to them", MATCHING_ID),
    "activation code in a link": (f"carddata=LPA%3A1%24rsp.truphone.com%24{MATCHING_ID}", MATCHING_ID),
    "matching id in JSON": (json.dumps({"matchingId": MATCHING_ID}), MATCHING_ID),
    "matching id in a repr": (f"InstallData(iccid='89', matching_id='{MATCHING_ID}')", MATCHING_ID),
    "a row that a constraint refused": (f"DETAIL:  Failing row contains (1, 8944, {MATCHING_ID}).", MATCHING_ID),
    "database password": ("postgres://shop:hunter22@db.example/shop", "hunter22"),
}


@pytest.fixture(autouse=True)
def _secrets(settings: Any) -> None:
    settings.TELEGRAM_BOT_TOKEN = TOKEN
    settings.ESIMGO_API_KEY = API_KEY
    settings.ESIMGO_API_KEY_OLD = OLD_KEY
    settings.TELEGRAM_WEBHOOK_SECRET = WEBHOOK_SECRET


@pytest.fixture(params=[True, False], ids=["development", "production"])
def logged(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What the configured handler writes, with the real formatter of each mode."""
    formatter = logging_config(debug=request.param)["formatters"]["redacting"]
    made = formatter.pop("()")(**formatter)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(made)
    logger = logging.getLogger("tests.logs")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_taken_out_of_a_text(name: str) -> None:
    text, secret = SECRETS[name]

    assert secret in text
    assert secret not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "order 0a1b2c3d-0000-4000-8000-000000000000 moved: paid -> provisioning",
        "charge stxXYZ_abcdefghijklmnopqrstuvwxyz0123456789 of 552 Stars",
        "2026-11-24T13:39:00.427990Z [info] outside_call service=telegram ms=12",
        "GET http://127.0.0.1:8000/api/plans?area=FR 200",
        "eSIM 8943108170000000017 at rsp.truphone.com",
        "the tma scheme, a token and a secret are words",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_an_error_keeps_what_helps() -> None:
    text = redact(f"POST https://api.telegram.org/bot{TOKEN}/sendMessage failed: chat not found")

    assert text == "POST https://api.telegram.org/bot[redacted]/sendMessage failed: chat not found"


def test_redacting_twice_is_redacting_once() -> None:
    once = redact('{"matchingId": "K2-SECRET-1", "key": "api_key=abcdef"}')
    assert redact(once) == once == '{"matchingId": "[redacted]", "key": "api_key=[redacted]"}'


def test_secrets_that_the_caller_knows_are_taken_out_too() -> None:
    assert redact("key-of-a-client said no", "key-of-a-client") == "[redacted] said no"


@pytest.mark.parametrize("name", SECRETS)
def test_no_line_has_a_secret_wherever_it_stood(logged: io.StringIO, name: str) -> None:
    text, secret = SECRETS[name]
    library = logging.getLogger("tests.logs")
    ours = structlog.get_logger("tests.logs")

    library.error(text)
    library.error("with an argument: %s", text)
    library.error("with an object: %r", {"nested": [text]})
    ours.error("event", text=text, nested={"list": [text, (text,)]}, raw=text.encode())
    ours.error(text)
    try:
        raise ValueError(text)
    except ValueError:
        library.exception("raised")
        ours.exception("raised")

    output = logged.getvalue()
    assert output.count("ValueError") >= 2
    assert secret not in output


@pytest.mark.parametrize("name", ["matching_id", "activation_code", "init_data", "token", "api_key", "Authorization"])
def test_a_value_under_the_name_of_a_secret_is_taken_out(logged: io.StringIO, name: str) -> None:
    structlog.get_logger("tests.logs").error("event", **{name: "plain-looking"}, nested={name: "plain-looking"})

    assert "plain-looking" not in logged.getvalue()
    assert logged.getvalue().count("[redacted]") == 2


def test_bound_ids_are_on_every_line_of_ours_and_of_libraries(logged: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(order_id="order-1"):
        logging.getLogger("tests.logs").warning("from a library")
        structlog.get_logger("tests.logs").warning("from us")

    lines = logged.getvalue().splitlines()
    assert len(lines) == 2
    assert all("order-1" in line for line in lines)


def test_a_line_of_production_is_one_json_object() -> None:
    script = (
        "import django, logging; django.setup()\n"
        "try: raise ValueError('two\\nlines')\n"
        "except ValueError: logging.getLogger('any').exception('it %s', 'broke')\n"
    )
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "esimshop.settings",
        "READ_DOT_ENV": "off",
        "DEBUG": "off",
        "SECRET_KEY": "secret-key-of-this-test",
        "ALLOWED_HOSTS": "shop.example",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example",
        "DATABASE_URL": "postgres://shop@127.0.0.1:9/shop",
    }

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["logger"]) == ("it broke", "error", "any")
    assert "two\nlines" in event["exception"]


@pytest.mark.parametrize("debug", [True, False])
def test_every_handler_redacts(debug: bool) -> None:
    config = logging_config(debug=debug)

    assert config["handlers"]
    for handler in config["handlers"].values():
        assert config["formatters"][handler["formatter"]]["()"] is RedactingFormatter
    for logger in config["loggers"].values():
        assert not logger.get("handlers")
