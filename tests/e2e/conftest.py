"""One shop for all flows, and as many phones as a flow needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.e2e.phone import SCREEN, Phone
from tests.e2e.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext

# Two busy cores: an answer may take its time, and one that never comes still fails.
PATIENCE_MS = 20_000


@pytest.fixture(scope="session")
def running_shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


@pytest.fixture
def shop(running_shop: Shop) -> Iterator[Shop]:
    """The running shop, with nothing going wrong unless the test asks for it."""
    running_shop.sandbox.heal()
    running_shop.start_counting()
    yield running_shop
    running_shop.sandbox.heal()


@pytest.fixture
def make_phone(shop: Shop, new_context: Callable[..., BrowserContext]) -> Iterator[Callable[..., Phone]]:
    """Phones by `make_phone(language="ru", stars=5000, theme="light", customer=None, script=…, client=…, browser=…)`.

    customer: of another phone, for a second window. browser: what it calls itself, as its User-Agent.
    At the end nothing may have gone wrong on any of them.
    """
    expect.set_options(timeout=PATIENCE_MS)
    phones: list[Phone] = []

    def make(
        *,
        theme: str = "light",
        customer: int | None = None,
        script: str = "stand-in",
        client: dict[str, str] | None = None,
        browser: str | None = None,
        **details: Any,
    ) -> Phone:
        context = new_context(viewport=SCREEN, color_scheme=theme, user_agent=browser)
        context.set_default_timeout(PATIENCE_MS)
        customer_id = customer or shop.new_customer(**details)
        phone = Phone(context.new_page(), shop=shop, customer=customer_id, script=script, client=client)
        phones.append(phone)
        if customer is None:
            phone.page.locator("#start").click()
            expect(phone.page.locator(".key")).to_be_visible()
        return phone

    yield make
    expect.set_options(timeout=5_000)
    assert [phone.problems for phone in phones if phone.problems] == []


@pytest.fixture
def script() -> str:
    """Which script of Telegram the page has; see `with_both_scripts`."""
    return "stand-in"


@pytest.fixture
def phone(make_phone: Callable[..., Phone], script: str) -> Phone:
    """The phone of a new Russian-speaking customer with 5000 Stars, who has started the bot."""
    return make_phone(script=script)
