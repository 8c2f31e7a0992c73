/** The customer's own orders, newest first: what was bought, when, for how many Stars, and what became of it. */

import * as api from "./api.js";
import { banner, button, empty, flag, linkRow, price } from "./components.js";
import { h, replace, slot, view } from "./dom.js";
import { explain, showErrorPage } from "./errors.js";
import { go, linkTo } from "./router.js";
import { mainButton } from "./telegram.js";
import { date, has, planName, t } from "./texts.js";

function statusWord(order) {
  const key = `orders.${order.status}`;
  return has(key) ? t(key) : order.message;
}

const orderRow = (order) =>
  h(
    "li",
    {},
    linkRow({
      href: linkTo({ order: order.order_id }),
      "data-order": order.order_id,
      "data-status": order.status,
      lead: flag(order.plan.area),
      title: planName(order.plan),
      note: `${statusWord(order)} · ${date(order.created_at)}`,
      end: h("span", { class: "ink" }, price(order.amount_stars)),
    }),
  );

function showEmpty(root) {
  root.replaceChildren(
    empty({ name: "no_orders", iconName: "sim", title: t("orders.empty.title"), text: t("orders.empty.text") }),
  );
  mainButton.show({ text: t("orders.choose"), onPress: () => go({}) });
}

export function openOrders() {
  const root = view("orders");
  const list = h("ul", { class: "card rows-flag" });
  let page = 1;
  const showTrouble = (error) => {
    const words = explain(error);
    if (page === 1 || words.step !== "retry") {
      showErrorPage(root, error);
      return;
    }
    const again = button({ text: t("error.retry"), onPress: load });
    replace(slot(root, "more"), banner({ ...words, actions: [again] }));
  };
  const load = async () => {
    try {
      const answer = await api.orders(page);
      if (!root.isConnected) return;
      if (answer.count === 0) {
        showEmpty(root);
        return;
      }
      list.append(...answer.results.map(orderRow));
      if (page === 1) replace(slot(root, "orders"), list);
      page += 1;
      const more = button({ text: t("orders.more"), look: "quiet", onPress: load });
      replace(slot(root, "more"), answer.next ? more : null);
    } catch (error) {
      if (root.isConnected) showTrouble(error);
    }
  };
  return { root, loaded: load() };
}
