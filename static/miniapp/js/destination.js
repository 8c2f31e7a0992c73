/** Plans of one country or region: choose one, continue to the checkout. */

import { areas, plans } from "./api.js";
import { button, empty, flag, noteRow, price } from "./components.js";
import { h, icon, replace, slot, view } from "./dom.js";
import { showErrorPage } from "./errors.js";
import { bestValue, inOrder, starsPerDay, starsPerGb, tiers } from "./plan-value.js";
import { rememberArea } from "./recents.js";
import { go, landOnStart } from "./router.js";
import { mainButton } from "./telegram.js";
import { aboutPrice, countryName, language, number, percent, planSize, t } from "./texts.js";

const COUNTRIES_SHOWN = 8;
const FIRST_UNLIMITED_DAYS = 7;

/** Bundle last chosen in an area, so that coming back from the checkout finds it chosen. */
const chosen = new Map();

/** A plan as a radio button. why: what speaks for it, in words. */
export function planCard(plan, { checked, why, onChoose }) {
  const days = t("days", { n: plan.days });
  const each = plan.unlimited
    ? t("destination.per_day", { n: Math.round(starsPerDay(plan)) })
    : t("destination.per_gb", { n: Math.round(starsPerGb(plan)) });
  return h(
    "label",
    { class: "plan", "data-bundle": plan.bundle },
    h("input", { type: "radio", name: "plan", value: plan.bundle, checked, onchange: () => onChoose(plan) }),
    h("span", { class: "dot", "aria-hidden": "true" }),
    h(
      "span",
      { class: "what" },
      plan.unlimited ? h("b", {}, days) : [h("b", {}, planSize(plan)), " ", h("span", {}, `· ${days}`)],
      h("small", {}, each),
    ),
    h(
      "span",
      { class: "cost" },
      h("b", {}, price(plan.price_stars)),
      h("small", {}, t("price.about", { usd: aboutPrice(plan.price_stars) })),
    ),
    why && h("span", { class: "why" }, h("span", { class: "pill good" }, icon("check", "i i-s"), why)),
  );
}

/** Buttons of which one is pressed. options: [{ text, open }] */
export function segments(options, pressed) {
  const buttons = options.map(({ text, open }, i) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(i === pressed),
        onclick: () => {
          buttons.forEach((each, j) => each.setAttribute("aria-pressed", String(i === j)));
          open();
        },
      },
      text,
    ),
  );
  return h("div", { class: "segments", role: "group", "aria-label": t("destination.plans") }, buttons);
}

function choose(area, plan) {
  chosen.set(area.code, plan.bundle);
  mainButton.show({
    text: t("destination.continue", { n: plan.price_stars }),
    onPress: () => go({ plan: plan.bundle }),
  });
}

function fillPlanList(root, area, list, { preferred, why = () => null }) {
  const first = list.find((plan) => plan.bundle === chosen.get(area.code)) ?? preferred ?? list[0];
  replace(
    slot(root, "plans"),
    list.map((plan) =>
      planCard(plan, { checked: plan === first, why: why(plan), onChoose: (picked) => choose(area, picked) }),
    ),
  );
  choose(area, first);
}

function showDataPlans(root, area, list) {
  const best = bestValue(list);
  replace(slot(root, "tiers"));
  fillPlanList(root, area, inOrder(list), {
    preferred: best?.plan,
    why: (plan) =>
      plan === best?.plan
        ? t("destination.better", { percent: percent(best.share), size: planSize(best.than) })
        : null,
  });
}

function showUnlimitedPlans(root, area, list) {
  const groups = tiers(list);
  const rule = h("p", { class: "strong", "aria-live": "polite" });
  const open = (group) => {
    rule.textContent = group.fairUse ?? "";
    rule.hidden = !group.fairUse;
    const preferred = group.plans.find((plan) => plan.days === FIRST_UNLIMITED_DAYS);
    fillPlanList(root, area, group.plans, { preferred });
  };
  const remembered = groups.findIndex((group) => group.plans.some((plan) => plan.bundle === chosen.get(area.code)));
  const first = remembered >= 0 ? remembered : groups.length === 3 ? 1 : 0;
  const choice =
    groups.length > 1 &&
    segments(
      groups.map((group, i) => ({
        text: group.name ? t(`destination.tier.${group.name}`) : number(i + 1),
        open: () => open(group),
      })),
      first,
    );
  open(groups[first]);
  const card = choice || !rule.hidden ? h("div", { class: "card pad" }, choice || null, rule) : null;
  replace(slot(root, "tiers"), card);
}

function fillPlans(root, area, all) {
  const unlimited = all.filter((plan) => plan.unlimited);
  const data = all.filter((plan) => !plan.unlimited);
  const kinds = [
    data.length && { text: t("destination.data"), open: () => showDataPlans(root, area, data) },
    unlimited.length && { text: t("destination.unlimited"), open: () => showUnlimitedPlans(root, area, unlimited) },
  ].filter(Boolean);
  const remembered = unlimited.some((plan) => plan.bundle === chosen.get(area.code)) && kinds.length > 1 ? 1 : 0;
  replace(slot(root, "kinds"), kinds.length > 1 ? segments(kinds, remembered) : null);
  kinds[remembered].open();
  slot(root, "plans").removeAttribute("aria-busy");
  slot(root, "dollars").hidden = false;
}

function fillCoverage(root, codes) {
  const names = codes
    .map((code) => ({ code, kind: "country", name: countryName(code) }))
    .sort((a, b) => a.name.localeCompare(b.name, language));
  const list = slot(root, "coverage");
  const all = slot(root, "all-countries");
  const show = (shown) =>
    replace(
      list,
      shown.map((country) =>
        h("li", { class: "row" }, flag(country, "s"), h("span", { class: "body" }, country.name)),
      ),
    );
  show(names.slice(0, COUNTRIES_SHOWN));
  all.hidden = names.length <= COUNTRIES_SHOWN;
  all.textContent = t("destination.all", { n: names.length });
  all.addEventListener("click", () => {
    show(names);
    all.hidden = true;
  });
  slot(root, "where").hidden = false;
}

function fillHeader(root, area) {
  slot(root, "flag").replaceWith(flag(area, "l"));
  slot(root, "name").textContent = area.name;
}

function fillFacts(root, area, all) {
  const speeds = [...new Set(all.flatMap((plan) => plan.speed ?? []))].sort();
  slot(root, "about").textContent =
    area.kind === "country" ? speeds.join(", ") : t("destination.covers", { n: area.countries.length });
  slot(root, "know").hidden = false;
  if (speeds.length) {
    slot(root, "facts").prepend(
      noteRow({
        lead: icon("signal"),
        title: t("destination.speed", { speed: speeds.join(", ") }),
        note: t("destination.speed.note"),
      }),
    );
  }
}

function showNothing(root) {
  const action = button({ text: t("destination.none.action"), onPress: () => go({}) });
  root.replaceChildren(
    empty({
      name: "no_plans",
      iconName: "search",
      title: t("destination.none.title"),
      text: t("destination.none.text"),
      actions: [action],
    }),
  );
}

export function openDestination(code) {
  const root = view("destination");
  const load = async () => {
    try {
      const [known, list] = await Promise.all([areas(), plans(code)]);
      if (!root.isConnected) return;
      const area = known.find((each) => each.code === code);
      if (!area) {
        landOnStart();
        return;
      }
      if (list.length === 0) {
        showNothing(root);
        return;
      }
      rememberArea(area);
      fillHeader(root, area);
      fillPlans(root, area, list);
      if (area.kind !== "country") fillCoverage(root, area.countries);
      fillFacts(root, area, list);
    } catch (error) {
      if (root.isConnected) showErrorPage(root, error);
    }
  };
  return { root, loaded: load() };
}
