/** How an eSIM's data and days are drawn: the ring is data, the bar is days. The words beside them carry the meaning. */

import { ring } from "./components.js";
import { h, icon, s } from "./dom.js";
import { leftWords } from "./esim-summary.js";
import { dataSize, percent, t } from "./texts.js";

const ICONS = { new: "sim", ready: "sim", waiting: "sim", preparing: "clock", ended: "check", unknown: "clock" };
const UNFILLED = ["preparing", "unknown"];
const LONG = 6; // characters of "0.7 GB"

/** "62%"; what is left but rounds to nothing is one percent, not none. */
const shareWords = (share) => percent(share > 0 ? Math.max(0.01, Math.round(share * 100) / 100) : 0);

function looksOf({ look, isDataLow }, size) {
  return [size, isDataLow && "warn", UNFILLED.includes(look) && "wait"].filter(Boolean).join(" ");
}

/** Of a card in the list: percent in it. */
export function smallRing(facts) {
  const { look, current } = facts;
  const inside = !current
    ? icon(ICONS[look] ?? "sim")
    : h("b", {}, current.unlimited ? "∞" : shareWords(current.share));
  return ring({ looks: looksOf(facts, ""), value: valueOf(look, current), inside });
}

function amountInside(current) {
  const left = leftWords(current);
  const looks = left.length > LONG ? "long" : null;
  return h("div", {}, h("b", { class: looks }, left), h("small", {}, t("esim.of", { size: dataSize(current.all) })));
}

/** Of the eSIM's own page: what is left in it. */
export function largeRing(facts) {
  const { look, current } = facts;
  const inside = !current ? icon(ICONS[look] ?? "sim") : current.unlimited ? h("b", {}, "∞") : amountInside(current);
  return ring({ looks: looksOf(facts, "xl"), value: valueOf(look, current), inside });
}

function valueOf(look, current) {
  if (current) return current.share === 0 ? null : 100 * current.share;
  return look === "ended" || UNFILLED.includes(look) ? null : 100;
}

export const daysBar = ({ isTimeLow, time }) =>
  time === null
    ? null
    : s(
        "svg",
        { class: `bar ${isTimeLow ? "warn" : ""}`.trim(), "aria-hidden": "true" },
        s("rect", { width: `${(100 * time).toFixed(1)}%`, height: "100%" }),
      );

export const stateLine = ({ tone, word }, addition = "") =>
  h("span", { class: `state ${tone}`.trim() }, addition ? `${word} · ${addition}` : word);
