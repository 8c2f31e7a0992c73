/** Which plan is worth what: price per gigabyte and day, best value, tiers of unlimited plans. */

const WORTH_SAYING = 0.2;
const LARGEST_FIRST_CHOICE_MB = 20_000; // beyond it nobody should have to choose something smaller by hand
const USUAL_TRIP = { unlimited: false, data_mb: 5000, days: 30 };
const USUAL_UNLIMITED = { unlimited: true, data_mb: null, days: 7 };
const OTHER_KIND = 10; // further than any two plans of one kind are
const TIERS = { 2: ["standard", "plus"], 3: ["lite", "standard", "plus"] };

export const starsPerGb = (plan) => plan.price_stars / (plan.data_mb / 1000);
export const starsPerDay = (plan) => plan.price_stars / plan.days;

/** By data, then days, then price: as a customer compares them. */
export const inOrder = (plans) =>
  [...plans].sort(
    (a, b) => (a.data_mb ?? 0) - (b.data_mb ?? 0) || a.days - b.days || a.price_stars - b.price_stars,
  );

/**
 * The step with the largest fall in price per GB from the next smaller size that lasts no longer, from 20 % on.
 * → { plan, than: the smaller plan, share: 0-1 }, or null.
 */
export function bestValue(plans) {
  const smaller = []; // one plan of each size, with the fewest days, the largest first
  let best = null;
  for (const plan of inOrder(plans)) {
    const than = smaller.find((other) => other.data_mb < plan.data_mb && other.days <= plan.days);
    const share = than ? 1 - starsPerGb(plan) / starsPerGb(than) : 0;
    if (share >= WORTH_SAYING && share > (best?.share ?? 0)) best = { plan, than, share };
    if (smaller[0]?.data_mb !== plan.data_mb) smaller.unshift(plan);
  }
  return best;
}

/** By how much plans are like a wanted { unlimited, data_mb, days }, most first: by kind, then by data and days. */
export function byLikeness(plans, wanted) {
  const apart = (plan) =>
    (plan.unlimited === wanted.unlimited ? 0 : OTHER_KIND) +
    (plan.unlimited || wanted.unlimited ? 0 : Math.abs(Math.log(plan.data_mb / wanted.data_mb))) +
    Math.abs(Math.log(plan.days / wanted.days));
  return inOrder(plans).sort((a, b) => apart(a) - apart(b));
}

/** What is chosen before the customer chooses: the best value unless that is a lot, else what a usual trip needs. */
export function firstChoice(plans, best) {
  if (best && best.plan.data_mb <= LARGEST_FIRST_CHOICE_MB) return best.plan;
  return byLikeness(plans, plans[0].unlimited ? USUAL_UNLIMITED : USUAL_TRIP)[0];
}

/** "1 GB", what an unlimited plan has of each day at full speed; null where its rule, a sentence, names no amount. */
export const dailyAmount = (plan) => plan.fair_use?.match(/\d+(?:[.,]\d+)?\s(?:[GM]B|[ГМ]Б)/u)?.[0] ?? null;

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
