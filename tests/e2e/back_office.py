"""The back office in a browser window of its own, as a member of staff uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.shop import STAFF_NAME, STAFF_PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page


class BackOffice:
    """Logged in with every permission.

    problems: what went wrong on its pages: errors on the console, breaches of the content security policy.
    """

    def __init__(self, page: Page, *, shop_url: str) -> None:
        self.page = page
        self.url = f"{shop_url}/admin/"
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._listen)
        page.goto(self.url)
        page.fill("[name=username]", STAFF_NAME)
        page.fill("[name=password]", STAFF_PASSWORD)
        page.click("button[type=submit]")
        expect(page.locator("[name=username]")).to_have_count(0)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"{message.text} {message.location.get('url', '')}")

    def open(self, path: str) -> None:
        """A page by its address under /admin/."""
        self.page.goto(f"{self.url}{path}")

    def open_order(self, order_id: str) -> None:
        self.open(f"orders/order/{order_id}/change/")

    def ask(self, act: str) -> None:
        """Press the button of an act, and read what would happen."""
        self.page.locator(".acts").get_by_role("link", name=act, exact=True).click()
        expect(self.page.locator(".act-form")).to_be_visible()

    def choose(self, act: str, *, ids: list[str]) -> None:
        """On a list: tick these rows, and choose the act from the menu."""
        for pk in ids:
            self.page.locator(f"#result_list [name=_selected_action][value='{pk}']").check()
        self.page.locator("select[name=action]").select_option(label=act)
        self.page.get_by_role("button", name="Run").click()
        expect(self.page.locator(".act-form")).to_be_visible()

    def confirm(self, reason: str) -> Locator:
        """Say why, and do it. Returns the rows of results, each with its class of done, refused or failed."""
        self.page.locator("[name=reason]").fill(reason)
        self.page.locator(".act-form button[type=submit]").click()
        results = self.page.locator(".act-results tbody tr")
        expect(results.first).to_be_visible()
        return results

    def set_sales(self, *, on: bool) -> None:
        """Pause or resume all sales: a new pricing policy that differs in that alone."""
        self.page.goto(f"{self.url}catalog/pricingpolicy/add/")
        self.page.locator("[name=is_selling]").set_checked(on)
        self.page.fill("[name=reason]", "a test resumes sales" if on else "a test pauses sales")
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.page.wait_for_url("**/catalog/pricingpolicy/")
