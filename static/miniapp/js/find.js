/** The start page: search, popular countries, regions, the whole world. */

import { areas } from "./api.js";
import { button, empty, flag, fromPrice, linkRow } from "./components.js";
import { h, replace, slot, view } from "./dom.js";
import { showErrorPage } from "./errors.js";
import { go, linkTo } from "./router.js";
import { language, t } from "./texts.js";

const POPULAR = ["TR", "TH", "AE", "IT", "JP", "EG", "US", "GE", "ES", "FR", "GR", "CN"];
const POPULAR_SHOWN = 6;

/** Letters without case, accents and the Russian ё, so that "Türkiye" is found by "turkiye". */
const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

const byName = new Intl.Collator(language).compare;

function areaRow(area, { title = area.name, note } = {}) {
  return h(
    "li",
    {},
    linkRow({
      href: linkTo({ area: area.code }),
      "data-area": area.code,
      lead: flag(area),
      title,
      note: note ?? (area.kind === "country" ? null : t("countries", { n: area.countries.length })),
      end: fromPrice(area.from_stars),
    }),
  );
}

const regionTile = (area) =>
  h(
    "a",
    { class: "tile", href: linkTo({ area: area.code }), "data-area": area.code },
    h("b", {}, area.name),
    h("small", {}, t("countries", { n: area.countries.length })),
    h("small", { class: "price num" }, fromPrice(area.from_stars)),
  );

/** The name with the found part marked; unmarked where folding changed its length. */
function marked(name, query) {
  const folded = fold(name);
  const at = folded.indexOf(query);
  if (at < 0 || folded.length !== name.length) return [name];
  return [name.slice(0, at), h("mark", {}, name.slice(at, at + query.length)), name.slice(at + query.length)];
}

/** Smaller is better: code or start of the name, start of a word, inside one, other words; null: no match. */
function rank({ code, name, search }, query) {
  const at = name.indexOf(query);
  if (code === query || at === 0) return 0;
  if (at > 0) return name[at - 1] === " " || name[at - 1] === "-" ? 1 : 2;
  return ` ${search}`.includes(` ${query}`) ? 3 : null;
}

/** Areas that answer a query, best first; regions also by the countries inside them. */
function searchAreas(index, text) {
  const query = fold(text.trim());
  const hits = index
    .map((entry) => ({ ...entry, rank: rank(entry, query) }))
    .filter((entry) => entry.rank !== null)
    .sort((a, b) => a.rank - b.rank || byName(a.area.name, b.area.name));
  const found = new Set(hits.map(({ area }) => area.code));
  const countries = hits.filter(({ area }) => area.kind === "country").slice(0, 3);
  const around = index
    .filter(({ area }) => area.kind !== "country" && !found.has(area.code))
    .map(({ area }) => ({ area, country: countries.find((hit) => area.countries.includes(hit.area.code)) }))
    .filter(({ country }) => country)
    .map(({ area, country }) => areaRow(area, { note: t("find.includes", { country: country.area.name }) }));
  return [...hits.map(({ area }) => areaRow(area, { title: marked(area.name, query) })), ...around];
}

function nothingFound(text, world) {
  const action = world && button({ text: t("find.nothing.worldwide"), onPress: () => go({ area: world.code }) });
  return empty({
    name: "nothing_found",
    heading: "h2",
    iconName: "search",
    title: t("find.nothing.title", { query: text.trim() }),
    text: t("find.nothing.text"),
    actions: [action].filter(Boolean),
  });
}

function fillPage(root, all) {
  const countries = all.filter((area) => area.kind === "country").sort((a, b) => byName(a.name, b.name));
  const regions = all.filter((area) => area.kind === "region").sort((a, b) => b.plans - a.plans);
  const worlds = all.filter((area) => area.kind === "global");
  const popular = [
    ...POPULAR.map((code) => countries.find((area) => area.code === code)).filter(Boolean),
    ...countries.filter((area) => !POPULAR.includes(area.code)).sort((a, b) => b.plans - a.plans),
  ].slice(0, POPULAR_SHOWN);
  const frame = slot(root, "countries");
  const list = (shown) => replace(frame, h("ul", { class: "card rows-flag" }, shown.map((area) => areaRow(area))));
  const toggle = slot(root, "toggle");

  slot(root, "lead").textContent = countries.length ? t("find.lead", { n: countries.length }) : t("find.lead.any");
  list(popular);
  toggle.hidden = countries.length <= popular.length;
  toggle.addEventListener("click", () => {
    slot(root, "countries-title").textContent = t("find.countries");
    list(countries);
    toggle.hidden = true;
    frame.querySelector("a").focus({ preventScroll: true });
  });
  replace(slot(root, "regions"), regions.map(regionTile));
  slot(root, "regions-section").hidden = regions.length + worlds.length === 0;
  replace(slot(root, "world"), worlds.map((area) => areaRow(area)));
  slot(root, "world").hidden = worlds.length === 0;
  slot(root, "own").hidden = false;
}

function setUpSearch(root, all) {
  const input = slot(root, "query");
  const clear = slot(root, "clear");
  const results = slot(root, "results");
  const world = all.find((area) => area.kind === "global");
  const index = all.map((area) => ({
    area,
    code: fold(area.code),
    name: fold(area.name),
    search: fold(`${area.name} ${area.search ?? ""}`),
  }));
  const search = () => {
    const text = input.value;
    const searching = text.trim() !== "";
    clear.hidden = text === "";
    slot(root, "browse").hidden = searching;
    slot(root, "hero").hidden = searching;
    results.hidden = !searching;
    if (!searching) return;
    const rows = searchAreas(index, text);
    replace(
      results,
      rows.length
        ? [h("h2", {}, t("find.found", { n: rows.length })), h("ul", { class: "card rows-flag" }, rows)]
        : [nothingFound(text, world)],
    );
  };
  input.addEventListener("input", search);
  clear.addEventListener("click", () => {
    input.value = "";
    search();
    input.focus();
  });
  search();
}

export function openFind() {
  const root = view("find");
  const load = async () => {
    try {
      const all = await areas();
      if (all.length === 0) {
        root.replaceChildren(
          empty({ name: "no_plans", iconName: "globe", title: t("find.empty.title"), text: t("find.empty.text") }),
        );
        return;
      }
      fillPage(root, all);
      setUpSearch(root, all);
      // Who comes back in the middle of a purchase waits for it; everybody else for nothing.
      import("./unfinished.js").then(({ showUnfinished }) => showUnfinished(slot(root, "unfinished"))).catch(() => {});
    } catch (error) {
      if (root.isConnected) showErrorPage(root, error);
    }
  };
  return { root, loaded: load() };
}
