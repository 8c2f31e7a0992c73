"""What the shop must not trust its memory about, after a backup was put back.

The backup ends at some moment. What was paid, bought, delivered and refunded between that moment and the restoration is
forgotten here, and known to Telegram and eSIM Go. So in doubt the shop looks before it buys, and lets a person decide
before it returns Stars.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.db import transaction
from django.db.models import F, Max, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinatePeriodicDefer

from orders.models import Order, OrderEvent, Restoration

#: Clocks of Telegram, eSIM Go and ours may differ by no more.
MARGIN = timedelta(minutes=5)
#: A worker writes this often that it is alive. A memory that is younger is that of a running shop.
PULSE = timedelta(seconds=10)

_ON_THE_WAY = [Order.Status.PAID, Order.Status.PROVISIONING, Order.Status.NEEDS_ATTENTION]


class ShopIsRunning(Exception):
    """The database was written to a moment ago: what it knew when it was restored cannot be told any more."""


@transaction.atomic
def note_restoration(
    *, actor: str, forgotten_from: datetime | None = None, is_running_possible: bool = True
) -> Restoration:
    """Note that this database is a backup that was put back. To be called before any process of the shop starts.

    Orders on their way are looked up at eSIM Go before anything is bought or returned for them.
    forgotten_from: the last moment that the backup knows; without it the youngest trace in the database.
    is_running_possible: False where it is certain that no process of the shop has run here since.
    Raises: ShopIsRunning.
    """
    now = timezone.now()
    if forgotten_from is None:
        forgotten_from = last_trace()
        if is_running_possible and forgotten_from is not None and forgotten_from > now - PULSE:
            raise ShopIsRunning
    forgotten_from = forgotten_from or now
    orders = Order.objects.select_for_update().filter(status__in=_ON_THE_WAY).order_by("pk")
    ids = list(orders.values_list("pk", flat=True))
    Order.objects.filter(pk__in=ids).update(
        look_up_from=Coalesce(F("look_up_from"), Coalesce(F("paid_at"), F("created_at")) - MARGIN),
        lease_until=None,
    )
    reason = f"a backup of {forgotten_from:%Y-%m-%d %H:%M} was restored: an earlier purchase is looked for first"
    OrderEvent.objects.bulk_create(
        OrderEvent(order_id=pk, kind=OrderEvent.Kind.NOTE, actor=actor, reason=reason) for pk in ids
    )
    return Restoration.objects.create(
        forgotten_from=forgotten_from, forgotten_until=now, noted_by=actor, orders_in_doubt=len(ids)
    )


def last_trace() -> datetime | None:
    """The youngest moment that is written down here: a running worker writes every few seconds."""
    pulse = ProcrastinatePeriodicDefer.objects.aggregate(last=Max("defer_timestamp"))["last"]
    event = OrderEvent.objects.aggregate(last=Max("created_at"))["last"]
    moments = [datetime.fromtimestamp(pulse, tz=timezone.get_default_timezone())] if pulse else []
    return max([*moments, *([event] if event else [])], default=None)


def is_forgotten(moment: datetime) -> bool:
    """Whether something of that moment may have been lost with the books."""
    return Restoration.objects.filter(
        forgotten_from__lte=moment + MARGIN, forgotten_until__gte=moment - MARGIN
    ).exists()


def forgotten_times(field: str) -> Q:
    """Rows whose `field` lies in a time that may have been lost with the books; none where no backup was put back."""
    spans = Restoration.objects.values_list("forgotten_from", "forgotten_until")
    during = [Q(**{f"{field}__gte": start - MARGIN, f"{field}__lte": end + MARGIN}) for start, end in spans]
    return reduce(or_, during, Q(pk__in=[]))
