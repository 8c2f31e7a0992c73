"""What the shop forgets by itself, and what it must never forget."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from catalog.models import CatalogSync, Plan
from esimshop.models import Alert
from orders.models import (
    Customer,
    EsimBundle,
    Order,
    OrderEvent,
    WholesalerCall,
    WholesalerCallback,
    note_event,
)
from payments.models import Case, CaseMessage, Payment, PaymentEvent, ServicePolicy, TelegramUpdate
from payments.services import retention
from payments.services.policies import set_service_policy
from payments.services.retention import trim_data
from payments.tasks import handle_update_task, trim_data_task
from tests.factories import CustomerFactory, EsimFactory, OrderFactory, PaymentFactory, PlanFactory

pytestmark = pytest.mark.django_db
_ids = itertools.count(9_000)


def ago(days: int) -> Any:
    return timezone.now() - timedelta(days=days)


def update(number: int, *, days: int, status: str = "handled") -> TelegramUpdate:
    return TelegramUpdate.objects.create(
        update_id=number, kind="message", body={"update_id": number}, status=status, received_at=ago(days)
    )


def left(model: Any) -> int:
    return int(model.objects.count())


# Rows


def test_handled_updates_go_and_all_others_stay() -> None:
    old, young = update(1, days=31), update(2, days=29)
    failed, received = update(3, days=400, status="failed"), update(4, days=400, status="received")
    trimmed = trim_data()
    assert trimmed.rows["telegram_updates"] == 1
    assert set(TelegramUpdate.objects.values_list("pk", flat=True)) == {young.pk, failed.pk, received.pk}
    assert not TelegramUpdate.objects.filter(pk=old.pk).exists()


def test_what_a_customer_wrote_in_a_case_outlives_its_update() -> None:
    case = Case.objects.create(customer=CustomerFactory(), reason="other", wish="help")
    CaseMessage.objects.create(case=case, author="customer", actor="customer", text="hello", update=update(1, days=31))
    trim_data()
    assert left(TelegramUpdate) == 0
    message = CaseMessage.objects.get()
    assert (message.text, message.update) == ("hello", None)


def test_calls_of_closed_orders_callbacks_syncs_and_alerts_go(plan: Plan) -> None:
    closed, waiting = OrderFactory(plan=plan, status="completed"), OrderFactory(plan=plan, status="needs_attention")
    for order in (closed, waiting):
        for days in (179, 181):
            WholesalerCall.objects.create(
                order=order, call="place_order", outcome="ok", duration_ms=1, started_at=ago(days)
            )
    for days in (179, 181):
        WholesalerCallback.objects.create(digest=str(days), kind="Utilisation", body={}, received_at=ago(days))
    for days in (100, 95, 1):
        CatalogSync.objects.create(started_at=ago(days), finished_at=ago(days), error="" if days > 1 else "down")
    for days in (91, 89, None):
        Alert.objects.create(cause=str(days), text="t", raised_at=ago(400), cleared_at=ago(days) if days else None)
    rows = trim_data().rows
    assert rows == {
        "telegram_updates": 0,
        "wholesaler_calls": 1,
        "wholesaler_callbacks": 1,
        "catalog_syncs": 1,
        "closed_alerts": 1,
        "finished_tasks": 0,
    }
    # The last good one says how old the catalogue is, however old that is.
    assert CatalogSync.objects.filter(error="").count() == 1
    assert set(Alert.objects.values_list("cause", flat=True)) == {"89", "None"}


def test_failed_tasks_go_and_those_that_wait_stay() -> None:
    for _ in range(4):
        handle_update_task.defer(update_pk=0)
    ids = list(ProcrastinateJob.objects.order_by("id").values_list("id", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = ANY(%s)", [ids[:3]])
        cursor.execute("UPDATE procrastinate_jobs SET status = 'failed' WHERE id = ANY(%s)", [ids[:2]])
        cursor.execute("UPDATE procrastinate_events SET at = %s WHERE job_id <> %s", [ago(91), ids[1]])
    assert trim_data(dry_run=True).rows["finished_tasks"] == 1
    assert trim_data().rows["finished_tasks"] == 1
    assert set(ProcrastinateJob.objects.values_list("id", flat=True)) == set(ids[1:])


def test_the_books_stay(plan: Plan) -> None:
    customer = CustomerFactory(created_at=ago(4000))
    order = OrderFactory(plan=plan, customer=customer, status="completed", created_at=ago(4000), paid_at=ago(4000))
    note_event(order, actor="worker", reason="bought")
    payment = PaymentFactory(order=order, customer=customer, created_at=ago(4000), charged_at=ago(4000))
    PaymentEvent.objects.create(payment=payment, after="paid", actor="telegram")
    before = {model: left(model) for model in (Order, OrderEvent, Payment, PaymentEvent)}
    assert trim_data().customers_forgotten == 1
    assert all(left(model) >= count for model, count in before.items())


def test_a_run_is_bounded_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "MOST_ROWS", 4)
    for number in range(7):
        update(number, days=31 + number)
    assert [trim_data().rows["telegram_updates"] for _ in range(3)] == [4, 3, 0]


def test_days_are_a_rule_with_history() -> None:
    update(1, days=10)
    set_service_policy(by=None, reason="less", keep_updates_days=9)
    assert trim_data().rows["telegram_updates"] == 1
    with pytest.raises(ValidationError):
        set_service_policy(by=None, reason="too little", keep_updates_days=2)
    assert ServicePolicy.in_force().keep_updates_days == 9


def test_the_command_counts_without_deleting_and_the_task_deletes() -> None:
    update(1, days=31)
    CustomerFactory(created_at=ago(1100))
    output = StringIO()
    call_command("trim_data", "--dry-run", "--json", stdout=output)
    report = json.loads(output.getvalue())
    assert (report["rows"]["telegram_updates"], report["customers_forgotten"]) == (1, 1)
    assert (left(TelegramUpdate), Customer.objects.filter(anonymised_at=None).count()) == (1, 1)
    trim_data_task(timestamp=0)
    assert (left(TelegramUpdate), Customer.objects.filter(anonymised_at=None).count()) == (0, 0)
    output = StringIO()
    call_command("trim_data", stdout=output)
    assert "telegram updates: 0 deleted" in output.getvalue()


# Customers


def long_gone(**order: Any) -> Customer:
    customer = CustomerFactory(telegram_user_id=next(_ids), created_at=ago(1100))
    plan = Plan.objects.first() or PlanFactory()
    fields = {"status": "completed", "created_at": ago(1099), "paid_at": ago(1099), **order}
    OrderFactory(customer=customer, plan=plan, **fields)
    return customer


def is_forgotten(customer: Customer) -> bool:
    customer.refresh_from_db()
    return customer.anonymised_at is not None


def test_who_has_been_gone_for_years_is_forgotten_by_the_clock() -> None:
    customer = long_gone()
    newcomer = CustomerFactory(telegram_user_id=next(_ids), created_at=ago(1000))
    trim_data()
    assert is_forgotten(customer)
    assert not is_forgotten(newcomer)
    event = OrderEvent.objects.latest("pk")
    assert (event.actor, "nothing heard of them for 1095 days" in event.reason) == ("clock", True)


@pytest.mark.parametrize("sign", ["order", "payment", "refund", "open case", "closed case", "esim", "bundle"])
def test_any_sign_of_life_keeps_a_customer(sign: str) -> None:
    customer = long_gone()
    order = Order.objects.get()
    if sign == "order":
        OrderFactory(customer=customer, plan=order.plan, status="expired", created_at=ago(1000))
    elif sign == "payment":
        PaymentFactory(order=order, customer=customer, created_at=ago(1000), charged_at=ago(1000))
    elif sign == "refund":
        PaymentFactory(order=order, customer=customer, created_at=ago(1099), refunded_at=ago(1000), status="refunded")
    elif sign == "open case":
        Case.objects.create(customer=customer, reason="other", wish="help", updated_at=ago(1099))
    elif sign == "closed case":
        Case.objects.create(customer=customer, reason="other", wish="help", updated_at=ago(9), status="closed")
    elif sign == "esim":
        EsimFactory(order=order, customer=customer, created_at=ago(1000))
    else:
        esim = EsimFactory(order=order, customer=customer, created_at=ago(1099))
        EsimBundle.objects.create(
            esim=esim, order=order, assignment_id="1", bundle_name="b", state="queued", told_at=ago(1)
        )
    assert trim_data().customers_forgotten == 0
    assert not is_forgotten(customer)


def test_one_who_cannot_be_forgotten_keeps_nobody_else(plan: Plan) -> None:
    stuck, gone = long_gone(status="needs_attention"), long_gone()
    trimmed = trim_data()
    assert (trimmed.customers_forgotten, trimmed.customers_kept) == (1, 1)
    assert (is_forgotten(stuck), is_forgotten(gone)) == (False, True)


def test_many_who_cannot_be_forgotten_do_not_stand_before_the_others(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_CUSTOMERS", 2)
    stuck = [long_gone(status="needs_attention") for _ in range(3)]
    gone = [long_gone() for _ in range(3)]
    assert [trim_data().customers_forgotten for _ in range(3)] == [2, 1, 0]
    assert list(map(is_forgotten, [*stuck, *gone])) == [False] * 3 + [True] * 3


def test_a_policy_of_0_days_forgets_nobody() -> None:
    customer = long_gone()
    set_service_policy(by=None, reason="keep all", anonymise_after_days=0)
    assert trim_data().customers_forgotten == 0
    assert not is_forgotten(customer)


def test_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_CUSTOMERS", 2)
    for _ in range(3):
        long_gone()
    assert [trim_data().customers_forgotten for _ in range(3)] == [2, 1, 0]
