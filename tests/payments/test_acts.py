"""Each act of staff beside refunds: what it says beforehand, what it does, and that a second press does nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from catalog.models import Plan, SalesPause
from catalog.services.brake import find_pause, pause_sales
from esimshop.acts import Act, register_act
from esimshop.clients.esimgo import esimgo_client
from esimshop.models import Alert
from orders.models import Delivery, Order, OrderEvent, Orphan
from payments.models import Payment, PreCheckout, TelegramUpdate
from payments.services.sales_watch import watch_sales
from tests.factories import EsimFactory, OrderFactory, PaymentFactory, PlanFactory
from tests.outside import SandboxControl, message_update, payment_update, pre_checkout_update, run_tasks, send_update
from tests.payments.conftest import invoiced_order

if TYPE_CHECKING:
    from django.db.models import Model
    from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client) -> Client:
    """A browser of somebody with every permission."""
    client.force_login(User.objects.create_superuser("lead", password="password"))
    return client


def ask(staff: Client, act: str, *rows: Model) -> str:
    return staff.get(f"/admin/acts/{act}/", {"id": [row.pk for row in rows]}).text


def press(staff: Client, act: str, *rows: Model, **values: object) -> str:
    body = {"id": [row.pk for row in rows], "reason": "the customer asked", **values}
    return staff.post(f"/admin/acts/{act}/", body).text


def queued() -> list[str]:
    return [name.rpartition(".")[2] for name in ProcrastinateJob.objects.values_list("task_name", flat=True)]


def test_two_acts_cannot_have_one_name() -> None:
    class Twin(Act):
        name = "reprovision"

    with pytest.raises(ValueError, match="There is an act reprovision already"):
        register_act(Twin())


# Messages


def completed_order(**delivery: object) -> Order:
    order = OrderFactory(status=Order.Status.COMPLETED, paid_at=timezone.now(), completed_at=timezone.now())
    EsimFactory(order=order, customer=order.customer)
    sent = {"status": Delivery.Status.SENT, "sent_at": timezone.now() - timedelta(minutes=5), **delivery}
    Delivery.objects.create(customer=order.customer, order=order, kind=Delivery.Kind.ESIM, **sent)
    return order


def test_the_qr_code_is_sent_again_once_however_often_it_is_pressed(staff: Client, sandbox: SandboxControl) -> None:
    order = completed_order()

    first, second = press(staff, "resend-esim", order), press(staff, "resend-esim", order)
    run_tasks()
    third = press(staff, "resend-esim", order)

    assert "It is on its way." in first
    assert "It is on its way already." in second
    assert "It was sent a moment ago." in third
    assert len([message for message in sandbox.chat(1002) if "photo" in message]) == 1
    event = order.events.get()
    assert (event.actor, event.reason) == ("admin:lead", "message sent again (esim): the customer asked")


def test_one_who_blocked_the_bot_is_named_as_such_before(staff: Client) -> None:
    assert "had blocked the bot" in ask(staff, "resend-esim", completed_order(status=Delivery.Status.BLOCKED))


def test_any_message_is_sent_again_from_its_own_page(staff: Client, sandbox: SandboxControl) -> None:
    order = completed_order()
    delivery = order.deliveries.get()

    assert "It is on its way." in press(staff, "resend-message", delivery)
    assert "makes no sense any more" in press(staff, "resend-message", delivery)
    run_tasks()

    assert len(sandbox.chat(1002)) == 1


# Unpaid orders


def test_an_unpaid_order_is_cancelled_and_its_customer_told(staff: Client, sandbox: SandboxControl) -> None:
    order = invoiced_order()

    assert "It is cancelled." in press(staff, "cancel-order", order)
    assert "makes no sense any more" in press(staff, "cancel-order", order)
    run_tasks()

    order.refresh_from_db()
    assert order.status == Order.Status.CANCELLED
    assert order.events.filter(kind=OrderEvent.Kind.MOVE).get().actor == "admin:lead"
    [message] = sandbox.chat(1002)
    assert "Your order is cancelled" in message["text"]


def test_stars_for_a_cancelled_order_are_returned(staff: Client, sandbox: SandboxControl) -> None:
    order = invoiced_order()
    press(staff, "cancel-order", order)

    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    run_tasks()

    payment = Payment.objects.get()
    assert (payment.kind, payment.status) == (Payment.Kind.EXTRA, Payment.Status.REFUNDED)
    order.refresh_from_db()
    assert order.status == Order.Status.CANCELLED


def test_a_payment_that_was_approved_a_moment_ago_is_warned_of(staff: Client) -> None:
    order = invoiced_order()
    assert "being paid right now" not in ask(staff, "cancel-order", order)

    PreCheckout.objects.create(query_id="1", order=order)

    assert "being paid right now" in ask(staff, "cancel-order", order)


def test_a_paid_order_cannot_be_cancelled(staff: Client) -> None:
    order = OrderFactory(paid=True)

    assert "makes no sense any more" in press(staff, "cancel-order", order)
    order.refresh_from_db()
    assert order.status == Order.Status.PAID


# Purchases that nobody owns


def waiting_order(plan: Plan) -> Order:
    order = OrderFactory(plan=plan, status=Order.Status.NEEDS_ATTENTION, paid_at=timezone.now())
    PaymentFactory(order=order, customer=order.customer)
    return order


def bought(bundle_name: str) -> Orphan:
    placed = esimgo_client().place_order(bundle_name=bundle_name, started_at=timezone.now())
    return Orphan.objects.create(
        reference=placed.reference,
        iccid=placed.iccids[0],
        bundle_name=placed.bundle_name,
        total_usd=placed.total_usd,
        placed_at=placed.created_at,
    )


def test_an_orphan_is_adopted_by_an_order_that_waits_for_it(staff: Client, sandbox: SandboxControl) -> None:
    plan, other = PlanFactory(bundle_name="esim_1GB_7D_FR_V2"), PlanFactory()
    order, foreign = waiting_order(plan), waiting_order(other)
    orphan = bought(plan.bundle_name)

    page = ask(staff, "adopt-orphan", orphan)
    assert str(order.pk)[:8] in page
    assert str(foreign.pk)[:8] not in page
    assert "Select a valid choice" in press(staff, "adopt-orphan", orphan, order=foreign.pk)
    assert "has it now" in press(staff, "adopt-orphan", orphan, order=order.pk)
    assert "makes no sense in its present state" in press(staff, "adopt-orphan", orphan, order=order.pk)
    run_tasks()

    order.refresh_from_db()
    assert order.status == Order.Status.COMPLETED
    assert len(sandbox.orders()) == 1


def test_where_no_order_waits_nothing_can_be_adopted(staff: Client, sandbox: SandboxControl) -> None:
    PlanFactory(bundle_name="esim_1GB_7D_FR_V2")

    assert "No order waits for a purchase of esim_1GB_7D_FR_V2" in ask(
        staff, "adopt-orphan", bought("esim_1GB_7D_FR_V2")
    )


def test_an_orphan_is_revoked_once(staff: Client, sandbox: SandboxControl) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    orphan = bought("esim_1GB_7D_FR_V2")

    assert "It is revoked." in press(staff, "revoke-orphan", orphan)
    assert "makes no sense any more" in press(staff, "revoke-orphan", orphan)
    orphan.refresh_from_db()
    assert (orphan.status, orphan.decided_by) == (Orphan.Status.REVOKED, "admin:lead")


def test_a_wholesaler_that_does_not_answer_leaves_the_orphan_open(staff: Client, sandbox: SandboxControl) -> None:
    orphan = bought("esim_1GB_7D_FR_V2")
    sandbox.fail("esimgo.GET /esims/{iccid}/bundles", "status", status=503)

    assert "eSIM Go did not say what came of it" in press(staff, "revoke-orphan", orphan)
    orphan.refresh_from_db()
    assert orphan.status == Orphan.Status.OPEN


def test_several_orphans_are_written_off_together(staff: Client) -> None:
    orphans = [Orphan.objects.create(reference=str(number), total_usd=Decimal("1.3")) for number in range(3)]

    assert press(staff, "write-off-orphan", *orphans).count("It is written off.") == 3
    assert set(Orphan.objects.values_list("status", "decided_by")) == {("written_off", "admin:lead")}


# Updates


def test_a_failed_update_is_handled_again(staff: Client) -> None:
    order = invoiced_order()
    body = payment_update(order)
    update = TelegramUpdate.objects.create(
        update_id=body["update_id"], kind="successful_payment", body=body, status=TelegramUpdate.Status.FAILED
    )

    assert "It is handled." in press(staff, "replay-update", update)
    assert "It is handled." in press(staff, "replay-update", update)

    assert Payment.objects.filter(order=order).count() == 1


def test_one_that_fails_again_says_why(staff: Client) -> None:
    update = TelegramUpdate.objects.create(
        update_id=1, kind="successful_payment", body={"message": {}}, status=TelegramUpdate.Status.FAILED
    )

    assert "It failed again: KeyError" in press(staff, "replay-update", update)


def test_a_pre_checkout_is_over(staff: Client) -> None:
    body = pre_checkout_update(invoiced_order())
    update = TelegramUpdate.objects.create(
        update_id=body["update_id"], kind="pre_checkout_query", body=body, status=TelegramUpdate.Status.FAILED
    )

    assert "A pre-checkout is over" in ask(staff, "replay-update", update)
    assert "A pre-checkout is over" in press(staff, "replay-update", update)


def test_a_handled_message_is_not_answered_twice(staff: Client, sandbox: SandboxControl) -> None:
    send_update(message_update("/start"))
    run_tasks()

    assert "makes no sense any more" in press(staff, "replay-update", TelegramUpdate.objects.get())
    assert len(sandbox.chat(1002)) == 1


# The shop


def test_sales_are_paused_by_hand_until_somebody_resumes_them(staff: Client, sandbox: SandboxControl) -> None:
    assert "Sales are paused." in press(staff, "pause-sales")
    assert "makes no sense any more" in press(staff, "pause-sales")
    watch_sales()

    pause = SalesPause.objects.get()
    assert pause.reason == "the customer asked (admin:lead)"
    assert find_pause(Decimal("0.1")) == pause
    alert = Alert.objects.get()
    assert "Press Resume sales" in alert.text
    assert "by themselves" not in alert.text

    assert "This pause is over." in press(staff, "resume-sales", pause)
    assert "makes no sense any more" in press(staff, "resume-sales", pause)
    pause.refresh_from_db()
    assert pause.ended_at
    assert pause.reason.endswith("ended: the customer asked (admin:lead)")
    assert find_pause(Decimal("0.1")) is None
    alert.refresh_from_db()
    assert alert.cleared_at


def test_only_dear_plans_can_be_paused(staff: Client) -> None:
    press(staff, "pause-sales", min_cost_usd="20")

    assert find_pause(Decimal(19)) is None
    assert find_pause(Decimal(20)) is not None


def test_a_pause_that_ends_by_itself_has_no_button(staff: Client) -> None:
    pause_sales(cause=SalesPause.Cause.QUEUE, reason="paid orders wait")
    pause = SalesPause.objects.get()

    assert "makes no sense any more" in press(staff, "resume-sales", pause)
    pause.refresh_from_db()
    assert pause.ended_at is None


@pytest.mark.parametrize(
    ("act", "task"),
    [
        ("sync-catalogue", "sync_catalog_task"),
        ("reconcile-orders", "reconcile_orders_task"),
        ("reconcile-stars", "reconcile_stars_task"),
    ],
)
def test_long_work_is_given_to_the_worker_once(staff: Client, act: str, task: str) -> None:
    assert "the worker" in ask(staff, act).lower()
    assert "act-done" in press(staff, act)
    assert "waits for the worker already" in press(staff, act)

    assert queued() == [task]
    assert LogEntry.objects.get().object_repr == "the shop"


@pytest.mark.parametrize(
    ("address", "label"),
    [
        ("/admin/catalog/salespause/", "Pause sales"),
        ("/admin/catalog/catalogsync/", "Sync the catalogue now"),
        ("/admin/orders/orphan/", "Reconcile with eSIM Go now"),
        ("/admin/payments/startransaction/", "Reconcile with Telegram now"),
    ],
)
def test_an_act_on_the_shop_has_its_button_above_a_list(staff: Client, address: str, label: str) -> None:
    assert label in staff.get(address).text


def test_a_rows_page_has_the_buttons_of_its_state(staff: Client) -> None:
    orphan = Orphan.objects.create(reference="1")
    page = staff.get(f"/admin/orders/orphan/{orphan.pk}/change/").text
    assert all(label in page for label in ("Adopt for an order", "Revoke", "Write off"))

    press(staff, "write-off-orphan", orphan)

    assert "Adopt for an order" not in staff.get(f"/admin/orders/orphan/{orphan.pk}/change/").text
