"""A customer's phone: the Telegram-like page of the sandbox, with the Mini App in its frame."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.qr_codes import read_qr_code
from tests.telegram_script import use_script

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page

    from tests.e2e.shop import Json, Shop

SCREEN = {"width": 390, "height": 844}
# Nothing is still to come, and what is there has been painted.
SETTLED = """() => {
  if (document.querySelector("#stage [aria-busy=true], #stage .sk")) return false;
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))));
}"""


class Phone:
    """One window of one customer.

    script:    "official" for Telegram's own one. client: of which Telegram, {"version": "6.1", "platform": "ios"}.
    problems:  what went wrong on its pages: errors on the console, breaches of the content security policy.
    tolerated: parts of console messages that a test means to cause, such as "409".
    """

    def __init__(
        self, page: Page, *, shop: Shop, customer: int, script: str = "stand-in", client: dict[str, str] | None = None
    ) -> None:
        self.page = page
        self.shop = shop
        self.customer = customer
        self.problems: list[str] = []
        self.tolerated: list[str] = []
        self.app = page.frame_locator("#frame iframe")
        self.main_button = page.locator("#main-button")
        self.back_button = page.locator("#mini-app-back")
        self.pay_button = page.locator("#pay")
        self.pay_sheet = page.locator("#pay-sheet")
        self.order = self.app.locator("#view-order")
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._listen)
        # The client page of this window belongs to this customer from the start.
        window = {"user": str(customer), **(client or {})}
        page.add_init_script(f"if (top === self) Object.assign(sessionStorage, {json.dumps(window)})")
        use_script(page, script)
        page.goto(shop.sandbox_url)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(part in message.text for part in self.tolerated):
            self.problems.append(f"{message.text} {message.location.get('url', '')}")

    # --- What a thumb does

    def open_app(self) -> None:
        self.page.locator("#menu-button").click()
        # Until its style sheet is there, a page that still waits for its language would count as visible.
        expect(self.app.locator("html:not(.waiting) #view-find [data-area]").first).to_be_visible()

    def launch(self, address: str) -> None:
        """Start the app anew at an address such as "?area=FR", wherever the window is now."""
        self.page.goto(self.shop.sandbox_url)
        self.open_app()
        if address:
            self.go_to(address)

    def open_checkout(self, bundle: str) -> None:
        """From the chat to the checkout of a plan, on the way that the pages offer."""
        self.open_app()
        area = self.shop.plan(bundle)["area"]
        self.app.locator("[data-slot=query]").fill(area["name"])
        self.app.locator(f"[data-slot=results] [data-area={area['code']}]").first.click()
        self.choose(bundle)

    def go_to(self, address: str) -> None:
        """Open an address of the app, "?order=…", as a link from outside does: the page starts anew."""
        self.app.locator("html").evaluate("(_, address) => { location.search = address }", address)

    def follow(self, address: str) -> None:
        """Go on to an address of the app, as its own links do."""
        self.app.locator("body").evaluate(
            """(body, address) => {
                const link = Object.assign(document.createElement("a"), { href: address });
                body.append(link);
                link.click();
                link.remove();
            }""",
            address,
        )

    def close_app(self) -> None:
        """Telegram's cross; the sandbox has none of its own."""
        self.app.locator("html").evaluate("() => Telegram.WebApp.close()")

    def choose(self, bundle: str) -> None:
        """On the page of a country: choose a plan and go on to its checkout."""
        self.app.locator(f"[data-bundle={bundle}]").click()
        self.main_button.click()
        expect(self.app.locator("#view-checkout")).to_be_visible()
        self.offers(self.shop.plan(bundle)["price_stars"])

    def open_sheet(self) -> None:
        """Tap the MainButton, and wait for Telegram's payment sheet."""
        self.main_button.click()
        expect(self.pay_button).to_be_visible()

    def pay(self) -> None:
        self.open_sheet()
        self.pay_button.click()

    def close_sheet(self) -> None:
        self.page.locator("#pay-cancel").click()
        expect(self.pay_sheet).to_have_count(0)

    def look_again(self) -> None:
        """Put the phone away and look at it again."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def cut_off(self) -> None:
        """The Mini App reaches its server no more; Telegram itself goes on."""
        self.tolerated.append("net::ERR_")
        self.page.route(f"{self.shop.url}/**", lambda route: route.abort("internetdisconnected"))

    def reconnect(self) -> None:
        self.page.unroute(f"{self.shop.url}/**")

    def press_main_button(self) -> None:
        self.main_button.click()

    # --- What an eye sees

    def settle(self, shows: str) -> None:
        """Wait until a part of the view is there and nothing of it is still to come."""
        expect(self.app.locator(shows).first).to_be_visible()
        (frame,) = [frame for frame in self.page.frames if frame.url.startswith(self.shop.url)]
        frame.wait_for_function(SETTLED)

    def offers(self, stars: int) -> None:
        """The MainButton takes a payment of so many Stars."""
        grouped = f"{stars:,}".replace(",", r"[,\s]")
        expect(self.main_button).to_have_text(re.compile(rf"^\D*{grouped}\s*$"))
        expect(self.main_button).to_be_enabled()

    def shows_order(self, status: str) -> None:
        expect(self.order).to_have_attribute("data-status", status)

    def shows_phase(self, phase: str) -> None:
        expect(self.order).to_have_attribute("data-phase", phase)

    def banner(self, name: str) -> Locator:
        return self.app.locator(f"[data-banner={name}]")

    def read_order_code(self) -> str:
        """The QR code on the order's page, as a second phone would scan it from this one's screen."""
        # In the middle, where no toast covers it.
        self.app.locator(".qr").evaluate("code => code.scrollIntoView({ block: 'center' })")
        return read_qr_code(self.page.screenshot())

    def read_chat_code(self) -> str:
        """The QR code in the chat; the Mini App must be closed."""
        photo = self.page.locator(".photo img").last
        expect(photo).to_have_js_property("complete", True)
        photo.evaluate("code => code.scrollIntoView({ block: 'center' })")
        return read_qr_code(self.page.screenshot())

    def only_order(self) -> Json:
        """The customer's one order, as the API has it."""
        (order,) = self.shop.orders_of(self.customer)
        return order
