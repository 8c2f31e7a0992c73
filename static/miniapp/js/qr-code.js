/** The server's QR picture, rebuilt from the few shapes it may contain: nothing else of it reaches the page. */

import { s } from "./dom.js";
import { t } from "./texts.js";

const SHAPES = {
  path: ["d", "transform"],
  rect: ["x", "y", "width", "height", "transform"],
};

const copied = (node, names) => Object.fromEntries(names.map((name) => [name, node.getAttribute(name)]));

function viewBoxOf(svg) {
  const size = (name) => Number.parseFloat(svg.getAttribute(name));
  return svg.getAttribute("viewBox") ?? `0 0 ${size("width")} ${size("height")}`;
}

/** markup: an SVG document of path and rect elements. → a safe <svg>, or null for anything else. */
export function qrCode(markup) {
  const svg = new DOMParser().parseFromString(markup, "image/svg+xml").documentElement;
  const shapes = [...svg.querySelectorAll("*")];
  if (svg.localName !== "svg" || !shapes.length || !shapes.every((shape) => shape.localName in SHAPES)) return null;
  const dark = shapes.filter((shape) => !isPaper(shape));
  return s(
    "svg",
    { viewBox: viewBoxOf(svg), role: "img", "aria-label": t("order.qr.label") },
    dark.map((shape) => s(shape.localName, copied(shape, SHAPES[shape.localName]))),
  );
}

/** The white ground some generators draw; the card behind the code is white already. */
const isPaper = (shape) => /^(white|#fff|#ffffff)$/i.test(shape.getAttribute("fill") ?? "");
