"""Buying again, after a person or a restored backup: what was bought already is found first."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from catalog.models import Plan
from esimshop.clients.esimgo import esimgo_client
from esimshop.models import Alert
from orders.models import Order, ProvisioningAttempt
from orders.services.fulfilment import mark_order_paid, provision_order
from orders.services.reprovisioning import ReprovisionRefused, reprovision_order
from payments.models import Payment
from tests.factories import OrderFactory
from tests.orders.conftest import paid_order
from tests.orders.test_look_ups import buy_in_portal, later, moves_of, state_of
from tests.outside import ANNA, SandboxControl, run_tasks, sweep

pytestmark = pytest.mark.django_db
Attempt = ProvisioningAttempt.Status


def restored(sandbox: SandboxControl, plan: Plan, **fields: Any) -> Order:
    """A paid order of which a restored backup may have forgotten the purchase."""
    return paid_order(sandbox, plan=plan, look_up_from=timezone.now() - timedelta(hours=1), **fields)


def iccid_of(bought: dict[str, Any]) -> str:
    return str(bought["order"][0]["iccids"][0])


# A restored backup


def test_a_payment_can_ask_for_a_look_up_before_anything_is_bought(sandbox: SandboxControl, plan: Plan) -> None:
    order = OrderFactory(plan=plan)
    since = timezone.now() - timedelta(hours=2)
    mark_order_paid(order, promise_at=timezone.now(), actor="telegram", reason="charge", look_up_from=since)
    order.refresh_from_db()
    assert (order.status, order.look_up_from) == ("paid", since)


def test_an_esim_that_bears_our_id_is_adopted(sandbox: SandboxControl, plan: Plan) -> None:
    order = restored(sandbox, plan)
    buy_in_portal()
    bought = buy_in_portal()
    esimgo_client().set_customer_ref(iccid=iccid_of(bought), reference=str(order.pk))
    provision_order(str(order.pk))
    assert state_of(order) == ("completed", "")
    assert order.attempts.get().reference == bought["orderReference"]
    assert order.esims.get().iccid == iccid_of(bought)
    assert len(sandbox.orders()) == 2


def test_the_one_purchase_that_nobody_claims_is_adopted(sandbox: SandboxControl, plan: Plan) -> None:
    order = restored(sandbox, plan)
    bought, claimed = buy_in_portal(), buy_in_portal()
    buy_in_portal("esim_1GB_7D_TR_V2")
    esimgo_client().set_customer_ref(iccid=iccid_of(claimed), reference="3f0c1c5e-0000-4000-8000-000000000000")
    provision_order(str(order.pk))
    assert state_of(order) == ("completed", "")
    assert order.attempts.get().reference == bought["orderReference"]
    assert len(sandbox.orders()) == 3


def test_several_that_nobody_claims_go_to_a_person(sandbox: SandboxControl, plan: Plan) -> None:
    order = restored(sandbox, plan)
    _, other = buy_in_portal(), buy_in_portal()
    provision_order(str(order.pk))
    assert state_of(order) == ("needs_attention", "several_matches")
    esimgo_client().set_customer_ref(iccid=iccid_of(other), reference="somebody")
    with later(minutes=2):
        sweep()
    assert state_of(order) == ("completed", "")
    assert len(sandbox.orders()) == 2


def test_where_nothing_was_bought_it_is_bought(sandbox: SandboxControl, plan: Plan) -> None:
    order = restored(sandbox, plan)
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert (order.status, order.look_up_from) == ("completed", None)
    assert len(sandbox.orders()) == 1


def test_a_search_that_fails_buys_nothing(sandbox: SandboxControl, plan: Plan) -> None:
    order = restored(sandbox, plan)
    sandbox.fail("esimgo.GET /orders", "status", status=500)
    provision_order(str(order.pk))
    assert state_of(order) == ("paid", "unreachable")
    assert sandbox.orders() == []
    with later(seconds=15):
        sweep()
    assert state_of(order) == ("completed", "")


def test_what_an_open_attempt_of_another_order_may_have_bought_is_left_to_it(
    sandbox: SandboxControl, plan: Plan
) -> None:
    other = paid_order(sandbox, plan=plan, user_id=ANNA)
    sandbox.fail("esimgo.POST /orders", "drop_after_work")
    provision_order(str(other.pk))
    order = restored(sandbox, plan)
    provision_order(str(order.pk))
    assert state_of(order)[0] == "paid"
    with later(seconds=15):
        sweep()
    assert (state_of(other)[0], state_of(order)[0]) == ("completed", "completed")
    first, second = sorted(sandbox.orders(), key=lambda bought: bought["createdDate"])
    assert other.attempts.get().reference == first["orderReference"]
    assert order.attempts.get().reference == second["orderReference"]


def test_a_forgotten_top_up_is_found_by_its_esim(sandbox: SandboxControl, plan: Plan, order: Order) -> None:
    provision_order(str(order.pk))
    esim = order.esims.get()
    buy_in_portal()
    placed = esimgo_client().place_order(bundle_name=plan.bundle_name, iccid=esim.iccid, started_at=timezone.now())
    top_up = restored(sandbox, plan, top_up_esim=esim)
    provision_order(str(top_up.pk))
    assert state_of(top_up) == ("completed", "")
    assert top_up.attempts.get().reference == placed.reference
    assert len(sandbox.orders()) == 3


# A person


def stopped(sandbox: SandboxControl, plan: Plan, *, cause: str = "outcome_unknown", **fields: Any) -> Order:
    """An order that waits for a person, paid an hour ago."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    return paid_order(
        sandbox,
        plan=plan,
        status="needs_attention",
        cause=cause,
        paid_at=an_hour_ago,
        promise_at=an_hour_ago + timedelta(minutes=15),
        **fields,
    )


def again(order: Order) -> None:
    reprovision_order(str(order.pk), actor="admin:olga", reason="asked by the customer")
    run_tasks()


def test_an_open_attempt_is_looked_up_at_once_and_adopted(sandbox: SandboxControl, plan: Plan) -> None:
    order = stopped(sandbox, plan)
    bought = buy_in_portal()
    order.attempts.create(bundle_name=plan.bundle_name, started_at=timezone.now() - timedelta(seconds=10))
    again(order)
    assert state_of(order) == ("completed", "")
    assert order.attempts.get().reference == bought["orderReference"]
    event = order.events.get(after="provisioning")
    assert (event.actor, event.reason) == ("admin:olga", "asked by the customer (new promise: 15 minutes)")
    assert len(sandbox.orders()) == 1


def test_an_open_attempt_is_bought_again_only_after_two_complete_look_ups(sandbox: SandboxControl, plan: Plan) -> None:
    order = stopped(sandbox, plan)
    order.attempts.create(bundle_name=plan.bundle_name, status=Attempt.ABSENT)
    long_ago = timezone.now() - timedelta(minutes=55)
    order.attempts.create(bundle_name=plan.bundle_name, started_at=long_ago, empty_look_ups=1)
    again(order)
    assert state_of(order)[0] == "provisioning"
    assert sandbox.orders() == []
    with later(seconds=6):
        sweep()
    assert state_of(order) == ("completed", "")
    assert [attempt.status for attempt in order.attempts.all()] == [Attempt.ABSENT, Attempt.ABSENT, Attempt.PLACED]
    assert len(sandbox.orders()) == 1


def test_without_an_open_attempt_an_earlier_purchase_is_searched_for(sandbox: SandboxControl, plan: Plan) -> None:
    order = stopped(sandbox, plan)
    order.attempts.create(bundle_name=plan.bundle_name, status=Attempt.ABSENT)
    bought = buy_in_portal()
    again(order)
    assert state_of(order) == ("completed", "")
    assert order.attempts.get(status=Attempt.PLACED).reference == bought["orderReference"]
    assert len(sandbox.orders()) == 1


def test_what_is_bought_already_is_only_fetched(sandbox: SandboxControl, plan: Plan) -> None:
    order = stopped(sandbox, plan, cause="no_esim_data")
    bought = buy_in_portal()
    order.attempts.create(bundle_name=plan.bundle_name, status=Attempt.PLACED, reference=bought["orderReference"])
    again(order)
    assert state_of(order) == ("completed", "")
    assert len(sandbox.orders()) == 1


def test_an_order_whose_refund_was_refused_can_be_bought_after_all(sandbox: SandboxControl, plan: Plan) -> None:
    order = stopped(sandbox, plan, cause="refund_refused")
    Payment.objects.update(status=Payment.Status.REFUND_FAILED)
    Alert.objects.create(cause=f"order:{order.pk}", text="x")
    again(order)
    assert state_of(order) == ("completed", "")
    assert moves_of(order) == ["provisioning", "completed"]
    assert not Alert.objects.filter(cleared_at=None).exists()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("awaiting_payment", "not paid for"),
        ("expired", "not paid for"),
        ("cancelled", "cancelled"),
        ("paid", "on its way"),
        ("provisioning", "on its way"),
        ("completed", "has its eSIM"),
        ("refunding", "being given back"),
        ("refunded", "were given back"),
    ],
)
def test_only_an_order_that_waits_for_a_person_is_brought_on_its_way(plan: Plan, status: str, why: str) -> None:
    order = OrderFactory(plan=plan, status=status)
    with pytest.raises(ReprovisionRefused, match=why):
        again(order)
    assert state_of(order)[0] == status


@pytest.mark.parametrize("status", ["refunding", "refunded"])
def test_an_order_whose_stars_are_gone_is_not_brought_on_its_way(
    sandbox: SandboxControl, plan: Plan, status: str
) -> None:
    order = stopped(sandbox, plan)
    Payment.objects.update(status=status)
    with pytest.raises(ReprovisionRefused, match="given back"):
        again(order)
    assert state_of(order)[0] == "needs_attention"


# The command


def run_command(*arguments: str) -> str:
    output = StringIO()
    call_command("reprovision_order", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_starts_it_and_says_how_to_watch(sandbox: SandboxControl, plan: Plan) -> None:
    order = stopped(sandbox, plan)
    output = run_command(str(order.pk), "--reason", "it hangs")
    assert "Earlier purchases are searched for" in output
    assert f"/admin/orders/order/{order.pk}/change/" in output
    assert order.events.get().actor == "command:reprovision_order"
    run_tasks()
    assert state_of(order) == ("completed", "")


def test_a_dry_run_says_what_it_would_do_and_does_nothing(sandbox: SandboxControl, plan: Plan) -> None:
    order = stopped(sandbox, plan)
    order.attempts.create(bundle_name=plan.bundle_name)
    assert "unknown outcome" in run_command(str(order.pk), "--reason", "it hangs", "--dry-run")
    assert state_of(order)[0] == "needs_attention"
    assert run_tasks() == []


@pytest.mark.parametrize("order_id", ["nonsense", "00000000-0000-4000-8000-000000000000"])
def test_the_command_knows_no_such_order(db: None, order_id: str) -> None:
    with pytest.raises(CommandError, match="no order"):
        run_command(order_id, "--reason", "x")


def test_the_command_says_why_not(plan: Plan) -> None:
    order = OrderFactory(plan=plan, status="completed")
    with pytest.raises(CommandError, match="has its eSIM"):
        run_command(str(order.pk), "--reason", "x")
