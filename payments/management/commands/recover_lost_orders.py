"""`manage.py recover_lost_orders`: after a restored backup, what charge and what eSIM belong together."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from payments.services.lost_orders import recover_lost_orders


class Command(BaseCommand):
    help = (
        "After a restored backup, and after reconcile_stars and reconcile_orders: make orders that the backup does not "
        "know anew, where a held charge and an eSIM at eSIM Go belong to the same one; their customers get the eSIM "
        "once more. Buys and returns nothing. Exit code 1 if a charge or a purchase is left for a person."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say which, and change nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        recovery = recover_lost_orders(actor="command:recover_lost_orders", dry_run=options["dry_run"])
        if options["json"]:
            self.stdout.write(json.dumps(asdict(recovery)))
        else:
            would = "Would be made" if options["dry_run"] else "Made"
            self.stdout.write(self.style.SUCCESS(f"{would} anew: {len(recovery.recovered)} orders."))
            self._list("Made anew, but a person must look", [f"{pk}: {why}" for pk, why in recovery.stopped.items()])
            self._list("Charges without an eSIM that names their order: refund_payment, or keep_charge", recovery.held)
            self._list("Purchases at eSIM Go that name no order: one of the charges may be theirs", recovery.nameless)
        if recovery.stopped or recovery.held or recovery.nameless:
            raise CommandError("Something is left for a person: docs/recovery.md.")

    def _list(self, title: str, lines: list[str]) -> None:
        if lines:
            self.stdout.write(self.style.WARNING(f"{title} ({len(lines)}):"))
            for line in lines:
                self.stdout.write(f"  {line}")
