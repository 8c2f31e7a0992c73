/** Which plan is worth what: price per gigabyte and day, best value, tiers of unlimited plans. */

const WORTH_SAYING = 0.2;
const LARGEST_FIRST_CHOICE_MB = 20_000; // beyond it nobody should have to choose something smaller by hand
const USUAL_TRIP = { data_mb: 5000, days: 30 };
const USUAL_UNLIMITED = { data_mb: null, days: 7 };
const TIERS = { 2: ["standard", "plus"], 3: ["lite", "standard", "plus"] };

export const starsPerGb = (plan) => plan.price_stars / (plan.data_mb / 1000);
export const starsPerDay = (plan) => plan.price_stars / plan.days;

/** By data, then days, then price: as a customer compares them. */
export const inOrder = (plans) =>
  [...plans].sort(
    (a, b) => (a.data_mb ?? 0) - (b.data_mb ?? 0) || a.days - b.days || a.price_stars - b.price_stars,
  );

/** The largest plan with less data than `plan`, and no more days: what one would take in its place. */
function nextSmaller(plans, plan) {
  const smaller = plans.filter((other) => other.data_mb < plan.data_mb && other.days <= plan.days);
  const [largest] = smaller.slice(-1);
  return smaller.find((other) => other.data_mb === largest.data_mb) ?? null;
}

/**
 * The step with the largest fall in price per GB from the next smaller size, from 20 % on.
 * → { plan, than: the smaller plan, share: 0-1 }, or null.
 */
export function bestValue(plans) {
  const ordered = inOrder(plans);
  let best = null;
  for (const plan of ordered) {
    const than = nextSmaller(ordered, plan);
    if (!than) continue;
    const share = 1 - starsPerGb(plan) / starsPerGb(than);
    if (share >= WORTH_SAYING && share > (best?.share ?? 0)) best = { plan, than, share };
  }
  return best;
}

/** The plan that is most like a wanted { data_mb, days }: by data, how many times more or less, then by days. */
export function nearest(plans, { data_mb: wanted, days }) {
  const apart = (plan) => (wanted && plan.data_mb ? Math.abs(Math.log(plan.data_mb / wanted)) : 0);
  const [found] = inOrder(plans).sort(
    (a, b) => apart(a) - apart(b) || Math.abs(a.days - days) - Math.abs(b.days - days),
  );
  return found;
}

/** What is chosen before the customer chooses: the best value unless that is a lot, else what a usual trip needs. */
export function firstChoice(plans, best) {
  if (plans[0].unlimited) return nearest(plans, USUAL_UNLIMITED);
  return best && best.plan.data_mb <= LARGEST_FIRST_CHOICE_MB ? best.plan : nearest(plans, USUAL_TRIP);
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
