/** The destinations that the customer looked at last, as chips on the start page. */

import { flag } from "./components.js";
import { h } from "./dom.js";
import { linkTo } from "./router.js";
import { read, readHere, write } from "./storage.js";
import { countryName, language } from "./texts.js";

const KEY = "recents";
const MOST = 6;

/** [{ code, kind, name, language }], newest first. */
const recents = () => {
  const kept = readHere(KEY);
  return Array.isArray(kept) ? kept.filter((area) => area?.code && area.name) : [];
};

/** area: as the API has it. */
export function rememberArea({ code, kind, name }) {
  const others = recents().filter((area) => area.code !== code);
  write(KEY, [{ code, kind, name, language }, ...others].slice(0, MOST));
}

/** A name from before the language was changed: the page has those of regions, the browser those of countries. */
function nameOf(area, page) {
  if (area.language === language) return area.name;
  const tile = page.querySelector(`.tile[data-area="${CSS.escape(area.code)}"] b`);
  return tile?.textContent ?? (area.kind === "country" ? countryName(area.code) : area.name);
}

function chip(area, page) {
  const lead = area.kind === "country" && flag(area, "s");
  return h(
    "a",
    { class: lead ? "chip" : "chip text", href: linkTo({ area: area.code }), "data-area": area.code },
    lead,
    nameOf(area, page),
  );
}

/** Fills the row of chips. What another device has added is shown the next time: nothing moves under a thumb. */
export function showRecents(list, page) {
  const known = recents();
  list.replaceChildren(...known.map((area) => chip(area, page)));
  document.documentElement.classList.toggle("has-recents", known.length > 0);
}

/** Asks Telegram's cloud once for what other devices remembered. */
export const fetchRecents = () => read(KEY);
