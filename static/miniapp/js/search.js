/** Search over all areas, and the list of all countries. Read when the customer first touches the field. */

import { areas } from "./api.js";
import { button, empty, flag, fromPrice, linkRow, toast } from "./components.js";
import { h, slot } from "./dom.js";
import { explain } from "./errors.js";
import { indexOf, marked, match } from "./matching.js";
import { go, linkTo } from "./router.js";
import { language, t } from "./texts.js";

const compare = new Intl.Collator(language).compare;
const AT_ONCE = 8;
const AT_IDLE = 4;
const whenIdle = window.requestIdleCallback ?? ((run) => setTimeout(run, 50));
let index = null;
const rows = new Map();

async function readAreas() {
  const all = await areas();
  if (!index) {
    index = indexOf(all, compare);
    makeRows();
  }
  return index;
}

/** Makes a few rows whenever nothing else is to do: then a letter only has to choose among them. */
function makeRows(from = 0) {
  if (from >= index.length) return;
  whenIdle(() => {
    for (const { area } of index.slice(from, from + AT_IDLE)) if (!rows.has(area)) rowOf({ area });
    makeRows(from + AT_IDLE);
  });
}

/** One row per area, made once: typing only moves it and marks its name. */
function rowOf({ area, words = [], inside = null }) {
  if (!rows.has(area)) {
    const title = h("span", {});
    const note = h("small", {});
    const link = linkRow({
      href: linkTo({ area: area.code }),
      "data-area": area.code,
      lead: flag(area),
      title: [title, note],
      end: fromPrice(area.from_stars),
    });
    rows.set(area, { item: h("li", {}, link), title, note });
  }
  const { item, title, note } = rows.get(area);
  title.replaceChildren(...marked(area.name, words).map(([text, isMarked]) => (isMarked ? h("mark", {}, text) : text)));
  note.hidden = area.kind === "country";
  if (inside) note.textContent = t("find.includes", { country: inside.name });
  else if (area.kind !== "country") note.textContent = t("countries", { n: area.countries.length });
  return item;
}

/** The hits that fit on a screen at once, the others with the next frames: a letter is answered before its list is. */
function listOf(hits) {
  const list = h("ul", { class: "card rows-flag" }, hits.slice(0, AT_ONCE).map(rowOf));
  const more = (from) => {
    if (from >= hits.length) return;
    requestAnimationFrame(() => {
      if (!list.isConnected) return; // another letter came
      list.append(...hits.slice(from, from + AT_ONCE).map(rowOf));
      more(from + AT_ONCE);
    });
  };
  more(AT_ONCE);
  return list;
}

const waiting = () => document.querySelector("#skeleton ul").cloneNode(true);

function nothingFound(text) {
  const world = index.find(({ area }) => area.kind === "global")?.area;
  return empty({
    name: "nothing_found",
    heading: "h2",
    iconName: "search",
    title: t("find.nothing.title", { query: text }),
    text: t("find.nothing.text"),
    actions: world ? [button({ text: t("find.nothing.worldwide"), onPress: () => go({ area: world.code }) })] : [],
  });
}

/** What stands in the place of the hits where the areas could not be read; goes on by itself once there is a network. */
function notRead(error, retry) {
  window.addEventListener("online", retry, { once: true });
  return empty({ ...explain(error), heading: "h2", actions: [button({ text: t("error.retry"), onPress: retry })] });
}

/** Shows what the field asks for now. */
export async function showResults(page) {
  const hits = slot(page, "hits");
  const found = slot(page, "found");
  const show = (words, content, isSaid = true) => {
    found.textContent = words;
    found.classList.toggle("sr", !isSaid);
    hits.replaceChildren(content);
  };
  if (!index) show("", waiting());
  try {
    await readAreas();
  } catch (error) {
    show("", notRead(error, () => showResults(page)));
    return;
  }
  const text = slot(page, "query").value.trim();
  if (!text) return;
  const matches = match(index, text);
  if (matches.length) show(t("find.found", { n: matches.length }), listOf(matches));
  else show(t("find.nothing.title", { query: text }), nothingFound(text), false);
}

/** Replaces the popular countries by all, from A to Z. isWanted: false once the customer has gone back to those. */
export async function showAllCountries(frame, isWanted, giveUp) {
  try {
    const countries = (await readAreas()).filter(({ area }) => area.kind === "country");
    if (!isWanted()) return;
    // Not the rows of the search, which may be at another place of the page at the same time.
    frame.replaceChildren(h("ul", { class: "card rows-flag" }, countries.map(({ area }) => rowOf({ area }).cloneNode(true))));
  } catch (error) {
    toast(explain(error).title);
    giveUp();
  }
}
