/** The server's own written answers as elements: only what they may hold; anything else becomes its text. */

import { h } from "./dom.js";

const ALLOWED = new Set(["P", "UL", "OL", "LI", "STRONG", "EM", "CODE", "A"]);

function copy(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent;
  if (node.nodeType !== Node.ELEMENT_NODE) return [];
  const children = [...node.childNodes].map(copy);
  if (!ALLOWED.has(node.tagName)) return children;
  const link = node.tagName === "A" && /^https:/.test(node.href) && { href: node.href, target: "_blank", rel: "noopener" };
  return h(node.tagName.toLowerCase(), link || {}, children);
}

/** Nodes for h(): nothing in it can run or load. */
export const fromMarkup = (html) =>
  [...new DOMParser().parseFromString(html, "text/html").body.childNodes].map(copy);
