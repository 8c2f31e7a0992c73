"""What is left on an eSIM, and what its customer should hear, by its bundles alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Delivery, Esim, EsimBundle
from orders.usage import due_notices, esim_state, sum_up

GB = 1_000_000_000
NOW = timezone.now()
Kind = Delivery.Kind


def bundle(state: str = "active", *, left: float | None = 1, of: float | None = 1, **details: Any) -> EsimBundle:
    """A bundle with `left` of `of` GB; ends: days from now, of a plan of `days`."""
    ends, days = details.pop("ends", 20), details.pop("days", 30)
    has_begun = state not in {"processing", "queued"}
    return EsimBundle(
        state=state,
        initial_bytes=None if of is None else int(of * GB),
        remaining_bytes=None if left is None else int(left * GB),
        is_unlimited=of is None,
        starts_at=NOW + timedelta(days=ends - days) if has_begun else None,
        ends_at=NOW + timedelta(days=ends) if has_begun else None,
        **details,
    )


def kinds(*bundles: EsimBundle) -> list[Kind]:
    return [kind for _, kind in due_notices(bundles, now=NOW)]


def test_nothing_told_is_no_usage() -> None:
    assert sum_up([], now=NOW) is None
    assert esim_state(Esim(), None) == "unknown"


def test_usable_bundles_are_added_up() -> None:
    usage = sum_up([bundle("expired", left=3, of=5), bundle(left=0.5), bundle("queued", left=3, of=3)], now=NOW)
    assert usage is not None
    assert (usage.initial_bytes, usage.remaining_bytes) == (4 * GB, int(3.5 * GB))
    assert usage.state == "active"
    assert usage.ends_at == NOW + timedelta(days=20)


def test_a_bundle_that_waits_has_no_days_yet() -> None:
    usage = sum_up([bundle("queued")], now=NOW)
    assert usage is not None
    assert (usage.starts_at, usage.ends_at, usage.state) == (None, None, "queued")


def test_what_is_not_told_is_not_added_up() -> None:
    usage = sum_up([bundle(), bundle("queued", left=None)], now=NOW)
    assert usage is not None
    assert usage.remaining_bytes is None
    assert not usage.is_unlimited


@pytest.mark.parametrize(
    ("bundles", "state"),
    [
        ([bundle("processing")], "preparing"),
        ([bundle("queued")], "ready"),
        ([bundle()], "active"),
        ([bundle(left=None, of=None)], "active"),
        ([bundle(left=0)], "used_up"),
        ([bundle("depleted", left=0)], "used_up"),
        ([bundle("depleted", left=0), bundle("queued")], "ready"),
        ([bundle("expired")], "ended"),
        ([bundle(ends=-0.001)], "ended"),  # our clock knows it before eSIM Go says it
        ([bundle("revoked")], "ended"),
        ([bundle("lapsed")], "ended"),
        ([bundle("unknown")], "unknown"),
    ],
)
def test_the_state_in_one_word(bundles: list[EsimBundle], state: str) -> None:
    assert esim_state(Esim(), sum_up(bundles, now=NOW)) == state


def test_a_deleted_esim_is_over_whatever_its_bundles_say() -> None:
    assert esim_state(Esim(is_deleted=True), sum_up([bundle()], now=NOW)) == "ended"


# What the customer should hear


@pytest.mark.parametrize(
    ("left", "expected"),
    [(1.0, []), (0.2001, []), (0.2, [Kind.DATA_LOW]), (0.0001, [Kind.DATA_LOW]), (0, [Kind.DATA_GONE])],
)
def test_data_that_run_out(left: float, expected: list[Kind]) -> None:
    assert kinds(bundle(left=left)) == expected


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (3.001, []),
        (3, [Kind.THREE_DAYS]),
        (1.001, [Kind.THREE_DAYS]),
        (1, [Kind.ONE_DAY]),
        (0.001, [Kind.ONE_DAY]),
        (0, []),
    ],
)
def test_days_that_run_out(ends: float, expected: list[Kind]) -> None:
    assert kinds(bundle(ends=ends)) == expected


@pytest.mark.parametrize(
    ("days", "ends", "expected"),
    [
        (3, 2.9, []),  # a plan of three days begins with its last three days
        (3, 0.9, [Kind.ONE_DAY]),
        (1, 0.9, []),
        (7, 2.9, [Kind.THREE_DAYS]),
    ],
)
def test_a_short_plan_does_not_begin_with_a_warning(days: int, ends: float, expected: list[Kind]) -> None:
    assert kinds(bundle(days=days, ends=ends)) == expected


def test_both_may_be_due() -> None:
    assert kinds(bundle(left=0.1, ends=0.5)) == [Kind.DATA_LOW, Kind.ONE_DAY]


def test_who_has_no_data_left_need_not_hear_of_days() -> None:
    assert kinds(bundle(left=0, ends=0.5)) == [Kind.DATA_GONE]


def test_unlimited_plans_run_out_of_days_only() -> None:
    assert kinds(bundle(left=None, of=None, ends=2)) == [Kind.THREE_DAYS]


def test_who_has_topped_up_is_not_asked_to() -> None:
    assert kinds(bundle(left=0.1, ends=0.5), bundle("queued")) == []
    assert kinds(bundle("depleted", left=0), bundle("queued")) == []
    assert kinds(bundle(left=0.1), bundle(left=4, of=5)) == []
    assert kinds(bundle(ends=1), bundle(ends=20)) == []


def test_of_two_that_run_low_together_one_is_told() -> None:
    older, newer = bundle(left=0.1), bundle(left=0.5, of=5)
    assert due_notices([older, newer], now=NOW) == [(newer, Kind.DATA_LOW)]


def test_what_is_long_over_is_not_told() -> None:
    assert kinds(bundle("depleted", left=0), bundle("expired")) == []
    assert kinds(bundle("depleted", left=0, ends=-1)) == []
    assert kinds(bundle("revoked")) == []
