"""Buying at eSIM Go, under the purchase lock: an attempt is written down before it is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from catalog.models import SalesPause, WholesalerAccount
from catalog.services.brake import pause_sales, resume_sales
from esimshop.clients.esimgo import (
    ACCOUNT_STATUSES,
    EsimGoError,
    EsimGoOutcomeUnknown,
    EsimGoRejected,
    InstallData,
    PlacedOrder,
    esimgo_client,
)
from esimshop.logs import redact
from orders.hooks import payment_hooks
from orders.models import Order, ProvisioningAttempt, note_event
from orders.services.claims import look_later, renew_claim, send_back
from orders.services.endings import give_up_order, stop_for_person
from orders.services.purchase_lock import PurchaseLock

RETRY = timedelta(seconds=20)
LIMIT_RETRY = timedelta(minutes=1)
#: A pause of eSIM Go that is sat out under the lock; for a longer one the order goes back.
LONGEST_PAUSE_SECONDS = 2.0
#: How often one order is sent in one go, where eSIM Go only asks for a moment's patience.
SENDINGS = 3

_Status = ProvisioningAttempt.Status
#: Perhaps or certainly bought: they count against the hour's limit.
MAYBE_BOUGHT = (_Status.OPEN, _Status.PLACED, _Status.REVOKED)


@dataclass(frozen=True, kw_only=True)
class Bought:
    """A purchase whose eSIM is to be stored; install_data is None where it did not come with the answer."""

    attempt: ProvisioningAttempt
    install_data: InstallData | None


def window_start(attempt: ProvisioningAttempt) -> datetime:
    """From then on its purchase has certainly ended at eSIM Go or is being worked on; nothing is sent any more."""
    return attempt.started_at + timedelta(seconds=2 * settings.ESIMGO_TIMEOUT)


def buy_bundle(order: Order, lock: PurchaseLock) -> Bought | None:
    """Buy the bundle of an order, whatever comes of it. Call under the lock."""
    for _ in range(SENDINGS):
        if not _may_buy(order):
            return None
        attempt = _open_attempt(order, lock)
        if attempt is None:
            return None
        try:
            placed: PlacedOrder | EsimGoError = esimgo_client().place_order(
                bundle_name=attempt.bundle_name,
                iccid=order.top_up_esim.iccid if order.top_up_esim else None,
                started_at=attempt.started_at,
            )
        except EsimGoError as error:
            placed = error
        _note_pause(placed.retry_after)
        if not lock.is_held():
            # Others may have looked up meanwhile, and adopted what this call bought.
            answer = placed.reference if isinstance(placed, PlacedOrder) else placed
            placed = EsimGoOutcomeUnknown(f"the purchase lock was lost during the call, which brought: {answer}")
        if isinstance(placed, PlacedOrder):
            return _store_placed(attempt, placed)
        if not _is_brief(placed):
            _note_failure(order, attempt, placed)
            return None
        _close_rejected(attempt, placed)
    with transaction.atomic():
        send_back(order, cause=Order.Cause.UNREACHABLE, reason="eSIM Go asks for patience", until=timezone.now())
    return None


# Before


def _may_buy(order: Order) -> bool:
    """Whether a purchase is allowed now, after a short wait where one is asked for; else the order goes back."""
    now = timezone.now()
    wait_until = WholesalerAccount.objects.filter(pk=1).values_list("wait_until", flat=True).first()
    pause = (wait_until - now).total_seconds() if wait_until else 0.0
    if pause > LONGEST_PAUSE_SECONDS:
        assert wait_until is not None
        with transaction.atomic():
            send_back(order, cause=Order.Cause.UNREACHABLE, reason="eSIM Go asked for a pause", until=wait_until)
        return False
    if is_over_limit():
        with transaction.atomic():
            send_back(
                order,
                cause=Order.Cause.PURCHASE_LIMIT,
                reason="more purchases this hour than the policy allows",
                until=now + LIMIT_RETRY,
            )
            limit = payment_hooks().purchases_per_hour()
            pause_sales(
                cause=SalesPause.Cause.PURCHASE_LIMIT,
                reason=f"{limit} purchases within an hour, and the policy allows no more; paid orders wait and are "
                "refunded at their promise",
            )
        return False
    time.sleep(max(0.0, pause, _rest_of_interval()))
    return True


def is_over_limit() -> bool:
    """Whether the last hour's purchases have reached the policy's figure."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    bought = ProvisioningAttempt.objects.filter(started_at__gt=an_hour_ago, status__in=MAYBE_BOUGHT).count()
    return bought >= payment_hooks().purchases_per_hour()


def _rest_of_interval() -> float:
    if not settings.ESIMGO_ORDER_INTERVAL:
        return 0.0
    last = ProvisioningAttempt.objects.order_by("-started_at").values_list("started_at", flat=True).first()
    since = (timezone.now() - last).total_seconds() if last else settings.ESIMGO_ORDER_INTERVAL
    return float(min(max(0.0, settings.ESIMGO_ORDER_INTERVAL - since), settings.ESIMGO_ORDER_INTERVAL))


def _open_attempt(order: Order, lock: PurchaseLock) -> ProvisioningAttempt | None:
    """Write the attempt down, if the lock is held, the order is still this worker's and we still have its Stars."""
    with transaction.atomic():
        if not lock.is_held() or not renew_claim(order, look_up_from=None):
            return None
        if not payment_hooks().is_paid_for(order):
            give_up_order(order, cause=Order.Cause.REQUESTED, actor="worker", reason="the Stars are gone already")
            return None
        return ProvisioningAttempt.objects.create(order=order, bundle_name=order.plan.bundle_name)


# After


def _note_pause(seconds: float | None) -> None:
    """Let all workers know how long eSIM Go wants to be left alone."""
    if seconds:
        until = timezone.now() + timedelta(seconds=seconds)
        if not WholesalerAccount.objects.filter(pk=1).update(wait_until=Greatest(Coalesce("wait_until", until), until)):
            WholesalerAccount.objects.get_or_create(pk=1, defaults={"wait_until": until})


def _is_brief(error: EsimGoError) -> bool:
    """Whether nothing was bought and eSIM Go takes the same again in a moment."""
    return (
        not isinstance(error, EsimGoRejected | EsimGoOutcomeUnknown)
        and error.retry_after is not None
        and error.retry_after <= LONGEST_PAUSE_SECONDS
    )


def _store_placed(attempt: ProvisioningAttempt, placed: PlacedOrder) -> Bought | None:
    """Keep the reference by itself: whatever goes wrong with the eSIM, what was bought is known."""
    if not store_reference(attempt, placed):
        return None
    if placed.balance_usd is not None:
        WholesalerAccount.objects.filter(pk=1).update(balance_usd=placed.balance_usd, read_at=timezone.now())
    resume_sales(cause=SalesPause.Cause.ACCOUNT)
    return Bought(attempt=attempt, install_data=placed.esims[0] if placed.esims else None)


def store_reference(attempt: ProvisioningAttempt, placed: PlacedOrder) -> bool:
    """Make an open attempt `placed`. Returns False if somebody closed it before."""
    changes = {
        "status": _Status.PLACED,
        "reference": placed.reference,
        "cost_usd": placed.total_usd,
        "source_ip": placed.source_ip[:45],
        "finished_at": timezone.now(),
    }
    if not ProvisioningAttempt.objects.filter(pk=attempt.pk, status=_Status.OPEN).update(**changes):
        return False
    for name, value in changes.items():
        setattr(attempt, name, value)
    return True


def _note_failure(order: Order, attempt: ProvisioningAttempt, error: EsimGoError) -> None:
    if isinstance(error, EsimGoOutcomeUnknown):
        ProvisioningAttempt.objects.filter(pk=attempt.pk).update(error=redact(str(error)))
        _await_look_up(order, attempt, reason=redact(str(error)))
    elif not isinstance(error, EsimGoRejected):
        _wait(order, attempt, error, cause=Order.Cause.UNREACHABLE)
    elif error.is_account_level:
        _wait(order, attempt, error, cause=Order.Cause.ACCOUNT)
        _pause_sales(order, error)
    else:
        with transaction.atomic():
            # Closed whoever has the order by now: the refusal is certain.
            if _close_rejected(attempt, error) and renew_claim(order):
                give_up_order(order, cause=Order.Cause.SOLD_OUT, actor="worker", reason=redact(str(error)))


def _pause_sales(order: Order, error: EsimGoRejected) -> None:
    reason = f"eSIM Go refuses our account: {redact(str(error))}"
    if error.status not in ACCOUNT_STATUSES:  # too little balance for this plan, perhaps not for a cheaper one
        pause_sales(cause=SalesPause.Cause.BALANCE, reason=reason, min_cost_usd=order.plan.wholesale_usd)
    elif order.top_up_esim is None:  # of a top-up it may be the eSIM that is refused
        pause_sales(cause=SalesPause.Cause.ACCOUNT, reason=reason)


def _await_look_up(order: Order, attempt: ProvisioningAttempt, *, reason: str) -> None:
    """It may have been bought. The first time a look-up decides, the second time a person is told as well."""
    is_second = order.attempts.filter(status=_Status.ABSENT).exists()
    if not is_second:
        with transaction.atomic():
            if renew_claim(order):
                note_event(order, actor="worker", reason=f"not known whether it was bought: {reason}")
                look_later(order, until=window_start(attempt))
        return
    with transaction.atomic():
        if renew_claim(order):
            stop_for_person(order, cause=Order.Cause.OUTCOME_UNKNOWN, reason=f"a second time: {reason}")


def _wait(order: Order, attempt: ProvisioningAttempt, error: EsimGoError, *, cause: str) -> None:
    """A certain "not now": nothing was bought, the order waits inside its promise."""
    until = timezone.now() + (timedelta(seconds=max(1.0, error.retry_after)) if error.retry_after else RETRY)
    with transaction.atomic():
        _close_rejected(attempt, error)
        send_back(order, cause=cause, reason=redact(str(error)), until=until)


def _close_rejected(attempt: ProvisioningAttempt, error: EsimGoError) -> bool:
    return bool(
        ProvisioningAttempt.objects.filter(pk=attempt.pk, status=_Status.OPEN).update(
            status=_Status.REJECTED, error=redact(str(error)), finished_at=timezone.now()
        )
    )
