"""`manage.py worker`: runs the tasks and the periodic ones, until told to stop."""

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from procrastinate.contrib.django import app
from procrastinate.contrib.django.db_cleanup import DjangoApp
from procrastinate.contrib.django.django_connector import DjangoConnector


class Command(BaseCommand):
    help = "Run the tasks of the shop: provisioning, delivery, refunds, catalogue sync. Start as many as you like."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=4, help="Tasks at a time (default 4).")
        parser.add_argument("--once", action="store_true", help="Run what is queued, then end.")

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self._work(options["concurrency"], once=options["once"]))

    async def _work(self, concurrency: int, *, once: bool) -> None:
        # An app of its own for reading the queue: tasks that queue tasks go on through Django's connection, so that
        # a job is born in the same transaction as the row it works on.
        worker_app = DjangoApp(connector=DjangoConnector().get_worker_connector(), worker_defaults=app.worker_defaults)
        worker_app.tasks = app.tasks
        worker_app.periodic_registry = app.periodic_registry
        async with worker_app.open_async():
            await worker_app.run_worker_async(concurrency=concurrency, name="worker", wait=not once)
