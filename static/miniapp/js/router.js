/** Which view is open: the address says it (?area=FR, ?plan=…, ?esim=…, ?view=orders), history keeps it. */

import { mainButton, onBack, setBackButton, startParam } from "./telegram.js";

/** What an address may name, and the view that shows it. The first name found decides; `iccid` goes with `plan`. */
const PLACES = {
  order: "order",
  guide: "guide",
  plan: "checkout",
  esim: "esim",
  area: "destination",
};
const NAMES = [...Object.keys(PLACES), "iccid", "view"];
const scrolls = new Map();
let stage;
let views;
let close = null;
let address = "";
let opening = 0;

/** The address of a view, "?area=FR"; {} is the start page. */
export function linkTo(place) {
  const query = new URLSearchParams(place).toString();
  return query ? `?${query}` : location.pathname;
}

/** Telegram's start_param: FR, a bundle, order_<uuid>, iccid_<ICCID> or a view. A look-up key, never an authority. */
function placeOfStartParam(value) {
  if (!value) return {};
  if (value.startsWith("order_")) return { order: value.slice("order_".length) };
  if (value.startsWith("iccid_")) return { esim: value.slice("iccid_".length) };
  if (value in views) return { view: value };
  return value.startsWith("esim_") ? { plan: value } : { area: value.toUpperCase() };
}

function placeOfAddress() {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.filter((name) => query.get(name)).map((name) => [name, query.get(name)]));
}

/** The name of a place's view and what the view is opened with: the value in the address, and the whole place. */
function viewOf(place) {
  const name = Object.keys(PLACES).find((candidate) => place[candidate]);
  if (name) return [PLACES[name], place[name], place];
  return [place.view in views ? place.view : "find", place.view, place];
}

async function show({ focus = true } = {}) {
  close?.();
  close = null;
  mainButton.hide();
  const place = placeOfAddress();
  address = linkTo(place);
  setBackButton(Object.keys(place).length > 0);
  const [name, ...details] = viewOf(place);
  const number = ++opening;
  let open;
  try {
    open = await views[name]();
  } catch {
    // The module could not be read: a new start reads everything anew.
    if (number === opening) location.reload();
    return;
  }
  if (number !== opening) return; // somebody went on meanwhile
  const opened = open(...details);
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

/**
 * allViews: name → async () → open(value, place) → { root, loaded, close? }.
 * value is what the address has under the view's name, place all of it: { plan, iccid }.
 */
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
