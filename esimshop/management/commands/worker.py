"""`manage.py worker`: runs the tasks and the periodic ones, until told to stop."""

import asyncio
import signal
from typing import Any

from asgiref.sync import sync_to_async
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.db_cleanup import DjangoApp
from procrastinate.contrib.django.django_connector import DjangoConnector
from prometheus_client import start_http_server

from esimshop.counted import counted_here
from esimshop.tasks import FULFILMENT, HOUSEKEEPING, PROVISIONING


class Command(BaseCommand):
    help = "Run the tasks of the shop: provisioning, delivery, refunds, catalogue sync. Start as many as you like."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=4, help="Tasks at a time beside a purchase (default 4).")
        parser.add_argument("--once", action="store_true", help="Run what is queued, then end.")
        parser.add_argument(
            "--metrics-port",
            type=int,
            help="Serve what this worker counts to Prometheus on this port: where no web process of its machine does.",
        )
        parser.add_argument(
            "--metrics-address",
            default="127.0.0.1",
            help="Where that port listens (default 127.0.0.1). It asks for no token: only ever a private address.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["metrics_port"] is not None:
            _serve_metrics(options["metrics_port"], options["metrics_address"])
        asyncio.run(self._work(options["concurrency"], once=options["once"]))

    async def _work(self, concurrency: int, *, once: bool) -> None:
        # An app of its own for reading the queue: tasks that queue tasks go on through Django's connection, so that
        # a job is born in the same transaction as the row it works on.
        worker_app = DjangoApp(connector=DjangoConnector().get_worker_connector(), worker_defaults=app.worker_defaults)
        worker_app.tasks = app.tasks
        worker_app.periodic_registry = app.periodic_registry
        async with worker_app.open_async():
            if once:
                await _work_off(worker_app, concurrency)
            else:
                await _work_on(worker_app, concurrency)
        # Of the thread in which the queue's periodic tasks are queued, which outlives this command.
        await sync_to_async(connections.close_all)()


def _serve_metrics(port: int, address: str) -> None:
    try:
        start_http_server(port, addr=address, registry=counted_here())
    except OSError as error:
        raise CommandError(f"Metrics cannot be served on {address}:{port}: {error.strerror}.") from None


async def _work_on(worker_app: DjangoApp, concurrency: int) -> None:
    """Run tasks until told to stop."""
    slots = [([PROVISIONING], 1), ([FULFILMENT, HOUSEKEEPING], concurrency)]
    async with asyncio.TaskGroup() as group:
        workers = [
            group.create_task(_run_worker(worker_app, queues, tasks_at_a_time, wait=True))
            for queues, tasks_at_a_time in slots
        ]
        # Cancelled, a worker ends its running tasks and takes no new ones.
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal_number, _cancel, workers)


async def _work_off(worker_app: DjangoApp, concurrency: int) -> None:
    """Run what is queued, and what that queues in its turn: a worker that finds nothing more ends before the rest."""
    queues = [PROVISIONING, FULFILMENT, HOUSEKEEPING]
    due, before = await _due_jobs(worker_app), None
    while due and due != before:
        await _run_worker(worker_app, queues, concurrency, wait=False)
        due, before = await _due_jobs(worker_app), due


async def _run_worker(worker_app: DjangoApp, queues: list[str], concurrency: int, *, wait: bool) -> None:
    await worker_app.run_worker_async(
        queues=queues, concurrency=concurrency, name=queues[0], wait=wait, install_signal_handlers=False
    )


async def _due_jobs(worker_app: DjangoApp) -> set[int | None]:
    jobs = await worker_app.job_manager.list_jobs_async(status="todo")
    return {job.id for job in jobs if job.scheduled_at is None or job.scheduled_at <= timezone.now()}


def _cancel(workers: list[asyncio.Task[None]]) -> None:
    for worker in workers:
        worker.cancel()
