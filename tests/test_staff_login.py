"""The login of the staff: guessing is slow, a second factor holds, and the shop's own pages pay nothing for it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from esimshop.addresses import address_of
from esimshop.second_factor import CodeRefused, _make_recovery_codes, verify_code
from esimshop.staff_login import FAILURES_PER_HOUR, trim_logins
from payments.services.roles import SUPPORT, set_up_roles
from tests.test_admin import list_url

if TYPE_CHECKING:
    from time_machine import TimeMachineFixture

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
PAGE = "/admin/second-factor/"
START = "2026-11-24 12:00:07+00:00"


@pytest.fixture(autouse=True)
def clock(time_machine: TimeMachineFixture) -> TimeMachineFixture:
    time_machine.move_to(START, tick=False)
    return time_machine


@pytest.fixture
def staff() -> User:
    return User.objects.create_superuser("vera", password="right")


def log_in(client: Client, username: str = "vera", password: str = "right", **environ: Any) -> Any:
    return client.post(LOGIN, {"username": username, "password": password, "next": "/admin/"}, **environ)


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


# Guessing


@pytest.mark.usefixtures("staff")
def test_the_right_password_opens_the_back_office_and_the_login_is_on_record(client: Client) -> None:
    answer = log_in(client, HTTP_USER_AGENT="Firefox")

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert is_in(client)
    entry = AccessLog.objects.get()
    assert (entry.username, entry.ip_address, entry.user_agent) == ("vera", "127.0.0.1", "Firefox")


@pytest.mark.usefixtures("staff")
def test_the_fifth_wrong_password_locks_the_name_for_that_address_even_with_the_right_one(
    client: Client, clock: TimeMachineFixture
) -> None:
    for _ in range(4):
        assert log_in(client, password="wrong").status_code == 200

    locked = log_in(client, password="wrong")
    assert (locked.status_code, locked["Retry-After"]) == (429, "900")
    assert "15 more minutes" in locked.content.decode()

    clock.shift(timedelta(minutes=13, seconds=30))
    locked = log_in(client)
    assert (locked.status_code, locked["Retry-After"]) == (429, "90")
    assert "2 more minutes" in locked.content.decode()
    assert not is_in(client)

    clock.shift(timedelta(minutes=1, seconds=31))
    assert log_in(client).status_code == 302
    assert is_in(client)


@pytest.mark.usefixtures("staff")
def test_trying_while_locked_makes_the_lock_no_longer(client: Client, clock: TimeMachineFixture) -> None:
    for _ in range(5):
        log_in(client, password="wrong")
    for _ in range(14):
        clock.shift(timedelta(minutes=1))
        assert log_in(client, password="wrong").status_code == 429

    clock.shift(timedelta(seconds=61))
    assert log_in(client).status_code == 302


@pytest.mark.usefixtures("staff")
def test_another_browser_does_not_begin_to_count_anew(client: Client) -> None:
    for number in range(5):
        answer = log_in(client, password="wrong", HTTP_USER_AGENT=f"browser {number}")

    assert answer.status_code == 429


@pytest.mark.usefixtures("staff")
def test_a_locked_name_is_still_open_from_another_address_and_another_name_from_this_one(client: Client) -> None:
    User.objects.create_superuser("olga", password="right")
    for _ in range(5):
        log_in(client, password="wrong", REMOTE_ADDR="192.0.2.1")
    assert log_in(client, REMOTE_ADDR="192.0.2.1").status_code == 429

    assert log_in(Client(), REMOTE_ADDR="192.0.2.2").status_code == 302
    assert log_in(Client(), username="olga", REMOTE_ADDR="192.0.2.1").status_code == 302


@pytest.mark.usefixtures("staff")
def test_a_good_login_forgets_the_wrong_ones_before(client: Client) -> None:
    for _ in range(4):
        log_in(client, password="wrong")
    log_in(client)
    client.post("/admin/logout/")

    assert log_in(client, password="wrong").status_code == 200


def without_what_differs(page: bytes, username: str) -> str:
    """The page without its form token and the name that was typed in."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page.decode()).replace(username, "NAME")


@pytest.mark.usefixtures("staff")
def test_nobody_learns_from_the_login_which_names_there_are(client: Client) -> None:
    User.objects.create_user("customer", password="right")
    User.objects.create_superuser("gone", password="right", is_active=False)
    tries = {"vera": "wrong", "nobody": "wrong", "customer": "right", "gone": "right"}

    answers = {name: log_in(client, username=name, password=word) for name, word in tries.items()}
    assert len({without_what_differs(answer.content, name) for name, answer in answers.items()}) == 1

    locked = {}
    for name in ("vera", "nobody"):
        for _ in range(4):
            locked[name] = log_in(client, username=name, password="wrong")
    assert {answer.status_code for answer in locked.values()} == {429}
    assert len({without_what_differs(answer.content, name) for name, answer in locked.items()}) == 1


@pytest.mark.usefixtures("staff")
def test_an_address_that_tries_many_names_waits_for_the_hour_to_end(client: Client, clock: TimeMachineFixture) -> None:
    for number in range(FAILURES_PER_HOUR):
        assert log_in(client, username=f"name {number}", password="wrong").status_code == 200

    locked = log_in(client)
    assert (locked.status_code, locked["Retry-After"]) == (429, str(3600 - 7))
    assert "60 more minutes" in locked.content.decode()
    assert log_in(Client(), REMOTE_ADDR="192.0.2.9").status_code == 302

    clock.shift(timedelta(hours=1))
    assert log_in(client).status_code == 302


@pytest.mark.usefixtures("staff")
def test_good_logins_do_not_count_against_an_address() -> None:
    for _ in range(FAILURES_PER_HOUR + 1):
        answer = log_in(Client())

    assert answer.status_code == 302


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("::ffff:203.0.113.7", "", "203.0.113.7"),
        ("", "", None),
    ],
)
def test_only_our_own_proxy_is_believed_about_an_address_and_only_its_last_word(
    rf: Any, peer: str, said: str, address: str | None
) -> None:
    request = rf.get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": said} if said else None)

    assert address_of(request) == address


@pytest.mark.usefixtures("staff")
def test_a_made_up_address_does_not_escape_the_lock(client: Client) -> None:
    for number in range(5):
        answer = log_in(
            client, password="wrong", REMOTE_ADDR="203.0.113.7", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}"
        )

    assert answer.status_code == 429


@pytest.mark.usefixtures("staff")
def test_neither_logs_nor_rows_hold_a_password_and_logs_no_name(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        for _ in range(5):
            log_in(client, password="hunter2-hunter2")
        log_in(Client(), username="olga", password="hunter2-hunter2")

    assert "hunter2" not in caplog.text
    assert "vera" not in caplog.text
    assert "olga" not in caplog.text
    for attempt in AccessAttempt.objects.all():
        assert "hunter2" not in f"{attempt.get_data} {attempt.post_data}"


@pytest.mark.usefixtures("staff")
def test_a_superuser_sees_who_logged_in_and_who_failed(client: Client) -> None:
    for _ in range(5):
        log_in(Client(), username="olga", password="wrong", REMOTE_ADDR="192.0.2.1")
    log_in(client)

    assert "vera" in client.get(list_url(AccessLog)).content.decode()
    failed = client.get(list_url(AccessAttempt)).content.decode()
    assert "olga" in failed
    assert "192.0.2.1" in failed
    assert "locked" in failed


def test_old_logins_and_dead_sessions_are_forgotten(staff: User, client: Client, clock: TimeMachineFixture) -> None:
    log_in(client)
    log_in(Client(), password="wrong")
    clock.shift(timedelta(days=89))
    trim_logins()
    assert AccessLog.objects.exists()
    assert AccessAttempt.objects.exists()
    assert not Session.objects.exists()

    clock.shift(timedelta(days=2))
    trim_logins()
    assert not AccessLog.objects.exists()
    assert not AccessAttempt.objects.exists()


@pytest.mark.usefixtures("staff")
def test_a_session_lasts_a_working_day(client: Client, clock: TimeMachineFixture) -> None:
    log_in(client)
    cookie = client.cookies["sessionid"]
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (12 * 3600, True, "Lax")

    clock.shift(timedelta(hours=12, seconds=1))
    assert not is_in(client)


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/areas", "/api/plans", "/api/orders"])
def test_public_pages_ask_nothing_of_login_or_second_factor(client: Client, staff: User, path: str) -> None:
    client.force_login(staff)
    with CaptureQueriesContext(connection) as queries:
        client.get(path)

    words = ("axes_", "otp_", "auth_user", "django_session")
    assert [query["sql"] for query in queries if any(word in query["sql"] for word in words)] == []


# The second factor


def code_of(device: TOTPDevice) -> str:
    """What the app shows now."""
    return f"{totp(device.bin_key):06}"


def switch_on(client: Client) -> list[str]:
    """Switch the second factor of the logged in member of staff on. Returns the recovery codes."""
    client.post(PAGE, {"act": "start"})
    device = TOTPDevice.objects.get(confirmed=False)
    page = client.post(PAGE, {"act": "confirm", "code": code_of(device)}).content.decode()
    return re.findall(r"<li>([a-z2-7]{4}-[a-z2-7]{4})</li>", page)


@pytest.fixture
def codes(client: Client, staff: User, clock: TimeMachineFixture) -> list[str]:
    """Recovery codes of Vera, whose second factor is on, and who is logged out."""
    log_in(client)
    found = switch_on(client)
    client.post("/admin/logout/")
    clock.shift(timedelta(minutes=1))
    return found


def give_code(client: Client, code: str, **more: str) -> Any:
    return client.post("/admin/login/code/", {"code": code, "next": "/admin/orders/order/", **more})


def test_the_page_shows_the_secret_until_it_is_confirmed_and_never_again(client: Client, staff: User) -> None:
    client.force_login(staff)
    client.post(PAGE, {"act": "start"})
    device = TOTPDevice.objects.get()
    secret = re.search(r"secret=(\w+)", device.config_url)
    assert secret is not None

    page = client.get(PAGE)
    assert secret[1] in page.content.decode()
    assert "data:image/svg+xml;base64," in page.content.decode()
    assert "no-store" in page["Cache-Control"]

    confirmed = client.post(PAGE, {"act": "confirm", "code": code_of(device)})
    assert len(re.findall(r"<li>[a-z2-7]{4}-[a-z2-7]{4}</li>", confirmed.content.decode())) == 10
    for address in (PAGE, list_url(TOTPDevice), f"{list_url(TOTPDevice)}{device.pk}/change/"):
        later = client.get(address)
        assert later.status_code == 200, address
        for hidden in (secret[1], device.key, *StaticToken.objects.values_list("token", flat=True)):
            assert hidden not in later.content.decode()
    assert "10 of your recovery codes are left" in client.get(PAGE).content.decode()


def test_the_lists_cannot_be_asked_for_the_secret(client: Client, staff: User) -> None:
    client.force_login(staff)
    switch_on(client)

    assert client.get(f"{list_url(TOTPDevice)}?key__startswith=a").status_code == 400
    assert client.get("/admin/otp_static/staticdevice/").status_code == 404
    assert client.get(f"{list_url(TOTPDevice)}1/qrcode/").status_code in {302, 404}


def test_a_wrong_code_does_not_switch_it_on(client: Client, staff: User) -> None:
    client.force_login(staff)
    client.post(PAGE, {"act": "start"})

    page = client.post(PAGE, {"act": "confirm", "code": "12345"}).content.decode()

    assert "That code is not right." in page
    assert not TOTPDevice.objects.filter(confirmed=True).exists()
    client.logout()
    log_in(client)
    assert is_in(client)


def test_whoever_switches_it_on_goes_on_working_and_their_other_sessions_are_asked(client: Client, staff: User) -> None:
    other = Client()
    log_in(other)
    log_in(client)
    switch_on(client)

    assert is_in(client)
    assert not is_in(other)
    assert other.get("/admin/", follow=True).redirect_chain[-1][0].startswith("/admin/login/code/")


@pytest.mark.usefixtures("codes")
def test_the_password_alone_opens_nothing(client: Client) -> None:
    assert log_in(client)["Location"] == "/admin/"

    for path in ("/admin/", list_url(User), PAGE, "/admin/password_change/", "/admin/search/?s=o", "/admin/jsi18n/"):
        answer = client.get(path)
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/admin/login/"), path
    assert client.post(PAGE, {"act": "start"}).status_code == 302
    assert TOTPDevice.objects.filter(confirmed=True).count() == 1


@pytest.mark.usefixtures("codes")
def test_password_and_code_open_the_page_that_was_asked_for(client: Client) -> None:
    log_in(client)
    asked = client.get("/admin/orders/order/", follow=True)
    assert asked.redirect_chain[-1][0] == "/admin/login/code/?next=%2Fadmin%2Forders%2Forder%2F"
    before = client.session.session_key

    answer = give_code(client, code_of(TOTPDevice.objects.get()))

    assert (answer.status_code, answer["Location"]) == (302, "/admin/orders/order/")
    assert is_in(client)
    assert client.session.session_key != before


@pytest.mark.usefixtures("codes")
def test_a_code_works_once(client: Client) -> None:
    code = code_of(TOTPDevice.objects.get())
    log_in(client)
    give_code(client, code)
    thief = Client()
    log_in(thief)

    assert "That code is not right." in give_code(thief, code).content.decode()
    assert not is_in(thief)


@pytest.mark.usefixtures("codes")
def test_guessing_codes_gets_slower_and_slower(client: Client, clock: TimeMachineFixture) -> None:
    log_in(client)
    device = TOTPDevice.objects.get()
    for pause in (1, 2, 4, 8, 16):
        assert "That code is not right." in give_code(client, "000000").content.decode()
        too_soon = give_code(client, code_of(device)).content.decode()
        assert f"wait {pause} s" in too_soon
        clock.shift(timedelta(seconds=pause))

    assert give_code(client, code_of(device)).status_code == 302


def test_a_recovery_code_opens_once_however_it_is_typed(client: Client, codes: list[str]) -> None:
    assert len(set(codes)) == 10
    log_in(client)
    assert give_code(client, f" {codes[0].upper().replace('-', ' ')} ").status_code == 302
    assert is_in(client)
    assert "9 of your recovery codes are left" in client.get(PAGE).content.decode()

    again = Client()
    log_in(again)
    assert "That code is not right." in give_code(again, codes[0]).content.decode()


@pytest.mark.usefixtures("codes")
def test_no_code_of_one_person_opens_for_another(client: Client) -> None:
    olga = User.objects.create_superuser("olga", password="right")
    log_in(client, username="olga")
    assert is_in(client)
    switch_on(client)
    client.post("/admin/logout/")

    log_in(client)
    give_code(client, code_of(TOTPDevice.objects.get(user=olga)))

    assert not is_in(client)


@pytest.mark.usefixtures("codes")
@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "nonsense", ""])
def test_the_code_leads_nowhere_but_into_the_back_office(client: Client, where: str) -> None:
    log_in(client)

    assert give_code(client, code_of(TOTPDevice.objects.get()), next=where)["Location"] == "/admin/"


@pytest.mark.usefixtures("codes")
def test_whoever_cannot_give_the_code_may_leave(client: Client) -> None:
    log_in(client)

    assert client.post("/admin/login/code/", {"leave": "1"})["Location"] == "/admin/login/"
    assert "_auth_user_id" not in client.session


def test_the_code_page_is_for_nobody_else(client: Client) -> None:
    assert client.get("/admin/login/code/").status_code == 302


def test_it_is_switched_off_by_a_code_and_not_without(client: Client, codes: list[str], staff: User) -> None:
    log_in(client)
    give_code(client, codes[0])

    assert "That code is not right." in client.post(PAGE, {"act": "off", "code": "nonsense"}).content.decode()
    assert TOTPDevice.objects.exists()
    assert client.post(PAGE, {"act": "off", "code": code_of(TOTPDevice.objects.get())}).status_code == 302
    assert not TOTPDevice.objects.exists()
    assert not StaticDevice.objects.exists()
    assert [
        entry.get_change_message() for entry in LogEntry.objects.filter(object_id=str(staff.pk)).order_by("pk")
    ] == [
        "Switched the second factor on.",
        "Switched the second factor off.",
    ]
    again = Client()
    log_in(again)
    assert is_in(again)


def test_new_recovery_codes_replace_the_old(client: Client, codes: list[str]) -> None:
    log_in(client)
    give_code(client, codes[0])

    page = client.post(PAGE, {"act": "renew", "code": code_of(TOTPDevice.objects.get())}).content.decode()

    new = re.findall(r"<li>([a-z2-7]{4}-[a-z2-7]{4})</li>", page)
    assert len(new) == 10
    assert not set(new) & set(codes)
    assert not StaticToken.objects.filter(token=codes[1].replace("-", "")).exists()


def test_starting_again_takes_nothing_from_one_that_is_on(client: Client, codes: list[str]) -> None:
    log_in(client)
    give_code(client, codes[0])
    device = TOTPDevice.objects.get()

    client.post(PAGE, {"act": "start"})

    assert TOTPDevice.objects.get() == device
    assert "nothing to confirm" in client.post(PAGE, {"act": "confirm", "code": "123456"}).content.decode()


@pytest.mark.usefixtures("codes")
def test_a_superuser_takes_a_lost_one_away_with_its_recovery_codes(client: Client) -> None:
    set_up_roles()
    device = TOTPDevice.objects.get()
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss"))

    assert boss.post(f"{list_url(TOTPDevice)}{device.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not StaticDevice.objects.exists()
    log_in(client)
    assert is_in(client)


@pytest.mark.usefixtures("codes")
def test_nobody_else_takes_one_away_or_sees_who_has_one(client: Client) -> None:
    set_up_roles()
    device = TOTPDevice.objects.get()
    support = User.objects.create_user("olga", is_staff=True)
    support.groups.add(Group.objects.get(name=SUPPORT))
    client.force_login(support)

    assert client.get(list_url(TOTPDevice)).status_code == 403
    assert client.post(f"{list_url(TOTPDevice)}{device.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(list_url(AccessLog)).status_code == 403


def test_a_page_costs_at_most_one_query_more_for_it(client: Client, staff: User) -> None:
    client.force_login(staff)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(list_url(User)).status_code == 200
        return len([query for query in queries if "otp_" in query["sql"]])

    assert count() == 1
    switch_on(client)
    assert count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_recovery_code_given_twice_at_once_opens_once(staff: User) -> None:
    TOTPDevice.objects.create(user=staff, name="app", confirmed=True)
    (code, *_) = _make_recovery_codes(staff)
    start = Barrier(4)

    def give(_: int) -> bool:
        start.wait(10)
        try:
            return bool(verify_code(staff, code=code))
        except CodeRefused:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(give, range(4))) == [False, False, False, True]
