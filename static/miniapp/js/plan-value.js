/** Which plan is worth what: price per gigabyte and day, best value, tiers of unlimited plans. */

const WORTH_SAYING = 0.2;
const TIERS = { 2: ["standard", "plus"], 3: ["lite", "standard", "plus"] };

export const starsPerGb = (plan) => plan.price_stars / (plan.data_mb / 1000);
export const starsPerDay = (plan) => plan.price_stars / plan.days;

/** By data, then days, then price: as a customer compares them. */
export const inOrder = (plans) =>
  [...plans].sort(
    (a, b) => (a.data_mb ?? 0) - (b.data_mb ?? 0) || a.days - b.days || a.price_stars - b.price_stars,
  );

/**
 * The step with the largest fall in price per GB from the next smaller size, from 20 % on.
 * → { plan, than: the smaller plan, share: 0-1 }, or null.
 */
export function bestValue(plans) {
  let best = null;
  let smaller = null;
  for (const plan of inOrder(plans)) {
    if (smaller && plan.data_mb > smaller.data_mb) {
      const share = 1 - starsPerGb(plan) / starsPerGb(smaller);
      if (share >= WORTH_SAYING && share > (best?.share ?? 0)) best = { plan, than: smaller, share };
    }
    if (!smaller || plan.data_mb > smaller.data_mb) smaller = plan;
  }
  return best;
}

/** Unlimited plans by their fair-use rule, cheapest a day first: [{ name: key or null, fairUse, plans }]. */
export function tiers(plans) {
  const byRule = new Map();
  for (const plan of inOrder(plans)) {
    byRule.set(plan.fair_use, [...(byRule.get(plan.fair_use) ?? []), plan]);
  }
  const cheapest = (group) => Math.min(...group.plans.map(starsPerDay));
  const groups = [...byRule].map(([fairUse, group]) => ({ fairUse, plans: group }));
  groups.sort((a, b) => cheapest(a) - cheapest(b));
  const names = TIERS[groups.length] ?? [];
  return groups.map((group, i) => ({ name: names[i] ?? null, ...group }));
}
