"""The refund of a delivered eSIM, in the browser: one person asks, another agrees, the customer has the Stars."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.e2e import back_office
from tests.e2e.back_office import BackOffice
from tests.outside import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop

DONE, REFUSED = re.compile(r"\bact-done\b"), re.compile(r"\bact-refused\b")
BUNDLE = "esim_50GB_30D_RGB_V2"
SECOND = "second"


@pytest.fixture
def refundable(shop: Shop) -> Iterator[None]:
    """eSIM Go gives the price of unused bundles back, as it does to accounts that asked for it."""
    shop.sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    yield
    shop.sandbox.post("/sandbox/settings", {"refunds_enabled": False})


@pytest.mark.usefixtures("refundable")
def test_a_large_refund_of_an_unused_esim_takes_two_people_and_costs_nothing(
    make_phone: Callable[..., Phone],
    new_context: Callable[..., BrowserContext],
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phone = make_phone(stars=50_000)
    price = shop.plan(BUNDLE)["price_stars"]
    assert price > 10_000
    phone.open_checkout(BUNDLE)
    phone.pay()
    phone.shows_order("completed")
    order = phone.only_order()
    assert shop.stars_of(phone.customer) == 50_000 - price

    first = BackOffice(new_context().new_page(), shop_url=shop.url)
    first.open_order(order["order_id"])
    first.ask("Refund a bought eSIM")
    preview = first.page.locator(".act-row")
    for words in ("never installed", "its price comes back", "second person"):
        expect(preview).to_contain_text(words)
    expect(first.page.locator("[name=how][value=revoke]")).to_be_checked()
    expect(first.confirm("the trip is off")).to_have_class(DONE)
    assert shop.orders_of(phone.customer)[0]["status"] == "completed"

    first.open("payments/refundrequest/")
    first.page.locator("#result_list tbody tr", has_text="waits for a second person").locator("a").first.click()
    request_page = first.page.url
    first.ask("Agree as the second person")
    expect(first.confirm("I agree with myself")).to_have_class(REFUSED)

    shop.run(
        "shell", "-c",
        "from django.contrib.auth.models import User;"
        f" User.objects.create_superuser({SECOND!r}, password={back_office.STAFF_PASSWORD!r})",
    )  # fmt: skip
    monkeypatch.setattr(back_office, "STAFF_NAME", SECOND)
    second = BackOffice(new_context().new_page(), shop_url=shop.url)
    second.page.goto(request_page)
    second.ask("Agree as the second person")
    expect(second.page.locator(".act-row")).to_contain_text("the trip is off")
    expect(second.confirm("she is right")).to_have_class(DONE)

    # The open page shows an eSIM that is ready, and asks no more: the chat tells of the refund.
    phone.page.goto(shop.sandbox_url)
    expect(phone.page.locator(".message", has_text="Вернули").last).to_be_visible()
    wait_until(lambda: shop.orders_of(phone.customer)[0]["status"] == "refunded")
    assert shop.stars_of(phone.customer) == 50_000
    assert shop.orders_of(phone.customer)[0]["esim"] is None
    [esim] = [each for each in shop.sandbox.ledger()["esims"] if each["customerRef"] == order["order_id"]]
    assert [each["fields"]["bundleState"] for each in esim["assignments"]] == ["revoked"]
    second.page.goto(request_page)
    expect(second.page.get_by_text("The refund was started.")).to_be_visible()
    expect(second.page.get_by_text(SECOND, exact=True).first).to_be_visible()
    second.open_order(order["order_id"])
    expect(second.page.locator(".timeline-entry", has_text="took its bundle back").first).to_be_visible()
    assert [first.problems, second.problems] == [[], []]
