/** The server's QR picture, rebuilt from the one path it is: nothing else of it reaches the page. */

import { s } from "./dom.js";
import { t } from "./texts.js";

const QUIET_ZONE = 4;
const PIXELS = 1000;

/** markup: an SVG document of one path, a unit per module. → { size: in modules, path }, or null for anything else. */
export function readQrCode(markup) {
  const svg = new DOMParser().parseFromString(markup, "image/svg+xml").documentElement;
  const size = Number(/^0 0 (\d+) \1$/.exec(svg.getAttribute("viewBox") ?? "")?.[1]);
  const [shape, ...others] = svg.querySelectorAll("*");
  if (svg.localName !== "svg" || !size || others.length || shape?.localName !== "path") return null;
  return { size, path: shape.getAttribute("d") };
}

export const drawQrCode = ({ size, path }) =>
  s("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": t("order.qr.label") }, s("path", { d: path }));

/** A PNG with the white around it that scanners need. → File */
export async function qrPicture({ size, path }, name) {
  const scale = Math.floor(PIXELS / (size + 2 * QUIET_ZONE));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = scale * (size + 2 * QUIET_ZONE);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.scale(scale, scale);
  pen.translate(QUIET_ZONE, QUIET_ZONE);
  pen.fillStyle = "black";
  pen.fill(new Path2D(path));
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return new File([blob], name, { type: "image/png" });
}
