/** Starts the Mini App: theme, words, then the view that the address asks for. */

import { adoptStartPage, fillUnfinished, openFind } from "./find.js";
import { insist, startRouter } from "./router.js";
import { isInside, mainButton, ready } from "./telegram.js";
import { loadTexts } from "./texts.js";
import { followTheme, markMissingFlags } from "./theme.js";

/** View → its module's function, read when the view is first opened: the first one needs few of them. */
const VIEWS = {
  find: async () => openFind,
  destination: async () => (await import("./destination.js")).openDestination,
  checkout: async () => (await import("./checkout.js")).openCheckout,
  order: async () => (await import("./order.js")).openOrder,
  esims: async () => (await import("./esims.js")).openEsims,
  esim: async () => (await import("./esim-page.js")).openEsim,
  guide: async () => (await import("./guide.js")).openGuide,
  orders: async () => (await import("./orders.js")).openOrders,
  settings: async () => (await import("./settings.js")).openSettings,
  deletion: async () => (await import("./deletion.js")).openDeletion,
  help: async () => (await import("./help.js")).openHelp,
  requests: async () => (await import("./requests.js")).openRequests,
  terms: async () => (await import("./legal.js")).openLegal,
  privacy: async () => (await import("./legal.js")).openLegal,
};
const CALM_MS = 3000;

/**
 * Reads what other views need, once the customer moves or the first view has long been there. One after the other, the
 * likeliest first: what is asked for meanwhile must not wait behind them.
 */
function readAhead() {
  const read = async () => {
    clearTimeout(timer);
    for (const name of ["pointerdown", "keydown"]) removeEventListener(name, read);
    const others = [() => import("./search.js"), async () => (await import("./recents.js")).fetchRecents()];
    if (document.getElementById("view-find")) others.unshift(fillUnfinished);
    for (const one of [...others, ...Object.values(VIEWS)]) {
      // What cannot be read now is read when it is needed, and said then.
      await one().catch(() => {});
    }
  };
  const timer = setTimeout(read, CALM_MS);
  for (const name of ["pointerdown", "keydown"]) addEventListener(name, read);
}

async function start() {
  document.documentElement.classList.toggle("in-telegram", isInside);
  followTheme();
  ready();
  await insist(loadTexts);
  mainButton.listen();
  adoptStartPage(document.getElementById("view-find"));
  markMissingFlags();
  startRouter(document.getElementById("stage"), VIEWS);
  readAhead();
}

start();
