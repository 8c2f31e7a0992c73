"""Settings, help and requests: what a customer sets, asks, and wishes to have forgotten."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.phone import Phone


def buy(phone: Phone, bundle: str) -> None:
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("completed")
    phone.back_button.click()
    expect(phone.app.locator("#view-order")).to_have_count(0)


def open_view(phone: Phone, name: str) -> None:
    """From wherever the customer is, by way of the start page."""
    phone.page.goto(phone.shop.sandbox_url)
    phone.open_app()
    phone.app.locator(f"[data-link={name}]").click()
    expect(phone.app.locator(f"#view-{name}")).to_be_visible()


def test_the_language_and_the_messages_are_the_customers_choice(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone(language="en")
    settings = phone.app.locator("#view-settings")
    open_view(phone, "settings")
    expect(settings.locator("h1")).to_have_text("Settings")
    settings.get_by_role("button", name="Русский").click()
    expect(settings.locator("h1")).to_have_text("Настройки")
    expect(settings.get_by_role("button", name="Русский")).to_have_attribute("aria-pressed", "true")

    switch = settings.get_by_role("switch")
    expect(switch).to_have_attribute("aria-checked", "true")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    phone.cut_off()
    switch.click()
    expect(phone.app.locator("#toast")).to_be_visible()
    expect(switch).to_have_attribute("aria-checked", "false")
    phone.reconnect()

    # Prices are told in the chosen money.
    settings.locator("select").select_option("EUR")
    phone.back_button.click()
    phone.app.locator("[data-area=TR]").first.click()
    expect(phone.app.locator("#view-destination")).to_contain_text("€")

    # The bot follows, and a window that remembers nothing is told by the server.
    phone.page.goto(phone.shop.sandbox_url)
    phone.page.fill("#message", "/help")
    phone.page.press("#message", "Enter")
    expect(phone.page.locator("#chat")).to_contain_text("Как это работает")
    other = make_phone(customer=phone.customer)
    open_view(other, "settings")
    others = other.app.locator("#view-settings")
    expect(others.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    open_view(other, "settings")
    expect(others.locator("h1")).to_have_text("Настройки")
    others.get_by_role("button", name="Авто").click()
    expect(others.locator("h1")).to_have_text("Settings")

    others.locator("a", has_text="Privacy").click()
    expect(other.app.locator("#view-legal h1")).to_have_text("Privacy policy")
    expect(other.app.locator("#view-legal section")).to_have_count(3)
    other.back_button.click()
    expect(others).to_be_visible()


def test_help_answers_and_requests_keep_the_conversation(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone(language="ru")
    requests = phone.app.locator("#view-requests")
    open_view(phone, "help")
    view = phone.app.locator("#view-help")
    view.locator("a", has_text="Мои обращения").click()
    expect(requests.locator("[data-empty=no_requests]")).to_be_visible()
    phone.back_button.click()

    question = view.locator("details", has_text="Где взять звёзды?")
    question.locator("summary").click()
    expect(question.locator(".prose")).to_contain_text("Мои звёзды")
    view.locator("[data-slot=words]").fill("звезды возвращаются")
    expect(view.locator("details:visible", has_text="Когда возвращаются звёзды?")).to_be_visible()
    expect(question).to_be_hidden()
    view.locator("[data-slot=words]").fill("xyz")
    expect(view.locator("[data-empty=no_answer]")).to_be_visible()
    view.locator("[data-slot=clear]").click()
    expect(question).to_be_visible()

    phone.page.goto(phone.shop.sandbox_url)
    buy(phone, "esim_1GB_7D_PL_V2")
    open_view(phone, "help")
    order_id = phone.only_order()["order_id"]
    view.locator(f"[data-order='{order_id}']").click()
    # Telegram has the words in the message field of the bot's chat; the customer sends them.
    expect(phone.page.locator("#message")).to_have_value(f"/paysupport {order_id}")
    phone.page.press("#message", "Enter")
    for label in ("Нужна помощь", "eSIM не работает"):
        phone.page.locator(".key", has_text=label).last.click()
    expect(phone.page.locator("#chat")).to_contain_text("Обращение")
    phone.page.fill("#message", "В Варшаве нет сети")
    phone.page.press("#message", "Enter")
    expect(phone.page.locator("#chat")).to_contain_text("Спасибо, сообщение у нас")

    open_view(phone, "help")
    view.locator("a", has_text="Мои обращения").click()
    case = requests.locator("[data-case]")
    expect(case).to_have_attribute("data-status", "open")
    expect(case.locator(".line")).to_have_text([re.compile("Нужна помощь. eSIM не работает."), re.compile("нет сети")])
    case.locator("a", has_text="Открыть заказ").click()
    phone.shows_order("completed")


def test_a_customer_has_their_data_deleted_once_nothing_is_on_its_way(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone(language="ru")
    deletion = phone.app.locator("#view-deletion")
    # A purchase of unknown outcome, that is looked up for a while.
    phone.shop.sandbox.fail("esimgo.POST /orders", "drop_after_work")
    phone.open_checkout("esim_1GB_7D_PL_V2")
    phone.pay()
    expect(phone.order).to_have_attribute("data-status", re.compile("paid|provisioning"))

    open_view(phone, "settings")
    phone.app.locator("#view-settings .danger").click()
    expect(deletion.locator("section")).to_have_count(2)
    phone.main_button.click()
    deletion.get_by_role("button", name="Не удалять").click()
    expect(phone.app.locator("#view-settings")).to_be_visible()
    phone.app.locator("#view-settings .danger").click()
    phone.main_button.click()
    phone.tolerated.append("409")
    deletion.get_by_role("button", name="Удалить", exact=True).click()
    expect(phone.banner("still_on_the_way")).to_be_visible()
    phone.banner("still_on_the_way").get_by_role("button").click()
    row = phone.app.locator("#view-orders [data-order]")
    row.click()
    expect(phone.order).to_have_attribute("data-status", "completed", timeout=60_000)

    open_view(phone, "settings")
    phone.app.locator("#view-settings .danger").click()
    phone.main_button.click()
    deletion.get_by_role("button", name="Удалить", exact=True).click()
    expect(phone.app.locator("[data-empty=deleted] h1")).to_have_text("Данные удалены")
    assert phone.shop.orders_of(phone.customer) == []
    kept = phone.app.locator("body").evaluate(
        "() => Object.keys({ ...localStorage, ...sessionStorage }).filter((key) => !key.startsWith('__telegram__'))"
    )
    assert kept == []
    phone.main_button.click()
    expect(phone.page.locator("#frame iframe")).to_have_count(0)
