"""`python -m tests.e2e.handbook_pictures`: plays customers in the sandbox, and takes the handbook's pictures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import django
from playwright.sync_api import expect, sync_playwright

from tests import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
WINDOW = {"width": 1280, "height": 800}
PATIENCE_MS = 20_000


def play(browser: Browser, shop: Shop) -> dict[str, str]:
    """A delivered order with a case, and one that waits for a person. Returns their ids."""
    from tests.e2e.phone import SCREEN, Phone

    def phone(name: str) -> Phone:
        context = browser.new_context(viewport=SCREEN)
        context.set_default_timeout(PATIENCE_MS)
        made = Phone(context.new_page(), shop=shop, customer=shop.new_customer(language="en", name=name))
        made.page.locator("#start").click()
        expect(made.page.locator(".key")).to_be_visible()
        return made

    shop.sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    ben, zoe = phone("Ben"), phone("Zoë")
    for bundle in ("esim_1GB_7D_FR_V2", "esim_10GB_30D_TR_V2"):
        ben.page.goto(shop.sandbox_url)
        ben.open_checkout(bundle)
        ben.pay()
        ben.shows_order("completed")
    ben.page.goto(shop.sandbox_url)
    _ask_for_help(ben)
    shop.sandbox.fail("esimgo.POST /orders", "status", status=400, message="bundle not available")
    shop.sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    zoe.open_checkout("esim_1GB_7D_IT_V2")
    zoe.pay()
    zoe.shows_order("needs_attention")
    shop.sandbox.heal()
    return {"delivered": shop.orders_of(ben.customer)[0]["order_id"], "stuck": zoe.only_order()["order_id"]}


def _ask_for_help(phone: Phone) -> None:
    page = phone.page

    def write(text: str) -> None:
        page.fill("#message", text)
        page.press("#message", "Enter")

    write("/paysupport")
    for label in ("1. ", "I need help", "does not work"):
        page.locator(".key", has_text=label).last.click()
    expect(page.locator("#chat")).to_contain_text("Request")
    write("I am in Istanbul and there is no network, the phone says searching")
    expect(page.locator("#chat")).to_contain_text("Thank you, we have it")


def take(page: Page, office_url: str, orders: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """(name, PNG) of the pages that the handbook shows."""
    page.goto(office_url)
    yield "back-office-start", page.screenshot()
    page.goto(f"{office_url}orders/order/{orders['stuck']}/change/")
    yield "back-office-order", page.screenshot()
    page.goto(f"{office_url}orders/order/{orders['delivered']}/change/")
    page.locator(".act", has_text="Refund a bought eSIM").click()
    expect(page.locator(".act-form")).to_be_visible()
    yield "back-office-refund", page.screenshot()
    page.goto(f"{office_url}payments/case/")
    page.locator("#result_list tbody a").first.click()
    yield "back-office-case", page.screenshot()


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from tests.e2e.back_office import BackOffice
    from tests.e2e.shop import Shop

    found = chromium.find_chromium()
    if found is None:
        sys.stderr.write("No Chromium here: python -m tests.chromium\n")
        return 1
    expect.set_options(timeout=PATIENCE_MS)
    with Shop() as shop, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(found), args=chromium.launch_arguments())
        orders = play(browser, shop)
        office = BackOffice(browser.new_page(viewport=WINDOW, color_scheme="light"), shop_url=shop.url)
        for name, picture in take(office.page, office.url, orders):
            (FOLDER / f"{name}.png").write_bytes(picture)
            sys.stdout.write(f"{FOLDER / name}.png\n")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
