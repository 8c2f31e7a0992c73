"""What Sentry is told: that something broke, of which kind and where, and nothing of what it broke over.

An event is not cleaned but written anew, from the parts that hold our own words. What a request, an argument, a local
variable or an error's text says may be a customer's; the whole of it is in the log of the machine, under the same ids.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import sentry_sdk
import structlog
from sentry_sdk.integrations.logging import ignore_logger

from esimshop.logs import redact

#: Facts of the process and the release, made by the SDK itself.
_PLAIN = (
    *("event_id", "timestamp", "level", "logger", "platform", "environment", "release", "server_name", "sdk"),
    *("fingerprint", "transaction", "transaction_info", "modules"),
)
_FRAME = (
    "filename",
    "abs_path",
    "module",
    "function",
    "lineno",
    "in_app",
    "pre_context",
    "context_line",
    "post_context",
)
#: Our ids, by which the log is searched.
_IDS = ("request_id", "order_id", "update_id", "charge_id")
#: Errors whose texts we make ourselves, of what a service answered and without what it was asked.
_OUR_TEXTS = "esimshop.clients."
#: The name of an event in our own log; anything else is a text that may have been filled in already.
_EVENT = re.compile(r"[a-z][a-z0-9_]*")
#: An alert is sent by its own task, with its text.
_TOLD_OTHERWISE = {"alert"}


def start_sentry(dsn: str) -> None:
    """Send errors of this process to Sentry; nothing else leaves it, and no call of ours carries Sentry's headers."""
    # A 503 of `readyz` is an answer and no error; an exception in a view comes by Django's own signal.
    ignore_logger("django_structlog.middlewares.request")
    sentry_sdk.init(
        dsn=dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        auto_session_tracking=False,
        propagate_traces=False,
        trace_propagation_targets=[],
        before_breadcrumb=trim_breadcrumb,
        before_send=scrub_event,
    )


def trim_breadcrumb(crumb: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
    """Sentry's before_breadcrumb: of a line of our log its event; calls, queries and others' lines are left out."""
    record = hint.get("log_record")
    name = _event_name(record) if record else None
    if record is None or name is None:
        return None
    return {
        "type": "log",
        "category": record.name,
        "level": crumb["level"],
        "message": name,
        "timestamp": crumb["timestamp"],
    }


def scrub_event(event: Any, hint: dict[str, Any]) -> Any:
    """Sentry's before_send: the event written anew, or None for what is told otherwise."""
    record = hint.get("log_record")
    if record is not None and _event_name(record) in _TOLD_OTHERWISE:
        return None
    told: dict[str, Any] = {name: event[name] for name in _PLAIN if name in event}
    if "message" in event:  # sent by capture_message: the text of an alert
        told["message"] = event["message"]
    if record is not None:
        told["message"] = _event_name(record) or f"{record.name}, {record.funcName}"
    if exceptions := _listed(event, "exception"):
        told["exception"] = {"values": [_exception(each) for each in exceptions]}
    told["breadcrumbs"] = {"values": _listed(event, "breadcrumbs")}
    if method := event.get("request", {}).get("method"):
        told["request"] = {"method": method}
    if runtime := event.get("contexts", {}).get("runtime"):
        told["contexts"] = {"runtime": runtime}
    bound = structlog.contextvars.get_contextvars()
    told["tags"] = {name: str(bound[name]) for name in _IDS if name in bound}
    return _redacted(told)


def _event_name(record: logging.LogRecord) -> str | None:
    name = record.msg.get("event") if isinstance(record.msg, dict) else None
    return name if isinstance(name, str) and _EVENT.fullmatch(name) else None


def _listed(event: Mapping[str, Any], name: str) -> list[Any]:
    """The SDK keeps lists as they are or under `values`."""
    held = event.get(name) or []
    return list(held.get("values", [])) if isinstance(held, Mapping) else list(held)


def _exception(found: Mapping[str, Any]) -> dict[str, Any]:
    module = found.get("module") or ""
    told = {name: found[name] for name in ("type", "module") if name in found}
    told["value"] = found.get("value", "") if module.startswith(_OUR_TEXTS) else "(the log has its text)"
    mechanism = found.get("mechanism") or {}
    told["mechanism"] = {name: mechanism[name] for name in ("type", "handled") if name in mechanism}
    frames = (found.get("stacktrace") or {}).get("frames") or []
    told["stacktrace"] = {"frames": [{name: frame[name] for name in _FRAME if name in frame} for frame in frames]}
    return told


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {key: _redacted(item) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item) for item in value]
    return value
