/** What the page runs on, as far as installing an eSIM goes: Telegram names the system, the browser its version. */

import { platform } from "./telegram.js";

const SYSTEMS = { ios: "ios", android: "android", android_x: "android", macos: "desktop", tdesktop: "desktop" };
const LINKS_SINCE = { ios: [17, 4], android: [10, 0] };

/** Telegram's web clients run on phones too, and say "weba" there. */
function systemOfBrowser() {
  if (/iPhone|iPad|iPod/.test(navigator.userAgent)) return "ios";
  return /Android/.test(navigator.userAgent) ? "android" : "desktop";
}

/** [major, minor], or null where the browser does not tell. */
function versionOf(system) {
  const pattern = system === "ios" ? /OS (\d+)[_.](\d+)/ : /Android (\d+)(?:\.(\d+))?/;
  const found = pattern.exec(navigator.userAgent);
  return found && [Number(found[1]), Number(found[2] ?? 0)];
}

function takesLinks(system) {
  if (system === "desktop") return false;
  const version = versionOf(system);
  const [major, minor] = LINKS_SINCE[system];
  return version === null || version[0] > major || (version[0] === major && version[1] >= minor);
}

/** "ios", "android" or "desktop" */
export const system = SYSTEMS[platform] ?? systemOfBrowser();

/** Whether an install link opens the set-up of this very phone: since iOS 17.4 and Android 10. */
export const installsByLink = takesLinks(system);

export const isSamsung = system === "android" && /samsung|\bSM-[A-Z]\d/i.test(navigator.userAgent);

function nameWithEsim() {
  if (/iPhone/.test(navigator.userAgent)) return versionOf("ios")?.[0] >= 17 ? "iPhone" : "";
  const [name, generation] = /Pixel (\d+)\w*/.exec(navigator.userAgent) ?? [];
  return generation >= 4 ? name : "";
}

/**
 * The name of this phone if it surely has an eSIM chip, else "": iOS 17 runs on no iPhone without one, and every Pixel
 * since the fourth has it.
 */
export const phoneWithEsim = nameWithEsim();
