"""Purchases at eSIM Go that belong to no order of ours: adopted by one, revoked, or kept as a loss.

Nothing here buys. Who decides first, decides: a decision that comes second says so and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.clients.esimgo import EsimGoError, EsimGoOutcomeUnknown, Revocation
from esimshop.logs import redact
from orders.hooks import payment_hooks
from orders.models import Esim, Order, Orphan, ProvisioningAttempt, StaleOrder, move_order, note_event
from orders.services.matching import is_of_its_time
from orders.services.revocations import USABLE, RevocationRefused, read_bundles, take_bundle_back
from orders.services.wholesaler_calls import kept_calls

log = structlog.get_logger(__name__)

#: Longer than the calls of a revocation take; while it lasts nobody else decides.
REVOKING = timedelta(minutes=5)


class OrphanRefused(Exception):
    """The orphan cannot be decided so; the text says why, in words for whoever asked. Nothing changed."""


@dataclass(frozen=True, kw_only=True)
class FoundPurchase:
    """What the wholesaler's books say of a purchase; reference is None where only its eSIM is known."""

    reference: str | None
    iccid: str
    bundle_name: str
    total_usd: Decimal | None
    placed_at: datetime | None
    #: Our order id, as eSIM Go has it on the eSIM.
    named_order_id: UUID | None = None


def alert_cause(orphan: Orphan) -> str:
    return f"orphan:{orphan.pk}"


def is_recorded(found: FoundPurchase) -> bool:
    """Whether the purchase was written down as an orphan, whatever became of it."""
    return Orphan.objects.filter(**_key(found)).exists()


def record_orphan(found: FoundPurchase, *, order: Order | None, note: str) -> tuple[Orphan, bool]:
    """Write a purchase down as an orphan, once; its eSIM, which may come later, too. Returns it, and whether it is new.

    order: the one for which it was probably bought.
    """
    orphan, is_new = Orphan.objects.get_or_create(
        **_key(found),
        defaults={
            "iccid": found.iccid,
            "bundle_name": found.bundle_name[:100],
            "total_usd": found.total_usd,
            "placed_at": found.placed_at,
            "named_order_id": found.named_order_id,
            "order": order,
            "note": note,
        },
    )
    if (found.iccid and not orphan.iccid) or (found.named_order_id and not orphan.named_order_id):
        orphan.iccid = orphan.iccid or found.iccid
        orphan.named_order_id = orphan.named_order_id or found.named_order_id
        orphan.save(update_fields=["iccid", "named_order_id"])
    return orphan, is_new


def _key(found: FoundPurchase) -> dict[str, str | None]:
    return {"reference": found.reference} if found.reference else {"reference": None, "iccid": found.iccid}


def tell_of_orphan(orphan: Orphan) -> None:
    """Tell the operators that a purchase waits for a decision, once."""
    what = f"purchase {orphan.reference}" if orphan.reference else f"eSIM …{orphan.iccid[-4:]}"
    raise_alert(
        cause=alert_cause(orphan),
        text=f"eSIM Go has the {what} ({orphan.bundle_name or 'bundle unknown'}), which belongs to no order of ours. "
        f"{orphan.note} Adopt it for an order that waits for this bundle, revoke it, or write it off.",
        path=f"/admin/orders/orphan/{orphan.pk}/change/",
    )


def adopt_orphan(orphan: Orphan, *, order: Order, actor: str, reason: str) -> None:
    """Give a purchase that nobody owns to an order that waits for one, and wake the worker to fetch its eSIM.

    order:  `needs_attention`, or `provisioning` with an attempt whose outcome is not known; of the same bundle.
    Raises: OrphanRefused; EsimGoError if the wholesaler does not tell whether the bundle is still there.
    """
    from orders.tasks import provision_order_task

    with kept_calls(order.pk):
        reference = _check_usable(orphan)
    try:
        with transaction.atomic():
            # Its key stays free, since whoever holds the orphan writes the order's key.
            locked = Order.objects.select_for_update(of=["self"], no_key=True)
            order = locked.select_related("plan", "top_up_esim").get(pk=order.pk)
            orphan = _undecided(orphan)
            _check_fit(orphan, order)
            _fill_attempt(orphan, order, reference=reference)
            orphan.reference = reference
            _decide(orphan, Orphan.Status.ADOPTED, actor=actor, reason=reason, order=order)
            told = f"adopted the purchase {reference}: {reason}"
            if order.status == Order.Status.NEEDS_ATTENTION:
                move_order(
                    order, Order.Status.PROVISIONING, actor=actor, reason=told, lease_until=None, next_try_at=None
                )
            else:
                Order.objects.filter(pk=order.pk).update(lease_until=None, next_try_at=None)
                note_event(order, actor=actor, reason=told)
            provision_order_task.defer(order_id=str(order.pk))
    except IntegrityError:
        raise OrphanRefused(f"The purchase {reference} has just become another attempt's.") from None
    except StaleOrder as error:
        raise OrphanRefused(str(error)) from error


def write_off_orphan(orphan: Orphan, *, actor: str, reason: str) -> None:
    """Keep a purchase that nobody owns as a loss: it is never delivered. Raises: OrphanRefused."""
    with transaction.atomic():
        _decide(_undecided(orphan), Orphan.Status.WRITTEN_OFF, actor=actor, reason=reason)


def revoke_orphan(orphan: Orphan, *, actor: str, reason: str) -> None:
    """Give the bundle of a purchase that nobody owns back to eSIM Go, if they take it back; destroy nothing.

    An attempt of a refunded order that was probably its origin becomes `revoked` with it.
    Raises: OrphanRefused; EsimGoOutcomeUnknown or EsimGoUnreachable (ask again in a few minutes).
    """
    now = timezone.now()
    free = Q(decided_at=None) | Q(decided_at__lte=now - REVOKING)
    claimed = Orphan.objects.filter(free, pk=orphan.pk, status=Orphan.Status.OPEN).update(
        decided_at=now, decided_by=actor
    )
    if not claimed:
        with transaction.atomic():
            _undecided(orphan)
        raise OrphanRefused("Somebody else has just tried to revoke it.")
    try:
        with kept_calls(orphan.order_id):
            revocation = _revoke_bundle(orphan, until=now + REVOKING / 2)
    except EsimGoOutcomeUnknown:
        # The claim runs out by itself: until then what was sent may still arrive.
        raise
    except (EsimGoError, OrphanRefused):
        Orphan.objects.filter(pk=orphan.pk, status=Orphan.Status.OPEN, decided_at=now).update(
            decided_at=None, decided_by=""
        )
        raise
    told = f"{reason} ({revocation.message})"
    with transaction.atomic():
        orphan = Orphan.objects.select_for_update(of=["self"]).select_related("order").get(pk=orphan.pk)
        if orphan.status != Orphan.Status.OPEN:
            raise OrphanRefused(f"Its bundle is revoked, but meanwhile {orphan.decided_by} decided otherwise.")
        if orphan.order:
            _close_attempt(orphan, orphan.order)
            note_event(orphan.order, actor=actor, reason=f"revoked the purchase {orphan}: {told}")
        _decide(orphan, Orphan.Status.REVOKED, actor=actor, reason=told)


def settle_found_orphans() -> int:
    """Close the orphans that an order has taken since, by a look-up that found the purchase later. Returns how many."""
    settled = 0
    for orphan in Orphan.objects.filter(status=Orphan.Status.OPEN):
        owner = _owner_of(orphan)
        if owner is None:
            continue
        with transaction.atomic():
            current = Orphan.objects.select_for_update().get(pk=orphan.pk)
            if current.status == Orphan.Status.OPEN:
                _decide(current, Orphan.Status.ADOPTED, actor="worker", reason="its order was found", order=owner)
                settled += 1
    return settled


def _owner_of(orphan: Orphan) -> Order | None:
    if orphan.reference is None:
        esim = Esim.objects.select_related("order").filter(iccid=orphan.iccid).first()
        return esim.order if esim else None
    return _buyer_of(orphan.reference)


def _buyer_of(reference: str) -> Order | None:
    placed = ProvisioningAttempt.objects.filter(reference=reference, status=ProvisioningAttempt.Status.PLACED)
    attempt = placed.select_related("order").first()
    return attempt.order if attempt else None


def _undecided(orphan: Orphan) -> Orphan:
    """The orphan, locked. Raises: OrphanRefused if somebody has decided it or is about to."""
    orphan = Orphan.objects.select_for_update().get(pk=orphan.pk)
    if orphan.status != Orphan.Status.OPEN:
        raise OrphanRefused(f"It was decided already: {orphan.get_status_display()}, by {orphan.decided_by}.")
    if orphan.decided_at and orphan.decided_at > timezone.now() - REVOKING:
        raise OrphanRefused(f"It is just being revoked by {orphan.decided_by}.")
    _check_unowned(orphan)
    return orphan


def _check_unowned(orphan: Orphan) -> None:
    """Raises: OrphanRefused if a look-up has found its order, of which the next reconciliation will take note."""
    _refuse_owned(_owner_of(orphan))


def _refuse_owned(owner: Order | None) -> None:
    if owner:
        raise OrphanRefused(f"It is no orphan any more: it is the purchase of order {owner.pk}.")


def _decide(orphan: Orphan, status: str, *, actor: str, reason: str, order: Order | None = None) -> None:
    orphan.status = status
    orphan.order = order or orphan.order
    orphan.note = f"{orphan.note}\n{redact(reason)}".strip()
    orphan.decided_at = timezone.now()
    orphan.decided_by = actor
    orphan.save()
    clear_alert(cause=alert_cause(orphan))
    log.info("orphan_decided", orphan=str(orphan), status=status, actor=actor)


def _check_fit(orphan: Orphan, order: Order) -> None:
    """Raises: OrphanRefused if the order waits for no purchase, or for another."""
    attempts = {attempt.status: attempt for attempt in order.attempts.all()}
    open_attempt = attempts.get(ProvisioningAttempt.Status.OPEN)
    is_waiting = order.status == Order.Status.NEEDS_ATTENTION or (
        order.status == Order.Status.PROVISIONING and open_attempt is not None
    )
    if not is_waiting:
        raise OrphanRefused(f"The order is {order.get_status_display().lower()}: it waits for no purchase.")
    if not payment_hooks().is_paid_for(order):
        raise OrphanRefused("The order's Stars went back, or are going back.")
    if ProvisioningAttempt.Status.PLACED in attempts:
        raise OrphanRefused("The order has a purchase already.")
    if order.lease_until and order.lease_until > timezone.now():
        raise OrphanRefused("A worker is just buying for the order or looking its purchase up. Try again in a minute.")
    bundle_name = open_attempt.bundle_name if open_attempt else order.plan.bundle_name
    if orphan.bundle_name != bundle_name:
        raise OrphanRefused(f"The order is for {bundle_name}, the purchase is of {orphan.bundle_name or 'another'}.")
    if order.top_up_esim and order.top_up_esim.iccid != orphan.iccid:
        raise OrphanRefused("The order tops up another eSIM.")
    if not order.top_up_esim and orphan.iccid and Esim.objects.filter(iccid=orphan.iccid).exists():
        raise OrphanRefused("The purchase is on an eSIM that a customer owns already.")


def _fill_attempt(orphan: Orphan, order: Order, *, reference: str) -> None:
    """The purchase becomes that of the order's open attempt, or of a new one. Raises: IntegrityError."""
    placed = {
        "status": ProvisioningAttempt.Status.PLACED,
        "reference": reference,
        "cost_usd": orphan.total_usd,
        "finished_at": timezone.now(),
    }
    if order.attempts.filter(status=ProvisioningAttempt.Status.OPEN).update(**placed):
        return
    order.attempts.create(bundle_name=orphan.bundle_name, started_at=orphan.placed_at or timezone.now(), **placed)


def _close_attempt(orphan: Orphan, order: Order) -> None:
    """Where the order was refunded: what it had bought, as it turned out, is revoked now."""
    if order.status != Order.Status.REFUNDED:
        return
    unplaced = order.attempts.filter(
        status__in=[ProvisioningAttempt.Status.OPEN, ProvisioningAttempt.Status.ABSENT],
        bundle_name=orphan.bundle_name,
        reference=None,
    )
    for attempt in unplaced:
        if is_of_its_time(attempt, orphan.placed_at):
            ProvisioningAttempt.objects.filter(pk=attempt.pk).update(
                status=ProvisioningAttempt.Status.REVOKED,
                reference=orphan.reference,
                cost_usd=orphan.total_usd,
                finished_at=timezone.now(),
            )
            return


def _check_usable(orphan: Orphan) -> str:
    """The reference of a purchase whose bundle is still there. Raises: OrphanRefused, EsimGoUnreachable."""
    if not orphan.iccid:
        if orphan.reference is None:
            raise OrphanRefused("It is not known which purchase it is.")
        return orphan.reference
    try:
        bundles = read_bundles(orphan.iccid, orphan.reference)
    except RevocationRefused as error:
        raise OrphanRefused(str(error)) from error
    references = {bundle.order_reference for bundle in bundles if bundle.state in USABLE} - {""}
    if not references:
        raise OrphanRefused("eSIM Go has no usable bundle of it on its eSIM any more.")
    if len(references) > 1:
        raise OrphanRefused("Several purchases are on its eSIM.")
    return references.pop()


def _revoke_bundle(orphan: Orphan, *, until: datetime) -> Revocation:
    """Raises: OrphanRefused, EsimGoError."""
    _check_unowned(orphan)
    if not orphan.iccid:
        raise OrphanRefused("eSIM Go has not told its eSIM yet.")
    try:
        return take_bundle_back(
            iccid=orphan.iccid,
            reference=orphan.reference,
            until=until,
            # Only now is the purchase known of an orphan that was an eSIM alone; and any may have been found meanwhile.
            check=lambda bundle: _refuse_owned(_buyer_of(bundle.order_reference)),
        )
    except RevocationRefused as error:
        raise OrphanRefused(str(error)) from error
