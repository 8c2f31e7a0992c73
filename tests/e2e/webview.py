"""The Mini App alone in its window, as Telegram's phone clients show it: in no frame, launched by its address."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from playwright.sync_api import expect

from tests.e2e.phone import SETTLED

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

    from tests.e2e.shop import Shop

# What moved without having been touched, as a share of the window.
_MEASURE_SHIFT = """
window.layoutShift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.layoutShift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


class Webview:
    """One window of one customer. What cannot be seen in it is what Telegram itself draws: the header, the MainButton.

    problems: what went wrong on its pages. tolerated: parts of console messages that are meant to be there.
    shift:    how much of the page moved by itself before the view was first whole, a share of the window.
    """

    def __init__(self, page: Page, *, shop: Shop, customer: int, theme: str) -> None:
        self.page = page
        self.app = page
        self.problems: list[str] = []
        self.tolerated: list[str] = []
        self.shift: float | None = None
        self._shop = shop
        self._customer = customer
        self._themes = _read_themes(page, shop)
        self._theme = theme
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._listen)
        page.add_init_script(_MEASURE_SHIFT)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(part in message.text for part in self.tolerated):
            self.problems.append(f"{message.text} {message.location.get('url', '')}")

    def launch(self, address: str) -> None:
        """Start the app at an address such as "?area=FR"."""
        parameters = {
            "tgWebAppData": self._shop.init_data_of(self._customer),
            "tgWebAppVersion": "9.1",
            "tgWebAppPlatform": "ios",
            "tgWebAppThemeParams": json.dumps(self._themes[self._theme]),
        }
        self.shift = None
        # An address that differs in its fragment alone would not be loaded anew.
        self.page.goto("about:blank")
        self.page.goto(f"{self._shop.url}/{address}#{urlencode(parameters, quote_via=quote)}")

    def settle(self, shows: str) -> None:
        """Wait until a part of the view is there and nothing of it is still to come."""
        expect(self.page.locator(shows).first).to_be_visible()
        self.page.wait_for_function(SETTLED)
        if self.shift is None:
            self.shift = float(self.page.evaluate("window.layoutShift"))

    def press_main_button(self) -> None:
        self._tell("main_button_pressed")

    def set_theme(self, theme: str) -> None:
        self._tell("theme_changed", {"theme_params": self._themes[theme]})
        expect(self.page.locator("html")).to_have_attribute("data-theme", theme)

    def _tell(self, event: str, data: dict[str, Any] | None = None) -> None:
        """A message of the Telegram around the page."""
        self.page.evaluate(
            "message => window.postMessage(JSON.stringify(message), '*')", {"eventType": event, "eventData": data or {}}
        )


def _read_themes(page: Page, shop: Shop) -> dict[str, dict[str, str]]:
    page.goto(f"{shop.sandbox_url}/static/js/themes.js")
    return dict(page.evaluate("import(location.href).then((module) => module.themes)"))
