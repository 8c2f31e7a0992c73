/** What may do instead of a plan that could not be delivered: the plans of the same area that are nearest in size. */

import * as api from "./api.js";
import { flag, linkRow, price } from "./components.js";
import { h } from "./dom.js";
import { byLikeness } from "./plan-value.js";
import { linkTo } from "./router.js";
import { planName, t } from "./texts.js";

const SHOWN = 2;

/** A section that shows itself once plans are known; without any, or without an answer, the page does without it. */
export function similarPlans(plan) {
  const list = h("ul", { class: "card rows-flag" });
  const section = h("section", { class: "section", "data-part": "similar", hidden: true }, h("h2", {}, t("order.similar")), list);
  const fill = (plans) => {
    const others = plans.filter(({ bundle }) => bundle !== plan.bundle);
    const nearest = byLikeness(others, plan).slice(0, SHOWN);
    list.append(...nearest.map((near) => h("li", {}, row(near))));
    section.hidden = nearest.length === 0;
  };
  api.plans(plan.area.code).then(fill, () => {});
  return section;
}

const row = (plan) =>
  linkRow({
    href: linkTo({ plan: plan.bundle }),
    lead: flag(plan.area),
    title: planName(plan),
    end: price(plan.price_stars),
    "data-bundle": plan.bundle,
  });
