"""`manage.py sync_catalog`."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from catalog.services.sync import SyncFailed, sync_plans
from esimshop.clients.esimgo import esimgo_client


class Command(BaseCommand):
    help = (
        "Read all plans, wholesale prices and networks from eSIM Go and bring ours up to date. No plan is deleted: one "
        "that is no longer listed goes off sale. Exit code 1, and the catalogue as it was, if the wholesaler fails or "
        "answers nonsense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")
        parser.add_argument("--dry-run", action="store_true", help="count what would change, write nothing")
        parser.add_argument("--force", action="store_true", help="also when most plans would go off sale")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["json"]:
            self.stdout.write("Reading eSIM Go's catalogue …")
        try:
            run = sync_plans(client=esimgo_client(), force=options["force"], dry_run=options["dry_run"])
        except SyncFailed as error:
            if options["json"]:
                self.stdout.write(json.dumps({"error": str(error)}))
            raise CommandError(f"The catalogue stays as it was: {error}") from error
        counts = {
            "plans": run.plans_total,
            "new": run.plans_new,
            "changed": run.plans_changed,
            "vanished": run.plans_vanished,
            "prices_changed": run.prices_changed,
            "networks": run.networks_total,
            "skipped": run.skipped,
        }
        if options["json"]:
            self.stdout.write(json.dumps(counts | {"dry_run": options["dry_run"]}, ensure_ascii=False))
            return
        for line in run.skipped:
            self.stderr.write(self.style.WARNING(f"Skipped {line}"))
        would = "Would be: " if options["dry_run"] else ""
        self.stdout.write(
            self.style.SUCCESS(
                f"{would}{run.plans_total} plans: {run.plans_new} new, {run.plans_changed} changed, "
                f"{run.plans_vanished} gone, {run.prices_changed} prices changed, {run.networks_total} networks, "
                f"{len(run.skipped)} skipped."
            )
        )
