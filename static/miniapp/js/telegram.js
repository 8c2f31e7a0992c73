/** Telegram's Mini App client: a thin wrapper that also works with an old client (6.1) and in a plain browser. */

const webApp = window.Telegram?.WebApp;
const supports = (version) => Boolean(webApp?.isVersionAtLeast?.(version));

export const initData = webApp?.initData ?? "";
export const isInside = initData !== "";
export const platform = isInside ? webApp.platform : "unknown";
export const canPay = isInside && supports("6.1");
export const startParam = webApp?.initDataUnsafe?.start_param ?? "";
export const userLanguage = webApp?.initDataUnsafe?.user?.language_code ?? "";
export const canAskForMessages = supports("6.9") && typeof webApp.requestWriteAccess === "function";

export const cloudStorage = isInside && supports("6.9") ? (webApp.CloudStorage ?? null) : null;

export const colorScheme = () =>
  (isInside && webApp.colorScheme) || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

export function ready() {
  if (!isInside) return;
  webApp.ready();
  webApp.expand();
  if (supports("6.1")) webApp.setBackgroundColor("secondary_bg_color");
  if (supports("7.7")) webApp.disableVerticalSwipes();
}

export function onThemeChange(callback) {
  if (isInside) webApp.onEvent("themeChanged", callback);
  matchMedia("(prefers-color-scheme: dark)").addEventListener?.("change", callback);
}

/** Calls back whenever the customer looks at the app again. Returns a function that stops it. */
export function onReturn(callback) {
  const visible = () => document.visibilityState === "visible" && callback();
  document.addEventListener("visibilitychange", visible);
  window.addEventListener("online", callback);
  if (isInside) webApp.onEvent("activated", callback);
  return () => {
    document.removeEventListener("visibilitychange", visible);
    window.removeEventListener("online", callback);
    if (isInside) webApp.offEvent("activated", callback);
  };
}

/** Opens the Stars sheet. Resolves with "paid", "cancelled", "failed" or "pending": what the client believes. */
export function openInvoice(link) {
  return new Promise((resolve, reject) => {
    if (!canPay) throw new Error("WebAppMethodUnsupported");
    try {
      webApp.openInvoice(link, resolve);
    } catch (error) {
      reject(error);
    }
  });
}

export function openLink(url) {
  if (isInside && supports("6.1")) webApp.openLink(url);
  else window.open(url, "_blank", "noopener");
}

export function openTelegramLink(url) {
  if (isInside && supports("6.1")) webApp.openTelegramLink(url);
  else window.open(url, "_blank", "noopener");
}

export function close() {
  if (isInside) webApp.close();
}

export function requestWriteAccess() {
  return new Promise((resolve) => webApp.requestWriteAccess(resolve));
}

/** kind: "success", "warning" or "error". */
export function vibrate(kind) {
  if (isInside && supports("6.1")) webApp.HapticFeedback.notificationOccurred(kind);
}

export function confirmClosing(needed) {
  if (!isInside || !supports("6.2")) return;
  if (needed) webApp.enableClosingConfirmation();
  else webApp.disableClosingConfirmation();
}

/** Telegram's back arrow; in a plain browser its own one does. */
export function setBackButton(visible) {
  if (!isInside || !supports("6.1")) return;
  if (visible) webApp.BackButton.show();
  else webApp.BackButton.hide();
}

export function onBack(callback) {
  if (isInside && supports("6.1")) webApp.BackButton.onClick(callback);
}

/** The one primary action of a view: Telegram's MainButton, in a plain browser a button at the foot of the page. */
export const mainButton = {
  colors: { on: [], off: [] },
  shown: null,

  /** busy: shows progress and takes no taps. enabled: false for a button whose text says why it is off. */
  show({ text, onPress = null, busy = false, enabled = true }) {
    this.shown = { text, onPress, busy, enabled: enabled && !busy };
    this.draw();
  },

  hide() {
    this.shown = null;
    this.draw();
  },

  press() {
    if (this.shown?.enabled) this.shown.onPress?.();
  },

  paint(colors) {
    this.colors = colors;
    if (this.shown) this.draw();
  },

  draw() {
    if (isInside) this.drawInTelegram();
    else this.drawInPage();
  },

  drawInTelegram() {
    const button = webApp.MainButton;
    if (!this.shown) {
      button.hideProgress();
      button.hide();
      return;
    }
    const { text, busy, enabled } = this.shown;
    const [color, textColor] = enabled || busy ? this.colors.on : this.colors.off;
    button.setParams({ text, is_visible: true, is_active: enabled, ...(color && { color, text_color: textColor }) });
    if (busy) button.showProgress(false);
    else if (button.isProgressVisible) {
      button.hideProgress();
      if (!enabled) button.disable();
    }
  },

  drawInPage() {
    const foot = document.getElementById("main-button");
    foot.hidden = !this.shown;
    if (!this.shown) return;
    const button = foot.querySelector("button");
    button.textContent = this.shown.text;
    button.disabled = !this.shown.enabled;
    button.setAttribute("aria-busy", String(this.shown.busy));
  },

  listen() {
    const pressed = () => this.press();
    if (isInside) webApp.MainButton.onClick(pressed);
    else document.querySelector("#main-button button").addEventListener("click", pressed);
  },
};
