/** What one buys and for how many Stars; the MainButton makes the order and opens Telegram's payment sheet. */

import { createInvoice, plan as fetchPlan } from "./api.js";
import { attemptKey, endAttempt } from "./attempts.js";
import { banner, button, factRow, flag, price } from "./components.js";
import { replace, slot, view } from "./dom.js";
import { explain, showErrorPage } from "./errors.js";
import { payInvoice } from "./invoice.js";
import { go } from "./router.js";
import { canPay, isInside, mainButton, onReturn, vibrate } from "./telegram.js";
import { aboutPrice, countryName, planTitle, t } from "./texts.js";

const COUNTRIES_NAMED = 3;
const TELEGRAM_TRIES = 3;
const PAUSE_SECONDS = 30;

/**
 * Orders the plan at the price the customer saw and opens Telegram's payment sheet.
 *
 * Resolves with the order id as soon as the sheet is open: from there the order page follows the server.
 * Rejects with ApiError; nothing was charged then, and another call goes on with the same order.
 */
export async function initiateStarsPayment(plan) {
  const attempt = { bundle: plan.bundle, expectedStars: plan.price_stars };
  const ordered = () => createInvoice({ ...attempt, key: attemptKey(attempt) });
  let invoice;
  try {
    invoice = await ordered();
  } catch (error) {
    if (error.code !== "idempotency_key_reused") throw error;
    endAttempt(plan.bundle);
    invoice = await ordered();
  }
  payInvoice({ orderId: invoice.order_id, link: invoice.invoice_link });
  return invoice.order_id;
}

/** Puts "Pay 552 ⭐" on the MainButton; the button is locked from the tap until its outcome is known. */
export function setupPurchaseButton({ plan, onPay, text = t("checkout.pay", { n: plan.price_stars }) }) {
  if (!canPay) {
    mainButton.show({ text: t("checkout.outside"), enabled: false });
    return;
  }
  mainButton.show({
    text,
    onPress: () => {
      mainButton.show({ text: t("checkout.opening"), busy: true });
      onPay();
    },
  });
}

function fillPlan(root, plan) {
  const names = plan.countries.map(countryName);
  const isShort = names.length <= COUNTRIES_NAMED;
  replace(slot(root, "flag"), flag(plan.area, "m"));
  slot(root, "title").textContent = planTitle(plan);
  slot(root, "days").textContent = t("checkout.new_esim", { days: t("days", { n: plan.days }) });
  const facts = [
    factRow({ name: t("checkout.works_in"), value: isShort ? names.join(", ") : t("countries", { n: names.length }) }),
    factRow({ name: t("checkout.starts"), value: t("checkout.starts.value") }),
    plan.fair_use && factRow({ name: t("checkout.unlimited"), value: plan.fair_use }),
    plan.speed?.length && factRow({ name: t("checkout.speed"), value: plan.speed.join(", ") }),
  ];
  replace(slot(root, "facts"), facts);
  slot(root, "facts").removeAttribute("aria-busy");
  slot(root, "countries").hidden = isShort;
  slot(root, "country-names").textContent = names.join(", ");
  fillPrice(root, plan);
}

function fillPrice(root, plan) {
  replace(slot(root, "sum"), price(plan.price_stars));
  slot(root, "about").textContent = t("checkout.about", { usd: aboutPrice(plan.price_stars) });
}

/** Why this client cannot pay: it is a plain browser, or a Telegram before 6.1. */
const whyNotHere = () =>
  isInside
    ? {
        name: "old_client",
        iconName: "alert",
        tone: "warn",
        title: t("checkout.old.title"),
        text: t("checkout.old.text"),
      }
    : {
        name: "outside",
        iconName: "chat",
        title: t("checkout.outside.title"),
        text: t("checkout.outside.text"),
      };

/** One visit of the checkout: its plan, its banner, and what the button does next. */
class Checkout {
  constructor(root, bundle) {
    this.root = root;
    this.bundle = bundle;
    this.timer = null;
    this.tries = 0;
    this.stopListening = onReturn(() => this.wakeUp?.());
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.stopListening();
  }

  async load() {
    try {
      this.plan = await fetchPlan(this.bundle);
      if (this.isClosed) return;
      fillPlan(this.root, this.plan);
      this.offer();
      if (!canPay) this.say(whyNotHere());
    } catch (error) {
      if (!this.isClosed) showErrorPage(this.root, error, { plansOf: this.plan?.area.code });
    }
  }

  say(words) {
    replace(slot(this.root, "banner"), words && banner(words));
    if (words) window.scrollTo({ top: 0, behavior: "smooth" });
  }

  offer(text) {
    this.wakeUp = null;
    clearTimeout(this.timer);
    setupPurchaseButton({ plan: this.plan, text, onPay: () => this.pay() });
  }

  async pay() {
    this.wakeUp = null;
    try {
      const order = await initiateStarsPayment(this.plan);
      if (!this.isClosed) go({ order }, { replace: true });
    } catch (error) {
      if (!this.isClosed) await this.explainFailure(error);
    }
  }

  async explainFailure(error) {
    vibrate("warning");
    if (error.code === "price_changed") return this.showNewPrice();
    const words = explain(error);
    if (words.step === "plans") return showErrorPage(this.root, error, { plansOf: this.plan.area.code });
    if (words.step === "close") return showErrorPage(this.root, error);
    if (words.name === "server_error") {
      Object.assign(words, { title: t("checkout.error.title"), text: t("checkout.error.text") });
    }
    const again = t("checkout.again", { n: this.plan.price_stars });
    const orders = button({ text: t("error.orders"), onPress: () => go({ view: "orders" }) });
    if (words.name === "telegram_unreachable") {
      this.tries += 1;
      if (this.tries > TELEGRAM_TRIES) words.text = t("error.telegram_unreachable.manual");
    }
    this.say({ ...words, actions: words.step === "orders" ? [orders] : [] });
    if (words.step === "reload") {
      mainButton.show({ text: t("error.reload"), onPress: () => location.reload() });
    } else if (words.name === "offline") {
      this.wait(t("checkout.offline"), () => {
        this.say(null);
        this.offer();
      });
    } else if (words.name === "sales_paused") {
      this.wait(t("checkout.paused"), () => this.offer(again));
    } else if (words.name === "rate_limited") {
      this.countDown(words.seconds, () => this.offer(again));
    } else if (words.name === "telegram_unreachable" && this.tries <= TELEGRAM_TRIES) {
      mainButton.show({ text: t("checkout.opening"), busy: true });
      this.timer = setTimeout(() => this.pay(), words.seconds * 1000);
    } else {
      this.offer(again);
    }
  }

  /** The server's price has moved: show the new one and ask again. */
  async showNewPrice() {
    const before = this.plan.price_stars;
    endAttempt(this.bundle);
    try {
      this.plan = await fetchPlan(this.bundle);
    } catch (error) {
      if (!this.isClosed) showErrorPage(this.root, error, { plansOf: this.plan.area.code });
      return;
    }
    if (this.isClosed) return;
    fillPrice(this.root, this.plan);
    this.say({
      name: "price_changed",
      iconName: "alert",
      title: t("checkout.changed.title", { before, now: this.plan.price_stars }),
      text: t("checkout.changed.text"),
    });
    this.offer();
  }

  /** The button is off, with the reason as its text, until the customer comes back or a while has passed. */
  wait(text, then) {
    mainButton.show({ text, enabled: false });
    this.wakeUp = then;
    this.timer = setTimeout(then, PAUSE_SECONDS * 1000);
  }

  countDown(seconds, then) {
    if (seconds <= 0) {
      then();
      return;
    }
    mainButton.show({ text: t("checkout.wait", { seconds: t("seconds", { n: seconds }) }), enabled: false });
    this.timer = setTimeout(() => this.countDown(seconds - 1, then), 1000);
  }
}

export function openCheckout(bundle) {
  const root = view("checkout");
  const minutes = Number(document.documentElement.dataset.promiseMinutes);
  slot(root, "promise").textContent = t("checkout.step2.note", { n: minutes });
  const checkout = new Checkout(root, bundle);
  return { root, loaded: checkout.load(), close: () => checkout.close() };
}
