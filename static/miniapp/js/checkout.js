/** What one buys and for how many Stars; the MainButton makes the order and opens Telegram's payment sheet. */

import { area as fetchArea, createInvoice, ordersIn, plan as fetchPlan, serverNow } from "./api.js";
import { attemptKey, endAttempt, rememberJoined } from "./attempts.js";
import { banner, button, factRow, flag, price } from "./components.js";
import { networksByCountry, networksInShort } from "./coverage.js";
import { moneyKnown } from "./currency.js";
import { replace, slot, view } from "./dom.js";
import { explain, showErrorPage } from "./errors.js";
import { payInvoice } from "./invoice.js";
import { setUpPhoneCheck } from "./phone-check.js";
import { go } from "./router.js";
import { similarPlans } from "./similar-plans.js";
import { canPay, isInside, mainButton, onReturn, openTelegramLink, vibrate } from "./telegram.js";
import { aboutPrice, countryName, lastDigits, planTitle, t, time } from "./texts.js";
import { rememberUnfinished } from "./unfinished.js";

const COUNTRIES_NAMED = 3;
const TELEGRAM_TRIES = 3;
const SOON_SECONDS = 10; // what is longer to wait is counted down: a button does not turn for a minute
const PAUSE_SECONDS = 30;
const SPEED_ROW = "row kv tall"; // has room for the networks that take its place

/**
 * Orders the plan at the price the customer saw and opens Telegram's payment sheet.
 * iccid: the own eSIM that it tops up, or null for a new one.
 *
 * Resolves with the order id as soon as the sheet is open: from there the order page follows the server.
 * Rejects with ApiError; nothing was charged then, and another call goes on with the same order.
 */
export async function initiateStarsPayment({ plan, iccid }) {
  const attempt = { bundle: plan.bundle, iccid, expectedStars: plan.price_stars };
  const place = async () => {
    const { key, isRepeated } = attemptKey(attempt);
    const made = await createInvoice({ ...attempt, key });
    if (!made.isNew && !isRepeated) rememberJoined(made.order_id);
    return made;
  };
  let invoice;
  try {
    invoice = await place();
  } catch (error) {
    if (error.code !== "idempotency_key_reused") throw error;
    endAttempt(attempt);
    invoice = await place();
  }
  rememberUnfinished(true);
  payInvoice({ orderId: invoice.order_id, link: invoice.invoice_link });
  return invoice.order_id;
}

/** Puts "Pay 552 ⭐" on the MainButton; the button is locked from the tap until its outcome is known. */
export function setupPurchaseButton({ stars, onPay, text = t("checkout.pay", { n: stars }) }) {
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

function fillPlan(root, { plan, iccid }) {
  const names = plan.countries.map(countryName);
  const isShort = names.length <= COUNTRIES_NAMED;
  const days = t("days", { n: plan.days });
  replace(slot(root, "flag"), flag(plan.area, "m"));
  slot(root, "title").textContent = planTitle(plan);
  slot(root, "days").textContent = iccid
    ? t("checkout.top_up", { days, digits: lastDigits(iccid) })
    : t("checkout.new_esim", { days });
  const facts = [
    factRow({ name: t("checkout.works_in"), value: isShort ? names.join(", ") : t("countries", { n: names.length }) }),
    factRow({ name: t("checkout.starts"), value: t(iccid ? "checkout.starts.top_up" : "checkout.starts.value") }),
    plan.fair_use && factRow({ name: t("checkout.unlimited"), value: plan.fair_use }),
    plan.speed?.length && factRow({ name: t("checkout.speed"), value: plan.speed.join(", "), class: SPEED_ROW, "data-fact": "speed" }),
  ];
  replace(slot(root, "facts"), facts);
  slot(root, "facts").removeAttribute("aria-busy");
  slot(root, "countries").hidden = isShort;
  slot(root, "country-names").textContent = names.join(", ");
  fillPrice(root, plan.price_stars);
}

/** Who carries the data there and how fast, in place of the speed alone; without an answer that stays. */
async function nameNetworks(root, { area }) {
  if (area.kind !== "country") return;
  const networks = networksByCountry((await fetchArea(area.code)).networks).get(area.code);
  const row = root.querySelector("[data-fact=speed]");
  if (!networks || !row) return;
  row.replaceWith(factRow({ name: t("destination.networks"), value: networksInShort(networks), class: SPEED_ROW }));
}

function fillPrice(root, stars) {
  replace(slot(root, "sum"), price(stars));
  slot(root, "about").textContent = t("checkout.about", { price: aboutPrice(stars) });
}

/** What is asked and promised before paying, as far as it does not depend on the plan. */
function fillAnswers(root, iccid) {
  const minutes = Number(document.documentElement.dataset.promiseMinutes);
  slot(root, "promise").textContent = t("checkout.step2.note", { n: minutes });
  slot(root, "refund-promise").textContent = t("checkout.refunds.promise", { n: minutes });
  if (iccid) {
    slot(root, "phone").remove();
    slot(root, "step2").textContent = t("checkout.step2.top_up");
    slot(root, "step3").textContent = t("checkout.step3.top_up");
    slot(root, "step3-note").textContent = t("checkout.step3.top_up.note");
  } else {
    setUpPhoneCheck(slot(root, "phone"));
  }
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

/** An own order of this plan that waits for its payment, or undefined; where nobody can tell, the server will. */
async function findUnpaid({ bundle, iccid }) {
  if (!canPay) return undefined;
  const orders = await ordersIn(["awaiting_payment"]).catch(() => []);
  return orders.find(
    (order) => order.plan.bundle === bundle && order.top_up_iccid === iccid && order.invoice && isFresh(order),
  );
}

const isFresh = (order) => Date.parse(order.invoice.expires_at) > serverNow();

/** One visit of the checkout: its plan, its banner, and what the button does next. */
class Checkout {
  constructor(root, { bundle, iccid }) {
    this.root = root;
    this.bundle = bundle;
    this.iccid = iccid;
    this.unpaid = null;
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
    const unpaid = findUnpaid(this);
    try {
      [this.plan] = await Promise.all([fetchPlan(this.bundle), moneyKnown()]);
    } catch (error) {
      if (!this.isClosed) showErrorPage(this.root, error);
      return;
    }
    if (this.isClosed) return;
    fillPlan(this.root, this);
    nameNetworks(this.root, this.plan).catch(() => {});
    this.offer();
    if (!canPay) this.say(whyNotHere());
    unpaid.then((order) => order && this.carryOn(order));
  }

  /** The order was begun before: it goes on at the price that was promised then. */
  carryOn(order) {
    // Never at more than today's price: then the server makes a new order at that one.
    if (this.isClosed || this.isAsked || order.amount_stars > this.plan.price_stars) return;
    this.unpaid = order;
    fillPrice(this.root, order.amount_stars);
    this.say({
      name: "joined",
      iconName: "clock",
      title: t("order.joined.title"),
      text: t("order.joined.text", { time: time(order.invoice.expires_at) }),
    });
    this.offer();
  }

  say(words) {
    replace(slot(this.root, "banner"), words && banner(words));
    if (words) window.scrollTo({ top: 0, behavior: "smooth" });
  }

  offer(text) {
    this.wakeUp = null;
    clearTimeout(this.timer);
    const { bot } = document.documentElement.dataset;
    if (!isInside && bot) {
      const link = `https://t.me/${bot}?${new URLSearchParams({ startapp: this.bundle })}`;
      mainButton.show({ text: t("checkout.open_telegram"), onPress: () => openTelegramLink(link) });
      return;
    }
    const stars = this.unpaid?.amount_stars ?? this.plan.price_stars;
    setupPurchaseButton({ stars, text, onPay: () => this.pay() });
  }

  async pay() {
    this.wakeUp = null;
    this.isAsked = true;
    if (this.unpaid) {
      this.payUnpaid(this.unpaid);
      return;
    }
    try {
      const order = await initiateStarsPayment(this);
      if (!this.isClosed) go({ order }, { replace: true });
    } catch (error) {
      if (!this.isClosed) await this.explainFailure(error);
    }
  }

  payUnpaid({ order_id: order, amount_stars: before, invoice }) {
    if (isFresh(this.unpaid)) {
      rememberJoined(order);
      payInvoice({ orderId: order, link: invoice.invoice_link });
      go({ order }, { replace: true });
      return;
    }
    this.unpaid = null;
    if (before === this.plan.price_stars) this.pay();
    else this.showNewPrice(before);
  }

  async explainFailure(error) {
    vibrate("warning");
    if (error.code === "price_changed") return this.showNewPrice(this.plan.price_stars);
    if (error.code === "plan_not_found" && this.iccid) return this.refuseTopUp(error);
    const words = explain(error);
    if (words.step === "plans") return this.showGone(error);
    if (words.step === "esims" || words.step === "close") return showErrorPage(this.root, error);
    if (words.name === "server_error") {
      Object.assign(words, { title: t("checkout.error.title"), text: t("checkout.error.text") });
    }
    const again = t("checkout.again", { n: this.plan.price_stars });
    const orders = button({ text: t("error.orders"), onPress: () => go({ view: "orders" }) });
    const isTelegram = words.name === "telegram_unreachable";
    if (isTelegram) this.tries += 1;
    const triesOn = isTelegram && this.tries <= TELEGRAM_TRIES && words.seconds <= SOON_SECONDS;
    if (isTelegram && !triesOn) words.text = t("error.telegram_unreachable.manual");
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
    } else if (words.name === "rate_limited" || (isTelegram && !triesOn)) {
      this.countDown(words.seconds, () => this.offer(again));
    } else if (triesOn) {
      mainButton.show({ text: t("checkout.opening"), busy: true });
      this.timer = setTimeout(() => this.pay(), words.seconds * 1000);
    } else {
      this.offer(again);
    }
  }

  /** The price that was shown holds no more: show today's and ask again. */
  async showNewPrice(before) {
    endAttempt(this);
    try {
      this.plan = await fetchPlan(this.bundle);
    } catch (error) {
      if (!this.isClosed) this.showGone(error);
      return;
    }
    if (this.isClosed) return;
    fillPrice(this.root, this.plan.price_stars);
    this.say({
      name: "price_changed",
      iconName: "alert",
      title: t("checkout.changed.title", { before, now: this.plan.price_stars }),
      text: t("checkout.changed.text"),
    });
    this.offer();
  }

  /** The plan is gone, or it is on sale but not for this eSIM: then a new one takes it, which must be installed. */
  async refuseTopUp(refusal) {
    try {
      this.plan = await fetchPlan(this.bundle);
    } catch (error) {
      if (!this.isClosed) this.showGone(error);
      return;
    }
    if (this.isClosed) return;
    const buyNew = {
      text: t("checkout.new_instead", { n: this.plan.price_stars }),
      onPress: () => go({ plan: this.bundle }, { replace: true }),
    };
    showErrorPage(this.root, Object.assign(refusal, { code: "top_up_refused" }), { buyNew });
  }

  /** Instead of a plan that was here a moment ago, or that cannot be read any more: those nearest to it. */
  showGone(error) {
    const below = error.code === "plan_not_found" ? similarPlans(this.plan) : null;
    showErrorPage(this.root, error, { plansOf: this.plan.area.code, below });
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

/** place: { plan, iccid? }; with an iccid it is the top-up of that eSIM. */
export function openCheckout(bundle, { iccid = null } = {}) {
  const root = view("checkout");
  fillAnswers(root, iccid);
  const checkout = new Checkout(root, { bundle, iccid });
  return { root, loaded: checkout.load(), close: () => checkout.close() };
}
