"""Who opened the Mini App: the initData that Telegram signs with the bot's token.

Source: https://core.telegram.org/bots/webapps#validating-data-received-via-the-mini-app
"""

from dataclasses import dataclass
from datetime import timedelta

import init_data_py
from django.conf import settings
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from esimshop.languages import Language, language_of

SCHEME = "tma"
LONGEST_CLOCK_DIFFERENCE = timedelta(seconds=60)


class InitDataInvalid(Exception):
    """Not signed by Telegram for this bot, malformed, from the future, or without a user."""


class InitDataStale(Exception):
    """Signed, but older than INIT_DATA_MAX_AGE: the Mini App must be opened again."""


@dataclass(frozen=True, kw_only=True)
class TelegramUser:
    """A Telegram account as a client described it.

    id: at most 52 bits, the only field that identifies; the rest is what its owner chose to be called.
    allows_write_to_pm: whether the bot may write to them; False also when they merely never pressed Start.
    """

    id: int
    first_name: str
    last_name: str = ""
    username: str = ""
    language_code: str = ""
    allows_write_to_pm: bool = False

    # What Django REST Framework asks of a request's user.
    is_authenticated = True

    @property
    def pk(self) -> int:
        """The id, under the name by which request logs look for it."""
        return self.id

    @property
    def language(self) -> Language:
        """The shop's language for this user."""
        return language_of(self.language_code)


def read_init_data(raw: str) -> TelegramUser:
    """The user of an initData string (percent-encoded, as `Telegram.WebApp.initData` holds it).

    Raises: InitDataInvalid, InitDataStale.
    """
    # An empty token would be a key that everybody knows.
    if not settings.TELEGRAM_BOT_TOKEN:
        raise InitDataInvalid("no bot token is set")
    try:
        # The signature covers all fields but `hash`; duplicates are refused. The age is judged after it.
        init_data = init_data_py.validate_by_hash(raw, settings.TELEGRAM_BOT_TOKEN, expires_in=None)
    except (init_data_py.errors.InvalidInitDataError, RecursionError) as error:
        # RecursionError, because the user's JSON is read before its signature is known to be right.
        # "from None" and without its text, which may quote what was sent.
        raise InitDataInvalid(type(error).__name__) from None
    age = timezone.now() - init_data.issued_at
    if age < -LONGEST_CLOCK_DIFFERENCE:
        raise InitDataInvalid("from the future")
    if age > timedelta(seconds=settings.INIT_DATA_MAX_AGE):
        raise InitDataStale(f"{age.total_seconds():.0f} s old")
    user = init_data.user
    if user is None:
        raise InitDataInvalid("without a user")
    return TelegramUser(
        id=user.id,
        first_name=user.first_name,
        last_name=user.last_name or "",
        username=user.username or "",
        language_code=user.language_code or "",
        allows_write_to_pm=user.allows_write_to_pm or False,
    )


class InitDataAuthentication(BaseAuthentication):
    """`Authorization: tma <initData>`; request.user becomes a TelegramUser.

    Refuses with 401 and the code init_data_invalid or init_data_stale.
    """

    def authenticate(self, request: Request) -> tuple[TelegramUser, None] | None:
        scheme, _, raw = get_authorization_header(request).partition(b" ")
        if scheme.lower() != SCHEME.encode():
            return None
        try:
            return read_init_data(raw.strip().decode()), None
        except (InitDataInvalid, UnicodeDecodeError):
            raise AuthenticationFailed(code="init_data_invalid") from None
        except InitDataStale:
            raise AuthenticationFailed(code="init_data_stale") from None

    def authenticate_header(self, request: Request) -> str:
        return SCHEME
