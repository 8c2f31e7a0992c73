/** Deleting one's data, in two steps: what goes and what stays, then the question; at the end a goodbye. */

import * as api from "./api.js";
import { banner, button, empty, noteRow } from "./components.js";
import { h, icon, replace, slot, view } from "./dom.js";
import { explain, showErrorPage } from "./errors.js";
import { back, go } from "./router.js";
import { forgetAll } from "./storage.js";
import { close, isInside, mainButton, vibrate } from "./telegram.js";
import { t } from "./texts.js";

const GOES = ["name", "requests", "codes", "choices"];
const STAYS = ["installed", "books", "chat"];

const list = (title, names, iconName) =>
  h(
    "section",
    { class: "section" },
    h("h2", {}, title),
    h(
      "div",
      { class: "card rows-icon" },
      names.map((name) =>
        noteRow({ lead: icon(iconName), title: t(`deletion.${name}`), note: t(`deletion.${name}.note`) }),
      ),
    ),
  );

function showFacts(root) {
  replace(slot(root, "lead"), t("deletion.lead"));
  replace(
    slot(root, "body"),
    list(t("deletion.goes"), GOES, "close"),
    list(t("deletion.stays"), STAYS, "check"),
  );
  mainButton.show({ text: t("deletion.next"), onPress: () => showQuestion(root) });
}

function showQuestion(root) {
  mainButton.hide();
  replace(slot(root, "title"), t("deletion.sure.title"));
  replace(slot(root, "lead"), t("deletion.sure.text"));
  const keep = button({ text: t("deletion.keep"), look: "quiet", onPress: back });
  const erase = button({ text: t("deletion.erase"), look: "danger", onPress: () => eraseAll(root, [erase, keep]) });
  replace(slot(root, "body"), h("div", { class: "btn-row" }, erase, keep));
  window.scrollTo(0, 0);
  slot(root, "title").focus({ preventScroll: true });
}

async function eraseAll(root, buttons) {
  for (const each of buttons) each.disabled = true;
  root.setAttribute("aria-busy", "true");
  try {
    await api.deleteCustomer();
  } catch (error) {
    if (root.isConnected) showRefusal(root, error);
    return;
  } finally {
    root.removeAttribute("aria-busy");
    for (const each of buttons) each.disabled = false;
  }
  forgetAll();
  vibrate("success");
  if (root.isConnected) showGoodbye(root);
}

function showRefusal(root, error) {
  const { name, ...words } = explain(error);
  if (name === "init_data_stale" || name === "init_data_invalid") {
    showErrorPage(root, error);
    return;
  }
  const orders = button({ text: t("error.orders"), onPress: () => go({ view: "orders" }) });
  const actions = name === "still_on_the_way" ? [orders] : [];
  // It may have been done all the same.
  const unsure = api.isUnreachable(error) && { title: t("deletion.unsure.title"), text: t("deletion.unsure.text") };
  replace(slot(root, "banner"), banner({ name, ...words, ...unsure, actions }));
}

function showGoodbye(root) {
  root.replaceChildren(
    empty({ name: "deleted", iconName: "check", title: t("deletion.done.title"), text: t("deletion.done.text") }),
  );
  root.querySelector("h1").focus({ preventScroll: true });
  if (isInside) mainButton.show({ text: t("deletion.close"), onPress: close });
  else mainButton.show({ text: t("deletion.start"), onPress: () => go({}, { replace: true }) });
}

export function openDeletion() {
  const root = view("deletion");
  showFacts(root);
  return { root };
}
