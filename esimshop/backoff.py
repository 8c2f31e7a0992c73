"""How long to wait before an outside call is tried again."""

from datetime import timedelta

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)


def wait_after(*, attempts: int, retry_after: float | None = None) -> timedelta:
    """The pause after so many tries, from 1 on: doubled each time up to a quarter of an hour.

    retry_after: seconds that the other side asks for; never less than that.
    """
    wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 10), LONGEST_WAIT)
    return max(wait, timedelta(seconds=retry_after or 0))
