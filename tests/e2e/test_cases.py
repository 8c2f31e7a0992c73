"""A customer asks in the chat, staff answer in the back office, and the customer answers back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.back_office import BackOffice

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    from tests.e2e.phone import Phone
    from tests.e2e.shop import Shop


def buy(phone: Phone, bundle: str) -> None:
    phone.open_checkout(bundle)
    phone.pay()
    phone.shows_order("completed")
    phone.page.goto(phone.shop.sandbox_url)


def write(phone: Phone, text: str) -> None:
    phone.page.fill("#message", text)
    phone.page.press("#message", "Enter")


def press(phone: Phone, label: str) -> None:
    """Press a button of the newest message that has it."""
    phone.page.locator(".key", has_text=label).last.click()


def test_a_customer_asks_and_staff_answer_back_and_forth(
    make_phone: Callable[..., Phone], shop: Shop, new_context: Callable[..., BrowserContext]
) -> None:
    phone = make_phone(language="ru")
    chat = phone.page.locator("#chat")
    buy(phone, "esim_1GB_7D_PL_V2")

    write(phone, "/paysupport")
    press(phone, "1. ")
    press(phone, "Нужна помощь")
    press(phone, "eSIM не работает")
    expect(chat).to_contain_text("Обращение")
    write(phone, "В Варшаве нет сети")
    expect(chat).to_contain_text("Спасибо, сообщение у нас")

    office = BackOffice(new_context().new_page(), shop_url=shop.url)
    page = office.page
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.get_by_role("link", name="forum Cases").click()
    # Other customers of the shop may have cases too.
    page.goto(f"{shop.url}/admin/payments/case/?q={phone.customer}")
    page.locator("#result_list tbody a").first.click()
    talk, answer, send = page.locator(".case-lines"), page.locator("#answer"), page.get_by_role("button", name="Send")
    expect(talk).to_contain_text("В Варшаве нет сети")
    expect(page.locator(".case-facts")).to_contain_text("Russian")
    page.get_by_role("button", name="Take").click()
    expect(page.locator(".case-facts")).to_contain_text("lead")

    page.get_by_role("button", name="Switch roaming on").click()
    expect(answer).to_have_value(re.compile("^Здравствуйте! Проверьте, пожалуйста"))
    # Meanwhile the customer writes on: it appears, and what is typed stays.
    write(phone, "Роуминг я включил")
    expect(talk).to_contain_text("Роуминг я включил")
    expect(page.locator(".case-news")).to_be_visible()
    expect(answer).to_have_value(re.compile("^Здравствуйте! Проверьте, пожалуйста"))
    answer.fill("Перезапустите телефон, пожалуйста")
    send.first.click()
    expect(talk).to_contain_text("open → answered")

    expect(chat).to_contain_text("Перезапустите телефон, пожалуйста")
    write(phone, "Заработало, спасибо!")
    expect(chat.locator(".message").last).to_contain_text("Спасибо, сообщение у нас")
    press(phone, "Вопрос решён")
    expect(chat).to_contain_text("Ваше обращение закрыто")
    expect(talk).to_contain_text("Заработало, спасибо!")
    expect(page.locator(".case-head")).to_contain_text("closed")
    assert problems == []
