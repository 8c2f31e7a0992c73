"""The Telegram-like page in a real browser, around a tiny Mini App that uses the stand-in for Telegram's script."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import expect

from tests.sandbox.conftest import Bot, SandboxClient, approve
from tests.telegram_script import use_script, with_both_scripts

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, FrameLocator, Page

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Mini App</title>
<script src="{sandbox}/telegram-web-app.js"></script>
<link rel="stylesheet" href="/app.css">
<h1>Mini App</h1><p id="who"></p><p id="log"></p>
<button id="link">link</button><button id="popup">popup</button><button id="store">store</button>
<button id="bad">bad</button><button id="confirm">confirm</button>
<script src="/app.js"></script></html>"""
STYLE = "body { background: var(--tg-theme-bg-color); color: var(--tg-theme-text-color); }"
# Telegram's script adds a style element without content.
EMPTY_STYLE = f"sha256-{b64encode(sha256().digest()).decode()}"
SCRIPT = """
const app = Telegram.WebApp;
const log = (words) => (document.querySelector("#log").textContent = words);
const on = (id, callback) => document.getElementById(id).addEventListener("click", callback);
const { user, start_param } = app.initDataUnsafe;
document.querySelector("#who").textContent = [user.first_name, user.language_code, app.version, start_param].join(" ");
app.ready();
app.expand();
app.MainButton.setParams({ text: "Pay 552 ⭐", is_visible: true });
app.MainButton.onClick(async () => {
  app.MainButton.showProgress();
  const link = await (await fetch("/invoice")).text();
  app.openInvoice(link, (status) => { app.MainButton.hideProgress(); log("invoice " + status); });
});
app.BackButton.onClick(() => { app.BackButton.hide(); log("back"); });
app.onEvent("themeChanged", () => log("theme " + app.colorScheme));
on("link", () => { app.BackButton.show(); app.openTelegramLink("https://t.me/esim_sandbox_bot?start=help"); });
on("popup", () => {
  const buttons = [{ id: "yes", text: "Yes" }, { type: "cancel" }];
  app.showPopup({ message: "Sure?", buttons }, (id) => log("popup " + id));
});
on("store", () => {
  const read = () => app.CloudStorage.getItem("a", (error, value) => log("stored " + value));
  app.CloudStorage.setItem("a", "1", read);
});
on("bad", () => { try { app.openInvoice("https://example.com/$x"); } catch (error) { log(error.message); } });
on("confirm", () => app.enableClosingConfirmation());
"""


class MiniApp:
    """A web server with one page; shows what it was asked for, and asks the bot for an invoice."""

    def __init__(self, sandbox: SandboxClient) -> None:
        app = self
        self.paths: list[str] = []
        content = {
            "/app.js": ("text/javascript", SCRIPT),
            "/app.css": ("text/css", STYLE),
            "/": ("text/html; charset=utf-8", PAGE.replace("{sandbox}", sandbox.url)),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                app.paths.append(self.path)
                kind, text = content.get(self.path.partition("?")[0], ("text/plain", ""))
                if self.path == "/invoice":
                    text = f"https://t.me/${sandbox.invoice()}"
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header(
                    "Content-Security-Policy",
                    f"default-src 'self'; script-src 'self' {sandbox.url}; style-src 'self' '{EMPTY_STYLE}'",
                )
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                """Tests print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mini_app(sandbox: SandboxClient, bot: Bot) -> Iterator[MiniApp]:
    app = MiniApp(sandbox)
    button = {"type": "web_app", "text": "Buy eSIM", "web_app": {"url": app.url}}
    sandbox.result("setChatMenuButton", menu_button=button)
    sandbox.result("setMyCommands", commands=[{"command": "help", "description": "How to install"}])
    yield app
    app.stop()


def is_fault(message: ConsoleMessage) -> bool:
    """Telegram's script says on the console what it refuses, and the tests see that it does."""
    return message.type == "error" and not message.text.startswith("[Telegram.WebApp]")


@pytest.fixture
def script() -> str:
    return "stand-in"


@pytest.fixture
def phone(page: Page, sandbox: SandboxClient, mini_app: MiniApp, script: str) -> Iterator[Page]:
    """The page on a phone's screen, in the light theme, the chat begun; nothing may go wrong on its console."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if is_fault(message) else None)
    use_script(page, script)
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="light")
    sandbox.post("/sandbox/users/1001/messages", text="/start")
    page.goto(sandbox.url)
    yield page
    assert problems == []


def opened(phone: Page) -> FrameLocator:
    phone.locator("#menu-button").click()
    frame = phone.frame_locator("#frame iframe")
    expect(frame.locator("#who")).to_contain_text("9.1")
    return frame


@with_both_scripts
def test_a_purchase_from_main_button_to_service_message(phone: Page, sandbox: SandboxClient, bot: Bot) -> None:
    frame = opened(phone)
    expect(frame.locator("#who")).to_contain_text("Anna ru")
    phone.locator("#main-button").click()
    expect(phone.locator("#main-button")).to_be_disabled()
    expect(phone.locator("#pay-balance")).to_have_text(re.compile(r"Баланс: 5\s000"))
    phone.locator("#pay").click()
    expect(frame.locator("#log")).to_have_text("invoice paid")
    expect(phone.locator("#main-button")).to_be_enabled()
    phone.locator("#mini-app-back").click()
    expect(phone.locator(".service")).to_contain_text("Вы отправили 552")
    assert sandbox.ledger()["bot_stars"] == 552


@with_both_scripts
def test_closing_the_sheet_cancels(phone: Page, sandbox: SandboxClient) -> None:
    frame = opened(phone)
    phone.locator("#main-button").click()
    phone.locator("#pay-cancel").click()
    expect(frame.locator("#log")).to_have_text("invoice cancelled")
    assert sandbox.ledger()["bot_stars"] == 0


def test_escape_cancels_too(phone: Page) -> None:
    frame = opened(phone)
    phone.locator("#main-button").click()
    expect(phone.locator("#pay")).to_be_visible()
    phone.keyboard.press("Escape")
    expect(frame.locator("#log")).to_have_text("invoice cancelled")


def test_too_few_stars_can_be_filled_up(phone: Page, sandbox: SandboxClient, bot: Bot) -> None:
    sandbox.post("/sandbox/users", id=1001, stars=100)
    frame = opened(phone)
    phone.locator("#main-button").click()
    expect(phone.locator("#pay-sheet")).to_contain_text("Не хватает 452")
    expect(phone.locator("#pay")).to_be_disabled()
    phone.locator("#pay-add-stars").click()
    phone.locator("#pay").click()
    expect(frame.locator("#log")).to_have_text("invoice paid")


def test_a_refusal_is_shown_in_the_bots_words(phone: Page, bot: Bot) -> None:
    bot.answer = lambda update: (
        200,
        {**(approve(update)[1] or {}), "ok": False, "error_message": "Цена устарела"},
    )
    frame = opened(phone)
    phone.locator("#main-button").click()
    phone.locator("#pay").click()
    expect(phone.locator("#pay-sheet")).to_contain_text("Цена устарела")
    phone.locator("#pay-cancel").click()
    expect(frame.locator("#log")).to_have_text("invoice failed")


@with_both_scripts
def test_theme_and_language_reach_the_mini_app(phone: Page) -> None:
    frame = opened(phone)
    phone.set_viewport_size({"width": 1200, "height": 900})
    phone.locator("[data-set-theme=dark]").click()
    expect(frame.locator("#log")).to_have_text("theme dark")
    expect(frame.locator("body")).to_have_css("background-color", "rgb(29, 39, 51)")
    phone.locator("[data-language=en]").click()
    expect(frame.locator("#who")).to_contain_text("Anna en")
    expect(phone.locator("h1")).to_have_text("Sandbox")


@with_both_scripts
def test_popups_storage_and_bad_links(phone: Page) -> None:
    frame = opened(phone)
    frame.locator("#popup").click()
    phone.get_by_role("button", name="Yes").click()
    expect(frame.locator("#log")).to_have_text("popup yes")
    frame.locator("#store").click()
    expect(frame.locator("#log")).to_have_text("stored 1")
    frame.locator("#bad").click()
    expect(frame.locator("#log")).to_have_text("WebAppInvoiceUrlInvalid")


@with_both_scripts
def test_back_button_telegram_link_and_closing_confirmation(phone: Page, bot: Bot) -> None:
    frame = opened(phone)
    frame.locator("#link").click()
    expect(phone.locator("#mini-app-back")).to_contain_text("Назад")
    phone.locator("#mini-app-back").click()
    expect(frame.locator("#log")).to_have_text("back")
    frame.locator("#confirm").click()
    phone.locator("#mini-app-back").click()
    expect(phone.get_by_role("dialog")).to_contain_text("Закрыть приложение?")
    phone.get_by_role("button", name="Отмена").click()
    expect(phone.locator("#mini-app")).to_be_visible()
    phone.locator("#mini-app-back").click()
    phone.locator(".popup .danger").click()
    expect(phone.locator("#mini-app")).to_be_hidden()
    expect(phone.locator(".message.mine").last).to_contain_text("/start help")


def test_messages_buttons_and_commands_of_the_chat(
    phone: Page, sandbox: SandboxClient, mini_app: MiniApp, bot: Bot
) -> None:
    keyboard = [
        [{"text": "Order", "web_app": {"url": f"{mini_app.url}?order=7"}}],
        [{"text": "Stop", "callback_data": "stop"}],
    ]
    sandbox.result(
        "sendMessage",
        chat_id=1001,
        text="<b>eSIM <i>готова</i></b>\n<code>LPA:1$rsp$X</code> <script>",
        reply_markup={"inline_keyboard": keyboard},
    )
    expect(phone.locator(".bubble").last).to_contain_text("<script>")
    bot.answer = lambda update: (
        200,
        {"method": "answerCallbackQuery", "callback_query_id": update["callback_query"]["id"], "text": "Готово"},
    )
    phone.get_by_role("button", name="Stop").click()
    expect(phone.locator("#toast")).to_have_text("Готово")
    phone.locator("#open-commands").click()
    phone.locator("#commands button").click()
    expect(phone.locator(".message.mine").last).to_contain_text("/help")
    phone.get_by_role("button", name="Order").click()
    expect(phone.frame_locator("#frame iframe").locator("h1")).to_have_text("Mini App")
    assert "/?order=7" in mini_app.paths


def test_formatted_text_and_a_start_link(phone: Page, sandbox: SandboxClient, mini_app: MiniApp) -> None:
    sandbox.result(
        "sendMessage",
        chat_id=1001,
        text='<b>eSIM <i>готова</i></b> <a href="https://t.me/esim_sandbox_bot?startapp=FR">open</a>',
        parse_mode="HTML",
    )
    expect(phone.locator(".bubble b i")).to_have_text("готова")
    phone.get_by_role("link", name="open").click()
    expect(phone.frame_locator("#frame iframe").locator("#who")).to_contain_text("FR")
    assert "/?tgWebAppStartParam=FR" in mini_app.paths


def test_faults_and_blocking_are_set_by_the_panel(phone: Page, sandbox: SandboxClient) -> None:
    phone.locator("#open-panel").click()
    phone.locator(".faults summary").click()
    phone.locator("#fault").select_option(label="eSIM Go: заказ сделан, связь оборвалась")
    phone.locator("#fault-form button").click()
    expect(phone.locator("#fault-list li")).to_contain_text("drop_after_work × 1")
    (fault,) = sandbox.get("/sandbox/faults")["faults"]
    assert (fault["target"], fault["kind"]) == ("esimgo.POST /orders", "drop_after_work")
    phone.locator("#fault-list button").click()
    expect(phone.locator("#fault-list li")).to_have_count(0)
    with phone.expect_response("**/sandbox/users"):
        phone.locator("#blocked").check()
    assert sandbox.bot("sendMessage", chat_id=1001, text="x").status_code == 403


def test_an_esims_life_goes_on_by_the_panel(phone: Page, sandbox: SandboxClient) -> None:
    phone.locator("#open-panel").click()
    phone.locator("#esims summary").click()
    expect(phone.locator("#no-esims")).to_be_visible()
    sandbox.order()
    phone.locator("#esims summary").click()
    phone.locator("#esims summary").click()
    expect(phone.locator("#esim-left")).to_have_text("queued: 1000 из 1000 МБ")
    phone.get_by_role("button", name="Потратить 80 %").click()
    expect(phone.locator("#esim-left")).to_have_text("active: 200 из 1000 МБ")
    phone.get_by_role("button", name="Срок вышел").click()
    expect(phone.locator("#esim-left")).to_have_text("expired: 200 из 1000 МБ")
    with phone.expect_response("**/sandbox/esims/*"):
        phone.get_by_role("button", name="Установить").click()
    (esim,) = sandbox.ledger()["esims"]
    assert esim["profileStatus"] == "Installed"


def test_another_user_has_another_chat_and_identity(phone: Page) -> None:
    phone.set_viewport_size({"width": 1200, "height": 900})
    phone.locator("#user").select_option("1002")
    expect(phone.locator("#start")).to_be_visible()
    phone.locator("#start").click()
    expect(phone.locator(".message.mine")).to_contain_text("/start")
    expect(opened(phone).locator("#who")).to_contain_text("Ben en")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_sideways(phone: Page, sandbox: SandboxClient, width: int) -> None:
    sandbox.result("sendMessage", chat_id=1001, text=f"{'x' * 200} https://example.com/{'y' * 100}")
    phone.set_viewport_size({"width": width, "height": 800})
    expect(phone.locator(".bubble").last).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert phone.evaluate("(chat => chat.scrollWidth <= chat.clientWidth)(document.querySelector('#chat'))")


def test_the_frame_is_launched_as_telegram_web_does(phone: Page) -> None:
    opened(phone)
    source = phone.locator("#frame iframe").get_attribute("src") or ""
    parameters: dict[str, Any] = dict(parse_qsl(source.partition("#")[2]))
    assert set(parameters) == {"tgWebAppData", "tgWebAppVersion", "tgWebAppPlatform", "tgWebAppThemeParams"}
    assert json.loads(parameters["tgWebAppThemeParams"])["bg_color"] == "#ffffff"
    assert dict(parse_qsl(parameters["tgWebAppData"]))["hash"]
