"""One purchase, or one look-up of purchases, at a time per account, over all machines: PostgreSQL's advisory lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import psycopg
from django.conf import settings
from django.db import connection

#: Shared by all processes that buy from one account.
PURCHASE_LOCK = 0x6553494D

# A session of a stopped process ends by itself, and with it the lock; one of a vanished machine too.
_SESSION = """
    SELECT set_config('lock_timeout', %s, false), set_config('idle_session_timeout', %s, false),
        set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '10', false),
        set_config('tcp_keepalives_count', '3', false)
"""
_IS_HELD = """
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND objsubid = 1
        AND pid = pg_backend_pid() AND granted)
"""


class PurchaseLockBusy(Exception):
    """Somebody else has held the lock for longer than a call may take."""


class PurchaseLock:
    """The lock as its holder has it."""

    def __init__(self, session: psycopg.Connection[tuple[bool]]) -> None:
        self._session = session

    def is_held(self) -> bool:
        """Whether it is still ours; once lost, others may have bought or looked up meanwhile."""
        try:
            row = self._session.execute(_IS_HELD, [PURCHASE_LOCK]).fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and row[0]


def lease() -> timedelta:
    """How long a worker has an order: longer than waiting for the lock and all calls under it may take."""
    return timedelta(seconds=3 * settings.ESIMGO_TIMEOUT + settings.ESIMGO_ORDER_INTERVAL + 30)


@contextmanager
def purchase_lock() -> Iterator[PurchaseLock]:
    """Hold the account's lock on a connection of its own.

    Raises: PurchaseLockBusy after ESIMGO_TIMEOUT.
    """
    params = connection.get_connection_params()
    for django_only in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(django_only, None)
    with closing(psycopg.connect(**params, autocommit=True)) as session:
        session.execute(
            _SESSION, [f"{round(settings.ESIMGO_TIMEOUT * 1000)}ms", f"{round(lease().total_seconds() * 1000)}ms"]
        )
        try:
            session.execute("SELECT pg_advisory_lock(%s)", [PURCHASE_LOCK])
        except psycopg.errors.LockNotAvailable:
            raise PurchaseLockBusy from None
        yield PurchaseLock(session)
