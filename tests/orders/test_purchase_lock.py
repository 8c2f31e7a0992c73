"""One purchase at a time: the lock, what becomes of who waits for it, and of who loses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import time_machine
from django.conf import settings as django_settings
from django.db import connection, connections
from django.utils import timezone

from orders.models import Order, ProvisioningAttempt
from orders.services import purchase_lock as lock_module
from orders.services.fulfilment import close_overdue_order, provision_order
from orders.services.purchase_lock import PURCHASE_LOCK, PurchaseLockBusy, purchase_lock
from payments.models import Payment
from tests.factories import PlanFactory
from tests.orders.conftest import paid_order
from tests.outside import ANNA, BEN, SandboxControl, at_once, sweep, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Attempt = ProvisioningAttempt.Status
BUNDLE = "esim_1GB_7D_FR_V2"


def new_order(sandbox: SandboxControl, *, user_id: int = BEN, **fields: Any) -> Order:
    from catalog.models import Plan

    plan = Plan.objects.filter(bundle_name=BUNDLE).first() or PlanFactory(bundle_name=BUNDLE)
    return paid_order(sandbox, plan=plan, user_id=user_id, **fields)


@contextmanager
def held_elsewhere() -> Iterator[psycopg.Connection[Any]]:
    """Somebody else has the lock."""
    with another_session() as session:
        session.execute("SELECT pg_advisory_lock(%s)", [PURCHASE_LOCK])
        yield session


@contextmanager
def another_session() -> Iterator[psycopg.Connection[Any]]:
    params = connection.get_connection_params()
    for django_only in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(django_only, None)
    with psycopg.connect(**params, autocommit=True) as session:
        yield session


def kill_holder() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted",
            [PURCHASE_LOCK],
        )


def in_thread(call: Any) -> threading.Thread:
    def run() -> None:
        try:
            call()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_who_waits_too_long_for_the_lock_gives_the_slot_free_and_tries_again(
    sandbox: SandboxControl, settings: Any
) -> None:
    settings.ESIMGO_TIMEOUT = 0.3
    order = new_order(sandbox)
    with held_elsewhere():
        provision_order(str(order.pk))
        order.refresh_from_db()
        assert (order.status, order.cause, order.lease_until) == ("paid", "unreachable", None)
        assert order.next_try_at is not None
    assert not order.attempts.exists()
    settings.ESIMGO_TIMEOUT = 2
    with time_machine.travel(timezone.now() + timedelta(seconds=11)):
        sweep()
    order.refresh_from_db()
    assert order.status == "completed"


def test_two_workers_on_one_order_while_the_lock_is_held_elsewhere_buy_once(sandbox: SandboxControl) -> None:
    order = new_order(sandbox)
    with held_elsewhere() as session:
        workers = [in_thread(lambda: provision_order(str(order.pk)))]
        wait_until(lambda: Order.objects.get(pk=order.pk).status == "provisioning")
        # The first one's lease passes while it waits, so that a second one takes the order.
        Order.objects.filter(pk=order.pk).update(lease_until=timezone.now())
        workers.append(in_thread(lambda: provision_order(str(order.pk))))
        wait_until(lambda: Order.objects.get(pk=order.pk).lease_until > timezone.now())
        session.execute("SELECT pg_advisory_unlock(%s)", [PURCHASE_LOCK])
        for worker in workers:
            worker.join(10)
    order.refresh_from_db()
    assert (order.status, len(sandbox.orders()), order.attempts.count()) == ("completed", 1, 1)


def test_the_promise_is_kept_while_somebody_sits_on_the_lock(sandbox: SandboxControl) -> None:
    orders = [
        new_order(sandbox),
        new_order(sandbox, user_id=ANNA, status="provisioning", lease_until=timezone.now()),
    ]
    with held_elsewhere(), time_machine.travel(timezone.now() + timedelta(minutes=16)):
        sweep()
    assert [Order.objects.get(pk=order.pk).status for order in orders] == ["refunded", "refunded"]
    assert sandbox.orders() == []


def test_an_unknown_outcome_at_its_promise_goes_to_a_person_while_somebody_sits_on_the_lock(
    sandbox: SandboxControl, settings: Any
) -> None:
    settings.ESIMGO_TIMEOUT = 0.2
    order = new_order(sandbox, status="provisioning", lease_until=timezone.now())
    order.attempts.create(bundle_name=BUNDLE)
    with held_elsewhere(), time_machine.travel(timezone.now() + timedelta(minutes=16)):
        sweep()
    order.refresh_from_db()
    assert (order.status, order.cause) == ("needs_attention", "outcome_unknown")


@pytest.mark.parametrize("kind", ["timeout_after_work", "delay"])
def test_whoever_loses_the_lock_during_the_call_does_not_know_what_came_of_it(
    sandbox: SandboxControl, kind: str
) -> None:
    order = new_order(sandbox)
    sandbox.fail("esimgo.POST /orders", kind, seconds=1)
    worker = in_thread(lambda: provision_order(str(order.pk)))
    wait_until(lambda: order.attempts.filter(status=Attempt.OPEN).exists())
    kill_holder()
    worker.join(10)
    order.refresh_from_db()
    attempt = order.attempts.get()
    assert (order.status, attempt.status, attempt.reference) == ("provisioning", Attempt.OPEN, None)
    with time_machine.travel(timezone.now() + timedelta(seconds=11)):
        sweep()
    order.refresh_from_db()
    assert (order.status, len(sandbox.orders())) == ("completed", 1)


def test_whoever_lost_the_lock_before_the_call_buys_nothing(sandbox: SandboxControl) -> None:
    from orders.services.claims import claim_order
    from orders.services.purchases import buy_bundle

    order = new_order(sandbox)
    claimed = claim_order(str(order.pk))
    assert claimed is not None
    with purchase_lock() as lock:
        assert lock.is_held()
        kill_holder()
        assert not lock.is_held()
        assert buy_bundle(claimed, lock) is None
    assert not order.attempts.exists()
    assert sandbox.orders() == []


def test_whoever_lost_the_order_during_a_call_that_is_refused_leaves_it_to_its_new_worker(
    sandbox: SandboxControl,
) -> None:
    order = new_order(sandbox)
    sandbox.post(f"/sandbox/catalogue/{BUNDLE}", {"withdrawn": True})
    sandbox.fail("esimgo.POST /orders", "delay", seconds=1)
    worker = in_thread(lambda: provision_order(str(order.pk)))
    wait_until(lambda: order.attempts.filter(status=Attempt.OPEN).exists())
    others = timezone.now() + timedelta(minutes=1)
    Order.objects.filter(pk=order.pk).update(lease_until=others)
    worker.join(10)
    order.refresh_from_db()
    assert (order.status, order.lease_until) == ("provisioning", others)
    assert order.attempts.get().status == Attempt.REJECTED
    assert Payment.objects.get().status == "paid"


def test_the_clock_leaves_an_order_to_the_worker_who_has_just_taken_it(sandbox: SandboxControl) -> None:
    seen = timezone.now()
    order = new_order(
        sandbox, status="provisioning", lease_until=seen + timedelta(minutes=1), promise_at=seen - timedelta(minutes=1)
    )
    close_overdue_order(str(order.pk), lease_until=seen)
    order.refresh_from_db()
    assert order.status == "provisioning"
    close_overdue_order(str(order.pk), lease_until=order.lease_until)
    order.refresh_from_db()
    assert order.status == "refunding"


def test_the_lock_of_a_process_that_stands_still_comes_free_by_itself(
    sandbox: SandboxControl, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ESIMGO_TIMEOUT = 2
    monkeypatch.setattr(lock_module, "lease", lambda: timedelta(seconds=0.5))
    with purchase_lock() as stopped:
        with purchase_lock() as lock:
            assert lock.is_held()
        assert not stopped.is_held()


def test_the_lock_says_when_it_is_busy(sandbox: SandboxControl, settings: Any) -> None:
    settings.ESIMGO_TIMEOUT = 0.1
    with held_elsewhere(), pytest.raises(PurchaseLockBusy), purchase_lock():
        pass


def test_a_look_up_beside_purchases_of_its_bundle_takes_nothing_of_theirs(sandbox: SandboxControl) -> None:
    unknown = new_order(sandbox)
    sandbox.fail("esimgo.POST /orders", "drop")
    provision_order(str(unknown.pk))
    # The window has come, and others buy the same bundle meanwhile, slowly.
    ProvisioningAttempt.objects.update(started_at=timezone.now() - timedelta(seconds=5))
    Order.objects.filter(pk=unknown.pk).update(next_try_at=timezone.now())
    others = [new_order(sandbox, user_id=user_id) for user_id in (ANNA, 6001, 6002)]
    sandbox.fail("esimgo.POST /orders", "delay", seconds=0.3, times=3)
    at_once(*[lambda order=order: provision_order(str(order.pk)) for order in (*others, unknown)])
    assert {Order.objects.get(pk=order.pk).status for order in others} == {"completed"}
    attempt = unknown.attempts.get()
    assert (attempt.status, attempt.reference) == (Attempt.OPEN, None)
    assert len(sandbox.orders()) == 3


@pytest.fixture
def worker(sandbox: SandboxControl) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker process on the test's database and sandbox."""
    params = connection.get_connection_params()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "esimshop.settings",
        "READ_DOT_ENV": "off",
        "DEBUG": "on",
        "DATABASE_URL": f"postgres:///{params['dbname']}?host={params['host']}&user={params.get('user', '')}",
        "ESIMGO_BASE_URL": sandbox.esimgo_base_url,
        "ESIMGO_API_KEY": django_settings.ESIMGO_API_KEY,
        "ESIMGO_TIMEOUT": "2",
        "TELEGRAM_API_BASE_URL": sandbox.bot_api_base_url,
        "TELEGRAM_BOT_TOKEN": django_settings.TELEGRAM_BOT_TOKEN,
    }
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=django_settings.BASE_DIR,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait(10)


def test_a_process_that_stood_still_for_longer_than_its_lease_buys_nothing_afterwards(
    sandbox: SandboxControl, worker: subprocess.Popen[bytes]
) -> None:
    from orders.tasks import provision_order_task

    order = new_order(sandbox)
    with held_elsewhere() as session:
        provision_order_task.defer(order_id=str(order.pk))
        wait_until(lambda: Order.objects.get(pk=order.pk).status == "provisioning", seconds=30)
        worker.send_signal(signal.SIGSTOP)
        # As if it stood still for longer than its lease, with the lock given to it meanwhile.
        Order.objects.filter(pk=order.pk).update(lease_until=timezone.now())
        session.execute("SELECT pg_advisory_unlock(%s)", [PURCHASE_LOCK])
    wait_until(lambda: not _is_waiting())
    kill_holder()  # what idle_session_timeout does to it
    provision_order(str(order.pk))
    order.refresh_from_db()
    assert order.status == "completed"
    calls = sandbox.calls("esimgo.POST /orders")
    worker.send_signal(signal.SIGCONT)
    # The woken worker does other work again, so it is past what it was about to do.
    second = new_order(sandbox, user_id=ANNA)
    provision_order_task.defer(order_id=str(second.pk))
    wait_until(lambda: Order.objects.get(pk=second.pk).status == "completed", seconds=30)
    assert (calls, sandbox.calls("esimgo.POST /orders")) == (1, 2)
    assert order.attempts.count() == 1
    assert len(sandbox.orders()) == 2


def _is_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted)",
            [PURCHASE_LOCK],
        )
        return bool(cursor.fetchone()[0])
