"""`manage.py trim_data`: what has been kept long enough is deleted."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from payments.services.retention import trim_data


class Command(BaseCommand):
    help = (
        "Delete handled updates, calls, failed tasks, syncs and closed alerts that are older than the service policy "
        "keeps them, and forget customers who have been gone for long, as the worker does every night. Orders, "
        "payments, refunds and ledger stay."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")
        parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        trimmed = trim_data(dry_run=options["dry_run"])
        if options["json"]:
            self.stdout.write(json.dumps(asdict(trimmed)))
            return
        would = "would be " if trimmed.is_dry_run else ""
        for name, count in trimmed.rows.items():
            self.stdout.write(f"{name.replace('_', ' ')}: {count:,} {would}deleted")
        self.stdout.write(f"customers: {trimmed.customers_forgotten:,} {would}forgotten")
        if trimmed.customers_kept:
            self.stdout.write(f"customers: {trimmed.customers_kept:,} kept, since something of theirs is under way")
