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
/** What a link from outside may carry in start_param, and the place that it means. */
const LINKS = [
  [/^order_([0-9a-f-]{36})$/i, ([, id]) => ({ order: id })],
  [/^iccid_(\d{18,20})$/, ([, iccid]) => ({ esim: iccid })],
  [/^esim_\w+$/, ([bundle]) => ({ plan: bundle })],
  [/^[a-z]{2,4}(-[a-z]{2})?$/i, ([code]) => ({ area: code })],
];
const NEXT_TRY_MS = 5000;
const scrolls = new Map();
let stage;
let views;
let close = null;
let address = "";
let opening = 0;
let isLost = false;

/** The address of a view, "?area=FR"; {} is the start page. */
export function linkTo(place) {
  const query = new URLSearchParams(place).toString();
  return query ? `?${query}` : location.pathname;
}

const isView = (name) => Object.keys(views).includes(name);

/** Telegram's start_param: a look-up key, never an authority. null: it means nothing here. */
function placeOfStartParam(value) {
  if (!value) return {};
  if (isView(value)) return { view: value };
  for (const [pattern, place] of LINKS) {
    const found = value.match(pattern);
    if (found) return place(found);
  }
  return null;
}

function placeOfAddress() {
  const query = new URLSearchParams(location.search);
  const place = Object.fromEntries(NAMES.filter((name) => query.get(name)).map((name) => [name, query.get(name)]));
  return place.area ? { ...place, area: place.area.toUpperCase() } : place;
}

/** The name of a place's view and what the view is opened with: the value in the address, and the whole place. */
function viewOf(place) {
  const name = Object.keys(PLACES).find((candidate) => place[candidate]);
  if (name) return [PLACES[name], place[name], place];
  return [place.view ?? "find", place.view, place];
}

/**
 * Reads what a view needs from the server, again and again until it is there; meanwhile the page says why it waits.
 * isWanted: false once nobody waits for it any more; then the answer is null.
 */
export async function insist(read, isWanted = () => true) {
  const note = document.getElementById("unread");
  for (let tries = 0; isWanted(); tries += 1) {
    try {
      const answer = await read();
      if (!isWanted()) return null;
      note.hidden = true;
      return answer;
    } catch (error) {
      if (!isWanted()) return null;
      console.warn(error);
      showUnread(note);
      const isAsked = await anotherTry(note);
      // Some browsers remember a module that failed: then only a new page reads it. Never without a network, which
      // would leave the customer on the browser's own page.
      if (tries > 0 && isAsked && (await isReachable())) location.reload();
    }
  }
  return null;
}

function showUnread(note) {
  if (!note.hidden) return;
  document.documentElement.classList.remove("waiting");
  document.getElementById("stage").replaceChildren();
  note.hidden = false;
  note.querySelector("h1").focus({ preventScroll: true });
}

/** Resolves when there may be a network again; with true where the customer, or the network's return, asks for it. */
function anotherTry(note) {
  return new Promise((resolve) => {
    const done = (isAsked) => {
      clearTimeout(timer);
      window.removeEventListener("online", asked);
      button.removeEventListener("click", asked);
      resolve(isAsked);
    };
    const asked = () => done(true);
    const button = note.querySelector("button");
    const timer = setTimeout(done, NEXT_TRY_MS, false);
    window.addEventListener("online", asked);
    button.addEventListener("click", asked);
  });
}

const isReachable = () =>
  fetch(location.pathname, { method: "HEAD", cache: "no-store" }).then((answer) => answer.ok, () => false);

async function show({ focus = true, isBack = false } = {}) {
  close?.();
  close = null;
  mainButton.hide();
  const place = placeOfAddress();
  address = linkTo(place);
  setBackButton(Object.keys(place).length > 0);
  const [name, ...details] = viewOf(place);
  if (!isView(name)) {
    landOnStart();
    return;
  }
  const number = ++opening;
  const open = await insist(views[name], () => number === opening);
  if (!open) return; // somebody went on meanwhile
  const opened = open(...details, { isBack, isLost });
  isLost = false;
  close = opened.close ?? null;
  document.documentElement.classList.remove("waiting");
  // What is there already keeps the focus of who is typing in it.
  if (opened.root.parentElement !== stage) stage.replaceChildren(opened.root);
  settle(opened, focus);
}

/** Once its content is there, a view is shown where it was left, and a screen reader starts at its title. */
async function settle({ root, loaded, focus: left = null }, focus) {
  const height = scrolls.get(address) ?? 0;
  window.scrollTo(0, height);
  await loaded;
  if (!root.isConnected) return;
  if (height) window.scrollTo(0, height);
  if (!focus || document.activeElement !== document.body) return;
  const target = left && root.contains(left) ? left : root.querySelector("h1");
  target?.focus({ preventScroll: true });
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

/** A link led to something that is not there: the start page says so, and offers everything else. */
export function landOnStart() {
  isLost = true;
  go({}, { replace: true });
}

/** Opens the current view anew, with fresh data. */
export const reopen = () => show();

/**
 * allViews: name → async () → open(value, place, { isBack, isLost }) → { root, loaded, close?, focus? }.
 * value is what the address has under the view's name, place all of it: { plan, iccid }; isBack: the customer returns
 * to it; isLost: see landOnStart. focus: an element that gets the focus instead of the title.
 */
export function startRouter(element, allViews) {
  stage = element;
  views = allViews;
  history.scrollRestoration = "manual";
  const asked = placeOfAddress();
  const isFresh = history.state === null && Object.keys(asked).length === 0;
  const linked = isFresh ? placeOfStartParam(startParam) : asked;
  isLost = linked === null;
  remember(linked ?? {}, history.state?.depth ?? 0, "replaceState");
  document.documentElement.dataset.routed = "";
  window.addEventListener("popstate", () => {
    scrolls.set(address, window.scrollY);
    show({ isBack: true });
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
