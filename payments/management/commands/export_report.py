"""`manage.py export_report payments`: a CSV report."""

import os
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError

from payments.reports.books import REPORTS
from payments.reports.days import BadDays, Days, parse_day
from payments.reports.export import stream_report


class Command(BaseCommand):
    help = (
        "Write a CSV report of finance, streamed: payments, refunds, orders, daily (one row a day) or ledger "
        "(Telegram's rows). Columns and figures: docs/finance.md. Without dates: everything there is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("report", choices=list(REPORTS))
        parser.add_argument("--from", dest="first", metavar="DATE", help="first day, as 2026-11-01")
        parser.add_argument("--to", dest="last", metavar="DATE", help="last day, included")
        parser.add_argument("--tz", default="UTC", metavar="ZONE", help="whose days, as Europe/Berlin (default: UTC)")
        parser.add_argument("--output", metavar="FILE", help="there, once it is complete, instead of standard output")
        parser.add_argument("--bom", action="store_true", help="begin with the mark by which Excel knows UTF-8")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            days = Days(
                first=parse_day(options["first"]) if options["first"] else None,
                last=parse_day(options["last"]) if options["last"] else None,
                zone=options["tz"],
            )
        except BadDays as error:
            raise CommandError(str(error)) from error
        rows = 0
        with closing(stream_report(REPORTS[options["report"]], days, has_bom=options["bom"])) as chunks:
            try:
                with _open(options["output"]) as output:
                    for written in _write(chunks, output):
                        rows = written
                        if self.stderr.isatty():
                            self.stderr.write(f"\r{rows:,} rows", ending="")
            except BrokenPipeError:
                # Whoever read has seen enough. What Python would still flush has nowhere to go.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return
            except OSError as error:
                raise CommandError(f"{options['output'] or 'Standard output'} cannot be written: {error}") from error
        self.stderr.write(f"{chr(13) if self.stderr.isatty() else ''}{rows:,} rows of {options['report']}.")


@contextmanager
def _open(file: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that is there only once all of it is written."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(file)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as draft:
        try:
            yield draft  # type: ignore[misc]
            draft.close()
            Path(draft.name).replace(target)
        finally:
            Path(draft.name).unlink(missing_ok=True)


def _write(chunks: Iterator[bytes], output: BinaryIO) -> Iterator[int]:
    """Write all chunks; after each, how many rows there are so far, the header not counted."""
    lines = 0
    for chunk in chunks:
        output.write(chunk)
        lines += chunk.count(b"\r\n")
        yield max(0, lines - 1)
