"""A member of staff at the login, in a browser: the second factor from switching on to switching off, and the lock."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def desk(page: Page, live_server: Any) -> Iterator[Page]:
    """A browser at the login, on which nothing may go wrong. Vera has an account."""
    complaints: list[str] = []

    def note(text: str) -> None:
        # The lock is an answer 429, which the browser reports.
        if "429" not in text:
            complaints.append(text)

    page.on("console", lambda message: note(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: note(str(error)))
    User.objects.create_superuser("vera", password="right")
    page.goto(f"{live_server.url}/admin/")
    yield page
    assert complaints == []


def log_in(page: Page, password: str = "right") -> None:
    page.fill("[name=username]", "vera")
    page.fill("[name=password]", password)
    page.get_by_role("button", name="Log in").click()


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def app_code() -> str:
    """The next code of the app: one may be used only once."""
    device = TOTPDevice.objects.get()
    return f"{totp(device.bin_key, drift=1 if device.last_t > 0 else 0):06}"


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_a_second_factor_is_switched_on_asked_for_and_switched_off(desk: Page, width: int, theme: Any) -> None:
    desk.set_viewport_size({"width": width, "height": 844})
    desk.emulate_media(color_scheme=theme)
    log_in(desk)
    desk.goto(desk.url.split("/admin/")[0] + "/admin/second-factor/")
    desk.get_by_role("button", name="Set it up").click()

    # The picture is loaded, which the content security policy could have forbidden.
    expect(desk.locator(".second-factor-qr")).to_have_js_property("complete", True)
    assert desk.locator(".second-factor-qr").evaluate("image => image.naturalWidth") > 0
    assert fits(desk)
    desk.get_by_label("Code").fill("000000")
    desk.get_by_role("button", name="Switch it on").click()
    expect(desk.get_by_text("That code is not right.")).to_be_visible()
    TOTPDevice.objects.update(throttling_failure_count=0)
    desk.get_by_label("Code").fill(app_code())
    desk.get_by_role("button", name="Switch it on").click()
    expect(desk.locator(".second-factor-codes li")).to_have_count(10)
    recovery_code = desk.locator(".second-factor-codes li").first.inner_text()
    assert fits(desk)
    desk.get_by_role("link", name="I have kept them").click()
    expect(desk.get_by_text("10 of your recovery codes are left.")).to_be_visible()

    desk.context.clear_cookies()
    desk.goto(desk.url)
    log_in(desk)
    expect(desk).to_have_url(re.compile("/admin/login/code/"))
    assert fits(desk)
    desk.get_by_label("Code").fill(recovery_code)
    desk.get_by_role("button", name="Go on").click()
    expect(desk).to_have_url(re.compile("/admin/second-factor/$"))
    expect(desk.get_by_text("9 of your recovery codes are left.")).to_be_visible()

    desk.get_by_label("Code").fill(app_code())
    desk.get_by_role("button", name="Switch it off").click()
    expect(desk.get_by_role("button", name="Set it up")).to_be_visible()


def test_the_page_is_found_in_the_menu_of_the_user(desk: Page) -> None:
    log_in(desk)
    desk.get_by_text("vera", exact=True).click()
    desk.get_by_role("link", name="Second factor", exact=True).click()

    expect(desk.get_by_role("button", name="Set it up")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_whoever_guesses_is_told_how_long_to_wait(desk: Page, width: int) -> None:
    desk.set_viewport_size({"width": width, "height": 844})
    for _ in range(5):
        log_in(desk, password="wrong")

    expect(desk.get_by_text("The login is locked for 15 more minutes.")).to_be_visible()
    assert fits(desk)
    desk.get_by_role("link", name="Back to the login").click()
    expect(desk.get_by_role("button", name="Log in")).to_be_visible()
