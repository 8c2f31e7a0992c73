"""A walk through every view and state of the Mini App, in each language: at each stop all that must hold everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Error as PlaywrightError

from tests.e2e import appearance
from tests.e2e.stops import STOPS, Belongings, Stop, furnish, stand_at
from tests.e2e.webview import Webview

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    from tests.e2e.shop import Shop


@pytest.fixture(scope="module")
def customer(running_shop: Shop) -> tuple[int, Belongings]:
    """Somebody with orders in every state, and where they lie."""
    user_id = running_shop.new_customer(stars=100_000)
    return user_id, furnish(running_shop, user_id)


@pytest.mark.parametrize(("language", "theme", "other"), [("ru", "light", "dark"), ("en", "dark", "light")])
def test_every_view_is_accessible_whole_and_still(
    running_shop: Shop,
    new_context: Callable[..., BrowserContext],
    customer: tuple[int, Belongings],
    language: str,
    theme: str,
    other: str,
) -> None:
    user_id, places = customer
    running_shop.sandbox.post("/sandbox/users", {"id": user_id, "language_code": language})
    webview = Webview(new_context(locale=language).new_page(), shop=running_shop, customer=user_id, theme=theme)
    complaints = [f"{stop.name}: {each}" for stop in STOPS for each in look_at(webview, stop, places, other, language)]
    assert not complaints, "\n".join(complaints)


def look_at(webview: Webview, stop: Stop, places: Belongings, other: str, language: str) -> list[str]:
    page = webview.page
    page.set_viewport_size({"width": 390, "height": appearance.HEIGHT})
    try:
        stand_at(webview, stop, places, language=language)
    except (AssertionError, PlaywrightError) as error:
        # Told with all the others, so that one run shows all there is to mend.
        return [f"is not reached: {error}"]
    moved = webview.shift or 0
    complaints = [f"a layout shift of {moved:.3f}"] if moved > stop.shift else []
    complaints += appearance.accessibility_of(page)
    complaints += appearance.manners_of(page)
    complaints += appearance.layout_of(page)
    complaints += [f"{other}: {each}" for each in appearance.contrast_in(webview, other)]
    complaints += webview.problems
    webview.problems.clear()
    return complaints
