"""Giving the bundle of an order back to eSIM Go: what they say of it, and taking it off its eSIM for its price.

A bundle is never destroyed here: eSIM Go returns its price only to accounts that asked for it, so each revocation is
rehearsed first and made only where the rehearsal says that the price comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from esimshop.clients.esimgo import (
    BundleOnEsim,
    EsimGoError,
    EsimGoOutcomeUnknown,
    EsimGoRejected,
    Revocation,
    esimgo_client,
)
from esimshop.logs import redact
from orders.models import Esim, Order, ProvisioningAttempt, note_event
from orders.services.wholesaler_calls import kept_calls

#: Of a bundle that could still be used.
USABLE = frozenset({"processing", "queued", "active"})
#: Longer than the questions before a revocation take; what they said is too old afterwards.
ASKING = timedelta(minutes=2)

_Status = ProvisioningAttempt.Status


class RevocationRefused(Exception):
    """The bundle is not taken back; the text says why, in words for staff. Nothing changed at eSIM Go."""


@dataclass(frozen=True, kw_only=True)
class EsimCondition:
    """What eSIM Go says now of the bundle that an order bought, and of its eSIM.

    is_installed:  whether a phone has, or had, the eSIM; None where they do not say.
    is_used:       whether the bundle was started, or used up.
    is_revoked:    it was taken back before.
    is_refundable: they would give its price back.
    message:       their words about taking it back, or why they were not asked.
    cost_usd:      what it cost us.
    """

    is_top_up: bool
    is_installed: bool | None
    is_used: bool
    is_revoked: bool
    is_refundable: bool
    bundle_state: str
    message: str
    cost_usd: Decimal


def is_revoked(order: Order) -> bool:
    """Whether what the order had bought was taken back, and nothing was bought for it since."""
    return were_revoked(set(order.attempts.values_list("status", flat=True)))


def were_revoked(statuses: set[str]) -> bool:
    """The same, told by the states of an order's attempts."""
    return _Status.REVOKED in statuses and not statuses & {_Status.OPEN, _Status.PLACED}


def inspect_esim(order: Order) -> EsimCondition:
    """Ask eSIM Go about the eSIM of a delivered order; changes nothing. Call outside transactions.

    Raises: RevocationRefused where the order has no bundle that could be asked about; EsimGoError.
    """
    attempt = _placed_attempt(order)
    iccid = _iccid(order)
    with kept_calls(order.pk):
        bundles = read_bundles(iccid, attempt.reference)
        is_installed = _is_installed(iccid)
        was_revoked = _was_revoked(bundles)
        message, is_refundable = "", False
        if was_revoked:
            message = "eSIM Go has taken it back already."
        else:
            try:
                rehearsed = _rehearse(iccid, _only_usable(bundles))
            except RevocationRefused as refusal:
                message = str(refusal)
            else:
                message, is_refundable = redact(rehearsed.message), rehearsed.is_refunded
    return EsimCondition(
        is_top_up=order.top_up_esim_id is not None,
        is_installed=is_installed,
        is_used=any(_is_used(bundle) for bundle in bundles),
        is_revoked=was_revoked,
        is_refundable=is_refundable,
        bundle_state=", ".join(sorted({bundle.state for bundle in bundles})) or "not there",
        message=message,
        cost_usd=order.cost_usd if attempt.cost_usd is None else attempt.cost_usd,
    )


def revoke_bundle_of(order: Order, *, actor: str, reason: str, may_be_installed: bool) -> Revocation:
    """Give the unused bundle of a delivered order back to eSIM Go; its attempt becomes `revoked`, with an event.

    Safe to repeat, also where a process died in it: what is revoked already counts as done.
    Call outside transactions.

    may_be_installed: staff may take back an eSIM that a phone has already, so long as its data are unused. Of a
                      top-up it is not asked: its eSIM is installed long since.
    Raises: RevocationRefused (used, installed, or its price would not come back); EsimGoUnreachable or
            EsimGoOutcomeUnknown (ask again), EsimGoRejected where they refuse to answer about our account.
    """
    if is_revoked(order):
        return Revocation(is_refunded=False, message="it was revoked before")
    attempt = _placed_attempt(order)
    iccid = _iccid(order)

    def check(bundle: BundleOnEsim) -> None:
        if _is_used(bundle):
            raise RevocationRefused(f"Its data are in use: the bundle is {bundle.state}.")
        if not may_be_installed and not order.top_up_esim_id and _is_installed(iccid) is not False:
            raise RevocationRefused("The eSIM is installed on a phone, or was.")

    until = timezone.now() + ASKING
    with kept_calls(order.pk):
        revocation = take_bundle_back(iccid=iccid, reference=attempt.reference, until=until, check=check)
    told = f"took its bundle back at eSIM Go ({redact(revocation.message)}): {reason}"
    with transaction.atomic():
        Order.objects.select_for_update(of=("self",)).get(pk=order.pk)
        placed = ProvisioningAttempt.objects.filter(pk=attempt.pk, status=_Status.PLACED)
        if placed.update(status=_Status.REVOKED):
            note_event(order, actor=actor, reason=told)
        # Its owner sees it gone with the next sweep.
        Esim.objects.filter(iccid=iccid).update(usage_due_at=timezone.now())
    return revocation


def read_bundles(iccid: str, reference: str | None) -> list[BundleOnEsim]:
    """The bundles that a purchase put on an eSIM, as eSIM Go has them now; all, where its reference is not known.

    Raises: RevocationRefused where they do not know the eSIM; EsimGoError.
    """
    try:
        bundles = esimgo_client().list_bundles_on(iccid)
    except EsimGoRejected as error:
        raise RevocationRefused(f"eSIM Go does not show the eSIM: {redact(error.message)}") from error
    if reference is None:
        return bundles
    return [bundle for bundle in bundles if bundle.order_reference == reference]


def take_bundle_back(
    *, iccid: str, reference: str | None, until: datetime, check: Callable[[BundleOnEsim], None]
) -> Revocation:
    """Rehearse, then revoke the one usable bundle of a purchase, unless it has become too late for it.

    check:  called with the bundle at the last moment before it goes; raises what forbids it.
    Raises: RevocationRefused, EsimGoError, and whatever `check` raises.
    """
    bundles = read_bundles(iccid, reference)
    if _was_revoked(bundles):
        return Revocation(is_refunded=False, message="it was revoked before")
    bundle = _only_usable(bundles)
    rehearsed = _rehearse(iccid, bundle)
    if not rehearsed.is_refunded:
        raise RevocationRefused(f"eSIM Go would not give its price back: {redact(rehearsed.message)}")
    check(bundle)
    if timezone.now() > until:
        raise RevocationRefused("It took too long to ask eSIM Go. Try again.")
    try:
        return esimgo_client().revoke_bundle(
            iccid=iccid, bundle_name=bundle.bundle_name, assignment_id=bundle.assignment_id, rehearse=False
        )
    except EsimGoRejected as error:
        raise RevocationRefused(f"eSIM Go refuses: {redact(error.message)}") from error
    except EsimGoOutcomeUnknown:
        # Unlike a purchase it leaves its trace under an id that we know.
        if _is_gone(iccid, reference, bundle):
            return Revocation(is_refunded=True, message="its answer was lost, but it is revoked")
        raise


def _rehearse(iccid: str, bundle: BundleOnEsim) -> Revocation:
    try:
        return esimgo_client().revoke_bundle(
            iccid=iccid, bundle_name=bundle.bundle_name, assignment_id=bundle.assignment_id, rehearse=True
        )
    except EsimGoRejected as error:
        raise RevocationRefused(f"eSIM Go refuses: {redact(error.message)}") from error


def _only_usable(bundles: list[BundleOnEsim]) -> BundleOnEsim:
    usable = [bundle for bundle in bundles if bundle.state in USABLE]
    if len(usable) != 1:
        raise RevocationRefused(f"{len(usable)} usable bundles of it are on its eSIM; only a single one is revoked.")
    return usable[0]


def _was_revoked(bundles: list[BundleOnEsim]) -> bool:
    states = {bundle.state for bundle in bundles}
    return "revoked" in states and not states & USABLE


def _is_gone(iccid: str, reference: str | None, bundle: BundleOnEsim) -> bool:
    """Whether eSIM Go says now that it is revoked; no answer is no."""
    try:
        found = read_bundles(iccid, reference)
    except (EsimGoError, RevocationRefused):
        return False
    return any(each.assignment_id == bundle.assignment_id and each.state == "revoked" for each in found)


def _is_used(bundle: BundleOnEsim) -> bool:
    is_begun = bundle.starts_at is not None and bundle.starts_at <= timezone.now()
    lacks_data = (
        bundle.initial_bytes is not None
        and bundle.remaining_bytes is not None
        and bundle.remaining_bytes < bundle.initial_bytes
    )
    return bundle.state in {"active", "depleted", "expired"} or is_begun or lacks_data


def _is_installed(iccid: str) -> bool | None:
    try:
        return esimgo_client().get_esim(iccid).was_installed
    except EsimGoRejected as error:
        raise RevocationRefused(f"eSIM Go does not show the eSIM: {redact(error.message)}") from error


def _placed_attempt(order: Order) -> ProvisioningAttempt:
    attempt = order.attempts.filter(status=_Status.PLACED).first() if order.status == Order.Status.COMPLETED else None
    if attempt is None:
        raise RevocationRefused("The order has no delivered purchase that could be taken back.")
    return attempt


def _iccid(order: Order) -> str:
    esim = order.esim
    if esim is None:
        raise RevocationRefused("The order's eSIM is not known.")
    return esim.iccid
