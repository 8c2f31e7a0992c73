"""eSIM Go's books against ours: each purchase that nobody owns is found once, and nothing is bought or refunded."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import requests
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from catalog.models import Plan
from esimshop.clients.esimgo import PlacedOrder, esimgo_client
from esimshop.models import Alert
from orders.models import Delivery, Esim, Order, Orphan, ProvisioningAttempt
from orders.services.fulfilment import provision_order
from orders.services.reconciliation import OrdersReport, ReconciliationFailed, reconcile_orders
from orders.tasks import reconcile_orders_task
from tests.clients.scripted_server import Request, ScriptedServer, answer
from tests.factories import EsimFactory, OrderFactory
from tests.outside import SandboxControl, run_tasks

pytestmark = pytest.mark.django_db
Attempt = ProvisioningAttempt.Status
BUNDLE = "esim_1GB_7D_FR_V2"


def buy(bundle_name: str = BUNDLE) -> PlacedOrder:
    """A purchase that no row of ours knows, as one of the portal or one whose answer was lost."""
    return esimgo_client().place_order(bundle_name=bundle_name, started_at=timezone.now())


def buy_two() -> PlacedOrder:
    """Two eSIMs in one purchase, which our client never makes."""
    body = {"type": "transaction", "assign": True, "order": [{"type": "bundle", "quantity": 2, "item": BUNDLE}]}
    answered = requests.post(
        f"{settings.ESIMGO_BASE_URL}/orders", json=body, headers={"X-API-Key": settings.ESIMGO_API_KEY}, timeout=10
    )
    return esimgo_client().get_order(answered.json()["orderReference"])


def reconcile(**options: Any) -> OrdersReport:
    """Half an hour later, when all has settled."""
    with time_machine.travel(timezone.now() + timedelta(minutes=30)):
        return reconcile_orders(**options)


def run_command(*arguments: str) -> str:
    out = StringIO()
    with time_machine.travel(timezone.now() + timedelta(minutes=30)):
        call_command("reconcile_orders", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def attempt_of(plan: Plan, *, status: str, attempt: str, **fields: Any) -> ProvisioningAttempt:
    """An attempt of a moment ago whose purchase, if there was one, nobody has linked."""
    order = OrderFactory(plan=plan, paid=True, **{"status": status, **fields})
    return ProvisioningAttempt.objects.create(order=order, bundle_name=plan.bundle_name, status=attempt)


def open_alerts() -> list[str]:
    return list(Alert.objects.filter(cleared_at=None).order_by("pk").values_list("cause", flat=True))


# All is well


def test_what_we_bought_and_linked_leaves_nothing_to_a_person(sandbox: SandboxControl, order: Order) -> None:
    provision_order(str(order.pk))
    run_tasks()

    report = reconcile()

    assert not report.needs_person
    assert (report.orders_read, report.esims_read, report.left_to_look_ups) == (1, 1, 0)
    assert (report.unlinked_there, report.unlinked_here, report.repaired) == ([], [], [])
    [row] = report.different_cost
    assert (row.order_id, row.quoted_usd, row.taken_usd, row.is_loss) == (
        order.pk, Decimal("1.3"), Decimal("1.15"), False
    )  # fmt: skip
    assert not Orphan.objects.exists()
    assert open_alerts() == []


# Theirs without ours


def test_a_purchase_that_nobody_owns_is_an_orphan_once_and_told_once(sandbox: SandboxControl, plan: Plan) -> None:
    placed = buy()

    reports = [reconcile(), reconcile()]

    orphan = Orphan.objects.get()
    assert (orphan.reference, orphan.iccid, orphan.bundle_name) == (placed.reference, placed.iccids[0], BUNDLE)
    assert (orphan.total_usd, orphan.placed_at, orphan.order) == (Decimal("1.15"), placed.created_at, None)
    assert [report.new_orphans for report in reports] == [1, 0]
    assert all([row.reference for row in report.unlinked_there] == [placed.reference] for report in reports)
    assert all(report.needs_person for report in reports)
    alert = Alert.objects.get()
    assert (alert.cause, alert.path) == (f"orphan:{orphan.pk}", f"/admin/orders/orphan/{orphan.pk}/change/")
    assert len(sandbox.orders()) == 1
    assert sandbox.refunds() == []


def test_many_orphans_at_once_are_told_in_one_alert(sandbox: SandboxControl) -> None:
    for _ in range(11):
        buy()

    reconcile()
    reconcile()

    assert Orphan.objects.count() == 11
    assert open_alerts() == ["orphans"]


def test_a_purchase_that_a_look_up_may_still_adopt_is_no_orphan(sandbox: SandboxControl, plan: Plan) -> None:
    attempt_of(plan, status=Order.Status.PROVISIONING, attempt=Attempt.OPEN)
    buy()

    report = reconcile()

    assert (report.left_to_look_ups, report.unlinked_there) == (1, [])
    assert not report.needs_person
    assert not Orphan.objects.exists()


def test_a_purchase_that_an_order_without_history_looks_for_is_no_orphan(sandbox: SandboxControl, plan: Plan) -> None:
    OrderFactory(plan=plan, paid=True, look_up_from=timezone.now() - timedelta(hours=1))
    buy()
    buy("esim_1GB_7D_IT_V2")

    report = reconcile()

    assert report.left_to_look_ups == 1
    assert Orphan.objects.get().bundle_name == "esim_1GB_7D_IT_V2"


def test_several_that_fit_one_attempt_are_orphans_of_its_order(sandbox: SandboxControl, plan: Plan) -> None:
    attempt = attempt_of(
        plan, status=Order.Status.NEEDS_ATTENTION, attempt=Attempt.OPEN, cause=Order.Cause.SEVERAL_MATCHES
    )
    buy()
    buy()

    reconcile()

    assert [orphan.order for orphan in Orphan.objects.all()] == [attempt.order, attempt.order]


@pytest.mark.parametrize("difference", ["bundle", "too late for it", "before it"])
def test_an_open_attempt_of_another_bundle_or_time_owns_nothing(
    sandbox: SandboxControl, plan: Plan, difference: str
) -> None:
    attempt = attempt_of(plan, status=Order.Status.PROVISIONING, attempt=Attempt.OPEN)
    minutes = {"too late for it": -5, "before it": 5}.get(difference, 0)
    ProvisioningAttempt.objects.filter(pk=attempt.pk).update(started_at=timezone.now() + timedelta(minutes=minutes))
    buy("esim_1GB_7D_IT_V2" if difference == "bundle" else BUNDLE)

    reconcile()

    assert Orphan.objects.get().order is None


def test_an_orphan_that_an_order_has_taken_since_is_settled(sandbox: SandboxControl, plan: Plan) -> None:
    placed = buy()
    reconcile()
    attempt = attempt_of(plan, status=Order.Status.COMPLETED, attempt=Attempt.OPEN)
    ProvisioningAttempt.objects.update(status=Attempt.PLACED, reference=placed.reference)

    report = reconcile()

    orphan = Orphan.objects.get()
    assert (orphan.status, orphan.order, orphan.decided_by) == (Orphan.Status.ADOPTED, attempt.order, "worker")
    assert report.settled == 1
    assert not report.needs_person
    assert open_alerts() == []


def test_an_order_named_on_the_esim_is_the_probable_one(sandbox: SandboxControl, plan: Plan) -> None:
    order = OrderFactory(plan=plan, paid=True)
    placed = buy()
    esimgo_client().set_customer_ref(iccid=placed.iccids[0], reference=str(order.pk))

    reconcile()

    assert Orphan.objects.get().order == order


def test_what_was_added_to_a_customers_esim_is_no_purchase_of_an_order_for_a_new_one(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    provision_order(str(order.pk))
    run_tasks()
    attempt_of(plan, status=Order.Status.PROVISIONING, attempt=Attempt.OPEN)
    esimgo_client().place_order(bundle_name=BUNDLE, iccid=Esim.objects.get().iccid, started_at=timezone.now())

    report = reconcile()

    assert report.left_to_look_ups == 0
    assert Orphan.objects.get().order is None


# Of an order that was refunded meanwhile


def test_a_late_esim_of_a_refunded_order_is_revoked_where_it_is_taken_back(sandbox: SandboxControl, plan: Plan) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    attempt = attempt_of(plan, status=Order.Status.REFUNDED, attempt=Attempt.ABSENT)
    placed = buy()

    report = reconcile()

    orphan = Orphan.objects.get()
    assert (orphan.status, orphan.order, orphan.decided_by) == (Orphan.Status.REVOKED, attempt.order, "worker")
    assert report.revoked == [placed.reference]
    assert not report.needs_person
    [esim] = sandbox.ledger()["esims"]
    assert [each["fields"]["bundleState"] for each in esim["assignments"]] == ["revoked"]
    attempt.refresh_from_db()
    assert (attempt.status, attempt.reference) == (Attempt.REVOKED, placed.reference)
    assert "revoked the purchase" in attempt.order.events.get().reason
    assert open_alerts() == []
    assert not reconcile().needs_person


def test_a_late_esim_that_is_not_taken_back_is_a_loss_and_never_delivered(sandbox: SandboxControl, plan: Plan) -> None:
    attempt = attempt_of(plan, status=Order.Status.REFUNDED, attempt=Attempt.ABSENT)
    buy()

    report = reconcile()
    reconcile()
    run_tasks()

    orphan = Orphan.objects.get()
    assert (orphan.status, orphan.order) == (Orphan.Status.OPEN, attempt.order)
    assert (orphan.decided_at, orphan.decided_by) == (None, "")
    assert "a loss unless" in orphan.note
    assert report.needs_person
    assert open_alerts() == [f"orphan:{orphan.pk}"]
    [esim] = sandbox.ledger()["esims"]
    assert [each["fields"]["bundleState"] for each in esim["assignments"]] == ["queued"]
    assert not Esim.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    "doubt", ["two for one attempt", "of two eSIMs", "named", "elsewhere", "an order still waits", "refund under way"]
)
def test_a_purchase_that_may_be_somebody_elses_is_not_revoked(sandbox: SandboxControl, plan: Plan, doubt: str) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    attempt_of(plan, status=Order.Status.REFUNDED, attempt=Attempt.ABSENT)
    placed = buy_two() if doubt == "of two eSIMs" else buy()
    match doubt:
        case "two for one attempt":
            buy()
        case "named":
            esimgo_client().set_customer_ref(iccid=placed.iccids[0], reference="of another shop")
        case "elsewhere":
            known = attempt_of(plan, status=Order.Status.COMPLETED, attempt=Attempt.REJECTED)
            ProvisioningAttempt.objects.filter(pk=known.pk).update(source_ip="203.0.113.7")
        case "refund under way":
            Order.objects.update(status=Order.Status.REFUNDING)
        case "an order still waits":
            attempt_of(
                plan, status=Order.Status.NEEDS_ATTENTION, attempt=Attempt.OPEN, cause=Order.Cause.SEVERAL_MATCHES
            )

    report = reconcile()

    assert report.revoked == []
    assert {orphan.status for orphan in Orphan.objects.all()} == {Orphan.Status.OPEN}
    assert sandbox.calls("esimgo.DELETE /esims/{iccid}/bundles/{name}/assignments/{assignment}") == 0


def test_a_late_top_up_of_a_refunded_order_is_revoked_on_its_esim(
    sandbox: SandboxControl, order: Order, plan: Plan
) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    provision_order(str(order.pk))
    run_tasks()
    esim = Esim.objects.get()
    top_up = attempt_of(plan, status=Order.Status.REFUNDED, attempt=Attempt.ABSENT, top_up_esim=esim)
    esimgo_client().place_order(bundle_name=BUNDLE, iccid=esim.iccid, started_at=timezone.now())

    reconcile()

    orphan = Orphan.objects.get()
    assert (orphan.status, orphan.order) == (Orphan.Status.REVOKED, top_up.order)
    [esim_there] = sandbox.ledger()["esims"]
    assert [each["fields"]["bundleState"] for each in esim_there["assignments"]] == ["queued", "revoked"]


def test_a_purchase_of_an_order_that_only_waits_for_its_refund_is_listed(sandbox: SandboxControl, plan: Plan) -> None:
    attempt = attempt_of(
        plan, status=Order.Status.NEEDS_ATTENTION, attempt=Attempt.OPEN, cause=Order.Cause.REFUND_REFUSED
    )
    buy()

    report = reconcile()

    assert report.left_to_look_ups == 0
    assert Orphan.objects.get().order == attempt.order


# Ours without theirs, and what differs


def test_a_purchase_of_ours_that_they_do_not_list_is_told_once_until_it_is_there(
    sandbox: SandboxControl, order: Order
) -> None:
    provision_order(str(order.pk))
    run_tasks()
    reference = order.attempts.get().reference
    order.attempts.update(reference="unheard-of")
    with time_machine.travel(timezone.now() + timedelta(minutes=30)):
        report = reconcile_orders(since=timezone.now() - timedelta(days=1))
        reconcile_orders()

    assert [row.reference for row in report.unlinked_here] == ["unheard-of"]
    assert report.needs_person
    assert "missing_purchase:unheard-of" in open_alerts()
    assert Alert.objects.filter(cause="missing_purchase:unheard-of").count() == 1

    Alert.objects.filter(cause="missing_purchase:unheard-of").update(cause=f"missing_purchase:{reference}")
    order.attempts.update(reference=reference)
    assert reconcile().unlinked_here == []
    assert open_alerts() == []


def test_a_purchase_of_a_moment_ago_is_not_missed_yet(sandbox: SandboxControl, plan: Plan) -> None:
    order = OrderFactory(plan=plan, status=Order.Status.COMPLETED)
    order.attempts.create(bundle_name=BUNDLE, status=Attempt.PLACED, reference="just now")

    assert reconcile_orders().unlinked_here == []


def test_a_purchase_that_its_stars_do_not_pay_for_is_told(sandbox: SandboxControl, order: Order) -> None:
    Order.objects.update(amount_stars=80)
    provision_order(str(order.pk))
    run_tasks()

    report = reconcile()
    reconcile()

    assert [row.is_loss for row in report.different_cost] == [True]
    assert report.needs_person
    assert open_alerts() == [f"loss:{order.attempts.get().reference}"]


def test_an_esim_of_ours_gets_the_reference_that_it_lacks(sandbox: SandboxControl, order: Order) -> None:
    provision_order(str(order.pk))
    Esim.objects.update(referenced_at=timezone.now())

    report = reconcile()

    [esim] = sandbox.ledger()["esims"]
    assert esim["customerRef"] == str(order.pk)
    assert [(row.order_id, row.error) for row in report.repaired] == [(order.pk, "")]
    assert not report.needs_person
    assert reconcile().repaired == []


def test_a_reference_that_cannot_be_written_is_left_to_a_person(sandbox: SandboxControl, order: Order) -> None:
    provision_order(str(order.pk))
    sandbox.fail("esimgo.PUT /esims", "status", status=503, times=None)

    report = reconcile()

    assert "503" in report.repaired[0].error
    assert report.needs_person
    assert Esim.objects.get().referenced_at is None


# Incomplete answers, dry runs, the command and the worker


@pytest.mark.parametrize("kind", ["html", "half_json", "drop", "empty", "status"])
@pytest.mark.parametrize("call", ["GET /orders", "GET /esims"])
def test_an_answer_that_is_not_whole_changes_nothing(sandbox: SandboxControl, call: str, kind: str) -> None:
    buy()
    sandbox.fail(f"esimgo.{call}", kind, times=None)

    with pytest.raises(ReconciliationFailed):
        reconcile()
    with pytest.raises(CommandError, match="Nothing was changed"):
        run_command()

    assert not Orphan.objects.exists()
    assert open_alerts() == []


def test_a_dry_run_finds_the_same_and_writes_nothing(sandbox: SandboxControl, plan: Plan, order: Order) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    provision_order(str(order.pk))
    attempt_of(plan, status=Order.Status.REFUNDED, attempt=Attempt.ABSENT)
    placed = buy()
    OrderFactory(plan=plan, status=Order.Status.COMPLETED).attempts.create(
        bundle_name=BUNDLE, status=Attempt.PLACED, reference="unheard-of"
    )
    Order.objects.update(amount_stars=80)

    report = reconcile(dry_run=True)

    assert [(row.reference, row.orphan_id) for row in report.unlinked_there] == [(placed.reference, None)]
    assert [row.reference for row in report.unlinked_here] == ["unheard-of"]
    assert [row.order_id for row in report.repaired] == [order.pk]
    assert not Orphan.objects.exists()
    assert open_alerts() == []
    assert {esim["customerRef"] for esim in sandbox.ledger()["esims"]} == {""}
    assert sandbox.calls("esimgo.DELETE /esims/{iccid}/bundles/{name}/assignments/{assignment}") == 0


def test_the_command_prints_tables_and_a_verdict_and_exits_by_it(sandbox: SandboxControl, order: Order) -> None:
    provision_order(str(order.pk))
    run_tasks()

    assert "0 unlinked there (0 new), 0 unlinked here, 1 of different cost, 0 references repaired" in run_command()

    placed = buy()
    out = StringIO()
    with (
        time_machine.travel(timezone.now() + timedelta(minutes=30)),
        pytest.raises(CommandError, match="left for a person"),
    ):
        call_command("reconcile_orders", "--days", "1", stdout=out, stderr=StringIO())
    assert placed.reference in out.getvalue()


def test_the_command_prints_one_json_object_for_scripts(sandbox: SandboxControl, order: Order) -> None:
    provision_order(str(order.pk))
    run_tasks()

    report = json.loads(run_command("--json"))

    assert (report["needs_person"], report["unlinked_there"], report["dry_run"]) == (False, [], False)
    assert report["different_cost"][0]["taken_usd"] == "1.15"


def test_the_worker_tells_once_that_the_books_cannot_be_read_and_clears_it_after(sandbox: SandboxControl) -> None:
    sandbox.fail("esimgo.GET /orders", "html", times=None)
    reconcile_orders_task(timestamp=0)
    reconcile_orders_task(timestamp=0)
    assert open_alerts() == ["reconcile_orders"]

    sandbox.heal()
    reconcile_orders_task(timestamp=0)
    assert open_alerts() == []


# Books that the sandbox does not write


@pytest.fixture
def books(settings: Any) -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    settings.ESIMGO_BASE_URL = server.url
    yield server
    server.close()


def say(server: ScriptedServer, *, orders: list[Any], esims: list[Any], bundles: list[Any] | None) -> None:
    """Answer each path with its rows; None: it refuses to show them."""

    def step(connection: socket.socket, request: Request) -> None:
        if request.path == "/orders":
            body: Any = {"orders": orders, "pageCount": 1, "rows": len(orders)}
        elif request.path == "/esims":
            body = {"esims": esims, "pageCount": 1, "rows": len(esims)}
        else:
            body = {"bundles": bundles}
        answer(body, status=403 if body == {"bundles": None} else 200)(connection, request)

    server.script = [step]


ICCID = "8944538000000000017"


def esim_row(**changes: Any) -> dict[str, Any]:
    return {"iccid": ICCID, "customerRef": "", "assignedDate": timezone.now().isoformat(), **changes}


@pytest.mark.parametrize("bundles", [[], None])
def test_an_esim_that_no_order_explains_is_an_orphan_by_itself(
    books: ScriptedServer, bundles: list[Any] | None
) -> None:
    say(books, orders=[], esims=[esim_row()], bundles=bundles)

    assert [reconcile().new_orphans, reconcile().new_orphans] == [1, 0]
    orphan = Orphan.objects.get()
    assert (orphan.reference, orphan.iccid) == (None, ICCID)
    assert open_alerts() == [f"orphan:{orphan.pk}"]


def test_an_esim_whose_purchase_is_older_than_the_period_is_an_orphan_by_its_reference(books: ScriptedServer) -> None:
    assignment = {"id": "1", "assignmentReference": "old-order-0", "bundleState": "queued"}
    say(books, orders=[], esims=[esim_row()], bundles=[{"name": BUNDLE, "assignments": [assignment]}])

    reconcile()
    reconcile()

    orphan = Orphan.objects.get()
    assert (orphan.reference, orphan.iccid, orphan.bundle_name) == ("old-order", ICCID, BUNDLE)


@pytest.mark.parametrize("owner", ["attempt", "esim", "too young", "named"])
def test_an_esim_with_an_owner_or_no_time_to_get_one_is_no_orphan(
    books: ScriptedServer, plan: Plan, owner: str
) -> None:
    assignment = {"id": "1", "assignmentReference": "our-order-0", "bundleState": "queued"}
    row = esim_row()
    match owner:
        case "attempt":
            order = OrderFactory(plan=plan, status=Order.Status.PROVISIONING)
            order.attempts.create(bundle_name=BUNDLE, status=Attempt.PLACED, reference="our-order")
        case "esim":
            EsimFactory(iccid=ICCID, order=OrderFactory(plan=plan, status=Order.Status.COMPLETED))
        case "too young":
            row["assignedDate"] = (timezone.now() + timedelta(minutes=25)).isoformat()
        case "named":
            row["customerRef"] = "of another shop"
    say(books, orders=[], esims=[row], bundles=[{"name": BUNDLE, "assignments": [assignment]}])

    reconcile()

    assert not Orphan.objects.exists()


def test_an_order_listed_without_its_esim_explains_it_all_the_same(books: ScriptedServer) -> None:
    listed = {
        "orderReference": "listed",
        "order": [{"type": "bundle", "item": BUNDLE, "quantity": 1}],
        "createdDate": timezone.now().isoformat(),
    }
    assignment = {"id": "1", "assignmentReference": "listed-0", "bundleState": "queued"}
    say(books, orders=[listed], esims=[], bundles=[])
    assert (reconcile().new_orphans, Orphan.objects.get().iccid) == (1, "")

    say(books, orders=[listed], esims=[esim_row()], bundles=[{"name": BUNDLE, "assignments": [assignment]}])
    assert reconcile().new_orphans == 0
    assert (Orphan.objects.get().reference, Orphan.objects.get().iccid) == ("listed", ICCID)


def test_the_esim_of_a_purchase_that_is_looked_up_is_no_orphan_either(books: ScriptedServer, plan: Plan) -> None:
    attempt_of(plan, status=Order.Status.PROVISIONING, attempt=Attempt.OPEN)
    listed = {
        "orderReference": "listed",
        "order": [{"type": "bundle", "item": BUNDLE, "quantity": 1}],
        "createdDate": timezone.now().isoformat(),
    }
    assignment = {"id": "1", "assignmentReference": "listed-0", "bundleState": "queued"}
    say(books, orders=[listed], esims=[esim_row()], bundles=[{"name": BUNDLE, "assignments": [assignment]}])

    assert (reconcile().left_to_look_ups, Orphan.objects.count()) == (1, 0)


def test_orders_of_other_kinds_are_counted_and_left_alone(books: ScriptedServer) -> None:
    applied = {
        "orderReference": "applied",
        "order": [{"type": "bundleAssignment", "item": BUNDLE, "quantity": 1, "iccids": [ICCID]}],
        "createdDate": timezone.now().isoformat(),
    }
    say(books, orders=[applied], esims=[esim_row()], bundles=[])

    report = reconcile()

    assert (report.other_items, report.new_orphans, report.needs_person) == (1, 0, False)
