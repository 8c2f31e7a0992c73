// The Mini App in its frame, and the events between it and Telegram, in both directions.

import { get, post } from "./api.js";
import { chosen, understands } from "./client.js";
import { element, find, toast, withStars } from "./elements.js";
import { popup } from "./overlay.js";
import { openPaySheet } from "./pay_sheet.js";
import { text } from "./texts.js";
import { currentTheme } from "./themes.js";

export class MiniApp {
  #user;
  #botName;
  #onTelegramLink;
  #frame = null;
  #address = "";
  #startParam = "";
  #asksBeforeClosing = false;
  #hasBackButton = false;
  #openSlugs = new Set();

  // user: function that gives the current user. onTelegramLink: opens a path like "/name?start=x".
  constructor({ user, botName, onTelegramLink }) {
    this.#user = user;
    this.#botName = botName;
    this.#onTelegramLink = onTelegramLink;
    window.addEventListener("message", (event) => this.#receive(event));
    find("mini-app-back").addEventListener("click", () => (this.#hasBackButton ? this.#send("back_button_pressed") : this.close()));
    find("mini-app-reload").addEventListener("click", () => this.open(this.#address, this.#startParam));
    find("mini-app-settings").addEventListener("click", () => this.#send("settings_button_pressed"));
    find("main-button").addEventListener("click", () => this.#send("main_button_pressed"));
    find("secondary-button").addEventListener("click", () => this.#send("secondary_button_pressed"));
    document.addEventListener("visibilitychange", () => this.#send("visibility_changed", { is_visible: !document.hidden }));
    window.addEventListener("resize", () => this.#sendViewport());
  }

  get isOpen() {
    return this.#frame !== null;
  }

  async open(address, startParam = "") {
    const query = startParam ? `?start_param=${encodeURIComponent(startParam)}` : "";
    const { init_data: initData } = await get(`/sandbox/users/${this.#user().id}/init-data${query}`);
    const url = new URL(address);
    if (startParam) url.searchParams.set("tgWebAppStartParam", startParam);
    url.hash = new URLSearchParams({
      tgWebAppData: initData,
      tgWebAppVersion: chosen("version"),
      tgWebAppPlatform: chosen("platform"),
      tgWebAppThemeParams: JSON.stringify(currentTheme()),
    });
    this.#reset();
    this.#address = address;
    this.#startParam = startParam;
    this.#frame = element("iframe", { src: url.href, title: this.#botName(), allow: "clipboard-write" });
    find("mini-app-title").textContent = this.#botName();
    find("frame").replaceChildren(this.#frame);
    find("mini-app").hidden = false;
  }

  async close() {
    if (this.#asksBeforeClosing) {
      const buttons = [{ id: "stay", type: "cancel" }, { id: "leave", type: "destructive", text: text("close") }];
      if ((await popup({ title: text("leave"), message: text("leaveText"), buttons })) !== "leave") return;
    }
    this.#reset();
    find("mini-app").hidden = true;
  }

  themeChanged() {
    find("mini-app-bar").style.removeProperty("background");
    this.#send("theme_changed", { theme_params: currentTheme() });
  }

  relabel() {
    find("mini-app-back").textContent = this.#hasBackButton ? `‹ ${text("back")}` : text("close");
  }

  #reset() {
    this.#frame?.remove();
    this.#frame = null;
    this.#asksBeforeClosing = this.#hasBackButton = false;
    this.#openSlugs.clear();
    for (const name of ["main-button", "secondary-button", "mini-app-settings"]) find(name).hidden = true;
    for (const name of ["mini-app-bar", "mini-app-buttons", "frame"]) find(name).style.removeProperty("background");
    this.relabel();
  }

  #send(eventType, eventData) {
    if (!this.#frame) return;
    const message = eventData === undefined ? { eventType } : { eventType, eventData };
    this.#frame.contentWindow.postMessage(JSON.stringify(message), new URL(this.#address).origin);
  }

  #sendViewport() {
    if (!this.#frame) return;
    const { clientHeight: height, clientWidth: width } = this.#frame;
    this.#send("viewport_changed", { height, width, is_expanded: true, is_state_stable: true });
  }

  #receive(event) {
    if (!this.#frame || event.source !== this.#frame.contentWindow || typeof event.data !== "string") return;
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return;
    }
    const handle = this.#handlers[message?.eventType];
    if (handle && understands(message.eventType)) handle(message.eventData || {});
  }

  #setUpButton(name, { is_visible, is_active, is_progress_visible, text: label, color, text_color }) {
    const button = find(name);
    button.hidden = !is_visible;
    if (!is_visible) return;
    button.disabled = is_active === false;
    button.style.background = color || currentTheme().button_color;
    button.style.color = text_color || currentTheme().button_text_color;
    const spinner = is_progress_visible ? element("span", { className: "spin" }) : null;
    button.replaceChildren(...(spinner ? [spinner] : []), ...withStars(label ?? ""));
    button.setAttribute("aria-busy", String(Boolean(is_progress_visible)));
    this.#sendViewport();
  }

  async #payInvoice(slug) {
    if (this.#openSlugs.has(slug)) return;
    this.#openSlugs.add(slug);
    const frame = this.#frame;
    const status = await openPaySheet(slug, this.#user);
    this.#openSlugs.delete(slug);
    // A page that was reloaded meanwhile knows nothing of the invoice.
    if (status !== null && frame === this.#frame) this.#send("invoice_closed", { slug, status });
  }

  async #showPopup({ title, message, buttons }) {
    const id = await popup({ title, message, buttons });
    this.#send("popup_closed", id === undefined ? {} : { button_id: id });
  }

  async #requestWriteAccess() {
    let isAllowed = this.#user().started;
    if (!isAllowed) {
      const buttons = [{ id: "no", type: "cancel" }, { id: "yes", text: text("allow") }];
      isAllowed = (await popup({ message: text("writeAccess", { bot: this.#botName() }), buttons })) === "yes";
      if (isAllowed) await post("/sandbox/users", { id: this.#user().id, started: true });
    }
    this.#send("write_access_requested", { status: isAllowed ? "allowed" : "cancelled" });
  }

  async #invokeCustomMethod({ req_id, method, params }) {
    const answer = await post(`/sandbox/users/${this.#user().id}/storage`, { method, params });
    this.#send("custom_method_invoked", { req_id, ...answer });
  }

  #colour(nameOfElement, { color_key, color }) {
    const value = color_key ? currentTheme()[color_key] : color;
    if (/^#[0-9a-f]{6}$/i.test(value ?? "")) find(nameOfElement).style.background = value;
  }

  #sendSafeArea(name) {
    this.#send(name, { top: 0, bottom: 0, left: 0, right: 0 });
  }

  #handlers = {
    iframe_ready: () => this.#send("theme_changed", { theme_params: currentTheme() }),
    web_app_ready: () => {},
    web_app_expand: () => this.#sendViewport(),
    web_app_close: () => this.close(),
    web_app_request_theme: () => this.#send("theme_changed", { theme_params: currentTheme() }),
    web_app_request_viewport: () => this.#sendViewport(),
    web_app_request_safe_area: () => this.#sendSafeArea("safe_area_changed"),
    web_app_request_content_safe_area: () => this.#sendSafeArea("content_safe_area_changed"),
    web_app_request_fullscreen: () => this.#send("fullscreen_changed", { is_fullscreen: true }),
    web_app_exit_fullscreen: () => this.#send("fullscreen_changed", { is_fullscreen: false }),
    web_app_set_header_color: (data) => this.#colour("mini-app-bar", data),
    web_app_set_background_color: (data) => this.#colour("frame", data),
    web_app_set_bottom_bar_color: (data) => this.#colour("mini-app-buttons", data),
    web_app_setup_main_button: (data) => this.#setUpButton("main-button", data),
    web_app_setup_secondary_button: (data) => this.#setUpButton("secondary-button", data),
    web_app_setup_back_button: ({ is_visible }) => {
      this.#hasBackButton = Boolean(is_visible);
      this.relabel();
    },
    web_app_setup_settings_button: ({ is_visible }) => (find("mini-app-settings").hidden = !is_visible),
    web_app_setup_closing_behavior: ({ need_confirmation }) => (this.#asksBeforeClosing = Boolean(need_confirmation)),
    web_app_setup_swipe_behavior: () => {},
    web_app_trigger_haptic_feedback: () => {},
    web_app_open_invoice: ({ slug }) => this.#payInvoice(slug),
    web_app_open_popup: (data) => this.#showPopup(data),
    web_app_open_link: ({ url }) => openLink(url),
    web_app_open_tg_link: ({ path_full }) => this.#onTelegramLink(path_full),
    web_app_request_write_access: () => this.#requestWriteAccess(),
    web_app_request_phone: () => {
      toast(text("phoneAccess"));
      this.#send("phone_requested", { status: "cancelled" });
    },
    web_app_invoke_custom_method: (data) => this.#invokeCustomMethod(data),
  };
}

export function openLink(address) {
  if (/^https?:\/\//.test(address)) window.open(address, "_blank", "noopener");
}
