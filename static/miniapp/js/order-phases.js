/** What the order page says and shows in each phase of an order. */

import { banner, button, chevron, factRow, flag, linkRow, price, ring, timeline, toast } from "./components.js";
import { copyText } from "./clipboard.js";
import { system } from "./device.js";
import { h, icon } from "./dom.js";
import { codeRows, codesSection, guideRow, installHere, qrSection } from "./esim.js";
import { ARRIVAL } from "./install-steps.js";
import { go, linkTo } from "./router.js";
import { similarPlans } from "./similar-plans.js";
import { canAskForMessages, requestWriteAccess } from "./telegram.js";
import { date, has, lastDigits, planName, t, time } from "./texts.js";

/** Characters that people read to each other; the copy button takes the whole number. */
const SHORT_NUMBER = 8;

/** The words under a key, or those for a top-up where it has its own. */
function say(order, key, values) {
  const own = `${key}.top_up`;
  return t(order.top_up_iccid && has(own) ? own : key, values);
}

const stepsOf = (order) => ({
  paying: { state: "now", title: t("order.step.payment"), note: t("order.step.payment.note") },
  paid: { state: "done", title: t("order.step.paid"), time: order.paid_at && time(order.paid_at) },
  preparing: { state: "now", title: say(order, "order.step.preparing"), note: t("order.step.preparing.note") },
  preparingNext: { state: "next", title: say(order, "order.step.preparing") },
  readyNext: { state: "next", title: say(order, "order.step.ready") },
  attention: { state: "warn", title: t("order.step.attention"), note: t("order.step.attention.note") },
  eitherNext: { state: "next", title: say(order, "order.step.either") },
  returning: { state: "now", title: t("order.step.returning") },
  returned: { state: "done", title: t("order.step.returned"), time: order.refunded_at && time(order.refunded_at) },
});

const progress = (steps) => h("div", { class: "card pad" }, timeline(steps));

const numberOf = ({ order_id: id, top_up_iccid: iccid }) => {
  const number = id.slice(0, SHORT_NUMBER);
  return iccid ? t("order.number.top_up", { number, digits: lastDigits(iccid) }) : t("order.number", { number });
};

/** Plan, price and number of the order; the number can be copied wherever something may have to be asked. */
function receipt(order) {
  const copy = h(
    "button",
    { type: "button", class: "icon-btn", "aria-label": t("order.copy_number") },
    icon("copy"),
  );
  copy.addEventListener("click", async () => {
    if (await copyText(order.order_id)) toast(t("order.copied"));
  });
  return h(
    "div",
    { class: "card" },
    h(
      "div",
      { class: "row" },
      flag(order.plan.area, "s"),
      h(
        "span",
        { class: "body" },
        planName(order.plan),
        h("small", {}, numberOf(order)),
      ),
      h("span", { class: "end ink" }, price(order.amount_stars), copy),
    ),
  );
}

const holdsUntil = (order) => (order.invoice ? time(order.invoice.expires_at) : "");

const joinedBanner = (order) =>
  banner({
    name: "joined",
    iconName: "clock",
    title: t("order.joined.title"),
    text: order.invoice ? t("order.joined.text", { time: holdsUntil(order) }) : "",
  });

function sheetBanner(order, sheet) {
  const until = { time: holdsUntil(order) };
  if (sheet === "cancelled") {
    return banner({
      name: "cancelled",
      iconName: "return",
      title: t("order.cancelled_sheet.title"),
      text: t("order.cancelled_sheet.text", until),
    });
  }
  if (sheet === "failed") {
    return banner({
      name: "failed",
      iconName: "alert",
      tone: "warn",
      title: t("order.failed_sheet.title"),
      text: t("order.failed_sheet.text"),
    });
  }
  if (sheet === "unopened" || sheet === "open") {
    return banner({
      name: "still_open",
      iconName: "alert",
      title: t("order.still_open.title"),
      text: t("order.still_open.text", until),
    });
  }
  return null;
}

function blockedBanner(onAllowed) {
  const allow = async () => {
    if ((await requestWriteAccess()) !== true) return;
    toast(t("order.blocked.thanks"));
    onAllowed();
  };
  return banner({
    name: "blocked",
    iconName: "chat",
    title: t("order.blocked.title"),
    text: t("order.blocked.text"),
    actions: canAskForMessages ? [button({ text: t("order.blocked.allow"), onPress: allow })] : [],
  });
}

const checkingBody = (order) => {
  const step = stepsOf(order);
  return [progress([step.paying, step.preparingNext, step.readyNext]), receipt(order)];
};

const supportRow = (onPress) =>
  h(
    "div",
    { class: "card rows-icon" },
    h(
      "button",
      { type: "button", class: "row", "data-action": "support", onclick: onPress },
      icon("chat"),
      h("span", { class: "body" }, t("order.support")),
      h("span", { class: "end" }, chevron()),
    ),
  );

const usageRow = ({ iccid }) =>
  linkRow({
    href: linkTo({ esim: iccid }),
    lead: icon("signal"),
    title: t("order.usage"),
    note: t("order.usage.note"),
    "data-link": "esim",
  });

const linkRows = (...rows) => h("div", { class: "card rows-icon" }, rows);

const arrivalSection = () =>
  h(
    "section",
    { class: "section", "data-part": "arrival" },
    h("h2", {}, t("guide.arrival")),
    h("div", { class: "card pad" }, timeline(ARRIVAL.map(({ title }) => ({ state: "", title: t(title) })))),
  );

/** What a completed order is about: data for an eSIM that is there, one that a phone has already, one to install. */
const COMPLETED = {
  top_up: () => [],

  installed: (order) => [
    arrivalSection(),
    linkRows(guideRow(order.order_id)),
    h(
      "details",
      { class: "card" },
      h(
        "summary",
        { class: "row" },
        icon("sim"),
        h("span", { class: "body" }, t("order.codes"), h("small", {}, t("order.codes.note"))),
        h("span", { class: "end" }, chevron()),
      ),
      codeRows(order.esim),
    ),
  ],

  ready: (order) => [
    qrSection({ esim: order.esim, orderId: order.order_id }),
    codesSection(order.esim),
    arrivalSection(),
    linkRows(guideRow(order.order_id), usageRow(order.esim)),
  ],
};

function kindOfCompleted({ top_up_iccid: topUp, esim }) {
  if (topUp) return "top_up";
  return esim.installed ? "installed" : "ready";
}

/** The one thing to do with a completed order here, or null: on a desktop there is nothing to press. */
export function buttonOfCompleted(order) {
  if (kindOfCompleted(order) !== "ready") {
    return { text: t("order.usage"), onPress: () => go({ esim: order.esim.iccid }) };
  }
  const guide = { text: t("order.guide.button"), onPress: () => go({ guide: order.order_id }) };
  return installHere(order.esim) ?? (system === "desktop" ? null : guide);
}

/**
 * Phase → function of { order, sheet, isJoined, isLate, onSupport, onAllowed } that tells what to show:
 * { ring, title, text, banner?, body: [elements] }.
 */
export const PHASES = {
  awaiting: ({ order, sheet, isJoined }) => ({
    ring: ring({ looks: "xl wait", inside: icon("clock") }),
    title: t("order.awaiting.title"),
    text: order.invoice ? t("order.awaiting.text", { time: holdsUntil(order) }) : t("order.awaiting.plain"),
    banner: sheetBanner(order, sheet) ?? (isJoined ? joinedBanner(order) : null),
    body: checkingBody(order),
  }),

  paying: ({ order, isJoined }) => PHASES.awaiting({ order, sheet: null, isJoined }),

  checking: ({ order }) => ({
    ring: ring({ looks: "xl pulse", value: 30, inside: icon("clock") }),
    title: t("order.checking.title"),
    text: t("order.checking.text"),
    body: checkingBody(order),
  }),

  slow: ({ order, onSupport }) => ({
    ring: ring({ looks: "xl", value: 30, inside: icon("clock") }),
    title: t("order.slow.title"),
    text: t("order.slow.text"),
    body: [receipt(order), supportRow(onSupport)],
  }),

  preparing: ({ order, isLate }) => {
    const step = stepsOf(order);
    const until = time(order.promise_at);
    return {
      ring: isLate
        ? ring({ looks: "xl", value: 0, inside: icon("clock") })
        : ring({
            looks: "xl pulse count",
            value: 100,
            inside: h(
              "div",
              {},
              h("b", { "data-slot": "countdown" }),
              h("small", {}, t("order.until", { time: until })),
            ),
          }),
      title: say(order, "order.preparing.title"),
      text: isLate ? say(order, "order.preparing.late") : say(order, "order.preparing.text", { time: until }),
      body: [
        progress([step.paid, step.preparing, step.readyNext]),
        banner({
          name: "can_close",
          iconName: "chat",
          title: t("order.preparing.close"),
          text: say(order, "order.preparing.close.text"),
        }),
        receipt(order),
      ],
    };
  },

  completed: ({ order, onSupport, onAllowed }) => {
    const kind = kindOfCompleted(order);
    return {
      ring: ring({ looks: "l good", value: 100, inside: icon("check") }),
      title: t(`order.${kind}.title`),
      text: t(`order.${kind}.text`, { plan: planName(order.plan) }),
      banner: order.delivery === "blocked" ? blockedBanner(onAllowed) : null,
      body: [...COMPLETED[kind](order), receipt(order), supportRow(onSupport)],
    };
  },

  needs_attention: ({ order }) => {
    const step = stepsOf(order);
    return {
      ring: ring({ looks: "xl warn", value: 72, inside: icon("user") }),
      title: t("order.attention.title"),
      text: t("order.attention.text"),
      body: [
        progress([step.paid, step.attention, step.eitherNext]),
        banner({
          name: "nothing_to_do",
          iconName: "alert",
          title: t("order.attention.nothing"),
          text: t("order.attention.nothing.text"),
        }),
        receipt(order),
      ],
    };
  },

  refunding: ({ order }) => {
    const step = stepsOf(order);
    return {
      ring: ring({ looks: "xl pulse", value: 50, inside: icon("return") }),
      title: t("order.refunding.title"),
      text: t("order.refunding.text", { n: order.amount_stars }),
      body: [progress([step.paid, step.returning]), receipt(order)],
    };
  },

  refunded: ({ order }) => {
    const step = stepsOf(order);
    return {
      ring: ring({ looks: "xl", value: 100, inside: icon("return") }),
      title: t("order.refunded.title", { n: order.amount_stars }),
      text: order.message || t("order.refunded.text"),
      body: [
        h(
          "section",
          { class: "card" },
          factRow({ name: t("order.returned"), value: t("stars.count", { n: order.amount_stars }) }),
          factRow({ name: t("order.returned.where"), value: t("order.returned.where.value") }),
          order.refunded_at && factRow({ name: t("order.returned.when"), value: date(order.refunded_at) }),
        ),
        progress([step.paid, step.returned]),
        similarPlans(order.plan),
        receipt(order),
      ],
    };
  },

  closed: ({ order }) => ({
    ring: ring({ looks: "xl wait", inside: icon("close") }),
    title: t("order.closed.title"),
    text: t("order.closed.text"),
    body: [receipt(order)],
  }),

  unknown: ({ order, onSupport }) => ({
    ring: ring({ looks: "xl wait", inside: icon("clock") }),
    title: order.message,
    text: "",
    body: [receipt(order), supportRow(onSupport)],
  }),
};
