"""What is kept of how Telegram reaches us, read every minute."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from esimshop.clients.telegram import telegram_client
from payments.models import WebhookState
from payments.services.bot_set_up import webhook_url
from payments.services.webhook_watch import Place, missing_updates, webhook_place
from payments.tasks import watch_webhook_task
from tests.certificates import tls_server
from tests.outside import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.outside import SandboxControl

pytestmark = pytest.mark.django_db


def watch() -> WebhookState:
    watch_webhook_task(timestamp=0)
    return WebhookState.objects.get()


def test_a_webhook_that_is_well(sandbox: SandboxControl) -> None:
    telegram_client().set_webhook(url=webhook_url(), secret="secret")
    state = watch()
    assert webhook_place(state.url) == Place.OURS
    assert missing_updates(state.allowed_updates) == []
    assert (state.pending_updates, state.last_error, state.last_error_at) == (0, "", None)
    assert state.read_at is not None
    assert (state.certificate_ends_at, state.certificate_read_at) == (None, None), "none is needed on this machine"


def test_a_webhook_that_telegram_cannot_deliver_to(sandbox: SandboxControl, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    telegram_client().set_webhook(url=webhook_url(), secret="secret")
    sandbox.post("/sandbox/users/1002/messages", {"text": "/start"})
    wait_until(lambda: watch().last_error_at is not None)
    state = WebhookState.objects.get()
    assert (state.pending_updates, "refused" in state.last_error.lower()) == (1, True), state.last_error


def test_where_else_updates_may_go(sandbox: SandboxControl, settings: Any) -> None:
    assert webhook_place(watch().url) == Place.NOWHERE
    telegram_client().set_webhook(url="http://127.0.0.1:9/of-another-shop", secret="secret")
    assert webhook_place(watch().url) == Place.ELSEWHERE
    assert missing_updates(["message", "callback_query"]) == ["my_chat_member", "pre_checkout_query"]
    assert missing_updates([]) == []


def test_what_telegram_last_said_stays_while_it_is_silent(sandbox: SandboxControl, settings: Any) -> None:
    telegram_client().set_webhook(url=webhook_url(), secret="secret")
    before = watch()
    sandbox.fail("telegram.getWebhookInfo", "status", status=503, times=None)
    after = watch()
    assert (after.url, after.read_at) == (before.url, before.read_at)


def test_the_certificate_and_then_its_end(
    sandbox: SandboxControl, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_server(tmp_path, monkeypatch, ends_in=timedelta(days=20)) as settings.PUBLIC_URL:
        state = watch()
    assert state.certificate_ends_at is not None
    assert timedelta(days=19) < state.certificate_ends_at - timezone.now() < timedelta(days=20)
    # Nobody listens there now: what was read stays.
    assert watch().certificate_read_at == state.certificate_read_at
    with tls_server(tmp_path, monkeypatch, ends_in=timedelta(days=-1)) as settings.PUBLIC_URL:
        state = watch()
    assert (state.certificate_ends_at, state.certificate_error) == (None, "certificate has expired")
