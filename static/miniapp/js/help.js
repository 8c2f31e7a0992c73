/** Questions and answers with a search, the way to a person, and the order that it may be about. */

import * as api from "./api.js";
import { chevron, empty, flag } from "./components.js";
import { h, replace, slot, view } from "./dom.js";
import { showErrorPage } from "./errors.js";
import { fromMarkup } from "./markup.js";
import { askSupport } from "./support.js";
import { isInside } from "./telegram.js";
import { date, planName, t } from "./texts.js";

const ORDERS_SHOWN = 3;
const PATIENCE_MS = 2000;

const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

function disclosure({ question, answer_html }) {
  const answer = fromMarkup(answer_html);
  const node = h(
    "details",
    { class: "card" },
    h("summary", { class: "row" }, h("span", { class: "body" }, question), h("span", { class: "end" }, chevron())),
    h("div", { class: "inside prose" }, answer),
  );
  return { node, words: fold(node.textContent) };
}

function showQuestions(root, { sections }) {
  const shown = sections.map(({ title, questions }) => {
    const entries = questions.map(disclosure);
    const list = entries.map(({ node }) => node);
    return { entries, node: h("section", { class: "section" }, h("h2", {}, title), list) };
  });
  replace(slot(root, "questions"), shown.map(({ node }) => node));
  listenForSearch(root, shown);
}

function listenForSearch(root, shown) {
  const [query, clear, nothing] = ["words", "clear", "nothing"].map((name) => slot(root, name));
  const search = () => {
    const words = fold(query.value).split(/\s+/).filter(Boolean);
    let found = 0;
    for (const { entries, node } of shown) {
      for (const entry of entries) entry.node.hidden = !words.every((word) => entry.words.includes(word));
      const here = entries.filter((entry) => !entry.node.hidden).length;
      node.hidden = here === 0;
      found += here;
    }
    clear.hidden = query.value === "";
    replace(slot(root, "found"), words.length > 0 ? t("find.found", { n: found }) : "");
    replace(
      nothing,
      found === 0 &&
        empty({
          name: "no_answer",
          iconName: "search",
          heading: "h2",
          title: t("help.nothing.title", { query: query.value.trim() }),
          text: t("help.nothing.text"),
        }),
    );
  };
  query.addEventListener("input", search);
  clear.addEventListener("click", () => {
    query.value = "";
    search();
    query.focus();
  });
}

const orderRow = (order) =>
  h(
    "button",
    { type: "button", class: "row", "data-order": order.order_id, onclick: () => askSupport(order.order_id) },
    flag(order.plan.area),
    h("span", { class: "body" }, planName(order.plan), h("small", {}, date(order.created_at))),
    h("span", { class: "end" }, chevron()),
  );

/** The number of an order comes along, so that nobody has to describe it. */
function showOrders(root, { results }) {
  if (results.length === 0) return;
  slot(root, "orders").replaceChildren(...results.slice(0, ORDERS_SHOWN).map(orderRow));
  slot(root, "about-order").hidden = false;
}

export function openHelp() {
  const root = view("help");
  slot(root, "contact").addEventListener("click", () => askSupport());
  if (!isInside) slot(root, "requests").remove();
  const load = async () => {
    // What is not there in time leaves the general way to a person.
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS, null));
    const latest = isInside ? Promise.race([api.orders().catch(() => null), late]) : null;
    try {
      const [faq, orders] = await Promise.all([api.faq(), latest]);
      if (!root.isConnected) return;
      if (orders) showOrders(root, orders);
      showQuestions(root, faq);
      slot(root, "loading").remove();
      slot(root, "content").hidden = false;
    } catch (error) {
      if (root.isConnected) showErrorPage(root, error);
    }
  };
  return { root, loaded: load() };
}
