"""`manage.py export_report`: the same files on standard output or, whole or not at all, in a file."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from payments.reports.books import REPORTS
from payments.reports.days import Days
from payments.reports.export import BOM, stream_report
from tests.factories import PaymentFactory

if TYPE_CHECKING:
    from payments.models import Payment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def payment() -> Payment:
    return PaymentFactory(charged_at=datetime(2026, 11, 30, 23, 30, tzinfo=UTC))


def whole(name: str) -> bytes:
    return b"".join(stream_report(REPORTS[name], Days()))


@pytest.mark.usefixtures("payment")
@pytest.mark.parametrize("name", ["payments", "refunds", "orders", "ledger"])
def test_a_report_goes_to_standard_output_and_its_rows_are_counted_beside_it(
    name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    call_command("export_report", name)

    out, err = capfdbinary.readouterr()
    assert out == whole(name)
    assert err.decode().strip() == f"{out.count(bytes([10])) - 1} rows of {name}."


def test_dates_are_days_of_the_zone(payment: Payment, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    days = ["--from", "2026-12-01", "--to", "2026-12-01"]
    call_command("export_report", "payments", *days)
    assert capfdbinary.readouterr().out.count(b"\n") == 1

    call_command("export_report", "payments", *days, "--tz", "Europe/Berlin")
    assert payment.charge_id.encode() in capfdbinary.readouterr().out


@pytest.mark.usefixtures("payment")
def test_a_file_is_there_once_it_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "payments.csv"
    file.write_text("yesterday's")

    call_command("export_report", "payments", "--output", str(file), "--bom")

    assert file.read_bytes() == BOM + whole("payments")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--from", "1.11.2026"], "2026-11-30"),
        (["--to", "2026-13-01"], "no date"),
        (["--tz", "Berlin"], "time zone"),
        (["--from", "2026-11-02", "--to", "2026-11-01"], "after"),
        (["--output", "/nonexistent/report.csv"], "cannot be written"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(options: list[str], word: str) -> None:
    with pytest.raises(CommandError, match=word):
        call_command("export_report", "payments", *options)


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    code = (
        "import os, sys; read, write = os.pipe(); os.dup2(write, 1); os.close(write); os.close(read)\n"
        "sys.path.insert(0, '.')\n"
        "from payments.management.commands import export_report\n"
        "export_report.stream_report = lambda *args, **options: (b'row' * 10**6 for _ in range(3))\n"
        "export_report.Command().run_from_argv(['manage.py', 'export_report', 'payments'])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"import django, os; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; "
         f"os.environ['DEBUG'] = 'on'; django.setup()\n{code}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (run.returncode, run.stderr) == (0, "")
