/** A way to a person: the bot's chat, with the order number at hand. */

import { copyText } from "./clipboard.js";
import { toast } from "./components.js";
import { close, openTelegramLink } from "./telegram.js";
import { t } from "./texts.js";

/** The chat with the bot, as it is. */
export function openChat() {
  const { bot } = document.documentElement.dataset;
  if (bot) openTelegramLink(`https://t.me/${bot}`);
  else close();
}

export async function askSupport(orderId = "") {
  const bot = document.documentElement.dataset.bot;
  if (bot) {
    openTelegramLink(`https://t.me/${bot}?text=${encodeURIComponent(`/paysupport ${orderId}`.trim())}`);
    return;
  }
  if (orderId && (await copyText(orderId))) toast(t("order.support.copied"));
  setTimeout(close, 1200);
}
