"""Which attempt of ours may have placed an order of eSIM Go: the one rule of look-ups and of the reconciliation.

eSIM Go keeps no key of ours, so bundle, time, eSIM and address are all there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

from esimshop.clients.esimgo import PlacedOrder
from orders.models import Esim, ProvisioningAttempt
from orders.services.purchases import window_start

#: By how much eSIM Go's clock may differ from ours.
SKEW = timedelta(minutes=1)
OWN_ADDRESSES_OF = timedelta(days=7)


def latest_placing(attempt: ProvisioningAttempt) -> datetime:
    """When its order was placed at the latest, by eSIM Go's clock."""
    return window_start(attempt) + SKEW


def is_of_its_time(attempt: ProvisioningAttempt, placed_at: datetime | None) -> bool:
    """Whether an order of that time, if it is known, may be the attempt's."""
    return placed_at is None or attempt.started_at - SKEW <= placed_at <= latest_placing(attempt)


def may_have_placed(attempt: ProvisioningAttempt, placed: PlacedOrder, *, known_esims: set[str]) -> bool:
    """Whether an order may be what an attempt placed.

    known_esims: from `esims_known_among`; a new eSIM is on none of them.
    """
    if attempt.bundle_name != placed.bundle_name or not is_of_its_time(attempt, placed.created_at):
        return False
    top_up = attempt.order.top_up_esim
    if top_up is not None:
        return not placed.iccids or top_up.iccid in placed.iccids
    return known_esims.isdisjoint(placed.iccids)


def esims_known_among(orders: Iterable[PlacedOrder]) -> set[str]:
    """ICCIDs in these orders that are customers' eSIMs already."""
    iccids = [iccid for placed in orders for iccid in placed.iccids]
    return set(Esim.objects.filter(iccid__in=iccids).values_list("iccid", flat=True))


def own_addresses() -> set[str]:
    """Where eSIM Go has seen our recent purchases come from."""
    recent = ProvisioningAttempt.objects.filter(started_at__gte=timezone.now() - OWN_ADDRESSES_OF).exclude(source_ip="")
    return set(recent.order_by("source_ip").values_list("source_ip", flat=True).distinct())


def is_from_elsewhere(placed: PlacedOrder, *, addresses: set[str]) -> bool:
    """Whether an order came from an address that is not known as ours, where any is known.

    addresses: from `own_addresses`.
    """
    return bool(placed.source_ip and addresses and placed.source_ip not in addresses)
