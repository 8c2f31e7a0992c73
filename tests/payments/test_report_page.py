"""The admin's page of finance, and the files that it gives out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User

from payments.models import Payment, StarTransaction
from payments.reports.books import REPORTS
from tests.factories import PaymentFactory

if TYPE_CHECKING:
    from django.test import Client

# A report is read by a connection of its own: it sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/reports/"
NOVEMBER = {"first": "2026-11-01", "last": "2026-11-30", "zone": "UTC"}


@pytest.fixture
def finance(client: Client) -> User:
    user = User.objects.create_user("=olga", password="password", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="export_reports"))
    client.force_login(user)
    return user


@pytest.fixture
def payment() -> Payment:
    moment = datetime(2026, 11, 10, 23, 30, tzinfo=UTC)
    return PaymentFactory(charged_at=moment, order__created_at=moment)


def put_in_ledger(payment: Payment, state: str = "matched") -> None:
    StarTransaction.objects.create(
        transaction_id=payment.charge_id, direction="in", amount_stars=payment.amount_stars, date=payment.charged_at,
        partner_type="user", state=state, payment=payment if state == "matched" else None,
    )  # fmt: skip


@pytest.mark.usefixtures("finance", "payment")
def test_what_the_ledger_does_not_show_leaves_no_tick(client: Client) -> None:
    page = client.get(PAGE, NOVEMBER)

    assert not page.context["closing"].total["balances"]
    assert "130 Stars of our books are not in Telegram's ledger" in page.text


@pytest.mark.usefixtures("finance", "payment")
@pytest.mark.parametrize("name", list(REPORTS))
def test_a_report_is_streamed_as_a_file_with_the_days_in_its_name(client: Client, name: str) -> None:
    answer = client.post(PAGE, {**NOVEMBER, "report": name})

    assert answer.streaming
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="esimshop-{name}-2026-11-01--2026-11-30.csv"'
    assert b"".join(answer.streaming_content).count(b"\r\n") == {"refunds": 1, "ledger": 1, "daily": 31}.get(name, 2)


def test_an_export_leaves_a_log_entry_that_says_who_took_what(client: Client, finance: User, payment: Payment) -> None:
    client.post(PAGE, {**NOVEMBER, "report": "payments", "bom": "on"})

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr) == (finance, "report payments")
    assert "2026-11-01 to 2026-11-30, UTC" in entry.get_change_message(), payment


@pytest.mark.usefixtures("finance")
def test_a_balanced_month_has_a_tick_and_an_unexplained_star_has_none(client: Client, payment: Payment) -> None:
    put_in_ledger(payment)
    page = client.get(PAGE, NOVEMBER)
    assert page.context["closing"].total["balances"]
    assert "to the Star" in page.content.decode()

    StarTransaction.objects.update(state="unexplained", payment=None)
    page = client.get(PAGE, NOVEMBER)
    assert not page.context["closing"].total["balances"]
    assert "130 Stars are unexplained" in page.content.decode()


@pytest.mark.usefixtures("finance", "payment")
def test_what_becomes_payable_is_listed_by_its_day(client: Client) -> None:
    with time_machine.travel(datetime(2026, 11, 24, 12, tzinfo=UTC), tick=False):
        closing = client.get(PAGE, NOVEMBER).context["closing"]
        assert [(str(row["day"]), row["stars"]) for row in closing.payable] == [("2026-12-01", 130)]
        berlin = client.get(PAGE, {**NOVEMBER, "zone": "Europe/Berlin"}).context["closing"]
        assert [str(row["day"]) for row in berlin.payable] == ["2026-12-02"]
        assert closing.today["on_hold_stars"] == 130


@pytest.mark.usefixtures("finance")
@pytest.mark.parametrize(
    "wrong", [{"first": "2026-12-01"}, {"zone": "Mars"}, {"first": "nonsense"}, {"last": ""}, {"first": "0001-01-01"}]
)
def test_days_that_make_no_sense_are_refused_in_words(client: Client, wrong: dict[str, str]) -> None:
    answer = client.get(PAGE, {**NOVEMBER, **wrong})

    assert answer.status_code == 400
    assert "reports-bad" in answer.content.decode()
    assert client.post(PAGE, {**NOVEMBER, **wrong, "report": "daily"}).status_code == 400


@pytest.mark.usefixtures("finance")
def test_the_page_opens_with_this_month_and_stands_in_the_sidebar(client: Client) -> None:
    page = client.get(PAGE)

    assert page.status_code == 200
    assert page.context["days"].first.day == 1
    assert f'href="{PAGE}"' in client.get("/admin/").content.decode()


def test_nobody_opens_it_without_the_permission(client: Client) -> None:
    assert client.get(PAGE).status_code == 302
    client.force_login(User.objects.create_user("support", password="password", is_staff=True))

    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {**NOVEMBER, "report": "payments"}).status_code == 403
    assert f'href="{PAGE}"' not in client.get("/admin/").content.decode()
