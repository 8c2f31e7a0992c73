"""How long is waited before an outside call is tried again."""

from datetime import timedelta

from esimshop.backoff import wait_after


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    waits = [wait_after(attempts=attempts) for attempts in range(1, 12)]

    assert waits[:4] == [timedelta(seconds=seconds) for seconds in (5, 10, 20, 40)]
    assert waits[-1] == timedelta(minutes=15)
    assert waits == sorted(waits)


def test_the_other_side_may_ask_for_more_but_not_for_less() -> None:
    assert wait_after(attempts=1, retry_after=60) == timedelta(seconds=60)
    assert wait_after(attempts=4, retry_after=1) == timedelta(seconds=40)
