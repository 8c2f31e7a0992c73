/** The start page. The server has drawn it; here it learns to search, to show all countries and recent ones. */

import { slot } from "./dom.js";
import { isInside } from "./telegram.js";
import { t } from "./texts.js";

/** The page, kept while other views are open: coming back to it shows it as it was left. */
let root;
let lastLink = null;

/** Asks for the areas while the module that searches them is on its way. */
function search() {
  import("./api.js").then(({ areas }) => areas()).catch(() => {}); // what fails is said by the search
  return import("./search.js");
}

/** Seen once something has been typed. */
const sayUnread = () => slot(root, "hits").replaceChildren(t("unread.title"));

function setUpSearch() {
  const input = slot(root, "query");
  const clear = slot(root, "clear");
  const update = () => {
    const isSearching = input.value.trim() !== "";
    clear.hidden = input.value === "";
    slot(root, "hero").classList.toggle("sr", isSearching); // the page keeps its title
    slot(root, "browse").hidden = isSearching;
    slot(root, "results").hidden = !isSearching;
    if (isSearching) search().then(({ showResults }) => showResults(root), sayUnread);
  };
  const empty = () => {
    input.value = "";
    update();
    input.focus();
  };
  input.addEventListener("focus", () => search().catch(sayUnread));
  input.addEventListener("input", update);
  clear.addEventListener("click", empty);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && input.value) empty();
    else if (slot(root, "results").contains(event.target) || event.target === input) moveAmongHits(event, input);
  });
  update(); // typed before this module was there
}

/** Up and down between the field and its hits, Enter in the field for the best one. */
function moveAmongHits(event, input) {
  if (!["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
  const hits = [...slot(root, "hits").querySelectorAll("a")];
  const at = hits.indexOf(document.activeElement);
  if (event.key === "Enter") {
    if (event.target !== input || !hits.length) return;
    hits[0].click();
  } else {
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    (next < 0 ? input : hits[next])?.focus();
  }
  event.preventDefault();
}

function setUpToggle() {
  const toggle = slot(root, "toggle");
  if (!toggle) return;
  const countries = slot(root, "countries");
  const popular = slot(root, "popular");
  const isOpen = () => toggle.getAttribute("aria-expanded") === "true";
  const set = (open) => {
    toggle.setAttribute("aria-expanded", String(open));
    toggle.textContent = t(open ? "find.few" : "find.all");
    slot(root, "countries-title").textContent = t(open ? "find.countries" : "find.popular");
    if (!open) countries.replaceChildren(popular);
  };
  toggle.addEventListener("click", () => {
    set(!isOpen());
    if (!isOpen()) return;
    search().then(
      ({ showAllCountries }) => showAllCountries(countries, isOpen, () => set(false)),
      () => set(false),
    );
  });
}

/** Once, before any view is opened: the server's page, or the one fetched in the customer's language. */
export function adoptStartPage(page) {
  root = page;
  root.addEventListener("click", (event) => {
    lastLink = event.target.closest("a") ?? lastLink;
  });
  if (!slot(root, "query")) return; // nothing on sale
  setUpSearch();
  setUpToggle();
}

/** Says why a link led here. */
async function sayLost() {
  const { banner } = await import("./components.js");
  slot(root, "notice").replaceChildren(
    banner({ name: "lost", iconName: "search", title: t("find.lost.title"), text: t("find.lost.text") }),
  );
}

/** Room for recent destinations is kept from the first paint on where this device knows some, see early.js. */
async function fillRecents() {
  const list = slot(root, "recents");
  if (!list) return;
  const { showRecents } = await import("./recents.js");
  showRecents(list, root);
}

/**
 * The way back to an order that was begun and not finished. Where this device knows of one, room for it is kept from
 * the first paint on; whether it was begun elsewhere is asked once the page is calm.
 */
export async function fillUnfinished() {
  const frame = slot(root, "unfinished");
  if (!frame || !isInside) return;
  const { showUnfinished } = await import("./unfinished.js");
  await showUnfinished(frame);
}

/** isBack: the page is wanted as it was left, else from its beginning. isLost: a link led to what is not there. */
export function openFind(value, place, { isBack, isLost }) {
  const isFirst = root.isConnected;
  const input = slot(root, "query");
  if (!isFirst && !isBack && input?.value) {
    input.value = "";
    input.dispatchEvent(new Event("input"));
  }
  slot(root, "notice").replaceChildren();
  if (isLost) sayLost();
  const has = (name) => document.documentElement.classList.contains(name);
  if (!isFirst || has("has-recents")) fillRecents().catch(() => {});
  if (!isFirst || has("has-unfinished")) fillUnfinished().catch(() => {});
  return { root, loaded: Promise.resolve(), focus: isBack ? lastLink : null };
}
