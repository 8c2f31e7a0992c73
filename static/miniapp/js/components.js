/** The pieces that several views are made of; their looks are in miniapp.css. */

import { copyText } from "./clipboard.js";
import { h, icon, s } from "./dom.js";
import { number, t } from "./texts.js";

/** Round flag of a country; a globe for regions and the whole world. area: {code, kind}. size: "", "s", "m" or "l". isOff: of something over. */
export function flag({ code, kind }, size = "", { isOff = false } = {}) {
  if (kind !== "country" || !/^[A-Z]{2}$/.test(code)) {
    return h("span", { class: `badge-icon ${size === "l" ? "xl" : size}` }, icon("globe"));
  }
  const letters = document.documentElement.classList.contains("no-flags")
    ? code
    : String.fromCodePoint(...[...code].map((letter) => 0x1f1e6 + letter.charCodeAt(0) - 65));
  return h("span", { class: `flag ${size} ${isOff ? "off" : ""}`.trim(), "aria-hidden": "true" }, letters);
}

const star = () =>
  s("svg", { class: "star", role: "img", "aria-label": t("stars") }, s("use", { href: "#icon-star" }));
export const price = (stars) => [`${number(stars)}\u00a0`, star()];
export const fromPrice = (stars) => [`${t("from")}\u00a0`, ...price(stars)];
export const chevron = () => icon("chev", "i chev");

/** One line of a list that leads somewhere. */
export const linkRow = ({ href, lead, title, note, end, ...attributes }) =>
  h(
    "a",
    { class: "row", href, ...attributes },
    lead,
    h("span", { class: "body" }, title, note && h("small", {}, note)),
    h("span", { class: "end" }, end, chevron()),
  );

export const factRow = ({ name, value, ...attributes }) =>
  h("div", { class: "row kv", ...attributes }, h("span", { class: "body" }, name), h("span", { class: "val" }, value));

export const noteRow = ({ lead, title, note }) =>
  h("div", { class: "row" }, lead, h("span", { class: "body" }, title, note && h("small", {}, note)));

/** tone: "", "good", "warn" or "danger". actions: buttons below the text. */
export const banner = ({ name, iconName, tone = "", title, text, actions = [] }) =>
  h(
    "div",
    { class: `banner ${tone}`, role: "status", "data-banner": name },
    icon(iconName),
    h("div", {}, h("b", {}, title), text, actions.map((action) => [h("br"), action])),
  );

/** A place that has nothing to show: why, and one way on. heading: "h2" where the view has a title of its own. */
export const empty = ({ name, iconName, tone = "", title, text, actions = [], heading = "h1" }) =>
  h(
    "div",
    { class: "empty", "data-empty": name },
    h("span", { class: `badge-icon l ${tone}` }, icon(iconName)),
    h(heading, { tabindex: "-1" }, title),
    h("p", {}, text),
    actions,
  );

export const button = ({ text, onPress, look = "" }) =>
  h("button", { type: "button", class: `btn ${look}`.trim(), onclick: onPress }, text);

/** Buttons of which one is pressed. options: [{ text, onPress }]; pressed: number of one of them. */
export function segments({ label, options, pressed }) {
  const buttons = options.map(({ text, onPress }, i) =>
    h("button", { type: "button", "aria-pressed": String(i === pressed), onclick: () => press(i, onPress) }, text),
  );
  const press = (i, onPress) => {
    buttons.forEach((each, j) => each.setAttribute("aria-pressed", String(i === j)));
    onPress();
  };
  return h("div", { class: "segments", role: "group", "aria-label": label }, buttons);
}

/** A row that is a switch. onSwitch: async (isOn), thrown errors switch it back. */
export function switchRow({ title, note, isOn, onSwitch }) {
  const knob = h("span", { class: "switch", "aria-hidden": "true" });
  const row = h(
    "button",
    { type: "button", class: "row", role: "switch" },
    h("span", { class: "body" }, title, note && h("small", {}, note)),
    knob,
  );
  const show = (on) => {
    row.setAttribute("aria-checked", String(on));
    knob.classList.toggle("on", on);
  };
  show(isOn);
  let isBusy = false;
  row.addEventListener("click", async () => {
    if (isBusy) return;
    isBusy = true;
    const wanted = row.getAttribute("aria-checked") !== "true";
    show(wanted);
    try {
      await onSwitch(wanted);
    } catch {
      show(!wanted);
    }
    isBusy = false;
  });
  return row;
}

const dashes = (value) => `${value.toFixed(2)} 100`;

/** The one gauge of the shop. value: 0-100, null for none; looks: classes of .ring. */
export function ring({ looks, value = null, inside }) {
  const circle = (name, attributes = {}) => s("circle", { class: name, pathLength: 100, ...attributes });
  return h(
    "div",
    { class: `ring ${looks}`, "aria-hidden": "true" },
    s("svg", {}, circle("track"), value === null ? null : circle("value", { "stroke-dasharray": dashes(value) })),
    inside,
  );
}

export function turnRing(element, value) {
  element.querySelector(".value")?.setAttribute("stroke-dasharray", dashes(value));
}

/** steps: [{ state: "done" | "now" | "warn" | "next", title, note?, time? }] */
export const timeline = (steps) =>
  h(
    "ol",
    { class: "timeline" },
    steps.map(({ state, title, note, time }, i) =>
      h(
        "li",
        { class: state, "aria-current": state === "now" || state === "warn" ? "step" : null },
        h("span", { class: "mark" }, state === "done" ? icon("check") : String(i + 1)),
        h("div", {}, h("b", {}, title), note && h("small", {}, note)),
        time && h("time", {}, time),
      ),
    ),
  );

let toastTimer;

export function toast(text) {
  const node = document.getElementById("toast");
  node.textContent = text;
  node.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (node.hidden = true), 2000);
}

/** A value with a button that copies it; the button shows a check for two seconds. */
export function copyable({ name, value, code }) {
  const label = t("order.copy", { what: name });
  const mark = h("button", { type: "button", class: "icon-btn", "aria-label": label }, icon("copy"));
  mark.addEventListener("click", async () => {
    if (!(await copyText(value))) return;
    toast(t("order.copied"));
    mark.classList.add("done");
    mark.replaceChildren(icon("check"));
    setTimeout(() => {
      mark.classList.remove("done");
      mark.replaceChildren(icon("copy"));
    }, 2000);
  });
  return h("div", { class: "code", "data-code": code }, h("div", {}, h("small", {}, name), h("code", {}, value)), mark);
}
