/** A delivered eSIM: install links, QR code, codes to type, data left. */

import { chevron, copyable, factRow } from "./components.js";
import { h, icon } from "./dom.js";
import { qrCode } from "./qr-code.js";
import { openLink, platform } from "./telegram.js";
import { dataSize, date, t } from "./texts.js";

const HERE = { ios: "apple_install_url", android: "android_install_url", android_x: "android_install_url" };

/** The install button of the phone the app runs on, or null on a desktop. → { text, onPress } */
export function installHere(esim) {
  const url = esim[HERE[platform]];
  if (!url) return null;
  const text = platform === "ios" ? t("order.install.ios") : t("order.install.android");
  return { text, onPress: () => openLink(url) };
}

function installElsewhere(esim) {
  const row = (name, url, title) =>
    url &&
    url !== esim[HERE[platform]] &&
    h(
      "button",
      { type: "button", class: "row", "data-install": name, onclick: () => openLink(url) },
      icon("phone"),
      h("span", { class: "body" }, title),
      h("span", { class: "end" }, chevron()),
    );
  const rows = [
    row("ios", esim.apple_install_url, t("order.install.other_ios")),
    row("android", esim.android_install_url, t("order.install.other_android")),
  ].filter(Boolean);
  return rows.length ? h("section", { class: "section" }, h("div", { class: "card rows-icon" }, rows)) : null;
}

function usageFacts({ usage }) {
  if (!usage) return null;
  const left =
    usage.unlimited || usage.remaining_mb === null
      ? t("size.unlimited")
      : t("order.usage.value", { left: dataSize(usage.remaining_mb), all: dataSize(usage.initial_mb) });
  const facts = [
    factRow({ name: t("order.usage"), value: left }),
    usage.ends_at && factRow({ name: t("order.usage.until"), value: date(usage.ends_at) }),
  ];
  return h("section", { class: "card", "data-usage": usage.state ?? "" }, facts);
}

function qrSection(esim) {
  const picture = qrCode(esim.qr_svg);
  return h(
    "section",
    { class: "section" },
    h("h2", {}, t("order.qr.title")),
    h("div", { class: "card pad" }, picture ? h("div", { class: "qr" }, picture) : h("p", {}, t("order.qr.missing"))),
    h("p", { class: "note" }, t("order.qr.note")),
  );
}

const codesSection = (esim) =>
  h(
    "section",
    { class: "section" },
    h("h2", {}, t("order.manual")),
    h(
      "div",
      { class: "card" },
      copyable({ name: t("order.smdp"), value: esim.smdp_address, code: "smdp_address" }),
      copyable({ name: t("order.matching"), value: esim.matching_id, code: "matching_id" }),
      copyable({ name: t("order.lpa"), value: esim.activation_code, code: "activation_code" }),
      copyable({ name: t("order.iccid"), value: esim.iccid, code: "iccid" }),
    ),
  );

export const esimSections = (esim) => [usageFacts(esim), qrSection(esim), codesSection(esim), installElsewhere(esim)];
