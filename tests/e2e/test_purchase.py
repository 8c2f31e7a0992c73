"""A purchase, end to end: a real browser, real HTTP, real processes; only Telegram and eSIM Go are stood in for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from playwright.sync_api import expect

from tests.telegram_script import with_both_scripts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop


@with_both_scripts
def test_from_the_menu_button_to_the_qr_code_in_the_order_and_in_the_chat(phone: Phone, shop: Shop) -> None:
    plan = shop.plan("esim_3GB_30D_FR_V2")
    page, app = phone.page, phone.app

    phone.open_app()
    app.locator("[data-slot=query]").fill("франц")
    expect(app.locator("[data-slot=results] mark")).to_have_text("Франц")
    app.locator("[data-slot=results] [data-area=FR]").click()
    phone.choose(plan["bundle"])
    expect(app.locator("#view-checkout h1")).to_contain_text("Франция")
    expect(app.locator("[data-slot=sum]")).to_contain_text(str(plan["price_stars"]))
    phone.open_sheet()
    expect(phone.pay_sheet).to_contain_text("Франция")
    expect(phone.pay_button).to_contain_text(str(plan["price_stars"]))
    phone.pay_button.click()

    phone.shows_order("completed")
    order = phone.only_order()
    code = order["esim"]["activation_code"]
    assert re.fullmatch(r"LPA:1\$[^$]+\$[^$]+", code)
    assert phone.read_order_code() == code
    expect(app.locator("[data-code=activation_code] code")).to_have_text(code)
    expect(app.locator("[data-code=iccid] code")).to_have_text(order["esim"]["iccid"])

    # Back to the chat by the arrow, as one came.
    phone.back_button.click()
    expect(app.locator("#view-destination")).to_be_visible()
    phone.back_button.click()
    expect(app.locator("#view-find")).to_be_visible()
    phone.back_button.click()
    expect(page.locator("#mini-app")).to_be_hidden()
    assert phone.read_chat_code() == code
    ready = page.locator(".message:has(.photo)")
    expect(ready).to_contain_text("Франция")
    expect(ready).to_contain_text(code)
    expect(ready.get_by_role("button", name="iPhone")).to_be_visible()
    expect(ready.get_by_role("button", name="Android")).to_be_visible()
    (message,) = [each for each in shop.sandbox.chat(phone.customer) if each["photo"]]
    links = [unquote(button["url"]) for row in message["buttons"] for button in row if "url" in button]
    assert [link.split("?")[0].split("/")[2] for link in links] == ["esimsetup.apple.com", "esimsetup.android.com"]
    assert all(link.endswith(f"carddata={code}") for link in links)
    ready.locator(".key").last.click()
    phone.shows_order("completed")
    assert phone.read_order_code() == code

    assert shop.stars_of(phone.customer) == 5000 - plan["price_stars"]
    assert shop.bought(plan["bundle"]) == 1


def test_an_english_speaker_buys_in_the_dark(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone(language="en", name="Ben", theme="dark")
    phone.open_checkout("esim_1GB_7D_AT_V2")
    expect(phone.app.locator("html")).to_have_attribute("lang", "en")
    expect(phone.app.locator("#view-checkout .card").first).to_have_css("background-color", "rgb(29, 39, 51)")
    expect(phone.app.locator("#view-checkout")).to_contain_text("What happens next")
    expect(phone.main_button).to_contain_text("Pay")
    phone.pay()
    phone.shows_order("completed")
    expect(phone.order.locator("h1")).to_have_text("Your eSIM is ready")
    # Black on white in the dark too, or no camera reads it.
    assert phone.read_order_code() == phone.only_order()["esim"]["activation_code"]
    phone.page.goto(phone.shop.sandbox_url)
    expect(phone.page.locator(".message:has(.photo)")).to_contain_text("Your eSIM is ready: Austria")


@with_both_scripts
def test_a_double_tap_is_one_order(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_BE_V2")
    phone.main_button.dblclick()
    expect(phone.pay_sheet).to_have_count(1)
    phone.pay_button.dblclick()
    phone.shows_order("completed")
    phone.only_order()
    assert shop.bought("esim_1GB_7D_BE_V2") == 1


def test_two_windows_with_the_same_plan_are_one_order_that_is_paid_once(
    make_phone: Callable[..., Phone], shop: Shop
) -> None:
    bundle = "esim_1GB_7D_CH_V2"
    first = make_phone()
    second = make_phone(customer=first.customer)
    first.open_checkout(bundle)
    second.open_checkout(bundle)
    first.main_button.click()
    second.open_sheet()
    first.pay_button.click()
    first.shows_order("completed")

    second.pay_button.click()
    expect(second.pay_sheet).to_contain_text("оплачен или закрыт")
    second.close_sheet()
    second.shows_order("completed")
    order = second.only_order()
    assert second.read_order_code() == first.read_order_code() == order["esim"]["activation_code"]
    assert shop.stars_of(first.customer) == 5000 - order["amount_stars"]
    assert shop.bought(bundle) == 1


def test_two_purchases_of_one_customer_at_the_same_time_are_two_esims(
    make_phone: Callable[..., Phone], shop: Shop
) -> None:
    first = make_phone()
    second = make_phone(customer=first.customer)
    first.open_checkout("esim_1GB_7D_CZ_V2")
    second.open_checkout("esim_1GB_7D_DK_V2")
    first.main_button.click()
    second.main_button.click()
    first.pay_button.click()
    second.pay_button.click()
    first.shows_order("completed")
    second.shows_order("completed")

    orders = shop.orders_of(first.customer)
    assert {order["plan"]["bundle"] for order in orders} == {"esim_1GB_7D_CZ_V2", "esim_1GB_7D_DK_V2"}
    codes = {order["plan"]["bundle"]: order["esim"]["activation_code"] for order in orders}
    assert first.read_order_code() == codes["esim_1GB_7D_CZ_V2"]
    assert second.read_order_code() == codes["esim_1GB_7D_DK_V2"]
    assert len(set(codes.values())) == 2
    assert shop.stars_of(first.customer) == 5000 - sum(order["amount_stars"] for order in orders)
