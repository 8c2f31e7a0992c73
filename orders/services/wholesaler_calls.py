"""The calls to eSIM Go that were made for an order, kept without their secrets for whoever must find out what happened.

Kept once the work on the order is done: no purchase waits for it, and none fails by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction

from esimshop.clients.calls import OutsideCall, told_calls
from esimshop.logs import REDACTED, redact
from orders.models import WholesalerCall

log = structlog.get_logger(__name__)

LONGEST_RESPONSE = 4000
#: A longer answer is not read a second time; catalogue and lists of a whole account are never kept anyway.
LONGEST_READ_BYTES = 1024 * 1024
LONGEST_TEXT = 500

#: Names, without case and punctuation, whose values would let somebody install an eSIM, or act as we do. As parts of
#: a name, since the wholesaler adds fields without notice.
_SECRET_NAME = re.compile(
    r"matching|activation|confirmation|lpa|rspurl|qr|installurl|carddata|apikey|token|secret|password|email|^pin\d?$|^puk\d?$"
)
_ICCID = re.compile(r"(?<!\d)89\d{13,16}(\d{4})(?!\d)")


@contextmanager
def kept_calls(order_id: UUID | str | None) -> Iterator[None]:
    """Keep what this thread asks of eSIM Go meanwhile as the order's WholesalerCall rows; for no order, nothing.

    Written at the end in one statement; where that fails the log says so, and the work stands as it is.
    Use it outside transactions, like the calls themselves.
    """
    if order_id is None:
        yield
        return
    calls: list[OutsideCall] = []
    try:
        with told_calls(calls.append):
            yield
    finally:
        _keep(order_id, [call for call in calls if call.service == "esimgo"])


def _keep(order_id: UUID | str, calls: list[OutsideCall]) -> None:
    if not calls:
        return
    try:
        rows = [_row(order_id, call) for call in calls]
        with transaction.atomic():
            WholesalerCall.objects.bulk_create(rows)
    except (DatabaseError, ValueError, RecursionError):
        log.exception("wholesaler_calls_not_kept", order_id=str(order_id), calls=len(calls))


def _row(order_id: UUID | str, call: OutsideCall) -> WholesalerCall:
    return WholesalerCall(
        order_id=order_id,
        call=call.call,
        outcome=call.outcome,
        http_status=call.status,
        request=clean(dict(call.request)),
        response=_response(call),
        duration_ms=round(call.seconds * 1000),
        started_at=call.started_at,
    )


def _response(call: OutsideCall) -> str:
    """The beginning of the answer, and what was wrong with it where its status does not say so."""
    answer = _readable(call.content)
    is_explained = call.status is not None and call.status >= 400
    parts = [answer] if is_explained and answer else [redact(call.error), answer]
    text = "\n".join(part for part in parts if part)
    return text if len(text) <= LONGEST_RESPONSE else f"{text[: LONGEST_RESPONSE - 1]}…"


def _readable(content: bytes) -> str:
    """An answer as text without secrets. Of what is no JSON, such as assignments as CSV, only its size is told."""
    if not content:
        return ""
    if len(content) <= LONGEST_READ_BYTES:
        try:
            return json.dumps(clean(json.loads(content)), ensure_ascii=False, indent=1)
        except (ValueError, RecursionError):
            pass
    return f"[{len(content):,} bytes, not shown: no JSON, or too much]"


def clean(value: Any) -> Any:
    """A copy of JSON without secrets: neither under the names that the wholesaler gives them, nor repeated elsewhere.

    ICCIDs keep their last four digits.
    """
    secrets = [secret for secret in _secrets_in(value) if len(secret) >= 4]
    return _cleaned(value, secrets)


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if _is_secret(name):
                yield from _texts_in(item)
            else:
                yield from _secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_in(item)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _is_secret(name: Any) -> bool:
    return _SECRET_NAME.search(re.sub(r"[^a-z0-9]", "", str(name).lower())) is not None


def _cleaned(value: Any, secrets: list[str]) -> Any:
    match value:
        case Mapping():
            return {
                _cleaned(str(name), secrets): REDACTED if item and _is_secret(name) else _cleaned(item, secrets)
                for name, item in value.items()
            }
        case list() | tuple():
            return [_cleaned(item, secrets) for item in value]
        case str():
            return _cleaned_text(value, secrets)
        case int() if not isinstance(value, bool) and len(str(abs(value))) > 15:
            return _cleaned_text(str(value), secrets)
    return value


def _cleaned_text(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = _ICCID.sub(r"…\1", redact(text))
    # What no database stores: a NUL, half of a surrogate pair.
    text = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
