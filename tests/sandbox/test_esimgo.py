"""eSIM Go's API in the sandbox, held to the documented and logged shapes."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.sandbox.conftest import API_KEY, Json, SandboxClient

FRANCE = "esim_1GB_7D_FR_V2"


def message(answer: Any) -> str:
    assert list(answer.json()) == ["message"]
    return str(answer.json()["message"])


def rejected(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status
    return message(answer)


@pytest.mark.parametrize(("method", "path"), [("GET", "/catalogue"), ("POST", "/orders"), ("GET", "/no/such/path")])
def test_a_bad_key_is_forbidden(sandbox: SandboxClient, method: str, path: str) -> None:
    assert rejected(sandbox.esimgo(method, path, headers={"X-API-Key": "wrong"}), 403) == "Forbidden"


def test_an_unknown_path_looks_like_a_bad_key(sandbox: SandboxClient) -> None:
    assert rejected(sandbox.esimgo("GET", "/no/such/path"), 403) == "Forbidden"


def test_a_country_bundle_has_the_documented_shape(sandbox: SandboxClient) -> None:
    catalogue = sandbox.esimgo("GET", "/catalogue", params={"countries": "FR", "perPage": 100}).json()
    bundle = next(each for each in catalogue["bundles"] if each["name"] == FRANCE)
    france = {"name": "France", "region": "Europe", "iso": "FR"}
    assert bundle == {
        "name": FRANCE,
        "description": "eSIM, 1GB, 7 Days, France, V2",
        "groups": ["Standard Fixed"],
        "countries": [france],
        "dataAmount": 1000,
        "duration": 7,
        "speed": ["2G", "3G", "4G", "5G"],
        "autostart": True,
        "unlimited": False,
        "roamingEnabled": [france],
        "price": 1.15,
        "billingType": "FixedCost",
        "profileName": bundle["profileName"],
        "allowances": [
            {
                "type": "DATA",
                "service": "STANDARD",
                "description": "eSIM, 1GB, 7 Days, France, V2",
                "amount": 1000,
                "unit": "MB",
                "unlimited": False,
            }
        ],
    }


def test_a_regional_bundle_names_its_area_and_all_its_countries(sandbox: SandboxClient) -> None:
    catalogue = sandbox.esimgo("GET", "/catalogue", params={"region": "Global", "perPage": 100}).json()
    bundle = next(each for each in catalogue["bundles"] if each["name"] == "esim_ULE_7D_RGB_V2")
    assert bundle["countries"] == [{"name": "Global", "region": "Global", "iso": "RGB"}]
    assert len(bundle["roamingEnabled"]) == 48
    assert bundle["dataAmount"] == -1
    assert bundle["unlimited"] is True


def test_the_pages_of_the_catalogue_add_up(sandbox: SandboxClient) -> None:
    first = sandbox.esimgo("GET", "/catalogue", params={"perPage": 500}).json()
    names = [
        bundle["name"]
        for page in range(1, first["pageCount"] + 1)
        for bundle in sandbox.esimgo("GET", "/catalogue", params={"perPage": 500, "page": page}).json()["bundles"]
    ]
    assert len(names) == len(set(names)) == first["rows"]
    assert first["pageSize"] == 500
    assert any(bundle["speed"] is None for bundle in first["bundles"])


def test_a_single_bundle_is_nested_as_in_reality(sandbox: SandboxClient) -> None:
    bundle = sandbox.esimgo("GET", f"/catalogue/bundle/{FRANCE}").json()
    assert bundle["countries"][0]["country"]["iso"] == "FR"
    assert bundle["countries"][0]["networks"][0]["mcc"]
    assert bundle["group"] == ["Standard Fixed"]
    assert "not found" in rejected(sandbox.esimgo("GET", "/catalogue/bundle/nonsense"))


def test_a_price_can_change_and_a_bundle_vanish(sandbox: SandboxClient) -> None:
    sandbox.post(f"/sandbox/catalogue/{FRANCE}", price="1.625")
    answer = sandbox.esimgo("GET", f"/catalogue/bundle/{FRANCE}")
    assert json.loads(answer.content, parse_float=Decimal)["price"] == Decimal("1.625")
    sandbox.post(f"/sandbox/catalogue/{FRANCE}", withdrawn=True)
    listed = sandbox.esimgo("GET", "/catalogue", params={"countries": "FR", "perPage": 100}).json()["bundles"]
    assert FRANCE not in [bundle["name"] for bundle in listed]
    assert "not found" in rejected(sandbox.order(FRANCE))


def test_a_bundle_that_moves_to_another_profile_tops_up_no_longer(sandbox: SandboxClient) -> None:
    iccid = bought(sandbox)["iccid"]
    path = f"/esims/{iccid}/compatible/{FRANCE}"
    assert sandbox.esimgo("GET", path).json() == {"compatible": True}
    sandbox.post(f"/sandbox/catalogue/{FRANCE}", profile="Profile 9")
    assert sandbox.esimgo("GET", path).json() == {"compatible": False}
    assert bought(sandbox)["iccid"] != iccid


def test_the_organisation_comes_wrapped_with_key_and_staff(sandbox: SandboxClient) -> None:
    (organisation,) = sandbox.esimgo("GET", "/organisation").json()["organisations"]
    assert organisation["currency"] == "USD"
    assert organisation["balance"] == 10000
    assert organisation["apiKey"] == API_KEY
    assert organisation["users"][0]["emailAddress"]


def test_the_groups_are_the_standard_tiers(sandbox: SandboxClient) -> None:
    groups = sandbox.esimgo("GET", "/organisation/groups").json()["groups"]
    assert [group["name"] for group in groups][:2] == ["Standard Fixed", "Standard Unlimited Lite"]


def test_networks_are_found_by_country(sandbox: SandboxClient) -> None:
    (found,) = sandbox.esimgo("GET", "/networks", params={"isos": "FR"}).json()["countryNetworks"]
    assert found["name"] == "France"
    everything = sandbox.esimgo("GET", "/networks", params={"returnAll": "true"}).json()
    assert len(everything["countryNetworks"]) == 48


def test_an_order_delivers_a_new_esim_at_once(sandbox: SandboxClient) -> None:
    order = sandbox.order(FRANCE).json()
    assert list(order) == [
        "order",
        "total",
        "currency",
        "status",
        "statusMessage",
        "orderReference",
        "createdDate",
        "assigned",
        "sourceIP",
        "runningBalance",
    ]
    (line,) = order["order"]
    (esim,) = line["esims"]
    assert line["iccids"] == [esim["iccid"]]
    assert re.fullmatch(r"8944538\d{12}", esim["iccid"])
    assert "://" not in esim["smdpAddress"]
    assert (order["status"], order["assigned"], order["total"]) == ("completed", True, 1.15)
    assert order["statusMessage"] == "Order completed: 1 eSIMs assigned"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", order["createdDate"])
    assert str(uuid.UUID(order["orderReference"])) == order["orderReference"]
    assert order["runningBalance"] == 9998.85
    assert sandbox.ledger()["balance_usd"] == 9998.85


def test_validating_an_order_buys_nothing(sandbox: SandboxClient) -> None:
    line = {"type": "bundle", "quantity": 2, "item": FRANCE}
    answer = sandbox.esimgo("POST", "/orders", json={"type": "validate", "assign": True, "order": [line]}).json()
    assert (answer["valid"], answer["total"], answer["currency"]) == (True, 2.3, "USD")
    assert "orderReference" not in answer
    assert sandbox.ledger()["orders"] == []
    assert sandbox.ledger()["balance_usd"] == 10000


def test_names_in_a_body_know_no_case(sandbox: SandboxClient) -> None:
    line = {"Type": "bundle", "Quantity": 1, "Item": FRANCE, "ICCIDs": [""]}
    assert sandbox.esimgo("POST", "/orders", json={"type": "transaction", "assign": True, "Order": [line]}).ok


@pytest.mark.parametrize(
    "body",
    [
        "nonsense",
        "[]",
        {"type": "buy", "assign": True, "order": [{"type": "bundle", "quantity": 1, "item": FRANCE}]},
        {"type": "transaction", "assign": True, "order": []},
        {"type": "transaction", "assign": True, "order": [{"type": "bundle", "quantity": 0, "item": FRANCE}]},
        {"type": "transaction", "assign": True, "order": [{"type": "bundle", "quantity": 1, "item": "unknown"}]},
        {
            "type": "transaction",
            "assign": False,
            "order": [{"type": "bundle", "quantity": 1, "item": FRANCE, "iccids": ["8944538000000000001"]}],
        },
    ],
)
def test_a_bad_order_is_refused(sandbox: SandboxClient, body: str | Json) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    rejected(sandbox.esimgo("POST", "/orders", data=content))
    assert sandbox.ledger()["orders"] == []


def test_an_empty_account_buys_nothing(sandbox: SandboxClient) -> None:
    sandbox.post("/sandbox/settings", balance_usd="1.149")
    assert rejected(sandbox.order(FRANCE)) == "insufficient balance"
    sandbox.post("/sandbox/settings", balance_usd="1.15")
    assert sandbox.order(FRANCE).ok
    assert sandbox.ledger()["balance_usd"] == 0


def bought(sandbox: SandboxClient, bundle: str = FRANCE) -> Json:
    esim: Json = sandbox.order(bundle).json()["order"][0]["esims"][0]
    return esim


def test_a_top_up_keeps_its_esim(sandbox: SandboxClient) -> None:
    iccid = bought(sandbox)["iccid"]
    order = sandbox.order("esim_3GB_30D_FR_V2", iccids=[iccid]).json()
    assert order["order"][0]["iccids"] == [iccid]
    bundles = sandbox.esimgo("GET", f"/esims/{iccid}/bundles").json()["bundles"]
    assert [bundle["name"] for bundle in bundles] == ["esim_3GB_30D_FR_V2", FRANCE]
    (assignment,) = bundles[0]["assignments"]
    assert assignment["assignmentReference"] == f"{order['orderReference']}-0"
    assert assignment["initialQuantity"] == 3_000_000_000


def test_a_top_up_that_does_not_fit_is_refused_or_reassigned(sandbox: SandboxClient) -> None:
    bundles = sandbox.esimgo("GET", "/catalogue", params={"perPage": 1000}).json()["bundles"]
    iccid = bought(sandbox)["iccid"]
    own = next(bundle["profileName"] for bundle in bundles if bundle["name"] == FRANCE)
    other = next(bundle["name"] for bundle in bundles if bundle["profileName"] != own)
    assert sandbox.esimgo("GET", f"/esims/{iccid}/compatible/{other}").json() == {"compatible": False}
    assert sandbox.esimgo("GET", f"/esims/{iccid}/compatible/{FRANCE}").json() == {"compatible": True}
    assert "not compatible" in rejected(sandbox.order(other, iccids=[iccid]))
    moved = sandbox.order(other, iccids=[iccid], allowReassign=True).json()
    assert moved["order"][0]["iccids"] != [iccid]


def test_foreign_esims_are_forbidden(sandbox: SandboxClient) -> None:
    assert rejected(sandbox.order(FRANCE, iccids=["8944538000000000001"]), 403) == "Forbidden"
    assert rejected(sandbox.esimgo("GET", "/esims/8944538000000000001"), 403) == "Forbidden"


def test_quantity_must_match_the_esims(sandbox: SandboxClient) -> None:
    assert "quantity" in rejected(sandbox.order(FRANCE, iccids=[bought(sandbox)["iccid"]], quantity=2))


def test_orders_are_listed_newest_first_within_a_time(sandbox: SandboxClient) -> None:
    references = [sandbox.order(FRANCE).json()["orderReference"] for _ in range(3)]
    middle = sandbox.esimgo("GET", f"/orders/{references[1]}").json()["createdDate"]
    page = sandbox.esimgo("GET", "/orders", params={"limit": 2, "includeIccids": "true"}).json()
    assert [order["orderReference"] for order in page["orders"]] == references[:0:-1]
    assert {name: page[name] for name in ("pageCount", "pageSize", "rows")} == {
        "pageCount": 2,
        "pageSize": 2,
        "rows": 3,
    }
    since = sandbox.esimgo("GET", "/orders", params={"createdAt": [f"gte:{middle}", "lte:2999-01-01T00:00:00Z"]}).json()
    assert references[1] in [order["orderReference"] for order in since["orders"]]
    before = sandbox.esimgo("GET", "/orders", params={"createdAt": f"lt:{middle}"}).json()
    assert references[2] not in [order["orderReference"] for order in before["orders"]]
    assert "createdAt" in rejected(sandbox.esimgo("GET", "/orders", params={"createdAt": "yesterday"}))


def test_an_order_may_come_without_its_esims(sandbox: SandboxClient) -> None:
    sandbox.post("/sandbox/settings", esims_in_order=False)
    order = sandbox.order(FRANCE).json()
    assert "esims" not in order["order"][0]
    headers = {"Accept": "application/json"}
    path = f"/esims/assignments?reference={order['orderReference']}"
    esim = sandbox.esimgo("GET", path, headers=headers).json()
    assert esim["iccid"] == order["order"][0]["iccids"][0]
    assert esim["matchingId"]


def test_assignments_are_csv_unless_json_is_asked_for(sandbox: SandboxClient) -> None:
    order = sandbox.order(FRANCE, quantity=2).json()
    path = f"/esims/assignments?reference={order['orderReference']}"
    answer = sandbox.esimgo("GET", path)
    assert answer.headers["Content-Type"] == "text/csv"
    header, first, _ = answer.text.splitlines()
    esim = order["order"][0]["esims"][0]
    assert header == "ICCID,Matching ID,RSP URL,Bundle,Reference"
    assert first.split(",")[:4] == [esim["iccid"], esim["matchingId"], esim["smdpAddress"], FRANCE]
    assert len(sandbox.esimgo("GET", path, headers={"Accept": "application/json"}).json()) == 2


@pytest.mark.parametrize(
    "sending",
    [
        lambda iccid: {"json": {"iccid": iccid, "customerRef": "order-7"}},
        lambda iccid: {"params": {"iccid": iccid, "customerRef": "order-7"}},
    ],
)
def test_the_customer_reference_is_kept(sandbox: SandboxClient, sending: Callable[[str], Json]) -> None:
    iccid = bought(sandbox)["iccid"]
    assert sandbox.esimgo("PUT", "/esims", **sending(iccid)).json() == {"status": "success"}
    esim = sandbox.esimgo("GET", f"/esims/{iccid}", params={"additionalFields": "installUrl"}).json()
    assert esim["customerRef"] == "order-7"
    assert esim["appleInstallUrl"].startswith(
        "https://esimsetup.apple.com/esim_qrcode_provisioning?carddata=LPA%3A1%24"
    )
    found = sandbox.esimgo("GET", "/esims", params={"filterBy": "customerRef", "filter": "order-7"}).json()
    assert [esim["iccid"] for esim in found["esims"]] == [iccid]
    actions = sandbox.esimgo("GET", f"/esims/{iccid}/history").json()["actions"]
    assert [action["name"] for action in actions] == ["eSIM Updated", "Bundle Applied"]


def test_usage_moves_a_bundle_through_its_states(sandbox: SandboxClient) -> None:
    iccid = bought(sandbox)["iccid"]

    def assignment() -> Json:
        bundles = sandbox.esimgo("GET", f"/esims/{iccid}/bundles", params={"includeUsed": "true"}).json()
        fields: Json = bundles["bundles"][0]["assignments"][0]
        return fields

    assert assignment()["bundleState"] == "queued"
    sandbox.post(f"/sandbox/esims/{iccid}", remaining_mb=200, profile_status="Installed")
    assert (assignment()["bundleState"], assignment()["remainingQuantity"]) == ("active", 200_000_000)
    assert assignment()["endTime"] > assignment()["startTime"]
    assert isinstance(sandbox.esimgo("GET", f"/esims/{iccid}").json()["firstInstalledDateTime"], int)
    sandbox.post(f"/sandbox/esims/{iccid}", remaining_mb=0)
    assert assignment()["bundleState"] == "depleted"
    sandbox.post(f"/sandbox/esims/{iccid}", ends_in_hours=20)
    assert assignment()["bundleState"] == "active"
    assert timedelta(hours=19) < _until(assignment()["endTime"]) <= timedelta(hours=20)
    sandbox.post(f"/sandbox/esims/{iccid}", ends_in_hours=0)
    assert assignment()["bundleState"] == "expired"
    assert _until(assignment()["endTime"]) <= timedelta(0)


def _until(moment: str) -> timedelta:
    return datetime.fromisoformat(moment) - datetime.now(UTC)


@pytest.mark.parametrize("by_assignment", [True, False])
def test_a_revoked_bundle_is_lost_unless_refunds_are_enabled(sandbox: SandboxClient, by_assignment: bool) -> None:
    def revoke(**query: str) -> str:
        iccid = bought(sandbox)["iccid"]
        bundles = sandbox.esimgo("GET", f"/esims/{iccid}/bundles").json()["bundles"]
        end = f"/assignments/{bundles[0]['assignments'][0]['id']}" if by_assignment else ""
        answer = sandbox.esimgo("DELETE", f"/esims/{iccid}/bundles/{FRANCE}{end}", params=query)
        left = sandbox.esimgo("GET", f"/esims/{iccid}/bundles").json()["bundles"]
        assert bool(left) is (query.get("type") == "validate")
        return str(answer.json()["status"])

    assert revoke(refundToBalance="true") == "Successfully Revoked Bundle"
    assert sandbox.ledger()["balance_usd"] == 9998.85
    sandbox.post("/sandbox/settings", refunds_enabled=True)
    assert revoke(refundToBalance="true").endswith("refunded to balance")
    assert sandbox.ledger()["balance_usd"] == 9998.85
    assert revoke(type="validate").endswith("refunded to inventory")


def test_more_than_ten_calls_a_second_are_refused(sandbox: SandboxClient) -> None:
    sandbox.post("/sandbox/settings", rate_limit=True)
    time.sleep(1 - time.time() % 1 + 0.02)
    answers = [sandbox.esimgo("GET", "/organisation/groups") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert message(answers[-1]) == "Rate limit exceeded"
    assert answers[-1].headers["Retry-After"] == "1"
    assert answers[0].headers["X-Ratelimit-Limit"] == "10"
    assert answers[0].headers["X-Ratelimit-Remaining"] == "9"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answers[0].headers["X-Ratelimit-Reset"])
    time.sleep(1)
    assert sandbox.esimgo("GET", "/organisation/groups").ok


def test_without_the_limit_no_call_says_that_tokens_run_out(sandbox: SandboxClient) -> None:
    answers = [sandbox.esimgo("GET", "/organisation/groups") for _ in range(15)]
    assert {answer.headers["X-Ratelimit-Remaining"] for answer in answers} == {"9"}
