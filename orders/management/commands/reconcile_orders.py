"""`manage.py reconcile_orders`."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from orders.services.reconciliation import PERIOD, OrdersReport, ReconciliationFailed, reconcile_orders


class Command(BaseCommand):
    help = (
        "Compare eSIM Go's orders and eSIMs of the last days with ours. Writes our order id on eSIMs of ours that lack "
        "it, keeps purchases that belong to no order for a decision (adopt, revoke, write off), revokes those of "
        "orders refunded meanwhile where eSIM Go takes them back, and lists what differs. Buys nothing and refunds "
        "nobody. Exit code 1 if anything is left for a person, or if the wholesaler's books could not be read "
        "completely: then nothing is changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=_days, default=PERIOD.days, help="how far to look back (default: 3)")
        parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, here or at eSIM Go")

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options["json"]
        if not as_json:
            self.stdout.write("Reading eSIM Go's orders and eSIMs …")
        try:
            report = reconcile_orders(
                since=timezone.now() - timedelta(days=options["days"]), dry_run=options["dry_run"]
            )
        except ReconciliationFailed as error:
            if as_json:
                self.stdout.write(json.dumps({"error": str(error)}))
            raise CommandError(f"Nothing was changed: {error}") from error
        if as_json:
            whole = asdict(report) | {"needs_person": report.needs_person}
            self.stdout.write(json.dumps(whole, cls=DjangoJSONEncoder, ensure_ascii=False))
        else:
            self._print(report)
        if report.needs_person:
            raise CommandError("Something is left for a person.")

    def _print(self, report: OrdersReport) -> None:
        self._table(
            "Unlinked there: purchases at eSIM Go that belong to no order of ours",
            (
                [
                    row.reference or f"eSIM …{row.iccid[-4:]}",
                    row.bundle_name or "?",
                    f"{row.placed_at:%Y-%m-%d %H:%M}" if row.placed_at else "?",
                    row.note.replace("\n", " "),
                ]
                for row in report.unlinked_there
            ),
        )
        self._table(
            "Unlinked here: purchases of ours that eSIM Go does not list",
            (
                [row.reference, row.bundle_name, f"{row.started_at:%Y-%m-%d %H:%M}", f"order {row.order_id}"]
                for row in report.unlinked_here
            ),
        )
        self._table(
            "Different cost, USD: quoted from, taken",
            (
                [
                    str(row.order_id),
                    f"{row.quoted_usd.normalize():f}",
                    f"{row.taken_usd.normalize():f}",
                    "a loss" if row.is_loss else "",
                ]
                for row in report.different_cost
            ),
        )
        self._table(
            "References repaired",
            ([f"eSIM …{row.iccid[-4:]}", f"order {row.order_id}", row.error] for row in report.repaired),
        )
        self._table("Revoked, since their orders were refunded", ([reference] for reference in report.revoked))
        verdict = (
            f"{report.orders_read} orders and {report.esims_read} eSIMs since {report.since:%Y-%m-%d %H:%M}: "
            f"{len(report.unlinked_there)} unlinked there ({report.new_orphans} new), "
            f"{len(report.unlinked_here)} unlinked here, {len(report.different_cost)} of different cost, "
            f"{len(report.repaired)} references repaired, {len(report.revoked)} revoked, "
            f"{report.left_to_look_ups} left to look-ups, {report.other_items} of other kinds."
        )
        style = self.style.WARNING if report.needs_person else self.style.SUCCESS
        self.stdout.write(style(f"Would be: {verdict}" if report.dry_run else verdict))

    def _table(self, title: str, rows: Iterable[list[str]]) -> None:
        cells = list(rows)
        if not cells:
            return
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        self.stdout.write(self.style.MIGRATE_HEADING(title))
        for row in cells:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write(f"  {line.rstrip()}")


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 3650:
        raise ValueError(text)
    return days
