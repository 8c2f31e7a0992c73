"""How much is left on an eSIM: what eSIM Go told of its bundles, summed up. Pure: nothing here asks or writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from orders.models import Delivery, Esim, EsimBundle

State = EsimBundle.State
Kind = Delivery.Kind

#: May still bring data.
USABLE = frozenset({State.PROCESSING, State.QUEUED, State.ACTIVE})
WAITING = frozenset({State.PROCESSING, State.QUEUED})
OVER = frozenset({State.DEPLETED, State.EXPIRED, State.LAPSED, State.REVOKED})
#: What tells a customer that a bundle runs out.
USAGE_NOTICES = frozenset({Kind.DATA_LOW, Kind.DATA_GONE, Kind.THREE_DAYS, Kind.ONE_DAY})

#: Bytes of a megabyte, as the plans have it.
MB = 1_000_000
LOW_PERCENT = 20
ENDING = {Kind.THREE_DAYS: timedelta(days=3), Kind.ONE_DAY: timedelta(days=1)}

EsimState = Literal["preparing", "ready", "active", "used_up", "ended", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What is left of all usable bundles of an eSIM, or of its last one where none is usable.

    initial_bytes, remaining_bytes: None if unlimited, or not told.
    starts_at, ends_at: of what is active: since when, and when the last of it ends; None before the first use.
    state: of the bundle that counts, in eSIM Go's words.
    """

    initial_bytes: int | None
    remaining_bytes: int | None
    is_unlimited: bool
    starts_at: datetime | None
    ends_at: datetime | None
    state: State


def state_of(bundle: EsimBundle, now: datetime) -> State:
    """The bundle's state; its days may be over before eSIM Go says so."""
    is_over = bundle.state == State.ACTIVE and bundle.ends_at is not None and bundle.ends_at <= now
    return State.EXPIRED if is_over else State(bundle.state)


def sum_up(bundles: Iterable[EsimBundle], *, now: datetime) -> Usage | None:
    """The usage of an eSIM by its bundles, oldest first; None while eSIM Go has told of none."""
    told = [(bundle, state_of(bundle, now)) for bundle in bundles]
    if not told:
        return None
    counted = [(bundle, state) for bundle, state in told if state in USABLE] or [told[-1]]
    active = [bundle for bundle, state in counted if state == State.ACTIVE]
    dated = active or [bundle for bundle, state in counted if state not in WAITING]
    is_unlimited = any(bundle.is_unlimited for bundle, _ in counted)
    return Usage(
        initial_bytes=None if is_unlimited else _total(bundle.initial_bytes for bundle, _ in counted),
        remaining_bytes=None if is_unlimited else _total(bundle.remaining_bytes for bundle, _ in counted),
        is_unlimited=is_unlimited,
        starts_at=min((bundle.starts_at for bundle in dated if bundle.starts_at), default=None),
        ends_at=max((bundle.ends_at for bundle in dated if bundle.ends_at), default=None),
        state=State.ACTIVE if active else counted[0][1],
    )


def _total(amounts: Iterable[int | None]) -> int | None:
    """The sum; None where one of them is not known."""
    known = list(amounts)
    return None if any(amount is None for amount in known) else sum(amount or 0 for amount in known)


def esim_state(esim: Esim, usage: Usage | None) -> EsimState:
    """The eSIM in one word of the API."""
    if esim.is_deleted:
        return "ended"
    if usage is None or usage.state == State.UNKNOWN:
        return "unknown"
    if usage.state == State.ACTIVE:
        return "used_up" if usage.remaining_bytes == 0 and not usage.is_unlimited else "active"
    if usage.state == State.DEPLETED:
        return "used_up"
    if usage.state in OVER:
        return "ended"
    return "preparing" if usage.state == State.PROCESSING else "ready"


def due_notices(bundles: Sequence[EsimBundle], *, now: datetime) -> list[tuple[EsimBundle, Kind]]:
    """What a customer should hear now of bundles that run out: at most the latest about data and about days of each.

    Nothing while another bundle waits or lasts longer: who has topped up need not be asked to.
    """
    return [(bundle, kind) for bundle in bundles for kind in _notices_of(bundle, bundles, now)]


def _notices_of(bundle: EsimBundle, bundles: Sequence[EsimBundle], now: datetime) -> list[Kind]:
    state = state_of(bundle, now)
    others = [each for each in bundles if each is not bundle and state_of(each, now) in USABLE]
    if any(state_of(each, now) in WAITING for each in others):
        return []
    kinds: list[Kind] = []
    # Of several that run low together, the newest speaks for all.
    has_data_elsewhere = any(not _is_low(each) or bundles.index(each) > bundles.index(bundle) for each in others)
    if state == State.DEPLETED or (state == State.ACTIVE and not bundle.is_unlimited and bundle.remaining_bytes == 0):
        # Of an older bundle that another one followed, nothing needs to be said any more.
        if not others and bundle is bundles[-1] and not _is_past(bundle, now):
            kinds.append(Kind.DATA_GONE)
    elif state == State.ACTIVE and _is_low(bundle) and not has_data_elsewhere:
        kinds.append(Kind.DATA_LOW)
    if state == State.ACTIVE and Kind.DATA_GONE not in kinds and not _lasts_longer(others, bundle):
        kinds.extend(_ending_of(bundle, now))
    return kinds


def _is_low(bundle: EsimBundle) -> bool:
    """Whether at most a fifth of its data is left."""
    if bundle.is_unlimited or bundle.remaining_bytes is None or not bundle.initial_bytes:
        return False
    return bundle.remaining_bytes * 100 <= bundle.initial_bytes * LOW_PERCENT


def _is_past(bundle: EsimBundle, now: datetime) -> bool:
    return bundle.ends_at is not None and bundle.ends_at <= now


def _lasts_longer(others: Iterable[EsimBundle], bundle: EsimBundle) -> bool:
    return any(each.ends_at is None or bundle.ends_at is None or each.ends_at > bundle.ends_at for each in others)


def _ending_of(bundle: EsimBundle, now: datetime) -> list[Kind]:
    """The nearest of the two notices about days; none where the plan itself is hardly longer than the notice."""
    if bundle.ends_at is None:
        return []
    left = bundle.ends_at - now
    length = bundle.ends_at - bundle.starts_at if bundle.starts_at else None
    for kind in (Kind.ONE_DAY, Kind.THREE_DAYS):
        if left <= ENDING[kind]:
            return [kind] if length is None or length > ENDING[kind] + timedelta(hours=12) else []
    return []
