"""Reading what eSIM Go tells of an eSIM's data and days, and telling its customer when they run out.

What is due lies in `Esim.usage_due_at`: a purchase, a callback, a customer who looks, and the moments of the notices
set it. Whoever reads takes the eSIM by moving that time on, so that a process which dies in it is followed by another.
A reading is never older than what a callback brought meanwhile: see `_store_bundle`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from esimshop.clients.esimgo import BundleOnEsim, EsimDetails, EsimGoError, EsimGoRejected, esimgo_client
from esimshop.logs import redact
from orders.models import Delivery, Esim, EsimBundle, Order, ProvisioningAttempt
from orders.services.deliveries import owe_delivery
from orders.usage import ENDING, OVER, USABLE, WAITING, due_notices, state_of

log = structlog.get_logger(__name__)

State = EsimBundle.State

#: Nobody waits for it as a buyer does, and a worker's slot is taken meanwhile.
DEADLINE_SECONDS = 10.0
LEASE = timedelta(minutes=2)
AFTER_A_PURCHASE = timedelta(minutes=2)
AFTER_A_FAILURE = timedelta(minutes=10)
#: A bundle is put on its eSIM within ten minutes.
WHILE_PROCESSING = timedelta(minutes=5)
WHILE_USABLE = timedelta(hours=3)
WHILE_UNTOUCHED = timedelta(days=1)
#: Who has not travelled by then is asked about less often; the first use comes as a callback.
UNTOUCHED_AFTER = timedelta(days=30)
#: What was read so lately is fresh enough for who looks at it.
FRESH = timedelta(seconds=60)
#: eSIM Go has deactivated the eSIM, or taken it from our account.
GONE_STATUS = 410


def read_usage(esim_id: int) -> bool:
    """Ask eSIM Go about an eSIM that is due, store what it says and owe its customer the notices.

    Does nothing if it is not due, or another worker has it. Call outside transactions.
    Returns: False where eSIM Go did not answer, so that the next one need not be asked now.
    """
    started_at = timezone.now()
    lease = started_at + LEASE
    if not Esim.objects.filter(pk=esim_id, usage_due_at__lte=started_at).update(usage_due_at=lease):
        return True
    esim = Esim.objects.select_related("order", "customer").get(pk=esim_id)
    if esim.order.status != Order.Status.COMPLETED:
        # Its Stars went back: it is nobody's. While they are on their way, the refund may still be refused.
        is_over = esim.order.status == Order.Status.REFUNDED
        Esim.objects.filter(pk=esim_id).update(usage_due_at=None if is_over else started_at + WHILE_USABLE)
        return True
    client = esimgo_client()
    try:
        bundles = client.list_bundles_on(esim.iccid, deadline_seconds=DEADLINE_SECONDS)
        details = client.get_esim(esim.iccid, deadline_seconds=DEADLINE_SECONDS) if _wants_details(esim) else None
    except EsimGoRejected as error:
        _note_refusal(esim, error, lease=lease)
        return True
    except EsimGoError as error:
        log.warning("usage_not_read", esim=esim.pk, error=redact(str(error)))
        _settle(esim, lease=lease, due_at=started_at + AFTER_A_FAILURE)
        return False
    _store_reading(esim, bundles, details, lease=lease)
    return True


def _wants_details(esim: Esim) -> bool:
    """Whether something is open that the eSIM's bundles do not tell: its profile, and whether a phone has it."""
    return not esim.was_installed or not esim.profile_name


def _note_refusal(esim: Esim, error: EsimGoRejected, *, lease: datetime) -> None:
    log.warning("usage_refused", esim=esim.pk, error=redact(str(error)))
    if error.status == GONE_STATUS:
        Esim.objects.filter(pk=esim.pk).update(is_deleted=True, usage_due_at=None)
    else:
        _settle(esim, lease=lease, due_at=timezone.now() + WHILE_UNTOUCHED)


def _store_reading(esim: Esim, told: list[BundleOnEsim], details: EsimDetails | None, *, lease: datetime) -> None:
    with transaction.atomic():
        esim = Esim.objects.select_for_update(of=("self",)).select_related("customer", "order").get(pk=esim.pk)
        orders = _orders_behind({bundle.order_reference for bundle in told})
        for bundle in told:
            _store_bundle(esim, bundle, order_id=orders.get(bundle.order_reference), asked_at=lease - LEASE)
        esim.usage_read_at = timezone.now()
        if details is not None:
            esim.profile_name = details.profile_name[:50]
            esim.profile_status = details.profile_status[:20]
            esim.was_installed = details.was_installed
            esim.is_deleted = details.state.lower() == "deactivated"
        esim.save(update_fields=["usage_read_at", "profile_name", "profile_status", "was_installed", "is_deleted"])
        _settle(esim, lease=lease)


def _orders_behind(references: set[str]) -> dict[str, UUID]:
    placed = ProvisioningAttempt.objects.filter(reference__in=references)
    return {reference: order_id for reference, order_id in placed.values_list("reference", "order_id") if reference}


def _store_bundle(esim: Esim, told: BundleOnEsim, *, order_id: UUID | None, asked_at: datetime) -> None:
    """Store what a reading says of a bundle, unless a callback has come since it was asked for."""
    known = EsimBundle.objects.filter(esim=esim, assignment_id=told.assignment_id[:64]).first()
    if known is not None and known.told_at > asked_at:
        return
    bundle = known or EsimBundle(esim=esim, assignment_id=told.assignment_id[:64])
    bundle.bundle_name = told.bundle_name[:100]
    bundle.state = told.state if told.state in State.values else State.UNKNOWN
    bundle.is_unlimited = told.is_unlimited
    bundle.initial_bytes, bundle.remaining_bytes = told.initial_bytes, told.remaining_bytes
    bundle.assigned_at = told.assigned_at or bundle.assigned_at
    bundle.starts_at = told.starts_at or bundle.starts_at
    bundle.ends_at = told.ends_at or bundle.ends_at
    if order_id is not None:
        bundle.order_id = order_id
    save_bundle(bundle)


def save_bundle(bundle: EsimBundle) -> None:
    """Save what was told of a bundle a moment ago, and note when it was first seen to be over."""
    bundle.told_at = timezone.now()
    if bundle.state in OVER:
        bundle.ended_at = bundle.ended_at or bundle.told_at
    else:
        bundle.ended_at = None
    bundle.save()


# What follows from it


def _settle(esim: Esim, *, lease: datetime, due_at: datetime | None = None) -> None:
    """Owe the notices that are due by what we know, and decide when eSIM Go is asked again.

    lease:  set by the reader; whoever made the eSIM due meanwhile (a callback, a customer who looks) keeps that.
    due_at: where something went wrong, instead of what the bundles would say.
    """
    with transaction.atomic():
        owe_notices(esim)
        next_at = due_at or next_reading(esim, list(esim.bundles.all()), now=timezone.now())
        Esim.objects.filter(pk=esim.pk, usage_due_at=lease).update(usage_due_at=next_at)


def next_reading(esim: Esim, bundles: list[EsimBundle], *, now: datetime) -> datetime | None:
    """When eSIM Go is asked about an eSIM again; None when nothing can change any more but by a top-up."""
    if esim.is_deleted:
        return None
    states = {state_of(bundle, now) for bundle in bundles}
    is_young = esim.created_at > now - UNTOUCHED_AFTER
    if State.PROCESSING in states or (not bundles and esim.created_at > now - timedelta(hours=1)):
        return now + WHILE_PROCESSING
    if State.ACTIVE in states:
        moments = [
            bundle.ends_at - before
            for bundle in bundles
            if bundle.ends_at and state_of(bundle, now) == State.ACTIVE
            for before in (*ENDING.values(), timedelta(0))
        ]
        return min([now + WHILE_USABLE, *(moment for moment in moments if moment > now)])
    if states & WAITING or not bundles or State.UNKNOWN in states:
        return now + (WHILE_USABLE if is_young else WHILE_UNTOUCHED)
    return None


def owe_notices(esim: Esim) -> list[Delivery]:
    """Write down what the customer should hear of an eSIM that runs out, each thing once. Call in a transaction."""
    customer = esim.customer
    if not customer.wants_usage_notices or customer.anonymised_at:
        return []
    due = due_notices(list(esim.bundles.all()), now=timezone.now())
    told = set(Delivery.objects.filter(bundle__esim=esim).values_list("bundle_id", "kind"))
    return [
        owe_delivery(customer=customer, order=bundle.order or esim.order, bundle=bundle, kind=kind)
        for bundle, kind in due
        if (bundle.pk, kind) not in told
    ]


def refresh_usage(esim: Esim) -> bool:
    """Have fresh usage read for somebody who looks at it. Returns whether that was needed."""
    now = timezone.now()
    is_fresh = esim.usage_read_at is not None and esim.usage_read_at > now - FRESH
    is_over = esim.usage_read_at is not None and esim.usage_due_at is None
    if is_fresh or is_over or esim.is_deleted:
        return False
    have_usage_read(esim)
    return True


def have_usage_read(esim: Esim) -> None:
    """Have the worker ask eSIM Go about an eSIM at once; should that task die, the sweep finds the eSIM due."""
    from orders.tasks import read_usage_task

    now = timezone.now()
    Esim.objects.filter(pk=esim.pk).exclude(usage_due_at__lte=now).update(usage_due_at=now)
    read_usage_task.defer(esim_id=esim.pk)


def sweep_usage(*, limit: int) -> int:
    """Read eSIMs whose time has come, one after another, the longest overdue first. Returns how many.

    Ends early where eSIM Go does not answer: the rest stays due.
    """
    due = Esim.objects.filter(usage_due_at__lte=timezone.now()).order_by("usage_due_at")
    count = 0
    for pk in list(due.values_list("pk", flat=True)[:limit]):
        if not read_usage(pk):
            break
        count += 1
    return count


# What a callback tells


def note_told_bundle(esim: Esim, told: BundleOnEsim) -> None:
    """Take in the bundle of a callback, which may come late, twice or out of order: it only ever uses data up.

    Call in a transaction that holds the eSIM's row.
    """
    bundle = EsimBundle.objects.filter(esim=esim, assignment_id=told.assignment_id[:64]).first()
    if bundle is None:
        bundle = EsimBundle(
            esim=esim,
            assignment_id=told.assignment_id[:64],
            bundle_name=told.bundle_name[:100],
            is_unlimited=told.is_unlimited,
            initial_bytes=told.initial_bytes,
            remaining_bytes=told.remaining_bytes,
            order_id=_orders_behind({told.order_reference}).get(told.order_reference),
            state=State.ACTIVE,
        )
    if bundle.remaining_bytes is not None and told.remaining_bytes is not None:
        bundle.remaining_bytes = min(bundle.remaining_bytes, told.remaining_bytes)
    bundle.starts_at = bundle.starts_at or told.starts_at
    bundle.ends_at = bundle.ends_at or told.ends_at
    if bundle.state in USABLE:
        is_empty = bundle.remaining_bytes == 0 and not bundle.is_unlimited
        bundle.state = State.DEPLETED if is_empty else State.ACTIVE
    save_bundle(bundle)
