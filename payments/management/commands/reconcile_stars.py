"""`manage.py reconcile_stars`: Telegram's Stars ledger against our books."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from esimshop.clients.telegram import TelegramError
from payments.models import StarTransaction
from payments.services.ledger import AlreadyReconciling, StarsReport, reconcile_stars

SHOWN = 50


class Command(BaseCommand):
    help = (
        "Read Telegram's Stars ledger on from where it was read last, record payments and refunds that only Telegram "
        "knows, as far as they are certain, and list the rest: only in Telegram, only here, different amounts, and "
        "the Stars that nothing explains. Exit code 1 if something is left for a person, or Telegram does not answer."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--adopt-history",
            action="store_true",
            help="all rows until now that we cannot explain are from before this shop kept books",
        )
        parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
        parser.add_argument("--dry-run", action="store_true", help="report what would be done, and write nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = reconcile_stars(adopt_history=options["adopt_history"], dry_run=options["dry_run"])
        except AlreadyReconciling:
            note = "Another process reconciles at this moment; it does the same."
            self.stdout.write(json.dumps({"skipped": note}) if options["json"] else note)
            return
        except TelegramError as error:
            if options["json"]:
                self.stdout.write(json.dumps({"error": str(error)}))
            raise CommandError(f"Telegram's ledger could not be read to its end: {error}. Run it again.") from error
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), ensure_ascii=False))
        else:
            self._print(report)
        if not report.is_clean:
            raise CommandError("Some Stars need a person: see above.")

    def _print(self, report: StarsReport) -> None:
        would = "Would be: " if report.is_dry_run else ""
        if report.doubt:
            self.stdout.write(self.style.WARNING(f"Read again from the beginning: {report.doubt}."))
        self.stdout.write(f"{report.rows_read} rows in Telegram's ledger, {report.rows_new} of them new.")
        self.stdout.write(
            f"{would}{len(report.recorded)} payments recorded, {len(report.settled)} refunds settled, "
            f"{report.adopted} rows adopted as history; young charges left to their updates: {report.waiting}."
        )
        self._table("Only in Telegram", [_row(row) for row in report.only_in_telegram])
        self._table(
            "Only here",
            [(each.charge_id, each.direction, f"{each.amount_stars}", f"{each.at:%Y-%m-%d %H:%M}", "")
             for each in report.only_here],
        )  # fmt: skip
        self._table("Different amounts", [_row(row) for row in report.different])
        self._table(
            "Refunds held: return each with refund_payment",
            [(payment.charge_id, "in", f"{payment.amount_stars}", f"{payment.charged_at:%Y-%m-%d %H:%M}",
              payment.get_extra_reason_display()) for payment in report.held],
        )  # fmt: skip
        self.stdout.write(f"Balance {report.balance_stars} Stars, unexplained {report.unexplained_stars} Stars.")
        if report.is_clean:
            self.stdout.write(self.style.SUCCESS("The books agree."))

    def _table(self, title: str, rows: Sequence[tuple[str, ...]]) -> None:
        if not rows:
            return
        self.stdout.write(self.style.WARNING(f"{title} ({len(rows)}):"))
        for charge_id, direction, stars, at, note in rows[:SHOWN]:
            self.stdout.write(f"  {at}  {direction:3}  {stars:>9}  {charge_id}  {note}".rstrip())
        if len(rows) > SHOWN:
            self.stdout.write(f"  … and {len(rows) - SHOWN} more: see the admin, or --json")


def _row(row: StarTransaction) -> tuple[str, ...]:
    return row.transaction_id, row.direction, f"{row.amount_stars}", f"{row.date:%Y-%m-%d %H:%M}", row.note
