/** Building the page from templates and elements. Data only ever become text nodes and attributes, never markup. */

import { fillTexts } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** h("a", { class: "row", href: "?area=FR", onclick: f }, "text", node, …) */
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for SVG elements. */
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** An icon of the sprite in templates/miniapp/icons.html. */
export const icon = (name, size = "i") =>
  s("svg", { class: size, "aria-hidden": "true" }, s("use", { href: `#icon-${name}` }));

/** A fresh copy of <template id="template-…">, with its words. */
export function view(name) {
  const root = document.getElementById(`template-${name}`).content.firstElementChild.cloneNode(true);
  fillTexts(root);
  return root;
}

/** The element with data-slot of that name. */
export const slot = (root, name) => root.querySelector(`[data-slot="${name}"]`);

export function replace(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

const PIECE = 60;
const AHEAD = "800px";
const fillings = new WeakMap();

/** Fills a list, the rest of a long one as it is scrolled to: thousands of rows keep no finger waiting. */
export function replaceInPieces(node, items, make) {
  fillings.get(node)?.disconnect();
  let shown = 0;
  const add = () => {
    node.append(...items.slice(shown, shown + PIECE).map(make));
    shown += PIECE;
    if (shown < items.length) watcher.observe(node.lastElementChild);
  };
  const watcher = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      add();
    },
    { rootMargin: AHEAD },
  );
  fillings.set(node, watcher);
  node.replaceChildren();
  add();
}
