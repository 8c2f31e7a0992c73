"""The Bot API methods of this shop, as plain synchronous calls.

python-telegram-bot knows coroutines only and its Bot belongs to one event loop, so each process keeps one
loop in a daemon thread with one Bot on it: the connection to Telegram stays warm between calls.
"""

import asyncio
import json
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

# Without it the library warns at every 429 that RetryAfter.retry_after will become a timedelta one day.
os.environ.setdefault("PTB_TIMEDELTA", "true")

import httpx
import telegram
from django.conf import settings
from telegram import error as telegram_error
from telegram.constants import ParseMode
from telegram.request import HTTPXRequest

from esimshop.clients.calls import OutsideCallError, recorded_call
from esimshop.logs import redact

# The token is part of every Bot API URL, which these log, beside messages and answers that are not JSON.
for _name, _level in (
    ("httpx", logging.WARNING),
    ("httpcore", logging.WARNING),
    ("telegram", logging.WARNING),
    ("telegram.request", logging.CRITICAL),
):
    logging.getLogger(_name).setLevel(_level)

T = TypeVar("T")

ALLOWED_UPDATES = ("message", "pre_checkout_query", "callback_query", "my_chat_member")
CURRENCY = "XTR"

# Telegram's own servers drop a quiet connection later than this, so one found in the pool is alive.
KEEP_ALIVE_SECONDS = 50
LONGEST_CONNECT_SECONDS = 5


class TelegramError(OutsideCallError):
    """A call to Telegram failed."""


class TelegramRejected(TelegramError):
    """Telegram said no (400, 401, 403, 404, 409) and nothing happened; the same call will fail again."""

    outcome = "rejected"

    def __init__(self, description: str, *, code: int) -> None:
        super().__init__(f"{code}: {description}")
        self.description = description
        self.code = code


class TelegramBlocked(TelegramRejected):
    """The customer cannot be written to: blocked the bot, never started it, or is gone."""


class TelegramUnreachable(TelegramError):
    """It did not happen, or may be repeated without harm: try again, after retry_after seconds if given."""

    outcome = "unreachable"

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class TelegramOutcomeUnknown(TelegramError):
    """A message may have been sent or not; sending it again may show it twice."""

    outcome = "outcome_unknown"


@dataclass(frozen=True, kw_only=True)
class Button:
    """An inline button with exactly one of the three actions; messages take rows of them."""

    text: str
    url: str | None = None
    web_app_url: str | None = None
    callback_data: str | None = None


@dataclass(frozen=True, kw_only=True)
class BotUser:
    """The bot's own account."""

    id: int
    username: str
    first_name: str


@dataclass(frozen=True, kw_only=True)
class WebhookInfo:
    """Where Telegram sends updates (url is empty while it sends none) and how that goes."""

    url: str
    pending_update_count: int
    allowed_updates: tuple[str, ...]
    last_error_at: datetime | None
    last_error_message: str


@dataclass(frozen=True, kw_only=True)
class StarTransaction:
    """One row of Telegram's ledger. A refund repeats the id of its purchase with the other direction.

    id:               the charge id, for purchases and refunds.
    partner_type:     user, fragment, telegram_ads, telegram_api, affiliate_program, chat or other.
    transaction_type: for users: invoice_payment, paid_media_payment, gift_purchase, …; else empty.
    nanostars:        beside the whole Stars, 0-999,999,999.
    withdrawal_state: pending, succeeded or failed; empty for what is no withdrawal.
    """

    id: str
    direction: Literal["in", "out"]
    amount_stars: int
    date: datetime
    partner_type: str
    transaction_type: str
    user_id: int | None
    invoice_payload: str
    nanostars: int
    withdrawal_state: str


class TelegramClient:
    """The bot, within deadline_seconds a call.

    Raises: TelegramRejected, TelegramUnreachable, and from send_message and send_photo TelegramBlocked and
    TelegramOutcomeUnknown. No error text contains the token.
    Source: https://core.telegram.org/bots/api
    """

    _lock: threading.Lock
    _connection: "_Connection | None"

    def __init__(self, *, token: str, base_url: str, deadline_seconds: float = 10.0) -> None:
        self._token = token
        self._base_url = base_url
        self._deadline_seconds = deadline_seconds
        self._forget_connection()
        _CLIENTS.add(self)

    # Payments

    def create_invoice_link(self, *, title: str, description: str, payload: str, amount_stars: int) -> str:
        """Make a link (https://t.me/$…) to pay amount_stars; anyone can pay it, for ever and several times.

        title: 1-32 characters; description: 1-255 characters; payload: 1-128 bytes, hidden from the payer.
        """
        return self._call(
            "create_invoice_link",
            lambda bot: bot.create_invoice_link(
                title=title,
                description=description,
                payload=payload,
                currency=CURRENCY,
                prices=[telegram.LabeledPrice(label=title, amount=amount_stars)],
            ),
        )

    def answer_pre_checkout_query(self, *, query_id: str, error_message: str | None = None) -> None:
        """Let the payment go on or, with a message for the buyer, refuse it; within 10 s of the query."""
        self._call(
            "answer_pre_checkout_query",
            lambda bot: bot.answer_pre_checkout_query(
                pre_checkout_query_id=query_id, ok=error_message is None, error_message=error_message
            ),
        )

    def refund_star_payment(self, *, user_id: int, charge_id: str) -> bool:
        """Return the whole charge to its payer (user_id).

        Returns: True if refunded now, False if it had been refunded before; safe to repeat.
        """
        try:
            self._call(
                "refund_star_payment",
                lambda bot: bot.refund_star_payment(user_id=user_id, telegram_payment_charge_id=charge_id),
            )
        except TelegramRejected as error:
            if "charge_already_refunded" in error.description.lower():
                return False
            raise
        return True

    def get_star_transactions(self, *, offset: int, limit: int) -> list[StarTransaction]:
        """The ledger, oldest first: at most limit (1-100) rows after skipping offset rows.

        Read without the library, for which one row of a shape that it does not know makes the whole page unreadable.
        """
        query = urlencode({"offset": offset, "limit": limit})

        async def rows(bot: telegram.Bot) -> list[StarTransaction]:
            answer = await bot.request.retrieve(f"{bot.base_url}/getStarTransactions?{query}")
            return [_star_transaction(row) for row in json.loads(answer)["result"]["transactions"]]

        return self._call("get_star_transactions", rows)

    def get_star_balance(self) -> int:
        """Stars on the bot's account; negative after chargebacks that it could not cover."""
        return self._call("get_star_balance", lambda bot: bot.get_my_star_balance()).amount

    # Messages

    def send_message(self, *, chat_id: int, text: str, buttons: Sequence[Sequence[Button]] = ()) -> int:
        """Send a text (HTML, so escape what people wrote; at most 4096 letters); returns the message id."""
        keyboard = _keyboard(buttons)
        message = self._call(
            "send_message",
            lambda bot: bot.send_message(
                chat_id=chat_id,
                text=text,
                parse_mode=ParseMode.HTML,
                link_preview_options=telegram.LinkPreviewOptions(is_disabled=True),
                reply_markup=keyboard,
            ),
            is_repeatable=False,
        )
        return message.message_id

    def send_photo(self, *, chat_id: int, photo: bytes, caption: str, buttons: Sequence[Sequence[Button]] = ()) -> int:
        """Send a PNG or JPEG with a caption (HTML, at most 1024 characters); returns the message id."""
        keyboard = _keyboard(buttons)
        message = self._call(
            "send_photo",
            lambda bot: bot.send_photo(
                chat_id=chat_id,
                photo=photo,
                caption=caption,
                parse_mode=ParseMode.HTML,
                reply_markup=keyboard,
            ),
            is_repeatable=False,
        )
        return message.message_id

    def answer_callback_query(self, *, query_id: str, text: str = "") -> None:
        """End the waiting of a pressed button, with a short notice (at most 200 characters) where there is a text.

        Raises: TelegramRejected where the press is answered already, or is older than some minutes.
        """
        self._call(
            "answer_callback_query",
            lambda bot: bot.answer_callback_query(callback_query_id=query_id, text=text or None),
        )

    # Updates

    def set_webhook(self, *, url: str, secret: str) -> None:
        """Have updates sent to url (HTTPS) with the secret in a header; what is pending there stays."""
        self._call(
            "set_webhook",
            lambda bot: bot.set_webhook(
                url=url, secret_token=secret, allowed_updates=ALLOWED_UPDATES, drop_pending_updates=False
            ),
        )

    def delete_webhook(self) -> None:
        """Stop sending updates, so that get_updates works; what is pending stays."""
        self._call("delete_webhook", lambda bot: bot.delete_webhook(drop_pending_updates=False))

    def get_webhook_info(self) -> WebhookInfo:
        """Where updates go and how many wait."""
        info = self._call("get_webhook_info", lambda bot: bot.get_webhook_info())
        return WebhookInfo(
            url=info.url,
            pending_update_count=info.pending_update_count,
            allowed_updates=tuple(info.allowed_updates or ()),
            last_error_at=info.last_error_date,
            last_error_message=self._scrubbed(info.last_error_message or ""),
        )

    def get_updates(self, *, offset: int, timeout_seconds: int, limit: int = 100) -> list[dict[str, Any]]:
        """Wait up to timeout_seconds (0-50) for updates; offset confirms all before it.

        Returns: the updates as Telegram sent them: one that the library cannot read must not hide the rest.
        Raises:  TelegramRejected with code 409 while a webhook is set or another process polls.
        """
        query = urlencode(
            {
                "offset": offset,
                "timeout": timeout_seconds,
                "limit": limit,
                "allowed_updates": json.dumps(ALLOWED_UPDATES),
            }
        )
        deadline_seconds = self._deadline_seconds + timeout_seconds

        async def raw_updates(bot: telegram.Bot) -> list[dict[str, Any]]:
            answer = await bot.request.retrieve(f"{bot.base_url}/getUpdates?{query}", read_timeout=deadline_seconds)
            updates: Any = json.loads(answer)["result"]
            if not isinstance(updates, list) or not all(isinstance(update, dict) for update in updates):
                raise ValueError("not a list of updates")
            return updates

        return self._call("get_updates", raw_updates, deadline_seconds=deadline_seconds)

    # The bot's face

    def get_me(self) -> BotUser:
        """The bot itself; the way to see whether the token is right."""
        me = self._call("get_me", lambda bot: bot.get_me())
        return BotUser(id=me.id, username=me.username or "", first_name=me.first_name)

    def get_time(self) -> datetime:
        """Telegram's clock, in whole seconds: the Date of an answer, whatever the answer is."""

        async def read_date(bot: telegram.Bot) -> datetime:
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"{bot.base_url}/getMe", timeout=self._deadline_seconds)
            return parsedate_to_datetime(answer.headers["Date"])

        return self._call("get_time", read_date)

    def set_commands(self, commands: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """Set the command menu: (name, description) by language code; "" is for all other languages."""
        for language, menu in commands.items():
            self._set_commands(language, menu)

    def _set_commands(self, language: str, menu: Sequence[tuple[str, str]]) -> None:
        self._call(
            "set_commands",
            lambda bot: bot.set_my_commands(
                commands=[telegram.BotCommand(name, description) for name, description in menu],
                language_code=language or None,
            ),
        )

    def set_menu_button(self, *, text: str, url: str) -> None:
        """Make the chat's menu button open the Mini App at url."""
        button = telegram.MenuButtonWebApp(text=text, web_app=telegram.WebAppInfo(url=url))
        self._call("set_menu_button", lambda bot: bot.set_chat_menu_button(menu_button=button))

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # How a call is made

    def _call(
        self,
        call: str,
        request: Callable[[telegram.Bot], Coroutine[Any, Any, T]],
        *,
        is_repeatable: bool = True,
        deadline_seconds: float | None = None,
    ) -> T:
        with recorded_call("telegram", call):
            try:
                return self._open_connection().run(request, deadline_seconds or self._deadline_seconds)
            # Everything: an answer of an unexpected shape makes the library raise KeyError and others.
            except Exception as error:
                # "from None", because the causes carry the URL and with it the token.
                raise self._failure(error, is_repeatable=is_repeatable) from None

    def _failure(self, error: Exception, *, is_repeatable: bool) -> TelegramError:
        text = self._scrubbed(str(error)) or type(error).__name__
        # A refusal that could not be parsed is some proxy's page and not Telegram's word.
        if isinstance(error, telegram_error.TelegramError) and error.__cause__ is None:
            match error:
                case telegram_error.RetryAfter():
                    return TelegramUnreachable(text, retry_after=_seconds(error.retry_after))
                case telegram_error.Forbidden():
                    return TelegramBlocked(text, code=403)
                case telegram_error.BadRequest() if "chat not found" in text.lower():
                    return TelegramBlocked(text, code=400)
                case telegram_error.BadRequest() | telegram_error.ChatMigrated():
                    return TelegramRejected(text, code=400)
                case telegram_error.InvalidToken():
                    return TelegramRejected(text, code=404 if "not found" in text.lower() else 401)
                case telegram_error.Conflict():
                    return TelegramRejected(text, code=409)
        if is_repeatable or _never_arrived(error):
            return TelegramUnreachable(text)
        return TelegramOutcomeUnknown(text)

    def _scrubbed(self, text: str) -> str:
        return redact(text, self._token)

    def _open_connection(self) -> "_Connection":
        with self._lock:
            if self._connection is None:
                self._connection = _Connection(self._token, self._base_url, self._deadline_seconds)
            return self._connection

    def _forget_connection(self) -> None:
        self._lock = threading.Lock()
        self._connection = None


class _Connection:
    """An event loop in a daemon thread and the one Bot that lives on it."""

    def __init__(self, token: str, base_url: str, deadline_seconds: float) -> None:
        self._request = HTTPXRequest(
            read_timeout=deadline_seconds,
            write_timeout=deadline_seconds,
            media_write_timeout=deadline_seconds,
            connect_timeout=min(LONGEST_CONNECT_SECONDS, deadline_seconds),
            pool_timeout=deadline_seconds,
            httpx_kwargs={"limits": httpx.Limits(max_connections=32, keepalive_expiry=KEEP_ALIVE_SECONDS)},
        )
        # Never initialized: that would cost a getMe, and the methods used here do without.
        self._bot = telegram.Bot(token, base_url=base_url, request=self._request, get_updates_request=self._request)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="telegram", daemon=True)
        self._thread.start()

    def run(self, request: Callable[[telegram.Bot], Coroutine[Any, Any, T]], deadline_seconds: float) -> T:
        async def within_deadline() -> T:
            async with asyncio.timeout(deadline_seconds):
                return await request(self._bot)

        return asyncio.run_coroutine_threadsafe(within_deadline(), self._loop).result(deadline_seconds + 1)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._request.shutdown(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


_CLIENTS: weakref.WeakSet[TelegramClient] = weakref.WeakSet()


def _forget_connections() -> None:
    for client in _CLIENTS:
        client._forget_connection()


# A forked child has the memory of its parent, but neither its thread nor the right to use its sockets.
os.register_at_fork(after_in_child=_forget_connections)


def telegram_client() -> TelegramClient:
    """The client of this process for the bot of the settings."""
    return _client_of(settings.TELEGRAM_BOT_TOKEN, settings.TELEGRAM_API_BASE_URL)


@cache
def _client_of(token: str, base_url: str) -> TelegramClient:
    return TelegramClient(token=token, base_url=base_url)


def _never_arrived(error: Exception) -> bool:
    """Whether the request was certainly not sent, or sent and certainly not carried out."""
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    return isinstance(error.__cause__, unsent) or str(error).startswith("Too Many Requests")


def _seconds(retry_after: Any) -> float:
    return float(retry_after.total_seconds() if hasattr(retry_after, "total_seconds") else retry_after)


def _keyboard(rows: Sequence[Sequence[Button]]) -> telegram.InlineKeyboardMarkup | None:
    return telegram.InlineKeyboardMarkup([[_button(button) for button in row] for row in rows]) if rows else None


def _button(button: Button) -> telegram.InlineKeyboardButton:
    return telegram.InlineKeyboardButton(
        text=button.text,
        url=button.url,
        web_app=telegram.WebAppInfo(button.web_app_url) if button.web_app_url else None,
        callback_data=button.callback_data,
    )


def _star_transaction(row: Mapping[str, Any]) -> StarTransaction:
    partner = row.get("source") or row.get("receiver") or {}
    return StarTransaction(
        id=row["id"],
        direction="in" if "source" in row else "out",
        amount_stars=int(row["amount"]),
        date=datetime.fromtimestamp(row["date"], tz=UTC),
        partner_type=partner.get("type", "other"),
        transaction_type=partner.get("transaction_type", ""),
        user_id=partner.get("user", {}).get("id"),
        invoice_payload=partner.get("invoice_payload", ""),
        nanostars=row.get("nanostar_amount", 0),
        withdrawal_state=partner.get("withdrawal_state", {}).get("type", ""),
    )
