"""GET /api/areas, /api/plans and /api/currencies, as a client sees them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.models import CurrencyRate, Network, Plan
from catalog.services.pricing_policies import set_pricing_policy
from tests.factories import AreaFactory, PlanFactory

pytestmark = pytest.mark.django_db

ADDRESSES = ["/api/areas", "/api/areas/FR", "/api/plans", "/api/plans/esim", "/api/currencies"]


@pytest.fixture
def russian() -> Client:
    return Client(headers={"accept-language": "ru"})


def bundles(client: Client, address: str = "/api/plans", **query: Any) -> list[str]:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content
    return [plan["bundle"] for plan in answer.json()["results"]]


def test_a_plan_is_told_in_the_shape_of_the_contract(russian: Client) -> None:
    plan = PlanFactory(area__code="TR", bundle_name="esim_ULE_7D_TR_V2", unlimited=True)
    expected = {
        "bundle": "esim_ULE_7D_TR_V2",
        "title": "Турция, безлимит, 7 дней",
        "area": {"code": "TR", "name": "Турция", "kind": "country"},
        "data_mb": None,
        "days": 7,
        "unlimited": True,
        "fair_use": "Первый 1 ГБ каждого дня — на полной скорости, затем 1,25 Мбит/с.",
        "speed": ["4G", "5G"],
        "countries": ["TR"],
        "price_stars": 130,
    }
    assert russian.get(f"/api/plans/{plan.bundle_name}").json() == expected
    assert russian.get("/api/plans").json() == {"count": 1, "next": None, "previous": None, "results": [expected]}


def test_areas_are_told_with_their_plans_on_sale(client: Client) -> None:
    PlanFactory(area__code="FR", wholesale_usd=Decimal("2.00"))
    PlanFactory(area__code="FR", wholesale_usd=Decimal("1.30"))
    PlanFactory(area__code="FR", wholesale_usd=Decimal("0.10"), is_on_sale=False)
    PlanFactory(area__code="REUP", area__countries=["FR", "DE"])
    PlanFactory(area__code="RGB")
    PlanFactory(area__code="AT")
    PlanFactory(area__code="DE", is_on_sale=False)
    AreaFactory(code="IT")

    areas = client.get("/api/areas").json()

    assert [area["code"] for area in areas["results"]] == ["AT", "FR", "REUP", "RGB"]
    assert areas["count"] == 4
    france = areas["results"][1]
    assert "франция" in france.pop("search").split()
    assert france == {
        "code": "FR", "name": "France", "kind": "country", "countries": ["FR"], "plans": 2, "from_stars": 130
    }  # fmt: skip
    assert [area["kind"] for area in areas["results"]] == ["country", "country", "region", "global"]


def test_an_area_is_told_with_the_networks_of_its_countries(client: Client, russian: Client) -> None:
    PlanFactory(area__code="REUP", area__countries=["FR", "DE"])
    PlanFactory(area__code="FR", wholesale_usd=Decimal("1.30"))
    for country, name, speeds in (("FR", "Orange", ["4G", "5G"]), ("FR", "Free", []), ("DE", "o2", ["4G"])):
        Network.objects.create(country=country, name=name, speeds=speeds)
    listed = {area["code"]: area for area in client.get("/api/areas").json()["results"]}

    networks = [
        {"country": "FR", "name": "Free", "speeds": []},
        {"country": "FR", "name": "Orange", "speeds": ["4G", "5G"]},
    ]
    assert client.get("/api/areas/FR").json() == {**listed["FR"], "networks": networks}
    assert russian.get("/api/areas/FR").json()["name"] == "Франция"
    region = client.get("/api/areas/REUP").json()
    assert region["networks"] == [{"country": "DE", "name": "o2", "speeds": ["4G"]}, *networks]


@pytest.mark.parametrize("code", ["ZZ", "DE", "IT", "fr", "%00", "x" * 500])
def test_an_area_without_plans_on_sale_is_404_with_a_sentence(russian: Client, code: str) -> None:
    PlanFactory(area__code="FR")
    PlanFactory(area__code="DE", is_on_sale=False)
    AreaFactory(code="IT")
    answer = russian.get(f"/api/areas/{code}")
    assert answer.status_code == 404
    assert answer.json() == {"code": "plan_not_found", "detail": "Для этого места сейчас нет тарифов."}


def test_currencies_are_told_with_the_dollar_always_among_them(client: Client) -> None:
    CurrencyRate.objects.all().delete()
    assert client.get("/api/currencies").json() == {"results": [{"code": "USD", "per_usd": "1", "updated_at": None}]}
    CurrencyRate.objects.create(code="UZS", per_usd=Decimal(12000))
    CurrencyRate.objects.create(code="EUR", per_usd=Decimal("0.860000"))

    _, euro, sum_ = client.get("/api/currencies").json()["results"]

    assert (euro["code"], euro["per_usd"], sum_["per_usd"]) == ("EUR", "0.86", "12000")
    assert euro["updated_at"].endswith("Z")


def test_the_first_rates_are_of_where_travellers_come_from(client: Client) -> None:
    codes = {rate["code"] for rate in client.get("/api/currencies").json()["results"]}
    assert {"USD", "EUR", "GBP", "RUB", "KZT", "TRY", "UZS"} <= codes


def test_areas_are_sorted_by_the_name_in_the_language(client: Client, russian: Client) -> None:
    for code in ("DE", "AT", "GB"):
        PlanFactory(area__code=code)
    assert [area["code"] for area in client.get("/api/areas").json()["results"]] == ["AT", "DE", "GB"]
    assert [area["code"] for area in russian.get("/api/areas").json()["results"]] == ["AT", "GB", "DE"]


def test_only_plans_on_sale_are_listed(client: Client) -> None:
    PlanFactory(bundle_name="sold")
    gone = PlanFactory(is_on_sale=False)
    assert bundles(client) == ["sold"]
    answer = client.get(f"/api/plans/{gone.bundle_name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "plan_not_found"


@pytest.mark.parametrize("name", ["unknown", "%00", "%FF", "ESIM", "x" * 500])
def test_an_unknown_plan_is_404_with_a_sentence_in_the_customers_language(russian: Client, name: str) -> None:
    PlanFactory(bundle_name="esim")
    answer = russian.get(f"/api/plans/{name}")
    assert answer.status_code == 404
    assert answer.json() == {"code": "plan_not_found", "detail": "Этот тариф не продаётся. Выберите другой."}


def test_plans_are_filtered_by_area_and_by_unlimited(client: Client) -> None:
    PlanFactory(area__code="FR", bundle_name="fr")
    PlanFactory(area__code="FR", bundle_name="fr-unlimited", unlimited=True)
    PlanFactory(area__code="DE", bundle_name="de")
    assert bundles(client, area="FR") == ["fr", "fr-unlimited"]
    assert bundles(client, area="FR", unlimited="true") == ["fr-unlimited"]
    assert bundles(client, unlimited="false") == ["de", "fr"]
    assert bundles(client, area="ZZ") == []
    # The contract writes them empty.
    assert len(bundles(client, area="", search="", unlimited="", page="", page_size="")) == 3


def test_a_country_is_found_in_both_languages_with_the_regions_it_lies_in(client: Client) -> None:
    AreaFactory(code="DE")
    AreaFactory(code="ZW")
    PlanFactory(area__code="TR", bundle_name="tr")
    PlanFactory(area__code="FR", bundle_name="fr")
    PlanFactory(area__code="RAF", area__countries=["TR", "ZW"], bundle_name="region")
    PlanFactory(area__code="ID", bundle_name="id")
    for asked in ("Turkey", "türk", "ТУРЦИЯ", "турц", "tr", "Стамбул"):
        assert bundles(client, search=asked) == ["tr", "region"], asked
    assert bundles(client, search="Zimbabwe") == ["region"]
    assert bundles(client, search="Зимбабве") == ["region"]
    assert bundles(client, search="бали") == ["id"]
    assert bundles(client, search="африка") == ["region"]
    assert bundles(client, search="nowhere") == []


def test_all_words_of_a_search_must_be_meant(client: Client) -> None:
    PlanFactory(area__code="KR", bundle_name="south")
    PlanFactory(area__code="ZA", bundle_name="africa")
    assert bundles(client, search="South Korea") == ["south"]
    assert set(bundles(client, search="south")) == {"south", "africa"}


def test_a_search_by_code_puts_that_country_first(client: Client) -> None:
    PlanFactory(area__code="REUS", area__countries=["US"], bundle_name="region")
    PlanFactory(area__code="US", bundle_name="us")
    assert bundles(client, search="us") == ["us", "region"]


@pytest.mark.parametrize("asked", ["esim_ULE", "ULE_7D", "esim_ule_7d_fr_v2"])
def test_a_plan_is_found_by_its_bundle(client: Client, asked: str) -> None:
    PlanFactory(bundle_name="esim_ULE_7D_FR_V2")
    PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    assert bundles(client, search=asked) == ["esim_ULE_7D_FR_V2"]


@pytest.mark.parametrize("asked", ["%", "_", "'", "\\", "%%%", "; DROP TABLE", "😀", "&", "(", '"'])
def test_signs_in_a_search_mean_themselves(client: Client, asked: str) -> None:
    PlanFactory(bundle_name="plain")
    assert bundles(client, search=asked) == []


def test_pages_link_to_each_other_and_hold_at_most_100(client: Client) -> None:
    PlanFactory.create_batch(105)
    first = client.get("/api/plans", {"page_size": 1000}).json()
    assert (first["count"], len(first["results"]), first["previous"]) == (105, 100, None)
    second = client.get(first["next"]).json()
    assert (len(second["results"]), second["next"]) == (5, None)
    assert client.get(second["previous"]).json()["results"] == first["results"]
    names = [plan["bundle"] for plan in first["results"] + second["results"]]
    assert len(set(names)) == 105


@pytest.mark.parametrize(
    "query",
    [
        "page=0", "page=-1", "page=x", "page=2", "page=last", "page=1e9", f"page={'9' * 5000}", "page_size=0",
        "page_size=-5", "page_size=x", f"page_size={'9' * 5000}", "unlimited=perhaps", "search=%00", "area=%00",
        f"search={'x' * 101}", f"area={'x' * 17}",
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_400(client: Client, query: str) -> None:
    PlanFactory()
    answer = client.get(f"/api/plans?{query}")
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert answer.json()["detail"]
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_other_methods_are_405_in_json(client: Client, method: str, address: str) -> None:
    answer = getattr(client, method)(address)
    assert answer.status_code == 405
    assert answer.json()["code"] == "bad_request"


@pytest.mark.parametrize("address", ADDRESSES)
def test_answers_are_cacheable_by_language(client: Client, address: str) -> None:
    PlanFactory(bundle_name="esim")
    answer = client.get(address)
    assert answer["Cache-Control"] == "public, max-age=60"
    assert "Accept-Language" in answer["Vary"]
    again = client.get(address, headers={"if-none-match": answer["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", answer["ETag"])
    assert again["Cache-Control"] == "public, max-age=60"
    assert "Accept-Language" in again["Vary"]
    in_russian = client.get(address, headers={"if-none-match": answer["ETag"], "accept-language": "ru"})
    assert in_russian.status_code == 200
    assert in_russian["ETag"] != answer["ETag"]


def test_an_answer_of_304_costs_one_query(client: Client) -> None:
    PlanFactory()
    etag = client.get("/api/plans")["ETag"]
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/api/plans", headers={"if-none-match": etag}).status_code == 304
    assert len(queries) == 1


@pytest.mark.parametrize(
    "address", ["/api/areas", "/api/areas/FR", "/api/plans", "/api/plans?search=fr&unlimited=false", "/api/currencies"]
)
def test_the_number_of_queries_does_not_grow_with_the_list(client: Client, address: str) -> None:
    PlanFactory()
    with CaptureQueriesContext(connection) as one:
        client.get(address)
    PlanFactory.create_batch(60)
    PlanFactory(area__code="REUP", area__countries=["FR"])
    Network.objects.bulk_create(Network(country="FR", name=f"network {number}") for number in range(60))
    with CaptureQueriesContext(connection) as many:
        client.get(address)
    assert len(many) == len(one) <= 4


@pytest.mark.parametrize("change", ["price", "policy", "sale", "new", "area", "delete"])
def test_every_change_is_seen_at_once(client: Client, change: str) -> None:
    plan = PlanFactory(bundle_name="one")
    PlanFactory(bundle_name="two")
    before = client.get("/api/plans")
    assert client.get("/api/plans").json() == before.json()

    match change:
        case "price":
            Plan.objects.filter(pk=plan.pk).update(price_stars=7)
        case "policy":
            set_pricing_policy(by=None, reason="", markup=Decimal(1))
        case "sale":
            Plan.objects.filter(pk=plan.pk).update(is_on_sale=False)
        case "new":
            PlanFactory()
        case "area":
            plan.area.name_en = "Gaul"
            plan.area.save()
        case "delete":
            plan.delete()

    after = client.get("/api/plans", headers={"if-none-match": before["ETag"]})
    assert after.status_code == 200
    assert after.json() != before.json()


@pytest.mark.parametrize("address", ["/api/areas/FR", "/api/currencies"])
def test_changes_of_networks_and_rates_are_seen_at_once(client: Client, address: str) -> None:
    PlanFactory()
    before = client.get(address)
    Network.objects.create(country="FR", name="Orange")
    CurrencyRate.objects.filter(code="EUR").update(per_usd=7)
    after = client.get(address, headers={"if-none-match": before["ETag"]})
    assert (after.status_code, after.json() == before.json()) == (200, False)


def test_what_is_remembered_depends_on_the_whole_address(client: Client) -> None:
    PlanFactory(area__code="FR", bundle_name="fr")
    PlanFactory(area__code="DE", bundle_name="de")
    assert bundles(client, area="FR") == ["fr"]
    assert bundles(client, area="DE") == ["de"]
    assert bundles(client) == ["de", "fr"]
    assert client.get("/api/plans", headers={"accept": "text/html"}).status_code == 406
    assert client.head("/api/plans").content == b""
    assert bundles(client) == ["de", "fr"]


def test_the_version_is_a_uuid_that_a_rollback_cannot_bring_back(client: Client) -> None:
    PlanFactory()
    version = client.get("/api/plans")["ETag"].removeprefix("W/").strip('"').removesuffix("-en")
    assert UUID(version).version == 4


def test_the_schema_tells_the_shapes(client: Client) -> None:
    schema = client.get("/api/schema", headers={"accept": "application/vnd.oai.openapi+json"}).json()
    plans = schema["paths"]["/api/plans"]["get"]
    assert {parameter["name"] for parameter in plans["parameters"]} == {
        "area", "search", "unlimited", "page", "page_size"
    }  # fmt: skip
    page = plans["responses"]["200"]["content"]["application/json"]["schema"]
    assert page["$ref"].endswith("PaginatedPlanList")
    assert set(schema["components"]["schemas"]["Plan"]["properties"]) == {
        "bundle", "title", "area", "data_mb", "days", "unlimited", "fair_use", "speed", "countries", "price_stars"
    }  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/plans", "/api/faq"])
def test_a_condition_for_changing_something_hides_nothing_from_readers(client: Client, path: str) -> None:
    answer = client.get(path, headers={"If-Match": '"another"'})

    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
