"""`manage.py doctor`: is the shop well, and if not, what cures it?"""

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from payments.services.diagnosis import Finding, State, diagnose


class Command(BaseCommand):
    help = (
        "Look at everything that the shop needs: settings, database, Telegram, eSIM Go, worker, money, stuck work. "
        "Each finding comes with its cure. Changes nothing. Exit code 1 on any problem, 0 with warnings alone."
    )
    # They are findings, and must not keep the others from being told.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="A list of {name, state, text, cure}, for scripts.")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = diagnose()
        if options["json"]:
            self.stdout.write(json.dumps([dataclasses.asdict(finding) for finding in findings], ensure_ascii=False))
        else:
            for finding in findings:
                self._show(finding)
        problems = sum(finding.state == State.PROBLEM for finding in findings)
        if problems:
            raise CommandError(f"{problems} problems.")

    def _show(self, finding: Finding) -> None:
        paint = {State.OK: self.style.SUCCESS, State.WARNING: self.style.WARNING, State.PROBLEM: self.style.ERROR}
        self.stdout.write(f"{paint[finding.state](f'{finding.state:<8}')} {finding.name:<17} {finding.text}")
        if finding.cure:
            self.stdout.write(f"{'':<26} → {finding.cure}")
