"""Histories that nobody would think of: orders, payments, refunds, ledger and faults in any order, found by Hypothesis.

After every step the books must be consistent; at the end, when faults are over and time has passed, every charge must
have ended well.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest
import time_machine
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from esimshop.models import Alert
from orders.models import ALLOWED_MOVES, Order, OrderEvent, ProvisioningAttempt
from orders.services.reconciliation import reconcile_orders
from orders.services.reprovisioning import ReprovisionRefused, reprovision_order
from payments.models import ALLOWED_PAYMENT_MOVES, Payment, Refund
from payments.services.ledger import reconcile_stars
from payments.services.refunds import RefundBlocked, refund_payment
from tests.factories import PlanFactory
from tests.outside import (
    SandboxControl,
    payment_update,
    pre_checkout_update,
    refund_update,
    run_tasks,
    send_update,
    sweep,
)
from tests.payments.conftest import invoiced_order

if TYPE_CHECKING:
    from tests.outside import Json

STRANGER = 31337
_customers = itertools.count(50_000)

PURCHASE_FAULTS: list[Json] = [
    {"kind": "drop"},
    {"kind": "drop_after_work"},
    {"kind": "html"},
    {"kind": "half_json"},
    {"kind": "status", "status": 400},
    {"kind": "status", "status": 403},
    {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "after_work": True},
]
REFUND_FAULTS: list[Json] = [
    {"kind": "drop"},
    {"kind": "drop_after_work"},
    {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "status", "status": 500, "after_work": True},
    {"kind": "status", "status": 400, "message": "Bad Request: CHARGE_NOT_FOUND"},
]


class Histories(RuleBasedStateMachine):
    sandbox: ClassVar[SandboxControl]

    orders: Bundle[Order] = Bundle("orders")
    charges: Bundle[Json] = Bundle("charges")

    @initialize()
    def open_the_shop(self) -> None:
        self.everything = transaction.atomic()
        self.everything.__enter__()
        self.clock = time_machine.travel(timezone.now(), tick=True)
        self.moment = self.clock.start()
        self.sandbox.reset()
        self.plan = PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
        self.taken_back: set[str] = set()

    # What customers and Telegram do

    @rule(target=orders)
    def choose_a_plan(self) -> Order:
        return invoiced_order(plan=self.plan, user_id=next(_customers))

    @rule(order=orders)
    def ask_before_paying(self, order: Order) -> None:
        assert send_update(pre_checkout_update(order)).status_code == 200

    @rule(
        target=charges,
        order=orders,
        is_owner=st.sampled_from([True, True, True, False]),
        stars_over=st.just(0) | st.just(1),
    )
    def pay(self, order: Order, *, is_owner: bool, stars_over: int) -> Json:
        """The charge is in Telegram's ledger; its update may come later, several times, or never."""
        payer = None if is_owner else STRANGER
        amount = order.amount_stars + stars_over
        update = payment_update(order, user_id=payer, total_amount=amount, date=timezone.now().timestamp())
        self.sandbox.charge(update)
        return update

    @rule(update=charges)
    def deliver_the_update(self, update: Json) -> None:
        assert send_update(update).status_code == 200

    @rule(update=charges)
    def take_the_stars_back(self, update: Json) -> None:
        """Telegram does so by itself, now and then."""
        charge = charge_of(update)
        if any(row["id"] == charge for row in self.sandbox.refunds()):
            return
        payment, payer = update["message"]["successful_payment"], update["message"]["from"]
        receiver = {"type": "user", "transaction_type": "invoice_payment", "user": payer}
        self.sandbox.post(
            "/sandbox/transactions", {"id": charge, "amount": payment["total_amount"], "receiver": receiver}
        )
        self.taken_back.add(charge)
        assert send_update(refund_update(update)).status_code == 200

    @rule(update=charges)
    def lose_the_update_for_ever(self, update: Json) -> None:
        """Nothing comes: only the ledger knows of it."""

    # What staff do

    @rule(order=orders)
    def bring_an_order_on_its_way_again(self, order: Order) -> None:
        with contextlib.suppress(ReprovisionRefused):
            reprovision_order(str(order.pk), actor="admin:olga", reason="asked for")

    @rule(update=charges)
    def give_the_stars_back(self, update: Json) -> None:
        payment = Payment.objects.filter(charge_id=charge_of(update)).first()
        if payment is not None:
            with contextlib.suppress(RefundBlocked):
                refund_payment(payment, actor="admin:olga", reason="asked for")

    # What the shop's processes do, or do not

    @rule()
    def reconcile(self) -> None:
        reconcile_stars()
        reconcile_orders()

    @rule()
    def work(self) -> None:
        run_tasks()

    @rule(seconds=st.sampled_from([6, 60, 300, 1200]))
    def let_time_pass(self, seconds: int) -> None:
        self.moment.shift(timedelta(seconds=seconds))
        sweep()

    @rule()
    def lose_the_queue(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs")

    @rule(fault=st.sampled_from(PURCHASE_FAULTS))
    def break_a_purchase(self, fault: Json) -> None:
        self.sandbox.fail("esimgo.POST /orders", **fault)

    @rule(fault=st.sampled_from(REFUND_FAULTS))
    def break_a_refund(self, fault: Json) -> None:
        self.sandbox.fail("telegram.refundStarPayment", **fault)

    # What must hold at any time

    @invariant()
    def the_books_are_consistent(self) -> None:
        if not hasattr(self, "plan"):
            return
        for order in Order.objects.prefetch_related("events", "attempts"):
            moves = [event for event in order.events.all() if event.kind == OrderEvent.Kind.MOVE]
            assert_chain([(event.before, event.after) for event in moves], ALLOWED_MOVES, order.status)
            alive = [attempt for attempt in order.attempts.all() if attempt.status in {"open", "placed"}]
            assert len(alive) <= 1
        for payment in Payment.objects.prefetch_related("events"):
            changes = [(event.before, event.after) for event in payment.events.all()]
            assert changes[0] == ("", "paid")
            assert_chain(changes[1:], ALLOWED_PAYMENT_MOVES, payment.status)
        refunded = Counter(row["id"] for row in self.sandbox.refunds())
        assert not [charge for charge, times in refunded.items() if times > 1]
        both = Payment.objects.filter(kind="order", order__status="completed", status__in=["refunding", "refunded"])
        assert not both.exclude(charge_id__in=self.taken_back).exists(), "refunded and delivered"

    def teardown(self) -> None:
        if not hasattr(self, "plan"):
            return
        try:
            self.sandbox.heal()
            for _ in range(12):
                self.moment.shift(timedelta(minutes=4))
                sweep()
                self.reconcile()
            self.everything_has_ended()
        finally:
            self.clock.stop()
            transaction.set_rollback(True)
            self.everything.__exit__(None, None, None)

    def everything_has_ended(self) -> None:
        payments = {payment.charge_id: payment for payment in Payment.objects.select_related("order")}
        charged = {row["id"] for row in self.sandbox.ledger()["transactions"] if "source" in row}
        assert set(payments) == charged
        for payment in payments.values():
            assert has_ended(payment), (
                f"{payment.kind} {payment.status}, order {payment.order and payment.order.status}"
            )
        assert not Refund.objects.filter(status="pending").exists()
        bought = Counter(ProvisioningAttempt.objects.filter(status="placed").values_list("order_id", flat=True))
        assert all(times == 1 for times in bought.values())


def charge_of(update: Json) -> str:
    return str(update["message"]["successful_payment"]["telegram_payment_charge_id"])


def assert_chain(changes: list[tuple[str, str]], allowed: dict[str, frozenset[str]], status: str) -> None:
    """Each change begins where the one before ended, and the table knows it."""
    for before, after in changes:
        assert after in allowed[before], f"{before} -> {after}"
    for (_, after), (before, _) in itertools.pairwise(changes):
        assert after == before
    assert not changes or changes[-1][1] == status


def has_ended(payment: Payment) -> bool:
    if payment.status == Payment.Status.REFUNDED:
        return True
    order = payment.order
    told = set(Alert.objects.filter(cleared_at=None).values_list("cause", flat=True))
    if payment.kind == Payment.Kind.EXTRA or order is None:
        return payment.status == Payment.Status.REFUND_FAILED and f"refund:{payment.charge_id}" in told
    if order.status == Order.Status.COMPLETED:
        return payment.status == Payment.Status.PAID
    return order.status == Order.Status.NEEDS_ATTENTION and f"order:{order.pk}" in told


@pytest.mark.django_db
def test_every_history_ends_well(sandbox: SandboxControl) -> None:
    Histories.sandbox = sandbox
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
