"""Times of the back office in a browser that is somewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.back_office import BackOffice

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    from tests.e2e.shop import Shop


def test_the_back_office_follows_the_browsers_time_zone_until_another_is_chosen(
    shop: Shop, new_context: Callable[..., BrowserContext]
) -> None:
    context = new_context(viewport={"width": 1280, "height": 900}, timezone_id="America/New_York")
    office = BackOffice(context.new_page(), shop_url=shop.url)
    page, complaints = office.page, list[str]()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    zone = page.get_by_label("Times in")

    # The first page already: the one for logging in told the zone.
    expect(zone).to_have_attribute("data-zone", "America/New_York")
    expect(zone.locator("option:checked")).to_have_text("America/New York (auto)")

    page.goto(f"{office.url}catalog/catalogsync/?o=-1")
    zone.select_option("Asia/Tokyo")
    expect(zone).to_have_attribute("data-zone", "Asia/Tokyo")
    expect(page).to_have_url(re.compile(r"/catalogsync/\?o=-1$"))
    page.goto(office.url)
    expect(zone.locator("option:checked")).to_have_text("Asia/Tokyo")

    zone.select_option(label="America/New York (auto)")
    expect(zone).to_have_attribute("data-zone", "America/New_York")
    assert complaints == []
