/** The choice of what to add to an eSIM: plans that fit it, and apart from them those that need a new eSIM. */

import { banner } from "./components.js";
import { h, icon } from "./dom.js";
import { setUpChoice } from "./plan-choice.js";
import { bestValue, firstChoice } from "./plan-value.js";
import { t } from "./texts.js";

/** What to choose for the customer: the same plan again, else what is chosen on the page of the place. */
export function suggested(plans, bought) {
  if (plans.length === 0) return null;
  const alike = plans.filter((plan) => plan.unlimited === bought.unlimited);
  const list = alike.length ? alike : plans;
  const best = list[0].unlimited ? null : bestValue(list);
  return plans.find((plan) => plan.bundle === bought.bundle) ?? firstChoice(list, best);
}

/** options: { chosen: plan or null, onChoose: plan → } */
function choice(plans, { chosen, onChoose }, { name, label }) {
  const part = (slot) => h("div", { "data-slot": slot });
  const list = h("div", { class: "plans", role: "radiogroup", "aria-label": label, "data-slot": "plans" });
  const root = h("div", { class: "section loose", "data-plans": name }, part("gone"), part("kinds"), part("tiers"), list);
  const own = plans.find((plan) => plan.bundle === chosen?.bundle) ?? null;
  setUpChoice(root, plans, { chosenBefore: own, isOptional: true, onChoose });
  return root;
}

/** Plans that the eSIM takes: nothing to install. */
export const fittingPlans = (plans, options) => [
  choice(plans, options, { name: "fitting", label: t("top_up.title") }),
  h("p", { class: "note" }, t("top_up.note")),
];

const warning = (title) =>
  banner({ name: "new_esim", iconName: "alert", tone: "warn", title, text: t("top_up.new.warning.text") });

const otherChoice = (plans, options) => choice(plans, options, { name: "new", label: t("top_up.new.title") });

/** No plan fits the eSIM: those for a new one, with the reason. */
export const onlyOtherPlans = (plans, options) => [warning(t("top_up.new.only")), otherChoice(plans, options)];

/** Plans of the same place that this eSIM cannot take, behind a warning. */
export const otherPlans = (plans, options) =>
  h(
    "details",
    { class: "card other-plans", open: plans.some((plan) => plan.bundle === options.chosen?.bundle) },
    h(
      "summary",
      { class: "row" },
      icon("sim"),
      h("span", { class: "body" }, t("top_up.new.title"), h("small", {}, t("top_up.new.note"))),
      h("span", { class: "end" }, icon("chev", "i chev")),
    ),
    h("div", { class: "inside" }, warning(t("top_up.new.warning")), otherChoice(plans, options)),
  );

/** Why there is nothing to choose from, and what to do about it. */
export const noPlans = ({ name, text, action = null }) =>
  h("div", { class: "card pad", "data-plans": name, role: "status" }, h("p", { class: "muted" }, text), action);
