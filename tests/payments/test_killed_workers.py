"""A worker that is killed for real, in the middle of its work: another one takes over within a minute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as shop_settings
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from orders.models import Order
from tests.outside import BEN, SandboxControl, database_url, payment_update, send_update, wait_until
from tests.payments.conftest import invoiced_order

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

# orders.services: the lock of everything that buys.
PURCHASE_LOCK = 0x6553494D


@contextmanager
def worker(sandbox: SandboxControl) -> Iterator[subprocess.Popen[bytes]]:
    """`manage.py worker` in a process of its own, on the database of the test."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "READ_DOT_ENV", "DEBUG") if name in os.environ},
        "DATABASE_URL": database_url(),
        "TELEGRAM_BOT_TOKEN": shop_settings.TELEGRAM_BOT_TOKEN,
        "TELEGRAM_API_BASE_URL": sandbox.bot_api_base_url,
        "ESIMGO_API_KEY": shop_settings.ESIMGO_API_KEY,
        "ESIMGO_BASE_URL": sandbox.esimgo_base_url,
        "ESIMGO_TIMEOUT": "2",
    }
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=shop_settings.BASE_DIR,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def purchases_held_up() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [PURCHASE_LOCK])
        yield
        cursor.execute("SELECT pg_advisory_unlock(%s)", [PURCHASE_LOCK])


def jobs_under_way() -> list[int]:
    jobs = ProcrastinateJob.objects.filter(status="doing", task_name__endswith="provision_order_task")
    return list(jobs.values_list("pk", flat=True))


def test_its_job_and_its_order_go_on_in_another_worker(sandbox: SandboxControl) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    with purchases_held_up(), worker(sandbox) as first:
        send_update(payment_update(order))
        wait_until(lambda: Order.objects.get().status == Order.Status.PROVISIONING, seconds=20)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    [left_behind] = jobs_under_way()
    with worker(sandbox):
        # By the sweep, once the dead worker's lease on the order is over.
        wait_until(lambda: Order.objects.get().status == Order.Status.COMPLETED, seconds=60)
        # And its job does not stay "doing" for ever, holding up others.
        wait_until(lambda: left_behind not in jobs_under_way(), seconds=60)
        # Told first that it is being prepared, then sent, once.
        wait_until(lambda: any(message["photo"] for message in sandbox.chat(BEN)), seconds=20)
    assert len(sandbox.orders()) == 1
