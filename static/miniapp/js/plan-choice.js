/** Choosing one plan of a place: data or unlimited, then for how many days or by which rule, then the plan. */

import { banner, price } from "./components.js";
import { h, icon, replace, replaceInPieces, slot } from "./dom.js";
import { bestValue, byLikeness, dailyAmount, firstChoice, inOrder, starsPerDay, starsPerGb, tiers } from "./plan-value.js";
import { aboutPrice, number, percent, planSize, t } from "./texts.js";

function eachOf(plan) {
  if (!plan.unlimited) return t("destination.per_gb", { n: Math.round(starsPerGb(plan)) });
  return t("destination.per_day", { n: Math.round(starsPerDay(plan)) });
}

/** notes: sentences that matter for this plan beside the others. */
function planCard(plan, { checked, notes, why, onPick }) {
  const days = t("days", { n: plan.days });
  return h(
    "label",
    { class: "plan", "data-bundle": plan.bundle },
    h("input", { type: "radio", name: "plan", value: plan.bundle, checked, onchange: () => onPick(plan) }),
    h("span", { class: "dot", "aria-hidden": "true" }),
    h(
      "span",
      { class: "what" },
      plan.unlimited ? h("b", {}, days) : [h("b", {}, planSize(plan)), " ", h("span", {}, `·\u00a0${days}`)],
      [...notes, eachOf(plan)].map((note) => h("small", {}, note)),
    ),
    h(
      "span",
      { class: "cost" },
      h("b", {}, price(plan.price_stars)),
      h("small", {}, t("price.about", { price: aboutPrice(plan.price_stars) })),
    ),
    why && h("span", { class: "why" }, h("span", { class: "pill good" }, icon("check", "i i-s"), why)),
  );
}

/** Buttons of which one is pressed. looks: { group, each } of classes; options: [{ text, open }] */
function toggles({ looks, label, options, pressed }) {
  const buttons = options.map(({ text, open }, i) =>
    h(
      "button",
      {
        type: "button",
        class: looks.each,
        "aria-pressed": String(i === pressed),
        onclick: (event) => {
          buttons.forEach((each, j) => each.setAttribute("aria-pressed", String(i === j)));
          event.currentTarget.scrollIntoView({ block: "nearest", inline: "nearest" });
          open();
        },
      },
      text,
    ),
  );
  return h("div", { class: looks.group, role: "group", "aria-label": label }, buttons);
}

const segments = (details) => toggles({ ...details, looks: { group: "segments", each: null } });
const chips = (details) => toggles({ ...details, looks: { group: "chips", each: "chip text" } });

/** Whether a size is there for several lengths of a trip, so that the list alone is hard to compare. */
function hasSeveralDays(plans) {
  const sizes = new Set(plans.map((plan) => plan.data_mb));
  return sizes.size < plans.length;
}

/**
 * Fills the slots "gone", "kinds", "tiers" and "plans", and calls onChoose(plan) whenever another plan is the chosen one.
 * chosenBefore: the plan that was chosen when the place was left, if it was: found again, or the nearest to it.
 * isOptional: without one, nothing is chosen until the customer does.
 */
export function setUpChoice(root, plans, { chosenBefore, isOptional = false, onChoose }) {
  const kept = plans.find((plan) => plan.bundle === chosenBefore?.bundle);
  const coverages = new Set(plans.map((plan) => plan.countries.join()));
  /** Unlimited or not → the plan chosen last: another list of the kind begins with what is most like it. */
  const last = new Map();
  const remembered = kept ?? (chosenBefore ? byLikeness(plans, chosenBefore)[0] : null);
  if (remembered) last.set(remembered.unlimited, remembered);
  const pick = (plan) => {
    last.set(plan.unlimited, plan);
    onChoose(plan);
  };
  const notesOf = (plan) =>
    [
      plan.unlimited && dailyAmount(plan) && t("destination.daily", { amount: dailyAmount(plan) }),
      coverages.size > 1 && plan.countries.length > 1 && t("destination.works_in", { n: plan.countries.length }),
    ].filter(Boolean);

  const showList = (list, best = null) => {
    const before = last.get(list[0].unlimited);
    let first = null;
    if (list.includes(before)) first = before;
    else if (before) [first] = byLikeness(list, before);
    else if (!isOptional || last.size) first = firstChoice(list, best);
    const whyOf = (plan) =>
      plan === best?.plan
        ? t("destination.better", { percent: percent(best.share), size: planSize(best.than) })
        : null;
    replaceInPieces(slot(root, "plans"), list, (plan) =>
      planCard(plan, { checked: plan === first, notes: notesOf(plan), why: whyOf(plan), onPick: pick }),
    );
    if (first) pick(first);
  };

  const showData = (data) => {
    const show = (list) => showList(inOrder(list), bestValue(list));
    const lengths = [...new Set(data.map((plan) => plan.days))].sort((a, b) => a - b);
    const options = [
      { text: t("destination.any_days"), open: () => show(data) },
      ...lengths.map((days) => ({
        text: t("days", { n: days }),
        open: () => show(data.filter((plan) => plan.days === days)),
      })),
    ];
    const isLong = lengths.length > 1 && hasSeveralDays(data);
    replace(slot(root, "tiers"), isLong && chips({ label: t("destination.trip"), options, pressed: 0 }));
    show(data);
  };

  const showUnlimited = (unlimited) => {
    const groups = tiers(unlimited);
    const rule = h("p", { class: "strong" });
    const after = h("p", { class: "muted small" }, t("destination.rule.after"));
    const open = (group) => {
      rule.textContent = group.fairUse ?? "";
      after.hidden = !dailyAmount(group.plans[0]);
      showList(group.plans);
    };
    const found = groups.findIndex((group) => group.plans.includes(last.get(true)));
    const first = found >= 0 ? found : groups.length === 3 ? 1 : 0;
    const options = groups.map((group, i) => ({
      text: group.name ? t(`destination.tier.${group.name}`) : number(i + 1),
      open: () => open(group),
    }));
    const choice = options.length > 1 && segments({ label: t("destination.rule"), options, pressed: first });
    const words = h("div", { "aria-live": "polite" }, rule, after);
    replace(slot(root, "tiers"), h("div", { class: "card pad" }, choice || null, words));
    open(groups[first]);
  };

  const data = plans.filter((plan) => !plan.unlimited);
  const unlimited = plans.filter((plan) => plan.unlimited);
  const kinds = [
    data.length && { text: t("destination.data"), open: () => showData(data) },
    unlimited.length && { text: t("destination.unlimited"), open: () => showUnlimited(unlimited) },
  ].filter(Boolean);
  const first = last.has(true) && kinds.length > 1 ? 1 : 0;
  const gone = { title: t("destination.gone.title"), text: t("destination.gone.text") };
  replace(
    slot(root, "gone"),
    chosenBefore && !kept && banner({ name: "plan_gone", iconName: "refresh", ...gone }),
  );
  replace(
    slot(root, "kinds"),
    kinds.length > 1 && segments({ label: t("destination.plans"), options: kinds, pressed: first }),
  );
  kinds[first].open();
  slot(root, "plans").removeAttribute("aria-busy");
}
