"""What can go wrong on the way to an eSIM, and the next step that the customer is left with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.e2e.back_office import BackOffice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext, Route

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop


# The payment sheet closes without a payment


def test_a_cancelled_payment_leaves_an_order_that_can_be_paid_later(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_DE_V2")
    phone.open_sheet()
    phone.close_sheet()
    expect(phone.banner("cancelled")).to_contain_text("Оплата отменена")
    phone.shows_phase("awaiting")
    unpaid = phone.only_order()
    assert unpaid["status"] == "awaiting_payment"
    assert shop.stars_of(phone.customer) == 5000

    phone.offers(unpaid["amount_stars"])
    phone.pay()
    phone.shows_order("completed")
    assert phone.only_order()["order_id"] == unpaid["order_id"]
    assert shop.bought("esim_1GB_7D_DE_V2") == 1


def test_too_few_stars_are_explained_and_the_same_order_goes_on_once_there_are_enough(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_EG_V2")
    phone.open_sheet()
    # Spent on another device while the sheet is open.
    shop.sandbox.post("/sandbox/users", {"id": phone.customer, "stars": 10})
    phone.pay_button.click()
    expect(phone.pay_sheet).to_contain_text("Звёзды не списаны")
    phone.close_sheet()
    expect(phone.banner("failed")).to_contain_text("пополните баланс")
    unpaid = phone.only_order()
    assert unpaid["status"] == "awaiting_payment"

    phone.open_sheet()
    expect(phone.pay_sheet).to_contain_text("Не хватает")
    phone.page.locator("#pay-add-stars").click()
    phone.pay_button.click()
    phone.shows_order("completed")
    assert phone.only_order()["order_id"] == unpaid["order_id"]
    assert shop.stars_of(phone.customer) == 1010 - unpaid["amount_stars"]


# Paid, and no eSIM


def test_a_refusal_of_the_wholesaler_returns_the_stars_and_says_why(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_ES_V2"
    shop.sandbox.fail("esimgo.POST /orders", "status", status=400, message="bundle not available")
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("refunded")
    order = phone.only_order()
    expect(phone.order.locator("h1")).to_contain_text(str(order["amount_stars"]))
    expect(phone.order).to_contain_text(order["message"])
    assert "закончился" in order["message"]
    expect(phone.main_button).to_contain_text("Выбрать другой тариф")

    assert shop.stars_of(phone.customer) == 5000
    assert shop.bought(bundle) == 0
    phone.page.goto(shop.sandbox_url)
    expect(phone.page.locator(".service").last).to_contain_text(f"вернул {order['amount_stars']}")
    expect(phone.page.locator("#chat")).to_contain_text(
        re.compile(f"Вернули {order['amount_stars']}.*закончился этот тариф", re.DOTALL)
    )
    expect(phone.page.locator(".photo")).to_have_count(0)


def test_an_unknown_outcome_is_looked_up_and_not_bought_again(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_FI_V2"
    shop.sandbox.fail("esimgo.POST /orders", "drop_after_work")
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("provisioning")
    expect(phone.order).to_have_attribute("data-status", "completed", timeout=60_000)

    assert shop.bought(bundle) == 1
    assert shop.stars_of(phone.customer) == 5000 - phone.only_order()["amount_stars"]
    phone.page.goto(shop.sandbox_url)
    expect(phone.page.locator("#chat")).to_contain_text("Оплачено")
    expect(phone.page.locator(".photo")).to_have_count(1)


def test_an_order_that_waits_for_a_person_asks_not_to_buy_again(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_PT_V2"
    shop.sandbox.fail("esimgo.POST /orders", "status", status=400, message="bundle not available")
    shop.sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("needs_attention")
    expect(phone.banner("nothing_to_do")).to_contain_text("не покупайте второй раз")
    expect(phone.main_button).to_contain_text("Написать")

    assert shop.bought(bundle) == 0
    phone.page.goto(shop.sandbox_url)
    expect(phone.page.locator("#chat")).to_contain_text("Нужно ещё немного времени")


def test_who_blocked_the_bot_has_the_esim_in_the_app_and_later_in_the_chat(phone: Phone, shop: Shop) -> None:
    shop.sandbox.post("/sandbox/users", {"id": phone.customer, "blocked_bot": True})
    phone.open_checkout("esim_1GB_7D_GB_V2")
    phone.pay()
    phone.shows_order("completed")
    expect(phone.banner("blocked")).to_contain_text("Чат не принял")
    order = phone.only_order()
    assert order["delivery"] == "blocked"
    assert phone.read_order_code() == order["esim"]["activation_code"]

    shop.sandbox.post("/sandbox/users", {"id": phone.customer, "blocked_bot": False})
    phone.page.goto(shop.sandbox_url)
    assert phone.read_chat_code() == order["esim"]["activation_code"]


# What was for sale a moment ago


def test_a_price_that_changed_at_the_checkout_is_shown_and_asked_for_again(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_GE_V2"
    phone.open_checkout(bundle)
    before = shop.plan(bundle)["price_stars"]
    shop.sandbox.post(f"/sandbox/catalogue/{bundle}", {"price": 4.21})
    shop.run("sync_catalog")
    phone.tolerated.append("409")
    phone.main_button.click()
    expect(phone.banner("price_changed")).to_contain_text(f"было {before}, стало 421")
    expect(phone.app.locator("[data-slot=sum]")).to_contain_text("421")
    assert shop.orders_of(phone.customer) == []

    phone.offers(421)
    phone.pay()
    phone.shows_order("completed")
    assert shop.stars_of(phone.customer) == 5000 - 421


def test_a_plan_that_is_gone_leads_to_the_other_plans_of_the_country(phone: Phone, shop: Shop) -> None:
    bundle = "esim_1GB_7D_GR_V2"
    phone.open_checkout(bundle)
    shop.sandbox.post(f"/sandbox/catalogue/{bundle}", {"withdrawn": True})
    shop.run("sync_catalog")
    phone.tolerated.append("404")
    phone.main_button.click()
    expect(phone.app.locator("[data-empty=plan_not_found]")).to_contain_text("Этого тарифа больше нет")
    expect(phone.app.locator("[data-part=similar] [data-bundle=esim_2GB_15D_GR_V2]")).to_be_visible()
    phone.main_button.click()
    expect(phone.app.locator("#view-destination h1")).to_have_text("Греция")
    expect(phone.banner("plan_gone")).to_contain_text("выбрали самый близкий")
    expect(phone.app.locator("[data-bundle=esim_2GB_15D_GR_V2] input")).to_be_checked()
    expect(phone.app.locator(f"[data-bundle={bundle}]")).to_have_count(0)


@pytest.fixture
def back_office(shop: Shop, new_context: Callable[..., BrowserContext]) -> Iterator[BackOffice]:
    office = BackOffice(new_context().new_page(), shop_url=shop.url)
    yield office
    office.set_sales(on=True)


def test_sales_that_staff_pauses_stop_at_the_checkout_and_go_on_where_they_stopped(
    phone: Phone, back_office: BackOffice
) -> None:
    phone.open_checkout("esim_1GB_7D_HK_V2")
    back_office.set_sales(on=False)
    phone.tolerated.append("409")
    phone.main_button.click()
    expect(phone.banner("sales_paused")).to_contain_text("Продажи ненадолго остановлены")
    expect(phone.main_button).to_be_disabled()

    back_office.set_sales(on=True)
    phone.look_again()
    phone.pay()
    phone.shows_order("completed")


# The connection, and clients that do not tell the truth


def test_a_payment_made_while_the_connection_is_lost_is_found_once_it_is_back(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_HR_V2")
    phone.open_sheet()
    phone.cut_off()
    phone.pay_button.click()
    expect(phone.pay_sheet).to_have_count(0)
    expect(phone.banner("offline")).to_be_visible()
    phone.reconnect()
    phone.shows_order("completed")
    expect(phone.banner("offline")).to_have_count(0)
    assert phone.read_order_code() == phone.only_order()["esim"]["activation_code"]


def test_a_payment_made_before_the_app_was_closed_is_found_among_the_orders(phone: Phone, shop: Shop) -> None:
    phone.open_checkout("esim_1GB_7D_ID_V2")
    phone.open_sheet()
    phone.cut_off()
    phone.pay_button.click()
    expect(phone.pay_sheet).to_have_count(0)
    phone.page.goto(shop.sandbox_url)
    phone.reconnect()
    phone.open_app()
    phone.app.locator("[data-link=orders]").click()
    phone.app.locator("[data-order][data-status=completed]").click()
    assert phone.read_order_code() == phone.only_order()["esim"]["activation_code"]
    assert shop.bought("esim_1GB_7D_ID_V2") == 1


def test_an_order_whose_answer_was_lost_is_the_same_on_the_next_tap(phone: Phone) -> None:
    def lose_answer(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    phone.open_checkout("esim_1GB_7D_IE_V2")
    phone.tolerated.append("net::ERR_")
    phone.page.route("**/create-invoice", lose_answer, times=1)
    phone.main_button.click()
    expect(phone.banner("offline")).to_be_visible()
    unpaid = phone.only_order()
    phone.look_again()
    phone.pay()
    phone.shows_order("completed")
    assert phone.only_order()["order_id"] == unpaid["order_id"]


@pytest.mark.parametrize(
    "fault",
    [{"kind": "claim", "claim": "failed"}, {"kind": "claim", "claim": "cancelled"}, {"kind": "lose"}],
    ids=["failed", "cancelled", "nothing"],
)
def test_a_client_that_tells_of_no_payment_does_not_hide_one(phone: Phone, shop: Shop, fault: dict[str, Any]) -> None:
    bundle = "esim_1GB_7D_IL_V2"
    shop.sandbox.fail("client.invoice_closed", **fault)
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("completed")
    assert phone.only_order()["status"] == "completed"
    assert shop.bought(bundle) == 1


def test_a_payment_that_telegram_tells_of_twice_is_one_esim(phone: Phone, shop: Shop) -> None:
    # Telegram loses our answer, and sends the update again.
    shop.sandbox.fail("webhook.successful_payment", "drop_after_work")
    phone.open_checkout("esim_1GB_7D_IN_V2")
    phone.pay()
    phone.shows_order("completed")
    assert shop.stars_of(phone.customer) == 5000 - phone.only_order()["amount_stars"]
    assert shop.bought("esim_1GB_7D_IN_V2") == 1


def test_stale_init_data_asks_to_open_the_app_again(phone: Phone, shop: Shop) -> None:
    def grow_old(route: Route) -> None:
        route.continue_(url=f"{route.request.url}?age_seconds=90000")

    address = re.compile(r"/sandbox/users/\d+/init-data$")
    phone.page.route(address, grow_old)
    phone.tolerated.append("401")
    phone.open_checkout("esim_1GB_7D_JP_V2")
    phone.main_button.click()
    expect(phone.app.locator("[data-empty=init_data_stale]")).to_contain_text("Откройте приложение заново")
    phone.main_button.click()
    expect(phone.page.locator("#mini-app")).to_be_hidden()

    phone.page.unroute(address)
    phone.open_checkout("esim_1GB_7D_JP_V2")
    phone.pay()
    phone.shows_order("completed")
