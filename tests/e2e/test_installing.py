"""From a finished order to an eSIM on a phone: each is offered what it can do, and told how else where it cannot."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.e2e.qr_codes import read_qr_code
from tests.outside import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Json, Shop

_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
_GOOGLE = "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/130.0 Mobile Safari/537.36"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) {_APPLE}"
OLDER_IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_3 like Mac OS X) {_APPLE}"
GALAXY = f"Mozilla/5.0 (Linux; Android 14; SM-S911B) {_GOOGLE}"
PIXEL = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {_GOOGLE}"
OLD_ANDROID = f"Mozilla/5.0 (Linux; Android 9; Nokia 6) {_GOOGLE}"

# Stands in for the phone's own share sheet, which no browser without a screen has.
SHARE_SHEET = """
navigator.canShare = ({ files }) => files.length > 0;
navigator.share = async ({ files: [file] }) => {
  const bytes = new Uint8Array(await file.arrayBuffer());
  window.shared = { name: file.name, type: file.type, content: btoa(String.fromCharCode(...bytes)) };
};
"""


def buy(phone: Phone, bundle: str) -> Json:
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("completed")
    order = phone.only_order()
    # Once the message is in the chat, the page of the order is redrawn no more.
    expect(phone.page.locator(".photo")).to_have_count(1)
    return order


def open_from_chat(phone: Phone, button: str) -> None:
    phone.page.locator(".key", has_text=button).last.click()


def opened_link(phone: Phone) -> str:
    """Where the MainButton leads: a page of the system's browser."""
    phone.page.context.route("https://esimsetup.*/**", lambda route: route.fulfill(body="set-up"))
    with phone.page.context.expect_page() as opening:
        phone.main_button.click()
    opening.value.wait_for_load_state()
    return opening.value.url


def clipboard(phone: Phone) -> str:
    phone.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    phone.page.bring_to_front()
    return str(phone.page.evaluate("navigator.clipboard.readText()"))


def test_an_iphone_installs_by_one_tap_and_keeps_the_code(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone(client={"platform": "ios"}, browser=IPHONE)
    phone.page.add_init_script(SHARE_SHEET)
    phone.page.reload()
    order = buy(phone, "esim_1GB_7D_NL_V2")
    esim, app = order["esim"], phone.app

    expect(phone.main_button).to_have_text("Установить на этот iPhone")
    link = opened_link(phone)
    assert urlsplit(link).hostname == "esimsetup.apple.com"
    assert parse_qs(urlsplit(link).query)["carddata"] == [esim["activation_code"]]

    # The share sheet gets a picture that scans, and it says nothing in its name.
    app.get_by_role("button", name="Сохранить или отправить").click()
    shared = app.locator("html").evaluate("() => window.shared")
    assert (shared["type"], shared["name"]) == ("image/png", f"esim-{esim['iccid'][-4:]}.png")
    assert read_qr_code(base64.b64decode(shared["content"])) == esim["activation_code"]

    for code in ("smdp_address", "matching_id", "activation_code", "iccid"):
        row = app.locator(f"[data-code={code}]")
        expect(row.locator("code")).to_have_text(esim[code])
        row.get_by_role("button", name=re.compile("^Скопировать: ")).click()
        expect(row.locator(".icon-btn.done")).to_be_visible()
        assert clipboard(phone) == esim[code]
    expect(app.locator("[data-part=arrival]")).to_contain_text("роуминг данных")

    app.locator("[data-link=guide]").click()
    guide = app.locator("#view-guide")
    expect(guide).to_have_attribute("data-kind", "iphone")
    expect(guide.locator(".step").first).to_contain_text("Нажмите «Установить» внизу")
    expect(guide.get_by_role("img", name="Экран «Путешествия»: включите «Роуминг данных»")).to_be_visible()
    expect(guide.locator("[data-code]")).to_have_count(0)
    expect(phone.main_button).to_have_text("Установить на этот iPhone")
    phone.back_button.click()
    phone.shows_order("completed")


def test_an_android_installs_by_one_tap_and_has_the_code_sent_and_copied(
    make_phone: Callable[..., Phone], shop: Shop
) -> None:
    phone = make_phone(language="en", theme="dark", client={"platform": "android"}, browser=GALAXY)
    order = buy(phone, "esim_1GB_7D_AU_V2")
    esim, app = order["esim"], phone.app

    expect(phone.main_button).to_have_text("Install on this Android")
    link = opened_link(phone)
    assert urlsplit(link).hostname == "esimsetup.android.com"
    assert parse_qs(urlsplit(link).query)["carddata"] == [esim["activation_code"]]

    # No share sheet here: links and codes as text, and the picture from the bot.
    expect(app.locator("[data-action=share]")).to_have_count(0)
    app.get_by_role("button", name="Copy links and codes as text").click()
    text = clipboard(phone)
    for part in ("apple_install_url", "android_install_url", "smdp_address", "matching_id"):
        assert esim[part] in text
    app.get_by_role("button", name="To the chat").click()
    expect(app.locator("#toast")).to_contain_text("On its way to the chat")

    # The chat says the same, and leads to the same guide.
    phone.page.goto(shop.sandbox_url)
    assert phone.read_chat_code() == esim["activation_code"]
    ready = phone.page.locator(".message:has(.photo)").last
    for part in ("iOS 17.4", esim["smdp_address"], esim["matching_id"], "When you arrive", "roaming"):
        expect(ready).to_contain_text(part)
    open_from_chat(phone, "Step by step")
    guide = app.locator("#view-guide")
    expect(guide).to_have_attribute("data-kind", "samsung")
    expect(guide.locator("[data-code=activation_code] code")).to_have_text(esim["activation_code"])
    expect(phone.main_button).to_have_text("Install on this Android")

    # For a companion's phone.
    guide.get_by_role("button", name="Pixel and others").click()
    expect(guide.get_by_role("img", name="The screen SIMs: tap Add SIM")).to_be_visible()
    expect(guide.locator(".step").first).to_contain_text("on that phone")
    guide.get_by_role("button", name="iPhone", exact=True).click()
    expect(guide).to_have_attribute("data-kind", "iphone")
    guide.get_by_role("button", name="Before iOS 17.4").click()
    expect(guide).to_have_attribute("data-kind", "iphone_old")
    expect(guide.locator("[data-code=smdp_address] code")).to_have_text(esim["smdp_address"])
    expect(guide.locator("[data-code=matching_id] code")).to_have_text(esim["matching_id"])
    guide.get_by_role("button", name="Android", exact=True).click()
    expect(guide).to_have_attribute("data-kind", "samsung")


def test_who_cannot_install_by_a_tap_is_shown_how_else(make_phone: Callable[..., Phone], shop: Shop) -> None:
    first = make_phone(client={"platform": "tdesktop"})
    order = buy(first, "esim_1GB_7D_PL_V2")
    # On a desktop the code is for a phone, so it comes first, and there is nothing to press.
    expect(first.main_button).to_be_hidden()
    expect(first.order.locator("h2").first).to_have_text(re.compile("^QR.код$"))
    assert first.read_order_code() == order["esim"]["activation_code"]

    for browser, platform, kind in (
        (OLDER_IPHONE, "ios", "iphone_old"),
        (OLD_ANDROID, "android", "pixel"),
    ):
        phone = make_phone(customer=first.customer, client={"platform": platform}, browser=browser)
        open_from_chat(phone, "Открыть заказ")
        phone.shows_order("completed")
        expect(phone.main_button).to_have_text("Как установить")
        phone.main_button.click()
        guide = phone.app.locator("#view-guide")
        expect(guide).to_have_attribute("data-kind", kind)
        expect(guide.locator("[data-code]").first).to_be_visible()
        expect(phone.main_button).to_be_hidden()

    # Telegram's web client does not say what it runs on; the browser does.
    phone = make_phone(customer=first.customer, client={"platform": "weba"}, browser=PIXEL)
    open_from_chat(phone, "Открыть заказ")
    expect(phone.main_button).to_have_text("Установить на этот Android")


def test_a_top_up_has_nothing_to_install(make_phone: Callable[..., Phone], shop: Shop) -> None:
    phone = make_phone(client={"platform": "ios"}, browser=IPHONE)
    first = buy(phone, "esim_1GB_7D_BR_V2")
    phone.go_to(f"?plan=esim_1GB_7D_BR_V2&iccid={first['esim']['iccid']}")
    phone.offers(first["amount_stars"])
    phone.pay()
    phone.shows_order("completed")
    expect(phone.order.locator("h1")).to_have_text("Пополнено")
    expect(phone.order).to_contain_text("Ничего устанавливать не нужно")
    expect(phone.order.locator(".qr")).to_have_count(0)
    expect(phone.order.locator("[data-code]")).to_have_count(0)
    expect(phone.main_button).to_have_text("Остаток и пополнение")
    phone.main_button.click()
    expect(phone.app.locator("#view-esim")).to_contain_text(first["esim"]["iccid"][-4:])

    phone.page.goto(shop.sandbox_url)
    expect(phone.page.locator("#chat")).to_contain_text("Пополнено")
    expect(phone.page.locator(".photo")).to_have_count(1)


def test_an_esim_that_a_phone_has_is_not_offered_again(make_phone: Callable[..., Phone], shop: Shop) -> None:
    phone = make_phone(client={"platform": "ios"}, browser=IPHONE)
    order = shop.buy(phone.customer, "esim_1GB_7D_MX_V2")
    shop.use(order["esim"]["iccid"], profile_status="Installed", remaining_mb=900)
    wait_until(lambda: phone.only_order()["esim"]["installed"] is True, seconds=20)
    phone.open_app()
    phone.go_to(f"?order={order['order_id']}")
    expect(phone.order.locator("h1")).to_have_text("eSIM уже на телефоне")
    expect(phone.order.locator(".qr")).to_have_count(0)
    expect(phone.order.locator("[data-part=arrival]")).to_be_visible()
    expect(phone.main_button).to_have_text("Остаток и пополнение")
    # The codes are there for who asks.
    expect(phone.order.locator("[data-code=iccid]")).to_be_hidden()
    phone.order.locator("summary").click()
    expect(phone.order.locator("[data-code=iccid] code")).to_have_text(order["esim"]["iccid"])

    phone.order.locator("[data-link=guide]").click()
    expect(phone.app.locator("#view-guide")).to_be_visible()
    expect(phone.main_button).to_be_hidden()


def test_the_guide_of_another_ones_order_tells_nothing(make_phone: Callable[..., Phone], shop: Shop) -> None:
    owner, other = make_phone(), make_phone()
    order = shop.buy(owner.customer, "esim_1GB_7D_CA_V2")
    other.tolerated.append("404")
    other.open_app()
    other.go_to(f"?guide={order['order_id']}")
    expect(other.app.locator("[data-empty=order_not_found]")).to_be_visible()
    expect(other.app.locator("[data-code]")).to_have_count(0)


@pytest.mark.parametrize("language", ["ru", "en"])
def test_stars_that_came_back_lead_to_plans_of_nearly_the_same_size(
    make_phone: Callable[..., Phone], shop: Shop, language: str
) -> None:
    phone = make_phone(language=language)
    shop.sandbox.fail("esimgo.POST /orders", "status", status=400, message="bundle not available")
    phone.open_checkout("esim_5GB_30D_TR_V2")
    phone.pay()
    phone.shows_order("refunded")
    similar = phone.app.locator("[data-part=similar] [data-bundle]")
    expect(similar).to_have_count(2)
    expect(similar.first).to_have_attribute("data-bundle", re.compile("^esim_.*_30D_TR_V2$"))
    bundle = similar.first.get_attribute("data-bundle") or ""
    similar.first.click()
    expect(phone.app.locator("#view-checkout")).to_be_visible()
    phone.offers(shop.plan(bundle)["price_stars"])
