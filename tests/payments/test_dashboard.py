"""The start page of the back office: its figures, what needs a person, and that each sees only their part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog.models import CatalogSync, Plan, PricingPolicy, SalesPause, WholesalerAccount
from orders.models import Order, Orphan
from payments.dashboard_page import fill_dashboard
from payments.models import Case, Payment, Refund, RefundRequest, StarsAccount, StarTransaction, TelegramUpdate
from payments.services.dashboard import find_stuck_orders, read_figures, read_health
from tests.factories import CustomerFactory, InvoiceFactory, OrderFactory, PaymentFactory, PlanFactory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client, RequestFactory

pytestmark = pytest.mark.django_db
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_old_figures() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("lead", password="password"))
    return client


def sold(at: datetime, *, took: timedelta | None = timedelta(seconds=2), refunded_at: datetime | None = None) -> Order:
    """An order paid at that time: completed after so long, or refunded."""
    number = Order.objects.count()
    order = OrderFactory(
        customer=CustomerFactory(telegram_user_id=5000 + number),
        plan=Plan.objects.first() or PlanFactory(),
        status=Order.Status.COMPLETED if took is not None else Order.Status.REFUNDED,
        created_at=at,
        paid_at=at,
        completed_at=at + took if took is not None else None,
    )
    InvoiceFactory(order=order)
    payment = PaymentFactory(order=order, customer=order.customer, amount_stars=130, charged_at=at)
    if refunded_at:
        Refund.objects.create(
            payment=payment, status="done", reason="sold out", requested_by="worker", refunded_at=refunded_at
        )
    return order


# Figures


@time_machine.travel(NOON, tick=False)
def test_today_begins_at_midnight_of_the_zone() -> None:
    sold(datetime(2026, 11, 23, 22, 59, tzinfo=UTC))  # 23:59 of yesterday in Berlin
    sold(datetime(2026, 11, 23, 23, 0, tzinfo=UTC))  # midnight in Berlin

    assert read_figures(BERLIN).today.payments == 1
    assert read_figures(ZoneInfo("UTC")).today.payments == 0
    assert [day.payments for day in read_figures(BERLIN).days][-2:] == [1, 1]


@time_machine.travel(datetime(2026, 11, 10, 12, tzinfo=UTC), tick=False)
def test_a_day_of_25_hours_is_one_day() -> None:
    for hour in (datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 22, 59, tzinfo=UTC)):
        sold(hour)
    sold(datetime(2026, 10, 25, 23, tzinfo=UTC))

    counts = {day.date.isoformat(): day.payments for day in read_figures(BERLIN).days}

    assert (counts["2026-10-25"], counts["2026-10-26"]) == (2, 1)


@time_machine.travel(NOON, tick=False)
def test_the_figures_of_a_month() -> None:
    for seconds in (1, 2, 3):
        sold(NOON - timedelta(days=3), took=timedelta(seconds=seconds))
    sold(NOON - timedelta(days=2), took=None, refunded_at=NOON - timedelta(days=1))
    sold(NOON - timedelta(days=40))
    unpaid = OrderFactory(plan=Plan.objects.get(), created_at=NOON)
    InvoiceFactory(order=unpaid)

    month = read_figures(ZoneInfo("UTC")).month

    assert (month.payments, month.stars) == (4, 520)
    assert (month.refunds, month.stars_refunded) == (1, 130)
    assert (month.invoices, month.invoices_paid, month.invoices_delivered) == (5, 4, 3)
    assert (month.median, month.slow) == (timedelta(seconds=2), timedelta(seconds=2.9))


def test_an_empty_shop_has_thirty_days_of_nothing() -> None:
    figures = read_figures(BERLIN)

    assert len(figures.days) == 30
    assert figures.month.payments == figures.month.stars == figures.month.invoices == 0
    assert figures.month.median is None


# What needs a person


def stuck(cause: str, *, status: str = Order.Status.NEEDS_ATTENTION) -> Order:
    return OrderFactory(
        plan=Plan.objects.first() or PlanFactory(),
        status=status,
        cause=cause,
        paid_at=timezone.now() - timedelta(hours=1),
        amount_stars=130,
    )


def test_orders_that_need_a_person_are_grouped_by_cause() -> None:
    stuck("outcome_unknown"), stuck("outcome_unknown"), stuck("no_esim_data")
    stuck("account", status=Order.Status.PAID)
    stuck("", status=Order.Status.PAID)  # the worker has only not come to it yet

    found = {(each.status, each.cause): (each.count, each.stars) for each in find_stuck_orders()}

    assert found == {
        ("needs_attention", "outcome_unknown"): (2, 260),
        ("needs_attention", "no_esim_data"): (1, 130),
        ("paid", "account"): (1, 130),
    }


def test_each_group_says_what_to_do_and_leads_to_its_orders_and_their_act(staff: Client) -> None:
    order = stuck("outcome_unknown")
    other = stuck("no_esim_data")

    page = staff.get("/admin/")

    [matter] = [each for each in page.context["matters"] if "not known whether" in each.what]
    assert "re-provision" in matter.action
    assert matter.act_label == "Re-provision 1"
    listed = staff.get(matter.url).text
    assert str(order.pk)[:8] in listed
    assert str(other.pk)[:8] not in listed
    assert str(order.pk) in staff.get(matter.act_link).text


def test_everything_else_that_waits_is_named_with_its_list(staff: Client) -> None:
    order = stuck("")
    payment = PaymentFactory(order=order, customer=order.customer, status=Payment.Status.REFUND_FAILED)
    RefundRequest.objects.create(payment=payment, status="waiting", reason="dear", requested_by="admin:a")
    Case.objects.create(customer=order.customer, reason="other", wish="help")
    Orphan.objects.create(reference="1")
    TelegramUpdate.objects.create(update_id=1, kind="message", body={}, status="failed")
    StarTransaction.objects.create(
        transaction_id="1",
        direction="in",
        amount_stars=1,
        date=timezone.now(),
        partner_type="user",
        state="unexplained",
    )

    page = staff.get("/admin/")

    for matter in page.context["matters"]:
        assert staff.get(matter.url).status_code == 200, matter
    assert {matter.what for matter in page.context["matters"]} >= {
        "refund waits for a second person",
        "refund was refused by Telegram",
        "purchase at eSIM Go belongs to no order",
        "update could not be handled",
        "row of Telegram's ledger is unexplained",
    }


def test_where_nothing_waits_the_page_says_so(staff: Client) -> None:
    page = staff.get("/admin/").text

    assert "Nothing waits for a person." in page
    assert "Nothing was sold yet." in page


# Health


def test_health_tells_what_was_last_known_and_how_old_it_is() -> None:
    now = timezone.now()
    WholesalerAccount.objects.update_or_create(
        pk=1, defaults={"balance_usd": "123.40", "read_at": now - timedelta(minutes=4)}
    )
    StarsAccount.objects.update_or_create(pk=1, defaults={"balance_stars": 900, "read_at": now})
    CatalogSync.objects.create(started_at=now, finished_at=now - timedelta(hours=2))
    CatalogSync.objects.create(started_at=now, finished_at=now, error="it broke")

    health = read_health()

    assert str(health.balance_usd) == "123.4000"
    assert health.balance_age is not None
    assert 239 < health.balance_age.total_seconds() < 260
    assert health.balance_stars == 900
    assert health.catalogue_age is not None
    assert health.catalogue_age > timedelta(hours=1)
    assert health.heartbeat_age is None


def test_a_pause_and_the_switch_are_shown_with_their_cause(staff: Client) -> None:
    SalesPause.objects.create(cause="queue", reason="paid orders wait")
    assert "paid orders wait too long since" in staff.get("/admin/").text

    SalesPause.objects.all().delete()
    PricingPolicy.objects.create(is_selling=False)
    assert "switched off in the pricing policy" in staff.get("/admin/").text


# Who sees what, and what it costs


def test_staff_see_only_what_they_may_view(client: Client) -> None:
    stuck("outcome_unknown")
    Orphan.objects.create(reference="1")
    user = User.objects.create_user("ivan", password="password", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_orphan"))
    client.force_login(user)

    page = client.get("/admin/")

    assert [matter.what for matter in page.context["matters"]] == ["purchase at eSIM Go belongs to no order"]
    assert "Payments a day" not in page.text
    assert "balance" not in page.text


@pytest.mark.usefixtures("staff")
def test_the_page_costs_the_same_number_of_queries_for_3_orders_and_for_30(client: Client) -> None:
    def count() -> int:
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/admin/").status_code == 200
        return len(queries)

    for _ in range(3):
        sold(timezone.now())
        stuck("outcome_unknown")
    few = count()
    for _ in range(27):
        sold(timezone.now() - timedelta(days=3))
        stuck("no_esim_data")

    assert count() == few
    assert few <= 32


@time_machine.travel(NOON, tick=False)
def test_every_figure_leads_to_the_rows_it_counts(staff: Client) -> None:
    sold(NOON - timedelta(hours=1))
    sold(NOON - timedelta(days=2), took=None, refunded_at=NOON - timedelta(hours=2))
    page = staff.get("/admin/")

    for tile in [*page.context["today"], *page.context["month"], *page.context["health"]]:
        answer = staff.get(tile.url)
        assert answer.status_code == 200, tile
        assert "e=1" not in tile.url
    payments, refunds = page.context["today"][:2]
    assert (payments.value, refunds.value) == ("1", "1")
    assert len(_rows(staff, payments.url)) == 1
    assert len(_rows(staff, refunds.url)) == 1
    bars = page.context["charts"]["drawings"][0].bars
    assert len(_rows(staff, bars[-3].url)) == 1
    assert parse_qs(urlsplit(bars[-1].url).query)["charged_at__gte"] == ["2026-11-24T00:00:00+00:00"]


def _rows(staff: Client, url: str) -> list[Any]:
    return list(staff.get(url).context["cl"].result_list)


def test_the_figures_of_a_month_may_be_a_minute_old_but_what_waits_is_of_now(rf: RequestFactory) -> None:
    request = rf.get("/admin/")
    request.user = User.objects.create_superuser("lead", password="password")
    before = fill_dashboard(request, {})
    sold(timezone.now())
    stuck("outcome_unknown")

    after = fill_dashboard(request, {})

    assert after["month"] == before["month"]
    assert len(after["matters"]) == 1
