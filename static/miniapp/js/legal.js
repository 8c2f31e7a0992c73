/** Terms of sale and privacy policy: the server's words, the same that the bot sends. */

import * as api from "./api.js";
import { h, replace, slot, view } from "./dom.js";
import { showErrorPage } from "./errors.js";

const section = ({ title, text }) =>
  h("section", { class: "section" }, h("h2", {}, title), h("div", { class: "card pad" }, h("p", {}, text)));

/** name: "terms" or "privacy". */
export function openLegal(name) {
  const root = view("legal");
  const load = async () => {
    try {
      const { title, sections } = await api.legalText(name);
      if (!root.isConnected) return;
      replace(slot(root, "title"), title);
      replace(slot(root, "sections"), sections.map(section));
      root.removeAttribute("aria-busy");
    } catch (error) {
      if (root.isConnected) showErrorPage(root, error);
    }
  };
  return { root, loaded: load() };
}
