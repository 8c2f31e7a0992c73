"""Telling the operators: once per cause, by Telegram and Sentry, with a link and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from esimshop.clients.telegram import TelegramRejected, telegram_client
from esimshop.logs import redact
from esimshop.models import Alert

log = structlog.get_logger(__name__)


def raise_alert(*, cause: str, text: str, path: str = "") -> None:
    """Note that a person must know of `cause`; nothing happens while an alert of this cause is open.

    May be called inside a transaction: the message goes out after its commit.
    """
    from esimshop.tasks import send_alert_task

    text = redact(text)
    with transaction.atomic():
        alert, opened = Alert.objects.get_or_create(cause=cause, cleared_at=None, defaults={"text": text, "path": path})
        if opened:
            log.error("alert", cause=cause, text=text)
            send_alert_task.defer(alert_id=alert.pk)


def clear_alert(*, cause: str) -> None:
    """Close the alert of `cause`: the next one is told again."""
    Alert.objects.filter(cause=cause, cleared_at=None).update(cleared_at=timezone.now())


@contextmanager
def alert_on_error(*, cause: str, what: str, path: str = "") -> Iterator[None]:
    """Tell of an error that nobody foresaw, and let it go on: the row is tried again, but somebody must look."""
    try:
        yield
    except Exception as error:
        raise_alert(
            cause=cause,
            text=f"{what} broke with {type(error).__name__}. It is tried again; the log has the traceback.",
            path=path,
        )
        raise


def send_alert(alert_id: int) -> None:
    """Send an alert to ALERT_CHAT_ID and Sentry.

    Raises: TelegramUnreachable, TelegramOutcomeUnknown (the queue tries again; twice told is better than not told).
    """
    alert = Alert.objects.get(pk=alert_id)
    if alert.sent_at:
        return
    if settings.SENTRY_DSN:
        import sentry_sdk

        sentry_sdk.capture_message(alert.text, level="error", fingerprint=[alert.cause])
    if settings.ALERT_CHAT_ID:
        link = f"\n{settings.PUBLIC_URL}{alert.path}" if alert.path else ""
        try:
            telegram_client().send_message(chat_id=int(settings.ALERT_CHAT_ID), text=f"⚠️ {_escape(alert.text)}{link}")
        except TelegramRejected as error:
            log.error("alert_not_sent", cause=alert.cause, error=str(error))
    Alert.objects.filter(pk=alert_id).update(sent_at=timezone.now())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
