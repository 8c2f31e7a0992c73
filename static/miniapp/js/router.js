/** Which view is open: the address says it (?area=FR, ?plan=…, ?order=…, ?view=orders), history keeps it. */

import { mainButton, onBack, setBackButton, startParam } from "./telegram.js";

const NAMES = ["area", "plan", "order", "view"];
const scrolls = new Map();
let stage;
let views;
let close = null;
let address = "";

/** The address of a view, "?area=FR"; {} is the start page. */
export function linkTo(place) {
  const query = new URLSearchParams(place).toString();
  return query ? `?${query}` : location.pathname;
}

/** Telegram's start_param: FR, a bundle, order_<uuid> or orders. A look-up key only, never an authority. */
function placeOfStartParam(value) {
  if (!value) return {};
  if (value.startsWith("order_")) return { order: value.slice("order_".length) };
  if (value === "orders") return { view: "orders" };
  return value.startsWith("esim_") ? { plan: value } : { area: value.toUpperCase() };
}

function placeOfAddress() {
  const query = new URLSearchParams(location.search);
  const name = NAMES.find((candidate) => query.get(candidate));
  return name ? { [name]: query.get(name) } : {};
}

function viewOf(place) {
  if (place.order) return views.order(place.order);
  if (place.plan) return views.checkout(place.plan);
  if (place.area) return views.destination(place.area);
  return place.view === "orders" ? views.orders() : views.find();
}

function show({ focus = true } = {}) {
  close?.();
  mainButton.hide();
  const place = placeOfAddress();
  address = linkTo(place);
  setBackButton(Object.keys(place).length > 0);
  const opened = viewOf(place);
  close = opened.close ?? null;
  stage.replaceChildren(opened.root);
  settle(opened, focus);
}

/** Once its content is there, a view is shown where it was left, and a screen reader starts at its title. */
async function settle({ root, loaded }, focus) {
  const height = scrolls.get(address) ?? 0;
  window.scrollTo(0, height);
  await loaded;
  if (!root.isConnected) return;
  if (height) window.scrollTo(0, height);
  if (focus && document.activeElement === document.body) root.querySelector("h1")?.focus({ preventScroll: true });
}

function remember(place, depth, method) {
  history[method]({ depth }, "", linkTo(place) + location.hash);
}

/** Opens a view. replace: the one left is not worth coming back to. */
export function go(place, { replace = false } = {}) {
  scrolls.set(address, window.scrollY);
  const depth = history.state?.depth ?? 0;
  if (replace) remember(place, depth, "replaceState");
  else remember(place, depth + 1, "pushState");
  scrolls.delete(linkTo(place));
  show();
}

export function back() {
  if (history.state?.depth > 0) history.back();
  else go({}, { replace: true });
}

/** Opens the current view anew, with fresh data. */
export const reopen = () => show();

/** views: { find(), destination(area), checkout(bundle), order(id), orders() },
    each → { root, loaded, close? }. */
export function startRouter(element, allViews) {
  stage = element;
  views = allViews;
  history.scrollRestoration = "manual";
  const asked = placeOfAddress();
  const isFresh = history.state === null && Object.keys(asked).length === 0;
  remember(isFresh ? placeOfStartParam(startParam) : asked, history.state?.depth ?? 0, "replaceState");
  window.addEventListener("popstate", () => {
    scrolls.set(address, window.scrollY);
    show();
  });
  onBack(back);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="?"]');
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(Object.fromEntries(new URLSearchParams(link.getAttribute("href"))));
  });
  show({ focus: false });
}
