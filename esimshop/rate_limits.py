"""Rate limits, counted in PostgreSQL: fixed windows per key."""

from datetime import datetime, timedelta
from ipaddress import ip_address

from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from esimshop.addresses import address_of
from esimshop.models import RateCount


def count_use(*, key: str, limit: int, seconds: int) -> int:
    """Count one use of `key` in the current window of `seconds`.

    Returns: 0 while at most `limit` uses fell into the window, else the seconds until the window ends.
    """
    table = RateCount._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO {table} (key, "window", count) VALUES (%s, %s, 1)'  # noqa: S608  our own table's name
            f' ON CONFLICT (key, "window") DO UPDATE SET count = {table}.count + 1 RETURNING count',
            [key, _window(seconds)],
        )
        (count,) = cursor.fetchone()
    return 0 if count <= limit else _seconds_left(seconds)


def count_use_of_address(request: HttpRequest, *, name: str, limit: int, seconds: int) -> int:
    """Count one use by the caller's address, where nobody says who they are. Returns what `count_use` does.

    This machine itself is not counted, nor whoever has no address.
    """
    address = address_of(request)
    if address is None or ip_address(address).is_loopback:
        return 0
    return count_use(key=f"{name}:{address}", limit=limit, seconds=seconds)


def seconds_to_wait(*, key: str, limit: int, seconds: int) -> int:
    """0 while fewer than `limit` uses of `key` were counted in the current window, else the seconds until it ends."""
    is_used_up = RateCount.objects.filter(key=key, window=_window(seconds), count__gte=limit).exists()
    return _seconds_left(seconds) if is_used_up else 0


def _window(seconds: int) -> datetime:
    now = timezone.now()
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, tz=now.tzinfo)


def _seconds_left(seconds: int) -> int:
    return max(1, int((_window(seconds) + timedelta(seconds=seconds) - timezone.now()).total_seconds()))


def trim_rate_counts() -> None:
    """Forget windows that ended long ago."""
    RateCount.objects.filter(window__lt=timezone.now() - timedelta(days=1)).delete()
