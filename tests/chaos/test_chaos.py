"""Short runs of the chaos, its schedule, and that its bookkeeping sees what it looks for."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orders.models import Delivery, Order, Orphan, ProvisioningAttempt
from payments.models import Payment
from tests.chaos.books import ZEROS, compare
from tests.chaos.plan import TROUBLES, WAYS, draw_plan
from tests.factories import EsimFactory, OrderFactory, PaymentFactory

PROJECT = Path(__file__).resolve().parents[2]
# So few purchases say nothing about the share that ends with a person.
SHORT = [
    *("--purchases", "14", "--kills", "3", "--rate", "3"),
    *("--settle-seconds", "150", "--look-up-seconds", "0", "--attention-percent", "100"),
]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, pytest.param(secrets.randbelow(10**6), id="random")])
def test_a_short_run_loses_nothing_and_buys_nothing_twice(seed: int) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", str(seed), *SHORT],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "TELEGRAM_BOT_TOKEN": "987654:the-real-token", "DEBUG": "on"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert run.returncode == 0, f"seed {seed}\n{run.stdout}\n{run.stderr}"
    for name in ZEROS:
        assert f"  {name}: 0" in run.stdout, run.stdout


def test_a_seed_is_a_schedule():
    assert draw_plan(seed=7, purchases=40, kills=5) == draw_plan(seed=7, purchases=40, kills=5)
    assert draw_plan(seed=7, purchases=40, kills=5) != draw_plan(seed=8, purchases=40, kills=5)


def test_what_is_left_out_changes_nothing_else():
    whole = draw_plan(seed=7, purchases=200, kills=5)
    part = draw_plan(seed=7, purchases=200, kills=5, leave_out=frozenset({"lose", "twice", "no_balance"}))

    assert [step.kills for step in part] == [step.kills for step in whole]
    assert [step.faults for step in part] == [
        tuple(fault for fault in step.faults if fault["kind"] != "lose") for step in whole
    ]
    assert any(fault["kind"] == "lose" for step in whole for fault in step.faults)
    assert not any(step.way == "twice" or step.trouble == "no_balance" for step in part)


def test_a_long_run_meets_every_fault_on_every_call():
    steps = draw_plan(seed=7, purchases=500, kills=60)

    struck = {(fault["target"], fault["kind"]) for step in steps for fault in step.faults}
    assert {
        ("esimgo.POST /orders", "timeout_after_work"),
        ("esimgo.POST /orders", "kill_worker"),
        ("telegram.refundStarPayment", "half_json"),
        ("webhook.successful_payment", "lose"),
        ("webhook.successful_payment", "reorder"),
    } <= struck
    assert {step.way for step in steps} == set(WAYS)
    assert {step.trouble for step in steps} == set(TROUBLES)
    assert sum(len(step.kills) for step in steps) == 60
    assert {kill.victim for step in steps for kill in step.kills} == {"web", "worker", "server"}


def test_no_refusal_of_a_purchase_hides_one():
    """Both services document that what they answer 4xx was not done: such a fault would accuse the shop falsely."""
    for step in draw_plan(seed=7, purchases=500, kills=0):
        for fault in step.faults:
            refuses = fault["kind"] == "status" and fault["status"] < 500
            assert not (refuses and fault.get("after_work"))
            assert (fault["target"], fault["kind"]) != ("esimgo.POST /orders", "duplicate")


# The books


@pytest.fixture
def paid() -> Payment:
    """A payment whose order is completed, bought once and delivered."""
    order = OrderFactory(status=Order.Status.COMPLETED)
    payment = PaymentFactory(order=order, status=Payment.Status.PAID)
    EsimFactory(order=order, customer=order.customer, iccid="8944538000000000001")
    order.attempts.create(bundle_name=order.plan.bundle_name, status="placed", reference="reference-1")
    order.deliveries.create(customer=order.customer, kind=Delivery.Kind.ESIM, status=Delivery.Status.SENT)
    return payment


def ledger_of(payment: Payment, *references: str, refunds: int = 0) -> dict[str, Any]:
    """The outside world's books: the charge, so many refunds of it, and purchases of its bundle."""
    row = {"id": payment.charge_id, "amount": payment.amount_stars}
    partner = {"transaction_type": "invoice_payment"}
    assert payment.order is not None
    line = {"item": payment.order.plan.bundle_name, "esims": []}
    return {
        "transactions": [{**row, "source": partner}, *[{**row, "receiver": partner}] * refunds],
        "orders": [
            {"orderReference": each, "order": [line], "createdDate": f"{time.gmtime().tm_year}"} for each in references
        ],
        "pending_updates": [],
    }


@pytest.mark.django_db
def test_books_that_agree_have_no_faults(paid: Payment) -> None:
    books = compare(ledger_of(paid, "reference-1"))

    assert books.is_clean, books.faults
    assert books.ends == {"completed": 1}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("lost", lambda paid: Payment.objects.update(charge_id="another")),
        ("lost", lambda paid: Order.objects.update(status="provisioning")),
        ("lost", lambda paid: Payment.objects.update(amount_stars=paid.amount_stars + 1)),
        ("refunds that differ", lambda paid: Payment.objects.update(status="refunded")),
        ("refunded and delivered", lambda paid: Payment.objects.update(status="refunded")),
        ("orphans", lambda paid: ProvisioningAttempt.objects.update(status="open", reference=None)),
        ("not delivered", lambda paid: Delivery.objects.update(status="blocked")),
    ],
)
def test_the_books_find(paid: Payment, name: str, spoil: Any) -> None:
    ledger = ledger_of(paid, "reference-1")
    spoil(paid)

    assert compare(ledger).faults[name]


@pytest.mark.django_db
def test_the_books_find_a_second_refund(paid: Payment) -> None:
    Payment.objects.update(status="refunded")
    ProvisioningAttempt.objects.update(status="revoked")

    assert not compare(ledger_of(paid, "reference-1", refunds=1)).faults["refunds that differ"]
    assert compare(ledger_of(paid, "reference-1", refunds=2)).faults["refunds that differ"]


@pytest.mark.django_db
def test_the_books_find_what_was_bought_twice(paid: Payment) -> None:
    assert paid.order is not None
    paid.order.attempts.create(bundle_name="b", status="absent", reference="reference-2")

    assert compare(ledger_of(paid, "reference-1", "reference-2")).faults["bought twice"]


@pytest.mark.django_db
def test_a_purchase_is_no_orphan_while_a_person_is_on_its_order(paid: Payment) -> None:
    ProvisioningAttempt.objects.update(status="open", reference=None)
    Order.objects.update(status="needs_attention")

    books = compare(ledger_of(paid, "reference-1"))

    assert not books.faults["orphans"]
    assert books.ends == {"needs_attention": 1}
    assert compare(ledger_of(paid, "reference-1", "reference-2")).faults["orphans"]


@pytest.mark.django_db
@pytest.mark.parametrize(("status", "is_fault"), [("open", True), ("written_off", True), ("revoked", False)])
def test_a_purchase_too_many_is_no_less_one_because_the_shop_lists_it(
    paid: Payment, status: str, is_fault: bool
) -> None:
    Orphan.objects.create(reference="reference-2", status=status)

    assert bool(compare(ledger_of(paid, "reference-1", "reference-2")).faults["orphans"]) == is_fault
