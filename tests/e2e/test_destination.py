"""Choosing a plan: what the page of a country and that of a region tell before anybody pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop

FULL_SPEED = "1 GB a day at full speed"


def card(phone: Phone, bundle: str) -> Locator:
    return phone.app.locator(f"[data-bundle={bundle}]")


def is_chosen(phone: Phone, bundle: str) -> None:
    """The card is the chosen one, and the MainButton has its price."""
    expect(card(phone, bundle).locator("input")).to_be_checked()
    phone.offers(phone.shop.plan(bundle)["price_stars"])


def test_a_plan_of_a_country_is_chosen_by_what_the_page_tells_and_found_chosen_again(
    make_phone: Callable[..., Phone], shop: Shop
) -> None:
    phone = make_phone(language="en", name="Ben")
    app = phone.app
    phone.open_app()
    app.locator("[data-slot=query]").fill("norway")
    app.locator("[data-slot=results] [data-area=NO]").click()

    expect(app.locator("#view-destination h1")).to_have_text("Norway")
    expect(app.locator("[data-slot=about]")).to_have_text("Sandbox Mobile NO, Sandbox Telecom NO · 5G")
    expect(app.locator("[data-slot=facts]")).to_contain_text("Sandbox Mobile NO (5G), Sandbox Telecom NO (4G)")
    five = shop.plan("esim_5GB_30D_NO_V2")
    is_chosen(phone, five["bundle"])
    expect(card(phone, five["bundle"])).to_contain_text(f"{round(five['price_stars'] / 5)} Stars per GB")
    expect(card(phone, five["bundle"])).to_contain_text(f"≈ ${five['price_stars'] * 0.02:.2g}")

    app.get_by_role("button", name="Unlimited").click()
    expect(app.locator("[data-slot=tiers]")).to_contain_text(
        "Full speed for the first 1 GB of each day, then 1.25 Mbit/s."
    )
    expect(app.locator(".plan")).to_contain_text([FULL_SPEED] * 5)
    is_chosen(phone, "esim_ULE_7D_NO_V2")
    card(phone, "esim_ULE_3D_NO_V2").click()
    app.get_by_role("button", name="Plus").click()
    expect(app.locator("[data-slot=tiers]")).to_contain_text("first 2 GB of each day")
    expect(card(phone, "esim_ULP_3D_NO_V2")).to_contain_text("2 GB a day at full speed")
    is_chosen(phone, "esim_ULP_3D_NO_V2")
    phone.main_button.click()
    expect(app.locator("#view-checkout")).to_be_visible()
    phone.back_button.click()
    is_chosen(phone, "esim_ULP_3D_NO_V2")
    expect(app.get_by_role("button", name="Plus")).to_have_attribute("aria-pressed", "true")

    # A region in which the country lies, and back.
    app.locator("[data-slot=also-list] [data-area=REUP]").click()
    expect(app.locator("#view-destination h1")).to_have_text("Europe Plus")
    phone.back_button.click()
    is_chosen(phone, "esim_ULP_3D_NO_V2")


def test_a_region_tells_where_it_works_on_which_networks_and_for_how_long(phone: Phone, shop: Shop) -> None:
    app = phone.app
    phone.open_app()
    app.locator("[data-slot=query]").fill("RGBS")
    app.locator("[data-slot=results] [data-area=RGBS]").click()

    expect(app.locator("[data-slot=about]")).to_contain_text("48 стран, одна eSIM")
    stars = shop.plan("esim_20GB_60D_RGBS_V2")["price_stars"]
    roubles = float(f"{stars * 0.02 * 80:.2g}")
    expect(card(phone, "esim_20GB_60D_RGBS_V2")).to_contain_text(f"≈ {roubles:,.0f} ₽".replace(",", " "))

    # 50 GB are there for two lengths of a trip.
    app.get_by_role("button", name="180 дней").click()
    expect(app.locator(".plan")).to_have_count(1)
    is_chosen(phone, "esim_50GB_180D_RGBS_V2")
    app.get_by_role("button", name="Любой срок").click()
    expect(app.locator(".plan")).to_have_count(3)
    is_chosen(phone, "esim_50GB_180D_RGBS_V2")

    countries = app.locator("[data-slot=coverage] li")
    expect(countries).to_have_count(8)
    app.locator("[data-slot=all-countries]").click()
    expect(countries).to_have_count(48)
    app.locator("[data-slot=country]").fill("юар")
    expect(countries).to_contain_text(["ЮАР"])
    app.locator("[data-slot=country]").fill("Атлантида")
    expect(app.locator("[data-slot=found]")).to_contain_text("такой страны в этом тарифе нет")

    fold = app.locator("[data-fold=networks]")
    fold.locator("summary").click()
    expect(fold.locator("li")).to_have_count(48)
    expect(fold.locator("li").first).to_contain_text("Sandbox Mobile AU (5G), Sandbox Telecom AU (4G)")


def test_a_country_without_plans_of_its_own_leads_to_the_regions_it_lies_in(phone: Phone, shop: Shop) -> None:
    # Montenegro is bought in no other test: its plans stay gone.
    for plan in shop.plans("ME"):
        shop.sandbox.post(f"/sandbox/catalogue/{plan['bundle']}", {"withdrawn": True})
    shop.run("sync_catalog")
    phone.open_app()
    phone.tolerated.append("404")
    phone.app.locator("body").evaluate("() => { location.search = '?area=ME' }")
    expect(phone.app.locator("[data-empty=no_plans]")).to_contain_text("Сюда сейчас нет тарифов")
    phone.app.locator("[data-area=RBK]").click()
    expect(phone.app.locator("#view-destination h1")).to_have_text("Балканы")
    expect(phone.app.locator("[data-slot=coverage]")).to_contain_text("Черногория")
