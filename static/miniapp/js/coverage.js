/** Where a plan works: its countries, which can be searched, and the networks there. */

import { flag } from "./components.js";
import { h, icon, replace, replaceInPieces, slot } from "./dom.js";
import { countryName, language, t } from "./texts.js";

const SHOWN = 8;
const SEARCHED_FROM = 12; // countries that nobody looks through by eye
const NAMED = 2;

const byName = new Intl.Collator(language).compare;
const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const byGeneration = (one, other) => other.best.localeCompare(one.best) || byName(one.name, other.name);

/** [{ code, kind, name, words }] by name. areas: those of the API, for names and other words where they have them. */
export function countriesOf(codes, areas) {
  const known = new Map(areas.map((area) => [area.code, area]));
  return codes
    .map((code) => {
      const name = known.get(code)?.name ?? countryName(code);
      return { code, kind: "country", name, words: ` ${fold(`${name} ${code} ${known.get(code)?.search ?? ""}`)}` };
    })
    .sort((a, b) => byName(a.name, b.name));
}

const countryItem = (country) =>
  h("li", { class: "row" }, flag(country, "s"), h("span", { class: "body" }, country.name));

/** Fills the section "where"; called again where another plan works elsewhere. */
export function fillCoverage(root, countries) {
  const list = slot(root, "coverage");
  const all = slot(root, "all-countries");
  const query = slot(root, "country");
  const search = () => {
    const text = fold(query.value.trim());
    const found = text ? countries.filter(({ words }) => words.includes(` ${text}`)) : countries.slice(0, SHOWN);
    replaceInPieces(list, found, countryItem);
    list.hidden = found.length === 0;
    all.hidden = Boolean(text) || countries.length <= SHOWN;
    slot(root, "found").textContent = text && !found.length ? t("destination.not_there", { query: query.value.trim() }) : "";
  };
  query.oninput = search;
  slot(root, "country-search").hidden = countries.length < SEARCHED_FROM;
  all.textContent = t("destination.all", { n: countries.length });
  all.onclick = () => {
    replaceInPieces(list, countries, countryItem);
    all.hidden = true;
  };
  slot(root, "where").hidden = false;
  search();
}

/** The best of what a network has: "5G"; empty where nothing is known. */
const bestOf = (speeds) => speeds.filter((speed) => /^\dG/.test(speed)).sort().slice(-1)[0] ?? "";

/** Country code → its networks with their best speed, fastest first. */
export function networksByCountry(networks) {
  const byCountry = new Map();
  for (const { country, name, speeds } of networks) {
    byCountry.set(country, [...(byCountry.get(country) ?? []), { name, best: bestOf(speeds) }]);
  }
  for (const each of byCountry.values()) each.sort(byGeneration);
  return byCountry;
}

/** "Turkcell (5G), Vodafone (4G)" */
const listed = (networks) => networks.map(({ name, best }) => (best ? `${name} (${best})` : name)).join(", ");

/** "Turkcell, Vodafone +1 · 5G", for below the name of a country. */
export function networksInShort(networks) {
  const names = networks.slice(0, NAMED).map(({ name }) => name).join(", ");
  const more = networks.length > NAMED ? ` +${networks.length - NAMED}` : "";
  return [names + more, networks[0].best].filter(Boolean).join(" ·\u00a0");
}

const nameAndNote = (title, note) => h("span", { class: "body" }, title, h("small", {}, note));

export const networksRow = (networks) =>
  h("div", { class: "row" }, icon("signal"), nameAndNote(t("destination.networks"), listed(networks)));

/** The networks of each country of a region, folded: read by one in many, so made when it is opened. */
export function networksFold(countries, byCountry) {
  const known = countries.filter(({ code }) => byCountry.has(code));
  const rows = h("ul", { class: "rows-flag-s" });
  const item = (country) =>
    h("li", { class: "row" }, flag(country, "s"), nameAndNote(country.name, listed(byCountry.get(country.code))));
  const fold = h(
    "details",
    { class: "card", "data-fold": "networks" },
    h(
      "summary",
      { class: "row" },
      icon("signal"),
      h("span", { class: "body" }, t("destination.networks.by_country")),
      h("span", { class: "end" }, icon("chev", "i chev")),
    ),
    rows,
  );
  fold.addEventListener("toggle", () => !rows.hasChildNodes() && replaceInPieces(rows, known, item));
  return known.length ? fold : null;
}
