"""Whether a purchase of unknown outcome was placed at eSIM Go: looked up under the purchase lock, never guessed.

eSIM Go keeps no key of ours, so an order there is matched by what it lists. All open attempts of a bundle are matched
at once: they are interchangeable, and none may take what another bought.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from esimshop.clients.esimgo import EsimGoError, InstallData, PlacedOrder, esimgo_client
from esimshop.logs import redact
from orders.hooks import payment_hooks
from orders.models import Order, Orphan, ProvisioningAttempt, note_event
from orders.services.claims import look_later, renew_claim, send_back
from orders.services.endings import change_cause, give_up_order, stop_for_person
from orders.services.matching import (
    SKEW,
    esims_known_among,
    is_from_elsewhere,
    latest_placing,
    may_have_placed,
    own_addresses,
)
from orders.services.purchases import Bought, store_reference, window_start

LOOKS_IN_WINDOW = [
    timedelta(0),
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=5),
]
BETWEEN_LOOKS = timedelta(seconds=5)
EMPTY_LOOK_UPS = 2
#: For orders that wait for a person.
SLOW, SLOWER, SLOWER_AFTER = timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30)
#: A second purchase is begun only if it can end well before the promise.
TIME_FOR_ANOTHER = timedelta(minutes=5)

#: The orders whose purchases are looked up.
WAITING = (Order.Status.PROVISIONING, Order.Status.NEEDS_ATTENTION)

_Status = ProvisioningAttempt.Status


def _window() -> timedelta:
    """eSIM Go takes up to ten minutes to process an order: an order that is not listed then was not placed."""
    return timedelta(minutes=settings.ESIMGO_LOOK_UP_MINUTES)


@dataclass(frozen=True, kw_only=True)
class Matches:
    """adopted:   attempts and the order of eSIM Go that each of them placed.
    ambiguous: attempts of which a person must say which order is theirs.
    The others found nothing.
    """

    adopted: dict[int, PlacedOrder]
    ambiguous: frozenset[int]


# One unknown outcome


def look_up_attempt(order: Order, attempt: ProvisioningAttempt) -> Bought | None:
    """Look an open attempt up and do what follows. Call under the lock.

    Found: it is adopted. Nothing in two complete look-ups after the window: proven absent, and the order is bought once
    more or given up. Several: a person decides. Else it is looked up again later.
    """
    now = timezone.now()
    if now < window_start(attempt):
        look_later(order, until=window_start(attempt))
        return None
    attempts = attempts_beside(attempt)
    try:
        listed = esimgo_client().list_orders(
            created_from=attempts[0].started_at - SKEW, created_to=latest_placing(attempts[-1])
        )
    except EsimGoError as error:
        _note_incomplete(attempt, error)
        look_later(order, until=next_look(order, attempt))
        return None
    found = match_orders(attempts, unlinked_orders(listed))
    install_data = None
    for each in attempts:
        placed = found.adopted.get(each.pk)
        # What was bought for an order that is closed by now is nobody's: it is left to be found as an orphan.
        if placed is None or each.order.status not in WAITING or not _adopt(each, placed):
            continue
        if each.pk == attempt.pk:
            attempt.refresh_from_db()
            install_data = placed.esims[0] if placed.esims else None
        else:
            _wake(each.order)
    if attempt.status == _Status.PLACED:
        return Bought(attempt=attempt, install_data=install_data)
    if attempt.pk in found.ambiguous:
        _stop_ambiguous(order, "several purchases at eSIM Go may be this order's, or one that may be somebody else's")
    elif attempt.pk in found.adopted:
        look_later(order, until=now + BETWEEN_LOOKS)  # somebody else linked that order meanwhile
    elif now < window_start(attempt) + _window():
        look_later(order, until=next_look(order, attempt))
    else:
        _count_empty(order, attempt)
    return None


def next_look(order: Order, attempt: ProvisioningAttempt) -> datetime:
    """When an open attempt is looked up again: often at first, slowly once a person has the order."""
    now = timezone.now()
    if order.status == Order.Status.NEEDS_ATTENTION:
        return slow_look(order)
    start = window_start(attempt)
    planned = [start + wait for wait in (*LOOKS_IN_WINDOW, _window())]
    return next((moment for moment in planned if moment > now), now + BETWEEN_LOOKS)


def slow_look(order: Order) -> datetime:
    """When an order that waits for a person is looked at again."""
    now = timezone.now()
    is_old = order.promise_at is not None and now > order.promise_at + SLOWER_AFTER
    return now + (SLOWER if is_old else SLOW)


def _note_incomplete(attempt: ProvisioningAttempt, error: EsimGoError) -> None:
    ProvisioningAttempt.objects.filter(pk=attempt.pk, status=_Status.OPEN).update(
        error=redact(f"{attempt.error.partition('; look-up: ')[0]}; look-up: {error}")
    )


def _count_empty(order: Order, attempt: ProvisioningAttempt) -> None:
    """One more complete look-up after the window found nothing; enough of them prove that nothing was bought."""
    count = attempt.empty_look_ups + 1
    ProvisioningAttempt.objects.filter(pk=attempt.pk, status=_Status.OPEN).update(empty_look_ups=count)
    if count >= EMPTY_LOOK_UPS:
        _conclude_absent(order, attempt)
    else:
        look_later(order, until=timezone.now() + BETWEEN_LOOKS)


def _conclude_absent(order: Order, attempt: ProvisioningAttempt) -> None:
    from orders.tasks import provision_order_task

    now = timezone.now()
    with transaction.atomic():
        if not renew_claim(order):
            return
        ProvisioningAttempt.objects.filter(pk=attempt.pk, status=_Status.OPEN).update(
            status=_Status.ABSENT, finished_at=now
        )
        reason = "proven absent: eSIM Go lists no such purchase"
        # A person who asked for it (`look_up_from`) may have it bought more often than once more.
        is_first = order.look_up_from is not None or order.attempts.filter(status=_Status.ABSENT).count() == 1
        has_time = order.promise_at is not None and order.promise_at - now >= TIME_FOR_ANOTHER
        if order.status == Order.Status.PROVISIONING and is_first and has_time and payment_hooks().is_paid_for(order):
            send_back(order, cause=Order.Cause.UNREACHABLE, reason=reason, until=now)
            provision_order_task.defer(order_id=str(order.pk))
        else:
            actor = "clock" if order.status == Order.Status.NEEDS_ATTENTION else "worker"
            give_up_order(order, cause=Order.Cause.UNREACHABLE, actor=actor, reason=reason)


def _adopt(attempt: ProvisioningAttempt, placed: PlacedOrder) -> bool:
    """Make an order of eSIM Go that of an attempt. Returns False if either is somebody else's by now."""
    try:
        with transaction.atomic():
            if not store_reference(attempt, placed):
                return False
            note_event(attempt.order, actor="worker", reason=f"found at eSIM Go and adopted: {placed.reference}")
    except IntegrityError:
        return False
    return True


def _wake(order: Order) -> None:
    """Have an order looked at whose purchase was adopted on the way."""
    from orders.tasks import provision_order_task

    if Order.objects.filter(pk=order.pk, status__in=WAITING).update(next_try_at=timezone.now()):
        provision_order_task.defer(order_id=str(order.pk))


def _stop_ambiguous(order: Order, reason: str) -> None:
    with transaction.atomic():
        if not renew_claim(order):
            return
        if order.status == Order.Status.NEEDS_ATTENTION:
            change_cause(order, cause=Order.Cause.SEVERAL_MATCHES, reason=reason)
            look_later(order, until=slow_look(order))
        else:
            stop_for_person(order, cause=Order.Cause.SEVERAL_MATCHES, reason=reason)


# Matching


def attempts_beside(attempt: ProvisioningAttempt) -> list[ProvisioningAttempt]:
    """The open attempts of its bundle that may have placed the same orders as it, or as one of these; oldest first."""
    opened = ProvisioningAttempt.objects.filter(status=_Status.OPEN, bundle_name=attempt.bundle_name)
    beside: list[ProvisioningAttempt] = []
    for each in opened.select_related("order__top_up_esim").order_by("started_at", "pk"):
        if beside and each.started_at - SKEW > latest_placing(beside[-1]):
            if attempt in beside:
                break
            beside = []
        beside.append(each)
    return beside if attempt in beside else [attempt]


def unlinked_orders(listed: Iterable[PlacedOrder]) -> list[PlacedOrder]:
    """Those of eSIM Go's orders that no attempt of ours has, and nobody has written off; oldest first."""
    references = [placed.reference for placed in listed]
    ours = set(ProvisioningAttempt.objects.filter(reference__in=references).values_list("reference", flat=True))
    # One that somebody is deciding about at this moment has its time already.
    decided = Orphan.objects.filter(reference__in=references).exclude(status=Orphan.Status.OPEN, decided_at=None)
    gone = ours | set(decided.values_list("reference", flat=True))
    unlinked = {placed.reference: placed for placed in listed if placed.reference not in gone}
    return sorted(
        unlinked.values(), key=lambda placed: (placed.created_at is None, placed.created_at, placed.reference)
    )


def match_orders(attempts: Sequence[ProvisioningAttempt], unlinked: Sequence[PlacedOrder]) -> Matches:
    """Give the open attempts of a bundle their orders, oldest to oldest.

    attempts, unlinked: both oldest first. An order that may be theirs but is left over makes all of them ambiguous
    that it, or any other candidate, may belong to. An order from an address that is not ours, without a time, or
    without the eSIM of its top-up is never adopted by itself, but makes an attempt ambiguous that has no other.
    """
    known_esims, addresses = esims_known_among(unlinked), own_addresses()
    adopted: dict[int, PlacedOrder] = {}
    candidates: dict[int, list[PlacedOrder]] = {attempt.pk: [] for attempt in attempts}
    is_left_over = False
    doubtful: list[PlacedOrder] = []
    for placed in unlinked:
        fitting = [attempt for attempt in attempts if _fits(attempt, placed, known_esims=known_esims)]
        if not fitting:
            continue
        if any(_is_doubtful(attempt, placed, addresses=addresses) for attempt in fitting):
            doubtful.append(placed)
            continue
        for attempt in fitting:
            candidates[attempt.pk].append(placed)
        free = next((attempt for attempt in fitting if attempt.pk not in adopted), None)
        if free is None:
            is_left_over = True
        else:
            adopted[free.pk] = placed
    if is_left_over:
        return Matches(adopted={}, ambiguous=frozenset(pk for pk, found in candidates.items() if found))
    in_doubt = {
        attempt.pk
        for attempt in attempts
        for placed in doubtful
        if attempt.pk not in adopted and _fits(attempt, placed, known_esims=known_esims)
    }
    return Matches(adopted=adopted, ambiguous=frozenset(in_doubt))


def _fits(attempt: ProvisioningAttempt, placed: PlacedOrder, *, known_esims: set[str]) -> bool:
    is_one_bundle = (placed.item_type, placed.quantity) == ("bundle", 1)
    return is_one_bundle and may_have_placed(attempt, placed, known_esims=known_esims)


def _is_doubtful(attempt: ProvisioningAttempt, placed: PlacedOrder, *, addresses: set[str]) -> bool:
    return (
        placed.created_at is None
        or (attempt.order.top_up_esim is not None and not placed.iccids)
        or is_from_elsewhere(placed, addresses=addresses)
    )


# Before the first purchase, where our memory may have a gap


def find_earlier_purchase(order: Order) -> tuple[bool, Bought | None]:
    """Look for a purchase that we may have made for an order and forgotten (a restored backup), since `look_up_from`.

    Call under the lock. Returns: whether it is certain that there is none, so that it may be bought now; and what was
    found and adopted. Neither: it is looked up again, or a person decides.
    """
    assert order.look_up_from is not None
    since = order.look_up_from - SKEW
    try:
        bears_our_id = {esim.iccid for esim in esimgo_client().find_esims(str(order.pk))}
        listed = esimgo_client().list_orders(created_from=since, created_to=timezone.now())
        ours, unclaimed = _sort_by_claim(order, unlinked_orders(listed), bears_our_id)
    except EsimGoError as error:
        _search_later(order, reason=redact(f"looking for an earlier purchase: {error}"))
        return False, None
    chosen = ours or unclaimed
    if len(chosen) > 1 or (bears_our_id and not ours):
        _stop_ambiguous(order, "an earlier purchase at eSIM Go may be this order's")
        return False, None
    if not chosen:
        return True, None
    if not ours and _is_awaited(chosen[0], bundle_name=order.plan.bundle_name):
        _search_later(order, reason="another order's purchase of this bundle is being looked up")
        return False, None
    return False, _adopt_without_attempt(order, chosen[0])


def _sort_by_claim(
    order: Order, unlinked: Sequence[PlacedOrder], bears_our_id: set[str]
) -> tuple[list[PlacedOrder], list[PlacedOrder]]:
    """Of the purchases of the order's bundle: those that are certainly its own, and those that nobody claims."""
    known_esims = esims_known_among(unlinked)
    ours, unclaimed = [], []
    for placed in unlinked:
        if (placed.item_type, placed.bundle_name, placed.quantity) != ("bundle", order.plan.bundle_name, 1):
            continue
        if order.top_up_esim is not None:
            if not placed.iccids or order.top_up_esim.iccid in placed.iccids:
                unclaimed.append(placed)
        elif bears_our_id.intersection(placed.iccids):
            ours.append(placed)
        elif known_esims.isdisjoint(placed.iccids) and not any(
            esimgo_client().get_esim(iccid).customer_ref for iccid in placed.iccids
        ):
            unclaimed.append(placed)
    return ours, unclaimed


def _is_awaited(placed: PlacedOrder, *, bundle_name: str) -> bool:
    """Whether an open attempt of another order may have placed it: then that one is looked up first."""
    attempts = ProvisioningAttempt.objects.filter(status=_Status.OPEN, bundle_name=bundle_name)
    return any(_fits(attempt, placed, known_esims=set()) for attempt in attempts.select_related("order__top_up_esim"))


def _adopt_without_attempt(order: Order, placed: PlacedOrder) -> Bought | None:
    with transaction.atomic():
        if not renew_claim(order, look_up_from=None):
            return None
        attempt = order.attempts.create(
            bundle_name=order.plan.bundle_name,
            started_at=placed.created_at or timezone.now(),
            error="made before our memory reaches",
        )
    if not _adopt(attempt, placed):
        return None
    install_data: InstallData | None = placed.esims[0] if placed.esims else None
    return Bought(attempt=attempt, install_data=install_data)


def _search_later(order: Order, *, reason: str) -> None:
    if order.status == Order.Status.NEEDS_ATTENTION:
        look_later(order, until=slow_look(order))
        return
    with transaction.atomic():
        until = timezone.now() + timedelta(seconds=settings.ESIMGO_TIMEOUT)
        send_back(order, cause=Order.Cause.UNREACHABLE, reason=reason, until=until)
