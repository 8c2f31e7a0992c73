"""Telling the operators: once per cause, by Telegram and Sentry, with a link and what to do."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.html import escape

from esimshop.clients.telegram import TelegramError, telegram_client
from esimshop.logs import redact
from esimshop.models import Alert

log = structlog.get_logger(__name__)

#: A cause that comes back so soon after it went is the same trouble: its alert is opened again and not told again.
QUIET = timedelta(minutes=10)
#: An alert that was not sent by then has lost its task, or could not be sent: the sweep tries it.
TASK_TAKES = timedelta(seconds=60)
LONGEST_CAUSE: int = Alert._meta.get_field("cause").max_length or 0
LONGEST_TEXT = 2000


def raise_alert(*, cause: str, text: str, path: str = "") -> None:
    """Note that a person must know of `cause`; nothing happens while an alert of this cause is open.

    May be called inside a transaction: the message goes out after its commit.

    text: what happened and what to do. path: the page of the admin to open, from PUBLIC_URL on.
    """
    from esimshop.tasks import send_alert_task

    cause, text = _short_cause(cause), redact(text)[:LONGEST_TEXT]
    if Alert.objects.filter(cause=cause, cleared_at=None).exists() or _reopen(cause, text=text, path=path):
        return
    with transaction.atomic():
        alert, opened = Alert.objects.get_or_create(cause=cause, cleared_at=None, defaults={"text": text, "path": path})
        if opened:
            log.error("alert", cause=cause, text=text)
            send_alert_task.defer(alert_id=alert.pk)


def _reopen(cause: str, *, text: str, path: str) -> bool:
    """Open the last alert of a cause that comes and goes; whoever was told of it was never told that it is over."""
    last = Alert.objects.filter(cause=cause).order_by("-pk").first()
    if last is None or last.cleared_at is None or last.cleared_at < timezone.now() - QUIET:
        return False
    try:
        with transaction.atomic():
            reopened = Alert.objects.filter(pk=last.pk, cleared_at=last.cleared_at).update(
                cleared_at=None, text=text, path=path
            )
    except IntegrityError:
        # Somebody else opened one at this moment.
        return True
    if reopened:
        log.warning("alert_again", cause=cause, text=text)
    return bool(reopened)


def clear_alert(*, cause: str) -> None:
    """Close the alert of `cause`: the next one is told again, unless it comes within minutes."""
    Alert.objects.filter(cause=_short_cause(cause), cleared_at=None).update(cleared_at=timezone.now())


def _short_cause(cause: str) -> str:
    """The cause as its column can keep it: Telegram's charge ids have up to 255 letters."""
    if len(cause) <= LONGEST_CAUSE:
        return cause
    digest = hashlib.sha256(cause.encode()).hexdigest()[:16]
    return f"{cause[: LONGEST_CAUSE - 17]}…{digest}"


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

    Where Telegram does not take it the log says why, Sentry has it all the same (grouped by cause), and the sweep
    tries again: also hours later, when somebody has mended ALERT_CHAT_ID. Twice told is better than not told.
    """
    alert = Alert.objects.get(pk=alert_id)
    if alert.sent_at:
        return
    if settings.SENTRY_DSN:
        import sentry_sdk

        sentry_sdk.capture_message(alert.text, level="error", fingerprint=[alert.cause])
    if settings.ALERT_CHAT_ID:
        link = f"\n{escape(settings.PUBLIC_URL + alert.path)}" if alert.path else ""
        try:
            telegram_client().send_message(chat_id=int(settings.ALERT_CHAT_ID), text=f"⚠️ {escape(alert.text)}{link}")
        # ValueError: ALERT_CHAT_ID is no number.
        except (TelegramError, ValueError) as error:
            log.error("alert_not_sent", cause=alert.cause, error=redact(str(error)))
            return
    Alert.objects.filter(pk=alert_id).update(sent_at=timezone.now())


def sweep_alerts(*, limit: int = 20) -> int:
    """Send open alerts that nobody was told of: their task died, or Telegram did not take them. Returns how many."""
    untold = Alert.objects.filter(cleared_at=None, sent_at=None, raised_at__lte=timezone.now() - TASK_TAKES)
    ids = list(untold.order_by("pk").values_list("pk", flat=True)[:limit])
    for pk in ids:
        send_alert(pk)
    return len(ids)
