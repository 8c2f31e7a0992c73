"""`GET /api/esims`: a customer's own eSIMs, with what is left, what happened and what tops them up."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from catalog.models import Plan
from esimshop.waiting_places import PLACES, waiting_place
from orders.models import Esim, EsimBundle, Order, TopUpFit
from tests.factories import CustomerFactory, EsimFactory, PlanFactory
from tests.orders.conftest import paid_order
from tests.orders.esims import GB, bought_esim, read, use
from tests.outside import ANNA, BEN, SandboxControl, bearer, is_russian

pytestmark = pytest.mark.django_db


def get(path: str, user_id: int = BEN) -> Any:
    return Client().get(path, headers=bearer(user_id))


def add_bundle(esim: Esim, state: str = "active", **details: Any) -> EsimBundle:
    now = timezone.now()
    return EsimBundle.objects.create(
        esim=esim,
        order=esim.order,
        assignment_id=str(EsimBundle.objects.count() + 1),
        bundle_name=esim.order.plan.bundle_name,
        state=state,
        **{
            "initial_bytes": GB,
            "remaining_bytes": GB // 2,
            "starts_at": now - timedelta(days=2),
            "ends_at": now + timedelta(days=5),
            **details,
        },
    )


# The list


def test_nobody_sees_them_without_init_data() -> None:
    assert Client().get("/api/esims").status_code == 401
    assert Client().get("/api/esims/8944538000000000000").status_code == 401


def test_a_list_of_ones_own(db: None) -> None:
    mine = EsimFactory()
    add_bundle(mine)
    EsimFactory(order__customer=CustomerFactory(telegram_user_id=ANNA), order__plan=mine.order.plan)
    answer = get("/api/esims")
    assert answer["Cache-Control"] == "no-store"
    page = answer.json()
    assert page["count"] == 1
    (esim,) = page["results"]
    assert esim["iccid"] == mine.iccid
    assert esim["order_id"] == str(mine.order_id)
    assert esim["plan"]["area"]["code"] == "FR"
    assert (esim["state"], esim["installed"]) == ("active", None)
    assert (esim["usage"]["initial_mb"], esim["usage"]["remaining_mb"]) == (1000, 500)
    assert esim["usage"]["ends_at"].endswith("Z")
    assert [bundle["title"] for bundle in esim["bundles"]] == ["1 GB, 7 days"]
    assert "activation_code" not in esim
    assert mine.matching_id not in answer.content.decode()


def test_before_esim_go_has_told_anything(db: None) -> None:
    EsimFactory()
    (esim,) = get("/api/esims").json()["results"]
    assert (esim["usage"], esim["bundles"], esim["state"], esim["updated_at"]) == (None, [], "unknown", None)


def test_an_esim_whose_stars_went_back_is_not_shown(db: None) -> None:
    esim = EsimFactory(order__status=Order.Status.REFUNDED)
    assert get("/api/esims").json()["count"] == 0
    assert get(f"/api/esims/{esim.iccid}").status_code == 404


def test_a_stranger_has_none_and_leaves_no_row(db: None) -> None:
    assert get("/api/esims").json() == {"count": 0, "next": None, "previous": None, "results": []}


def test_the_list_asks_as_often_for_many_as_for_one(django_assert_num_queries: Any, db: None) -> None:
    customer = CustomerFactory()
    for _ in range(2):
        esim = EsimFactory(order__customer=customer, order__plan=PlanFactory())
        for _ in range(3):
            add_bundle(esim)
    with django_assert_num_queries(5) as counted:
        get("/api/esims")
    for _ in range(10):
        add_bundle(EsimFactory(order__customer=customer, order__plan=PlanFactory()))
    with django_assert_num_queries(len(counted)):
        assert len(get("/api/esims?page_size=20").json()["results"]) == 12


def test_orders_tell_the_usage_too(db: None) -> None:
    esim = EsimFactory()
    add_bundle(esim)
    order = get(f"/api/orders/{esim.order_id}").json()
    assert order["esim"]["usage"]["remaining_mb"] == 500
    (listed,) = get("/api/orders").json()["results"]
    assert listed["esim"]["usage"] == order["esim"]["usage"]


# One


@pytest.mark.parametrize("iccid", ["8944538999999999999", "x", "%00", "1" * 300, "ыыы"])
def test_an_unknown_one_is_not_found(iccid: str, db: None) -> None:
    answer = get(f"/api/esims/{iccid}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "esim_not_found"


def test_somebody_elses_is_not_found(db: None) -> None:
    esim = EsimFactory(order__customer=CustomerFactory(telegram_user_id=ANNA))
    assert get(f"/api/esims/{esim.iccid}").json()["code"] == "esim_not_found"


def test_one_has_its_codes_history_and_plans(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan, user_id=ANNA, language="ru")
    fitting = PlanFactory(bundle_name="esim_3GB_30D_FR_V2", data_mb=3000, profile_name="Profile 4")
    Plan.objects.filter(pk=plan.pk).update(profile_name="Profile 4")
    use(sandbox, esim, remaining_mb=500)
    use(sandbox, esim, remaining_mb=0)
    read(esim)
    shown = get(f"/api/esims/{esim.iccid}", ANNA).json()
    assert shown["activation_code"] == esim.activation_code
    assert shown["qr_svg"].startswith("<svg")
    assert shown["apple_install_url"].startswith("https://esimsetup.apple.com/")
    assert [line["kind"] for line in shown["history"]] == ["used_up", "started", "bought"]
    assert all(is_russian(line["text"]) for line in shown["history"])
    assert [each["bundle"] for each in shown["top_up_plans"]] == [plan.bundle_name, fitting.bundle_name]


def test_history_tells_of_top_ups(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    order = paid_order(sandbox, plan=plan, top_up_esim=esim, status="completed", completed_at=timezone.now())
    shown = get(f"/api/esims/{esim.iccid}").json()
    assert [line["kind"] for line in shown["history"]] == ["topped_up", "bought"]
    assert order.bought_plan["en"]["title"] in shown["history"][0]["text"]


def test_looking_at_it_has_fresh_usage_read_once_a_minute(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    reading = ProcrastinateJob.objects.filter(task_name="orders.tasks.read_usage_task")
    get(f"/api/esims/{esim.iccid}")
    assert reading.count() == 1
    read(esim)
    get(f"/api/esims/{esim.iccid}")
    assert reading.count() == 1
    Esim.objects.update(usage_read_at=timezone.now() - timedelta(minutes=2))
    get(f"/api/esims/{esim.iccid}")
    assert reading.count() == 2


# What tops it up


def test_only_plans_that_really_fit_are_offered(sandbox: SandboxControl, plan: Plan) -> None:
    """The sandbox's own plans of France have several operator profiles, as the real ones."""
    esim = bought_esim(sandbox, plan)
    profile = read(esim).profile_name
    Plan.objects.filter(pk=plan.pk).update(profile_name=profile)
    other = PlanFactory(bundle_name="esim_5GB_30D_DE_V2", data_mb=5000, profile_name="another profile")
    PlanFactory(bundle_name="esim_10GB_30D_FR_V2", area__code="TR", profile_name=profile)
    PlanFactory(bundle_name="esim_3GB_30D_FR_V2", profile_name=profile, is_on_sale=False)
    shown = get(f"/api/esims/{esim.iccid}").json()
    assert [each["bundle"] for each in shown["top_up_plans"]] == [plan.bundle_name]
    assert TopUpFit.objects.get(profile_name=other.profile_name).fits is False


def test_esim_go_is_asked_once_a_day_for_each_profile(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    name = "esimgo.GET /esims/{iccid}/compatible/{bundle}"
    for _ in range(3):
        assert get(f"/api/esims/{esim.iccid}").status_code == 200
    assert sandbox.calls(name) == 1
    TopUpFit.objects.update(asked_at=timezone.now() - timedelta(days=1, minutes=1))
    get(f"/api/esims/{esim.iccid}")
    assert sandbox.calls(name) == 2


def test_without_an_answer_it_says_that_it_does_not_know(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    name = "esimgo.GET /esims/{iccid}/compatible/{bundle}"
    sandbox.fail(name, "status", status=503, times=50)
    for _ in range(5):
        answer = get(f"/api/esims/{esim.iccid}")
        assert answer.status_code == 200
        assert answer.json()["top_up_plans"] is None
    # Whoever looks again and again does not wait each time.
    assert sandbox.calls(name) <= 6


def test_nobody_waits_for_esim_go_where_too_many_do(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    with ExitStack() as others:
        for _ in range(PLACES):
            others.enter_context(waiting_place())
        answer = get(f"/api/esims/{esim.iccid}")
    assert (answer.status_code, answer.json()["top_up_plans"]) == (200, None)
    assert sandbox.calls("esimgo.GET /esims/{iccid}/compatible/{bundle}") == 0
    assert get(f"/api/esims/{esim.iccid}").json()["top_up_plans"] is not None


def test_a_deleted_esim_cannot_be_topped_up(sandbox: SandboxControl, plan: Plan) -> None:
    esim = bought_esim(sandbox, plan)
    Esim.objects.update(is_deleted=True)
    assert get(f"/api/esims/{esim.iccid}").json()["top_up_plans"] == []
