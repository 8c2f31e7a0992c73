/** Telegram's payment sheet of an order. What it reports is a hint; only the server knows what was paid. */

import { reportInvoiceClosed } from "./api.js";
import { rememberSheet } from "./attempts.js";
import { openInvoice } from "./telegram.js";

const open = new Map();

/** The running sheet of an order: a promise of its result, or undefined. */
export const runningSheet = (orderId) => open.get(orderId);

async function followSheet(orderId, link) {
  let status = "unopened";
  try {
    status = await openInvoice(link);
    reportInvoiceClosed(orderId, status).catch(() => {});
    return status;
  } catch {
    return status;
  } finally {
    rememberSheet(orderId, status);
    open.delete(orderId);
  }
}

/**
 * Opens the sheet once; a second call while it is open gets the same promise.
 * Resolves with "paid", "cancelled", "failed" or "pending", and with "unopened" where the client refused:
 * it is too old, or it believes that the sheet is open already.
 */
export function payInvoice({ orderId, link }) {
  if (open.has(orderId)) return open.get(orderId);
  rememberSheet(orderId, "open");
  const result = followSheet(orderId, link);
  open.set(orderId, result);
  return result;
}
