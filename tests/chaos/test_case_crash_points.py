"""A process dies at every step between a customer's word and what follows from it: nothing is lost or done twice."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.utils import timezone

from payments.models import Case, Payment, TelegramUpdate
from tests.chaos.test_crash_points import MOST_STEPS, mortal_child, new_order
from tests.factories import CustomerFactory, PlanFactory
from tests.outside import SandboxControl, message_update, payment_update, press_update, run_tasks, send_update, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
FIRST_CUSTOMER = 7_300_000
WAITS = (70, 15, 15, 70, 120, 300)


@pytest.fixture
def shop(sandbox: SandboxControl, settings: Any) -> Iterator[Any]:
    with mortal_child(sandbox, settings) as child:
        yield child


def die_and_restart(shop: Any, update: Any, step: int, *, is_settled: Callable[[], bool]) -> str | None:
    """Let a process take the update and die at a step, and another one go on. Returns the step, None where it lived."""
    lived = shop(update, step)
    if not lived["is_answered"]:
        assert send_update(update).status_code == 200
    run_tasks()
    now = timezone.now()
    for wait in WAITS:
        if is_settled():
            break
        now += timedelta(seconds=wait)
        with time_machine.travel(now, tick=True):
            sweep()
    return lived["step"]  # type: ignore[no-any-return]


def test_a_message_to_staff_is_kept_once(shop: Any, sandbox: SandboxControl) -> None:
    ends = []
    for step in range(1, MOST_STEPS):
        customer = CustomerFactory(telegram_user_id=FIRST_CUSTOMER + step)
        sandbox.post("/sandbox/users", {"id": customer.telegram_user_id, "first_name": "Ben", "started": True})
        case = Case.objects.create(customer=customer, reason="other", wish="help", status="answered")
        update = message_update("still no network", user_id=customer.telegram_user_id)

        died = die_and_restart(shop, update, step, is_settled=lambda update=update: is_handled(update))  # type: ignore[misc]

        case.refresh_from_db()
        ends.append((died, case.status, list(case.messages.values_list("text", flat=True))))
        assert len(sandbox.chat(customer.telegram_user_id)) <= 1, ends
        if died is None:
            break

    assert len(ends) > 8, ends
    assert {(status, *texts) for _, status, texts in ends} == {("open", "still no network")}, ends


def is_handled(update: Any) -> bool:
    return TelegramUpdate.objects.filter(update_id=update["update_id"], status="handled").exists()


def test_an_instant_refund_ends_with_the_stars_or_with_staff_and_never_with_both(
    shop: Any, sandbox: SandboxControl
) -> None:
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    ends = []
    for step in range(1, MOST_STEPS):
        order = new_order(sandbox, plan, number=step)
        bought = payment_update(order)
        sandbox.charge(bought)
        send_update(bought)
        run_tasks()
        payment = Payment.objects.get(order=order)
        refunds_before = len(sandbox.refunds())
        press = press_update(f"ps:o:{payment.pk}:r:u", user_id=payment.payer_id)

        died = die_and_restart(
            shop,
            press,
            step,
            is_settled=lambda pk=payment.pk: Case.objects.filter(payment=pk, status="closed").exists(),
        )  # type: ignore[misc]

        payment.refresh_from_db()
        case = Case.objects.get(payment=payment)
        order.refresh_from_db()
        attempts = list(order.attempts.values_list("status", flat=True))
        refunds = len(sandbox.refunds()) - refunds_before
        ends.append((died, case.status, payment.status, order.status, *attempts, refunds))
        if died is None:
            break

    seen = "\n".join(map(str, ends))
    assert len(ends) > 15, seen
    assert {end[1:] for end in ends} == {("closed", "refunded", "refunded", "revoked", 1)}, seen
