// One thing at a time over the phone: a sheet at its bottom or a popup in its middle.

import { element, find } from "./elements.js";
import { text } from "./texts.js";

let dismiss = () => {};

export function showOverlay(content, { centred = false, onDismiss = () => {} } = {}) {
  const veil = find("veil");
  const before = document.activeElement;
  content.setAttribute("role", "dialog");
  content.setAttribute("aria-modal", "true");
  content.tabIndex = -1;
  veil.classList.toggle("centred", centred);
  veil.replaceChildren(content);
  veil.hidden = false;
  content.focus();
  dismiss = onDismiss;
  return () => {
    if (!content.isConnected) return;
    veil.hidden = true;
    veil.replaceChildren();
    dismiss = () => {};
    before?.focus?.();
  };
}

// Resolves to the id of the pressed button, or undefined if dismissed. Types as in Telegram's popups.
export function popup({ title, message, buttons }) {
  const words = { ok: text("ok"), close: text("close"), cancel: text("cancel") };
  return new Promise((resolve) => {
    const finish = (id) => {
      hide();
      resolve(id);
    };
    const row = element("div", { className: "popup-buttons" });
    for (const { id = "", type = "default", text: label } of buttons) {
      const button = element("button", { type: "button", textContent: words[type] ?? label });
      button.classList.toggle("danger", type === "destructive");
      button.addEventListener("click", () => finish(id));
      row.append(button);
    }
    const heading = title ? element("h2", { textContent: title }) : null;
    const box = element("div", { className: "popup", ariaLabel: title || message }, heading, element("p", { textContent: message }), row);
    const hide = showOverlay(box, { centred: true, onDismiss: () => finish(undefined) });
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !find("veil").hidden) dismiss();
});
find("veil").addEventListener("click", (event) => {
  if (event.target === find("veil")) dismiss();
});
