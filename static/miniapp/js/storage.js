/**
 * Small things that are remembered for a customer: on this device, and in Telegram's cloud where the client has it
 * (6.9), so that they are there on the next device too. Nothing secret, and nothing that the shop depends on.
 */

import { cloudStorage } from "./telegram.js";

/** Storage may be denied or full: then the page remembers as long as it is open. */
const memory = new Map();

/** What this device knows under a key, at once; null for nothing. */
export function readHere(key) {
  if (memory.has(key)) return memory.get(key);
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function writeHere(key, value) {
  memory.set(key, value);
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Remembered in memory.
  }
}

/** The value under a key as any device of the customer last wrote it; null for nothing. */
export async function read(key) {
  const value = await new Promise((resolve) => {
    if (!cloudStorage) return resolve(null);
    // A client that never answers must keep nobody waiting.
    setTimeout(resolve, 3000, null);
    cloudStorage.getItem(key, (error, text) => resolve(error ? null : text));
  });
  try {
    if (value) writeHere(key, JSON.parse(value));
  } catch {
    // Not written by us.
  }
  return readHere(key);
}

/** Forgets everything, here and in the cloud, but what Telegram's own script keeps. */
export function forgetAll() {
  memory.clear();
  for (const name of ["localStorage", "sessionStorage"]) {
    try {
      const ours = Object.keys(window[name]).filter((key) => !key.startsWith("__telegram__"));
      for (const key of ours) window[name].removeItem(key);
    } catch {
      // Denied: nothing was kept there.
    }
  }
  cloudStorage?.getKeys((error, keys) => {
    if (!error && keys.length > 0) cloudStorage.removeItems(keys);
  });
}

/** value: anything that JSON can say; null forgets it. Telegram takes at most 4096 characters. */
export function write(key, value) {
  writeHere(key, value);
  if (value === null) cloudStorage?.removeItem(key);
  else cloudStorage?.setItem(key, JSON.stringify(value));
}
