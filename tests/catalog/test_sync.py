"""The sync against the sandbox, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog.models import Area, CatalogSync, CatalogueVersion, Network, Plan, PlanChange, WholesalerAccount
from catalog.services.accounts import WrongCurrency, refresh_account
from catalog.services.locks import lock_catalogue
from catalog.services.pricing_policies import set_pricing_policy
from catalog.services.sync import SyncFailed, sync_plans
from esimshop.clients.esimgo import EsimGoClient, EsimGoUnreachable
from tests.catalog.conftest import Wholesaler, many_rows, row
from tests.clients.scripted_server import HALF_JSON, ScriptedServer, answer
from tests.factories import PlanFactory

pytestmark = pytest.mark.django_db

Open = Callable[[list[dict[str, Any]]], Wholesaler]


def kinds_of(bundle: str) -> list[str]:
    return list(PlanChange.objects.filter(plan__bundle_name=bundle).order_by("id").values_list("kind", flat=True))


def test_the_first_sync_fills_the_catalogue_and_everything_is_on_sale(open_wholesaler: Open) -> None:
    europe = row(
        "esim_ULE_7D_REUP_V2",
        "REUP",
        area_name="EU+",
        countries="FR;DE;ZW",
        group="Standard - Unlimited Essential",
        data_mb="",
        unlimited="1",
        price_usd="19.875",
    )
    run = sync_plans(client=open_wholesaler([row("esim_1GB_7D_FR_V2"), europe]).client)

    assert (run.plans_total, run.plans_new, run.plans_changed, run.plans_vanished) == (2, 2, 0, 0)
    assert run.finished_at is not None
    plan = Plan.objects.get(bundle_name="esim_ULE_7D_REUP_V2")
    assert plan.is_on_sale
    assert (plan.data_mb, plan.is_unlimited, plan.fair_use) == (None, True, Plan.FairUse.ESSENTIAL)
    assert (plan.wholesale_usd, plan.price_stars) == (Decimal("19.8750"), 1988)
    assert plan.countries == ["DE", "FR", "ZW"]
    assert plan.area.kind == Area.Kind.REGION
    assert kinds_of(plan.bundle_name) == ["new"]
    # A country without plans of its own is known, so that a search by it finds the region's.
    assert Area.objects.get(code="ZW").name_ru == "Зимбабве"
    assert WholesalerAccount.objects.get().balance_usd == Decimal(10_000)


def test_a_second_sync_without_news_writes_no_plan_and_leaves_the_version(open_wholesaler: Open) -> None:
    wholesaler = open_wholesaler(many_rows(20))
    sync_plans(client=wholesaler.client)
    version = CatalogueVersion.objects.get().version

    run = sync_plans(client=wholesaler.client)

    assert (run.plans_total, run.plans_new, run.plans_changed, run.prices_changed) == (20, 0, 0, 0)
    assert PlanChange.objects.count() == 20
    assert CatalogueVersion.objects.get().version == version


def test_a_new_wholesale_price_makes_a_new_price_and_is_remembered(open_wholesaler: Open) -> None:
    wholesaler = open_wholesaler([row("one"), row("two")])
    sync_plans(client=wholesaler.client)
    wholesaler.reprice("one", "2.345")

    run = sync_plans(client=wholesaler.client)

    assert (run.prices_changed, run.plans_changed) == (1, 0)
    assert Plan.objects.get(bundle_name="one").price_stars == 235
    change = PlanChange.objects.get(kind=PlanChange.Kind.PRICE)
    assert change.before == {"wholesale_usd": "1.3000", "price_stars": 130}
    assert change.after == {"wholesale_usd": "2.3450", "price_stars": 235}


def test_a_vanished_plan_stays_as_a_row_off_sale_and_may_return(open_wholesaler: Open) -> None:
    wholesaler = open_wholesaler([row("one"), row("two"), row("three")])
    sync_plans(client=wholesaler.client)
    plan = Plan.objects.get(bundle_name="one")
    wholesaler.withdraw("one")

    assert sync_plans(client=wholesaler.client).plans_vanished == 1
    plan.refresh_from_db()
    assert (plan.is_offered, plan.is_on_sale) == (False, False)
    assert plan.vanished_at is not None

    assert sync_plans(client=wholesaler.client).plans_vanished == 0
    wholesaler.withdraw("one", withdrawn=False)
    assert sync_plans(client=wholesaler.client).plans_changed == 1
    plan.refresh_from_db()
    assert (plan.is_offered, plan.is_on_sale, plan.vanished_at) == (True, True, None)
    assert kinds_of("one") == ["new", "vanished", "returned"]


def test_other_news_of_a_plan_are_noted_as_a_change(open_wholesaler: Open) -> None:
    sync_plans(client=open_wholesaler([row("one"), row("two")]).client)

    run = sync_plans(client=open_wholesaler([row("one", profile="4"), row("two")]).client)

    assert (run.plans_changed, run.prices_changed) == (1, 0)
    change = PlanChange.objects.get(kind=PlanChange.Kind.CHANGED)
    assert change.before == {"profile_name": "Profile 1"}
    assert change.after == {"profile_name": "Profile 4"}


def test_the_number_of_queries_does_not_grow_with_the_plans(open_wholesaler: Open) -> None:
    few, many = open_wholesaler(many_rows(40)), open_wholesaler(many_rows(5_221))
    with CaptureQueriesContext(connection) as small:
        sync_plans(client=few.client)
    Plan.objects.all().delete()
    Area.objects.all().delete()
    Network.objects.all().delete()
    WholesalerAccount.objects.all().delete()
    with CaptureQueriesContext(connection) as large:
        run = sync_plans(client=many.client)

    assert run.plans_new == 5_221
    assert len(large) == len(small) < 25


@pytest.mark.parametrize("kind", ["html", "half_json", "empty", "malformed", "drop"])
@pytest.mark.parametrize("call", ["GET /catalogue", "GET /organisation"])
def test_nonsense_leaves_the_old_catalogue_and_says_why(open_wholesaler: Open, call: str, kind: str) -> None:
    wholesaler = open_wholesaler([row("one"), row("two")])
    sync_plans(client=wholesaler.client)
    before = list(Plan.objects.values())
    wholesaler.fail(call, kind, times=None)

    with pytest.raises(SyncFailed):
        sync_plans(client=wholesaler.client)

    assert list(Plan.objects.values()) == before
    run = CatalogSync.objects.latest("id")
    assert run.error
    assert run.finished_at is not None


def test_most_plans_do_not_vanish_at_once_unless_forced(open_wholesaler: Open) -> None:
    sync_plans(client=open_wholesaler(many_rows(10)).client)
    shrunk = open_wholesaler(many_rows(4))

    with pytest.raises(SyncFailed, match="6 of 10 plans would go off sale at once; use --force"):
        sync_plans(client=shrunk.client)
    assert Plan.objects.on_sale().count() == 10

    assert sync_plans(client=shrunk.client, force=True).plans_vanished == 6
    assert Plan.objects.on_sale().count() == 4
    assert Plan.objects.count() == 10


def test_half_of_the_plans_may_vanish(open_wholesaler: Open) -> None:
    sync_plans(client=open_wholesaler(many_rows(10)).client)
    assert sync_plans(client=open_wholesaler(many_rows(5)).client).plans_vanished == 5


def test_a_dry_run_counts_and_writes_nothing(open_wholesaler: Open) -> None:
    run = sync_plans(client=open_wholesaler(many_rows(10)).client, dry_run=True)
    assert run.plans_new == 10
    assert not Plan.objects.exists()
    assert not Area.objects.exists()
    assert not CatalogSync.objects.exists()
    assert not WholesalerAccount.objects.exists()


def test_a_sync_that_was_overtaken_writes_nothing(open_wholesaler: Open) -> None:
    later = timezone.now() + timedelta(minutes=1)
    CatalogSync.objects.create(started_at=later, finished_at=later)
    with pytest.raises(SyncFailed, match="its data are newer"):
        sync_plans(client=open_wholesaler(many_rows(3)).client)
    assert not Plan.objects.exists()


ORGANISATION = {"name": "Shop", "currency": "USD", "balance": 12.5}
BUNDLE = {
    "name": "esim_1GB_7D_FR_V2",
    "description": "",
    "groups": ["Standard Fixed"],
    "countries": [{"name": "France", "region": "Europe", "iso": "FR"}],
    "roamingEnabled": [{"name": "France", "region": "Europe", "iso": "FR"}],
    "dataAmount": 1000,
    "duration": 7,
    "speed": ["4G"],
    "autostart": True,
    "unlimited": False,
    "price": 1.3,
}


def network(name: str = "Orange", **values: Any) -> dict[str, Any]:
    return {"name": "Orange F", "brandName": name, "mcc": "208", "mnc": "01", "speeds": ["4G", "5G"], **values}


def networks(*listed: dict[str, Any], country: str = "France") -> dict[str, Any]:
    return {"countryNetworks": [{"name": country, "networks": list(listed)}]}


def scripted(server: ScriptedServer, organisation: dict[str, Any], *bundles: dict[str, Any]) -> EsimGoClient:
    page = {"bundles": list(bundles), "pageCount": 1, "pageSize": 500, "rows": len(bundles)}
    server.script = [answer(organisation), answer(page), answer(networks(network()))]
    return EsimGoClient(api_key="key", base_url=server.url, deadline_seconds=5)


@pytest.fixture
def server() -> Any:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.mark.parametrize("currency", ["EUR", "GBP", "usd"])
def test_an_account_in_another_currency_is_refused(server: ScriptedServer, currency: str) -> None:
    plan = PlanFactory()
    client = scripted(server, {**ORGANISATION, "currency": currency}, BUNDLE)
    with pytest.raises(SyncFailed, match="currency"):
        sync_plans(client=client)
    assert list(Plan.objects.all()) == [plan]
    assert "currency" in CatalogSync.objects.get().error
    assert not WholesalerAccount.objects.exists()


@pytest.mark.parametrize(
    "odd",
    [
        {"name": "x" * 101},
        {"name": "esim\u0000"},
        {"price": 1_000_000},
        {"duration": 100_000},
        {"dataAmount": 2**40},
        {"countries": [{"name": "Nowhere", "region": "", "iso": "A" * 17}]},
        {"countries": [{"name": "Null\u0000", "region": "", "iso": "FR"}]},
        {"roamingEnabled": [{"name": "Long", "region": "", "iso": "ABCDEFGHI"}]},
    ],
)
def test_a_bundle_that_makes_no_sense_is_skipped_and_told(server: ScriptedServer, odd: dict[str, Any]) -> None:
    client = scripted(server, ORGANISATION, {**BUNDLE, "name": "good"}, {**BUNDLE, **odd})
    run = sync_plans(client=client)
    assert list(Plan.objects.values_list("bundle_name", flat=True)) == ["good"]
    assert len(run.skipped) == 1


def test_odd_words_of_the_wholesaler_are_no_reason_to_sell_nothing(server: ScriptedServer) -> None:
    odd = {**BUNDLE, "speed": ["4G", "x" * 99], "groups": ["g" * 300], "profileName": "p" * 99, "price": 1.23456}
    client = scripted(server, ORGANISATION, odd)
    assert sync_plans(client=client).skipped == []
    plan = Plan.objects.get()
    assert plan.speeds == ["4G", "x" * 16]
    assert plan.wholesale_usd == Decimal("1.2346")


def test_a_sync_that_fails_half_way_through_the_pages_changes_nothing(server: ScriptedServer) -> None:
    plan = PlanFactory()
    client = scripted(server, ORGANISATION)
    first_page = {"bundles": [BUNDLE], "pageCount": 2, "pageSize": 1, "rows": 2}
    server.script = [answer(ORGANISATION), answer(first_page), HALF_JSON]
    with pytest.raises(SyncFailed):
        sync_plans(client=client)
    assert list(Plan.objects.all()) == [plan]
    assert plan.is_on_sale


def test_a_group_that_nobody_knows_has_a_rule_that_nobody_knows(server: ScriptedServer) -> None:
    client = scripted(server, ORGANISATION, {**BUNDLE, "unlimited": True, "groups": ["Standard Unlimited Ultra"]})
    sync_plans(client=client)
    assert Plan.objects.get().fair_use == Plan.FairUse.UNKNOWN


# Networks


def told_networks() -> dict[str, list[str]]:
    return {str(network): network.speeds for network in Network.objects.all()}


def test_networks_are_read_in_the_same_run(open_wholesaler: Open) -> None:
    europe = row("esim_1GB_7D_REUP_V2", "REUP", countries="FR;ZW")
    run = sync_plans(client=open_wholesaler([row("esim_1GB_7D_FR_V2", area_name="France"), europe]).client)
    assert (run.networks_total, run.skipped) == (4, [])
    assert told_networks() == {
        "Sandbox Mobile FR (FR)": ["2G", "3G", "4G", "5G"],
        "Sandbox Telecom FR (FR)": ["3G", "4G"],
        "Sandbox Mobile ZW (ZW)": ["2G", "3G", "4G", "5G"],
        "Sandbox Telecom ZW (ZW)": ["3G", "4G"],
    }


def test_networks_follow_the_wholesaler_and_with_them_the_version_of_the_catalogue(server: ScriptedServer) -> None:
    def sync(*listed: dict[str, Any]) -> Any:
        client = scripted(server, ORGANISATION, BUNDLE)
        server.script[-1] = answer(networks(*listed))
        sync_plans(client=client)
        return CatalogueVersion.objects.get().version

    # A brand has several mobile network codes, each with speeds of its own.
    first = sync(network(), network(speeds=["3G"]), network("Bouygues", speeds=None))
    assert told_networks() == {"Bouygues (FR)": [], "Orange (FR)": ["3G", "4G", "5G"]}
    assert sync(network("Bouygues", speeds=None), network(speeds=["5G", "4G", "3G"])) == first
    assert sync(network()) != first
    assert told_networks() == {"Orange (FR)": ["4G", "5G"]}


@pytest.mark.parametrize("nonsense", [{}, {"countryNetworks": []}, networks(), {"countryNetworks": "none"}])
def test_without_networks_plans_are_read_all_the_same_and_the_old_networks_stay(
    server: ScriptedServer, nonsense: dict[str, Any]
) -> None:
    sync_plans(client=scripted(server, ORGANISATION, BUNDLE))
    client = scripted(server, ORGANISATION, {**BUNDLE, "price": 2})
    server.script[-1] = answer(nonsense)

    run = sync_plans(client=client)

    assert (run.prices_changed, run.networks_total) == (1, 1)
    assert told_networks() == {"Orange (FR)": ["4G", "5G"]}
    (line,) = run.skipped
    assert line.startswith("networks, which stay as they were: nonsense")


@pytest.mark.parametrize(
    "odd",
    [
        networks(network("")  | {"name": " "}),
        networks(network(), country="Nowhere"),
        networks(network(), country=""),
        networks(network("\u202e")),
        networks(network(speeds=[{"up": 1}])),
        {"countryNetworks": [{"name": "France", "networks": "none"}]},
    ],
)  # fmt: skip
def test_a_network_that_makes_no_sense_is_skipped_and_told(server: ScriptedServer, odd: dict[str, Any]) -> None:
    client = scripted(server, ORGANISATION, BUNDLE)
    listed = networks(network("Good"))["countryNetworks"] + odd["countryNetworks"]
    server.script[-1] = answer({"countryNetworks": listed})
    run = sync_plans(client=client)
    assert told_networks() == {"Good (FR)": ["4G", "5G"]}
    assert len(run.skipped) == 1


# The account


def test_the_balance_alone_can_be_read(open_wholesaler: Open) -> None:
    wholesaler = open_wholesaler([row("one")])
    wholesaler.tell("settings", balance_usd=42.5)
    account = refresh_account(client=wholesaler.client)
    assert account.balance_usd == Decimal("42.5")
    assert not Plan.objects.exists()


def test_a_balance_that_cannot_be_read_stays_as_it_was(open_wholesaler: Open, server: ScriptedServer) -> None:
    wholesaler = open_wholesaler([row("one")])
    refresh_account(client=wholesaler.client)
    wholesaler.fail("GET /organisation", "html", times=None)
    with pytest.raises(EsimGoUnreachable):
        refresh_account(client=wholesaler.client)
    with pytest.raises(WrongCurrency):
        refresh_account(client=scripted(server, {**ORGANISATION, "currency": "EUR"}))
    assert WholesalerAccount.objects.get().balance_usd == Decimal(10_000)


@pytest.mark.django_db(transaction=True)
def test_two_syncs_at_once_leave_one_catalogue(open_wholesaler: Open) -> None:
    wholesaler = open_wholesaler(many_rows(200))
    outcomes: list[str] = []

    def sync() -> None:
        try:
            sync_plans(client=wholesaler.client)
            outcomes.append("done")
        except SyncFailed:
            outcomes.append("overtaken")
        finally:
            connection.close()

    threads = [threading.Thread(target=sync) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 3
    assert "done" in outcomes
    assert Plan.objects.on_sale().count() == 200
    assert PlanChange.objects.count() == 200


@pytest.mark.django_db(transaction=True)
def test_a_new_policy_waits_for_a_sync_that_is_writing(open_wholesaler: Open) -> None:
    sync_plans(client=open_wholesaler([row("one")]).client)
    changed = threading.Event()

    def change_policy() -> None:
        set_pricing_policy(by=None, reason="dearer", markup=Decimal(1))
        changed.set()
        connection.close()

    with transaction.atomic():
        lock_catalogue()
        thread = threading.Thread(target=change_policy)
        thread.start()
        assert not changed.wait(0.5)
    thread.join(5)
    assert changed.is_set()
    assert Plan.objects.get().price_stars == 260
