/**
 * An eSIM to install: the link for this phone, the QR code for another one with ways to keep it, the codes to type.
 *
 * Telegram's clients let a Mini App download nothing that it made itself, and a public address of the picture would be
 * a secret in a URL. So the picture goes to the system's share sheet where there is one, which saves it too, and from the
 * bot to the chat everywhere, where it can be saved and passed on.
 */

import * as api from "./api.js";
import { copyText } from "./clipboard.js";
import { copyable, linkRow, toast } from "./components.js";
import { installsByLink, system } from "./device.js";
import { h, icon } from "./dom.js";
import { explain } from "./errors.js";
import { drawQrCode, qrPicture, readQrCode } from "./qr-code.js";
import { linkTo } from "./router.js";
import { canAskForMessages, openLink, requestWriteAccess } from "./telegram.js";
import { t } from "./texts.js";

const LINKS = { ios: "apple_install_url", android: "android_install_url" };
const canShareFiles =
  navigator.canShare?.({ files: [new File(["-"], "esim.png", { type: "image/png" })] }) ?? false;

/** The install button of the phone the app runs on, or null where there is none to press. → { text, onPress } */
export function installHere(esim) {
  if (!installsByLink || esim.installed) return null;
  return { text: t(`order.install.${system}`), onPress: () => openLink(esim[LINKS[system]]) };
}

/** label: the whole of what the short text means, for a screen reader. */
const actionButton = ({ name, iconName, text, label = text, onPress }) =>
  h(
    "button",
    { type: "button", class: "btn", "data-action": name, "aria-label": label, onclick: onPress },
    icon(iconName, "i i-s"),
    text,
  );

function shareButton(code, esim) {
  // Made beforehand: a share sheet opens only right after a tap.
  const picture = qrPicture(code, `esim-${esim.iccid.slice(-4)}.png`);
  const share = async () => {
    try {
      await navigator.share({ files: [await picture] });
    } catch (error) {
      if (error.name !== "AbortError") toast(t("order.share.failed"));
    }
  };
  return actionButton({ name: "share", iconName: "share", text: t("order.share"), label: t("order.share.label"), onPress: share });
}

/** What whoever has the phone needs, as a message; codes stay out of t(), which changes hyphens and spaces. */
const asText = (esim) =>
  [
    t("order.copy_all.text"),
    `iPhone: ${esim.apple_install_url}`,
    `Android: ${esim.android_install_url}`,
    "",
    t("order.manual"),
    `${t("order.code.smdp_address")}: ${esim.smdp_address}`,
    `${t("order.code.matching_id")}: ${esim.matching_id}`,
  ].join("\n");

function copyAllButton(esim) {
  const copy = async () => {
    if (await copyText(asText(esim))) toast(t("order.copy_all.done"));
  };
  return actionButton({ name: "copy_all", iconName: "copy", text: t("order.copy_all"), label: t("order.copy_all.label"), onPress: copy });
}

function sendButton(orderId) {
  const send = async ({ currentTarget: button }) => {
    button.disabled = true;
    try {
      if (canAskForMessages && !(await requestWriteAccess())) return;
      await api.sendEsimMessage(orderId);
      toast(t("order.send.done"));
    } catch (error) {
      toast(explain(error).title);
    } finally {
      button.disabled = false;
    }
  };
  return actionButton({ name: "send", iconName: "chat", text: t("order.send"), label: t("order.send.label"), onPress: send });
}

/** esim of the order orderId, whose message the bot may send again. */
export function qrSection({ esim, orderId }) {
  const code = readQrCode(esim.qr_svg);
  const ways = [code && canShareFiles ? shareButton(code, esim) : copyAllButton(esim), sendButton(orderId)];
  return h(
    "section",
    { class: "section" },
    h("h2", {}, system === "desktop" ? t("order.qr.title") : t("order.qr.other")),
    h(
      "div",
      { class: "card pad" },
      code ? h("div", { class: "qr" }, drawQrCode(code)) : h("p", {}, t("order.qr.missing")),
      h("div", { class: "btn-row" }, ways),
    ),
    h("p", { class: "note" }, t("order.qr.note")),
  );
}

export const codeRows = (esim) => [
  codeOf(esim, "smdp_address"),
  codeOf(esim, "matching_id"),
  codeOf(esim, "activation_code"),
  codeOf(esim, "iccid"),
];

export const codesSection = (esim) =>
  h(
    "section",
    { class: "section" },
    h("h2", {}, t("order.manual")),
    h("div", { class: "card" }, codeRows(esim)),
    h("p", { class: "note" }, t("order.manual.note")),
  );

/** One value of an eSIM with its name and a button that copies it. code: the field's name. */
export const codeOf = (esim, code) => copyable({ name: t(`order.code.${code}`), value: esim[code], code });

/** The way to the guide that installs the eSIM of this order. */
export const guideRow = (orderId) =>
  linkRow({
    href: linkTo({ guide: orderId }),
    lead: icon("help"),
    title: t("order.guide"),
    note: t("order.guide.note"),
    "data-link": "guide",
  });
