/** The customer's own orders, newest first. */

import * as api from "./api.js";
import { button, empty, flag, linkRow } from "./components.js";
import { h, replace, slot, view } from "./dom.js";
import { showErrorPage } from "./errors.js";
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
      if (root.isConnected) showErrorPage(root, error);
    }
  };
  return { root, loaded: load() };
}
