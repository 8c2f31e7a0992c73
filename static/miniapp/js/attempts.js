/** What this device remembers of its purchases while the app is open: keys of attempts and how payment sheets ended. */

/** Where the client forbids its frame to store anything, the page remembers by itself until it is closed. */
function openStorage() {
  try {
    sessionStorage.getItem("");
    return sessionStorage;
  } catch {
    const memory = new Map();
    return {
      getItem: (name) => memory.get(name) ?? null,
      setItem: (name, value) => memory.set(name, value),
      removeItem: (name) => memory.delete(name),
    };
  }
}

const storage = openStorage();
const stored = (name) => JSON.parse(storage.getItem(name) ?? "null");
const store = (name, value) => storage.setItem(name, JSON.stringify(value));
const forget = (name) => storage.removeItem(name);

function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const attemptName = ({ bundle, iccid }) => `attempt.${[bundle, iccid].filter(Boolean).join(".")}`;

/**
 * The Idempotency-Key of the running attempt to buy a plan at a price: a repeated tap gets the same order.
 * iccid: the eSIM that it tops up, or null. → { key, isRepeated: whether an earlier tap used it }
 */
export function attemptKey({ bundle, iccid, expectedStars }) {
  const name = attemptName({ bundle, iccid });
  const known = stored(name);
  if (known?.expectedStars === expectedStars) return { key: known.key, isRepeated: true };
  const key = randomKey();
  store(name, { key, expectedStars });
  return { key, isRepeated: false };
}

/** The attempt is over: the next purchase of the plan is a new one. */
export const endAttempt = (attempt) => forget(attemptName(attempt));

/** How the payment sheet of an order ended: { status: "open" or openInvoice's result, at: milliseconds }, or null. */
export const sheetOf = (orderId) => stored(`sheet.${orderId}`);
export const rememberSheet = (orderId, status) => store(`sheet.${orderId}`, { status, at: Date.now() });

/** Whether the order was begun elsewhere: in another window, or before the app was closed. */
export const isJoined = (orderId) => stored(`joined.${orderId}`) === true;
export const rememberJoined = (orderId) => store(`joined.${orderId}`, true);

/** The order needs no payment any more. */
export function forgetPaying(orderId) {
  forget(`sheet.${orderId}`);
  forget(`joined.${orderId}`);
}
