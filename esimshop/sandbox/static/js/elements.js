// Making page elements from plain data; text is never read as markup.

export const find = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Words with their stars drawn: not every machine has a font with that sign.
export function withStars(words) {
  return words.split(/(⭐️?)/).map((part) => (part.startsWith("⭐") ? element("img", { className: "star", src: "/static/star.svg", alt: "⭐" }) : part));
}

const CLOSE = "m6 6 12 12M18 6 6 18";

export function closeIcon() {
  const namespace = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(namespace, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", CLOSE);
  icon.append(path);
  return icon;
}

let hiding;

export function toast(message) {
  const node = find("toast");
  node.replaceChildren(...withStars(message));
  node.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (node.hidden = true), 3500);
}
