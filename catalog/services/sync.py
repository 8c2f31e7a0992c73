"""Bringing the wholesaler's catalogue into ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_UP, Decimal
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from catalog.areas import area_kind, area_names, search_words
from catalog.models import Area, CatalogSync, Network, Plan, PlanChange, PricingPolicy
from catalog.pricing import price_plan
from catalog.services.accounts import WrongCurrency, check_currency, store_account
from catalog.services.locks import lock_catalogue
from esimshop.clients.esimgo import (
    Bundle,
    CatalogueListing,
    EsimGoClient,
    EsimGoError,
    NetworkListing,
    Organisation,
)
from esimshop.logs import redact

log = structlog.get_logger(__name__)

# Half of the plans do not vanish in an hour: a listing without them is cut short or another account's.
MAX_VANISHING_SHARE = Decimal("0.5")
# Most that a wholesale price can be, in USD; ten times the dearest of the rate sheet would still be sold.
MAX_WHOLESALE_USD = Decimal(10_000)

_PRICE_FIELDS = ("wholesale_usd", "price_stars")
_OTHER_FIELDS = (
    "area_id",
    "data_mb",
    "validity_days",
    "is_unlimited",
    "fair_use",
    "speeds",
    "countries",
    "groups",
    "profile_name",
    "is_on_sale",
)
_WRITTEN_FIELDS = [*_PRICE_FIELDS, *_OTHER_FIELDS, "is_offered", "vanished_at"]


class SyncFailed(Exception):
    """The catalogue stays as it was; the text says why. A later sync tries again, unless it says to use --force."""


def sync_plans(*, client: EsimGoClient, force: bool = False, dry_run: bool = False) -> CatalogSync:
    """Read eSIM Go's whole catalogue and account, then write plans, areas, networks, changes and balance in one
    transaction.

    Plans are never deleted: one that is no longer listed goes off sale. Networks are only told to customers: where they
    cannot be read, those of the last time stay, which is noted as skipped.
    force:   also when most of today's plans would go off sale.
    dry_run: counts what would change and writes nothing.
    Returns: the finished run with its counts.
    Raises:  SyncFailed, after noting the reason in the CatalogSync row.
    """
    run = CatalogSync(started_at=timezone.now())
    if not dry_run:
        run.save()
    try:
        organisation = client.get_organisation()
        check_currency(organisation)
        listing = client.list_bundles()
        networks = _read_networks(client)
        with transaction.atomic():
            _write_catalogue(run, organisation, listing, networks, force=force)
            if dry_run:
                transaction.set_rollback(True)
            else:
                run.save()
    except (EsimGoError, WrongCurrency, SyncFailed) as error:
        reason = _storable(redact(str(error))) or type(error).__name__
        if not dry_run:
            CatalogSync.objects.filter(pk=run.pk).update(finished_at=timezone.now(), error=reason)
        raise SyncFailed(reason) from error
    log.info(
        "catalogue_synced",
        plans=run.plans_total,
        new=run.plans_new,
        changed=run.plans_changed,
        vanished=run.plans_vanished,
        prices_changed=run.prices_changed,
        networks=run.networks_total,
        skipped=len(run.skipped),
    )
    return run


def _read_networks(client: EsimGoClient) -> NetworkListing:
    """What they list; nothing, with the reason, where they do not."""
    try:
        return client.list_networks()
    except EsimGoError as error:
        reason = redact(str(error)) or type(error).__name__
        return NetworkListing(networks=(), skipped=(f"networks, which stay as they were: {reason}",))


@dataclass
class _Difference:
    """What a listing changes; the rows are not saved yet."""

    plans: list[Plan] = field(default_factory=list)
    vanished: list[Plan] = field(default_factory=list)
    changes: list[PlanChange] = field(default_factory=list)

    def note(self, plan: Plan, kind: PlanChange.Kind, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.changes.append(PlanChange(plan=plan, kind=kind, before=before, after=after))

    def count(self, *kinds: PlanChange.Kind) -> int:
        """How many plans have a change of one of the kinds."""
        return len({change.plan.bundle_name for change in self.changes if change.kind in kinds})


def _write_catalogue(
    run: CatalogSync,
    organisation: Organisation,
    listing: CatalogueListing,
    networks: NetworkListing,
    *,
    force: bool,
) -> None:
    lock_catalogue()
    if CatalogSync.objects.filter(error="", finished_at__isnull=False, started_at__gt=run.started_at).exists():
        raise SyncFailed("a sync that started later has finished before this one: its data are newer")
    now = timezone.now()
    sound, refused = _sound_bundles(listing.bundles)
    if not sound:
        raise SyncFailed("the wholesaler lists no plan that makes sense")
    policy: PricingPolicy = PricingPolicy.in_force()
    difference = _compare(sound, policy, now)
    kept = len(sound) - difference.count(PlanChange.Kind.NEW, PlanChange.Kind.RETURNED)
    before = kept + len(difference.vanished)
    if len(difference.vanished) > before * MAX_VANISHING_SHARE and not force:
        raise SyncFailed(
            f"{len(difference.vanished)} of {before} plans would go off sale at once; use --force if that is right"
        )

    _write_areas(sound)
    _upsert(difference.plans, unique_fields=["bundle_name"], written=_WRITTEN_FIELDS)
    Plan.objects.filter(pk__in=[plan.pk for plan in difference.vanished]).update(
        is_offered=False, is_on_sale=False, vanished_at=now
    )
    PlanChange.objects.bulk_create(difference.changes)
    lost = _write_networks(networks, listing.place_codes)
    store_account(organisation)

    run.finished_at = timezone.now()
    run.plans_total = len(sound)
    run.plans_new = difference.count(PlanChange.Kind.NEW)
    run.plans_changed = difference.count(PlanChange.Kind.CHANGED, PlanChange.Kind.RETURNED)
    run.plans_vanished = len(difference.vanished)
    run.prices_changed = difference.count(PlanChange.Kind.PRICE)
    run.networks_total = Network.objects.count()
    run.skipped = [_storable(line) for line in (*listing.skipped, *refused, *networks.skipped, *lost)]


def _sound_bundles(bundles: Iterable[Bundle]) -> tuple[list[Bundle], list[str]]:
    """The bundles that a plan can be made of, and of each other one its name and what is wrong."""
    sound, refused = [], []
    for bundle in bundles:
        faults = [
            fault
            for fault, found in (
                ("an odd name", len(bundle.name) > 100 or not bundle.name.isprintable()),
                ("no price", not Decimal(0) < bundle.price_usd <= MAX_WHOLESALE_USD),
                ("no days", not 0 < bundle.days < 10_000),
                ("no data", not bundle.is_unlimited and not 0 < (bundle.data_mb or 0) < 2**31),
                (
                    "an odd area",
                    len(bundle.area_code) > 16 or not f"{bundle.area_code}{bundle.area_name}".isprintable(),
                ),
                ("an odd country", not all(len(code) <= 8 and code.isprintable() for code in bundle.countries)),
            )
            if found
        ]
        if faults:
            refused.append(f"{bundle.name[:100]}: {', '.join(faults)}")
        else:
            sound.append(bundle)
    return sound, refused


def _compare(bundles: Iterable[Bundle], policy: PricingPolicy, now: datetime) -> _Difference:
    difference = _Difference()
    known = {plan.bundle_name: plan for plan in Plan.objects.all()}
    for bundle in bundles:
        after = _plan_values(bundle, policy)
        plan = known.pop(bundle.name, None)
        if plan is None:
            plan = Plan(bundle_name=bundle.name, first_seen_at=now, **after)
            difference.plans.append(plan)
            difference.note(plan, PlanChange.Kind.NEW, {}, _noted(after, _PRICE_FIELDS))
            continue
        before = {name: getattr(plan, name) for name in after}
        prices = [name for name in _PRICE_FIELDS if before[name] != after[name]]
        others = [name for name in _OTHER_FIELDS if before[name] != after[name]]
        if not plan.is_offered:
            others = [name for name in others if name != "is_on_sale"]
            difference.note(plan, PlanChange.Kind.RETURNED, {}, {})
        if prices:
            difference.note(plan, PlanChange.Kind.PRICE, _noted(before, prices), _noted(after, prices))
        if others:
            difference.note(plan, PlanChange.Kind.CHANGED, _noted(before, others), _noted(after, others))
        if prices or others or not plan.is_offered:
            for name, value in {**after, "is_offered": True, "vanished_at": None}.items():
                setattr(plan, name, value)
            difference.plans.append(plan)
    difference.vanished = [plan for plan in known.values() if plan.is_offered]
    for plan in difference.vanished:
        difference.note(plan, PlanChange.Kind.VANISHED, {}, {})
    return difference


def _plan_values(bundle: Bundle, policy: PricingPolicy) -> dict[str, Any]:
    # Up, so that a price with more places than the column never ends below what the wholesaler takes.
    wholesale_usd = bundle.price_usd.quantize(Decimal("0.0001"), rounding=ROUND_UP)
    price = price_plan(wholesale_usd=wholesale_usd, policy=policy)
    return {
        "area_id": bundle.area_code,
        "data_mb": None if bundle.is_unlimited else bundle.data_mb,
        "validity_days": bundle.days,
        "is_unlimited": bundle.is_unlimited,
        "fair_use": _fair_use(bundle),
        "speeds": _printable(bundle.speeds, 16),
        "countries": sorted(set(bundle.countries)),
        "groups": _printable(bundle.groups, 100),
        "profile_name": "".join(_printable([bundle.profile_name], 50)),
        "wholesale_usd": wholesale_usd,
        "price_stars": price.stars,
        "is_on_sale": price.is_sellable,
    }


def _fair_use(bundle: Bundle) -> Plan.FairUse:
    """By the group, since a bundle says nothing of its rule and its name promises nothing."""
    if not bundle.is_unlimited:
        return Plan.FairUse.NONE
    for rule in (Plan.FairUse.LITE, Plan.FairUse.ESSENTIAL, Plan.FairUse.PLUS):
        if any(group.casefold().split()[-1:] == [rule.value] for group in bundle.groups):
            return rule
    return Plan.FairUse.UNKNOWN


def _printable(texts: Iterable[str], length: int) -> list[str]:
    """What the wholesaler says for people to read: never a reason to refuse a plan."""
    return [text[:length] for text in texts if text.isprintable()]


def _storable(text: str) -> str:
    """Text that quotes the wholesaler, without what PostgreSQL refuses (NUL) or nobody can read."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _noted(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: str(values[name]) if isinstance(values[name], Decimal) else values[name] for name in names}


def _write_areas(bundles: Iterable[Bundle]) -> None:
    """Rows of all areas of the plans, and of each country in them, so that a search by it finds a region's plans."""
    wholesaler_names: dict[str, set[str]] = {}
    regions: dict[str, str] = {}
    countries: dict[str, set[str]] = {}
    for bundle in bundles:
        wholesaler_names.setdefault(bundle.area_code, set()).add(bundle.area_name)
        regions[bundle.area_code] = bundle.area_region
        countries.setdefault(bundle.area_code, set()).update(bundle.countries)
    for code in set().union(*countries.values()) - set(regions):
        wholesaler_names[code], regions[code], countries[code] = set(), "", {code}

    written = ["kind", "name_en", "name_ru", "countries", "search_words"]
    known = Area.objects.in_bulk()
    areas = []
    for code, given in wholesaler_names.items():
        names = area_names(code=code, fallback=min(given, default=""))
        if names is None:
            continue
        area = Area(
            code=code,
            kind=area_kind(code=code, region=regions[code]),
            name_en=names.en,
            name_ru=names.ru,
            countries=sorted(countries[code]),
            search_words=search_words(code=code, names=names, wholesaler_names=given),
        )
        if code not in known or any(getattr(area, name) != getattr(known[code], name) for name in written):
            areas.append(area)
    _upsert(areas, unique_fields=["code"], written=written)


def _write_networks(listing: NetworkListing, place_codes: Mapping[str, str]) -> list[str]:
    """The networks as listed, unless nothing is. Returns: a line for each whose country or name makes no sense."""
    if not listing.networks:
        return []
    speeds: dict[tuple[str, str], set[str]] = {}
    lost = []
    codes = set(place_codes.values())
    for network in listing.networks:
        code = network.place if network.place in codes else place_codes.get(network.place)
        name = "".join(_printable([network.name], 100))
        if code is None or not name:
            lost.append(f"the network {network.name[:100]} of {network.place[:100]}: an odd name or country")
        else:
            # The same brand is listed once for each of its mobile network codes.
            speeds.setdefault((code, name), set()).update(_printable(network.speeds, 16))
    known = {(network.country, network.name): network for network in Network.objects.all()}
    Network.objects.filter(pk__in=[network.pk for key, network in known.items() if key not in speeds]).delete()
    news = [
        Network(country=country, name=name, speeds=sorted(found))
        for (country, name), found in speeds.items()
        if (country, name) not in known or known[country, name].speeds != sorted(found)
    ]
    _upsert(news, unique_fields=["country", "name"], written=["speeds"])
    return list(dict.fromkeys(lost))


def _upsert(rows: Sequence[Any], *, unique_fields: list[str], written: list[str]) -> None:
    if rows:
        type(rows[0]).objects.bulk_create(
            rows, update_conflicts=True, unique_fields=unique_fields, update_fields=written
        )
