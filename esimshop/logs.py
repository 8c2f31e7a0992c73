"""Logs: readable lines while developing, one JSON object a line in production, and secrets in neither.

Secrets are the bot token (part of every Bot API URL), keys, webhook secret, initData and activation codes.
"""

import logging.config
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import structlog
from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from structlog.types import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

_SECRET_SETTINGS = (
    "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_WEBHOOK_SECRET",
    "ESIMGO_API_KEY",
    "ESIMGO_API_KEY_OLD",
    "METRICS_TOKEN",
    "SECRET_KEY",
    "SENTRY_DSN",
)
# A shorter value is no secret, and replacing it would garble every line.
_SHORTEST_SECRET = 6

_NAMES_OF_SECRETS = (
    r"(?:x[-_])?(?:telegram[-_]bot[-_])?api[-_]?(?:key|secret[-_]token)"
    r"|(?:bot|secret|metrics|csrf)[-_]?token|token|secret(?:[-_]key)?|password|authorization|cookie"
    r"|init[-_]?data|tgwebappdata|matching[-_]?id|activation[-_]?code|pin|puk"
)
_NAME_OF_SECRET = re.compile(_NAMES_OF_SECRETS, re.IGNORECASE)
# Each with words of which one is in every text that it finds: a search for a word costs a tenth of a pattern's, and
# every line of the log passes here.
_SECRET_TEXTS = (
    # A bot token, on its own or in a Bot API URL.
    (("/bot",), re.compile(r"(/bot)\d+(?::|%3A)[^/\s\"'?]+", re.IGNORECASE), rf"\1{REDACTED}"),
    ((":", "%3a"), re.compile(r"\b\d{5,}(?::|%3A)[A-Za-z0-9_-]{30,}", re.IGNORECASE), REDACTED),
    # initData, as it travels and inside a launch URL.
    (("tma",), re.compile(r"\btma\s+[^\s\"']{8,}", re.IGNORECASE), f"tma {REDACTED}"),
    (
        ("hash", "signature"),
        re.compile(r"(?<![A-Za-z])(hash|signature)(=|%3D)[A-Za-z0-9_-]{40,}", re.IGNORECASE),
        rf"\1\2{REDACTED}",
    ),
    # An activation code, also percent-encoded inside an install link.
    (("lpa",), re.compile(r"LPA(?::|%3A)1(?:\$|%24)[^\s\"'<>\\]+", re.IGNORECASE), REDACTED),
    # PostgreSQL's words on a row that a constraint refused: the whole of it.
    (("failing row",), re.compile(r"(Failing row contains )\([^\n]*"), rf"\1{REDACTED}"),
    # The password of a database URL.
    (("://",), re.compile(r"(://[^:/?#\s\"']*:)[^@/\s\"']+@"), rf"\1{REDACTED}@"),
    # Named values: JSON, reprs, headers and query strings.
    (
        (
            *("key", "token", "secret", "password", "authorization", "cookie"),
            *("init", "tgwebappdata", "matching", "activation", "pin", "puk"),
        ),
        re.compile(
            rf"(?<![A-Za-z])((?:{_NAMES_OF_SECRETS})[\"']?\s*[=:]\s*(?:(?:bearer|basic)\s+)?[\"']?)(?!\[redacted\])[^\s\"'&,;<>}}\])]{{4,}}",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
)

_WORD = re.compile(r"[\w./-]*")


def redact(text: str, *secrets: str) -> str:
    """The text without what the settings keep secret, what looks like a secret, and the given secrets."""
    for secret in (*secrets, *_secrets_of_settings()):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
    folded = text.casefold()
    for words, pattern, replacement in _SECRET_TEXTS:
        if any(word in folded for word in words):
            text = pattern.sub(replacement, text)
    return text


def _secrets_of_settings() -> list[str]:
    # While the settings are being read there is nothing to ask them.
    return _read_secrets() if settings.configured else []


@cache
def _read_secrets() -> list[str]:
    single = [str(getattr(settings, name, "") or "") for name in _SECRET_SETTINGS]
    return [*single, *getattr(settings, "DATA_KEYS", [])]


@receiver(setting_changed)
def _forget_secrets(**changed: object) -> None:
    _read_secrets.cache_clear()


def _redacted(value: Any, name: str = "") -> Any:
    """A copy of a nested value without secrets, neither in its texts nor under a name of a secret."""
    match value:
        case str() | bytes() if name and _NAME_OF_SECRET.fullmatch(name):
            return REDACTED
        case str():
            return redact(value)
        case bytes():
            return redact(value.decode(errors="replace"))
        case Mapping():
            return {key: _redacted(item, str(key)) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(item, name) for item in value]
    return value


def _redact_event(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    # The formatter keeps its own things under names with an underscore, and needs the exception as it is.
    return {
        name: value if name.startswith("_") or name == "exc_info" or _is_plain(name, value) else _redacted(value, name)
        for name, value in event.items()
    }


def _is_plain(name: str, value: Any) -> bool:
    """A word on its own, such as most values are: the whole line is searched for it anyway, see RedactingFormatter."""
    return type(value) is str and _WORD.fullmatch(value) is not None and not _NAME_OF_SECRET.fullmatch(name)


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record and takes the secrets out of the whole line, traceback and reprs included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def logging_config(*, debug: bool) -> dict[str, Any]:
    """The value of LOGGING; also sends structlog's events the same way.

    Whatever is bound with structlog.contextvars (order, charge, update) is on every line, also of libraries.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "redacting": {
                "()": RedactingFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *_renderers(debug=debug),
                ],
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "redacting"}},
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            # Django's own handlers would write, and mail, what no formatter of ours has seen.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.server": {"handlers": [], "level": "INFO", "propagate": True},
            "procrastinate": {"level": "WARNING"},
        },
    }


def _renderers(*, debug: bool) -> list[Processor]:
    if debug:
        plain = structlog.dev.plain_traceback
        return [_redact_event, structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    # The traceback becomes a text before secrets are sought: afterwards its quotes would be escaped.
    return [structlog.processors.format_exc_info, _redact_event, structlog.processors.JSONRenderer()]
