"""`manage.py replay_updates`: stored updates handled again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from esimshop.progress import show_progress
from payments.models import TelegramUpdate
from payments.services.updates import replay_update


class Command(BaseCommand):
    help = (
        "Handle stored updates again: all of them, or those that failed. What was done already is not done twice. "
        "Exit code 1 if any of them fails."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--failed", action="store_true", help="Only those whose handling failed.")
        parser.add_argument("--id", type=int, help="Only the one with this update_id.")
        parser.add_argument("--dry-run", action="store_true", help="List them, and handle nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        updates = TelegramUpdate.objects.order_by("pk")
        if options["id"] is not None:
            updates = updates.filter(update_id=options["id"])
            if not updates.exists():
                raise CommandError(f"No update {options['id']} is stored.")
        if options["failed"]:
            updates = updates.filter(status=TelegramUpdate.Status.FAILED)
        pks = list(updates.values_list("pk", flat=True))
        failed = 0
        for number, pk in enumerate(pks, start=1):
            update = TelegramUpdate.objects.get(pk=pk) if options["dry_run"] else replay_update(pk)
            if update.status == TelegramUpdate.Status.FAILED or options["dry_run"]:
                failed += update.status == TelegramUpdate.Status.FAILED
                self.stdout.write(f"{update.update_id} {update.kind}: {update.status} {update.error}".rstrip())
            show_progress(self.stderr, number, len(pks))
        self.stdout.write(f"{len(pks)} updates, {failed} failed")
        if failed and not options["dry_run"]:
            raise CommandError("Some updates still fail.")
