"""System checks: in production (DEBUG off) the shop refuses to start half configured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import connections

from esimshop.sandbox import DEFAULT_API_KEY, DEFAULT_TOKEN

OLDEST_POSTGRESQL = 15
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def in_production(check: Callable[[], Iterator[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
    def run(app_configs: Sequence[AppConfig] | None = None, **kwargs: Any) -> list[CheckMessage]:
        return [] if settings.DEBUG else list(check())

    run.__name__ = run.__qualname__ = check.__name__
    run.__doc__ = check.__doc__
    return run


@register(Tags.security)
@in_production
def check_django() -> Iterator[CheckMessage]:
    """Key, host names and database."""
    if settings.SECRET_KEY in {"", "development-only"}:
        yield Error("SECRET_KEY is not set.", hint="Set it to a long random text.", id="esimshop.E001")
    if not settings.ALLOWED_HOSTS:
        yield Error("ALLOWED_HOSTS is not set.", hint="Name the hosts of PUBLIC_URL.", id="esimshop.E002")
    engine = connections["default"].settings_dict["ENGINE"]
    if engine != "django.db.backends.postgresql":
        yield Error(f"The database is {engine}.", hint="Set DATABASE_URL to a PostgreSQL server.", id="esimshop.E003")


@register(Tags.security)
@in_production
def check_data_keys() -> Iterator[CheckMessage]:
    """Without a key of its own an activation code could be neither stored nor read."""
    hint = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
    if not settings.DATA_KEYS:
        yield Error("DATA_KEYS is not set: activation codes are encrypted with it.", hint=hint, id="esimshop.E013")
    elif settings.DEVELOPMENT_DATA_KEY in settings.DATA_KEYS:
        yield Error("DATA_KEYS holds the development key, which everybody knows.", hint=hint, id="esimshop.E013")
    elif not all(map(_is_data_key, settings.DATA_KEYS)):
        yield Error(
            "DATA_KEYS holds what is no key: each is 44 characters of A-Z, a-z, 0-9, _ and -, ending in =; "
            "commas separate them.",
            hint=hint,
            id="esimshop.E013",
        )


@register(Tags.security)
@in_production
def check_public_url() -> Iterator[CheckMessage]:
    """Customers and Telegram reach the shop by HTTPS; plain HTTP is for this machine alone."""
    url = urlsplit(settings.PUBLIC_URL)
    if not url.hostname or (url.scheme != "https" and not _is_loopback(settings.PUBLIC_URL)):
        yield Error(
            f"PUBLIC_URL is {settings.PUBLIC_URL}.",
            hint="Telegram opens Mini Apps and calls webhooks by https only.",
            id="esimshop.E004",
        )
    elif _is_loopback(settings.PUBLIC_URL) and not LOOPBACK.issuperset(settings.ALLOWED_HOSTS):
        yield CheckWarning(
            f"PUBLIC_URL is {settings.PUBLIC_URL}, but ALLOWED_HOSTS names others.",
            hint="Set it to the address at which customers and Telegram reach the shop.",
            id="esimshop.W001",
        )


@register(Tags.security)
@in_production
def check_telegram() -> Iterator[CheckMessage]:
    """Token and webhook secret. Without the secret anybody could report a payment."""
    if not re.fullmatch(r"\d+:[A-Za-z0-9_-]+", settings.TELEGRAM_BOT_TOKEN):
        yield Error("TELEGRAM_BOT_TOKEN is not set, or not a token.", hint="@BotFather gives it.", id="esimshop.E005")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", settings.TELEGRAM_WEBHOOK_SECRET):
        yield Error(
            "TELEGRAM_WEBHOOK_SECRET is not set, or is not 1 to 256 of A-Z, a-z, 0-9, _ and -.",
            hint='python -c "import secrets; print(secrets.token_urlsafe(32))"',
            id="esimshop.E006",
        )


@register(Tags.security)
@in_production
def check_esimgo() -> Iterator[CheckMessage]:
    """The key of the wholesaler."""
    if not settings.ESIMGO_API_KEY:
        yield Error("ESIMGO_API_KEY is not set.", hint="eSIM Go's portal shows it.", id="esimshop.E007")


@register(Tags.security)
@in_production
def check_services_are_real() -> Iterator[CheckMessage]:
    """A shop that others can reach must not take the sandbox's word for a payment or an eSIM."""
    is_public = not _is_loopback(settings.PUBLIC_URL)
    for name in ("TELEGRAM_API_BASE_URL", "TELEGRAM_WEB_APP_JS_URL", "ESIMGO_BASE_URL"):
        url = getattr(settings, name)
        if _is_loopback(url) and is_public:
            yield Error(
                f"{name} is on this machine, where the sandbox lives, but PUBLIC_URL is not.",
                hint="Leave it out for the real service, or name your own server as others reach it.",
                id="esimshop.E008",
            )
        elif not _is_loopback(url) and urlsplit(url).scheme != "https":
            # A Bot API server of one's own may be a neighbour in a private network.
            kind = CheckWarning if name == "TELEGRAM_API_BASE_URL" else Error
            yield kind(f"{name} is not https: what it carries can be read on the way.", id="esimshop.E009")
    is_sandbox = settings.TELEGRAM_BOT_TOKEN == DEFAULT_TOKEN or settings.ESIMGO_API_KEY == DEFAULT_API_KEY
    if is_public and is_sandbox:
        yield Error("The sandbox's token or key, but PUBLIC_URL is not on this machine.", id="esimshop.E010")


@register(Tags.database)
def check_postgresql(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """PostgreSQL new enough for what the models and queries use."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor != "postgresql":
            messages.append(Error(f"Database {alias} is {connection.vendor}.", id="esimshop.E011"))
            continue
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version_num")
            version = int(cursor.fetchone()[0]) // 10_000
        if version < OLDEST_POSTGRESQL:
            messages.append(
                Error(
                    f"Database {alias} is PostgreSQL {version}.",
                    hint=f"Version {OLDEST_POSTGRESQL} or newer is needed.",
                    id="esimshop.E012",
                )
            )
    return messages


def _is_data_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK
