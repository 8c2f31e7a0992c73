"""Reading how Telegram reaches us, for metrics and alerts: its word on our webhook, and our certificate."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.utils import timezone

from esimshop.clients.certificates import CertificateError, CertificateRefused, read_certificate_end
from esimshop.clients.telegram import ALLOWED_UPDATES, TelegramError, telegram_client
from esimshop.logs import redact
from payments.models import WebhookState
from payments.services.bot_set_up import webhook_url

log = structlog.get_logger(__name__)

LONGEST_URL: int = WebhookState._meta.get_field("url").max_length or 0


class Place(StrEnum):
    """Where Telegram sends the bot's updates."""

    OURS = "ours"
    ELSEWHERE = "elsewhere"
    NOWHERE = "nowhere"


def watch_webhook() -> None:
    """Ask Telegram and our own address, and keep what they say; where one is silent, what it last said stays."""
    _read_webhook()
    _read_certificate()


def webhook_place(url: str) -> Place:
    """Whose webhook the address is that Telegram named."""
    if not url:
        return Place.NOWHERE
    return Place.OURS if url == webhook_url() else Place.ELSEWHERE


def missing_updates(allowed_updates: Collection[str]) -> list[str]:
    """The kinds that the shop reads and Telegram does not send; no list at all means that it sends them."""
    return sorted(set(ALLOWED_UPDATES) - set(allowed_updates)) if allowed_updates else []


def _read_webhook() -> None:
    try:
        info = telegram_client().get_webhook_info()
    except TelegramError as error:
        # No alert: the age of what is stored tells.
        log.warning("webhook_not_read", error=str(error))
        return
    _store(
        url=redact(info.url)[:LONGEST_URL],
        allowed_updates=list(info.allowed_updates),
        pending_updates=info.pending_update_count,
        last_error=redact(info.last_error_message),
        last_error_at=info.last_error_at,
        read_at=timezone.now(),
    )


def _read_certificate() -> None:
    if urlsplit(settings.PUBLIC_URL).scheme != "https":
        return
    try:
        ends_at, refusal = read_certificate_end(settings.PUBLIC_URL), ""
    except CertificateRefused as error:
        ends_at, refusal = None, str(error)
    except CertificateError as error:
        log.warning("certificate_not_read", error=str(error))
        return
    _store(certificate_ends_at=ends_at, certificate_error=refusal, certificate_read_at=timezone.now())


def _store(**fields: object) -> None:
    WebhookState.objects.update_or_create(pk=1, defaults=fields)
