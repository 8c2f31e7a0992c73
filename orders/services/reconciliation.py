"""The wholesaler's orders and eSIMs against ours: repairs what is certain, lists the rest, buys and refunds nothing.

Theirs are read first and ours after them, so that whatever we bought meanwhile has its attempt already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from catalog.models import PricingPolicy
from esimshop.alerts import clear_alert, raise_alert
from esimshop.clients.esimgo import BundleOnEsim, EsimGoError, EsimGoRejected, EsimSummary, PlacedOrder, esimgo_client
from esimshop.logs import redact
from esimshop.models import Alert
from orders.models import Esim, Order, Orphan, ProvisioningAttempt
from orders.services.matching import esims_known_among, is_from_elsewhere, may_have_placed, own_addresses
from orders.services.orphans import (
    FoundPurchase,
    OrphanRefused,
    is_recorded,
    record_orphan,
    revoke_orphan,
    settle_found_orphans,
    tell_of_orphan,
)
from orders.services.restorations import is_forgotten
from orders.services.wholesaler_calls import kept_calls

log = structlog.get_logger(__name__)

PERIOD = timedelta(days=3)
#: What is younger may still be on its way, on either side.
SETTLING = timedelta(minutes=10)
#: More new orphans than that at once have one cause, and get one alert.
MOST_ALERTS = 10
MANY_ORPHANS = "orphans"
MISSING = "missing_purchase:"

Attempt = ProvisioningAttempt.Status
#: With these nobody adopts by itself what an open attempt bought: a person must choose, or only the refund is open.
NOT_LOOKED_UP = frozenset({Order.Cause.SEVERAL_MATCHES, Order.Cause.REFUND_REFUSED})


class ReconciliationFailed(Exception):
    """The wholesaler's books could not be read completely; nothing was changed. The text says why."""


@dataclass(frozen=True, kw_only=True)
class UnlinkedThere:
    """A purchase, or an eSIM alone, at eSIM Go that waits for a decision. orphan_id is None in a dry run."""

    orphan_id: int | None
    reference: str | None
    iccid: str
    bundle_name: str
    total_usd: Decimal | None
    placed_at: datetime | None
    order_id: UUID | None
    note: str


@dataclass(frozen=True, kw_only=True)
class UnlinkedHere:
    """A purchase of ours that eSIM Go's complete list lacks."""

    reference: str
    order_id: UUID
    bundle_name: str
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class DifferentCost:
    """A purchase that cost other than its order was quoted from; is_loss: more than its Stars pay for."""

    reference: str
    order_id: UUID
    quoted_usd: Decimal
    taken_usd: Decimal
    is_loss: bool


@dataclass(frozen=True, kw_only=True)
class RepairedReference:
    """An eSIM of ours on which eSIM Go had not our order id. error: why it still has not."""

    iccid: str
    order_id: UUID
    error: str


@dataclass(kw_only=True)
class OrdersReport:
    """What a run found. Whatever its lists hold was there in the period, except for orphans, which wait for ever."""

    since: datetime
    until: datetime
    dry_run: bool
    orders_read: int
    esims_read: int
    other_items: int = 0
    left_to_look_ups: int = 0
    new_orphans: int = 0
    settled: int = 0
    revoked: list[str] = field(default_factory=list)
    unlinked_there: list[UnlinkedThere] = field(default_factory=list)
    unlinked_here: list[UnlinkedHere] = field(default_factory=list)
    different_cost: list[DifferentCost] = field(default_factory=list)
    repaired: list[RepairedReference] = field(default_factory=list)

    @property
    def needs_person(self) -> bool:
        return bool(
            self.unlinked_there
            or self.unlinked_here
            or any(row.is_loss for row in self.different_cost)
            or any(row.error for row in self.repaired)
        )


@dataclass(frozen=True)
class _Suspect:
    """An order of theirs that no attempt of ours has. may_be_revoked: it is certainly a refunded order's alone."""

    purchase: FoundPurchase
    order: Order | None
    may_be_revoked: bool
    note: str


@dataclass(frozen=True)
class _Books:
    orders: list[PlacedOrder]
    esims: list[EsimSummary]
    #: What is on the eSIMs that neither an order in the list nor we know.
    bundles_on: dict[str, list[BundleOnEsim]]


def reconcile_orders(*, since: datetime | None = None, dry_run: bool = False) -> OrdersReport:
    """Compare eSIM Go's books since a moment (default: the last 3 days) with ours.

    An order of theirs that nobody here owns becomes an Orphan, once, with an alert; one of an order refunded meanwhile
    is revoked where eSIM Go takes it back. An eSIM of ours gets the reference it lacks.
    dry_run: changes nothing, here or there.
    Raises:  ReconciliationFailed, after which nothing has changed.
    """
    until = timezone.now()
    since = since or until - PERIOD
    books = _read_books(since, until)
    report = OrdersReport(
        since=since, until=until, dry_run=dry_run, orders_read=len(books.orders), esims_read=len(books.esims)
    )
    if not dry_run:
        report.settled = settle_found_orphans()
    suspects = _find_suspects(books, report)
    _keep_orphans(suspects, report)
    _compare_placed(books, report)
    _repair_references(books, report)
    log.info(
        "orders_reconciled",
        orders=report.orders_read,
        unlinked_there=len(report.unlinked_there),
        unlinked_here=len(report.unlinked_here),
        different_cost=len(report.different_cost),
        repaired=len(report.repaired),
        revoked=len(report.revoked),
        dry_run=dry_run,
    )
    return report


# Reading


def _read_books(since: datetime, until: datetime) -> _Books:
    client = esimgo_client()
    try:
        orders = client.list_orders(created_from=since, created_to=until)
        esims = client.list_esims(assigned_from=since)
        unclaimed = {esim.iccid for esim in _unclaimed(esims, until)}
        explained = {iccid for order in orders for iccid in order.iccids}
        for model in (Esim, Orphan):
            explained.update(model.objects.filter(iccid__in=unclaimed).values_list("iccid", flat=True))
        bundles_on = {iccid: _read_bundles_on(iccid) for iccid in sorted(unclaimed - explained)}
    except EsimGoError as error:
        raise ReconciliationFailed(redact(str(error))) from error
    return _Books(orders, esims, bundles_on)


def _read_bundles_on(iccid: str) -> list[BundleOnEsim]:
    try:
        return esimgo_client().list_bundles_on(iccid)
    except EsimGoRejected:
        # Deactivated, say: it is ours all the same, as the list has it.
        return []


def _unclaimed(esims: Iterable[EsimSummary], until: datetime) -> list[EsimSummary]:
    """Those without our reference which had the time to get it."""
    return [
        esim
        for esim in esims
        if not esim.customer_ref and (esim.assigned_at is None or esim.assigned_at <= until - SETTLING)
    ]


# Theirs without ours


def _find_suspects(books: _Books, report: OrdersReport) -> list[_Suspect]:
    ours = _known_references(order.reference for order in books.orders)
    bundles = []
    for order in books.orders:
        if order.item_type != "bundle":
            report.other_items += 1
        elif order.reference not in ours:
            bundles.append(order)
    unplaced = _unplaced_attempts(bundles)
    known_esims = esims_known_among(bundles)
    returning = list(Order.objects.promised().exclude(look_up_from=None).select_related("plan"))
    unlinked: list[tuple[PlacedOrder, list[ProvisioningAttempt]]] = []
    for order in sorted(bundles, key=lambda order: order.created_at or report.since):
        candidates = [attempt for attempt in unplaced if may_have_placed(attempt, order, known_esims=known_esims)]
        if any(map(_is_looked_up, candidates)) or any(_is_looked_up_by(each, order) for each in returning):
            report.left_to_look_ups += 1
        else:
            unlinked.append((order, candidates))
    rivals = Counter(attempt.pk for _, candidates in unlinked for attempt in candidates)
    addresses = own_addresses()
    suspects = []
    taken: set[int] = set()
    for order, candidates in unlinked:
        # Those of one bundle and time are interchangeable: oldest to oldest.
        attempt = next((each for each in candidates if each.pk not in taken), candidates[0] if candidates else None)
        if attempt:
            taken.add(attempt.pk)
        purchase = _found(order, books)
        owner = _named_order(purchase, books) or (attempt.order if attempt else None)
        may_be_revoked = (
            bool(candidates)
            # A refund under way may still be refused, and then the order needs its eSIM.
            and all(each.order.status == Order.Status.REFUNDED for each in candidates)
            and all(rivals[each.pk] <= len(candidates) for each in candidates)
            and all(_is_on_its_esim(purchase, each.order, books) for each in candidates)
            and order.quantity == 1
            and not is_from_elsewhere(order, addresses=addresses)
            # What was forgotten may have been delivered to somebody else.
            and not (order.created_at is None or is_forgotten(order.created_at))
        )
        suspects.append(_Suspect(purchase, owner, may_be_revoked, _note(order, owner)))
    return [*suspects, *_esims_alone(books, report)]


def _known_references(references: Iterable[str]) -> set[str | None]:
    return set(ProvisioningAttempt.objects.filter(reference__in=list(references)).values_list("reference", flat=True))


def _unplaced_attempts(orders: list[PlacedOrder]) -> list[ProvisioningAttempt]:
    """Attempts that may have placed one of these orders without our knowing, oldest first."""
    return list(
        ProvisioningAttempt.objects.filter(
            status__in=[Attempt.OPEN, Attempt.ABSENT],
            reference=None,
            bundle_name__in={order.bundle_name for order in orders},
        )
        .select_related("order__top_up_esim")
        .order_by("started_at")
    )


def _is_looked_up(attempt: ProvisioningAttempt) -> bool:
    """Whether the worker itself goes on looking for what this attempt bought, and may adopt it."""
    order = attempt.order
    return (
        attempt.status == Attempt.OPEN
        and order.status in {Order.Status.PROVISIONING, Order.Status.NEEDS_ATTENTION}
        and order.cause not in NOT_LOOKED_UP
    )


def _is_looked_up_by(returning: Order, order: PlacedOrder) -> bool:
    """Whether an order whose history was lost looks for its purchase among those of that bundle."""
    assert returning.look_up_from is not None
    return returning.plan.bundle_name == order.bundle_name and (
        order.created_at is None or order.created_at >= returning.look_up_from
    )


def _found(order: PlacedOrder, books: _Books) -> FoundPurchase:
    on_esims = (
        iccid
        for iccid, bundles in books.bundles_on.items()
        if any(bundle.order_reference == order.reference for bundle in bundles)
    )
    iccid = next(iter([*order.iccids, *on_esims]), "")
    return FoundPurchase(
        reference=order.reference,
        iccid=iccid,
        bundle_name=order.bundle_name,
        total_usd=order.total_usd,
        placed_at=order.created_at,
        named_order_id=_named_order_id(iccid, books),
    )


def _is_on_its_esim(purchase: FoundPurchase, order: Order, books: _Books) -> bool:
    """Whether the purchase is on the eSIM that the order tops up, or on a new one that bears nobody's reference."""
    if order.top_up_esim:
        return purchase.iccid == order.top_up_esim.iccid
    return any(esim.iccid == purchase.iccid and not esim.customer_ref for esim in books.esims)


def _named_order(purchase: FoundPurchase, books: _Books) -> Order | None:
    """The order of ours whose id eSIM Go has on a new eSIM: so it is after a backup was restored."""
    return Order.objects.filter(pk=purchase.named_order_id).first() if purchase.named_order_id else None


def _named_order_id(iccid: str, books: _Books) -> UUID | None:
    [reference] = {esim.customer_ref for esim in books.esims if esim.iccid == iccid} or {""}
    try:
        named = UUID(reference)
    except ValueError:
        return None
    # On an eSIM that we know it is that of its first purchase, whatever was added since.
    return None if Esim.objects.filter(iccid=iccid).exists() else named


def _note(order: PlacedOrder, owner: Order | None) -> str:
    several = f"Of {order.quantity} eSIMs." if order.quantity > 1 else ""
    if owner is None:
        probably = "No order of that time fits: perhaps bought in eSIM Go's portal, or by another system."
    elif owner.status == Order.Status.REFUNDED:
        probably = f"Probably bought for order {owner.pk}, which was refunded: a loss unless adopted or revoked."
    else:
        probably = f"Probably bought for order {owner.pk}, which is {owner.get_status_display().lower()}."
    return f"{several} {probably}".strip()


def _esims_alone(books: _Books, report: OrdersReport) -> list[_Suspect]:
    """eSIMs without our reference that no order explains, neither theirs in the period nor one of ours."""
    listed = {order.reference for order in books.orders}
    alone = []
    for esim in books.esims:
        bundles = books.bundles_on.get(esim.iccid)
        if bundles is None:
            continue
        references = {bundle.order_reference for bundle in bundles} - {""}
        if (
            references & listed
            or _known_references(references)
            or Orphan.objects.filter(reference__in=references).exists()
        ):
            continue
        found = FoundPurchase(
            reference=references.pop() if len(references) == 1 else None,
            iccid=esim.iccid,
            bundle_name=bundles[0].bundle_name if len(bundles) == 1 else "",
            total_usd=None,
            placed_at=esim.assigned_at,
        )
        alone.append(_Suspect(found, None, False, "An eSIM without our reference, and no order of the period has it."))
    return alone


def _keep_orphans(suspects: list[_Suspect], report: OrdersReport) -> None:
    """Write new orphans down, revoke what may be revoked, tell of the rest, and list all that wait."""
    if report.dry_run:
        new = [suspect for suspect in suspects if not is_recorded(suspect.purchase)]
        report.new_orphans = len(new)
        report.unlinked_there = [*map(_listed, _waiting()), *map(_as_suspected, new)]
        return
    revocable = []
    # Told in the transaction that writes them down: whatever dies afterwards, somebody knows.
    with transaction.atomic():
        untold = []
        for suspect in suspects:
            orphan, is_new = record_orphan(suspect.purchase, order=suspect.order, note=suspect.note)
            report.new_orphans += is_new
            if suspect.may_be_revoked and orphan.status == Orphan.Status.OPEN:
                revocable.append(orphan)
            elif is_new:
                untold.append(orphan)
        _tell_of_orphans(untold)
    for orphan in revocable:
        if _revoke(orphan):
            report.revoked.append(str(orphan))
        else:
            tell_of_orphan(orphan)
    report.unlinked_there = [_listed(orphan) for orphan in _waiting()]
    if not report.unlinked_there:
        clear_alert(cause=MANY_ORPHANS)


def _tell_of_orphans(orphans: list[Orphan]) -> None:
    if len(orphans) <= MOST_ALERTS:
        for orphan in orphans:
            tell_of_orphan(orphan)
        return
    raise_alert(
        cause=MANY_ORPHANS,
        text=f"eSIM Go has {len(orphans)} purchases that belong to no order of ours. A restored backup? Another system "
        "on the same account? Run reconcile_orders and decide each: adopt, revoke or write off.",
        path="/admin/orders/orphan/?status__exact=open",
    )


def _revoke(orphan: Orphan) -> bool:
    try:
        revoke_orphan(orphan, actor="worker", reason="found after its order was refunded")
    except (OrphanRefused, EsimGoError) as error:
        log.info("orphan_not_revoked", orphan=str(orphan), error=redact(str(error)))
        return False
    return True


def _waiting() -> Iterable[Orphan]:
    return Orphan.objects.filter(status=Orphan.Status.OPEN).order_by("pk")


def _listed(orphan: Orphan) -> UnlinkedThere:
    return UnlinkedThere(
        orphan_id=orphan.pk,
        reference=orphan.reference,
        iccid=orphan.iccid,
        bundle_name=orphan.bundle_name,
        total_usd=orphan.total_usd,
        placed_at=orphan.placed_at,
        order_id=orphan.order_id,
        note=orphan.note,
    )


def _as_suspected(suspect: _Suspect) -> UnlinkedThere:
    purchase = suspect.purchase
    return UnlinkedThere(
        orphan_id=None,
        reference=purchase.reference,
        iccid=purchase.iccid,
        bundle_name=purchase.bundle_name,
        total_usd=purchase.total_usd,
        placed_at=purchase.placed_at,
        order_id=suspect.order.pk if suspect.order else None,
        note=suspect.note,
    )


# Ours against theirs


def _compare_placed(books: _Books, report: OrdersReport) -> None:
    """What eSIM Go lacks of our purchases, and what cost other than it was quoted."""
    theirs = {order.reference: order for order in books.orders}
    placed = ProvisioningAttempt.objects.filter(
        status=Attempt.PLACED, started_at__gte=report.since, started_at__lte=report.until
    ).select_related("order__pricing_policy")
    defaults = PricingPolicy()
    for attempt in placed.order_by("started_at"):
        assert attempt.reference is not None
        found = theirs.get(attempt.reference)
        if found is None:
            if report.since + SETTLING <= attempt.started_at <= report.until - SETTLING:
                report.unlinked_here.append(
                    UnlinkedHere(
                        reference=attempt.reference,
                        order_id=attempt.order_id,
                        bundle_name=attempt.bundle_name,
                        started_at=attempt.started_at,
                    )
                )
            continue
        order = attempt.order
        if found.total_usd is not None and found.total_usd != order.cost_usd:
            policy = order.pricing_policy or defaults
            report.different_cost.append(
                DifferentCost(
                    reference=attempt.reference,
                    order_id=order.pk,
                    quoted_usd=order.cost_usd,
                    taken_usd=found.total_usd,
                    is_loss=found.total_usd > order.amount_stars * policy.payout_usd_per_star,
                )
            )
    if not report.dry_run:
        _tell_of_missing(report, found=theirs)
        _tell_of_losses(report)


def _tell_of_missing(report: OrdersReport, *, found: Container[str]) -> None:
    for row in report.unlinked_here:
        raise_alert(
            cause=f"{MISSING}{row.reference}",
            text=f"eSIM Go does not list our purchase {row.reference} of order {row.order_id}. Ask eSIM Go about it, "
            "and see whether the customer's eSIM works.",
            path=f"/admin/orders/order/{row.order_id}/change/",
        )
    told = Alert.objects.filter(cause__startswith=MISSING, cleared_at=None).values_list("cause", flat=True)
    for cause in told:
        if cause.removeprefix(MISSING) in found:
            clear_alert(cause=cause)


def _tell_of_losses(report: OrdersReport) -> None:
    for row in report.different_cost:
        if row.is_loss:
            raise_alert(
                cause=f"loss:{row.reference}",
                text=f"Order {row.order_id} cost {row.taken_usd} USD, more than its Stars pay for; it was quoted from "
                f"{row.quoted_usd} USD. Run sync_catalog, and check the plan's price.",
                path=f"/admin/orders/order/{row.order_id}/change/",
            )


def _repair_references(books: _Books, report: OrdersReport) -> None:
    """Write our order ids on those eSIMs of ours that lack them at eSIM Go."""
    lacking = [esim.iccid for esim in _unclaimed(books.esims, report.until)]
    error = ""
    for esim in Esim.objects.filter(iccid__in=lacking).order_by("pk"):
        if not report.dry_run and not error:
            try:
                with kept_calls(esim.order_id):
                    esimgo_client().set_customer_ref(iccid=esim.iccid, reference=str(esim.order_id))
            except EsimGoRejected as refusal:
                report.repaired.append(_repaired(esim, redact(str(refusal))))
                continue
            except EsimGoError as trouble:
                # The rest would only wait for the same; the next run goes on with them.
                error = redact(str(trouble))
            else:
                Esim.objects.filter(pk=esim.pk).update(referenced_at=timezone.now())
        report.repaired.append(_repaired(esim, error))


def _repaired(esim: Esim, error: str) -> RepairedReference:
    return RepairedReference(iccid=esim.iccid, order_id=esim.order_id, error=error)
