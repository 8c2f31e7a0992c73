/** What an eSIM has left and how it is doing, from the server's word about its bundles, ready to be said and drawn. */

import { serverNow } from "./api.js";
import { dataSize, day, t, time } from "./texts.js";

const DAY = 24 * 60 * 60_000;
const GB = 1000; // megabytes
const LOW_SHARE = 0.2;
const LOW_TIME = 3 * DAY;

const RUNNING = ["active"];
const WAITING = ["queued", "processing"];
const TONES = { active: "good", low: "warn", used_up: "warn", new: "accent", ready: "accent", preparing: "accent" };

const inState = (bundles, states) => bundles.filter((bundle) => states.includes(bundle.state));
const sum = (bundles, field) => bundles.reduce((total, bundle) => total + (bundle[field] ?? 0), 0);
const latest = (bundles, field) => bundles.map((bundle) => bundle[field]).filter(Boolean).sort().at(-1) ?? null;

/** Several bundles as one amount: { unlimited, left, all, share: 0-1 }; null where nothing is known. Megabytes. */
function amount(bundles) {
  if (bundles.length === 0) return null;
  if (bundles.some((bundle) => bundle.unlimited)) return { unlimited: true, left: null, all: null, share: 1 };
  const all = sum(bundles, "initial_mb");
  const left = sum(bundles, "remaining_mb");
  return all ? { unlimited: false, left, all, share: Math.min(1, left / all) } : null;
}

/** The bundles that count now: running ones, else the last one that was used up. */
function currentBundles(bundles) {
  const running = inState(bundles, RUNNING);
  if (running.length) return running;
  const usedUp = inState(bundles, ["depleted"]);
  return usedUp.length ? usedUp.slice(-1) : [];
}

/** Days by the customer's calendar: on Monday evening Wednesday morning is two days away. */
function calendarDays(until) {
  const midnight = (moment) => new Date(moment).setHours(0, 0, 0, 0);
  return Math.round((midnight(until) - midnight(serverNow())) / DAY);
}

function untilWords(endsAt) {
  if (Date.parse(endsAt) <= serverNow()) return t("esims.over", { date: day(endsAt) });
  const days = calendarDays(endsAt);
  if (days === 0) return t("esims.until.today", { time: time(endsAt) });
  if (days === 1) return t("esims.until.tomorrow", { time: time(endsAt) });
  return t("esims.until", { n: days, date: day(endsAt) });
}

/** What runs out, data or days; neither is trouble where more is waiting. */
function shortages(current, endsAt, waiting) {
  const matters = waiting.length === 0;
  return {
    isDataLow: matters && current !== null && !current.unlimited && current.share <= LOW_SHARE,
    isTimeLow: matters && endsAt !== null && Date.parse(endsAt) - serverNow() <= LOW_TIME,
  };
}

/** One that was just bought is ready before the carrier has told of it; one used up is over with its days. */
function lookOf({ state, installed, updated_at: toldAt }, endsAt, { isDataLow, isTimeLow }) {
  if (state === "unknown" && !toldAt) return "ready";
  if (state === "used_up" && endsAt !== null && Date.parse(endsAt) <= serverNow()) return "ended";
  if (state === "active") return isDataLow || isTimeLow ? "low" : "active";
  if (state === "ready" && installed === false) return "new";
  if (state === "ready" && installed) return "waiting";
  return state;
}

/** "5 GB more waiting"; "" where nothing waits beside what runs. */
function waitingWords(waiting) {
  const more = amount(waiting);
  if (!more) return "";
  const isOnItsWay = waiting.some((bundle) => bundle.state === "processing");
  const size = more.unlimited ? t("size.unlimited") : dataSize(more.all);
  return t(isOnItsWay ? "esims.more.coming" : "esims.more", { size });
}

/** "3 GB for 30 days": what is on an eSIM whose days have not begun. */
function offerWords(plan, waiting) {
  const whole = amount(waiting) ?? { unlimited: plan.unlimited, all: plan.data_mb };
  const size = whole.unlimited ? t("size.unlimited") : dataSize(whole.all);
  return waiting.length > 1 ? size : t("esims.for_days", { size, days: t("days", { n: plan.days }) });
}

/** Tells apart eSIMs of the same country. */
export const shortIccid = (esim) => `…${esim.iccid.slice(-4)}`;

/** "0.7 GB" beside "5 GB" rather than "700 MB": one unit, as long as it says enough. */
export const leftWords = ({ left, all }) =>
  all >= GB && (left >= GB / 10 || left === 0) ? t("size.gb", { n: left / GB }) : dataSize(left);

const amountWords = (whole) =>
  whole.unlimited ? t("size.unlimited") : t("esims.left", { left: leftWords(whole), all: dataSize(whole.all) });

/**
 * esim: as GET /api/esims has it. → {
 *   look:    new | ready | waiting | preparing | active | low | used_up | ended | unknown,
 *   tone:    class of its state, word: the state in words,
 *   current: { unlimited, left, all, share } of what can be used now, or null,
 *   title:   how much there is, note: until when or what comes next, more: what else waits, or "",
 *   isDataLow, isTimeLow: which of them runs out,
 *   startsAt, endsAt: of what is used now, or null; time: share of its days that is left, 0-1, or null,
 * }
 */
export function summary(esim) {
  const bundles = esim.bundles.length || !esim.usage ? esim.bundles : [esim.usage];
  const running = currentBundles(bundles);
  const waiting = inState(bundles, WAITING);
  const current = amount(running);
  const startsAt = latest(running, "starts_at");
  const endsAt = latest(running, "ends_at");
  const short = shortages(current, endsAt, waiting);
  const look = lookOf(esim, endsAt, short);
  const isRunning = ["active", "low", "used_up"].includes(look);
  return {
    look,
    tone: TONES[look] ?? "",
    word: t(`esims.state.${look}`),
    current: isRunning ? current : null,
    title: isRunning && current ? amountWords(current) : offerWords(esim.plan, waiting),
    note: noteOf({ look, endsAt, bundles }),
    more: isRunning ? waitingWords(waiting) : "",
    ...short,
    startsAt,
    endsAt,
    time: isRunning && startsAt && endsAt ? timeShare(startsAt, endsAt) : null,
  };
}

function noteOf({ look, endsAt, bundles }) {
  if (look === "used_up") return t("esims.note.used_up");
  if (["active", "low"].includes(look)) return endsAt ? untilWords(endsAt) : "";
  if (look !== "ended") return t(`esims.note.${["new", "waiting"].includes(look) ? "ready" : look}`);
  const last = latest(bundles, "ends_at");
  const isTakenBack = bundles.length > 0 && bundles.every((bundle) => bundle.state === "revoked");
  if (isTakenBack) return t("esims.revoked");
  return last ? t("esims.over", { date: day(last) }) : t("esims.state.ended");
}

function timeShare(startsAt, endsAt) {
  const [start, end] = [Date.parse(startsAt), Date.parse(endsAt)];
  return Math.max(0, Math.min(1, (end - serverNow()) / (end - start)));
}

/** One bundle in words: "until …", "waiting". */
export function bundleState({ state, ends_at: endsAt }) {
  if (state === "active" && endsAt) return untilWords(endsAt);
  if (state === "expired" && endsAt) return t("esims.over", { date: day(endsAt) });
  return t(`esim.bundle.${state}`);
}

/** How much of it is left; of one that was not begun, all of it. */
export function bundleAmount(bundle) {
  const whole = amount([bundle]);
  if (!whole) return "";
  if (whole.unlimited) return t("size.unlimited");
  return ["active", "depleted"].includes(bundle.state) ? amountWords(whole) : dataSize(whole.all);
}
