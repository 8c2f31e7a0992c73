"""Pictures of the Mini App in the sandbox's Telegram.

`python -m tests.e2e.pictures` buys a plan and makes the README's docs/images/purchase.png of it.
`python -m tests.e2e.pictures FOLDER` takes every view in all its states, in both languages and themes, to be looked at;
with --height 2000 also what a phone shows only after scrolling, and with --only NAME those stops alone.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import django
from playwright.sync_api import expect, sync_playwright

from tests import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.e2e.shop import Shop

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "purchase.png"
BUNDLE = "esim_10GB_30D_TR_V2"
# High enough for the whole message with the QR code.
SCREEN = {"width": 390, "height": 886}
PATIENCE_MS = 20_000

_SHEET = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A purchase</title><style>
body {{ margin: 0; padding: 56px; display: inline-flex; gap: 40px;
  background: linear-gradient(120deg, #d9e6f2, #e9e4f4); }}
img {{ display: block; width: 390px; height: 886px; border-radius: 36px; outline: 8px solid #10141a;
  box-shadow: 0 24px 56px rgb(16 20 26 / 0.28); }}
</style>{images}</html>"""


def take_screens(browser: Browser, shop: Shop) -> Iterator[bytes]:
    """PNGs of a phone: the start page, the checkout, the order with its QR code in the dark, the chat."""
    from tests.e2e.phone import Phone

    context = browser.new_context(viewport=SCREEN, device_scale_factor=2, color_scheme="light")
    context.set_default_timeout(PATIENCE_MS)
    phone = Phone(context.new_page(), shop=shop, customer=shop.new_customer(language="en", name="Ben"))
    page = phone.page
    page.locator("#start").click()
    expect(page.locator(".key")).to_be_visible()
    phone.open_app()
    yield page.screenshot()

    phone.app.locator("[data-area=TR]").first.click()
    phone.choose(BUNDLE)
    yield page.screenshot()

    phone.pay()
    phone.shows_order("completed")
    # Once the message is in the chat, the page of the order is redrawn no more.
    expect(page.locator(".photo img")).to_have_js_property("complete", True)
    expect(page.locator("#toast")).to_be_hidden()
    page.evaluate("document.querySelector('[data-set-theme=dark]').click()")
    expect(phone.app.locator(".qr")).to_be_visible()
    yield page.screenshot()

    page.evaluate("document.querySelector('[data-set-theme=light]').click()")
    page.goto(shop.sandbox_url)
    expect(page.locator(".photo img")).to_have_js_property("complete", True)
    yield page.screenshot()
    context.close()


def put_side_by_side(browser: Browser, screens: list[bytes]) -> bytes:
    """One PNG of all screens, twice as wide as a README shows it."""
    images = "".join(f'<img alt="" src="data:image/png;base64,{base64.b64encode(each).decode()}">' for each in screens)
    page = browser.new_page(viewport={"width": 2000, "height": 1000})
    page.set_content(_SHEET.format(images=images))
    return page.locator("body").screenshot()


def take_every_view(browser: Browser, shop: Shop, *, folder: Path, height: int, only: list[str]) -> None:
    """PNGs named by stop, language and theme."""
    from tests.e2e.phone import Phone
    from tests.e2e.stops import STOPS, furnish, stand_at

    customer = shop.new_customer(stars=100_000)
    places = furnish(shop, customer)
    folder.mkdir(parents=True, exist_ok=True)
    for language in ("ru", "en"):
        shop.sandbox.post("/sandbox/users", {"id": customer, "language_code": language})
        for theme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": SCREEN["width"], "height": height}, color_scheme=theme, locale=language
            )
            context.set_default_timeout(PATIENCE_MS)
            window = Phone(context.new_page(), shop=shop, customer=customer)
            for stop in STOPS:
                if only and stop.name not in only:
                    continue
                stand_at(window, stop, places, language=language)
                window.page.screenshot(path=folder / f"{stop.name}-{language}-{theme}.png")
            context.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.pictures", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--height", type=int, default=844)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    arguments = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from tests.e2e.shop import Shop

    found = chromium.find_chromium()
    if found is None:
        sys.stderr.write("No Chromium here: python -m tests.chromium\n")
        return 1
    expect.set_options(timeout=PATIENCE_MS)
    with Shop() as shop, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(found), args=chromium.launch_arguments())
        if arguments.folder:
            take_every_view(browser, shop, folder=arguments.folder, height=arguments.height, only=arguments.only)
        else:
            screens = list(take_screens(browser, shop))
            PICTURE.parent.mkdir(parents=True, exist_ok=True)
            PICTURE.write_bytes(put_side_by_side(browser, screens))
        browser.close()
    sys.stdout.write(f"{arguments.folder or PICTURE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
