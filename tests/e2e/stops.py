"""Every view of the Mini App in each of its main states: where the walk stops, and what the pictures are made of.

A new view is one line of STOPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.e2e.shop import Json, Shop
    from tests.e2e.webview import Webview


@dataclass(frozen=True)
class Stop:
    """A place of the app, and how to come to the state that is looked at.

    address: with the names of `furnish` in braces. shows: a part of the view that is there once it is loaded.
    act:     what a customer does there, given the page and the language. then: a part that is there after that.
    trouble: what the API answers instead, (start of a path, status, code); status 0 for a connection that is lost.
    refusal: the status with which the API itself refuses, which the browser's console tells.
    """

    name: str
    address: str
    shows: str
    act: Callable[[Page, str], None] | None = None
    then: str = ""
    trouble: tuple[str, int, str] | None = None
    refusal: int = 0


def _type(russian: str, english: str) -> Callable[[Page, str], None]:
    return lambda app, language: app.locator("[data-slot=query]").fill(russian if language == "ru" else english)


def _click(selector: str) -> Callable[[Page, str], None]:
    return lambda app, _: app.locator(selector).first.click()


def _open_all(app: Page, _: str) -> None:
    app.locator("#stage details").evaluate_all("all => all.forEach((each) => (each.open = true))")


STOPS = [
    Stop("start", "", "#view-find [data-area]"),
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
    Stop("no-plans", "?area=XX", "[data-empty]"),
    Stop("checkout", "?plan=esim_10GB_30D_TR_V2", "#view-checkout [data-slot=sum]"),
    Stop("checkout-open", "?plan={region_plan}", "#view-checkout [data-slot=sum]", _open_all),
    Stop("plan-gone", "?plan=esim_gone", "[data-empty=plan_not_found]", refusal=404),
    Stop("awaiting", "?order={awaiting}", "#view-order[data-phase=awaiting]"),
    Stop("preparing", "?order={preparing}", "#view-order[data-phase=preparing]"),
    Stop("ready", "?order={ready}", "#view-order[data-phase=completed] .qr"),
    Stop("attention", "?order={attention}", "#view-order[data-phase=needs_attention]"),
    Stop("refunded", "?order={refunded}", "#view-order[data-phase=refunded]"),
    Stop("order-unknown", f"?order={UUID(int=0)}", "[data-empty=order_not_found]", refusal=404),
    Stop("orders", "?view=orders", "#view-orders [data-order]"),
    Stop("esims", "?view=esims", "#view-esims [data-look=low]"),
    Stop("esim-new", "?esim={iccid}", "#view-esim[data-look=new] [data-plans=fitting] [data-bundle]"),
    Stop("esim-low", "?esim={low}", "#view-esim[data-look=low] [data-plans=fitting] [data-bundle]", _open_all),
    Stop("esim-used-up", "?esim={used_up}", "#view-esim[data-look=used_up] [data-plans=fitting] [data-bundle]"),
    Stop("esim-unlimited", "?esim={unlimited}", "#view-esim[data-look=active] [data-plans=fitting] [data-bundle]"),
    Stop("esim-ended", "?esim={ended}", "#view-esim[data-look=ended] [data-plans=fitting] [data-bundle]"),
    Stop("esim-unknown", "?esim=8944", "[data-empty=esim_not_found]", refusal=404),
    Stop("esims-failed", "?view=esims", "[data-empty=server_error]", trouble=("/api/esims", 500, "")),
    Stop("offline", "", "[data-empty=offline]", trouble=("/api/areas", 0, "")),
    Stop("server-error", "?area=TR", "[data-empty=server_error]", trouble=("/api/plans", 500, "")),
    Stop("stale", "?view=orders", "[data-empty=init_data_stale]", trouble=("/api/orders", 401, "init_data_stale")),
]


def furnish(shop: Shop, customer: int) -> dict[str, str]:
    """Orders of a customer in every state, and where they lie. The last one is not done before the sandbox heals."""
    areas = shop.areas()
    region = next(area["code"] for area in areas if area["kind"] == "region")
    refusal = {"kind": "status", "status": 400, "message": "bundle not available"}
    ready = shop.buy(customer, "esim_10GB_30D_TR_V2")
    used = _use_some(shop, customer)
    shop.sandbox.fail("esimgo.POST /orders", **refusal)
    refunded = shop.buy(customer, "esim_1GB_7D_TH_V2", until="refunded")
    shop.sandbox.fail("esimgo.POST /orders", **refusal)
    shop.sandbox.fail("telegram.refundStarPayment", "status", status=400, message="Bad Request: CHARGE_NOT_FOUND")
    attention = shop.buy(customer, "esim_1GB_7D_VN_V2", until="needs_attention")
    awaiting = shop.place_order(customer, "esim_1GB_7D_MX_V2")
    shop.sandbox.fail("esimgo.POST /orders", "status", status=429, times=None, headers={"Retry-After": "600"})
    preparing = shop.buy(customer, "esim_1GB_7D_ZA_V2", until="paid")
    return {
        "region": region,
        "region_plan": shop.plans(region)[0]["bundle"],
        "ready": ready["order_id"],
        "iccid": ready["esim"]["iccid"],
        "refunded": refunded["order_id"],
        "attention": attention["order_id"],
        "awaiting": awaiting["order_id"],
        "preparing": preparing["order_id"],
        **used,
    }


def _use_some(shop: Shop, customer: int) -> dict[str, str]:
    """ICCIDs of eSIMs that run low, are used up, unlimited, over. Not all plans of the first one's country fit it."""
    shop.sandbox.post("/sandbox/catalogue/esim_2GB_15D_RS_V2", {"profile": "Profile 9"})
    shop.run("sync_catalog")
    lives: dict[str, tuple[str, Json]] = {
        "low": ("esim_3GB_30D_RS_V2", {"remaining_mb": 400}),
        "used_up": ("esim_1GB_7D_MA_V2", {"remaining_mb": 0}),
        "unlimited": ("esim_UL_7D_TR_V2", {"bundle_state": "active"}),
        "ended": ("esim_1GB_7D_UZ_V2", {"remaining_mb": 500, "ends_in_hours": -1}),
    }
    iccids = {name: shop.buy(customer, bundle)["esim"]["iccid"] for name, (bundle, _) in lives.items()}
    for name, (_, changes) in lives.items():
        shop.use(iccids[name], profile_status="Enabled", **changes)
    return iccids


def stand_at(webview: Webview, stop: Stop, places: dict[str, str], *, theme: str, language: str) -> None:
    """Come to a stop, in a window of the app alone."""
    page = webview.page
    page.unroute_all()
    webview.tolerated = (str(stop.refusal),) if stop.refusal else ()
    if stop.trouble:
        path, status, code = stop.trouble
        webview.tolerated = ("net::ERR_", str(status))
        body = {"code": code, "detail": ""}
        page.route(
            f"**{path}*",
            lambda route: route.fulfill(status=status, json=body) if status else route.abort("internetdisconnected"),
        )
    webview.launch(stop.address.format(**places), theme=theme)
    webview.settle(stop.shows)
    if stop.act:
        stop.act(page, language)
        webview.settle(stop.then or stop.shows)
