"""Acts of staff in the back office, with what the customer sees of each on their phone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import requests
from playwright.sync_api import expect

from esimshop.sandbox.server import DEFAULT_API_KEY
from tests.e2e.back_office import BackOffice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Json, Shop

DONE, REFUSED = re.compile(r"\bact-done\b"), re.compile(r"\bact-refused\b")
WORKER_TAKES_MS = 30_000


@pytest.fixture
def make_office(shop: Shop, new_context: Callable[..., BrowserContext]) -> Iterator[Callable[[], BackOffice]]:
    """Windows of the back office; at the end nothing may have gone wrong in any of them."""
    offices: list[BackOffice] = []

    def make() -> BackOffice:
        offices.append(BackOffice(new_context().new_page(), shop_url=shop.url))
        return offices[-1]

    yield make
    assert [office.problems for office in offices if office.problems] == []


@pytest.fixture
def office(make_office: Callable[[], BackOffice]) -> BackOffice:
    return make_office()


def buy(phone: Phone, bundle: str) -> Json:
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("completed")
    return phone.shop.orders_of(phone.customer)[0]


def buy_in_vain(phone: Phone, bundle: str) -> Json:
    """An order that waits for a person: eSIM Go sold nothing, and Telegram did not take the Stars back."""
    sandbox = phone.shop.sandbox
    sandbox.fail("esimgo.POST /orders", "status", status=400, message="bundle not available")
    sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("needs_attention")
    return phone.only_order()


def buy_elsewhere(shop: Shop, bundle: str) -> str:
    """A purchase on the shop's account that the shop knows nothing of. Returns its reference at eSIM Go."""
    answer = requests.post(
        f"{shop.sandbox.esimgo_base_url}/orders",
        json={"type": "transaction", "assign": True, "order": [{"type": "bundle", "quantity": 1, "item": bundle}]},
        headers={"X-API-Key": DEFAULT_API_KEY},
        timeout=10,
    )
    answer.raise_for_status()
    return str(answer.json()["orderReference"])


def wait_for_worker(office: BackOffice, is_done: Callable[[], bool]) -> None:
    """Until the worker has done what a page shows only when it is loaded again."""
    for _ in range(WORKER_TAKES_MS // 500):
        if is_done():
            return
        office.page.wait_for_timeout(500)
    pytest.fail("the worker has not done it in time")


def lists(office: BackOffice, path: str) -> bool:
    """Whether a search finds its one row now."""
    office.open(path)
    return office.page.locator("#result_list tbody tr").count() == 1


def photos(shop: Shop, customer: int) -> int:
    return sum("photo" in message and message["photo"] is not None for message in shop.sandbox.chat(customer))


def test_orders_that_wait_for_a_person_are_brought_on_their_way_together(
    make_phone: Callable[..., Phone], office: BackOffice, shop: Shop
) -> None:
    phones = [make_phone(), make_phone()]
    bundles = ["esim_1GB_7D_NL_V2", "esim_1GB_7D_NO_V2"]
    orders = [buy_in_vain(phone, bundle) for phone, bundle in zip(phones, bundles, strict=True)]

    office.open("orders/order/?status__exact=needs_attention&cause__exact=refund_refused")
    office.choose("Re-provision", ids=[order["order_id"] for order in orders])
    previews = office.page.locator(".act-row")
    expect(previews).to_have_count(2)
    expect(previews.first).to_contain_text("Earlier purchases are searched for at eSIM Go")
    expect(previews.first).to_contain_text("USD at eSIM Go, only if it must be bought")
    assert [shop.bought(bundle) for bundle in bundles] == [0, 0]

    results = office.confirm("eSIM Go sells these again")
    expect(results).to_have_class([DONE, DONE])
    for phone, bundle in zip(phones, bundles, strict=True):
        phone.shows_order("completed")
        assert shop.bought(bundle) == 1
    office.open_order(orders[0]["order_id"])
    expect(office.page.locator(".timeline-entry", has_text="eSIM Go sells these again").first).to_be_visible()


def test_a_message_that_did_not_arrive_is_sent_again_once_though_two_people_press(
    phone: Phone, make_office: Callable[[], BackOffice], shop: Shop
) -> None:
    shop.sandbox.post("/sandbox/users", {"id": phone.customer, "blocked_bot": True})
    first = buy(phone, "esim_1GB_7D_AT_V2")
    phone.page.goto(shop.sandbox_url)
    second = buy(phone, "esim_1GB_7D_TR_V2")
    # The customer lets the bot in again, and Telegram does not tell us.
    shop.sandbox.fail("webhook.my_chat_member", "lose")
    shop.sandbox.post("/sandbox/users", {"id": phone.customer, "blocked_bot": False})
    assert photos(shop, phone.customer) == 0

    windows = [make_office(), make_office()]
    for window in windows:
        window.open_order(first["order_id"])
        window.ask("Send the QR code again")
        expect(window.page.locator(".act-warning")).to_contain_text("had blocked the bot")
    expect(windows[0].confirm("she let the bot in again")).to_have_class(DONE)
    expect(windows[1].confirm("she asked me, too")).to_have_class(REFUSED)
    phone.page.goto(shop.sandbox_url)
    assert phone.read_chat_code() == first["esim"]["activation_code"]

    office = windows[0]
    office.open(f"orders/delivery/?q={second['order_id']}")
    office.page.locator("#result_list tbody tr", has_text="blocked").locator("a").first.click()
    office.ask("Send again")
    expect(office.confirm("the other one, too")).to_have_class(DONE)
    expect(phone.page.locator(".photo")).to_have_count(2)
    assert phone.read_chat_code() == second["esim"]["activation_code"]


def test_a_cancelled_order_cannot_be_paid_on_a_sheet_that_was_open(
    phone: Phone, office: BackOffice, shop: Shop
) -> None:
    phone.open_checkout("esim_1GB_7D_AU_V2")
    phone.open_sheet()

    office.open_order(phone.only_order()["order_id"])
    office.ask("Cancel")
    # A reason is no formality: blanks are none, and what was asked stays on the page.
    office.page.locator("[name=reason]").fill("   ")
    office.page.locator(".act-form button[type=submit]").click()
    expect(office.page.locator(".act-error")).to_be_visible()
    assert phone.only_order()["status"] == "awaiting_payment"
    expect(office.confirm("ordered by mistake")).to_have_class(DONE)

    phone.pay_button.click()
    expect(phone.pay_sheet).to_contain_text("звёзды не списаны")
    phone.close_sheet()
    phone.shows_order("cancelled")
    assert shop.stars_of(phone.customer) == 5000
    phone.page.goto(shop.sandbox_url)
    expect(phone.page.locator("#chat")).to_contain_text("отменён")
    office.open_order(phone.only_order()["order_id"])
    expect(office.page.locator(".order-state")).to_contain_text("ancelled")
    expect(office.page.locator(".acts").get_by_role("link", name="Cancel", exact=True)).to_have_count(0)


def test_purchases_that_nobody_owns_are_found_adopted_revoked_and_written_off(
    phone: Phone, office: BackOffice, shop: Shop
) -> None:
    adopted, revoked, lost = "esim_1GB_7D_BR_V2", "esim_1GB_7D_CA_V2", "esim_1GB_7D_MX_V2"
    order = buy_in_vain(phone, adopted)
    shop.sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    references = {bundle: buy_elsewhere(shop, bundle) for bundle in (adopted, revoked, lost)}

    office.open("orders/orphan/")
    office.ask("Reconcile with eSIM Go now")
    expect(office.confirm("their portal shows three more")).to_have_class(DONE)
    for reference in references.values():
        wait_for_worker(office, lambda found=reference: lists(office, f"orders/orphan/?q={found}"))

    def open_orphan(bundle: str) -> None:
        office.open(f"orders/orphan/?q={references[bundle]}")
        office.page.locator("#result_list tbody a").first.click()

    open_orphan(adopted)
    office.ask("Adopt for an order")
    office.page.locator("select[name=order]").select_option(value=order["order_id"])
    expect(office.confirm("it was bought for her in the portal")).to_have_class(DONE)
    phone.shows_order("completed")
    assert shop.bought(adopted) == 1

    balance = shop.sandbox.ledger()["balance_usd"]
    open_orphan(revoked)
    office.ask("Revoke")
    expect(office.page.locator(".act-warning")).to_contain_text("Nobody can use its eSIM afterwards")
    expect(office.confirm("nobody's")).to_have_class(DONE)
    assert shop.sandbox.ledger()["balance_usd"] > balance

    open_orphan(lost)
    office.ask("Write off")
    expect(office.confirm("a test in the portal")).to_have_class(DONE)
    open_orphan(lost)
    expect(office.page.locator(".acts")).to_have_count(0)


def test_a_payments_update_is_replayed_and_the_ledger_compared_without_a_second_esim(
    phone: Phone, office: BackOffice, shop: Shop
) -> None:
    bundle = "esim_1GB_7D_NZ_V2"
    order = buy(phone, bundle)

    office.open("payments/telegramupdate/")
    office.page.locator("#result_list tbody tr", has_text="successful").first.locator("a").first.click()
    office.ask("Replay")
    expect(office.page.locator(".act-row")).to_contain_text("a charge or a refund is taken in once")
    expect(office.confirm("was it taken in?")).to_have_class(DONE)

    office.open("payments/startransaction/")
    office.ask("Reconcile with Telegram now")
    expect(office.confirm("the day is closed")).to_have_class(DONE)
    rows = shop.sandbox.ledger()["transactions"]
    [charge] = [row["id"] for row in rows if row.get("source", {}).get("user", {}).get("id") == phone.customer]
    wait_for_worker(office, lambda: lists(office, f"payments/startransaction/?q={charge}"))

    assert shop.bought(bundle) == 1
    assert phone.only_order()["status"] == "completed"
    assert shop.stars_of(phone.customer) == 5000 - order["amount_stars"]


def test_sales_are_paused_and_resumed_while_a_customer_looks(phone: Phone, office: BackOffice) -> None:
    phone.open_checkout("esim_1GB_7D_ZA_V2")
    office.open("catalog/salespause/")
    office.ask("Pause sales")
    expect(office.confirm("eSIM Go has an outage")).to_have_class(DONE)
    phone.tolerated.append("409")
    phone.main_button.click()
    expect(phone.banner("sales_paused")).to_contain_text("Продажи ненадолго остановлены")

    office.open("catalog/salespause/")
    expect(office.page.locator(".acts")).to_have_count(0)
    office.page.locator("#result_list tbody a").first.click()
    office.ask("Resume sales")
    expect(office.confirm("the outage is over")).to_have_class(DONE)
    phone.look_again()
    phone.pay()
    phone.shows_order("completed")


def test_the_catalogue_is_read_again_on_demand(office: BackOffice, shop: Shop) -> None:
    bundle = "esim_1GB_7D_KR_V2"
    before = shop.plan(bundle)["price_stars"]
    shop.sandbox.post(f"/sandbox/catalogue/{bundle}", {"price": 9.99})

    office.open("catalog/catalogsync/")
    office.ask("Sync the catalogue now")
    expect(office.confirm("they wrote of a new price")).to_have_class(DONE)
    wait_for_worker(office, lambda: shop.plan(bundle)["price_stars"] > before)
