"""`manage.py replay_updates`: stored updates handled again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from esimshop.clients.telegram import TelegramError
from payments.models import TelegramUpdate
from payments.services.updates import handle_update


class Command(BaseCommand):
    help = "Handle stored updates again. What is handled already changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--failed", action="store_true", help="All whose handling failed.")
        parser.add_argument("--id", type=int, help="The one with this update_id.")
        parser.add_argument("--dry-run", action="store_true", help="List them, and handle nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["id"] is None and not options["failed"]:
            raise CommandError("Say --failed or --id N.")
        updates = TelegramUpdate.objects.order_by("pk")
        if options["id"] is not None:
            updates = updates.filter(update_id=options["id"])
            if not updates.exists():
                raise CommandError(f"No update {options['id']} is stored.")
        if options["failed"]:
            updates = updates.filter(status=TelegramUpdate.Status.FAILED)
        failed = 0
        pks = list(updates.values_list("pk", flat=True))
        for pk in pks:
            if not options["dry_run"]:
                try:
                    handle_update(pk)
                except TelegramError as error:
                    self.stderr.write(f"update {pk}: {error}")
            update = updates.model.objects.get(pk=pk)
            failed += update.status == TelegramUpdate.Status.FAILED
            self.stdout.write(f"{update.update_id} {update.kind}: {update.status} {update.error}".rstrip())
        self.stdout.write(f"{len(pks)} updates, {failed} failed")
        if failed and not options["dry_run"]:
            raise CommandError("Some updates still fail.")
