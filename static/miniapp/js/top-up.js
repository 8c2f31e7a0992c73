/** The choice of what to add to an eSIM: plans that fit it, and apart from them those that need a new eSIM. */

import { banner } from "./components.js";
import { planCard, segments } from "./destination.js";
import { h, icon, replace } from "./dom.js";
import { bestValue, inOrder, tiers } from "./plan-value.js";
import { number, percent, planSize, t } from "./texts.js";

const dataPlans = (plans) => inOrder(plans.filter((plan) => !plan.unlimited));
const unlimitedPlans = (plans) => plans.filter((plan) => plan.unlimited);

/** What to choose for the customer: the same plan again, else the best value, else the first of the list. */
export function suggested(plans, bought) {
  const same = plans.find((plan) => plan.bundle === bought.bundle);
  return same ?? bestValue(dataPlans(plans))?.plan ?? dataPlans(plans)[0] ?? inOrder(plans)[0] ?? null;
}

/**
 * Lists of plans of which one is seen at a time. groups: [{ text, plans, content() }]
 * Where the chosen plan was in this choice, opening a list without it chooses the list's first: the MainButton never
 * offers a plan that is out of sight.
 */
function tabs(groups, { chosen, onChoose }) {
  const has = (group) => group.plans.some((plan) => plan.bundle === chosen()?.bundle);
  const first = Math.max(0, groups.findIndex(has));
  if (groups.length === 1) return groups[0].content();
  const body = h("div", { class: "section" }, groups[first].content());
  const open = (group) => {
    if (groups.some(has) && !has(group)) onChoose(group.plans[0]);
    replace(body, group.content());
  };
  const choice = segments(groups.map((group) => ({ text: group.text, open: () => open(group) })), first);
  return h("div", { class: "section" }, choice, body);
}

function cards(plans, { chosen, onChoose, why = () => null }) {
  const isChosen = (plan) => plan.bundle === chosen()?.bundle;
  return h(
    "div",
    { class: "plans" },
    plans.map((plan) => planCard(plan, { checked: isChosen(plan), why: why(plan), onChoose })),
  );
}

/** Radio cards by kind: data, and unlimited ones by their rule, which is always said above them. */
function planChoice(plans, options) {
  const [data, unlimited] = [dataPlans(plans), unlimitedPlans(plans)];
  const ofTier = ({ name, fairUse, plans: list }, i) => ({
    text: name ? t(`destination.tier.${name}`) : number(i + 1),
    plans: list,
    content: () => [fairUse && h("p", { class: "rule" }, fairUse), cards(list, options)],
  });
  const kinds = [
    { text: t("destination.data"), plans: data, content: () => cards(data, options) },
    {
      text: t("destination.unlimited"),
      plans: inOrder(unlimited),
      content: () => tabs(tiers(unlimited).map(ofTier), options),
    },
  ];
  return tabs(kinds.filter((kind) => kind.plans.length > 0), options);
}

/**
 * Plans that the eSIM takes: nothing to install.
 * options: { chosen: () → plan or null, onChoose: plan → }
 */
export function fittingPlans(plans, options) {
  const best = bestValue(dataPlans(plans));
  const why = (plan) =>
    plan === best?.plan ? t("destination.better", { percent: percent(best.share), size: planSize(best.than) }) : null;
  return [
    h(
      "div",
      { class: "section", role: "radiogroup", "aria-label": t("top_up.title"), "data-plans": "fitting" },
      planChoice(plans, { ...options, why }),
    ),
    h("p", { class: "note" }, t("top_up.note")),
  ];
}

const warning = (title) =>
  banner({ name: "new_esim", iconName: "alert", tone: "warn", title, text: t("top_up.new.warning.text") });

const otherChoice = (plans, options) =>
  h(
    "div",
    { class: "section", role: "radiogroup", "aria-label": t("top_up.new.title"), "data-plans": "new" },
    planChoice(plans, options),
  );

/** No plan fits the eSIM: those for a new one, with the reason. */
export const onlyOtherPlans = (plans, options) => [warning(t("top_up.new.only")), otherChoice(plans, options)];

/** Plans of the same place that this eSIM cannot take, behind a warning. */
export function otherPlans(plans, options) {
  const isChosen = plans.some((plan) => plan.bundle === options.chosen()?.bundle);
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
    h("div", { class: "inside" }, warning(t("top_up.new.warning")), otherChoice(plans, options)),
  );
}

/** Why there is nothing to choose from, and what to do about it. */
export const noPlans = ({ name, text, action = null }) =>
  h("div", { class: "card pad", "data-plans": name, role: "status" }, h("p", { class: "muted" }, text), action);
