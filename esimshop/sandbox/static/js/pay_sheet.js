// The Stars pay sheet. Resolves to what the Mini App is told: "paid", "failed", "cancelled", or null for nothing.

import { get, post } from "./api.js";
import { closeIcon, element, toast, withStars } from "./elements.js";
import { showOverlay } from "./overlay.js";
import { count, text } from "./texts.js";

export async function openPaySheet(slug, user) {
  let invoice;
  try {
    invoice = await get(`/sandbox/invoices/${slug}`);
  } catch {
    toast(text("notFound"));
    return "failed";
  }
  return new Promise((resolve) => {
    let paying = false;
    let closedAs = "cancelled";
    const close = () => {
      if (paying) return;
      hide();
      resolve(closedAs);
    };
    const cancel = element("button", { className: "icon", type: "button", ariaLabel: text("close"), id: "pay-cancel" }, closeIcon());
    cancel.addEventListener("click", close);
    const balance = element("span", { className: "stars-note", id: "pay-balance" });
    const note = element("p", { className: "error", hidden: true });
    note.setAttribute("role", "alert");
    const add = element("button", { className: "app-button plain", type: "button", id: "pay-add-stars" }, ...withStars(text("addStars")));
    const pay = element("button", { className: "app-button", type: "button", id: "pay" });

    const show = () => {
      const missing = invoice.amount - user().stars;
      balance.replaceChildren(...withStars(text("yourBalance", { stars: count(user().stars) })));
      pay.replaceChildren(...withStars(text("pay", { stars: count(invoice.amount) })));
      pay.disabled = missing > 0;
      add.hidden = missing <= 0;
      note.hidden = missing <= 0;
      if (missing > 0) note.replaceChildren(...withStars(text("tooFew", { missing: count(missing) })));
    };
    add.addEventListener("click", async () => {
      Object.assign(user(), await post("/sandbox/users", { id: user().id, stars: user().stars + 1000 }));
      show();
    });
    pay.addEventListener("click", async () => {
      paying = true;
      pay.disabled = cancel.disabled = true;
      pay.replaceChildren(element("span", { className: "spin", ariaHidden: "true" }), text("paying"));
      let result;
      try {
        result = await post(`/sandbox/users/${user().id}/pay`, { slug });
      } catch {
        result = { status: "failed", shown: "failed", error: text("lostConnection") };
      }
      paying = cancel.disabled = false;
      closedAs = result.shown;
      if (result.status === "paid") {
        close();
        toast(text("paidToast", { stars: count(invoice.amount) }));
        return;
      }
      const known = { BOT_PRECHECKOUT_TIMEOUT: text("timeout"), BALANCE_TOO_LOW: text("failed") };
      note.textContent = known[result.error] ?? result.error;
      note.hidden = false;
      pay.hidden = true;
    });
    const sheet = element(
      "div",
      { className: "sheet", ariaLabel: text("confirmPayment"), id: "pay-sheet" },
      element("div", { className: "sheet-top" }, cancel, balance),
      element("img", { className: "big-star", src: "/static/star.svg", alt: "" }),
      element("h2", { textContent: invoice.title }),
      element("p", { className: "about", textContent: invoice.description }),
      note,
      add,
      pay,
    );
    const hide = showOverlay(sheet, { onDismiss: close });
    show();
  });
}
