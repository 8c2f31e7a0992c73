"""The start page: finding a destination, coming back to it, and links that lead into the app."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Route

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop

# What is typed, and the areas that come first.
MEANT = {
    "турц": ["TR"],
    "ТУРЦИЯ ": ["TR"],
    "turkey": ["TR"],
    "Türkiye": ["TR"],
    "стамбул": ["TR"],
    "nehwbz": ["TR"],
    "турцыя": ["TR"],
    "турия": ["TR"],
    "jp": ["JP"],
    "япноия": ["JP"],
    "zgjybz": ["JP"],
    "дубай": ["AE"],
    "арабские эм": ["AE"],
    "грмания": ["DE"],
    "munich": ["DE"],
    "нью йорк": ["US"],
    "нью-йорк": ["US"],
    "америка": ["RLA", "RNA"],
    "балк": ["RBK"],
    "весь мир": ["RGB"],
    "esim": [],
    "!": [],
}
MATCH = """async (root, queries) => {
    const [{ areas }, { indexOf, match }] = await Promise.all(
        ["api", "matching"].map((name) => import(`/static/miniapp/js/${name}.js`)));
    const index = indexOf(await areas(), new Intl.Collator("ru").compare);
    return queries.map((query) => match(index, query).map(({ area }) => area.code));
}"""


def test_what_is_typed_finds_what_is_meant(phone: Phone) -> None:
    phone.open_app()
    found = phone.app.locator("html").evaluate(MATCH, list(MEANT))
    assert {typed: codes[: len(MEANT[typed]) or 1] for typed, codes in zip(MEANT, found, strict=True)} == MEANT


def test_searching_by_keyboard_and_coming_back_to_where_one_was(phone: Phone) -> None:
    page, app = phone.page, phone.app
    recent = [re.compile(f"{name}$") for name in ("Япония", "Весь мир", "Германия")]
    query, hits = app.locator("[data-slot=query]"), app.locator("[data-slot=results] a")
    phone.open_app()
    query.fill("герамния")
    expect(hits.first).to_contain_text("Германия")
    query.fill("герм")
    expect(hits.first.locator("mark")).to_have_text("Герм")
    expect(app.get_by_role("status").filter(has_text="Нашли")).to_be_visible()
    expect(hits.nth(1)).to_contain_text("входит: Германия")
    page.keyboard.press("ArrowDown")
    expect(hits.first).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(query).to_be_focused()
    page.keyboard.press("Enter")
    expect(app.locator("#view-destination h1")).to_have_text("Германия")

    phone.back_button.click()
    expect(query).to_have_value("герм")
    expect(hits.first).to_be_focused()
    page.keyboard.press("Escape")
    expect(query).to_have_value("")
    expect(app.locator("[data-slot=recents] a")).to_have_text([re.compile("Германия$")])

    query.fill("атлантида")
    nothing = app.locator("[data-empty=nothing_found]")
    expect(nothing).to_contain_text("Не нашли «атлантида»")
    nothing.get_by_role("button").click()
    expect(app.locator("#view-destination h1")).to_have_text("Весь мир")
    phone.back_button.click()
    app.locator("[data-slot=clear]").click()
    expect(query).to_be_focused()

    app.locator("[data-slot=toggle]").click()
    expect(app.locator("[data-slot=countries] a").first).to_contain_text("Австралия")
    app.locator("[data-slot=countries] [data-area=JP]").click()
    expect(app.locator("#view-destination h1")).to_have_text("Япония")
    phone.back_button.click()
    expect(app.locator("[data-slot=countries] [data-area=JP]")).to_be_in_viewport()
    expect(app.locator("[data-slot=recents] a")).to_have_text(recent)

    # Kept in Telegram's cloud, and there from the first paint on.
    page.goto(phone.shop.sandbox_url)
    phone.open_app()
    expect(app.locator("[data-slot=recents] a")).to_have_text(recent)


def test_links_lead_to_what_they_name_or_to_the_start_with_a_word(phone: Phone, shop: Shop) -> None:
    page, visits = phone.page, itertools.count()

    def follow(start_param: str = "", query: str = "") -> None:
        parameters = urlencode({"start_param": start_param}) if start_param else ""
        init_data = shop.sandbox.get(f"/sandbox/users/{phone.customer}/init-data?{parameters}")["init_data"]
        # Never twice the same address but for its hash, which would be no new page.
        launch = urlencode({"tgWebAppData": init_data, "tgWebAppVersion": "8.0"})
        page.goto(f"{shop.url}/?{query}&visit={next(visits)}#{launch}")

    phone.tolerated.append("404")
    for link in ({"start_param": "FR"}, {"start_param": "fr"}, {"query": "area=fr"}):
        follow(**link)
        expect(page.locator("#view-destination h1")).to_have_text("Франция")
    follow(start_param="esim_3GB_30D_FR_V2")
    expect(page.locator("#view-checkout h1")).to_contain_text("Франция")
    follow(start_param="orders")
    expect(page.locator("#view-orders")).to_be_visible()
    for start_param in ("constructor", "order_1", "ZZ", "a-b-c-d"):
        follow(start_param=start_param)
        expect(page.locator("[data-banner=lost]")).to_contain_text("ничего не нашлось")
        expect(page.locator("#view-find h1")).to_have_text("Куда летите?")
    follow(query="view=nowhere")
    expect(page.locator("[data-banner=lost]")).to_be_visible()


def test_a_tap_before_the_modules_are_there_is_not_lost(make_phone: Callable[..., Phone]) -> None:
    phone, release = open_without_modules(make_phone)
    phone.app.locator("[data-area=TR]").first.click()
    expect(phone.app.locator("#skeleton")).to_be_visible()
    release()
    expect(phone.app.locator("#view-destination h1")).to_have_text("Türkiye")


def test_words_typed_before_the_modules_are_there_are_not_lost(make_phone: Callable[..., Phone]) -> None:
    phone, release = open_without_modules(make_phone)
    field = phone.app.locator("[data-slot=query]")
    field.click()
    phone.page.keyboard.type("fran")
    release()
    expect(phone.app.locator("[data-slot=results] mark")).to_have_text("Fran")
    # Who is still typing goes on typing.
    expect(field).to_be_focused()
    phone.page.keyboard.type("ce")
    expect(phone.app.locator("[data-slot=results] mark")).to_have_text("France")


def open_without_modules(make_phone: Callable[..., Phone]) -> tuple[Phone, Callable[[], None]]:
    """A phone with the start page, and what lets its modules run."""
    phone = make_phone(language="en", name="Ben", theme="dark")
    held: list[Route] = []
    phone.page.route("**/js/app.js", lambda route: held.append(route))
    phone.open_app()
    # The page has Telegram's colours from its first paint on.
    expect(phone.app.locator("html")).to_have_attribute("data-theme", "dark")
    return phone, lambda: held.pop().continue_()


def test_a_view_that_cannot_be_read_says_so_and_opens_once_the_network_is_back(phone: Phone) -> None:
    phone.page.route("**/js/destination.js", lambda route: route.abort("internetdisconnected"))
    phone.tolerated.append("net::ERR_")
    phone.open_app()
    phone.app.locator("[data-area=TR]").first.click()
    expect(phone.app.locator("#unread")).to_contain_text("Не получилось загрузить")
    phone.page.unroute("**/js/destination.js")
    phone.app.locator("#unread button").click()
    expect(phone.app.locator("#view-destination h1")).to_have_text("Турция")
    expect(phone.app.locator("#unread")).to_be_hidden()
