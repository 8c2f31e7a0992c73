"""The eSIM Go client against a server that says what the reference saw, and worse."""

import json
import logging
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from esimshop.clients.calls import OUTSIDE_CALL_SECONDS
from esimshop.clients.esimgo import (
    EsimGoClient,
    EsimGoError,
    EsimGoOutcomeUnknown,
    EsimGoRejected,
    EsimGoUnreachable,
    InstallData,
    OrderQuote,
    PlacedOrder,
    Revocation,
    esimgo_client,
)
from tests.clients import scripted_server as scripts
from tests.clients.scripted_server import ScriptedServer, answer
from tests.outside import SandboxControl

API_KEY = "key-of-the-tests-9f8e7d"
REFERENCE = "8f6e3ec5-0d53-4b7b-b1a2-58cb83d4a1f9"
ICCID = "8943108170000000017"


@pytest.fixture
def client(server: ScriptedServer) -> EsimGoClient:
    return EsimGoClient(api_key=API_KEY, base_url=f"{server.url}/v2.5", deadline_seconds=1.5)


@pytest.fixture
def hasty_client(server: ScriptedServer) -> EsimGoClient:
    """With a short deadline, for servers that never finish."""
    return EsimGoClient(api_key=API_KEY, base_url=f"{server.url}/v2.5", deadline_seconds=0.6)


def bundle(name: str = "esim_1GB_7D_FR_V2", **changes: Any) -> dict[str, Any]:
    place = {"name": "France", "region": "Europe", "iso": "FR"}
    return {
        "name": name,
        "description": "eSIM, 1GB, 7 Days, France, V2",
        "groups": ["Standard Fixed"],
        "countries": [place],
        "roamingEnabled": [place],
        "dataAmount": 1000,
        "duration": 7,
        "speed": ["4G", "5G"],
        "autostart": True,
        "unlimited": False,
        "price": 1.17,
        "billingType": "FixedCost",
        "profileName": "Profile 1",
    } | changes


def page(*bundles: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"bundles": list(bundles), "pageCount": 1, "pageSize": 500, "rows": len(bundles)} | changes


def placed(**changes: Any) -> dict[str, Any]:
    return {
        "order": [
            {
                "esims": [{"iccid": ICCID, "matchingId": "AB-12", "smdpAddress": "rsp.truphone.com"}],
                "type": "bundle",
                "item": "esim_1GB_7D_FR_V2",
                "iccids": [ICCID],
                "quantity": 1,
                "subTotal": 1.17,
                "pricePerUnit": 1.17,
                "AllowReassign": False,
            }
        ],
        "total": 1.17,
        "currency": "USD",
        "status": "completed",
        "statusMessage": "Order completed: 1 eSIMs assigned",
        "orderReference": REFERENCE,
        "createdDate": "2026-01-04T13:15:43.785826016Z",
        "assigned": True,
        "sourceIP": "203.0.113.7",
        "runningBalance": "998.83",
    } | changes


def buy(client: EsimGoClient) -> PlacedOrder:
    return client.place_order(bundle_name="esim_1GB_7D_FR_V2", started_at=timezone.now())


# The catalogue


def test_the_catalogue_is_read_from_all_its_pages(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [
        answer(page(bundle("first"), pageCount=2, rows=2)),
        answer(page(bundle("second"), pageCount=2, rows=2)),
    ]

    listing = client.list_bundles()

    assert [each.name for each in listing.bundles] == ["first", "second"]
    assert listing.place_codes == {"France": "FR"}
    assert listing.skipped == ()
    assert [request.query["page"] for request in server.requests] == [["1"], ["2"]]
    assert all(request.headers["x-api-key"] == API_KEY for request in server.requests)


def test_a_bundle_is_read_with_its_exact_price(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(json.dumps(page(bundle())).replace("1.17", "90.275"))]

    (found,) = client.list_bundles().bundles

    assert found.price_usd == Decimal("90.275")
    assert (found.area_code, found.area_name, found.area_region) == ("FR", "France", "Europe")
    assert (found.data_mb, found.days, found.is_unlimited, found.is_autostart) == (1000, 7, False, True)
    assert (found.groups, found.speeds, found.profile_name) == (("Standard Fixed",), ("4G", "5G"), "Profile 1")
    assert found.countries == ("FR",)


def test_a_region_covers_the_countries_it_roams_in(server: ScriptedServer, client: EsimGoClient) -> None:
    region = {"name": "Europe+", "region": "Europe", "iso": "REUP"}
    roaming = [{"name": "Austria", "region": "Europe", "iso": code} for code in ("AT", "DE", "CYP")]
    server.script = [answer(page(bundle(countries=[{"country": region}], roamingEnabled=roaming)))]

    (found,) = client.list_bundles().bundles

    assert (found.area_code, found.area_name) == ("REUP", "Europe+")
    assert found.countries == ("AT", "DE", "CYP")


def test_an_unlimited_bundle_has_no_amount(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(page(bundle(unlimited=True, dataAmount=-1, speed=None)))]

    (found,) = client.list_bundles().bundles

    assert (found.is_unlimited, found.data_mb, found.speeds) == (True, None, ())


def test_the_amount_may_stand_in_the_allowances(server: ScriptedServer, client: EsimGoClient) -> None:
    allowances = [{"type": "SMS", "amount": 5, "unit": "SMS"}, {"type": "DATA", "amount": 3000, "unit": "MB"}]
    server.script = [answer(page(bundle(dataAmount=None, allowances=allowances)))]

    assert client.list_bundles().bundles[0].data_mb == 3000


@pytest.mark.parametrize(
    "flaw",
    [
        {"price": -1},
        {"price": "cheap"},
        {"price": True},
        {"price": 0},
        {"duration": None},
        {"duration": "7"},
        {"dataAmount": 0},
        {"countries": []},
        {"countries": ["FR"]},
        {"name": ""},
        {"description": "nul \u0000"},
    ],
    ids=str,
)
def test_a_bundle_that_makes_no_sense_is_skipped_and_named(
    server: ScriptedServer, client: EsimGoClient, flaw: dict[str, Any]
) -> None:
    server.script = [answer(page(bundle("good"), bundle("bad") | flaw))]

    listing = client.list_bundles()

    assert [each.name for each in listing.bundles] == ["good"]
    assert len(listing.skipped) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        page(),
        page(rows=3),
        page(bundle(), rows=2),
        {"bundles": {"name": "x"}, "pageCount": 1, "rows": 1},
        {"bundles": [bundle()], "pageCount": "many", "rows": 1},
        {"bundles": [bundle()], "pageCount": 1},
        {"bundles": [bundle()], "rows": 1},
        [bundle()],
        page(bundle(), rows=0),
        page(pageCount=10**9, rows=10**9),
        page(bundle("twice"), bundle("twice", price=2)),
        page(bundle(price=None)),
        "text",
        None,
    ],
    ids=lambda nonsense: str(nonsense)[:40],
)
def test_a_catalogue_that_makes_no_sense_is_refused(
    server: ScriptedServer, client: EsimGoClient, nonsense: Any
) -> None:
    server.script = [answer(json.dumps(nonsense))]

    with pytest.raises(EsimGoUnreachable, match="nonsense"):
        client.list_bundles()


def test_a_bundle_listed_twice_alike_is_one(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(page(bundle(), bundle()))]

    assert len(client.list_bundles().bundles) == 1


def test_a_page_refused_for_the_rate_limit_is_asked_for_again(server: ScriptedServer, client: EsimGoClient) -> None:
    refusal = answer({"message": "Rate limit exceeded"}, status=429, headers={"Retry-After": "0.2"})
    server.script = [refusal, refusal, answer(page(bundle()))]

    started = time.monotonic()

    assert len(client.list_bundles().bundles) == 1
    assert time.monotonic() - started >= 0.4


def test_a_page_that_must_wait_for_long_is_left_to_a_later_run(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer({"message": "Rate limit exceeded"}, status=429, headers={"Retry-After": "3600"})]

    with pytest.raises(EsimGoUnreachable) as caught:
        client.list_bundles()

    assert caught.value.retry_after == 3600


# Networks


def test_networks_are_read_whatever_their_speeds_are_called(server: ScriptedServer, client: EsimGoClient) -> None:
    listed = [
        {"name": "Orange F", "brandName": "Orange", "speeds": ["4G", "5G"]},
        {"name": "SFR", "speed": ["4G"]},
        {"name": "Free", "brandName": None, "speed": {"speeds": ["3G"]}},
        {"name": "Bouygues", "speeds": None},
        {"brandName": 7},
    ]
    server.script = [answer({"countryNetworks": [{"name": "France", "networks": listed}, {"networks": []}]})]

    listing = client.list_networks()

    assert [(network.place, network.name, network.speeds) for network in listing.networks] == [
        ("France", "Orange", ("4G", "5G")),
        ("France", "SFR", ("4G",)),
        ("France", "Free", ("3G",)),
        ("France", "Bouygues", ()),
    ]
    assert listing.skipped == ("a network of France: brandName: not a text", "networks of country 2: name: missing")
    (request,) = server.requests
    assert (request.path, request.query) == ("/v2.5/networks", {"returnAll": ["true"]})


# The account


@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: {"organisation": it}, lambda it: {"organisations": [it]}])
def test_the_account_is_read_in_each_of_its_shapes(
    server: ScriptedServer, client: EsimGoClient, wrap: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    account = {"name": "Shop", "apiKey": API_KEY, "currency": "USD", "balance": 1234.56}
    server.script = [answer(wrap(account))]

    with caplog.at_level(logging.DEBUG):
        organisation = client.get_organisation()

    assert (organisation.currency, organisation.balance_usd) == ("USD", Decimal("1234.56"))
    assert API_KEY not in caplog.text


# Buying


def test_an_order_is_one_bundle_on_a_new_esim(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(placed())]

    order = buy(client)

    assert server.requests[0].json == {
        "type": "transaction",
        "assign": True,
        "order": [{"type": "bundle", "quantity": 1, "item": "esim_1GB_7D_FR_V2"}],
    }
    assert (order.reference, order.status, order.bundle_name) == (REFERENCE, "completed", "esim_1GB_7D_FR_V2")
    assert order.esims == (InstallData(iccid=ICCID, smdp_address="rsp.truphone.com", matching_id="AB-12"),)
    assert order.iccids == (ICCID,)
    assert (order.total_usd, order.currency, order.balance_usd) == (Decimal("1.17"), "USD", Decimal("998.83"))
    assert order.created_at == datetime(2026, 1, 4, 13, 15, 43, 785826, tzinfo=UTC)
    assert order.source_ip == "203.0.113.7"


def test_a_top_up_names_its_esim_and_accepts_no_other(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(placed())]

    client.place_order(bundle_name="esim_1GB_7D_FR_V2", iccid=ICCID, started_at=timezone.now())

    (item,) = server.requests[0].json["order"]
    assert item["iccids"] == [ICCID]
    assert item["allowReassign"] is False


def test_an_iccid_that_comes_as_a_number_keeps_all_its_digits(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(json.dumps(placed()).replace(f'"{ICCID}"', ICCID))]

    assert buy(client).esims[0].iccid == ICCID


def test_an_iccid_that_was_rounded_is_not_believed(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(json.dumps(placed()).replace(f'"{ICCID}"', "8.943108e18"))]

    with pytest.raises(EsimGoOutcomeUnknown, match="iccid"):
        buy(client)


def test_an_order_without_esims_is_placed_all_the_same(server: ScriptedServer, client: EsimGoClient) -> None:
    item = {"type": "bundle", "item": "esim_1GB_7D_FR_V2", "quantity": 1}
    server.script = [answer(placed(order=[item], runningBalance=None))]

    order = buy(client)

    assert (order.reference, order.esims, order.iccids, order.balance_usd) == (REFERENCE, (), (), None)


@pytest.mark.parametrize(
    ("status", "message", "is_account_level"),
    [
        (400, "bundle not found", False),
        (400, "Insufficient balance", True),
        (400, "not enough credit to complete the order", True),
        (403, "Forbidden", True),
        (401, "Unauthorized", True),
        (410, "eSIM deactivated", False),
    ],
)
def test_a_refusal_says_whether_it_is_about_the_account(
    server: ScriptedServer, client: EsimGoClient, status: int, message: str, is_account_level: bool
) -> None:
    server.script = [answer({"message": message}, status=status)]

    with pytest.raises(EsimGoRejected) as caught:
        buy(client)

    assert (caught.value.status, caught.value.message) == (status, message)
    assert caught.value.is_account_level is is_account_level


def test_a_refusal_in_plain_text_is_understood(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer("unknown bundle", status=400)]

    with pytest.raises(EsimGoRejected, match="400: unknown bundle"):
        buy(client)


def test_the_rate_limit_means_that_nothing_was_bought(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer({"message": "Rate limit exceeded"}, status=429, headers={"Retry-After": "1"})]

    with pytest.raises(EsimGoUnreachable) as caught:
        buy(client)

    assert caught.value.retry_after == 1
    assert len(server.requests) == 1


DOUBTS = {
    "500": answer({"message": "Internal error"}, status=500),
    "503": answer({"message": "processing"}, status=503, headers={"Retry-After": "5"}),
    "409": answer({"message": "conflict"}, status=409),
    "redirect": answer(b"", status=302, headers={"Location": "/v2.5/orders"}),
    "dropped": scripts.drop,
    "half a JSON": scripts.HALF_JSON,
    "HTML": scripts.HTML,
    "HTML of a gateway with 400": answer("<html>Bad Request</html>", status=400),
    "HTML of a gateway with 403": answer("<html>Forbidden</html>", status=403),
    "nothing": scripts.EMPTY,
    "deep JSON": scripts.DEEP_JSON,
    "a list": answer([]),
    "without reference": answer(placed(orderReference=None)),
    "invalid number": answer(json.dumps(placed()).replace("1.17", "NaN")),
    "silence": scripts.silence(5),
    "dripping headers": scripts.DRIPPING_HEADERS,
    "dripping body": scripts.DRIPPING_BODY,
}


@pytest.mark.parametrize("name", DOUBTS)
def test_a_purchase_in_doubt_is_an_unknown_outcome_and_sent_once(
    server: ScriptedServer, hasty_client: EsimGoClient, name: str
) -> None:
    server.script = [DOUBTS[name]]
    started = time.monotonic()

    with pytest.raises(EsimGoOutcomeUnknown):
        buy(hasty_client)

    assert time.monotonic() - started < 1.2
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "name", [name for name in DOUBTS if name not in {"409", "without reference", "HTML of a gateway with 403"}]
)
def test_reading_in_doubt_is_unreachable(server: ScriptedServer, hasty_client: EsimGoClient, name: str) -> None:
    server.script = [DOUBTS[name]]
    started = time.monotonic()

    with pytest.raises(EsimGoUnreachable):
        hasty_client.get_order(REFERENCE)

    assert time.monotonic() - started < 1.2


def test_a_deadline_ends_a_call_while_bytes_keep_coming(server: ScriptedServer, hasty_client: EsimGoClient) -> None:
    for step in (scripts.DRIPPING_HEADERS, scripts.DRIPPING_BODY):
        server.script = [step]
        started = time.monotonic()

        with pytest.raises(EsimGoUnreachable):
            hasty_client.get_order(REFERENCE)

        assert 0.4 < time.monotonic() - started < 1.0


def test_nobody_listening_means_that_nothing_was_bought(unused_port: int) -> None:
    client = EsimGoClient(api_key=API_KEY, base_url=f"http://127.0.0.1:{unused_port}", deadline_seconds=1)

    with pytest.raises(EsimGoUnreachable):
        buy(client)


def test_a_name_that_does_not_exist_means_that_nothing_was_bought() -> None:
    client = EsimGoClient(api_key=API_KEY, base_url="http://no-such-host.invalid", deadline_seconds=1.5)

    with pytest.raises(EsimGoUnreachable):
        buy(client)


def test_a_connection_dropped_in_the_handshake_means_that_nothing_was_bought(server: ScriptedServer) -> None:
    server.script = [scripts.drop]
    client = EsimGoClient(api_key=API_KEY, base_url=server.url.replace("http:", "https:"), deadline_seconds=1)

    with pytest.raises(EsimGoUnreachable):
        buy(client)


def test_a_handshake_that_never_ends_is_cut(silent_listener: int) -> None:
    client = EsimGoClient(api_key=API_KEY, base_url=f"https://127.0.0.1:{silent_listener}", deadline_seconds=0.9)
    started = time.monotonic()

    with pytest.raises(EsimGoUnreachable):
        buy(client)

    assert time.monotonic() - started < 1.2


def test_a_name_server_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer
) -> None:
    server.script = [answer(placed())]
    look_up = socket.getaddrinfo

    def slow_look_up(*args: Any, **kwargs: Any) -> Any:
        time.sleep(1)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
    client = EsimGoClient(api_key=API_KEY, base_url=server.url, deadline_seconds=0.9)
    started = time.monotonic()

    with pytest.raises(EsimGoUnreachable):
        buy(client)

    assert time.monotonic() - started < 0.9
    time.sleep(1)
    assert server.requests == []


def test_an_attempt_whose_deadline_has_passed_is_not_sent(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(placed())]

    with pytest.raises(EsimGoUnreachable, match="not sent"):
        client.place_order(bundle_name="any", started_at=timezone.now() - timedelta(seconds=2))

    assert server.requests == []


def test_a_process_that_stood_still_while_it_connected_sends_nothing_afterwards(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer, client: EsimGoClient
) -> None:
    server.script = [answer(placed())]
    look_up = socket.getaddrinfo

    with time_machine.travel(timezone.now()) as clock:

        def look_up_and_stand_still(*args: Any, **kwargs: Any) -> Any:
            clock.shift(60)
            return look_up(*args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", look_up_and_stand_still)
        with pytest.raises(EsimGoUnreachable, match="not sent"):
            buy(client)

    time.sleep(0.1)
    assert server.requests == []


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "7"}, 7), ({"X-Ratelimit-Remaining": "3"}, None), ({}, None)]
)
def test_a_purchase_tells_for_how_long_they_want_to_be_left_alone(
    server: ScriptedServer, client: EsimGoClient, headers: dict[str, str], seconds: float | None
) -> None:
    server.script = [answer(placed(), headers=headers)]

    assert buy(client).retry_after == seconds


def test_a_purchase_in_doubt_tells_it_too(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer({"message": "processing"}, status=503, headers={"Retry-After": "7"})]

    with pytest.raises(EsimGoOutcomeUnknown) as caught:
        buy(client)

    assert caught.value.retry_after == 7


def test_a_purchase_never_goes_over_a_connection_used_before(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(placed())]

    client.get_order(REFERENCE)
    client.get_order(REFERENCE)
    buy(client)

    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_validating_spends_nothing_and_tells_the_price(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer({"order": [], "total": 1.17, "valid": True, "currency": "USD"})]

    quote = client.validate_order(bundle_name="esim_1GB_7D_FR_V2")

    assert quote == OrderQuote(total_usd=Decimal("1.17"), currency="USD")
    assert server.requests[0].json["type"] == "validate"


def test_an_order_found_invalid_is_rejected(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer({"order": [], "total": 1.17, "valid": False, "currency": "USD"})]

    with pytest.raises(EsimGoRejected):
        client.validate_order(bundle_name="esim_1GB_7D_FR_V2")


# Looking up


def test_orders_are_listed_for_a_span_of_time(server: ScriptedServer, client: EsimGoClient) -> None:
    other = placed(orderReference="another", order=[{"type": "topup"}], createdDate=None, createDate=None)
    server.script = [
        answer({"orders": [placed()], "pageCount": 2, "pageSize": 1, "rows": 2}),
        answer({"orders": [other], "pageCount": 2, "pageSize": 1, "rows": 2}),
    ]
    noon = datetime(2026, 1, 4, 12, 0, 0, 500000, tzinfo=UTC)

    orders = client.list_orders(created_from=noon, created_to=noon + timedelta(hours=2))

    assert [order.reference for order in orders] == [REFERENCE, "another"]
    assert orders[1].item_type == "topup"
    assert server.requests[0].query["createdAt"] == ["gte:2026-01-04T12:00:00Z", "lte:2026-01-04T14:00:01Z"]


@pytest.mark.parametrize("orders", [[placed(), placed(orderReference="")], [placed()], [placed(), placed()]])
def test_a_list_of_orders_that_may_hide_one_is_refused(
    server: ScriptedServer, client: EsimGoClient, orders: list[Any]
) -> None:
    server.script = [answer({"orders": orders, "pageCount": 1, "pageSize": 100, "rows": 2})]

    with pytest.raises(EsimGoUnreachable, match="nonsense"):
        client.list_orders(created_from=timezone.now(), created_to=timezone.now())


def test_no_orders_are_an_empty_list(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer({"orders": None, "pageCount": 0, "pageSize": 0, "rows": 0})]

    assert client.list_orders(created_from=timezone.now(), created_to=timezone.now()) == []


ASSIGNMENT = {"iccid": ICCID, "matchingId": "AB-12", "smdpAddress": "http://rsp-3104.idemia.io", "pin": "1"}


@pytest.mark.parametrize(
    "body",
    [
        ASSIGNMENT,
        [ASSIGNMENT],
        {"esims": [ASSIGNMENT]},
        f"ICCID,Matching ID,RSP URL,Bundle,Reference\n{ICCID},AB-12,rsp-3104.idemia.io,x,{REFERENCE}-0\n",
    ],
    ids=["object", "list", "wrapped", "CSV"],
)
def test_install_data_is_read_in_each_of_its_shapes(server: ScriptedServer, client: EsimGoClient, body: Any) -> None:
    server.script = [answer(body)]

    found = client.get_install_data(REFERENCE)

    assert found == [InstallData(iccid=ICCID, smdp_address="rsp-3104.idemia.io", matching_id="AB-12")]
    assert server.requests[0].headers["accept"] == "application/json"
    assert server.requests[0].query == {"reference": [REFERENCE]}


@pytest.mark.parametrize("body", [[], {"iccid": ICCID, "matchingId": "", "smdpAddress": ""}])
def test_an_esim_that_is_not_assigned_yet_has_no_install_data(
    server: ScriptedServer, client: EsimGoClient, body: Any
) -> None:
    server.script = [answer(body)]

    assert client.get_install_data(REFERENCE) == []


def test_our_reference_is_written_on_the_esim_and_found_there(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [
        answer({"status": "success"}),
        answer(ASSIGNMENT | {"customerRef": "order-1", "firstInstalledDateTime": 0, "state": "active"}),
    ]

    client.set_customer_ref(iccid=ICCID, reference="order-1")
    details = client.get_esim(ICCID)

    assert server.requests[0].json == {"iccid": ICCID, "customerRef": "order-1"}
    assert (details.iccid, details.customer_ref, details.state) == (ICCID, "order-1", "active")


LISTED = {
    "iccid": ICCID,
    "customerRef": "order-1",
    "lastAction": "Bundle Applied",
    "actionDate": "2026-01-04T13:15:43Z",
    "physical": False,
    "assignedDate": "2026-01-04T13:15:43.785826016Z",
    "state": "active",
}


def esims(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"esims": list(rows), "pageCount": 1, "pageSize": 100, "rows": len(rows)} | changes


def test_esims_are_found_by_exactly_our_reference(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(esims(LISTED, LISTED | {"iccid": "8943108170000000025", "customerRef": "order-11"}))]

    found = client.find_esims("order-1")

    assert [(esim.iccid, esim.customer_ref, esim.last_action) for esim in found] == [
        (ICCID, "order-1", "Bundle Applied")
    ]
    assert found[0].assigned_at == datetime(2026, 1, 4, 13, 15, 43, 785826, tzinfo=UTC)
    assert server.requests[0].query["filterBy"] == ["customerRef"]
    assert server.requests[0].query["filter"] == ["order-1"]


def test_esims_are_listed_from_all_pages_each_once(server: ScriptedServer, client: EsimGoClient) -> None:
    other = {"iccid": "8943108170000000025", "customerRef": None, "assignedDate": ""}
    server.script = [
        answer(esims(LISTED, pageCount=2, rows=2)),
        answer(esims(LISTED, other, pageCount=2, rows=3)),
    ]

    listed = client.list_esims()

    assert [(esim.iccid, esim.customer_ref, esim.assigned_at is None) for esim in listed] == [
        (ICCID, "order-1", False),
        ("8943108170000000025", "", True),
    ]


def test_esims_from_before_a_moment_are_left_out_even_if_listed(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(esims(LISTED))]

    assert client.list_esims(assigned_from=datetime(2026, 1, 5, tzinfo=UTC)) == []
    assert server.requests[0].query["filterBy"] == ["assignedDate"]
    assert server.requests[0].query["filter"] == ["gte:2026-01-05T00:00:00Z"]


@pytest.mark.parametrize("rows", [[LISTED, {"iccid": "1"}], [LISTED | {"customerRef": 7}], [LISTED, LISTED, LISTED]])
def test_a_list_of_esims_that_may_hide_one_is_refused(
    server: ScriptedServer, client: EsimGoClient, rows: list[Any]
) -> None:
    server.script = [answer(esims(*rows, rows=2))]

    with pytest.raises(EsimGoUnreachable, match="nonsense"):
        client.list_esims()


ON_ESIM = {
    "id": "12345678",
    "callTypeGroup": "data",
    "initialQuantity": 50_000_000_000,
    "remainingQuantity": 49_000_000_000,
    "startTime": "",
    "assignmentDateTime": "2026-01-04T13:15:43.785826016Z",
    "assignmentReference": f"{REFERENCE}-0",
    "bundleState": "Queued",
    "unlimited": False,
}


def test_bundles_on_an_esim_lead_back_to_their_order(server: ScriptedServer, client: EsimGoClient) -> None:
    unlimited = {"id": 7, "bundleState": "revoked", "unlimited": True, "initialQuantity": -1}
    server.script = [answer({"bundles": [{"name": "esim_50GB", "assignments": [ON_ESIM, unlimited]}]})]

    queued, revoked = client.list_bundles_on(ICCID)

    assert (queued.bundle_name, queued.assignment_id, queued.order_reference) == ("esim_50GB", "12345678", REFERENCE)
    assert (queued.state, queued.initial_bytes, queued.remaining_bytes) == ("queued", 50_000_000_000, 49_000_000_000)
    assert (queued.starts_at, queued.ends_at) == (None, None)
    assert (revoked.assignment_id, revoked.order_reference, revoked.is_unlimited) == ("7", "", True)
    assert revoked.initial_bytes is None
    assert server.requests[0].query == {"includeUsed": ["true"], "limit": ["200"]}


@pytest.mark.parametrize(
    "body", [[], {"bundles": [1]}, {"bundles": [{"name": "x", "assignments": [ON_ESIM | {"id": ""}]}]}, "no JSON"]
)
def test_bundles_on_an_esim_that_make_no_sense_are_refused(
    server: ScriptedServer, client: EsimGoClient, body: Any
) -> None:
    server.script = [answer(body)]

    with pytest.raises(EsimGoUnreachable, match="nonsense"):
        client.list_bundles_on(ICCID)


def revoke(client: EsimGoClient, *, rehearse: bool) -> Revocation:
    return client.revoke_bundle(iccid=ICCID, bundle_name="esim/1", assignment_id="12345678", rehearse=rehearse)


@pytest.mark.parametrize(
    ("words", "is_refunded"),
    [
        ("Successfully Revoked Bundle, bundle has been refunded to inventory", True),
        ("Successfully Revoked Bundle, bundle has been refunded to balance", True),
        ("Successfully Revoked Bundle", False),
        ("Successfully Revoked Bundle, bundle has not been refunded to balance", False),
        ("Bundle can't be refunded to balance", False),
    ],
)
def test_a_revocation_says_whether_the_bundle_comes_back(
    server: ScriptedServer, client: EsimGoClient, words: str, is_refunded: bool
) -> None:
    server.script = [answer({"status": words})]

    assert revoke(client, rehearse=True) == Revocation(is_refunded=is_refunded, message=words)


@pytest.mark.parametrize(("rehearse", "kind"), [(True, "validate"), (False, "transaction")])
def test_a_revocation_is_rehearsed_or_done_by_what_is_sent(
    server: ScriptedServer, client: EsimGoClient, rehearse: bool, kind: str
) -> None:
    server.script = [answer({"status": "Successfully Revoked Bundle"})]

    revoke(client, rehearse=rehearse)

    (request,) = server.requests
    assert (request.method, request.query) == ("DELETE", {"type": [kind], "refundToBalance": ["true"]})
    assert request.path == f"/v2.5/esims/{ICCID}/bundles/esim%2F1/assignments/12345678"


@pytest.mark.parametrize("step", [scripts.drop, scripts.HTML, answer({"message": "busy"}, status=503), answer({})])
def test_a_revocation_in_doubt_is_an_unknown_outcome_and_a_rehearsal_is_not(
    server: ScriptedServer, client: EsimGoClient, step: scripts.Step
) -> None:
    server.script = [step]

    with pytest.raises(EsimGoOutcomeUnknown):
        revoke(client, rehearse=False)
    with pytest.raises(EsimGoUnreachable):
        revoke(client, rehearse=True)


# As the sandbox answers


def test_a_bundle_bought_at_the_sandbox_is_found_and_revoked(sandbox: SandboxControl) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    client = esimgo_client()
    before = timezone.now()
    bought = buy(client)
    (iccid,) = bought.iccids
    client.set_customer_ref(iccid=iccid, reference="order-7")

    assert [esim.iccid for esim in client.find_esims("order-7")] == [iccid]
    assert client.find_esims("order") == []
    assert [esim.iccid for esim in client.list_esims(assigned_from=before)] == [iccid]
    assert client.list_esims(assigned_from=before + timedelta(hours=1)) == []
    (on_esim,) = client.list_bundles_on(iccid)
    assert (on_esim.order_reference, on_esim.state, on_esim.initial_bytes) == (bought.reference, "queued", 10**9)

    which = {"iccid": iccid, "bundle_name": on_esim.bundle_name, "assignment_id": on_esim.assignment_id}
    assert client.revoke_bundle(**which, rehearse=True).is_refunded
    assert client.list_bundles_on(iccid) == [on_esim]
    assert client.revoke_bundle(**which, rehearse=False).is_refunded
    assert [each.state for each in client.list_bundles_on(iccid)] == ["revoked"]
    with pytest.raises(EsimGoRejected):
        client.revoke_bundle(**which, rehearse=False)


def test_a_bundle_is_only_destroyed_at_the_sandbox_while_refunds_are_off(sandbox: SandboxControl) -> None:
    client = esimgo_client()
    (iccid,) = buy(client).iccids
    (on_esim,) = client.list_bundles_on(iccid)

    rehearsed = client.revoke_bundle(
        iccid=iccid, bundle_name=on_esim.bundle_name, assignment_id=on_esim.assignment_id, rehearse=True
    )

    assert not rehearsed.is_refunded


# Secrets, metrics, processes


@pytest.mark.parametrize("step", [scripts.drop, scripts.HTML, answer({"message": f"bad key {API_KEY}"}, status=403)])
def test_the_key_is_in_no_error_and_no_log(
    server: ScriptedServer, client: EsimGoClient, step: scripts.Step, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [step]

    with caplog.at_level(logging.DEBUG), pytest.raises(EsimGoError) as caught:
        buy(client)

    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert type(caught.value).__name__ in told
    assert API_KEY not in told


def test_each_call_is_measured_by_its_outcome(server: ScriptedServer, client: EsimGoClient) -> None:
    def count(outcome: str) -> float:
        histogram = OUTSIDE_CALL_SECONDS.labels("esimgo", "place_order", outcome)
        return sum(bucket.get() for bucket in histogram._buckets)

    before = {outcome: count(outcome) for outcome in ("ok", "rejected", "outcome_unknown")}
    server.script = [answer(placed()), answer({"message": "no"}, status=400), scripts.drop]

    buy(client)
    with pytest.raises(EsimGoRejected):
        buy(client)
    with pytest.raises(EsimGoOutcomeUnknown):
        buy(client)

    assert {outcome: count(outcome) - before[outcome] for outcome in before} == dict.fromkeys(before, 1)


def test_threads_do_not_share_a_connection(server: ScriptedServer, client: EsimGoClient) -> None:
    server.script = [answer(placed())]
    client.get_order(REFERENCE)

    thread = threading.Thread(target=client.get_order, args=(REFERENCE,))
    thread.start()
    thread.join()

    assert [request.connection for request in server.requests] == [1, 2]


def test_the_client_of_the_settings_follows_them(settings: Any, server: ScriptedServer) -> None:
    server.script = [answer(placed())]
    settings.ESIMGO_BASE_URL = server.url

    esimgo_client().get_order(REFERENCE)

    assert server.requests[0].headers["x-api-key"] == settings.ESIMGO_API_KEY
    assert esimgo_client() is esimgo_client()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def silent_listener() -> Any:
    """A port where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_handshake_without_agreement_means_that_nothing_was_bought(tls_listener: int) -> None:
    client = EsimGoClient(api_key=API_KEY, base_url=f"https://127.0.0.1:{tls_listener}", deadline_seconds=3)

    with pytest.raises(EsimGoUnreachable):
        buy(client)


@pytest.fixture
def tls_listener() -> Any:
    """A TLS server that offers no cipher a client of today would take."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            try:
                context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
