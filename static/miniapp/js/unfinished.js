/** On the start page: the order that was begun and neither paid nor delivered yet, so that it is found again. */

import { ordersIn, serverNow } from "./api.js";
import { flag, linkRow } from "./components.js";
import { h, replace } from "./dom.js";
import { linkTo } from "./router.js";
import { write } from "./storage.js";
import { planName, t, time } from "./texts.js";

const PREPARING = ["paid", "provisioning"];

const isPayable = ({ invoice }) => invoice !== null && Date.parse(invoice.expires_at) > serverNow();

function words(order) {
  if (PREPARING.includes(order.status)) {
    const title = t(order.top_up_iccid ? "order.preparing.title.top_up" : "order.preparing.title");
    return { title, note: planName(order.plan) };
  }
  const until = t("unfinished.until", { n: order.amount_stars, time: time(order.invoice.expires_at) });
  return { title: t("unfinished.unpaid"), note: `${planName(order.plan)} · ${until}` };
}

const row = (order) =>
  h(
    "div",
    { class: "card rows-flag" },
    linkRow({
      href: linkTo({ order: order.order_id }),
      "data-unfinished": order.status,
      lead: flag(order.plan.area),
      ...words(order),
    }),
  );

/** Whether the next start page has to keep room for one, see early.js. */
export function rememberUnfinished(is) {
  document.documentElement.classList.toggle("has-unfinished", is);
  write("unfinished", is || null);
}

/** Fills frame with a way back to the newest such order. Rejects where nobody can tell; then the frame stays as it is. */
export async function showUnfinished(frame) {
  const orders = await ordersIn(["awaiting_payment", ...PREPARING]);
  const [newest] = orders.filter((order) => order.status !== "awaiting_payment" || isPayable(order));
  replace(frame, newest ? row(newest) : null);
  rememberUnfinished(Boolean(newest));
}
