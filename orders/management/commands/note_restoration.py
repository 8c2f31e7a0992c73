"""`manage.py note_restoration`: this database is a backup that was put back."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from orders.services.restorations import ShopIsRunning, note_restoration


class Command(BaseCommand):
    help = (
        "To be run once after a backup was restored, and before web and worker start: what was on its way is looked up "
        "at eSIM Go before anything is bought or returned, and charges that the backup does not know are never "
        "returned by themselves. `restore_backup` does it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--forgotten-from",
            type=_moment,
            metavar="TIME",
            help="the last moment that the backup knows, as 2026-11-27T03:10:00Z; default: the youngest trace in it",
        )

        parser.add_argument(
            "--just-restored", action="store_true", help="however young that trace is: nothing has run here since"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            noted = note_restoration(
                actor="command:note_restoration",
                forgotten_from=options["forgotten_from"],
                is_running_possible=not options["just_restored"],
            )
        except ShopIsRunning as error:
            raise CommandError(
                "The worker runs, or ran a moment ago. Stop web and worker; if this database has been at work since it "
                "was restored, say until when the backup knew: --forgotten-from TIME."
            ) from error
        self.stdout.write(
            self.style.SUCCESS(
                f"Noted: what happened from {noted.forgotten_from:%Y-%m-%d %H:%M:%S} UTC until now is forgotten. "
                f"{noted.orders_in_doubt} orders on their way are looked up before anything is bought or returned."
            )
        )
        self.stdout.write("Now start web and worker, then run reconcile_stars and reconcile_orders: docs/recovery.md.")


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    return moment if moment.tzinfo else timezone.make_aware(moment)
