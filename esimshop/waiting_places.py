"""How many threads of a process may wait for Telegram or eSIM Go while somebody waits for the page.

gunicorn serves everybody with a few threads. Were all of them waiting for a slow Telegram, nobody could look at the
catalogue, and Telegram's own question before a charge would come too late to its answer. So only some may wait; who
finds no place is told at once to come again. The worker's tasks, for which nobody waits, take none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Of each process; gunicorn.conf.py has threads beside them.
PLACES = 8
_places = threading.BoundedSemaphore(PLACES)


class NoWaitingPlace(Exception):
    """As many as may wait do already: come again in a moment."""


@contextmanager
def waiting_place() -> Iterator[None]:
    """A place for calls to the outside made inside. Raises: NoWaitingPlace, at once."""
    if not _places.acquire(blocking=False):
        raise NoWaitingPlace
    try:
        yield
    finally:
        _places.release()
