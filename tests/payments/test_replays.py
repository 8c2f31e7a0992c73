"""`replay_updates` over a mixed history: what is done is not done twice, and what was lost is made good."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.utils import timezone

from orders.models import Customer, Order
from payments.models import Payment, TelegramUpdate
from payments.services.updates import replay_update
from tests.outside import (
    ANNA,
    BEN,
    SandboxControl,
    membership_update,
    message_update,
    payment_update,
    pre_checkout_update,
    refund_update,
    run_tasks,
    send_update,
)
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db


def replay(*arguments: str) -> str:
    output = io.StringIO()
    call_command("replay_updates", *arguments, stdout=output)
    return output.getvalue()


def rows() -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, tasks included."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models(include_auto_created=True)
    }


def test_replaying_a_mixed_history_changes_no_row_and_calls_nobody(sandbox: SandboxControl) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    paid, twice, stranger = payment_update(order), payment_update(order), payment_update(order, user_id=ANNA)
    unknown = payment_update(order, invoice_payload="nobody-knows")
    wrong = payment_update(invoiced_order(plan=order.plan, user_id=7001), total_amount=1)
    gone = payment_update(invoiced_order(plan=order.plan, user_id=7002))
    expired = invoiced_order(
        plan=order.plan,
        user_id=7003,
        status=Order.Status.EXPIRED,
        quote_expires_at=timezone.now() - timedelta(days=1),
    )
    late = payment_update(expired)
    for update in (paid, twice, stranger, unknown, wrong, late, gone):
        sandbox.charge(update)
    for update in (
        message_update("/start"),
        pre_checkout_update(order),
        *(paid, twice, stranger, unknown, wrong, late, gone, paid),
        refund_update(gone),
        refund_update(twice),
        membership_update("kicked"),
        membership_update("member"),
        {"update_id": 1, "poll": {}},
    ):
        assert send_update(update).status_code == 200
        run_tasks()
    assert set(TelegramUpdate.objects.values_list("status", flat=True)) == {"handled"}
    assert Payment.objects.filter(kind="extra", status="refunded").count() == 5
    before, calls = rows(), sandbox.ledger()["calls"]["counts"]
    assert f"{TelegramUpdate.objects.count()} updates, 0 failed" in replay()
    replay()
    assert not run_tasks()
    assert rows() == before
    assert sandbox.ledger()["calls"]["counts"] == calls


def test_a_payment_that_was_lost_after_its_update_is_taken_in_again(sandbox: SandboxControl) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    update = payment_update(order)
    TelegramUpdate.objects.create(
        update_id=update["update_id"], kind="successful_payment", body=update, status=TelegramUpdate.Status.HANDLED
    )
    replay("--id", str(update["update_id"]))
    run_tasks()
    order.refresh_from_db()
    assert order.status == "completed"


def test_an_old_message_does_not_make_the_bot_talk_or_a_customer_blocked(sandbox: SandboxControl) -> None:
    for update in (message_update("/start"), membership_update("kicked"), membership_update("member")):
        send_update(update)
        run_tasks()
    for update in TelegramUpdate.objects.order_by("-pk"):
        replay_update(update.pk)
    assert len(sandbox.chat(BEN)) == 1
    assert not Customer.objects.get(telegram_user_id=BEN).is_bot_blocked


def test_a_dry_run_lists_and_handles_nothing() -> None:
    order = invoiced_order()
    update = payment_update(order)
    TelegramUpdate.objects.create(
        update_id=update["update_id"], kind="successful_payment", body=update, status=TelegramUpdate.Status.FAILED
    )
    assert f"{update['update_id']} successful_payment: failed" in replay("--dry-run")
    assert not Payment.objects.exists()
