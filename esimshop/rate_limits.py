"""Rate limits, counted in PostgreSQL: fixed windows per key."""

from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from esimshop.models import RateCount


def count_use(*, key: str, limit: int, seconds: int) -> int:
    """Count one use of `key` in the current window of `seconds`.

    Returns: 0 while at most `limit` uses fell into the window, else the seconds until the window ends.
    """
    now = timezone.now()
    start = datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, tz=now.tzinfo)
    table = RateCount._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO {table} (key, "window", count) VALUES (%s, %s, 1)'  # noqa: S608  our own table's name
            f' ON CONFLICT (key, "window") DO UPDATE SET count = {table}.count + 1 RETURNING count',
            [key, start],
        )
        (count,) = cursor.fetchone()
    if count <= limit:
        return 0
    return max(1, int((start + timedelta(seconds=seconds) - now).total_seconds()))


def trim_rate_counts() -> None:
    """Forget windows that ended long ago."""
    RateCount.objects.filter(window__lt=timezone.now() - timedelta(days=1)).delete()
