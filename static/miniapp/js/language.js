/** The language that the customer chose: the server knows it, and early.js reads what is remembered of it here. */

import { readHere, write } from "./storage.js";
import { language } from "./texts.js";

const KEY = "language";

/** chosen: "ru", "en" or null for Telegram's; spoken: what follows from it. The address keeps where the customer is. */
export function speak({ chosen, spoken }) {
  write(KEY, chosen);
  if (spoken !== language) location.reload();
}

/** The server speaks another language than this page: it was chosen on another device. From the next start on, so does
 * the page: not at once, since something may be being paid for. */
export function noteSpoken(tag) {
  if (tag && tag !== language && tag !== readHere(KEY)) write(KEY, tag);
}
