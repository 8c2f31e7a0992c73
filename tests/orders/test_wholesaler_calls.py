"""What is kept of the calls to eSIM Go that were made for an order: all of them, and no secret."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from esimshop.clients.calls import OutsideCall
from esimshop.clients.esimgo import esimgo_client
from orders.models import Esim, Order, Orphan, WholesalerCall
from orders.services.fulfilment import provision_order
from orders.services.orphans import OrphanRefused, revoke_orphan
from orders.services.wholesaler_calls import clean, kept_calls
from tests.factories import OrderFactory
from tests.outside import SandboxControl, broken_table, run_tasks, sweep

pytestmark = pytest.mark.django_db

SECRET = "SBX-SECRET-4711"


def kept() -> list[tuple[str, str, int | None]]:
    return list(WholesalerCall.objects.values_list("call", "outcome", "http_status"))


def everything_kept() -> str:
    return json.dumps(list(WholesalerCall.objects.values("request", "response")), ensure_ascii=False)


def later(**delta: float) -> Any:
    return time_machine.travel(timezone.now() + timedelta(**delta))


def test_a_purchase_is_kept_with_what_was_asked_and_answered(sandbox: SandboxControl, order: Order) -> None:
    before = timezone.now()
    provision_order(str(order.pk))

    call = order.wholesaler_calls.get()
    reference = order.attempts.get().reference
    assert reference is not None
    assert (call.call, call.outcome, call.http_status) == ("place_order", "ok", 200)
    assert before <= call.started_at <= timezone.now()
    assert 0 < call.duration_ms < 5000
    assert (call.request["method"], call.request["path"], call.request["params"]) == ("POST", "/orders", {})
    assert call.request["body"]["order"][0]["item"] == "esim_1GB_7D_FR_V2"
    assert reference in call.response
    assert order.esims.get().iccid[-4:] in call.response


def test_nothing_that_is_kept_gives_an_esim_away(sandbox: SandboxControl, order: Order) -> None:
    """A purchase whose answer is lost, its look-up, the fetching of its eSIM, and the reference written on it."""
    sandbox.fail("esimgo.POST /orders", "timeout_after_work", seconds=3)
    provision_order(str(order.pk))
    with later(seconds=5):
        sweep()
        provision_order(str(order.pk))
        run_tasks()
    reference = order.attempts.get().reference
    assert reference is not None
    with kept_calls(order.pk):
        iccid = Esim.objects.get().iccid
        esimgo_client().get_install_data(reference)
        esimgo_client().get_esim(iccid)
        esimgo_client().list_bundles_on(iccid)
        esimgo_client().list_esims()

    calls = set(WholesalerCall.objects.values_list("call", flat=True))
    assert {"place_order", "list_orders", "get_install_data", "set_customer_ref", "get_esim"} <= calls
    text = everything_kept()
    for esim in sandbox.ledger()["esims"]:
        assert esim["matchingId"] not in text
        assert esim["iccid"] not in text
        assert esim["iccid"][-4:] in text
    for giveaway in ("LPA:", "carddata", esimgo_client()._api_key):
        assert giveaway not in text


def test_what_eSIM_Go_refuses_and_what_never_arrives_is_kept_too(  # noqa: N802
    sandbox: SandboxControl, order: Order
) -> None:
    sandbox.fail("esimgo.POST /orders", "status", status=400, message="no such bundle, LPA:1$rsp.example$K2-SECRET")
    provision_order(str(order.pk))
    assert kept() == [("place_order", "rejected", 400)]
    assert "no such bundle" in everything_kept()
    assert "K2-SECRET" not in everything_kept()


def test_of_a_dropped_connection_the_reason_is_kept(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(order.pk))
    call = WholesalerCall.objects.get()
    assert (call.outcome, call.http_status) == ("outcome_unknown", None)
    assert "ConnectionError" in call.response


def test_of_an_answer_that_is_no_json_only_its_size_and_the_reason_are_kept(
    sandbox: SandboxControl, order: Order
) -> None:
    sandbox.fail("esimgo.POST /orders", "half_json", after_work=True)
    provision_order(str(order.pk))
    call = WholesalerCall.objects.get()
    assert (call.outcome, call.http_status) == ("outcome_unknown", 200)
    assert call.response.startswith("nonsense: not JSON\n[")
    assert "bytes, not shown" in call.response


def test_a_long_answer_is_cut(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("esimgo.POST /orders", "status", status=400, message="x" * 10_000)
    provision_order(str(order.pk))
    assert len(WholesalerCall.objects.get().response) <= 4000


def test_a_call_that_cannot_be_kept_breaks_no_purchase(sandbox: SandboxControl, order: Order) -> None:
    with broken_table("orders_wholesalercall"):
        provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == Order.Status.COMPLETED
    assert not WholesalerCall.objects.exists()


def test_calls_are_kept_in_one_statement_after_the_eSIM_is_stored(  # noqa: N802
    sandbox: SandboxControl, order: Order
) -> None:
    sandbox.fail("esimgo.POST /orders", "status", status=429)
    with CaptureQueriesContext(connection) as queries:
        provision_order(str(order.pk))
    assert len(kept()) >= 1
    inserts = [number for number, query in enumerate(queries) if 'INTO "orders_wholesalercall"' in query["sql"]]
    assert len(inserts) == 1
    assert all("wholesalercall" in query["sql"] or "SAVEPOINT" in query["sql"] for query in list(queries)[inserts[0] :])


def test_the_revocation_of_an_orphan_is_kept_with_the_order_it_was_probably_bought_for(
    sandbox: SandboxControl, order: Order
) -> None:
    orphan = Orphan.objects.create(reference="r-1", iccid="8944538532008160000", bundle_name="esim", order=order)
    with pytest.raises(OrphanRefused):
        revoke_orphan(orphan, actor="admin:lead", reason="nobody's")
    assert order.wholesaler_calls.get().call == "list_bundles_on"


def test_calls_outside_the_work_on_an_order_are_not_kept(sandbox: SandboxControl, order: Order) -> None:
    esimgo_client().get_organisation()
    with kept_calls(None):
        esimgo_client().get_organisation()
    assert kept() == []


# Cleaning


@pytest.mark.parametrize(
    "answer",
    [
        {"matchingId": SECRET},
        {"Matching ID": SECRET},
        {"esims": [{"matching_id": SECRET, "note": f"sent {SECRET} to the phone"}]},
        {"activationCode": SECRET},
        {"ac": f"LPA:1$rsp.example.com${SECRET}"},
        {"rspUrl": f"https://rsp.example.com/{SECRET}"},
        {"appleInstallUrl": f"https://esimsetup.apple.com/x?carddata=LPA%3A1%24rsp.example.com%24{SECRET}"},
        {"androidInstallUrl": [f"https://x/{SECRET}"]},
        {"qrCode": {"png": SECRET}},
        {"confirmationCode": SECRET},
        {"pin": SECRET, "puk2": SECRET},
        {"apiKey": SECRET, "message": f"bad key {SECRET}"},
        {"users": [{"emailAddress": SECRET}]},
        [[{"deep": [{"MATCHINGID": SECRET}]}]],
        {SECRET: {"matchingId": SECRET}},
    ],
)
def test_whatever_the_wholesaler_calls_it_a_secret_is_not_kept(answer: Any) -> None:
    assert SECRET not in json.dumps(clean(answer))


def test_cleaning_leaves_what_helps() -> None:
    answer = {
        "orderReference": "7f5d1e0c-1111",
        "iccid": 8944538532008160000,
        "iccids": ["8944538532008161234"],
        "smdpAddress": "rsp.example.com",
        "firstInstalledDateTime": 1767528943785,
        "pinned": True,
        "matchingId": "",
        "total": 1.15,
        "none": None,
        "text": "\0\ud800 ok",
    }
    assert clean(answer) == {
        "orderReference": "7f5d1e0c-1111",
        "iccid": "…0000",
        "iccids": ["…1234"],
        "smdpAddress": "rsp.example.com",
        "firstInstalledDateTime": 1767528943785,
        "pinned": True,
        "matchingId": "",
        "total": 1.15,
        "none": None,
        "text": "\ufffd? ok",
    }


def test_an_answer_nested_without_end_is_not_kept_but_does_no_harm() -> None:
    order = OrderFactory()
    deep = b"[" * 50_000 + b"]" * 50_000
    from orders.services.wholesaler_calls import _keep

    _keep(order.pk, [OutsideCall(service="esimgo", call="get_esim", started_at=timezone.now(), content=deep)])
    assert WholesalerCall.objects.get().response == "[100,000 bytes, not shown: no JSON, or too much]"
