"""What must not leave the page, stay behind it, or get into it: secrets and other people's markup."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from playwright.sync_api import expect

from tests.e2e.stops import STOPS, furnish, stand_at
from tests.e2e.webview import Webview

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Request, Route

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop

MARKUP = '<img src="x" onerror="window.isTaken = true"><b class="taken">'
# Where data have words for people to read.
WORDS = {"title", "name", "search", "fair_use", "speed", "message", "detail", "text", "networks", "speeds"}


def test_a_purchase_leaves_no_secret_in_an_address_or_in_a_storage(phone: Phone, shop: Shop) -> None:
    requests: list[Request] = []
    phone.page.on("request", lambda request: requests.append(request))
    phone.open_checkout("esim_1GB_7D_NL_V2")
    phone.pay()
    phone.shows_order("completed")
    phone.page.locator("#mini-app-reload").click()
    phone.app.locator("[data-link=orders], [data-link=esims]").first.click()
    expect(phone.app.locator("#stage h1")).to_be_visible()

    esim = phone.only_order()["esim"]
    signature = dict(parse_qsl(shop.init_data_of(phone.customer)))["signature"]
    secrets = [esim["activation_code"], esim["matching_id"], signature, "tma ", "hash="]
    sent = [request for request in requests if request.url.startswith(shop.url)]
    assert len(sent) > 10
    for request in sent:
        # A fragment is not sent: that is how Telegram hands over what only the page may know.
        address = unquote(request.url.partition("#")[0])
        assert not any(secret in address for secret in secrets), address
        # A module tells the next one its own address, and the page tells nobody.
        assert "/static/miniapp/" in request.headers.get("referer", "") or not request.headers.get("referer"), address
        assert "cookie" not in request.headers, address

    (frame,) = [frame for frame in phone.page.frames if frame.url.startswith(shop.url)]
    assert not any(secret in unquote(frame.url.partition("#")[0]) for secret in secrets)
    kept: dict[str, Any] = frame.evaluate("""async () => ({
      local: { ...localStorage },
      session: { ...sessionStorage },
      state: history.state,
      caches: await caches.keys(),
      databases: await indexedDB.databases(),
      workers: (await navigator.serviceWorker.getRegistrations()).length,
    })""")
    # Telegram's own script keeps its launch parameters for a reload.
    kept["session"] = {name: text for name, text in kept["session"].items() if not name.startswith("__telegram__")}
    storage = shop.sandbox.post(f"/sandbox/users/{phone.customer}/storage", {"method": "getStorageKeys", "params": {}})
    values = shop.sandbox.post(
        f"/sandbox/users/{phone.customer}/storage",
        {"method": "getStorageValues", "params": {"keys": storage["result"]}},
    )
    everything = json.dumps([kept, values], ensure_ascii=False)
    assert not any(secret in everything for secret in [*secrets, esim["iccid"], esim["smdp_address"]])
    assert phone.page.context.cookies(shop.url) == []


def test_markup_in_whatever_the_api_says_is_shown_as_the_text_it_is(
    shop: Shop, new_context: Callable[..., BrowserContext]
) -> None:
    customer = shop.new_customer(stars=100_000, language="en", name=MARKUP)
    places = furnish(shop, customer)
    context = new_context()
    context.route(f"{shop.url}/api/**", _taint)
    webview = Webview(context.new_page(), shop=shop, customer=customer, theme="light")
    seen = 0
    for stop in STOPS:
        stand_at(webview, stop, places, language="en")
        assert webview.page.locator(".taken").count() == 0, stop.name
        assert webview.page.evaluate("window.isTaken") is None, stop.name
        seen += webview.page.get_by_text("<b class=").count()
    assert seen > len(STOPS)
    assert webview.problems == []


def test_markup_that_comes_with_a_link_or_from_the_keyboard_is_text_too(phone: Phone, shop: Shop) -> None:
    phone.open_app()
    phone.app.locator("[data-slot=query]").fill(MARKUP)
    expect(phone.app.locator("[data-empty=nothing_found]")).to_contain_text("<img src=")
    phone.tolerated += ["404", "400"]
    for name in ("area", "plan", "order", "esim", "guide", "view"):
        (frame,) = [frame for frame in phone.page.frames if frame.url.startswith(shop.url)]
        frame.goto(f"{shop.url}/?{name}={quote(MARKUP)}")
        expect(phone.app.locator("#stage h1").first).to_be_visible()
        assert phone.app.locator(".taken").count() == 0
        assert frame.evaluate("window.isTaken") is None


def _taint(route: Route) -> None:
    """The shop's answer, with markup after all words in it."""
    answer = route.fetch()
    try:
        content = answer.json()
    except ValueError:
        route.fulfill(response=answer)
        return
    route.fulfill(response=answer, json=_tainted(content))


def _tainted(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _tainted(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_tainted(each, name) for each in value]
    return f"{value} {MARKUP}" if isinstance(value, str) and name in WORDS else value
