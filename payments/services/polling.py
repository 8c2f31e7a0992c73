"""Updates by long polling: the same handling as the webhook's, confirmed only after the commit."""

from dataclasses import dataclass

import structlog
from django.db import DatabaseError

from esimshop.clients.telegram import TelegramError, telegram_client
from payments.services.updates import NotAnUpdate, receive_update

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Polled:
    """What one batch came to.

    offset:    the next one to ask for; asking for it is what confirms all before it.
    count:     updates handled.
    is_broken: an update could not be stored; it is not confirmed and comes again.
    """

    offset: int
    count: int
    is_broken: bool


def poll_updates(*, offset: int, timeout_seconds: int) -> Polled:
    """Fetch and handle one batch.

    Raises: TelegramError.
    Source: Bot API getUpdates.
    """
    count = 0
    for update in telegram_client().get_updates(offset=offset, timeout_seconds=timeout_seconds, limit=100):
        structlog.contextvars.clear_contextvars()  # of the update before
        try:
            answer = receive_update(update)
        except NotAnUpdate:
            log.error("not_an_update")
            continue
        except DatabaseError:
            log.exception("update_not_stored")
            return Polled(offset=offset, count=count, is_broken=True)
        offset, count = update["update_id"] + 1, count + 1
        if answer:
            _send_answer(answer)
    return Polled(offset=offset, count=count, is_broken=False)


def _send_answer(answer: dict[str, object]) -> None:
    """Send a pre-checkout's decision, which the webhook would put into its response."""
    error_message = answer.get("error_message")
    try:
        telegram_client().answer_pre_checkout_query(
            query_id=str(answer["pre_checkout_query_id"]),
            error_message=str(error_message) if error_message is not None else None,
        )
    except TelegramError as error:
        # Too late, or Telegram is away: the buyer sees a time-out and nothing is charged.
        log.warning("pre_checkout_answer_lost", error=str(error))
