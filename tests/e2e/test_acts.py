"""Every act of staff through a real browser, on a shop that sells meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests
from playwright.sync_api import expect

from tests.e2e.back_office import BackOffice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext, Locator

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Json, Shop


@pytest.fixture
def office(shop: Shop, new_context: Callable[..., BrowserContext]) -> Iterator[BackOffice]:
    """The back office of somebody with every permission; nothing may have gone wrong on its pages."""
    office = BackOffice(new_context().new_page(), shop_url=shop.url)
    problems: list[str] = []
    office.page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    office.page.on("pageerror", lambda error: problems.append(str(error)))
    yield office
    assert problems == []


def result_of(office: BackOffice) -> Locator:
    return office.page.locator(".act-results tbody tr").first


def stuck_order(phone: Phone, shop: Shop, bundle: str) -> Json:
    """A paid order that waits for a person: nothing was bought, and its refund was refused."""
    shop.sandbox.fail("esimgo.POST /orders", "status", status=400, message="bundle not available")
    shop.sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("needs_attention")
    return phone.only_order()


def test_support_sends_the_qr_code_again_and_cancels_an_unpaid_order(
    phone: Phone, shop: Shop, office: BackOffice
) -> None:
    phone.open_checkout("esim_1GB_7D_NL_V2")
    phone.pay()
    phone.shows_order("completed")
    completed = phone.only_order()
    phone.page.goto(shop.sandbox_url)
    phone.open_checkout("esim_1GB_7D_BE_V2")
    phone.open_sheet()
    phone.close_sheet()
    [unpaid] = [order for order in shop.orders_of(phone.customer) if order["status"] == "awaiting_payment"]

    shop.run("shell", "-c", "from orders.models import *; Delivery.objects.update(sent_at='2026-01-01T00:00Z')")
    office.open(f"orders/order/{completed['order_id']}/change/")
    office.act("Send the QR code again")
    expect(result_of(office)).to_contain_text("on its way")
    office.open(f"orders/order/{unpaid['order_id']}/change/")
    office.act("Cancel", reason="the customer chose another plan")
    # Pressed twice: whichever answer is shown, it happened once.
    office.page.get_by_role("link", name="Back to its page").click()
    expect(office.page.locator("body")).to_contain_text("the customer chose another plan")

    phone.page.goto(shop.sandbox_url)
    expect(phone.page.locator(".photo")).to_have_count(2)
    expect(phone.page.locator("#chat")).to_contain_text("Заказ отменён")
    expect(phone.page.locator("#chat").get_by_text("Заказ отменён")).to_have_count(1)


def test_an_order_that_waits_for_a_person_is_brought_on_its_way_again(
    phone: Phone, shop: Shop, office: BackOffice
) -> None:
    order = stuck_order(phone, shop, "esim_1GB_7D_NO_V2")
    shop.sandbox.heal()

    office.open(f"orders/order/{order['order_id']}/change/")
    office.act("Re-provision")

    expect(phone.order).to_have_attribute("data-status", "completed")
    assert shop.bought("esim_1GB_7D_NO_V2") == 1


def test_a_purchase_that_nobody_owns_is_adopted_revoked_or_written_off(
    phone: Phone, shop: Shop, office: BackOffice
) -> None:
    bundle = "esim_1GB_7D_DK_V2"
    order = stuck_order(phone, shop, bundle)
    shop.sandbox.heal()
    shop.sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    for _ in range(3):
        # Bought in the wholesaler's portal by somebody, and found by the reconciliation.
        bought = requests.post(
            f"{shop.sandbox.esimgo_base_url}/orders",
            json={"type": "transaction", "assign": True, "order": [{"type": "bundle", "item": bundle, "quantity": 1}]},
            headers={"X-API-Key": "sandbox-key"},
            timeout=10,
        ).json()
        iccid = bought["order"][0]["esims"][0]["iccid"]
        shop.run(
            "shell",
            "-c",
            "from orders.models import Orphan\n"
            f"Orphan.objects.create(reference={bought['orderReference']!r}, iccid={iccid!r}, bundle_name={bundle!r})",
        )

    for label, options in (("Adopt for an order", {"order": order["order_id"]}), ("Revoke", {}), ("Write off", {})):
        office.open("orders/orphan/?status__exact=open")
        office.page.locator("#result_list tbody th a").first.click()
        office.act(label, **options)

    expect(phone.order).to_have_attribute("data-status", "completed")
    assert shop.bought(bundle) == 3
    office.open("orders/orphan/")
    for state in ("Adopted", "its bundle was revoked", "kept as a loss"):
        expect(office.page.locator("#result_list")).to_contain_text(state)


def test_operators_replay_reconcile_sync_and_pause(shop: Shop, office: BackOffice) -> None:
    update = {"update_id": 77, "message": {"message_id": 1, "successful_payment": {}}}
    answer = requests.post(
        f"{shop.url}/api/telegram/stars/webhook",
        json=update,
        headers={"X-Telegram-Bot-Api-Secret-Token": "webhook-secret-of-the-tests"},
        timeout=10,
    )
    assert answer.status_code == 200
    office.open("payments/telegramupdate/?status__exact=failed")
    office.page.locator("#result_list tbody th a").first.click()
    office.act("Replay")
    expect(result_of(office)).to_contain_text("It failed again")

    for path, label in (
        ("payments/startransaction/", "Reconcile with Telegram now"),
        ("orders/orphan/", "Reconcile with eSIM Go now"),
        ("catalog/catalogsync/", "Sync the catalogue now"),
    ):
        office.open(path)
        office.act(label)
        expect(result_of(office)).to_contain_text("orker")

    office.open("catalog/salespause/")
    office.act("Pause sales", reason="a wrong price")
    office.open("")
    expect(office.page.locator(".dashboard")).to_contain_text("paused by a member of staff")
    office.open("catalog/salespause/?ended_at__isempty=1")
    office.page.locator("#result_list tbody th a").first.click()
    office.act("Resume sales", reason="the price is right again")
    office.open("")
    expect(office.page.locator(".dashboard")).not_to_contain_text("paused by a member of staff")
