"""`manage.py restore_backup FILE`: a dump into an empty database, made ready to be started."""

import json
import time
from argparse import ArgumentParser
from io import StringIO
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from esimshop.backups import BackupFailed, restore
from esimshop.data_keys import rotate_data_keys


class Command(BaseCommand):
    help = (
        "Restore a dump of `backup` into the empty database that DATABASE_URL names, with no process of the shop "
        "running: checks it, reads it, migrates it, notes that it was restored (note_restoration), and says whether "
        "DATA_KEYS open what it holds. What follows stands in docs/recovery.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        told = StringIO()
        started = time.monotonic()
        try:
            restore(file)
        except BackupFailed as error:
            raise CommandError(f"Nothing was restored. {error}") from error
        call_command("migrate", interactive=False, verbosity=0)
        call_command("note_restoration", "--just-restored", stdout=told)
        seconds = time.monotonic() - started
        keys = rotate_data_keys(apps.get_models(), dry_run=True)
        if options["json"]:
            report = {"file": str(file), "seconds": round(seconds, 2), "values": keys.values, "unknown": keys.unknown}
            self.stdout.write(json.dumps(report))
        else:
            self.stdout.write(told.getvalue().rstrip())
            self.stdout.write(self.style.SUCCESS(f"{file} is restored, in {seconds:.1f} s."))
        if keys.unknown:
            raise CommandError(
                f"Of {keys.values} encrypted values {len(keys.unknown)} open with none of DATA_KEYS. Find the key of "
                "the time of the backup and put it behind the others before anybody uses the shop."
            )
