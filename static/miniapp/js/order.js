/** One order, followed live: the server's status decides what is shown, the client's word only asks for patience. */

import * as api from "./api.js";
import { endAttempt, forgetPaying, isJoined, sheetOf } from "./attempts.js";
import { setupPurchaseButton } from "./checkout.js";
import { banner, turnRing } from "./components.js";
import { replace, slot, view } from "./dom.js";
import { ageBanner, explain, showErrorPage } from "./errors.js";
import { payInvoice, runningSheet } from "./invoice.js";
import { buttonOfCompleted, PHASES } from "./order-phases.js";
import { go } from "./router.js";
import { askSupport } from "./support.js";
import { close as closeApp, confirmClosing, mainButton, onReturn, vibrate } from "./telegram.js";
import { t } from "./texts.js";

const FAST_POLL = 1_000;
const SLOW_POLL = 5_000;
const FAST_FOR = 15_000;
const DOUBT_SHORT = 4_000; // "failed" was seen although charged: ask the server some times before offering Pay
const DOUBT_LONG = 60_000;
const TOLD_FAILURES = 3;
const GRACE = 30 * 60_000; // an expired order may still turn paid while the client says that it was

const CLAIMS = ["paid", "pending"];
const SETTLED = ["refunded", "cancelled", "expired"];
const PHASE_OF = {
  paid: "preparing",
  provisioning: "preparing",
  completed: "completed",
  needs_attention: "needs_attention",
  refunding: "refunding",
  refunded: "refunded",
  cancelled: "closed",
  expired: "closed",
};

/**
 * order: the server's word, asked for at askedAt (milliseconds);
 * sheet: { status, at } of the payment sheet on this device, or null.
 */
function phaseOf({ order, askedAt, sheet }) {
  const age = sheet ? Date.now() - sheet.at : Infinity;
  const claimed = sheet !== null && CLAIMS.includes(sheet.status);
  if (order.status === "expired" && claimed && age < GRACE) return "slow";
  if (order.status === "completed" && !order.esim) return "preparing";
  if (order.status !== "awaiting_payment") return PHASE_OF[order.status] ?? "unknown";
  if (claimed) return age < DOUBT_LONG ? "checking" : "slow";
  if (runningSheet(order.order_id)) return age < DOUBT_LONG ? "paying" : "awaiting";
  if (sheet?.status === "cancelled" && askedAt < sheet.at) return "checking";
  if (["failed", "open"].includes(sheet?.status) && age < DOUBT_SHORT) return "checking";
  if (order.invoice && Date.parse(order.invoice.expires_at) < api.serverNow()) return "closed";
  return "awaiting";
}

class OrderPage {
  constructor(root, id) {
    this.root = root;
    this.id = id;
    this.order = null;
    this.drawn = "";
    this.error = null;
    this.failures = 0;
    this.askedAt = null;
    this.fastUntil = Date.now() + FAST_FOR;
    this.copyUntil = 0;
    this.stopListening = onReturn(() => this.hurry());
    this.clock = setInterval(() => this.tick(), 1000);
  }

  close() {
    this.isClosed = true;
    clearInterval(this.clock);
    clearTimeout(this.timer);
    this.stopListening();
    confirmClosing(false);
  }

  /** Something may just have happened: ask at once and often for a while. */
  hurry() {
    if (this.isClosed) return;
    this.fastUntil = Date.now() + FAST_FOR;
    this.poll();
  }

  async poll() {
    clearTimeout(this.timer);
    if (this.isAsking) return;
    this.isAsking = true;
    const askedAt = Date.now();
    try {
      this.order = await api.order(this.id);
      this.error = null;
      this.failures = 0;
      this.askedAt = askedAt;
    } catch (error) {
      this.error = error;
      this.failures += 1;
      if (!this.order && api.isUnreachable(error)) this.takeSeen();
    } finally {
      this.isAsking = false;
    }
    if (this.isClosed) return;
    this.draw();
    if (!this.isClosed) this.schedule();
  }

  /** What was seen of it before in this visit, until the shop can be reached: above all a QR code. */
  takeSeen() {
    const seen = api.seenOrder(this.id);
    if (!seen) return;
    this.order = seen.content;
    this.askedAt = seen.at;
    this.failures = TOLD_FAILURES;
  }

  schedule() {
    if (this.isSettled()) return;
    const pause = Date.now() < this.fastUntil ? FAST_POLL : SLOW_POLL;
    const wait = this.error?.retryAfter ? Math.max(pause, this.error.retryAfter * 1000) : pause;
    this.timer = setTimeout(() => (document.hidden ? this.schedule() : this.poll()), wait);
  }

  /** The failure worth telling: one lost answer of a poll is not, a lost connection or session is. */
  trouble() {
    if (!this.error) return null;
    const { name, step } = explain(this.error);
    return step !== "retry" || name === "offline" || this.failures >= TOLD_FAILURES ? this.error : null;
  }

  isSettled() {
    if (this.error) return explain(this.error).step !== "retry";
    const { status, esim, delivery } = this.order;
    if (status === "completed") return esim !== null && (delivery === "sent" || !this.isCopyDue());
    return SETTLED.includes(status) && this.phase() === PHASE_OF[status];
  }

  isCopyDue() {
    return this.order.delivery === "pending" || Date.now() < this.copyUntil;
  }

  /** The chat takes messages now. */
  awaitCopy() {
    this.copyUntil = Date.now() + FAST_FOR;
    this.hurry();
  }

  phase() {
    return phaseOf({ order: this.order, askedAt: this.askedAt, sheet: sheetOf(this.id) });
  }

  /** How the payment sheet ended; "open" only while it really is: a reload forgets the sheet. */
  sheetStatus() {
    const status = sheetOf(this.id)?.status;
    return status === "open" && !runningSheet(this.id) ? undefined : status;
  }

  isLate() {
    return Boolean(this.order.promise_at) && Date.parse(this.order.promise_at) <= api.serverNow();
  }

  tick() {
    if (!this.order) return;
    this.draw();
    const digits = slot(this.root, "countdown");
    if (!digits) return;
    const end = Date.parse(this.order.promise_at);
    const whole = end - Date.parse(this.order.paid_at);
    // The server's clock comes in whole seconds, so now may seem to be before the payment.
    const left = Math.min(whole, Math.max(0, end - api.serverNow()));
    const seconds = Math.ceil(left / 1000);
    digits.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    turnRing(this.root.querySelector(".status .ring"), (100 * left) / whole);
  }

  /** Draws what has changed only, so that a screen reader hears a state once. */
  draw() {
    if (!this.order) {
      showErrorPage(this.root, this.error);
      this.close();
      return;
    }
    const phase = this.phase();
    const { status, delivery, esim, invoice } = this.order;
    const sheet = this.sheetStatus();
    const trouble = this.trouble()?.code;
    const picture = JSON.stringify([phase, status, delivery, this.isLate(), sheet, esim, invoice, trouble]);
    if (picture === this.drawn) return;
    const before = this.root.dataset.phase;
    this.drawn = picture;
    this.root.dataset.phase = phase;
    this.root.dataset.status = status;
    this.drawContent(phase, sheet);
    this.drawButton(phase, sheet);
    confirmClosing(phase === "checking" || phase === "paying");
    if (status !== "awaiting_payment") this.leaveAttempt();
    if (phase === "completed" && before && before !== "completed") vibrate("success");
    this.tick();
  }

  leaveAttempt() {
    endAttempt({ bundle: this.order.plan.bundle, iccid: this.order.top_up_iccid });
    if (this.order.status !== "expired") forgetPaying(this.id);
  }

  drawContent(phase, sheet) {
    const shown = PHASES[phase]({
      order: this.order,
      sheet,
      isJoined: isJoined(this.id),
      isLate: this.isLate(),
      onSupport: () => askSupport(this.id),
      onAllowed: () => this.awaitCopy(),
    });
    replace(slot(this.root, "ring"), shown.ring);
    slot(this.root, "title").textContent = shown.title;
    slot(this.root, "text").textContent = shown.text;
    replace(slot(this.root, "banner"), this.trouble() ? this.troubleBanner() : shown.banner);
    replace(slot(this.root, "body"), shown.body);
    this.root.removeAttribute("aria-busy");
  }

  troubleBanner() {
    return api.isUnreachable(this.error) ? ageBanner(this.error, this.askedAt) : banner(explain(this.error));
  }

  drawButton(phase, sheet) {
    const { plan, amount_stars: stars } = this.order;
    const trouble = this.trouble() && explain(this.trouble());
    const stuck = phase === "awaiting" && (sheet === "unopened" || sheet === "open");
    if (trouble && api.isUnreachable(this.error) && phase === "awaiting") {
      mainButton.show({ text: t("checkout.offline"), enabled: false });
    } else if (stuck || trouble?.step === "close") {
      mainButton.show({ text: t("error.close"), onPress: closeApp });
    } else if (phase === "awaiting") {
      const text = sheet === "failed" ? t("checkout.again", { n: stars }) : undefined;
      setupPurchaseButton({ stars, text, onPay: () => this.pay() });
    } else if (phase === "paying" || phase === "checking") {
      mainButton.show({ text: t("order.checking.button"), busy: true });
    } else if (phase === "needs_attention") {
      mainButton.show({ text: t("order.support"), onPress: () => askSupport(this.id) });
    } else if (phase === "refunded") {
      mainButton.show({ text: t("order.another"), onPress: () => go({ area: plan.area.code }) });
    } else if (phase === "closed") {
      mainButton.show({ text: t("order.repeat"), onPress: () => this.orderAgain() });
    } else {
      const button = phase === "completed" ? buttonOfCompleted(this.order) : null;
      if (button) mainButton.show(button);
      else mainButton.hide();
    }
  }

  orderAgain() {
    const { plan, top_up_iccid: iccid } = this.order;
    go({ plan: plan.bundle, ...(iccid && { iccid }) }, { replace: true });
  }

  pay() {
    if (!this.order.invoice) {
      this.orderAgain();
      return;
    }
    this.follow(payInvoice({ orderId: this.id, link: this.order.invoice.invoice_link }));
    this.draw();
  }

  /** Waits for the end of a payment sheet and then asks the server what really happened. */
  async follow(sheet) {
    const status = await sheet;
    if (status === "failed") vibrate("error");
    this.hurry();
  }
}

export function openOrder(id) {
  const root = view("order");
  const page = new OrderPage(root, id);
  const sheet = runningSheet(id);
  if (sheet) page.follow(sheet);
  return { root, loaded: page.poll(), close: () => page.close() };
}
