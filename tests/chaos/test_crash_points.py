"""A process dies at every step between the arrival of a payment and the stored delivery: nothing is lost or doubled.

Its steps are counted, not listed, so that a new commit or a new call is a new point without anybody thinking of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.utils import timezone

from catalog.models import Plan
from esimshop.models import Alert
from orders.models import Delivery, Order
from payments.models import Payment, Refund
from tests.e2e.shop import database_url
from tests.factories import PlanFactory
from tests.outside import SandboxControl, payment_update, run_tasks, send_update, sweep
from tests.payments.conftest import invoiced_order

if TYPE_CHECKING:
    from collections.abc import Iterator


PROJECT = Path(__file__).resolve().parents[2]
FIRST_CUSTOMER = 7_100_000
#: More than there are, so that a loop without end is seen.
MOST_STEPS = 200
GOOD = "completed, bought 1, delivered"
#: How far the clock goes on between two looks of the restarted shop, up to the promise and beyond.
WAITS = (15, 15, 30, 60, 60, 120, 240, 300, 300)


@pytest.fixture
def shop(sandbox: SandboxControl, settings: Any) -> Iterator[Any]:
    with mortal_child(sandbox, settings) as child:
        yield child


@contextmanager
def mortal_child(sandbox: SandboxControl, settings: Any) -> Iterator[Any]:
    """A function (update, step) that has a shop handle an update and die at a step; see tests.chaos.mortal_child."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.mortal_child"],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "esimshop.settings",
            "READ_DOT_ENV": "off",
            "DEBUG": "on",
            "ALLOWED_HOSTS": "testserver",
            "DATABASE_URL": database_url(settings.DATABASES["default"]["NAME"]),
            "TELEGRAM_BOT_TOKEN": settings.TELEGRAM_BOT_TOKEN,
            "TELEGRAM_API_BASE_URL": settings.TELEGRAM_API_BASE_URL,
            "TELEGRAM_WEBHOOK_SECRET": settings.TELEGRAM_WEBHOOK_SECRET,
            "ESIMGO_API_KEY": settings.ESIMGO_API_KEY,
            "ESIMGO_BASE_URL": settings.ESIMGO_BASE_URL,
            "ESIMGO_TIMEOUT": str(settings.ESIMGO_TIMEOUT),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        inputs, outputs = process.stdin, process.stdout

        def live_until(update: Any, step: int) -> dict[str, Any]:
            inputs.write(json.dumps({"update": update, "step": step}) + "\n")
            inputs.flush()
            answer: dict[str, Any] = json.loads(outputs.readline())
            return answer

        yield live_until
        inputs.close()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_process_that_dies_at_any_step_loses_nothing_and_buys_nothing_twice(
    shop: Any, sandbox: SandboxControl, settings: Any
) -> None:
    # So that what was not bought is proven absent while enough of the promise is left to buy it once more.
    settings.ESIMGO_LOOK_UP_MINUTES = 1
    plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    ends = []
    for step in range(1, MOST_STEPS):
        order = new_order(sandbox, plan, number=step)
        update = payment_update(order)
        sandbox.charge(update)
        sold_before = len(sandbox.orders())

        lived = shop(update, step)
        restart(update, order, is_answered=lived["is_answered"])

        ends.append((step, lived["step"] or "lived", end_of(order, sandbox, sold=len(sandbox.orders()) - sold_before)))
        if lived["step"] is None:
            break
    seen = "\n".join(f"{step:>3}  {name}: {end}" for step, name, end in ends)
    print(seen)

    assert ends[-1][1:] == ("lived", GOOD), seen
    assert len(ends) > 20, "the steps are not seen any more"
    assert all(is_right(end) for _, _, end in ends), seen


def is_right(end: str) -> bool:
    # A purchase whose outcome is not known stops with a person, who is told.
    return end == GOOD or (end in {f"needs_attention, bought {sold}, alerted" for sold in (0, 1)})


def new_order(sandbox: SandboxControl, plan: Plan, *, number: int) -> Order:
    user_id = FIRST_CUSTOMER + number
    sandbox.post("/sandbox/users", {"id": user_id, "first_name": "Ben", "started": True})
    return invoiced_order(user_id=user_id, plan=plan)


def restart(update: Any, order: Order, *, is_answered: bool) -> None:
    """What comes after the crash: Telegram repeats what was not answered 200, and the clock goes on."""
    if not is_answered:
        assert send_update(update).status_code == 200
    run_tasks()
    now = timezone.now()
    for wait in WAITS:
        if is_settled(order):
            return
        now += timedelta(seconds=wait)
        with time_machine.travel(now, tick=True):
            sweep()


def is_settled(order: Order) -> bool:
    order.refresh_from_db()
    return (
        order.status in {Order.Status.COMPLETED, Order.Status.REFUNDED}
        and not order.deliveries.filter(status=Delivery.Status.PENDING).exists()
        and not Refund.objects.filter(payment__order=order, status=Refund.Status.PENDING).exists()
    )


def end_of(order: Order, sandbox: SandboxControl, *, sold: int) -> str:
    """How it ended, in words; whatever is not as it should be is in them. sold: purchases at the wholesaler for it."""
    order.refresh_from_db()
    words = [order.status, f"bought {sold}"]
    charges = list(Payment.objects.filter(order=order).values_list("kind", "status"))
    if charges != [("order", "paid")]:
        words.append(f"payments {charges}")
    if order.status == Order.Status.COMPLETED and order.esims.count() != 1:
        words.append(f"{order.esims.count()} eSIMs")
    is_delivered = any(message.get("photo") for message in sandbox.chat(order.customer.telegram_user_id))
    if is_delivered:
        words.append("delivered")
    if Alert.objects.filter(cause=f"order:{order.pk}", cleared_at=None).exists():
        words.append("alerted")
    return ", ".join(words)
