"""eSIM Go's callbacks: only signed ones, in both forms; late, twice, out of order, and nonsense."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from catalog.models import Plan
from orders.models import Delivery, Esim, EsimBundle, WholesalerCallback
from orders.services.usage import sweep_usage
from tests.factories import EsimFactory
from tests.orders.esims import CALLBACK, GB, bought_esim, bundle_body, call_back, read, sign, use
from tests.outside import BEN, SandboxControl, at_once, bearer, run_tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def esim(sandbox: SandboxControl, plan: Plan) -> Esim:
    return bought_esim(sandbox, plan)


# Who it is from


@pytest.mark.parametrize("form", ["base64", "hex"])
def test_both_forms_of_the_signature_are_taken(esim: Esim, form: str) -> None:
    assert call_back(bundle_body(esim), form=form).status_code == 200
    assert WholesalerCallback.objects.get().esim == esim


def test_hex_may_be_in_capitals(esim: Esim) -> None:
    content = json.dumps(bundle_body(esim)).encode()
    assert call_back(content, signature=sign(content, form="hex").upper()).status_code == 200


def test_the_old_key_signs_while_keys_are_changed(esim: Esim, settings: Any) -> None:
    settings.ESIMGO_API_KEY_OLD = "key-of-yesterday"
    assert call_back(bundle_body(esim), key="key-of-yesterday").status_code == 200


@pytest.mark.parametrize(
    "signature",
    ["", " ", "bm90IGEgc2lnbmF0dXJl", "00" * 32, "ключ", "é" * 44],
    ids=["none", "blank", "other", "zeros", "cyrillic", "latin"],
)
def test_others_are_refused_and_nothing_is_kept(esim: Esim, signature: str) -> None:
    content = json.dumps(bundle_body(esim)).encode()
    headers = {"X-Signature-SHA256": signature} if signature.isascii() else {}
    extra = {} if signature.isascii() else {"HTTP_X_SIGNATURE_SHA256": signature}
    answer = Client(raise_request_exception=False, **extra).post(
        CALLBACK, content, content_type="application/json", headers=headers
    )
    assert answer.status_code == 403
    assert answer.json()["code"] == "bad_request"
    assert not WholesalerCallback.objects.exists()
    assert not EsimBundle.objects.exists()


def test_an_empty_key_signs_nothing(esim: Esim, settings: Any) -> None:
    settings.ESIMGO_API_KEY_OLD = ""
    content = json.dumps(bundle_body(esim)).encode()
    import hashlib
    import hmac

    assert call_back(content, signature=hmac.new(b"", content, hashlib.sha256).hexdigest()).status_code == 403


def test_the_signature_is_over_the_raw_bytes(esim: Esim) -> None:
    body = bundle_body(esim)
    content = json.dumps(body).encode()
    assert call_back(json.dumps(body, indent=1).encode(), signature=sign(content)).status_code == 403
    spaced = json.dumps(body, indent=1).encode()
    assert call_back(spaced, signature=sign(spaced)).status_code == 200


def test_only_posts_are_taken() -> None:
    assert Client().get(CALLBACK).status_code == 405


# What it says


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"alertType": ""}',
        b'{"alertType": 5}',
        b"\xff\xfe",
        b'{"a": NaN',
        b"[" * 100_000,
        b'{"alertType": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_callback_is_refused(content: bytes, db: None) -> None:
    assert call_back(content).status_code == 400
    assert not WholesalerCallback.objects.exists()


def test_a_body_without_end_is_refused(db: None) -> None:
    assert call_back(b"x" * (1024 * 1024 + 1)).status_code == 413


@pytest.mark.parametrize(
    "changes",
    [
        {"remainingQuantity": "much"},
        {"remainingQuantity": -5},
        {"remainingQuantity": 2**70},
        {"remainingQuantity": 1.5},
        {"endTime": "soon"},
        {"name": None},
        {"id": None},
        {"id": {"a": 1}},
        {"unit": "minutes"},
        {"reference": 7},
    ],
    ids=repr,
)
def test_details_that_make_no_sense_are_kept_but_not_believed(esim: Esim, changes: dict[str, Any]) -> None:
    assert call_back(bundle_body(esim, **changes)).status_code == 200
    assert WholesalerCallback.objects.get().kind == "Utilisation"
    assert not EsimBundle.objects.exists()
    esim.refresh_from_db()
    assert esim.usage_due_at is not None
    assert esim.usage_due_at <= timezone.now()  # the truth is read


@pytest.mark.parametrize("iccid", [8944538532008160000, "8944538532008160001", 1.5e18, None, [], "x" * 500, "1\u00002"])
def test_an_esim_that_we_do_not_know_is_only_kept(iccid: Any, db: None) -> None:
    assert call_back({"iccid": iccid, "alertType": "FirstUse", "bundle": {}}).status_code == 200
    assert WholesalerCallback.objects.get().esim is None


def test_an_iccid_may_come_as_a_number(esim: Esim) -> None:
    body = bundle_body(esim)
    assert call_back({**body, "iccid": int(esim.iccid)}).status_code == 200
    assert WholesalerCallback.objects.get().esim == esim


def test_usage_is_there_at_once_and_told(esim: Esim, sandbox: SandboxControl) -> None:
    assert call_back(bundle_body(esim)).status_code == 200
    bundle = EsimBundle.objects.get()
    assert (bundle.esim, bundle.order, bundle.state) == (esim, esim.order, "active")
    assert (bundle.initial_bytes, bundle.remaining_bytes) == (GB, GB // 5)
    usage = Client().get(f"/api/esims/{esim.iccid}", headers=bearer(BEN)).json()["usage"]
    assert (usage["initial_mb"], usage["remaining_mb"], usage["state"]) == (1000, 200, "active")
    run_tasks()
    assert "20%" in sandbox.chat(BEN)[-1]["text"]


def test_the_first_use_starts_the_days(esim: Esim) -> None:
    assert call_back(bundle_body(esim, kind="FirstUse", remainingQuantity=GB)).status_code == 200
    bundle = EsimBundle.objects.get()
    assert bundle.starts_at is not None
    assert bundle.ends_at is not None
    assert not Delivery.objects.exclude(bundle=None).exists()


def test_the_truth_is_read_afterwards(esim: Esim, sandbox: SandboxControl) -> None:
    use(sandbox, esim, remaining_mb=150)
    read(esim)
    assignment = EsimBundle.objects.get().assignment_id
    # It says less than there is: a forger with the key could not use data up for long.
    assert call_back(bundle_body(esim, id=assignment, remainingQuantity=0)).status_code == 200
    assert EsimBundle.objects.get().state == "depleted"
    assert sweep_usage(limit=5) == 1
    assert EsimBundle.objects.get().remaining_bytes == 150_000_000
    assert EsimBundle.objects.get().ended_at is None


# Late, twice, at once


def test_the_same_twice_changes_nothing(esim: Esim) -> None:
    body = bundle_body(esim)
    assert [call_back(body).status_code for _ in range(3)] == [200] * 3
    assert WholesalerCallback.objects.count() == 1
    assert Delivery.objects.exclude(bundle=None).count() == 1


def test_the_same_at_once_changes_nothing(esim: Esim, transactional_db: None) -> None:
    body = bundle_body(esim)
    answers = at_once(*[lambda: call_back(body)] * 4)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert WholesalerCallback.objects.count() == 1
    assert Delivery.objects.exclude(bundle=None).count() == 1


def test_an_older_one_does_not_give_data_back(esim: Esim) -> None:
    assert call_back(bundle_body(esim, remainingQuantity=GB // 5)).status_code == 200
    assert call_back(bundle_body(esim, remainingQuantity=GB // 2)).status_code == 200
    assert EsimBundle.objects.get().remaining_bytes == GB // 5


def test_a_late_one_does_not_bring_an_ended_bundle_back(esim: Esim, sandbox: SandboxControl) -> None:
    use(sandbox, esim, bundle_state="expired")
    read(esim)
    bundle = EsimBundle.objects.get()
    assert call_back(bundle_body(esim, id=bundle.assignment_id)).status_code == 200
    bundle.refresh_from_db()
    assert bundle.state == "expired"
    assert not Delivery.objects.exclude(bundle=None).exists()


# Other kinds


@pytest.mark.parametrize("kind", ["LowBalance", "InsufficientBalance", "Topup"])
def test_about_our_balance_the_account_is_read(kind: str, db: None) -> None:
    body = {"alertType": kind, "balanceInfo": {"balance": 12.5, "threshold": 100}}
    assert call_back(body).status_code == 200
    assert ProcrastinateJob.objects.filter(task_name="catalog.tasks.refresh_account_task").count() == 1
    assert WholesalerCallback.objects.get().body["balanceInfo"]["balance"] == "12.5"


def test_a_deleted_esim_is_over(esim: Esim) -> None:
    assert call_back({"event": "esim.deleted", "iccid": esim.iccid, "date": "2026-01-01T00:00:00Z"}).status_code == 200
    esim.refresh_from_db()
    assert esim.is_deleted
    assert esim.usage_due_at is None
    assert Client().get(f"/api/esims/{esim.iccid}", headers=bearer(BEN)).json()["state"] == "ended"


@pytest.mark.parametrize("kind", ["CountryChange", "FirstAttachment", "SomethingNew"])
def test_other_kinds_are_kept_and_have_the_esim_read(esim: Esim, kind: str) -> None:
    Esim.objects.filter(pk=esim.pk).update(usage_due_at=timezone.now() + timedelta(hours=3))
    assert call_back({"alertType": kind, "iccid": esim.iccid, "country": {"code": "FR"}}).status_code == 200
    esim.refresh_from_db()
    assert esim.usage_due_at is not None
    assert esim.usage_due_at <= timezone.now()


def test_it_is_soon_answered_without_asking_anybody(esim: Esim, sandbox: SandboxControl) -> None:
    before = sandbox.ledger()["calls"]["counts"]
    assert call_back(bundle_body(esim)).status_code == 200
    assert sandbox.ledger()["calls"]["counts"] == before


@pytest.mark.parametrize("name", ["\u0000", "\ud800"], ids=["nul", "half a pair"])
def test_letters_that_no_database_keeps_lose_nothing(esim: Esim, name: str) -> None:
    assert call_back(bundle_body(esim, name=name)).status_code == 200
    assert EsimBundle.objects.get().remaining_bytes == GB // 5


def test_an_esim_of_another_order_keeps_its_own(esim: Esim) -> None:
    other = EsimFactory(order__plan=esim.order.plan)
    assert call_back({**bundle_body(esim), "iccid": other.iccid}).status_code == 200
    assert EsimBundle.objects.get().esim == other
    assert not esim.bundles.exists()
