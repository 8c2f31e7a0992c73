"""`manage.py backup`: the whole database into a file."""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from esimshop.backups import BackupFailed, back_up, trim_backups


class Command(BaseCommand):
    help = (
        "Dump the database into a folder while the shop runs, with a checksum, and remove old dumps: all of two days "
        "are kept, and the last of each day of --keep-days. The dump is compressed; names and amounts are readable, "
        "activation codes only with DATA_KEYS. Copy it to another place: docs/recovery.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--keep-days", type=int, default=30, help="default: 30")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, folder: Path, keep_days: int, **options: Any) -> None:
        started = time.monotonic()
        try:
            file = back_up(folder)
        except BackupFailed as error:
            raise CommandError(f"There is no new backup. {error}") from error
        removed = trim_backups(folder, keep_days=keep_days)
        seconds, size = time.monotonic() - started, file.stat().st_size
        if options["json"]:
            report = {
                "file": str(file),
                "bytes": size,
                "seconds": round(seconds, 2),
                "removed": list(map(str, removed)),
            }
            self.stdout.write(json.dumps(report))
        else:
            told = f"{file}: {size / 1e6:,.1f} MB in {seconds:.1f} s; {len(removed)} old backups removed."
            self.stdout.write(self.style.SUCCESS(told))
