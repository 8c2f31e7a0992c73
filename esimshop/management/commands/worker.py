"""`manage.py worker`: runs the tasks and the periodic ones, until told to stop."""

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from procrastinate.contrib.django import app
from procrastinate.contrib.django.db_cleanup import DjangoApp
from procrastinate.contrib.django.django_connector import DjangoConnector

from esimshop.tasks import FULFILMENT, HOUSEKEEPING, PROVISIONING


class Command(BaseCommand):
    help = "Run the tasks of the shop: provisioning, delivery, refunds, catalogue sync. Start as many as you like."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=4, help="Tasks at a time beside a purchase (default 4).")
        parser.add_argument("--once", action="store_true", help="Run what is queued, then end.")

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self._work(options["concurrency"], once=options["once"]))

    async def _work(self, concurrency: int, *, once: bool) -> None:
        # An app of its own for reading the queue: tasks that queue tasks go on through Django's connection, so that
        # a job is born in the same transaction as the row it works on.
        worker_app = DjangoApp(connector=DjangoConnector().get_worker_connector(), worker_defaults=app.worker_defaults)
        worker_app.tasks = app.tasks
        worker_app.periodic_registry = app.periodic_registry
        slots = [([PROVISIONING], 1), ([FULFILMENT, HOUSEKEEPING], concurrency)]
        if once:  # what a purchase queues belongs to what is queued
            slots = [([PROVISIONING, FULFILMENT, HOUSEKEEPING], concurrency)]
        async with worker_app.open_async(), asyncio.TaskGroup() as group:
            workers = [
                group.create_task(
                    worker_app.run_worker_async(
                        queues=queues,
                        concurrency=tasks_at_a_time,
                        name=queues[0],
                        wait=not once,
                        install_signal_handlers=False,
                    )
                )
                for queues, tasks_at_a_time in slots
            ]
            # Cancelled, a worker ends its running tasks and takes no new ones; with --once it ends by itself.
            for signal_number in () if once else (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(signal_number, _cancel, workers)


def _cancel(workers: list[asyncio.Task[None]]) -> None:
    for worker in workers:
        worker.cancel()
