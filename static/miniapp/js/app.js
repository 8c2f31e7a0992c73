/** Starts the Mini App: theme, words, then the view that the address asks for. */

import { loadTexts } from "./texts.js";
import { startRouter } from "./router.js";
import { isInside, mainButton, ready } from "./telegram.js";
import { followTheme, markMissingFlags } from "./theme.js";

/** View → its module's function, read when the view is first opened: the first one needs few of them. */
const VIEWS = {
  find: async () => (await import("./find.js")).openFind,
  destination: async () => (await import("./destination.js")).openDestination,
  checkout: async () => (await import("./checkout.js")).openCheckout,
  order: async () => (await import("./order.js")).openOrder,
  esims: async () => (await import("./esims.js")).openEsims,
  esim: async () => (await import("./esim-page.js")).openEsim,
  orders: async () => (await import("./orders.js")).openOrders,
};

async function start() {
  document.documentElement.classList.toggle("in-telegram", isInside);
  followTheme();
  markMissingFlags();
  ready();
  try {
    await loadTexts();
  } catch {
    document.getElementById("start-failed").hidden = false;
    document.getElementById("stage").hidden = true;
    window.addEventListener("online", () => location.reload(), { once: true });
    return;
  }
  mainButton.listen();
  startRouter(document.getElementById("stage"), VIEWS);
}

start();
