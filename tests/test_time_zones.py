"""Staff read the back office's times in their own time zone; nothing else follows it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.utils import timezone

from esimshop.time_zones import COOKIE, TimeZoneMiddleware
from tests.factories import OrderFactory, PlanFactory

if TYPE_CHECKING:
    from django.test import Client, RequestFactory

pytestmark = pytest.mark.django_db

ORDERS = "/admin/orders/order/"
#: Longer than any browser, or anybody, names a zone.
LONG = "Europe/" + "Berlin" * 1000


@pytest.fixture
def staff(client: Client) -> User:
    user = User.objects.create_superuser("lead", password="password")
    client.force_login(user)
    return user


def look(client: Client, url: str, *, zone: str) -> str:
    """A page as somebody reads it whose browser says that it is in `zone`."""
    client.cookies[COOKIE] = zone
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "2026-10-24 23:30:00"),
        ("Europe/Berlin", "2026-10-25 01:30:00"),
        ("America/New_York", "2026-10-24 19:30:00"),
        ("Asia/Calcutta", "2026-10-25 05:00:00"),
        ("Etc/GMT+3", "2026-10-24 20:30:00"),
    ],
)
def test_a_list_and_a_page_show_a_time_in_the_zone_of_whoever_reads(client: Client, zone: str, shown: str) -> None:
    order = OrderFactory(created_at=datetime(2026, 10, 24, 23, 30, tzinfo=UTC))

    for url in (ORDERS, f"{ORDERS}{order.pk}/change/"):
        page = look(client, url, zone=zone)
        assert shown in page, url
        assert f'data-zone="{zone}"' in page


@pytest.mark.usefixtures("staff")
def test_the_hour_that_comes_twice_is_shown_as_the_clocks_showed_it(client: Client) -> None:
    plan = PlanFactory()
    for hour in (0, 1, 2):
        OrderFactory(plan=plan, status="completed", created_at=datetime(2026, 10, 25, hour, 30, tzinfo=UTC))

    page = look(client, ORDERS, zone="Europe/Berlin")

    assert page.count("2026-10-25 02:30:00") == 2
    assert page.count("2026-10-25 03:30:00") == 1


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "localtime", "europe/berlin", "\0", "\xff", LONG]
)
def test_what_names_no_zone_is_utc_and_breaks_nothing(client: Client, zone: str) -> None:
    OrderFactory(created_at=datetime(2026, 10, 24, 23, 30, tzinfo=UTC))

    page = look(client, ORDERS, zone=zone)

    assert "2026-10-24 23:30:00" in page
    assert 'data-zone="UTC"' in page


@pytest.mark.parametrize(
    ("path", "zone"),
    [("/admin/", "Asia/Tokyo"), ("/admin/acts/refund/", "Asia/Tokyo"), ("/api/orders", "UTC"), ("/", "UTC")],
)
def test_the_cookie_counts_in_the_back_office_alone(rf: RequestFactory, path: str, zone: str) -> None:
    rf.cookies[COOKIE] = "Asia/Tokyo"
    middleware = TimeZoneMiddleware(lambda request: HttpResponse(timezone.get_current_timezone_name()))

    assert middleware(rf.get(path)).content.decode() == zone
    assert timezone.get_current_timezone_name() == "UTC"


def test_the_login_page_already_tells_the_zone_so_that_the_first_page_is_right(client: Client) -> None:
    assert "backoffice/time_zone.js" in client.get("/admin/login/").content.decode()


# Days asked for are the reader's days.

#: The last second of a day, and the first of the next, by the clocks of the place; in UTC.
BORDERS = [
    ("UTC", date(2026, 10, 25), datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC)),
    # 25 hours long: summer time ends.
    (
        "Europe/Berlin",
        date(2026, 10, 25),
        datetime(2026, 10, 24, 22, tzinfo=UTC),
        datetime(2026, 10, 25, 23, tzinfo=UTC),
    ),
    # 23 hours long: summer time begins.
    ("Europe/Berlin", date(2026, 3, 29), datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
    ("America/New_York", date(2026, 11, 1), datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 11, 2, 5, tzinfo=UTC)),
    # Begins at 01:00: the clocks skip midnight.
    ("Africa/Cairo", date(2026, 4, 24), datetime(2026, 4, 23, 22, tzinfo=UTC), datetime(2026, 4, 24, 21, tzinfo=UTC)),
    (
        "Asia/Kathmandu",
        date(2026, 1, 1),
        datetime(2025, 12, 31, 18, 15, tzinfo=UTC),
        datetime(2026, 1, 1, 18, 15, tzinfo=UTC),
    ),
]


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize(("zone", "day", "begins", "ends"), BORDERS)
def test_a_day_of_a_list_goes_from_midnight_to_midnight_where_the_reader_is(
    client: Client, zone: str, day: date, begins: datetime, ends: datetime
) -> None:
    plan, second = PlanFactory(), timedelta(seconds=1)
    before, first, last, after = (
        OrderFactory(plan=plan, status="completed", created_at=at).pk
        for at in (begins - second, begins, ends - second, ends)
    )
    client.cookies[COOKIE] = zone

    def listed(**days: date) -> set[Any]:
        answer = client.get(ORDERS, {f"created_at_{end}": day.isoformat() for end, day in days.items()})
        assert answer.status_code == 200
        return {order.pk for order in answer.context["cl"].result_list}

    assert listed(**{"from": day, "to": day}) == {first, last}
    assert listed(**{"from": day}) == {first, last, after}
    assert listed(to=day) == {before, first, last}


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Niue"])
@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2026-02-30", "today"])
def test_a_day_that_no_calendar_has_breaks_nothing(client: Client, zone: str, day: str) -> None:
    client.cookies[COOKIE] = zone

    for end in ("from", "to"):
        assert client.get(ORDERS, {f"created_at_{end}": day}).status_code in {200, 302}
