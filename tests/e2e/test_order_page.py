"""The page of an order in the back office, as support reads it while a customer waits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.back_office import BackOffice
from tests.e2e.qr_codes import read_qr_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop


def test_support_follows_a_purchase_and_reads_its_code_to_the_customer(
    phone: Phone, shop: Shop, new_context: Callable[..., BrowserContext]
) -> None:
    phone.open_checkout("esim_1GB_7D_SE_V2")
    phone.open_sheet()
    phone.pay_button.click()
    phone.shows_order("completed")
    order = phone.only_order()
    code = order["esim"]["activation_code"]

    context = new_context(viewport={"width": 1280, "height": 900})
    office = BackOffice(context.new_page(), shop_url=shop.url)
    page, complaints = office.page, list[str]()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{office.url}orders/order/{order['order_id']}/change/")
    expect(page.locator(".order-state")).to_contain_text("Delivered")
    expect(page.locator(".order-turn")).to_contain_text("nobody's: it is done")

    purchase = page.locator(".timeline-entry", has_text="Place order: ok, HTTP 200")
    purchase.get_by_text("Request and response").click()
    expect(purchase.locator("pre").first).to_contain_text("POST /orders")
    answer = json.loads(purchase.locator("pre").last.inner_text())
    (esim,) = answer["order"][0]["esims"]
    assert (esim["iccid"], esim["matchingId"]) == (f"…{order['esim']['iccid'][-4:]}", "[redacted]")
    assert code not in page.content()
    assert order["esim"]["matching_id"] not in page.content()

    page.get_by_role("link", name="Reveal…").click()
    page.locator("[name=reason]").fill("She reads it to me by phone")
    page.get_by_role("button", name="Reveal", exact=True).click()
    expect(page.locator(".order-reveal")).to_contain_text(code)
    assert read_qr_code(page.locator(".reveal-qr").screenshot()) == code
    assert order["esim"]["matching_id"] not in page.url

    page.get_by_role("link", name="Back to the order").click()
    seen = page.locator(".timeline-entry", has_text="Saw the activation code")
    expect(seen).to_contain_text("She reads it to me by phone")
    assert complaints == []
