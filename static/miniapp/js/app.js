/** Starts the Mini App: theme, words, then the view that the address asks for. */

import { openCheckout } from "./checkout.js";
import { openDestination } from "./destination.js";
import { loadTexts } from "./texts.js";
import { openFind } from "./find.js";
import { openOrder } from "./order.js";
import { openOrders } from "./orders.js";
import { startRouter } from "./router.js";
import { isInside, mainButton, ready } from "./telegram.js";
import { followTheme, markMissingFlags } from "./theme.js";

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
  startRouter(document.getElementById("stage"), {
    find: openFind,
    destination: openDestination,
    checkout: openCheckout,
    order: openOrder,
    orders: openOrders,
  });
}

start();
