/** Telegram's theme is arbitrary: every text must still read on its ground (contrast 4.5:1). */

import { colorScheme, mainButton, onThemeChange } from "./telegram.js";

const LEAST_CONTRAST = 4.5;
const STEP = 0.04;
const root = document.documentElement;

/** [role that may be shifted, the colours it meets]. A fill is shifted under its text, a text on its grounds. */
const PAIRS = [
  ["--text", ["--page", "--surface"]],
  ["--text-2", ["--page", "--surface"]],
  ["--accent", ["--page", "--surface", "--accent-tint"]],
  ["--danger", ["--surface", "--danger-tint"]],
  ["--good", ["--surface", "--good-tint"]],
  ["--warn", ["--surface", "--warn-tint"]],
  ["--accent-fill", ["--on-accent"]],
];

/** "rgb(1, 2, 3)" and "color(srgb 0.1 0.2 0.3)", as browsers write a computed colour, to three shares of 1. */
function channels(color) {
  const values = color.match(/-?[\d.]+(e-?\d+)?/g).slice(0, 3).map(Number);
  return color.startsWith("color(") ? values : values.map((value) => value / 255);
}

function luminance(color) {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const [red, green, blue] = color.map(linear);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

const mixed = (color, towards, share) => color.map((value, i) => value * (1 - share) + towards[i] * share);
const hex = (color) =>
  `#${color.map((value) => Math.round(Math.min(1, Math.max(0, value)) * 255).toString(16).padStart(2, "0")).join("")}`;

/** The nearest mix with black or white that reads on every ground; the last one tried where none does. */
function readable(color, grounds) {
  const brightest = Math.max(...grounds.map(luminance));
  const towards = brightest > 0.18 ? [0, 0, 0] : [1, 1, 1];
  let result = color;
  for (let share = 0; share <= 1; share += STEP) {
    result = mixed(color, towards, share);
    if (grounds.every((ground) => contrast(result, ground) >= LEAST_CONTRAST)) break;
  }
  return result;
}

function applyTheme() {
  root.dataset.theme = colorScheme();
  for (const [role] of PAIRS) root.style.removeProperty(role);
  const probe = document.body.appendChild(document.createElement("i"));
  probe.hidden = true;
  const computed = (role) => {
    probe.style.color = `var(${role})`;
    return channels(getComputedStyle(probe).color);
  };
  for (const [role, grounds] of PAIRS) {
    const color = computed(role);
    const fixed = readable(color, grounds.map(computed));
    if (fixed !== color && hex(fixed) !== hex(color)) root.style.setProperty(role, hex(fixed));
  }
  mainButton.paint({
    on: [hex(computed("--accent-fill")), hex(computed("--on-accent"))],
    off: [hex(computed("--fill-press")), hex(computed("--text-2"))],
  });
  probe.remove();
}

export function followTheme() {
  applyTheme();
  onThemeChange(applyTheme);
}

/** Windows draws flags as two letters: then the page shows its own two letters, see .no-flags. */
export function markMissingFlags() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 24;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.font = "20px sans-serif";
  pen.textBaseline = "top";
  pen.fillText("\u{1F1F9}\u{1F1F7}", 0, 0);
  const pixels = pen.getImageData(0, 0, 24, 24).data;
  const colourful = pixels.some((_, i) => i % 4 === 0 && Math.abs(pixels[i] - pixels[i + 1]) > 40);
  root.classList.toggle("no-flags", !colourful);
  if (colourful) return;
  for (const flag of document.querySelectorAll(".flag[data-code]")) flag.textContent = flag.dataset.code;
}
