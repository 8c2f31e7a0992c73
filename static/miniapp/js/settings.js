/** Language, messages in the chat, currency of the about-prices, rules, and the way to delete one's data. */

import * as api from "./api.js";
import { banner, button, segments, switchRow, toast } from "./components.js";
import { chooseCurrency, chosenCurrency, currencies } from "./currency.js";
import { h, replace, slot, view } from "./dom.js";
import { explain } from "./errors.js";
import { speak } from "./language.js";
import { readHere } from "./storage.js";
import { isInside } from "./telegram.js";
import { currencyName, language, t } from "./texts.js";

const CHOICES = [null, "ru", "en"];
const section = (title, ...content) => h("section", { class: "section" }, h("h2", {}, title), content);

/** chosen: null for Telegram's language. choose: async (chosen) → the language that is spoken from now on. */
function languageSection(chosen, choose) {
  let last = CHOICES.indexOf(chosen);
  const place = h("div");
  const show = () => {
    const options = CHOICES.map((choice, i) => ({
      text: choice === null ? t("settings.language.telegram") : t(`settings.language.${choice}`),
      onPress: async () => {
        if (i === last) return;
        try {
          const spoken = await choose(choice);
          last = i;
          speak({ chosen: choice, spoken });
        } catch (error) {
          toast(explain(error).title);
          show();
        }
      },
    }));
    replace(place, segments({ label: t("settings.language"), options, pressed: last }));
  };
  show();
  return section(t("settings.language"), place, h("p", { class: "note" }, t("settings.language.note")));
}

function noticesSection(customer) {
  const row = switchRow({
    title: t("settings.notices.usage"),
    note: t("settings.notices.usage.note"),
    isOn: customer.usage_notices,
    onSwitch: async (isOn) => {
      try {
        await api.changeCustomer({ usage_notices: isOn });
      } catch (error) {
        toast(explain(error).title);
        throw error;
      }
    },
  });
  return section(
    t("settings.notices"),
    h("div", { class: "card" }, row),
    h("p", { class: "note" }, t("settings.notices.always")),
  );
}

/** What the shop knows of the customer; a failure leaves the rest of the page as it is. */
async function showOwn(root) {
  try {
    const customer = await api.customer();
    const choose = async (chosen) => (await api.changeCustomer({ chosen_language: chosen })).language;
    replace(slot(root, "own"), languageSection(customer.chosen_language, choose), noticesSection(customer));
  } catch (error) {
    const { name, iconName, tone, title, text } = explain(error);
    const again = () => root.isConnected && showOwn(root);
    const retry = button({ text: t("error.retry"), onPress: again });
    window.addEventListener("online", again, { once: true });
    replace(slot(root, "own"), banner({ name, iconName, tone, title, text, actions: [retry] }));
  }
}

/** Currency in which prices are told beside the Stars; without rates there is nothing to choose. */
async function showCurrency(root) {
  try {
    const [all, chosen] = await Promise.all([currencies(), chosenCurrency()]);
    const options = all
      .map(({ code }) => ({ code, name: currencyName(code) }))
      .sort((a, b) => a.name.localeCompare(b.name, language))
      .map(({ code, name }) => h("option", { value: code, selected: code === chosen }, `${code}, ${name}`));
    const choice = slot(root, "currency");
    choice.replaceChildren(...options);
    if (!all.some(({ code }) => code === chosen)) choice.value = "USD";
    choice.addEventListener("change", () => chooseCurrency(choice.value));
    choice.disabled = false;
  } catch {
    slot(root, "money").hidden = true;
  }
}

/** Outside of Telegram nobody is known: only this browser remembers the language. */
function showForStranger(root) {
  const browser = navigator.language.toLowerCase().startsWith("ru") ? "ru" : "en";
  replace(slot(root, "own"), languageSection(readHere("language"), async (chosen) => chosen ?? browser));
  slot(root, "deletion").remove();
}

export function openSettings() {
  const root = view("settings");
  const own = isInside ? showOwn(root) : showForStranger(root);
  return { root, loaded: Promise.all([own, showCurrency(root)]) };
}
