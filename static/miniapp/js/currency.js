/** Whose money stands beside a price in Stars. Only Stars are charged: the rates are rough, and dollars always do. */

import { readCurrencies } from "./api.js";
import { read, readHere, write } from "./storage.js";
import { userLanguage } from "./telegram.js";
import { setMoney } from "./texts.js";

const KEY = "currency";
const PATIENCE = 1500; // milliseconds that prices wait for the rates

/** Currency → where it is spent. A country that is missing, or whose currency has no rate, gets dollars. */
const SPENT_IN = {
  AED: "AE", AMD: "AM", AUD: "AU", AZN: "AZ", BRL: "BR", BYN: "BY", CAD: "CA", CHF: "CH LI", CNY: "CN", CZK: "CZ",
  EUR: "AD AT BE BG CY DE EE ES FI FR GR HR IE IT LT LU LV MC ME MT NL PT SI SK SM XK", GBP: "GB", GEL: "GE", ILS: "IL",
  INR: "IN", JPY: "JP", KGS: "KG", KRW: "KR", KZT: "KZ", MDL: "MD", PLN: "PL", RSD: "RS", RUB: "RU", SEK: "SE", THB: "TH",
  TRY: "TR", UAH: "UA", UZS: "UZ",
};

/** "ru" → Russia, "ru-KZ" → Kazakhstan; null for what is no language or an old webview. */
function localeOf(tag) {
  try {
    return new Intl.Locale(tag).maximize();
  } catch {
    return null;
  }
}

/** Telegram knows the language and seldom the country; the webview's says the country where it is the same one. */
function currencyOfHome() {
  const telegram = localeOf(userLanguage);
  const webview = localeOf(navigator.language);
  const home = telegram && telegram.language !== webview?.language ? telegram : webview;
  const found = Object.entries(SPENT_IN).find(([, countries]) => countries.split(" ").includes(home?.region));
  return found?.[0] ?? "USD";
}

let known = null;

/** [{ code, perUsd }], the dollar among them; read once per visit, again after a failure. */
export function currencies() {
  known ??= readCurrencies()
    .then(({ results }) => results.map(({ code, per_usd }) => ({ code, perUsd: Number(per_usd) })))
    .catch((error) => {
      known = null;
      throw error;
    });
  return known;
}

/** Code of the currency that the customer chose in the settings, or else of where they seem to be at home. */
export async function chosenCurrency() {
  return readHere(KEY) ?? (await read(KEY)) ?? currencyOfHome();
}

/** code: one of currencies(). Resolves when prices are told in it. */
export function chooseCurrency(code) {
  write(KEY, code);
  money = null;
  return moneyKnown();
}

let money = null;

async function tellInChosen() {
  try {
    const [all, code] = await Promise.all([currencies(), chosenCurrency()]);
    setMoney(all.find((each) => each.code === code));
  } catch {
    money = null; // dollars for now; the next view tries again
  }
}

/** Resolves when aboutPrice tells prices in the customer's money, or when it is not worth waiting for any longer. */
export function moneyKnown() {
  money ??= tellInChosen();
  return Promise.race([money, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
}
