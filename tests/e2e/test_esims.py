"""What is left on an eSIM, and adding to it: the list, one eSIM, a top-up, and what does not fit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop


def card_of(phone: Phone, iccid: str) -> Locator:
    return phone.app.locator(f"[data-esim='{iccid}']")


def test_a_customer_watches_an_esim_run_low_and_tops_it_up(phone: Phone, shop: Shop) -> None:
    iccid = shop.buy(phone.customer, "esim_3GB_30D_MY_V2")["esim"]["iccid"]
    phone.open_app()
    phone.app.locator("[data-link=esims]").click()
    card = card_of(phone, iccid)
    expect(card).to_contain_text("3 ГБ на 30 дней")
    expect(card).to_contain_text("Дни пойдут с первого подключения на месте")

    shop.use(iccid, profile_status="Enabled", remaining_mb=450)
    phone.look_again()
    expect(card).to_have_attribute("data-look", "low")
    expect(card).to_contain_text("0,5 ГБ из 3 ГБ")
    expect(card.locator(".ring")).to_contain_text(re.compile(r"15\s%"))
    card.get_by_role("link", name="Пополнить").click()

    page = phone.app.locator("#view-esim")
    expect(page.locator("h1")).to_have_text("Малайзия")
    expect(page).to_have_attribute("data-look", "low")
    expect(page.locator("[data-event=started]")).to_contain_text("3 ГБ, 30 дней")
    # The same plan again is suggested; another one is taken.
    expect(page.locator("[data-bundle=esim_3GB_30D_MY_V2] input")).to_be_checked()
    page.locator("[data-bundle=esim_5GB_30D_MY_V2]").click()
    plan = shop.plan("esim_5GB_30D_MY_V2")
    phone.offers(plan["price_stars"])
    phone.main_button.click()
    expect(phone.app.locator("#view-checkout")).to_be_visible()
    phone.offers(plan["price_stars"])
    phone.pay()
    phone.shows_order("completed")

    (esim,) = [each for each in shop.sandbox.ledger()["esims"] if each["iccid"] == iccid]
    assert [bundle["bundle"] for bundle in esim["assignments"]] == ["esim_3GB_30D_MY_V2", "esim_5GB_30D_MY_V2"]
    phone.go_to(f"?esim={iccid}")
    expect(page).to_have_attribute("data-look", "active")
    expect(page.locator("[data-slot=state]")).to_contain_text("Ещё 5 ГБ в запасе")
    expect(page.locator("[data-event=topped_up]")).to_contain_text("5 ГБ")
    expect(page.locator("[data-bundle-state]")).to_have_count(2)


def test_an_esim_tells_how_it_is_until_its_days_are_over(phone: Phone, shop: Shop) -> None:
    iccid = shop.buy(phone.customer, "esim_1GB_7D_SG_V2")["esim"]["iccid"]
    phone.open_app()
    phone.go_to(f"?esim={iccid}")
    page = phone.app.locator("#view-esim")
    # Not installed yet: its codes come first, and nothing is suggested to buy.
    expect(page).to_have_attribute("data-look", "new")
    expect(page.locator("[data-code=activation_code]")).to_be_visible()
    expect(page.locator("[data-plans=fitting] input:checked")).to_have_count(0)

    shop.use(iccid, profile_status="Enabled", remaining_mb=0)
    phone.look_again()
    expect(page).to_have_attribute("data-look", "used_up")
    expect(page).to_contain_text("Интернет закончился")
    expect(page.locator("[data-code=activation_code]")).to_have_count(0)

    shop.use(iccid, ends_in_hours=-1)
    phone.look_again()
    expect(page).to_have_attribute("data-look", "ended")
    phone.go_to("?view=esims")
    expect(phone.app.locator("[data-slot=finished-list]")).to_contain_text("Срок вышел")


def test_a_plan_that_needs_a_new_esim_says_so_before_it_is_bought(phone: Phone, shop: Shop) -> None:
    iccid = shop.buy(phone.customer, "esim_1GB_7D_RS_V2")["esim"]["iccid"]
    other = "esim_2GB_15D_RS_V2"
    shop.sandbox.post(f"/sandbox/catalogue/{other}", {"profile": "Profile 9"})
    shop.run("sync_catalog")
    phone.open_app()
    phone.go_to(f"?esim={iccid}")
    page = phone.app.locator("#view-esim")
    expect(page.locator(f"[data-plans=fitting] [data-bundle={other}]")).to_have_count(0)
    page.get_by_text("Тарифы для новой eSIM").click()
    expect(phone.banner("new_esim")).to_contain_text("Понадобится новая eSIM")
    page.locator(f"[data-plans=new] [data-bundle={other}]").click()
    expect(phone.main_button).to_contain_text("Новая eSIM")
    phone.main_button.click()
    phone.offers(shop.plan(other)["price_stars"])
    phone.pay()
    phone.shows_order("completed")

    orders = shop.orders_of(phone.customer)
    assert len({order["esim"]["iccid"] for order in orders}) == 2


def test_nobody_sees_the_esim_of_another_and_an_empty_list_leads_to_the_shop(
    make_phone: Callable[..., Phone], shop: Shop
) -> None:
    owner, stranger = make_phone(), make_phone(language="en", name="Ben")
    iccid = shop.buy(owner.customer, "esim_1GB_7D_CN_V2")["esim"]["iccid"]
    stranger.tolerated.append("404")
    stranger.open_app()
    stranger.go_to(f"?esim={iccid}")
    expect(stranger.app.locator("[data-empty=esim_not_found]")).to_contain_text("No such eSIM here")
    stranger.main_button.click()
    expect(stranger.app.locator("[data-empty=no_esims]")).to_be_visible()
    stranger.main_button.click()
    expect(stranger.app.locator("#view-find")).to_be_visible()


def test_what_was_seen_stays_with_its_age_when_the_connection_is_lost(phone: Phone, shop: Shop) -> None:
    iccid = shop.buy(phone.customer, "esim_1GB_7D_CY_V2")["esim"]["iccid"]
    phone.open_app()
    phone.app.locator("[data-link=esims]").click()
    card = card_of(phone, iccid)
    card.get_by_role("link", name="Подробнее").click()
    expect(phone.app.locator("#view-esim [data-plans=fitting]")).to_be_visible()

    phone.cut_off()
    phone.look_again()
    expect(phone.banner("offline")).to_contain_text("Показываем сохранённое")
    expect(phone.app.locator("#view-esim h1")).to_have_text("Кипр")
    phone.back_button.click()
    expect(phone.banner("offline")).to_be_visible()
    expect(card).to_be_visible()
    phone.reconnect()
    phone.look_again()
    expect(phone.banner("offline")).to_have_count(0)
