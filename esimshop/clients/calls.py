"""What every call to an outside service has in common: its kinds of failure, its metric, its log line, its listener."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import structlog
from django.utils import timezone
from prometheus_client import Histogram

log = structlog.get_logger(__name__)

OUTSIDE_CALL_SECONDS = Histogram(
    "esimshop_outside_call_seconds",
    "Calls to Telegram, eSIM Go and our own address by outcome: ok, rejected, unreachable, outcome_unknown or bug.",
    ["service", "call", "outcome"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60),
)


class OutsideCallError(Exception):
    """A call to an outside service failed; the subclass says what its caller may do about it."""

    outcome: ClassVar[str]


@dataclass(kw_only=True)
class OutsideCall:
    """One exchange as it was, secrets included: whoever keeps it cleans it first.

    request: method, path, params and body, without headers and base URL.
    status:  HTTP status; None where no answer came. content: the answer, as far as it came.
    outcome: ok, rejected, unreachable, outcome_unknown or bug; error: its words, without the key.
    """

    service: str
    call: str
    started_at: datetime
    request: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    content: bytes = b""
    outcome: str = "bug"
    error: str = ""
    seconds: float = 0.0


Listener = Callable[[OutsideCall], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("outside_call_listener", default=None)


@contextmanager
def told_calls(listener: Listener) -> Iterator[None]:
    """Tell of every call that this thread makes meanwhile, as it ends; the innermost listener hears it.

    The listener must neither raise nor take time: the call's caller waits for it.
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def recorded_call(service: str, call: str) -> Iterator[OutsideCall]:
    """Measure and log the call inside: one histogram value and one line, without any of its contents.

    Whoever makes the call fills in what is told of it.
    """
    outside = OutsideCall(service=service, call=call, started_at=timezone.now())
    started = time.monotonic()
    try:
        yield outside
        outside.outcome = "ok"
    except OutsideCallError as error:
        outside.outcome, outside.error = error.outcome, str(error)
        raise
    finally:
        outside.seconds = time.monotonic() - started
        OUTSIDE_CALL_SECONDS.labels(service, call, outside.outcome).observe(outside.seconds)
        write = log.info if outside.outcome == "ok" else log.warning
        write("outside_call", service=service, call=call, outcome=outside.outcome, ms=round(outside.seconds * 1000))
        if listener := _LISTENER.get():
            listener(outside)
