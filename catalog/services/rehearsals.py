"""Asking eSIM Go, before anybody pays, whether it would sell a bundle: `POST /orders` with `type: validate`."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.utils import timezone

from catalog.models import Plan, PricingPolicy, Rehearsal, SalesPause
from catalog.pricing import is_sellable
from catalog.services.brake import pause_sales
from catalog.services.quotes import PlanNotFound, SalesPaused
from esimshop.clients.esimgo import ACCOUNT_STATUSES, EsimGoError, EsimGoRejected, esimgo_client
from esimshop.logs import redact

log = structlog.get_logger(__name__)

#: A buyer waits for it, so it must be quick or not at all.
DEADLINE_SECONDS = 2.0
#: Prices and bundles change by the day; what was refused may be mended sooner, and silence is soon over.
ACCEPTED_LASTS = timedelta(seconds=60)
REFUSED_LASTS = timedelta(seconds=30)
NO_ANSWER_LASTS = timedelta(seconds=15)


def rehearse_purchase(plan: Plan, *, iccid: str | None = None) -> None:
    """Refuse a sale that eSIM Go would not serve. Without an answer in time the shop sells on what it knows.

    iccid:  the eSIM of a top-up; its answer is good for this eSIM only and not kept.
    Raises: PlanNotFound (the bundle is refused), SalesPaused (our account is refused, or the bundle has become so dear
            that its price no longer pays for it; a sync is on its way).
    Call outside transactions.
    """
    rehearsal = None if iccid else Rehearsal.objects.filter(plan=plan).first()
    if rehearsal is None or rehearsal.rehearsed_at + _lasts(rehearsal) <= timezone.now():
        rehearsal = _rehearse(plan, iccid)
    if not rehearsal.is_accepted:
        raise PlanNotFound(plan.bundle_name)
    if rehearsal.total_usd is not None and not is_sellable(
        price_stars=plan.price_stars, wholesale_usd=rehearsal.total_usd, policy=PricingPolicy.in_force()
    ):
        log.warning("plan_became_dearer", bundle=plan.bundle_name)
        _wake_sync()
        raise SalesPaused


def _lasts(rehearsal: Rehearsal) -> timedelta:
    if not rehearsal.is_accepted:
        return REFUSED_LASTS
    return NO_ANSWER_LASTS if rehearsal.total_usd is None else ACCEPTED_LASTS


def _rehearse(plan: Plan, iccid: str | None) -> Rehearsal:
    rehearsal = Rehearsal(plan=plan, is_accepted=True, rehearsed_at=timezone.now())
    try:
        quote = esimgo_client().validate_order(
            bundle_name=plan.bundle_name, iccid=iccid, deadline_seconds=DEADLINE_SECONDS
        )
    except EsimGoRejected as error:
        # Of a top-up it may be the eSIM that is refused, and that says nothing about others.
        if error.is_account_level and iccid is None:
            _pause_sales(plan, error)
            raise SalesPaused from None
        rehearsal.is_accepted, rehearsal.message = False, redact(str(error))
        _wake_sync()
    except EsimGoError as error:
        log.warning("not_rehearsed", bundle=plan.bundle_name, error=redact(str(error)))
        rehearsal.message = redact(str(error))
    else:
        rehearsal.total_usd = quote.total_usd
    if iccid is None:
        _keep(rehearsal)
    return rehearsal


def _keep(rehearsal: Rehearsal) -> None:
    Rehearsal.objects.update_or_create(
        plan=rehearsal.plan,
        defaults={
            "is_accepted": rehearsal.is_accepted,
            "total_usd": rehearsal.total_usd,
            "message": rehearsal.message,
            "rehearsed_at": rehearsal.rehearsed_at,
        },
    )


def _pause_sales(plan: Plan, error: EsimGoRejected) -> None:
    reason = redact(f"eSIM Go refused to rehearse a purchase: {error}")
    if error.status in ACCOUNT_STATUSES:
        pause_sales(cause=SalesPause.Cause.ACCOUNT, reason=reason)
    else:  # too little balance for this plan, perhaps not for a cheaper one
        pause_sales(cause=SalesPause.Cause.BALANCE, reason=reason, min_cost_usd=plan.wholesale_usd)


def _wake_sync() -> None:
    from procrastinate.exceptions import AlreadyEnqueued

    from catalog.tasks import sync_catalog_task

    try:
        sync_catalog_task.configure().defer(timestamp=0)
    except AlreadyEnqueued:
        log.info("sync_is_queued_already")
