"""Which plans top up an eSIM: eSIM Go has several operators behind it, and an eSIM takes bundles of its own only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import structlog
from django.utils import timezone

from catalog.models import Plan
from esimshop.clients.esimgo import EsimGoError, EsimGoRejected, esimgo_client
from esimshop.logs import redact
from esimshop.rate_limits import count_use
from esimshop.waiting_places import NoWaitingPlace, waiting_place
from orders.models import Esim, TopUpFit

log = structlog.get_logger(__name__)

#: A customer waits for it.
DEADLINE_SECONDS = 3.0
#: Routes of bundles change by the month.
LASTS = timedelta(days=1)
#: Questions about one eSIM while eSIM Go does not answer.
TRIES_PER_MINUTE = 3


def find_top_up_plans(esim: Esim) -> list[Plan] | None:
    """Plans on sale in the eSIM's area that eSIM Go would put on it, cheapest first; None where it does not say.

    Asks eSIM Go once a day for each operator profile; call outside transactions.
    """
    if esim.is_deleted:
        return []
    plans = list(
        Plan.objects.on_sale()
        .filter(area_id=esim.order.plan.area_id)
        .select_related("area")
        .order_by("is_unlimited", "price_stars", "bundle_name")
    )
    fits = _known_fits(esim)
    for plan in plans:
        if plan.profile_name not in fits:
            fit = _ask(esim, plan)
            if fit is None:
                return None
            fits[plan.profile_name] = fit
    return [plan for plan in plans if fits[plan.profile_name]]


def _known_fits(esim: Esim) -> dict[str, bool]:
    fresh: Iterable[tuple[str, bool]] = esim.top_up_fits.filter(asked_at__gt=timezone.now() - LASTS).values_list(
        "profile_name", "fits"
    )
    return dict(fresh)


def _ask(esim: Esim, plan: Plan) -> bool | None:
    """Whether a plan, and with it all of its profile, fits the eSIM; None where eSIM Go does not say."""
    if count_use(key=f"compatible:{esim.pk}", limit=TRIES_PER_MINUTE, seconds=60):
        return None
    try:
        with waiting_place():
            fits = esimgo_client().is_compatible(
                iccid=esim.iccid, bundle_name=plan.bundle_name, deadline_seconds=DEADLINE_SECONDS
            )
    except NoWaitingPlace:
        return None
    except EsimGoRejected as error:
        # Of a bundle that they no longer know, or an eSIM that is no longer ours.
        log.warning("top_up_refused", esim=esim.pk, bundle=plan.bundle_name, error=redact(str(error)))
        fits = False
    except EsimGoError as error:
        log.warning("top_up_not_checked", esim=esim.pk, error=redact(str(error)))
        return None
    TopUpFit.objects.update_or_create(
        esim=esim, profile_name=plan.profile_name, defaults={"fits": fits, "asked_at": timezone.now()}
    )
    return fits
