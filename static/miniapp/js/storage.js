/** Small things that are remembered for a customer on this device. Nothing secret, nothing that the shop depends on. */

/** What is known under a key; null for nothing, also where storage is denied. */
export function readHere(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

export const read = async (key) => readHere(key);

export function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Denied or full: forgotten with the page.
  }
}
