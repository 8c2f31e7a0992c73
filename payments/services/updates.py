"""Telegram updates: stored by their id, handled once, kept when handling fails.

The webhook and `run_polling` both call `receive_update`. Payments and pre-checkouts are handled in the transaction
that stores them; everything else is answered by the worker, so that it never delays a pre-checkout.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.backoff import wait_after
from esimshop.clients.telegram import TelegramOutcomeUnknown, TelegramUnreachable
from esimshop.logs import redact
from esimshop.stored_json import storable
from payments.models import TelegramUpdate
from payments.services.payments import (
    receive_successful_payment,
    record_refunded_payment,
    record_successful_payment,
)
from payments.services.pre_checkout import answer_pre_checkout
from payments.services.replies import end_waiting, note_membership, send_reply, take_in

log = structlog.get_logger(__name__)

Status = TelegramUpdate.Status
MAX_REPLAYS = 10
#: A stored update whose task has not handled it by then is woken again.
TASK_TAKES = timedelta(seconds=60)


class NotAnUpdate(Exception):
    """The body is JSON but no update: it has no integer `update_id`."""


def receive_update(body: Any) -> dict[str, Any] | None:
    """Store an update and handle it; a repeat of one that is handled changes nothing.

    body:    the update as decoded JSON.
    Returns: a Bot API call to be made in answer (a pre-checkout's decision), or None.
    Raises:  NotAnUpdate; database errors, after which the update is not stored and must come again.
    """
    update_id = body.get("update_id") if isinstance(body, dict) else None
    if type(update_id) is not int or not 0 <= update_id < 2**63:
        raise NotAnUpdate
    # Handled in the form in which it is kept, so that a replay sees what the first handling saw.
    body = storable(body)
    kind = find_kind(body)
    structlog.contextvars.bind_contextvars(update_id=update_id)
    # Not asked whether it is alive: that would cost each update a round trip, and a dead one is replaced below.
    connection.health_check_done = True  # type: ignore[attr-defined]  # the stubs do not know it
    kept = connection.connection
    try:
        try:
            return _store_and_handle(update_id, kind, body)
        except (InterfaceError, OperationalError):
            if kept is None or not kept.closed:
                raise
            # PostgreSQL was restarted since the last request. Nothing was stored, or it is a repeat now.
            connection.close()
            return _store_and_handle(update_id, kind, body)
    except Exception as error:  # whatever it is, the update must be kept and the next one must go on
        with transaction.atomic():
            is_new = _store(update_id, kind, body) is not None
            update = TelegramUpdate.objects.select_for_update().get(update_id=update_id)
            if is_new or update.status != Status.HANDLED:
                _keep_failed(update, error)
        return None


def _store_and_handle(update_id: int, kind: str, body: dict[str, Any]) -> dict[str, Any] | None:
    if kind == "pre_checkout_query":
        return answer_pre_checkout(body)
    with transaction.atomic():
        # Storing waits for a copy that is being handled at this moment. What is handled here is stored as handled
        # at once: both stand or fall with the transaction.
        if kind == "successful_payment":
            return None if receive_successful_payment(body) else _handle_again(update_id)
        pk = _store(update_id, kind, body)
        return _handle_new(pk, kind, body) if pk is not None else _handle_again(update_id)


def _store(update_id: int, kind: str, body: dict[str, Any]) -> int | None:
    by_worker = kind in HANDLED_BY_WORKER
    return TelegramUpdate.objects.store(
        update_id=update_id,
        kind=kind,
        body=body,
        status=Status.RECEIVED if by_worker else Status.HANDLED,
        next_try_at=timezone.now() + TASK_TAKES if by_worker else None,
    )


def _handle_new(pk: int, kind: str, body: dict[str, Any]) -> dict[str, Any] | None:
    if kind in HANDLED_BY_WORKER:
        from payments.tasks import handle_update_task

        handle_update_task.defer(update_pk=pk)
        return None
    answer: dict[str, Any] | None = HANDLERS[kind](body)
    return answer


def _handle_again(update_id: int) -> dict[str, Any] | None:
    update = TelegramUpdate.objects.select_for_update().get(update_id=update_id)
    is_done = update.status == Status.HANDLED or update.kind in HANDLED_BY_WORKER
    return None if is_done else _handle(update)


def find_kind(body: Mapping[str, Any]) -> str:
    """What an update brings, in our words; `other` for what the shop does not use."""
    message = body.get("message")
    if isinstance(message, dict):
        for kind in ("successful_payment", "refunded_payment"):
            if kind in message:
                return kind
        return "message"
    for kind in ("pre_checkout_query", "my_chat_member"):
        if kind in body:
            return kind
    return "callback_query" if isinstance(body.get("callback_query"), dict) else "other"


#: These are answered by a call to Telegram.
ANSWERED = frozenset({"message", "callback_query"})
HANDLED_BY_WORKER = ANSWERED | {"my_chat_member"}


def _handle(update: TelegramUpdate) -> dict[str, Any] | None:
    """Handle a stored update inside a transaction that holds its row."""
    answer: dict[str, Any] | None = HANDLERS[update.kind](update.body)
    if update.status != Status.HANDLED:
        TelegramUpdate.objects.filter(pk=update.pk).update(
            status=Status.HANDLED, handled_at=timezone.now(), error="", next_try_at=None
        )
        clear_alert(cause=f"update:{update.update_id}")
    return answer


def _keep_failed(update: TelegramUpdate, error: Exception) -> None:
    log.error("update_failed", update_kind=update.kind, exc_info=error)
    _try_again(update, Status.FAILED, error)
    raise_alert(
        cause=f"update:{update.update_id}",
        text=f"Update {update.update_id} ({update.kind}) could not be handled: {type(error).__name__}. It is kept and "
        f"tried again; `replay_updates --id {update.update_id}` does so at once.",
        path=f"/admin/payments/telegramupdate/{update.pk}/change/",
    )


def _try_again(update: TelegramUpdate, status: str, error: Exception) -> None:
    attempts = update.attempts + 1
    # A pre-checkout that was not answered in time is over: nothing was charged, and there is nothing to do again.
    tries_on = attempts < MAX_REPLAYS and update.kind != "pre_checkout_query"
    TelegramUpdate.objects.filter(pk=update.pk).update(
        status=status,
        handled_at=None,
        error=redact(f"{type(error).__name__}: {error}"),
        attempts=attempts,
        next_try_at=timezone.now() + wait_after(attempts=attempts) if tries_on else None,
    )


def _handle_payment(body: Mapping[str, Any]) -> None:
    record_successful_payment(body["message"])


def _handle_refund(body: Mapping[str, Any]) -> None:
    record_refunded_payment(body["message"])


def _handle_membership(body: Mapping[str, Any]) -> None:
    note_membership(body["my_chat_member"])


def _ignore(body: Mapping[str, Any]) -> None:
    """A kind that the shop does not use: kept, nothing to do."""


HANDLERS: dict[str, Any] = {
    "successful_payment": _handle_payment,
    "refunded_payment": _handle_refund,
    "my_chat_member": _handle_membership,
    "other": _ignore,
}


def handle_update(update_pk: int) -> None:
    """Handle a stored update: for the first time where the worker does it, else again.

    A handled one changes nothing.
    """
    update = TelegramUpdate.objects.get(pk=update_pk)
    structlog.contextvars.bind_contextvars(update_id=update.update_id)
    if update.kind in ANSWERED:
        _answer(update)
        return
    _handle_stored(update_pk, again=False)


#: Handling these twice changes nothing: the charge id decides.
REPEATABLE = frozenset({"successful_payment", "refunded_payment"})


def replay_update(update_pk: int) -> TelegramUpdate:
    """Handle a stored update again, also a handled one. Returns it as it is afterwards.

    A charge or refund is taken in anew, which changes nothing where it is recorded. A handled message is not answered
    twice, a pre-checkout is over, and who blocked the bot long ago may have let it in since: these are left alone.
    """
    update = TelegramUpdate.objects.get(pk=update_pk)
    if update.kind in REPEATABLE:
        _handle_stored(update_pk, again=True)
    else:
        handle_update(update_pk)
    update.refresh_from_db()
    return update


def _handle_stored(update_pk: int, *, again: bool) -> None:
    with transaction.atomic():
        update = TelegramUpdate.objects.select_for_update().get(pk=update_pk)
        if (update.status == Status.HANDLED and not again) or update.kind == "pre_checkout_query":
            return
        try:
            with transaction.atomic():
                _handle(update)
        except Exception as error:  # kept and tried again later, whatever it is
            _keep_failed(update, error)


def _answer(update: TelegramUpdate) -> None:
    """Answer a message or a pressed button: it calls Telegram, so no transaction is open meanwhile.

    Handled before the answer is sent: a customer who gets no answer asks again, one who gets two is puzzled. What
    certainly did not arrive is put back, and tried again later. What they asked for is done with the mark, or not.
    """
    try:
        with transaction.atomic():
            rows = TelegramUpdate.objects.filter(pk=update.pk)
            if not rows.exclude(status=Status.HANDLED).update(
                status=Status.HANDLED, handled_at=timezone.now(), error="", next_try_at=None
            ):
                return
            reply = take_in(update)
        if reply is not None:
            send_reply(reply)
    except TelegramUnreachable as error:
        _try_again(update, Status.RECEIVED, error)
    except TelegramOutcomeUnknown:
        log.warning("reply_outcome_unknown")
    except Exception as error:  # kept like any other update that cannot be handled
        _keep_failed(update, error)
        if update.kind == "callback_query":
            end_waiting(str(update.body["callback_query"].get("id")))
    else:
        if update.status == Status.FAILED:
            clear_alert(cause=f"update:{update.update_id}")


def sweep_updates(*, limit: int = 200) -> int:
    """Wake updates that are due: failed ones, and received ones whose task died. Returns how many."""
    from payments.tasks import handle_update_task

    due = TelegramUpdate.objects.filter(
        status__in=[Status.RECEIVED, Status.FAILED], next_try_at__lte=timezone.now()
    ).order_by("next_try_at")
    ids = list(due.values_list("pk", flat=True)[:limit])
    # Their tasks have as long as that of a fresh update: the next sweep does not wake them once more.
    TelegramUpdate.objects.filter(pk__in=ids).update(next_try_at=timezone.now() + TASK_TAKES)
    for pk in ids:
        handle_update_task.defer(update_pk=pk)
    return len(ids)
