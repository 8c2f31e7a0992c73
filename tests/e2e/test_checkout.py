"""The checkout and what lies between the tap on Pay and the server's word: found again, gone on with, never twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import requests
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop

VALIDATE = "esimgo.POST /orders validate"


# Questions before paying


def test_the_checkout_answers_before_it_is_asked(phone: Phone) -> None:
    phone.open_checkout("esim_1GB_7D_KR_V2")
    checkout = phone.app.locator("#view-checkout")
    question = checkout.locator("[data-slot=phone] summary")
    model = checkout.locator("[data-slot=model]")
    models = checkout.locator("[data-slot=models]")
    question.click()
    expect(models).to_contain_text("XR, XS и новее")
    for words, answer in {
        "айфон 12 pro max": "кроме версий для материкового Китая",
        "iPhone 8": "Не принимает eSIM",
        "galaxy s23 ultra": "зависит от страны",
        "pixel7": "Принимает eSIM",
        "нокиа 3310": "*#06#",
    }.items():
        model.fill(words)
        expect(models).to_contain_text(answer)
    expect(checkout).to_contain_text("Если за 15 минут eSIM не готова")
    expect(checkout).to_contain_text("Настройки → Мои звёзды")


def test_a_plain_browser_is_led_to_the_bot(shop: Shop, page: Page) -> None:
    page.goto(f"{shop.url}/?plan=esim_1GB_7D_KR_V2")
    expect(page.locator("[data-banner=outside]")).to_be_visible()
    button = page.locator("#main-button button")
    expect(button).to_be_enabled()
    page.evaluate("window.open = (address) => { window.opened = address }")
    button.click()
    bot = shop.sandbox.get("/sandbox/overview")["bot"]["username"]
    assert page.evaluate("window.opened") == f"https://t.me/{bot}?startapp=esim_1GB_7D_KR_V2"


# Left in the middle


def test_an_unpaid_order_is_found_on_the_start_page_after_the_app_was_closed(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_MX_V2"
    phone.open_checkout(bundle)
    phone.open_sheet()
    phone.page.goto(shop.sandbox_url)
    unpaid = phone.only_order()

    phone.open_app()
    left = phone.app.locator("[data-unfinished]")
    expect(left).to_contain_text("неоплаченный заказ")
    left.click()
    phone.shows_phase("awaiting")
    phone.pay()
    phone.shows_order("completed")
    assert phone.only_order()["order_id"] == unpaid["order_id"]
    assert shop.bought(bundle) == 1
    phone.back_button.click()
    expect(phone.app.locator("#view-find")).to_be_visible()
    expect(left).to_have_count(0)


def test_the_checkout_goes_on_with_its_unpaid_order_at_the_price_of_then(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_NL_V2"
    phone.open_checkout(bundle)
    before = shop.plan(bundle)["price_stars"]
    phone.open_sheet()
    phone.close_sheet()
    expect(phone.banner("cancelled")).to_be_visible()
    unpaid = phone.only_order()
    shop.sandbox.post(f"/sandbox/catalogue/{bundle}", {"price": (before + 10) / 100})
    shop.run("sync_catalog")
    assert shop.plan(bundle)["price_stars"] == before + 10

    phone.back_button.click()
    phone.app.locator(f"[data-bundle={bundle}]").click()
    phone.main_button.click()
    expect(phone.banner("joined")).to_contain_text("продолжаем его")
    expect(phone.app.locator("[data-slot=sum]")).to_contain_text(str(before))
    phone.offers(before)
    phone.pay()
    phone.shows_order("completed")
    assert phone.only_order()["order_id"] == unpaid["order_id"]
    assert shop.stars_of(phone.customer) == 5000 - before


def test_a_second_window_says_that_it_goes_on_with_the_order_of_the_first(
    make_phone: Callable[..., Phone], shop: Shop
) -> None:
    bundle = "esim_1GB_7D_NO_V2"
    first = make_phone()
    second = make_phone(customer=first.customer)
    first.open_checkout(bundle)
    second.open_checkout(bundle)
    first.open_sheet()
    second.open_sheet()
    expect(second.banner("joined")).to_contain_text("Этот заказ уже открыт")
    expect(first.banner("joined")).to_have_count(0)
    second.pay_button.click()
    second.shows_order("completed")
    first.close_sheet()
    first.shows_order("completed")
    assert shop.stars_of(first.customer) == 5000 - first.only_order()["amount_stars"]
    assert shop.bought(bundle) == 1


# Only the server's word


@pytest.mark.parametrize("claim", ["paid", "pending"])
def test_no_success_is_shown_before_the_server_confirms_it(phone: Phone, shop: Shop, claim: str) -> None:
    bundle = "esim_1GB_7D_PL_V2"
    # Telegram's word for the payment reaches the page before it reaches the server.
    shop.sandbox.fail("webhook.successful_payment", "delay", seconds=10)
    shop.sandbox.fail("client.invoice_closed", "claim", claim=claim)
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_phase("checking")
    expect(phone.order).to_contain_text("Второй раз платить не нужно")
    expect(phone.main_button).to_be_disabled()
    assert phone.only_order()["status"] == "awaiting_payment"

    # Only while that is in doubt, Telegram asks before it closes the app.
    popup = phone.page.locator(".popup")
    phone.close_app()
    expect(popup).to_contain_text("Закрыть приложение?")
    popup.locator("button").first.click()
    expect(popup).to_have_count(0)
    phone.shows_order("completed")
    assert shop.bought(bundle) == 1
    phone.close_app()
    expect(phone.page.locator("#mini-app")).to_be_hidden()


# Telegram or the shop is slow


def test_a_silent_telegram_is_asked_again_without_another_tap(phone: Phone, shop: Shop) -> None:
    shop.sandbox.fail("telegram.createInvoiceLink", "status", status=502)
    phone.tolerated.append("503")
    phone.open_checkout("esim_1GB_7D_SE_V2")
    phone.main_button.click()
    expect(phone.banner("telegram_unreachable")).to_contain_text("ничего не списано")
    expect(phone.pay_button).to_be_visible()
    phone.pay_button.click()
    phone.shows_order("completed")
    phone.only_order()


def test_too_many_tries_are_counted_down_to_the_next(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_SG_V2"
    phone.open_checkout(bundle)
    phone.tolerated.append("429")
    init_data = shop.sandbox.get(f"/sandbox/users/{phone.customer}/init-data")["init_data"]
    statuses = [
        requests.post(
            f"{shop.url}/api/telegram/stars/create-invoice",
            json={"plan": bundle},
            headers={"Authorization": f"tma {init_data}"},
            timeout=15,
        ).status_code
        # One minute may end while they are counted: then the next one is used up too.
        for _ in range(45)
    ]
    assert statuses.count(429) >= 5
    phone.main_button.click()
    expect(phone.banner("rate_limited")).to_contain_text("Попробуйте через")
    expect(phone.main_button).to_contain_text(re.compile(r"Попробовать через \d+"))
    expect(phone.main_button).to_be_disabled()
    phone.only_order()


def test_what_was_seen_stays_visible_with_its_age_while_the_shop_is_out_of_reach(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_US_V2")
    phone.pay()
    phone.shows_order("completed")
    code = phone.only_order()["esim"]["activation_code"]
    order = f"?order={phone.only_order()['order_id']}"
    phone.back_button.click()
    expect(phone.app.locator("[data-bundle]").first).to_be_visible()

    phone.cut_off()
    phone.back_button.click()
    phone.app.locator("[data-area=US]").first.click()
    expect(phone.banner("offline")).to_contain_text(re.compile(r"Показываем сохранённое в\s\d\d:\d\d"))
    expect(phone.app.locator("[data-bundle]").first).to_be_visible()
    phone.follow(order)
    expect(phone.banner("offline")).to_contain_text("Показываем сохранённое")
    assert phone.read_order_code() == code
    phone.back_button.click()
    expect(phone.banner("offline")).to_be_visible()

    phone.reconnect()
    phone.look_again()
    expect(phone.banner("offline")).to_have_count(0)
    phone.offers(shop.plan("esim_1GB_7D_US_V2")["price_stars"])


# Top-ups


def test_an_own_esim_is_topped_up_and_one_that_cannot_be_leads_to_a_new_one(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_VN_V2")
    phone.pay()
    phone.shows_order("completed")
    iccid = phone.only_order()["esim"]["iccid"]
    bundle = "esim_3GB_30D_VN_V2"
    top_up = f"?plan={bundle}&iccid={iccid}"

    phone.go_to(top_up)
    checkout = phone.app.locator("#view-checkout")
    expect(checkout).to_contain_text(f"на вашу eSIM\u00a0··{iccid[-4:]}")
    expect(checkout).to_contain_text("Устанавливать ничего не нужно")
    expect(checkout.locator("[data-slot=phone]")).to_have_count(0)
    stars = shop.plan(bundle)["price_stars"]
    phone.offers(stars)
    shop.sandbox.fail(VALIDATE, "status", status=400, message="bundle is not compatible with this eSIM")
    phone.tolerated.append("404")
    phone.main_button.click()
    expect(phone.app.locator("[data-empty=top_up_refused]")).to_contain_text("её нужно будет установить")
    expect(phone.main_button).to_contain_text("Купить новую eSIM")
    assert len(shop.orders_of(phone.customer)) == 1

    phone.go_to(top_up)
    phone.offers(stars)
    phone.open_sheet()
    phone.close_sheet()
    # The same plan as a new eSIM is another order.
    phone.go_to(f"?plan={bundle}")
    phone.offers(stars)
    expect(phone.banner("joined")).to_have_count(0)
    phone.go_to(top_up)
    expect(phone.banner("joined")).to_be_visible()
    phone.pay()
    phone.shows_order("completed")
    newest, oldest = shop.orders_of(phone.customer)
    assert (newest["top_up_iccid"], oldest["top_up_iccid"]) == (iccid, None)
    assert newest["esim"]["iccid"] == iccid
    assert shop.bought(bundle) == 1


def test_who_was_never_written_to_lets_the_bot_in_and_gets_the_copy(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_ZA_V2")
    # As one who came by a link into the app, and never to the chat.
    shop.sandbox.post("/sandbox/users", {"id": phone.customer, "started": False})
    phone.pay()
    phone.shows_order("completed")
    code = phone.only_order()["esim"]["activation_code"]
    phone.banner("blocked").get_by_role("button").click()
    phone.page.locator(".popup button").last.click()
    expect(phone.banner("blocked")).to_have_count(0)
    phone.page.goto(shop.sandbox_url)
    assert phone.read_chat_code() == code
