"""Telegrams of other ages than ours, with Telegram's own script and with the stand-in for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.telegram_script import with_both_scripts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.phone import Phone


@with_both_scripts
def test_telegram_6_1_buys(make_phone: Callable[..., Phone], script: str) -> None:
    phone = make_phone(script=script, client={"version": "6.1", "platform": "android"})
    phone.open_checkout("esim_1GB_7D_AU_V2")
    phone.open_sheet()
    phone.close_sheet()
    phone.shows_phase("awaiting")
    phone.pay()
    phone.shows_order("completed")
    assert phone.read_order_code() == phone.only_order()["esim"]["activation_code"]
    phone.back_button.click()
    expect(phone.app.locator("#view-destination")).to_be_visible()


@with_both_scripts
def test_telegram_6_0_shows_the_shop_and_asks_to_be_updated_before_one_pays(
    make_phone: Callable[..., Phone], script: str
) -> None:
    phone = make_phone(script=script, client={"version": "6.0", "platform": "ios"})
    phone.open_app()
    phone.app.locator("[data-area=TR]").first.click()
    phone.main_button.click()
    expect(phone.banner("old_client")).to_contain_text(re.compile("обновите Telegram", re.IGNORECASE))
    expect(phone.main_button).to_be_disabled()
    assert phone.shop.orders_of(phone.customer) == []


@pytest.mark.official_script
def test_the_way_around_the_shop_with_telegrams_own_script(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone(script="official")
    phone.open_checkout("esim_1GB_7D_BR_V2")
    phone.open_sheet()
    phone.close_sheet()
    phone.shows_phase("awaiting")
    expect(phone.banner("cancelled")).to_be_visible()
    phone.page.evaluate("document.querySelector('[data-set-theme=dark]').click()")
    expect(phone.app.locator("html")).to_have_attribute("data-theme", "dark")
    phone.back_button.click()
    expect(phone.app.locator("#view-destination")).to_be_visible()
    phone.back_button.click()
    expect(phone.app.locator("#view-find")).to_be_visible()
    phone.back_button.click()
    expect(phone.page.locator("#mini-app")).to_be_hidden()
