"""What every call to an outside service has in common: its kinds of failure, its metric and its log line."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import structlog
from prometheus_client import Histogram

log = structlog.get_logger(__name__)

OUTSIDE_CALL_SECONDS = Histogram(
    "esimshop_outside_call_seconds",
    "Calls to Telegram and eSIM Go by outcome: ok, rejected, unreachable, outcome_unknown or bug.",
    ["service", "call", "outcome"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60),
)


class OutsideCallError(Exception):
    """A call to an outside service failed; the subclass says what its caller may do about it."""

    outcome: ClassVar[str]


@contextmanager
def recorded_call(service: str, call: str) -> Iterator[None]:
    """Measure and log the call inside: one histogram value and one line, without any of its contents."""
    started = time.monotonic()
    outcome = "bug"
    try:
        yield
        outcome = "ok"
    except OutsideCallError as error:
        outcome = error.outcome
        raise
    finally:
        seconds = time.monotonic() - started
        OUTSIDE_CALL_SECONDS.labels(service, call, outcome).observe(seconds)
        write = log.info if outcome == "ok" else log.warning
        write("outside_call", service=service, call=call, outcome=outcome, ms=round(seconds * 1000))
