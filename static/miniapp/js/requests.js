/** What the customer asked support about, with the whole conversation. It is answered in the chat with the bot. */

import * as api from "./api.js";
import { button, chevron, empty } from "./components.js";
import { h, replace, slot, view } from "./dom.js";
import { showErrorPage } from "./errors.js";
import { linkTo } from "./router.js";
import { askSupport, openChat } from "./support.js";
import { onReturn } from "./telegram.js";
import { date, t, tie } from "./texts.js";

const line = ({ author, text, at }) =>
  h(
    "li",
    { class: `line ${author}` },
    h("small", {}, `${t(`requests.${author}`)}, `, h("time", { datetime: at }, date(at))),
    h("p", {}, text),
  );

function request(each, isOpen) {
  const isOver = each.status === "closed";
  const status = t(`requests.status.${each.status}`);
  const order =
    each.order_id && h("a", { class: "btn quiet", href: linkTo({ order: each.order_id }) }, t("requests.order"));
  const answer = isOver
    ? button({ text: t("requests.again"), onPress: () => askSupport(each.order_id ?? "") })
    : button({ text: t("requests.answer"), onPress: openChat });
  return h(
    "details",
    { class: "card request", "data-case": each.case_id, "data-status": each.status, open: isOpen },
    h(
      "summary",
      { class: "row tall" },
      h(
        "span",
        { class: "body" },
        tie(each.title),
        h("small", {}, t("requests.number", { number: String(each.case_id), status, date: date(each.updated_at) })),
      ),
      chevron(),
    ),
    h("div", { class: "inside" }, h("ol", { class: "talk" }, each.messages.map(line)), h("div", { class: "btn-row" }, answer, order)),
  );
}

const showEmpty = (root) =>
  root.replaceChildren(
    empty({
      name: "no_requests",
      iconName: "chat",
      title: t("requests.empty.title"),
      text: t("requests.empty.text"),
      actions: [button({ text: t("requests.ask"), onPress: () => askSupport() })],
    }),
  );

export function openRequests() {
  const root = view("requests");
  const list = h("div", { class: "section" });
  let page = 1;
  const add = ({ count, results, next }) => {
    if (count === 0) return showEmpty(root);
    const known = new Map([...list.children].map((node) => [node.dataset.case, node.open]));
    if (page === 1) list.replaceChildren();
    const running = results.find((each) => each.status !== "closed");
    list.append(
      ...results.map((each) => request(each, known.get(String(each.case_id)) ?? (page === 1 && each === running))),
    );
    replace(slot(root, "list"), list);
    const more = button({ text: t("orders.more"), look: "quiet", onPress: () => load(page + 1) });
    return replace(slot(root, "more"), next ? more : null);
  };
  const load = async (number) => {
    try {
      const answer = await api.cases(number);
      page = number;
      if (root.isConnected) add(answer);
    } catch (error) {
      if (root.isConnected) showErrorPage(root, error);
    }
  };
  // An answer may have come to the chat meanwhile.
  const stop = onReturn(() => list.isConnected && refresh());
  const refresh = async () => {
    const answer = await api.cases(1).catch(() => null);
    if (!answer || !list.isConnected) return;
    page = 1;
    add(answer);
  };
  return { root, loaded: load(1), close: stop };
}
