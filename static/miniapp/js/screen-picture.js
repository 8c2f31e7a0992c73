/** Drawings of phone screens for the guide: made of the page's own colours and words, so they follow theme and language. */

import { h, icon, s } from "./dom.js";
import { t } from "./texts.js";

/** What stands at the end of a row; any other end is the name of a value. */
const MARKS = {
  on: () => h("span", { class: "switch on" }),
  check: () => icon("check", "i i-s"),
  chev: () => icon("chev", "i i-s chev"),
};

/** What to do with the row that a drawing is about, for those who do not see it. */
const ACTS = { on: "guide.picture.on", check: "guide.picture.choose" };

const valueOf = ({ end }) => (end && !(end in MARKS) ? t(`guide.ui.${end}`) : null);

const drawRow = (row) =>
  h(
    "div",
    { class: row.isHit ? "sys hit" : "sys" },
    h("span", {}, t(row.name)),
    row.end && (MARKS[row.end]?.() ?? h("span", { class: "muted" }, valueOf(row))),
  );

const drawButton = ({ name, isHit }) => h("div", { class: isHit ? "sys-btn hit" : "sys-btn" }, t(name));

/** A viewfinder on a code that is none: a picture that nobody should scan. */
const camera = () =>
  s(
    "svg",
    { class: "camera", viewBox: "0 0 96 96" },
    s("path", { class: "frame", d: "M4 22V10a6 6 0 0 1 6-6h12M74 4h12a6 6 0 0 1 6 6v12M92 74v12a6 6 0 0 1-6 6H74M22 92H10a6 6 0 0 1-6-6V74" }),
    s("path", {
      class: "ink",
      d:
        "M22 22h20v20H22zm4 4v12h12V26zM54 22h20v20H54zm4 4v12h12V26zM22 54h20v20H22zm4 4v12h12V58z" +
        "M30 30h4v4h-4zM62 30h4v4h-4zM30 62h4v4h-4zM46 22h4v8h-4zM46 34h4v12h-4zM22 46h8v4h-8zM34 46h8v4h-8z" +
        "M54 46h8v8h-8zM66 46h8v4h-8zM46 54h4v8h-4zM54 58h4v12h-4zM62 54h12v8H62zM62 66h8v8h-8zM46 66h4v8h-4z",
      "fill-rule": "evenodd",
    }),
  );

function describe({ title, rows = [], buttons = [], isCamera }) {
  if (isCamera) return t("guide.picture.camera");
  const { name, end } = [...rows, ...buttons].find((part) => part.isHit);
  const value = valueOf({ end });
  const act = value
    ? t("guide.picture.value", { what: t(name), value })
    : t(ACTS[end] ?? "guide.picture.tap", { what: t(name) });
  return title ? t("guide.picture.screen", { screen: t(title), act }) : act;
}

/** look: "ios", "samsung" or "pixel". picture: { title?, rows?, buttons? } with names of words, or { isCamera }. */
export function screenPicture(look, picture) {
  const { title, rows, buttons, isCamera } = picture;
  return h(
    "figure",
    { class: `screen ${look}`, role: "img", "aria-label": describe(picture) },
    h("i", { class: "lens" }),
    title && h("div", { class: buttons ? "sys-ask" : "sys-title" }, t(title)),
    rows && h("div", { class: "sys-rows" }, rows.map(drawRow)),
    buttons && h("div", { class: "sys-btns" }, buttons.map(drawButton)),
    isCamera && camera(),
  );
}
