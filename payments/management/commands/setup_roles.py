"""`manage.py setup_roles`: the groups of the staff, with their permissions."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.contrib.auth.models import Permission
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from payments.services.roles import set_up_roles


class Command(BaseCommand):
    help = (
        "Make the groups Support, Support lead, Finance and Operator, each with exactly its permissions: what was "
        "given to them by hand is taken again. Their members, and other groups, stay as they are. Run it after each "
        "upgrade."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                changes = set_up_roles()
                transaction.set_rollback(options["dry_run"])
        except Permission.DoesNotExist as error:
            raise CommandError(f"{error} Run `manage.py migrate` first.") from error
        if options["json"]:
            self.stdout.write(json.dumps([asdict(change) for change in changes], indent=2))
            return
        for change in changes:
            state = "new" if change.is_new else "changed" if change.is_change else "as it should be"
            self.stdout.write(f"{change.role}: {state}")
            for mark, names in (("+", change.given), ("-", change.taken)):
                for name in names:
                    self.stdout.write(f"  {mark} {name}")
        if options["dry_run"] and any(change.is_change for change in changes):
            self.stdout.write("Nothing was changed: this was a dry run.")
