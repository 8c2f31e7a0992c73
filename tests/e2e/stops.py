"""Every view of the Mini App in each of its main states: where the walk stops, and what the pictures are made of.

A new view is one line of STOPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from tests.outside import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import FrameLocator, Page

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Json, Shop
    from tests.e2e.webview import Webview

    # What a customer does on a page, in a language.
    Act = Callable[[Page | FrameLocator, str], None]


@dataclass(frozen=True)
class Stop:
    """A place of the app, and how to come to the state that is looked at.

    address: with names of `Belongings` in braces. shows: a part of the view that is there once it is loaded.
    act:     what a customer does there, given the page and the language; press: then they press the MainButton.
    then:    a part that is there after that.
    trouble: what the API answers instead, (start of a path, status, body); status 0 for a connection that is lost.
    refusal: the status with which the API itself refuses, which the browser's console tells.
    shift:   how much may move by itself while it loads, where more than little is to be expected.
    """

    name: str
    address: str
    shows: str
    act: Act | None = None
    then: str = ""
    press: bool = False
    trouble: tuple[str, int, Json] | None = None
    refusal: int = 0
    shift: float = 0.05


def _type(russian: str, english: str) -> Act:
    return lambda app, language: app.locator("#stage input[type=search]").first.fill(
        russian if language == "ru" else english
    )


def _click(selector: str) -> Act:
    return lambda app, _: app.locator(selector).first.click()


def _open_all(app: Page | FrameLocator, _: str) -> None:
    app.locator("#stage details").evaluate_all("all => all.forEach((each) => (each.open = true))")


EMPTY_PAGE = {"count": 0, "next": None, "previous": None, "results": []}
STOPS = [
    Stop("start", "", "#view-find [data-area]"),
    Stop("start-lost", "?area=XX", "[data-banner=lost]", refusal=404, shift=0.3),
    Stop("start-all", "", "#view-find [data-area]", _click("[data-slot=toggle]"), "[data-area=ZA]"),
    Stop("search", "", "#view-find [data-area]", _type("тур", "tur"), "[data-slot=results] mark"),
    Stop("nothing-found", "", "#view-find [data-area]", _type("ъъъъ", "zzzz"), "[data-empty=nothing_found]"),
    Stop("destination", "?area=TR", "#view-destination [data-bundle]"),
    Stop(
        "unlimited",
        "?area=TR",
        "#view-destination [data-bundle]",
        _click("[data-slot=kinds] button:nth-child(2)"),
        "[data-slot=tiers] .strong",
    ),
    Stop("region", "?area={region}", "#view-destination [data-bundle]"),
    Stop("region-open", "?area=RGBS", "#view-destination [data-fold=networks]", _open_all, "[data-fold=networks] li"),
    Stop("checkout", "?plan=esim_10GB_30D_TR_V2", "#view-checkout [data-slot=sum]"),
    Stop("checkout-open", "?plan={region_plan}", "#view-checkout [data-slot=sum]", _open_all, shift=0.1),
    Stop("plan-gone", "?plan=esim_gone", "[data-empty=plan_not_found]", refusal=404),
    Stop("awaiting", "?order={awaiting}", "#view-order[data-phase=awaiting]"),
    Stop("preparing", "?order={preparing}", "#view-order[data-phase=preparing]"),
    Stop("ready", "?order={ready}", "#view-order[data-phase=completed] .qr"),
    Stop("attention", "?order={attention}", "#view-order[data-phase=needs_attention]"),
    Stop("refunded", "?order={refunded}", "#view-order[data-phase=refunded]"),
    Stop("order-unknown", f"?order={UUID(int=0)}", "[data-empty=order_not_found]", refusal=404),
    Stop("guide", "?guide={ready}", "#view-guide[data-kind=iphone]"),
    Stop(
        "guide-samsung",
        "?guide={ready}",
        "#view-guide",
        _click("[data-guide=android]"),
        "#view-guide[data-kind=samsung]",
    ),
    Stop("esims", "?view=esims", "#view-esims [data-esim]"),
    Stop("esims-none", "?view=esims", "#view-esims [data-empty]", trouble=("/api/esims", 200, EMPTY_PAGE)),
    Stop("esim-new", "?esim={new}", "#view-esim[data-look=new]", shift=0.6),
    Stop("esim-active", "?esim={active}", "#view-esim[data-look=active]"),
    Stop("esim-low", "?esim={low}", "#view-esim[data-look=low] .other-plans", _open_all),
    Stop("esim-used-up", "?esim={used_up}", "#view-esim[data-look=used_up]"),
    Stop("esim-ended", "?esim={ended}", "#view-esim[data-look=ended]"),
    Stop("esim-unlimited", "?esim={unlimited}", "#view-esim[data-look=active] [data-slot=tiers] .strong"),
    Stop("esim-unknown", "?esim=8944", "[data-empty=esim_not_found]", refusal=404),
    Stop("top-up", "?plan=esim_10GB_30D_TR_V2&iccid={active}", "#view-checkout [data-slot=sum]"),
    Stop("orders", "?view=orders", "#view-orders [data-order]"),
    Stop("orders-none", "?view=orders", "#view-orders [data-empty]", trouble=("/api/orders", 200, EMPTY_PAGE)),
    Stop("settings", "?view=settings", "#view-settings [role=switch]"),
    Stop(
        "settings-offline",
        "?view=settings",
        "[data-banner=offline]",
        trouble=("/api/customer", 0, {}),
        shift=0.2,
    ),
    Stop("deletion", "?view=deletion", "#view-deletion section"),
    Stop("deletion-asked", "?view=deletion", "#view-deletion section", press=True, then="#view-deletion .btn.danger"),
    Stop("help", "?view=help", "#view-help details"),
    Stop("help-open", "?view=help", "#view-help details", _open_all),
    Stop("help-nothing", "?view=help", "#view-help details", _type("ъъъъ", "zzzz"), "[data-empty=no_answer]"),
    Stop("requests", "?view=requests", "#view-requests [data-case]"),
    Stop("requests-none", "?view=requests", "[data-empty=no_requests]", trouble=("/api/cases", 200, EMPTY_PAGE)),
    Stop("terms", "?view=terms", "#view-legal section"),
    Stop("privacy", "?view=privacy", "#view-legal section"),
    Stop("offline", "?view=orders", "[data-empty=offline]", trouble=("/api/orders", 0, {})),
    Stop("server-error", "?area=TR", "[data-empty=server_error]", trouble=("/api/plans", 500, {})),
    Stop(
        "stale",
        "?view=orders",
        "[data-empty=init_data_stale]",
        trouble=("/api/orders", 401, {"code": "init_data_stale"}),
    ),
]


class Belongings(dict[str, str]):
    """Where a customer's orders and eSIMs lie, by their state."""

    def __init__(self, shop: Shop, customer: int, places: dict[str, str]) -> None:
        super().__init__(places)
        self._shop = shop
        self._customer = customer

    def __missing__(self, name: str) -> str:
        """Another order that is "preparing": none stays so for long."""
        assert name == "preparing", name
        # Its answer is lost, so that the shop looks it up after a while; that is no trouble for anybody else.
        self._shop.sandbox.fail("esimgo.POST /orders", "drop_after_work")
        return str(self._shop.buy(self._customer, "esim_1GB_7D_UZ_V2", until="provisioning")["order_id"])


def furnish(shop: Shop, customer: int) -> Belongings:
    """Orders of a customer in every state, and where they lie.

    Of bundles that no test counts: what goes on behind its back is nobody else's purchase.
    """
    areas = shop.areas()
    region = next(area["code"] for area in areas if area["kind"] == "region")
    # Not every plan of the country fits the eSIMs.
    shop.sandbox.post("/sandbox/catalogue/esim_2GB_15D_TR_V2", {"profile": "Profile 9"})
    shop.run("sync_catalog")
    used = {
        name: shop.buy(customer, "esim_1GB_7D_TR_V2")["esim"]["iccid"]
        for name in ("new", "active", "low", "used_up", "ended")
    }
    used["unlimited"] = shop.buy(customer, "esim_UL_7D_TR_V2")["esim"]["iccid"]
    shop.use(used["unlimited"], profile_status="Enabled", bundle_state="active")
    shop.use(used["active"], profile_status="Enabled", remaining_mb=730)
    shop.use(used["low"], profile_status="Enabled", remaining_mb=120)
    shop.use(used["used_up"], profile_status="Enabled", remaining_mb=0)
    shop.use(used["ended"], profile_status="Enabled", remaining_mb=200, ends_in_hours=-1)
    refusal = {"kind": "status", "status": 400, "message": "bundle not available"}
    ready = shop.buy(customer, "esim_10GB_30D_TR_V2")
    _ask_support(shop, customer, ready["order_id"])
    shop.sandbox.fail("esimgo.POST /orders", **refusal)
    refunded = shop.buy(customer, "esim_1GB_7D_MA_V2", until="refunded")
    shop.sandbox.fail("esimgo.POST /orders", **refusal)
    shop.sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    attention = shop.buy(customer, "esim_1GB_7D_KZ_V2", until="needs_attention")
    awaiting = shop.place_order(customer, "esim_1GB_7D_MV_V2")
    places = {
        **used,
        "region": region,
        "region_plan": shop.plans(region)[0]["bundle"],
        "ready": ready["order_id"],
        "refunded": refunded["order_id"],
        "attention": attention["order_id"],
        "awaiting": awaiting["order_id"],
    }
    return Belongings(shop, customer, places)


def _ask_support(shop: Shop, customer: int, order_id: str) -> None:
    """A request about an order, with two messages."""

    def press(beginning: str) -> None:
        def find() -> list[tuple[int, str]]:
            message = shop.sandbox.chat(customer)[-1]
            buttons = [button.get("callback_data", "") for row in message["buttons"] for button in row]
            return [(message["message_id"], data) for data in buttons if data.startswith(beginning)]

        wait_until(lambda: bool(find()), seconds=20)
        message_id, data = find()[0]
        shop.sandbox.post(f"/sandbox/users/{customer}/press", {"message_id": message_id, "callback_data": data})

    shop.sandbox.post(f"/sandbox/users/{customer}/messages", {"text": f"/paysupport {order_id}"})
    press("ps:w:")
    press("ps:o:")
    shop.sandbox.post(f"/sandbox/users/{customer}/messages", {"text": "В Стамбуле нет сети. No network in Istanbul."})


def stand_at(window: Webview | Phone, stop: Stop, places: Belongings, *, language: str) -> None:
    """Come to a stop. What the console says of it on purpose is tolerated from then on."""
    window.page.unroute_all()
    window.tolerated = [str(stop.refusal)] if stop.refusal else []
    if stop.trouble:
        path, status, body = stop.trouble
        window.tolerated = ["net::ERR_", str(status)]
        window.page.route(
            f"**{path}*",
            lambda route: route.fulfill(status=status, json=body) if status else route.abort("internetdisconnected"),
        )
    window.launch(stop.address.format_map(places))
    window.settle(stop.shows)
    if stop.act:
        stop.act(window.app, language)
    if stop.press:
        window.press_main_button()
    window.settle(stop.then or stop.shows)
