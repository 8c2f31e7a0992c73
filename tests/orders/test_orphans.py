"""Purchases that nobody owns: adopted, revoked or written off, by whoever decides first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from catalog.models import Plan
from esimshop.clients.esimgo import EsimGoOutcomeUnknown, EsimGoUnreachable, esimgo_client
from esimshop.models import Alert
from orders.models import Delivery, Esim, Order, Orphan, ProvisioningAttempt
from orders.services import orphans
from orders.services.orphans import (
    FoundPurchase,
    OrphanRefused,
    adopt_orphan,
    record_orphan,
    revoke_orphan,
    tell_of_orphan,
    write_off_orphan,
)
from payments.models import Payment
from tests.factories import EsimFactory, OrderFactory, PlanFactory
from tests.orders.conftest import paid_order
from tests.outside import ANNA, SandboxControl, at_once, run_tasks, wait_until

pytestmark = pytest.mark.django_db
Attempt = ProvisioningAttempt.Status
LEAD = "admin:lead"
REVOKE = "DELETE /esims/{iccid}/bundles/{name}/assignments/{assignment}"


def bought(plan: Plan, *, iccid: str | None = None, **changes: Any) -> Orphan:
    """A purchase at the sandbox that no row of ours knows, told to the operators."""
    placed = esimgo_client().place_order(bundle_name=plan.bundle_name, iccid=iccid, started_at=timezone.now())
    values = {
        "reference": placed.reference,
        "iccid": placed.iccids[0],
        "bundle_name": placed.bundle_name,
        "total_usd": placed.total_usd,
        "placed_at": placed.created_at,
    }
    orphan, _ = record_orphan(FoundPurchase(**{**values, **changes}), order=None, note="found in a test")
    tell_of_orphan(orphan)
    return orphan


def stopped(order: Order, *, attempt: str | None = Attempt.OPEN, **fields: Any) -> Order:
    """The order as it waits for a person, with an attempt of that state."""
    values = {"status": Order.Status.NEEDS_ATTENTION, "cause": Order.Cause.OUTCOME_UNKNOWN, **fields}
    Order.objects.filter(pk=order.pk).update(**values)
    order.refresh_from_db()
    if attempt:
        order.attempts.create(bundle_name=order.plan.bundle_name, status=attempt)
    return order


def adopt(orphan: Orphan, order: Order) -> None:
    adopt_orphan(orphan, order=order, actor=LEAD, reason="it is Ben's")


def states(sandbox: SandboxControl) -> list[str]:
    """Of all bundles on all eSIMs at the sandbox."""
    return [each["fields"]["bundleState"] for esim in sandbox.ledger()["esims"] for each in esim["assignments"]]


# Adopting


@pytest.mark.parametrize("attempt", [Attempt.OPEN, Attempt.ABSENT, None])
def test_an_adopted_purchase_completes_the_order(
    sandbox: SandboxControl, order: Order, plan: Plan, attempt: str | None
) -> None:
    orphan = bought(plan)
    stopped(order, attempt=attempt)

    adopt(orphan, order)
    run_tasks()

    order.refresh_from_db()
    orphan.refresh_from_db()
    placed = order.attempts.get(status=Attempt.PLACED)
    assert (placed.reference, placed.cost_usd) == (orphan.reference, orphan.total_usd)
    assert order.attempts.count() == (2 if attempt == Attempt.ABSENT else 1)
    assert (order.status, order.cause) == ("completed", "")
    assert order.esims.get().iccid == orphan.iccid
    assert (orphan.status, orphan.order, orphan.decided_by) == (Orphan.Status.ADOPTED, order, LEAD)
    assert "it is Ben's" in orphan.note
    assert f"adopted the purchase {orphan.reference}: it is Ben's" in [event.reason for event in order.events.all()]
    assert not Alert.objects.filter(cleared_at=None).exists()
    assert len(sandbox.orders()) == 1
    assert order.deliveries.get(kind=Delivery.Kind.ESIM).status == "sent"
    [esim] = sandbox.ledger()["esims"]
    assert esim["customerRef"] == str(order.pk)


def test_an_order_still_looking_for_its_purchase_may_adopt_one(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    orphan = bought(plan)
    stopped(order, status=Order.Status.PROVISIONING, next_try_at=timezone.now() + timedelta(minutes=5))

    adopt(orphan, order)
    run_tasks()

    order.refresh_from_db()
    assert (order.status, order.attempts.get().reference) == ("completed", orphan.reference)


def test_an_esim_known_without_its_purchase_is_adopted_with_it(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    orphan = bought(plan)
    reference, orphan.reference = orphan.reference, None
    orphan.save()
    stopped(order)

    adopt(orphan, order)

    assert order.attempts.get().reference == reference
    assert Orphan.objects.get().reference == reference


@pytest.mark.parametrize("status", ["awaiting_payment", "paid", "completed", "refunding", "refunded", "cancelled"])
def test_an_order_that_waits_for_nothing_adopts_nothing(
    sandbox: SandboxControl, order: Order, plan: Plan, status: str
) -> None:
    orphan = bought(plan)
    stopped(order, status=status, attempt=None)

    with pytest.raises(OrphanRefused, match=f"The order is {status.replace('_', ' ')}"):
        adopt(orphan, order)

    order.refresh_from_db()
    orphan.refresh_from_db()
    assert (order.status, orphan.status, order.attempts.count()) == (status, Orphan.Status.OPEN, 0)


def test_an_order_that_a_worker_has_or_that_buys_later_adopts_nothing(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    orphan = bought(plan)
    stopped(order, status=Order.Status.PROVISIONING, attempt=None)
    with pytest.raises(OrphanRefused, match="waits for no purchase"):
        adopt(orphan, order)

    stopped(order, status=Order.Status.PROVISIONING, lease_until=timezone.now() + timedelta(minutes=1))
    with pytest.raises(OrphanRefused, match="Try again in a minute"):
        adopt(orphan, order)
    assert order.attempts.get().status == Attempt.OPEN


def test_an_order_with_a_purchase_adopts_no_second_one(sandbox: SandboxControl, order: Order, plan: Plan) -> None:
    orphan = bought(plan)
    stopped(order, attempt=None)
    order.attempts.create(bundle_name=plan.bundle_name, status=Attempt.PLACED, reference="the first")

    with pytest.raises(OrphanRefused, match="has a purchase already"):
        adopt(orphan, order)


@pytest.mark.parametrize("status", ["refunding", "refunded"])
def test_an_order_whose_stars_went_back_adopts_nothing(
    sandbox: SandboxControl, order: Order, plan: Plan, status: str
) -> None:
    orphan = bought(plan)
    stopped(order)
    Payment.objects.filter(order=order).update(status=status)

    with pytest.raises(OrphanRefused, match="Stars went back"):
        adopt(orphan, order)
    assert order.attempts.get().status == Attempt.OPEN


def test_a_purchase_of_another_bundle_is_not_adopted(sandbox: SandboxControl, order: Order) -> None:
    orphan = bought(PlanFactory(bundle_name="esim_1GB_7D_IT_V2"))
    stopped(order)

    with pytest.raises(OrphanRefused, match="is for esim_1GB_7D_FR_V2, the purchase is of esim_1GB_7D_IT_V2"):
        adopt(orphan, order)


def test_a_top_up_adopts_only_what_lies_on_its_esim(sandbox: SandboxControl, order: Order, plan: Plan) -> None:
    elsewhere = bought(plan)
    own = EsimFactory(order=OrderFactory(plan=plan, status=Order.Status.COMPLETED), iccid=elsewhere.iccid)
    with pytest.raises(OrphanRefused, match="a customer owns already"):
        adopt(elsewhere, stopped(order))

    Order.objects.filter(pk=order.pk).update(top_up_esim=own)
    with pytest.raises(OrphanRefused, match="tops up another eSIM"):
        adopt(bought(plan), order)
    adopt(bought(plan, iccid=own.iccid), order)
    run_tasks()
    order.refresh_from_db()
    assert order.status == "completed"
    assert Esim.objects.count() == 1


def test_what_is_no_longer_usable_is_not_adopted(sandbox: SandboxControl, order: Order, plan: Plan) -> None:
    orphan = bought(plan)
    sandbox.post(f"/sandbox/esims/{orphan.iccid}", {"bundle_state": "revoked"})
    stopped(order)

    with pytest.raises(OrphanRefused, match="no usable bundle"):
        adopt(orphan, order)


def test_while_esim_go_is_away_nothing_is_adopted(sandbox: SandboxControl, order: Order, plan: Plan) -> None:
    orphan = bought(plan)
    stopped(order)
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "drop", times=None)

    with pytest.raises(EsimGoUnreachable):
        adopt(orphan, order)
    assert order.attempts.get().status == Attempt.OPEN


# Writing off and revoking


def test_a_purchase_written_off_is_closed_and_stays_as_it_is(sandbox: SandboxControl, plan: Plan) -> None:
    orphan = bought(plan)

    write_off_orphan(orphan, actor=LEAD, reason="a test of ours")

    orphan.refresh_from_db()
    assert (orphan.status, orphan.decided_by) == (Orphan.Status.WRITTEN_OFF, LEAD)
    assert orphan.decided_at is not None
    assert states(sandbox) == ["queued"]
    assert not Alert.objects.filter(cleared_at=None).exists()


def test_a_purchase_that_is_taken_back_is_revoked(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    orphan = bought(plan)

    revoke_orphan(orphan, actor=LEAD, reason="bought by mistake")

    orphan.refresh_from_db()
    assert (orphan.status, orphan.decided_by) == (Orphan.Status.REVOKED, LEAD)
    assert "refunded to balance" in orphan.note
    assert states(sandbox) == ["revoked"]


def test_a_purchase_that_would_only_be_destroyed_is_not_revoked(sandbox: SandboxControl, plan: Plan) -> None:
    orphan = bought(plan)

    with pytest.raises(OrphanRefused, match="would not give its price back"):
        revoke_orphan(orphan, actor=LEAD, reason="bought by mistake")

    orphan.refresh_from_db()
    assert (orphan.status, orphan.decided_at, orphan.decided_by) == (Orphan.Status.OPEN, None, "")
    assert states(sandbox) == ["queued"]


def test_a_revocation_whose_answer_is_lost_is_looked_up(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    orphan = bought(plan)
    # The rehearsal passes, the revocation's answer is lost.
    sandbox.fail(f"esimgo.{REVOKE}", "delay", seconds=0)
    sandbox.fail(f"esimgo.{REVOKE}", "drop_after_work")

    revoke_orphan(orphan, actor=LEAD, reason="bought by mistake")

    orphan.refresh_from_db()
    assert orphan.status == Orphan.Status.REVOKED
    assert "its answer was lost" in orphan.note


def test_a_revocation_in_doubt_blocks_other_decisions_until_it_is_known(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    orphan = bought(plan)
    stopped(order)
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "delay", seconds=0)
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "drop")
    sandbox.fail(f"esimgo.{REVOKE}", "delay", seconds=0)
    sandbox.fail(f"esimgo.{REVOKE}", "drop_after_work")
    with pytest.raises(EsimGoOutcomeUnknown):
        revoke_orphan(orphan, actor=LEAD, reason="bought by mistake")

    for decide in (
        lambda: write_off_orphan(orphan, actor=LEAD, reason="a loss"),
        lambda: revoke_orphan(orphan, actor=LEAD, reason="again"),
    ):
        with pytest.raises(OrphanRefused, match="just being revoked"):
            decide()
    with pytest.raises(OrphanRefused, match="no usable bundle"):
        adopt(orphan, order)

    with time_machine.travel(timezone.now() + orphans.REVOKING + timedelta(seconds=1)):
        revoke_orphan(orphan, actor=LEAD, reason="again")
    orphan.refresh_from_db()
    assert (orphan.status, states(sandbox)) == (Orphan.Status.REVOKED, ["revoked"])


@pytest.mark.parametrize("decided", ["adopted", "revoked", "written_off"])
def test_what_is_decided_is_decided(sandbox: SandboxControl, order: Order, plan: Plan, decided: str) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    orphan = bought(plan)
    stopped(order)
    Orphan.objects.filter(pk=orphan.pk).update(status=decided, decided_at=timezone.now(), decided_by="admin:other")

    for decide in (
        lambda: adopt(orphan, order),
        lambda: write_off_orphan(orphan, actor=LEAD, reason="a loss"),
        lambda: revoke_orphan(orphan, actor=LEAD, reason="no"),
    ):
        with pytest.raises(OrphanRefused, match=r"decided already.*admin:other"):
            decide()
    assert states(sandbox) == ["queued"]
    assert order.attempts.get().status == Attempt.OPEN


def test_what_a_look_up_has_found_meanwhile_is_no_orphan_any_more(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    orphan = bought(plan)
    stopped(order)
    owner = OrderFactory(plan=plan, status=Order.Status.COMPLETED)
    owner.attempts.create(bundle_name=plan.bundle_name, status=Attempt.PLACED, reference=orphan.reference)

    for decide in (
        lambda: adopt(orphan, order),
        lambda: write_off_orphan(orphan, actor=LEAD, reason="a loss"),
        lambda: revoke_orphan(orphan, actor=LEAD, reason="no"),
    ):
        with pytest.raises(OrphanRefused, match=f"the purchase of order {owner.pk}"):
            decide()
    assert states(sandbox) == ["queued"]


def test_an_esim_whose_purchase_turns_out_to_be_an_orders_is_not_revoked(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    """The order has not fetched its data yet."""
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    orphan = bought(plan)
    order.attempts.create(bundle_name=plan.bundle_name, status=Attempt.PLACED, reference=orphan.reference)
    Orphan.objects.filter(pk=orphan.pk).update(reference=None)
    orphan.refresh_from_db()

    with pytest.raises(OrphanRefused, match=f"order {order.pk}"):
        revoke_orphan(orphan, actor=LEAD, reason="nobody's")

    orphan.refresh_from_db()
    assert (orphan.status, orphan.decided_at) == (Orphan.Status.OPEN, None)
    assert states(sandbox) == ["queued"]


# Races


def outcome(call: Any) -> Any:
    """A call that returns why it was refused, or None."""

    def run() -> str | None:
        try:
            call()
        except OrphanRefused as error:
            return str(error)
        return None

    return run


@pytest.mark.django_db(transaction=True)
def test_of_twenty_adoptions_at_once_one_succeeds(sandbox: SandboxControl, order: Order, plan: Plan) -> None:
    orphan = bought(plan)
    other = paid_order(sandbox, plan=plan, user_id=ANNA)
    for each in (order, other):
        stopped(each)

    refusals = at_once(*[outcome(lambda each=each: adopt(orphan, each)) for each in (order, other) * 10])

    assert refusals.count(None) == 1
    assert all(refusal is None or "decided already" in refusal or "waits for no" in refusal for refusal in refusals)
    assert ProvisioningAttempt.objects.filter(status=Attempt.PLACED).count() == 1
    assert Order.objects.filter(status=Order.Status.PROVISIONING).count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_adoption_beside_a_look_up_that_finds_the_same_purchase_breaks_nothing(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    for _ in range(5):
        orphan = bought(plan)
        mine, other = (stopped(paid_order(sandbox, plan=plan)) for _ in range(2))

        def look_up(order: Order = other, orphan: Orphan = orphan) -> str:
            """What the worker does with a purchase that fits an open attempt."""
            try:
                order.attempts.filter(status=Attempt.OPEN).update(
                    status=Attempt.PLACED, reference=orphan.reference, finished_at=timezone.now()
                )
            except IntegrityError:
                return "too late"
            return ""

        refusal, late = at_once(outcome(lambda orphan=orphan, mine=mine: adopt(orphan, mine)), look_up)

        assert (refusal is None) == (late == "too late")
        if refusal:
            assert "another attempt's" in refusal or "no orphan any more" in refusal
        placed = ProvisioningAttempt.objects.get(reference=orphan.reference)
        assert placed.order == (mine if refusal is None else other)
        orphan.refresh_from_db()
        assert orphan.status == (Orphan.Status.ADOPTED if refusal is None else Orphan.Status.OPEN)
        mine.refresh_from_db()
        assert mine.status == ("provisioning" if refusal is None else "needs_attention")
        connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_a_purchase_is_not_adopted_and_revoked_both(sandbox: SandboxControl, order: Order, plan: Plan) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    for _ in range(5):
        orphan = bought(plan)
        waiting = stopped(paid_order(sandbox, plan=plan))

        refusals = at_once(
            outcome(lambda orphan=orphan, waiting=waiting: adopt(orphan, waiting)),
            outcome(lambda orphan=orphan: revoke_orphan(orphan, actor=LEAD, reason="no")),
        )

        assert refusals.count(None) == 1
        is_adopted = refusals[0] is None
        [state] = [bundle.state for bundle in esimgo_client().list_bundles_on(orphan.iccid)]
        orphan.refresh_from_db()
        assert (orphan.status, state) == (
            (Orphan.Status.ADOPTED, "queued") if is_adopted else (Orphan.Status.REVOKED, "revoked")
        )
        assert waiting.attempts.get().status == (Attempt.PLACED if is_adopted else Attempt.OPEN)


@pytest.mark.django_db(transaction=True)
def test_an_adoption_waits_for_a_decision_that_is_being_written(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    orphan = bought(plan)
    stopped(order)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Orphan.objects.filter(pk=orphan.pk).update(decided_at=timezone.now(), decided_by="admin:other")
            adoption = pool.submit(in_thread(lambda: adopt(orphan, order)))
            wait_until(someone_waits_for_a_lock)
        refusal = adoption.result(10)

    assert refusal == "It is just being revoked by admin:other."
    assert order.attempts.get().status == Attempt.OPEN


def in_thread(call: Any) -> Any:
    def run() -> Any:
        try:
            return outcome(call)()
        finally:
            connections.close_all()

    return run


def someone_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
