"""A refund whose task breaks in a way that nobody foresaw."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import DatabaseError
from django.urls import reverse
from django.utils import timezone

from esimshop.models import Alert
from payments.models import Payment, Refund
from payments.tasks import perform_refund_task
from tests.outside import ANNA, SandboxControl, broken_table, payment_update, send_update
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db


def test_it_is_told_once_with_a_page_to_open_and_done_when_it_is_mended(sandbox: SandboxControl) -> None:
    extra = payment_update(invoiced_order(), user_id=ANNA)
    sandbox.charge(extra)
    send_update(extra)
    refund = Refund.objects.get()
    for minutes in (0, 5):
        with (
            time_machine.travel(timezone.now() + timedelta(minutes=minutes)),
            broken_table("payments_paymentevent"),
            pytest.raises(DatabaseError),
        ):
            perform_refund_task(refund_id=refund.pk)
    alert = Alert.objects.get(cause=f"refund:{refund.pk}", cleared_at=None)
    assert alert.path == reverse("admin:payments_refund_change", args=[refund.pk])
    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        perform_refund_task(refund_id=refund.pk)
    assert Payment.objects.get().status == "refunded"
    assert not Alert.objects.filter(cleared_at=None).exists()
