/** Plans of one country or region: choose one, continue to the checkout. */

import { area as fetchArea, areas, plans } from "./api.js";
import { button, empty, flag, fromPrice, linkRow, noteRow } from "./components.js";
import { countriesOf, fillCoverage, networksByCountry, networksFold, networksInShort, networksRow } from "./coverage.js";
import { moneyKnown } from "./currency.js";
import { h, icon, replace, slot, view } from "./dom.js";
import { showErrorPage } from "./errors.js";
import { setUpChoice } from "./plan-choice.js";
import { rememberArea } from "./recents.js";
import { go, landOnStart, linkTo } from "./router.js";
import { mainButton } from "./telegram.js";
import { t } from "./texts.js";

const ALSO_SHOWN = 4;

/** Plan last chosen in an area, so that coming back from the checkout finds it chosen. */
const chosen = new Map();

const bestSpeed = (list) => list.flatMap((plan) => plan.speed ?? []).sort().slice(-1)[0] ?? "";

/** What stands below the name: the networks of a country, or in how many countries the plan works. */
function inShort(area, plan, { list, networks }) {
  if (area.kind !== "country") return t("destination.covers", { n: plan.countries.length });
  return networks.has(area.code) ? networksInShort(networks.get(area.code)) : bestSpeed(list);
}

function fillFacts(root, area, list, networks) {
  const ofCountry = area.kind === "country" && networks.get(area.code);
  const speed = bestSpeed(list);
  const row = ofCountry
    ? networksRow(ofCountry)
    : speed && noteRow({ lead: icon("signal"), title: t("destination.speed", { speed }), note: t("destination.speed.note") });
  slot(root, "facts").prepend(...[row].filter(Boolean));
  slot(root, "know").hidden = false;
}

const alsoRow = (area) =>
  h(
    "li",
    {},
    linkRow({
      href: linkTo({ area: area.code }),
      "data-area": area.code,
      lead: flag(area),
      title: area.name,
      note: t("countries", { n: area.countries.length }),
      end: fromPrice(area.from_stars),
    }),
  );

/** Regions whose plans work in a country too, cheapest first. */
function regionsAround(code, all) {
  const around = all.filter((area) => area.kind !== "country" && area.code !== code && area.countries.includes(code));
  return around.sort((a, b) => a.from_stars - b.from_stars);
}

function fillAlso(root, around) {
  const list = slot(root, "also-list");
  const all = slot(root, "also-all");
  replace(list, around.slice(0, ALSO_SHOWN).map(alsoRow));
  all.hidden = around.length <= ALSO_SHOWN;
  all.textContent = t("destination.also.all", { n: around.length });
  all.addEventListener("click", () => {
    replace(list, around.map(alsoRow));
    all.hidden = true;
  });
  slot(root, "also").hidden = around.length === 0;
}

/** Nothing is on sale for the place alone: regions that it lies in, or else the start page with all there is. */
async function showOthers(root, code) {
  const around = regionsAround(code, await areas());
  if (!root.isConnected) return;
  if (!around.length) {
    landOnStart();
    return;
  }
  const action = button({ text: t("destination.none.action"), onPress: () => go({}) });
  root.replaceChildren(
    empty({
      name: "no_plans",
      iconName: "search",
      title: t("destination.none.title"),
      text: t("destination.none.text"),
      actions: [action],
    }),
    h("ul", { class: "card rows-flag" }, around.map(alsoRow)),
  );
}

const areaIfOnSale = (code) =>
  fetchArea(code).catch((error) => {
    if (error.code === "plan_not_found") return null;
    throw error;
  });

export function openDestination(code) {
  const root = view("destination");

  const fill = async (area, list) => {
    const networks = networksByCountry(area.networks);
    let countries = null; // once the names of all are known
    const showCoverage = (plan) => {
      const works = new Set(plan.countries);
      fillCoverage(root, countries.filter((country) => works.has(country.code)));
    };
    const onChoose = (plan) => {
      const before = chosen.get(code);
      chosen.set(code, plan);
      slot(root, "about").textContent = inShort(area, plan, { list, networks });
      mainButton.show({
        text: t("destination.continue", { n: plan.price_stars }),
        onPress: () => go({ plan: plan.bundle }),
      });
      if (countries && before?.countries.join() !== plan.countries.join()) showCoverage(plan);
    };
    rememberArea(area);
    slot(root, "flag").replaceWith(flag(area, "l"));
    slot(root, "name").textContent = area.name;
    setUpChoice(root, list, { chosenBefore: chosen.get(code), onChoose });
    slot(root, "money").hidden = false;
    if (area.kind === "country") fillFacts(root, area, list, networks);

    const all = await areas().catch(() => []);
    if (!root.isConnected) return;
    if (area.kind === "country") {
      fillAlso(root, regionsAround(code, all));
    } else {
      countries = countriesOf(area.countries, all);
      showCoverage(chosen.get(code));
      replace(slot(root, "networks"), networksFold(countries, networks));
      fillFacts(root, area, list, networks);
    }
  };

  const load = async () => {
    try {
      const [area, list] = await Promise.all([areaIfOnSale(code), plans(code), moneyKnown()]);
      if (!root.isConnected) return;
      if (area && list.length) await fill(area, list);
      else await showOthers(root, code);
    } catch (error) {
      if (root.isConnected) showErrorPage(root, error);
    }
  };
  return { root, loaded: load() };
}
