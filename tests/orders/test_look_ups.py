"""An outcome that is not known: looked up at eSIM Go, adopted or proven absent, and never bought twice."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
import time_machine
from django.conf import settings as django_settings
from django.utils import timezone

from catalog.models import Plan
from esimshop.clients.esimgo import PlacedOrder
from esimshop.models import Alert
from orders.models import Esim, Order, Orphan, ProvisioningAttempt
from orders.services.fulfilment import provision_order
from orders.services.look_ups import attempts_beside, match_orders, unlinked_orders
from payments.models import Payment
from tests.factories import EsimFactory, OrderFactory, PlanFactory
from tests.orders.conftest import paid_order
from tests.outside import ANNA, BEN, SandboxControl, run_tasks, sweep, wait_until

pytestmark = pytest.mark.django_db
Attempt = ProvisioningAttempt.Status
BUNDLE = "esim_1GB_7D_FR_V2"
LONG = timedelta(minutes=30)


def later(**delta: float) -> Any:
    """Move the clock on."""
    return time_machine.travel(timezone.now() + timedelta(**delta))


def moves_of(order: Order) -> list[str]:
    return [event.after for event in order.events.filter(kind="move")]


def state_of(order: Order) -> tuple[str, str]:
    order.refresh_from_db()
    return order.status, order.cause


def prove_absent(*, minutes: float = 11) -> None:
    """Two look-ups after the window, seconds apart."""
    with later(minutes=minutes):
        sweep()
    with later(minutes=minutes, seconds=6):
        sweep()


def buy_in_portal(bundle: str = BUNDLE) -> dict[str, Any]:
    """An order of our account that the shop knows nothing of."""
    body = {
        "type": "transaction",
        "assign": True,
        "order": [{"type": "bundle", "quantity": 1, "item": bundle}],
    }
    answer = requests.post(
        f"{django_settings.ESIMGO_BASE_URL}/orders",
        json=body,
        headers={"X-API-Key": django_settings.ESIMGO_API_KEY},
        timeout=5,
    )
    answer.raise_for_status()
    return dict(answer.json())


# Found


AFTER_WORK = [
    {"kind": "timeout_after_work", "seconds": 4},
    {"kind": "status", "status": 500, "after_work": True},
    {"kind": "status", "status": 503, "after_work": True},
    {"kind": "drop_after_work"},
    {"kind": "half_json"},
    {"kind": "cut"},
    {"kind": "html"},
    {"kind": "html", "status": 400},
    {"kind": "empty"},
    {"kind": "malformed"},
]


@pytest.mark.parametrize("fault", AFTER_WORK, ids=lambda fault: " ".join(str(value) for value in fault.values()))
def test_what_was_bought_is_adopted_and_not_bought_again(
    sandbox: SandboxControl, order: Order, fault: dict[str, Any]
) -> None:
    sandbox.fail("esimgo.POST /orders", **fault)
    provision_order(str(order.pk))
    wait_until(lambda: sandbox.calls("esimgo.POST /orders") == 1)  # a call that hangs is counted at its end
    assert state_of(order) == ("provisioning", "")
    assert order.attempts.get().status == Attempt.OPEN
    sweep()  # not before its window
    assert sandbox.calls("esimgo.GET /orders") == 0
    with later(seconds=11):
        sweep()
    assert state_of(order) == ("completed", "")
    (bought,) = sandbox.orders()
    attempt = order.attempts.get()
    assert (attempt.status, attempt.reference) == (Attempt.PLACED, bought["orderReference"])
    assert attempt.cost_usd == Decimal("1.15")
    assert order.esims.get().iccid == bought["order"][0]["iccids"][0]
    assert moves_of(order) == ["provisioning", "completed"]
    assert "adopted" in order.events.get(after="completed").reason
    assert sandbox.calls("esimgo.POST /orders") == 1
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_a_listing_without_esims_or_with_another_status_is_adopted_and_its_esim_fetched_later(
    sandbox: SandboxControl, order: Order
) -> None:
    sandbox.post("/sandbox/settings", {"esims_in_order": False})
    sandbox.fail("esimgo.POST /orders", "drop_after_work")
    provision_order(str(order.pk))
    sandbox.fail("esimgo.GET /esims/assignments", "status", status=503)
    with later(seconds=11):
        sweep()
    assert state_of(order) == ("provisioning", "")
    assert order.attempts.get().status == Attempt.PLACED
    with later(seconds=20):
        sweep()
    assert state_of(order) == ("completed", "")


def test_a_worker_killed_while_it_was_buying_is_looked_up(sandbox: SandboxControl, plan: Plan) -> None:
    order = paid_order(sandbox, plan=plan, status="provisioning", lease_until=timezone.now() + timedelta(seconds=30))
    order.attempts.create(bundle_name=plan.bundle_name)
    bought = buy_in_portal()
    provision_order(str(order.pk))
    assert state_of(order)[0] == "provisioning"
    with later(seconds=31):
        sweep()
    assert state_of(order) == ("completed", "")
    assert order.attempts.get().reference == bought["orderReference"]
    assert len(sandbox.orders()) == 1


def test_a_top_up_is_found_by_its_esim(sandbox: SandboxControl, plan: Plan, order: Order) -> None:
    provision_order(str(order.pk))
    top_up = paid_order(sandbox, plan=plan, top_up_esim=order.esims.get())
    other = paid_order(sandbox, plan=plan, user_id=ANNA)
    for each in (other, top_up):
        sandbox.fail("esimgo.POST /orders", "drop_after_work")
        provision_order(str(each.pk))
    with later(seconds=11):
        sweep()
    assert (state_of(top_up)[0], state_of(other)[0]) == ("completed", "completed")
    references = {row["order"][0]["iccids"][0]: row["orderReference"] for row in sandbox.orders()[1:]}
    assert top_up.attempts.get().reference == references[order.esims.get().iccid]
    assert order.esims.get().order == order
    assert len(sandbox.orders()) == 3


def test_unknowns_of_one_bundle_adopt_oldest_to_oldest(sandbox: SandboxControl, plan: Plan) -> None:
    orders = [paid_order(sandbox, plan=plan, user_id=user_id) for user_id in (BEN, ANNA, BEN)]
    for number, order in enumerate(orders):
        sandbox.fail("esimgo.POST /orders", "drop_after_work" if number != 1 else "drop")
        provision_order(str(order.pk))
    assert len(sandbox.orders()) == 2
    with later(seconds=11):
        provision_order(str(orders[2].pk))  # whoever looks first looks for all
        listed = sandbox.calls("esimgo.GET /orders")
        run_tasks()
        sweep()
    first, second = sorted(sandbox.orders(), key=lambda row: row["createdDate"])
    assert [order.attempts.get().reference for order in orders] == [
        first["orderReference"],
        second["orderReference"],
        None,
    ]
    assert [state_of(order)[0] for order in orders] == ["completed", "completed", "provisioning"]
    assert listed == 1
    prove_absent()
    assert state_of(orders[2]) == ("refunded", "unreachable")
    assert len(sandbox.refunds()) == 1


def test_what_was_bought_for_an_order_that_is_closed_by_now_is_adopted_by_none(
    sandbox: SandboxControl, plan: Plan
) -> None:
    closed, waiting = (paid_order(sandbox, plan=plan, user_id=user_id) for user_id in (ANNA, BEN))
    sandbox.fail("esimgo.POST /orders", "drop_after_work")
    provision_order(str(closed.pk))
    Order.objects.filter(pk=closed.pk).update(status="refunded")  # a lead would not wait
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(waiting.pk))
    with later(seconds=11):
        sweep()
    prove_absent()
    assert state_of(waiting) == ("refunded", "unreachable")
    assert state_of(closed)[0] == "refunded"
    assert closed.attempts.get().status == Attempt.OPEN
    assert not Esim.objects.exists()


def test_a_purchase_of_another_bundle_or_of_another_time_is_not_adopted(sandbox: SandboxControl, order: Order) -> None:
    buy_in_portal("esim_1GB_7D_TR_V2")
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(order.pk))
    ProvisioningAttempt.objects.update(started_at=timezone.now() - timedelta(minutes=3))
    buy_in_portal()
    with later(seconds=11):
        sweep()
    assert state_of(order) == ("provisioning", "")
    assert order.attempts.get().status == Attempt.OPEN


# Not found


def test_nothing_in_two_look_ups_after_the_window_is_refunded(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(order.pk))
    for minutes in (1, 3, 6, 9.9):
        with later(minutes=minutes):
            sweep()
        assert order.attempts.get().empty_look_ups == 0
    with later(minutes=11):
        sweep()
        sweep()  # the second look-up is not due at once
        assert order.attempts.get().empty_look_ups == 1
        assert state_of(order) == ("provisioning", "")
    with later(minutes=11, seconds=6):
        sweep()
    assert state_of(order) == ("refunded", "unreachable")
    assert order.attempts.get().status == Attempt.ABSENT
    assert moves_of(order) == ["provisioning", "refunding", "refunded"]
    assert sandbox.orders() == []
    assert len(sandbox.refunds()) == 1
    assert "We returned 130 Stars" in sandbox.chat(BEN)[-1]["text"]


def test_what_is_proven_absent_is_bought_once_more_while_there_is_time(sandbox: SandboxControl, plan: Plan) -> None:
    order = paid_order(sandbox, plan=plan, promise_at=timezone.now() + LONG)
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(order.pk))
    prove_absent()
    assert state_of(order) == ("completed", "")
    assert [attempt.status for attempt in order.attempts.all()] == [Attempt.ABSENT, Attempt.PLACED]
    assert moves_of(order) == ["provisioning", "paid", "provisioning", "completed"]
    assert len(sandbox.orders()) == 1


def test_a_second_unknown_goes_to_a_person_at_once_and_is_still_looked_up(sandbox: SandboxControl, plan: Plan) -> None:
    order = paid_order(sandbox, plan=plan, promise_at=timezone.now() + LONG)
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(order.pk))
    sandbox.fail("esimgo.POST /orders", "drop_after_work")
    prove_absent()
    assert state_of(order) == ("needs_attention", "outcome_unknown")
    assert Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).count() == 1
    assert "a person is on it" in sandbox.chat(BEN)[-1]["text"]
    with later(minutes=13):
        sweep()
    assert state_of(order) == ("completed", "")
    assert not Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).exists()
    assert len(sandbox.orders()) == 1
    assert sandbox.refunds() == []


def test_a_second_unknown_that_is_proven_absent_is_refunded_by_the_clock(sandbox: SandboxControl, plan: Plan) -> None:
    order = paid_order(sandbox, plan=plan, promise_at=timezone.now() + LONG)
    sandbox.fail("esimgo.POST /orders", "drop", times=2)
    provision_order(str(order.pk))
    prove_absent()
    assert state_of(order) == ("needs_attention", "outcome_unknown")
    with later(minutes=23):
        sweep()
    with later(minutes=25):
        sweep()
    assert state_of(order) == ("refunded", "unreachable")
    assert order.events.get(after="refunding").actor == "clock"
    assert not Alert.objects.filter(cleared_at=None).exists()
    assert sandbox.calls("esimgo.POST /orders") == 2


def test_a_look_up_that_is_not_complete_proves_nothing(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(order.pk))
    sandbox.fail("esimgo.GET /orders", "status", status=500, times=None)
    for minutes in (1, 11, 11.2, 11.4, 13, 14.5):
        with later(minutes=minutes):
            sweep()
    attempt = order.attempts.get()
    assert (attempt.status, attempt.empty_look_ups) == (Attempt.OPEN, 0)
    assert "look-up" in attempt.error
    assert state_of(order) == ("provisioning", "")
    with later(minutes=15.1):
        sweep()
    assert state_of(order) == ("needs_attention", "outcome_unknown")
    assert order.events.get(after="needs_attention").actor == "clock"
    assert Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).count() == 1
    assert sandbox.refunds() == []
    sandbox.heal()
    for minutes in (17, 19):
        with later(minutes=minutes):
            sweep()
    assert state_of(order) == ("refunded", "unreachable")


def test_stars_that_telegram_took_back_meanwhile_buy_nothing_any_more(sandbox: SandboxControl, plan: Plan) -> None:
    order = paid_order(sandbox, plan=plan, promise_at=timezone.now() + LONG)
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(order.pk))
    Payment.objects.update(status=Payment.Status.REFUNDED)
    prove_absent()
    assert state_of(order)[0] == "refunded"
    assert sandbox.orders() == []


# A person decides


def test_a_purchase_in_the_portal_beside_ours_goes_to_a_person(sandbox: SandboxControl, order: Order) -> None:
    sandbox.fail("esimgo.POST /orders", "drop_after_work")
    provision_order(str(order.pk))
    foreign = buy_in_portal()
    with later(seconds=11):
        sweep()
    assert state_of(order) == ("needs_attention", "several_matches")
    assert Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).count() == 1
    # Somebody sorts the other one out: the rest fits.
    Orphan.objects.create(reference=foreign["orderReference"], status=Orphan.Status.WRITTEN_OFF)
    with later(minutes=2):
        sweep()
    assert state_of(order) == ("completed", "")
    assert not Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).exists()


def test_an_order_with_a_person_whose_refund_was_refused_is_left_alone(sandbox: SandboxControl, plan: Plan) -> None:
    order = OrderFactory(plan=plan, status="needs_attention", cause="refund_refused", next_try_at=None)
    for minutes in (1, 60, 600):
        with later(minutes=minutes):
            provision_order(str(order.pk))
            sweep()
    assert state_of(order) == ("needs_attention", "refund_refused")
    assert sandbox.calls("esimgo.GET /orders") == 0


def test_an_esim_that_comes_after_the_promise_is_delivered_all_the_same(sandbox: SandboxControl, order: Order) -> None:
    sandbox.post("/sandbox/settings", {"esims_in_order": False})
    sandbox.fail("esimgo.GET /esims/assignments", "status", status=503, times=None)
    provision_order(str(order.pk))
    with later(minutes=16):
        sweep()
    assert state_of(order) == ("needs_attention", "no_esim_data")
    sandbox.heal()
    with later(minutes=18):
        sweep()
    assert state_of(order) == ("completed", "")
    assert not Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).exists()
    assert len(sandbox.orders()) == 1


# What fits


NOW = timezone.now()


def placed(reference: str = "ref", *, seconds: float | None = 1, **changes: Any) -> PlacedOrder:
    fields: dict[str, Any] = {
        "reference": reference,
        "status": "completed",
        "item_type": "bundle",
        "bundle_name": BUNDLE,
        "quantity": 1,
        "iccids": (),
        "esims": (),
        "total_usd": Decimal("1.15"),
        "currency": "USD",
        "created_at": None if seconds is None else NOW + timedelta(seconds=seconds),
        "balance_usd": None,
        "source_ip": "",
        **changes,
    }
    return PlacedOrder(**fields)


def open_attempts(*seconds: float, **order: Any) -> list[ProvisioningAttempt]:
    plan = Plan.objects.filter(bundle_name=BUNDLE).first() or PlanFactory(bundle_name=BUNDLE)
    return [
        OrderFactory(plan=plan, paid=True, **order).attempts.create(
            bundle_name=BUNDLE, started_at=NOW + timedelta(seconds=each)
        )
        for each in seconds
    ]


def found_by(attempts: list[ProvisioningAttempt], *listed: PlacedOrder) -> tuple[list[str | None], list[bool]]:
    """The reference that each attempt gets, and whether it is ambiguous."""
    matches = match_orders(attempts, unlinked_orders(listed))
    return (
        [matches.adopted[each.pk].reference if each.pk in matches.adopted else None for each in attempts],
        [each.pk in matches.ambiguous for each in attempts],
    )


@pytest.mark.parametrize(
    "other",
    [
        {"item_type": "topup"},
        {"item_type": "bundleAssignment"},
        {"bundle_name": "esim_1GB_7D_TR_V2"},
        {"quantity": 2},
        {"seconds": -90},
        {"seconds": 200},
        {"iccids": ("8944538000000000001",)},
    ],
    ids=str,
)
def test_what_does_not_fit_is_not_adopted(settings: Any, other: dict[str, Any]) -> None:
    settings.ESIMGO_TIMEOUT = 30
    EsimFactory(iccid="8944538000000000001", order__plan__bundle_name="esim_5GB_30D_FR_V2")
    assert found_by(open_attempts(0), placed(**other)) == ([None], [False])
    assert found_by(open_attempts(0), placed()) == (["ref"], [False])


@pytest.mark.parametrize("fits", [{"status": "pending"}, {"seconds": -30}, {"seconds": 90}, {"iccids": ("1" * 19,)}])
def test_what_fits_is_adopted_whatever_its_status(settings: Any, fits: dict[str, Any]) -> None:
    settings.ESIMGO_TIMEOUT = 30
    assert found_by(open_attempts(0), placed(**fits)) == (["ref"], [False])


def test_an_order_that_an_attempt_of_ours_has_is_nobody_elses(db: None) -> None:
    (attempt,) = open_attempts(0)
    for number, status in enumerate([Attempt.PLACED, Attempt.REVOKED]):
        OrderFactory(plan=attempt.order.plan, status="completed").attempts.create(
            bundle_name=BUNDLE, status=status, reference=f"ref{number}"
        )
    assert found_by([attempt], placed("ref0"), placed("ref1")) == ([None], [False])


def test_only_attempts_that_may_have_placed_the_same_orders_are_looked_up_together(settings: Any) -> None:
    settings.ESIMGO_TIMEOUT = 30
    attempts = open_attempts(0, 100, 250, 3600, 7200)
    assert attempts_beside(attempts[1]) == attempts[:3]
    assert attempts_beside(attempts[3]) == [attempts[3]]
    assert attempts_beside(attempts[4]) == [attempts[4]]


def test_of_two_attempts_far_apart_each_gets_what_its_time_allows(settings: Any) -> None:
    settings.ESIMGO_TIMEOUT = 30
    attempts = open_attempts(0, 300)
    assert found_by(attempts, placed("late", seconds=301)) == ([None, "late"], [False, False])
    assert found_by(attempts, placed("late", seconds=301), placed("early", seconds=2)) == (
        ["early", "late"],
        [False, False],
    )


def test_more_orders_than_attempts_are_ambiguous_for_all_they_may_belong_to(settings: Any) -> None:
    settings.ESIMGO_TIMEOUT = 30
    attempts = open_attempts(0, 300)
    assert found_by(attempts, placed("a"), placed("b", seconds=2)) == ([None, None], [True, False])


@pytest.mark.parametrize("doubt", [{"source_ip": "203.0.113.9"}, {"seconds": None}])
def test_an_order_in_doubt_is_adopted_by_nobody_but_holds_up_who_has_none(db: None, doubt: dict[str, Any]) -> None:
    attempts = open_attempts(0)
    OrderFactory(plan=attempts[0].order.plan, status="completed").attempts.create(
        bundle_name=BUNDLE, status=Attempt.PLACED, reference="earlier", source_ip="198.51.100.7"
    )
    assert found_by(attempts, placed(**doubt)) == ([None], [True])
    own = placed("own", seconds=2, source_ip="198.51.100.7")
    assert found_by(attempts, placed(**doubt), own) == (["own"], [False])


def test_a_top_up_takes_only_what_names_its_esim(db: None) -> None:
    esim = EsimFactory(iccid="8944538000000000001", order__plan__bundle_name="esim_5GB_30D_FR_V2")
    attempts = open_attempts(0, top_up_esim=esim)
    assert found_by(attempts, placed(iccids=("8944538000000000002",))) == ([None], [False])
    assert found_by(attempts, placed(iccids=(esim.iccid,))) == (["ref"], [False])
    assert found_by(attempts, placed()) == ([None], [True])
