/** All words, numbers and dates of the page in the customer's language. */

const USD_PER_STAR = 0.02; // what app stores charge a customer, not what the shop receives

/** Chosen before the first paint, see early.js. */
export const language = document.documentElement.dataset.language;

const NBSP = "\u00a0";
const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const plurals = new Intl.PluralRules(language);
const DAY_TIME = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const clock = new Intl.DateTimeFormat(language, DAY_TIME);
const days = new Intl.DateTimeFormat(language, { day: "numeric", month: "long", ...DAY_TIME });
const percents = new Intl.NumberFormat(language, { style: "percent" });
const regions = Intl.DisplayNames ? new Intl.DisplayNames([language], { type: "region" }) : null;
const moneys = Intl.DisplayNames ? new Intl.DisplayNames([language], { type: "currency" }) : null;

let words = {};

/** The server's page in the customer's language: this one, or else another one whose start page takes its place. */
async function pageInLanguage() {
  if (document.documentElement.lang === language) return document;
  const ask = () => fetch(location.pathname, { headers: { "Accept-Language": language }, credentials: "omit" });
  const content = (await window.translatedPage) ?? (await (await ask()).text());
  const page = new DOMParser().parseFromString(content, "text/html");
  for (const id of ["view-find", "unread"]) document.getElementById(id).replaceWith(page.getElementById(id));
  document.documentElement.lang = page.documentElement.lang;
  return page;
}

/** Throws where a page in the customer's language cannot be read. */
export async function loadTexts() {
  words = JSON.parse((await pageInLanguage()).getElementById("texts").textContent);
}

/** A day and its month stay together, whichever comes first. */
const tieDay = (text) => text.replace(" ", NBSP);

/** Keeps a number and what it counts on one line. In the words themselves the server has done so. */
export const tie = (text) => text.replace(/(\d) (?=\p{L})/gu, `$1${NBSP}`);

/** The words under a key. A number `n` among the values picks the plural form. */
export function t(key, values = {}) {
  const entry = words[key];
  const text = typeof entry === "object" ? (entry[plurals.select(values.n)] ?? entry.other) : entry;
  if (text === undefined) throw new Error(`no text for ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : value;
  });
}

export const has = (key) => key in words;

/** Fills a cloned template: data-text (content), data-placeholder and data-label (for screen readers). */
export function fillTexts(root) {
  for (const node of root.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of root.querySelectorAll("[data-placeholder]")) node.placeholder = t(node.dataset.placeholder);
  for (const node of root.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

export const number = (value) => numbers.format(value);
export const percent = (share) => percents.format(share);

/** time: "14:32"; date: "24 November at 14:32". Both take an RFC 3339 string or milliseconds. */
export const time = (moment) => clock.format(new Date(moment));
export const date = (moment) => tieDay(days.format(new Date(moment)));

const thisYear = new Intl.DateTimeFormat(language, { day: "numeric", month: "long" });
const anyYear = new Intl.DateTimeFormat(language, { day: "numeric", month: "long", year: "numeric" });
const agoWords = new Intl.RelativeTimeFormat(language);

/** "24 November", with the year where it is another one. */
export function day(moment) {
  const then = new Date(moment);
  return tieDay((then.getFullYear() === new Date().getFullYear() ? thisYear : anyYear).format(then));
}

/** "4 minutes ago" */
export const minutesAgo = (minutes) => tie(agoWords.format(-minutes, "minute"));

/** Currencies whose sign every phone can draw and nobody takes for another's; the rest are told by their code. */
const SIGNS = new Set([
  "BRL", "CNY", "CZK", "EUR", "GBP", "ILS", "INR", "JPY", "KRW", "KZT", "PLN", "RUB", "THB", "TRY", "UAH", "USD",
]);
const DOLLAR = { code: "USD", perUsd: 1 };
let money;

/** In what money aboutPrice tells: { code, perUsd }, dollars where nothing is given. See currency.js. */
export function setMoney({ code, perUsd } = DOLLAR) {
  const currencyDisplay = SIGNS.has(code) ? "narrowSymbol" : "code";
  const format = (digits) => new Intl.NumberFormat(language, { style: "currency", currency: code, currencyDisplay, ...digits });
  money = {
    perUsd,
    small: format({ minimumSignificantDigits: 2, maximumSignificantDigits: 2 }),
    large: format({ maximumSignificantDigits: 2 }),
  };
}

setMoney();

/** About how much that many Stars cost in an app store, "$2.6" or "880 ₽": two digits, since it is no more than that. */
export function aboutPrice(stars) {
  const amount = stars * USD_PER_STAR * money.perUsd;
  return (amount < 9.95 ? money.small : money.large).format(amount);
}

/** Name of a country by its ISO code; other codes stay as they are. */
export function countryName(code) {
  if (!regions || !/^[A-Z]{2}$/.test(code)) return code;
  return regions.of(code) ?? code;
}

/** "Euro" for EUR; the code where the browser knows no names. */
export function currencyName(code) {
  const name = moneys?.of(code) ?? code;
  return name.charAt(0).toLocaleUpperCase(language) + name.slice(1);
}

/** The end of an ICCID, by which people tell their eSIMs apart. */
export const lastDigits = (iccid) => iccid.slice(-4);

/** mb: decimal megabytes, as the plans have them (1 GB = 1000 MB). */
export function dataSize(mb) {
  return mb < 1000 ? t("size.mb", { n: mb }) : t("size.gb", { n: mb / 1000 });
}

export const planSize = (plan) => (plan.unlimited ? t("size.unlimited") : dataSize(plan.data_mb));

/** "Türkiye, 10 GB" */
export const planTitle = (plan) =>
  t("list.pair", {
    a: plan.area.name,
    b: plan.unlimited ? planSize(plan).toLocaleLowerCase(language) : planSize(plan),
  });

/** "Türkiye, 10 GB, 30 days" */
export const planName = (plan) => t("list.pair", { a: planTitle(plan), b: t("days", { n: plan.days }) });
