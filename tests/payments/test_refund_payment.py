"""`manage.py refund_payment`: the same refund as the admin's, with words and exit codes."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command

from orders.models import Order
from payments.models import Payment, Refund
from tests.outside import SandboxControl, payment_update, run_tasks, send_update

pytestmark = pytest.mark.django_db


@pytest.fixture
def payment(sandbox: SandboxControl, order: Order) -> Payment:
    update = payment_update(order)
    sandbox.charge(update)
    send_update(update)
    return Payment.objects.get()


def refund(charge_id: str, **options: Any) -> str:
    written = io.StringIO()
    call_command("refund_payment", charge_id, **{"reason": "asked for", **options}, stdout=written)
    return written.getvalue()


def test_it_returns_the_stars_of_an_order(sandbox: SandboxControl, payment: Payment) -> None:
    assert "130 Stars go back" in refund(payment.charge_id, by="pavel")
    run_tasks()
    made = Refund.objects.get()
    assert (made.status, made.reason, made.requested_by) == ("done", "asked for", "command:refund_payment pavel")
    assert (Order.objects.get().status, len(sandbox.refunds())) == ("refunded", 1)


def test_a_charge_that_is_returned_says_so_and_is_no_error(sandbox: SandboxControl, payment: Payment) -> None:
    refund(payment.charge_id)
    assert "refunding already" in refund(payment.charge_id)
    run_tasks()
    assert "refunded already" in refund(payment.charge_id)
    assert len(sandbox.refunds()) == 1


def test_an_unknown_charge_is_an_error_with_words() -> None:
    with pytest.raises(CommandError, match="No charge stx-nobody is recorded"):
        refund("stx-nobody")


def test_a_delivered_order_needs_force_and_a_leads_name(sandbox: SandboxControl, payment: Payment) -> None:
    run_tasks()
    assert Order.objects.get().status == "completed"
    with pytest.raises(CommandError, match="--force --by"):
        refund(payment.charge_id)
    with pytest.raises(CommandError, match="--by USERNAME"):
        refund(payment.charge_id, force=True)
    user = User.objects.create_user("olga")
    with pytest.raises(CommandError, match="permission"):
        refund(payment.charge_id, force=True, by="olga")
    assert sandbox.refunds() == []
    user.user_permissions.add(Permission.objects.get(codename="refund_delivered"))
    refund(payment.charge_id, force=True, by="olga")
    run_tasks()
    assert (Order.objects.get().status, Refund.objects.get().forced_by) == ("refunded", "olga")
    assert len(sandbox.refunds()) == 1


def test_a_dry_run_returns_nothing(sandbox: SandboxControl, payment: Payment) -> None:
    assert "Would return 130 Stars" in refund(payment.charge_id, dry_run=True)
    assert not Refund.objects.exists()
    run_tasks()
    assert (Order.objects.get().status, sandbox.refunds()) == ("completed", [])
