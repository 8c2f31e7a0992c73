/** What this device remembers of its purchases while the app is open: keys of attempts and how payment sheets ended. */

const stored = (name) => JSON.parse(sessionStorage.getItem(name) ?? "null");
const store = (name, value) => sessionStorage.setItem(name, JSON.stringify(value));

function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The Idempotency-Key of the running attempt to buy a plan at a price: a repeated tap gets the same order. */
export function attemptKey({ bundle, expectedStars }) {
  const known = stored(`attempt.${bundle}`);
  if (known?.expectedStars === expectedStars) return known.key;
  const key = randomKey();
  store(`attempt.${bundle}`, { key, expectedStars });
  return key;
}

/** The attempt is over: the next purchase of the plan is a new one. */
export const endAttempt = (bundle) => sessionStorage.removeItem(`attempt.${bundle}`);

/** How the payment sheet of an order ended: { status: "open" or openInvoice's result, at: milliseconds }, or null. */
export const sheetOf = (orderId) => stored(`sheet.${orderId}`);
export const rememberSheet = (orderId, status) => store(`sheet.${orderId}`, { status, at: Date.now() });
export const forgetSheet = (orderId) => sessionStorage.removeItem(`sheet.${orderId}`);
