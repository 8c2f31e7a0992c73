/** The choice of what to add to an eSIM: plans that fit it, and apart from them those that need a new eSIM. */

import { banner, button } from "./components.js";
import { planCard } from "./destination.js";
import { h, icon } from "./dom.js";
import { bestValue, inOrder } from "./plan-value.js";
import { planSize, percent, t } from "./texts.js";

const SHOWN = 6;

/** Data plans by size, then unlimited ones by their days. */
const sorted = (plans) => [
  ...inOrder(plans.filter((plan) => !plan.unlimited)),
  ...inOrder(plans.filter((plan) => plan.unlimited)),
];

/** What to choose for the customer: the same plan again, else the best value, else the smallest. */
export function suggested(plans, bought) {
  const same = plans.find((plan) => plan.bundle === bought.bundle);
  return same ?? bestValue(plans.filter((plan) => !plan.unlimited))?.plan ?? sorted(plans)[0] ?? null;
}

const unlimitedCard = (plan, details) =>
  h("div", { class: "plan-with-rule" }, planCard(plan, details), plan.fair_use && h("p", { class: "note" }, plan.fair_use));

/** Radio cards of plans, the first ones at once. chosen: a plan that is chosen already, or null. */
function planList(plans, { chosen, onChoose, why = () => null }) {
  const list = h("div", { class: "plans" });
  const cards = sorted(plans).map((plan) => {
    const details = { checked: plan.bundle === chosen?.bundle, why: why(plan), onChoose };
    return plan.unlimited ? unlimitedCard(plan, details) : planCard(plan, details);
  });
  const needed = cards.findIndex((card) => card.querySelector("input").checked) + 1;
  const first = Math.max(SHOWN, needed);
  list.append(...cards.slice(0, first));
  const rest = cards.slice(first);
  if (rest.length === 0) return list;
  const all = button({
    text: t("top_up.all", { n: cards.length }),
    look: "plain",
    onPress: () => {
      list.append(...rest);
      all.remove();
      rest[0].querySelector("input").focus();
    },
  });
  return h("div", { class: "section" }, list, all);
}

/** Plans that the eSIM takes: nothing to install. */
export function fittingPlans(plans, { chosen, onChoose }) {
  const best = bestValue(plans.filter((plan) => !plan.unlimited));
  const why = (plan) =>
    plan === best?.plan ? t("destination.better", { percent: percent(best.share), size: planSize(best.than) }) : null;
  return [
    h(
      "div",
      { role: "radiogroup", "aria-label": t("top_up.title"), "data-plans": "fitting" },
      planList(plans, { chosen, onChoose, why }),
    ),
    h("p", { class: "note" }, t("top_up.note")),
  ];
}

const newEsimWarning = () =>
  banner({
    name: "new_esim",
    iconName: "alert",
    tone: "warn",
    title: t("top_up.new.warning"),
    text: t("top_up.new.warning.text"),
  });

/** Plans of the same place that this eSIM cannot take. isOnlyWay: none fits, so they are shown at once. */
export function otherPlans(plans, { chosen, onChoose, isOnlyWay }) {
  const list = h(
    "div",
    { role: "radiogroup", "aria-label": t("top_up.new.title"), "data-plans": "new" },
    planList(plans, { chosen, onChoose }),
  );
  if (isOnlyWay) return [newEsimWarning(), list];
  const isChosen = plans.some((plan) => plan.bundle === chosen?.bundle);
  return h(
    "details",
    { class: "card other-plans", open: isChosen },
    h(
      "summary",
      { class: "row" },
      icon("sim"),
      h("span", { class: "body" }, t("top_up.new.title"), h("small", {}, t("top_up.new.note"))),
      h("span", { class: "end" }, icon("chev", "i chev")),
    ),
    h("div", { class: "inside" }, newEsimWarning(), list),
  );
}

/** Why there is nothing to choose from, and what to do about it. */
export const noPlans = ({ name, text, action = null }) =>
  h("div", { class: "card pad", "data-plans": name, role: "status" }, h("p", { class: "muted" }, text), action);
