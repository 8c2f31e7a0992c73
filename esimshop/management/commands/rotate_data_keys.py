"""`manage.py rotate_data_keys`: everything encrypted under the first of DATA_KEYS."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from functools import partial
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from esimshop.data_keys import Rotation, rotate_data_keys
from esimshop.progress import show_progress

LISTED = 20


class Command(BaseCommand):
    help = (
        "Encrypt activation codes, stored updates and the like anew with the first of DATA_KEYS, while the shop runs. "
        "It can be stopped and started again. Says when the other keys may be dropped. "
        "Exit code 1 if a value opens with none of the keys: it is left as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, and change nothing")
        parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        rotation = rotate_data_keys(
            apps.get_models(), dry_run=options["dry_run"], progress=partial(show_progress, self.stderr)
        )
        if options["json"]:
            self.stdout.write(json.dumps(asdict(rotation) | {"is_complete": rotation.is_complete}))
        else:
            self._print(rotation)
        if rotation.unknown:
            raise CommandError(
                f"{len(rotation.unknown)} values open with none of DATA_KEYS. Put the key they were written with at "
                "the end of DATA_KEYS and run this again. Drop no key before."
            )

    def _print(self, rotation: Rotation) -> None:
        self.stdout.write(
            f"{rotation.values:,} values: {rotation.first_key:,} under the first key already, "
            f"{rotation.other_keys:,} under others, {rotation.plain:,} not encrypted, "
            f"{len(rotation.unknown):,} under a key that is not in DATA_KEYS."
        )
        for value in rotation.unknown[:LISTED]:
            self.stdout.write(f"  unknown key: {value}")
        if len(rotation.unknown) > LISTED:
            self.stdout.write(f"  and {len(rotation.unknown) - LISTED:,} more: --json lists all")
        if rotation.dry_run:
            self.stdout.write("Nothing was changed.")
            return
        self.stdout.write(f"{rotation.rewritten:,} were encrypted anew, {rotation.overtaken:,} changed meanwhile.")
        if rotation.is_complete:
            self.stdout.write(
                self.style.SUCCESS(
                    "Everything is under the first key: the others may be dropped from DATA_KEYS. Keep them, apart "
                    "from the server, as long as you keep backups from before."
                )
            )
        elif not rotation.unknown:
            self.stdout.write(
                "Keep the other keys for now. Run this once more when every web and worker process has been restarted "
                "with the first key in its place: it says when they may be dropped."
            )
