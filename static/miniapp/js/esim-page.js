/** One eSIM: what is left, what to add, how to install it, what happened so far. */

import * as api from "./api.js";
import { button, chevron, factRow, linkRow } from "./components.js";
import { moneyKnown } from "./currency.js";
import { system } from "./device.js";
import { h, icon, replace, slot, view } from "./dom.js";
import { ageBanner, explain, showErrorPage } from "./errors.js";
import { daysBar, largeRing, stateLine } from "./esim-gauges.js";
import { bundleAmount, bundleState, shortIccid, summary } from "./esim-summary.js";
import { codeOf, codesSection, guideRow, installHere, qrSection } from "./esim.js";
import { go, linkTo } from "./router.js";
import { askSupport } from "./support.js";
import { mainButton, onReturn } from "./telegram.js";
import { date, minutesAgo, planName, t } from "./texts.js";
import { fittingPlans, noPlans, onlyOtherPlans, otherPlans, suggested } from "./top-up.js";

/** Pauses in seconds between looks for fresh usage: the shop asks the carrier as soon as the page is opened. */
const LOOKS = [2, 3, 5, 10, 20];
/** The same while something is under way that ends by itself: a bundle that is being put on the eSIM, a lost connection. */
const PASSING_PAUSE = 15;
const MINUTE = 60_000;
const AGE_IN_WORDS = 60 * MINUTE;
const PATIENCE = 1_500;
const TICK = 15_000; // ages and days pass while one looks
const HISTORY_SHOWN = 6;

const USED = ["active", "used_up", "ended"];

/** ICCID → { esim, at }: what was last read while the app is open, and when. */
const seen = new Map();

/** ICCID → bundle that was chosen: coming back from the checkout finds it chosen. */
const choices = new Map();

class EsimPage {
  constructor(root, iccid) {
    this.root = root;
    this.iccid = iccid;
    this.drawn = {};
    this.areaPlans = null;
    this.error = null;
    this.looks = 0;
    this.stopListening = onReturn(() => this.lookAgain());
    this.clock = setInterval(() => this.esim && this.draw(), TICK);
    if (seen.has(iccid)) this.draw();
  }

  get esim() {
    return seen.get(this.iccid)?.esim;
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    clearInterval(this.clock);
    this.stopListening();
  }

  /** Somebody looks: ask now, and then a few times until the carrier's answer is there. */
  async lookAgain() {
    this.looks = 0;
    this.firstAnswer = null;
    await this.look();
  }

  async look() {
    clearTimeout(this.timer);
    try {
      const [esim] = await Promise.all([api.esim(this.iccid), moneyKnown()]);
      seen.set(this.iccid, { esim, at: Date.now() });
      this.error = null;
      this.firstAnswer ??= esim.updated_at ?? "";
      this.areaPlans ??= await this.readAreaPlans();
    } catch (error) {
      this.error = error;
    }
    if (this.isClosed) return;
    this.draw();
    if (!this.isClosed) this.schedule();
  }

  schedule() {
    const isPassing = this.error || this.esim.state === "preparing";
    const pause = this.isAsking() ? LOOKS[this.looks] : isPassing ? PASSING_PAUSE : null;
    this.looks += 1;
    if (pause === null) this.draw();
    else this.timer = setTimeout(() => document.hidden || this.look(), 1000 * pause);
  }

  /** Whether the carrier's word is still to come: it is waited for as long as LOOKS says, and no longer. */
  isAsking() {
    const { updated_at: updatedAt, top_up_plans: plans } = this.esim;
    const isFresh = updatedAt && (updatedAt !== this.firstAnswer || api.serverNow() - Date.parse(updatedAt) < MINUTE);
    return !this.error && this.looks < LOOKS.length && (!isFresh || plans === null);
  }

  /** Plans of the same place that need a new eSIM are an extra: for them the page waits a moment only. */
  readAreaPlans() {
    const reading = api.plans(this.esim.plan.area.code).catch(() => []);
    reading.then((plans) => {
      const isLate = this.areaPlans !== null;
      this.areaPlans = plans;
      if (isLate && !this.isClosed) this.draw();
    });
    return Promise.race([reading, new Promise((resolve) => setTimeout(resolve, PATIENCE, []))]);
  }

  fitting() {
    return this.esim.top_up_plans ?? [];
  }

  others() {
    const fits = new Set(this.fitting().map((plan) => plan.bundle));
    return this.esim.top_up_plans === null ? [] : (this.areaPlans ?? []).filter((plan) => !fits.has(plan.bundle));
  }

  /** The plan that the MainButton offers; nothing is suggested for one that may be yet to install. */
  chosen() {
    const bundle = choices.get(this.iccid);
    const known = [...this.fitting(), ...this.others()].find((plan) => plan.bundle === bundle);
    return known ?? (this.isToInstall() === false ? suggested(this.fitting(), this.esim.plan) : null);
  }

  choose(plan) {
    choices.set(this.iccid, plan.bundle);
    this.drawButton();
  }

  /**
   * Whether its code may still be of use: null where the carrier did not say. What has been used is on a phone, and what
   * was bought so lately that the carrier has told nothing of it is not.
   */
  isToInstall() {
    const { installed, state, updated_at: toldAt, activation_code: code } = this.esim;
    if (installed || USED.includes(state) || !code) return false;
    return installed === false || !toldAt ? true : null;
  }

  // --- Drawing: a part is drawn anew only when what it shows has changed, so that nobody's choice or place is lost

  paint(name, facts, build) {
    const picture = JSON.stringify(facts);
    if (this.drawn[name] === picture) return;
    this.drawn[name] = picture;
    replace(slot(this.root, name), build());
  }

  draw() {
    if (this.error && (!this.esim || explain(this.error).step !== "retry")) {
      showErrorPage(this.root, this.error);
      this.close();
      return;
    }
    const { esim } = this;
    const facts = summary(esim);
    this.root.dataset.look = facts.look;
    this.root.removeAttribute("aria-busy");
    slot(this.root, "skeleton")?.remove();
    const { at } = seen.get(this.iccid);
    this.paint("banner", [this.error?.code ?? null, at], () => this.error && ageBanner(this.error, at));
    this.drawStatus(facts);
    this.drawAge();
    this.paint("install", [this.isToInstall(), esim.activation_code], () => this.installSection());
    this.paint("top-up", [esim.top_up_plans, this.others(), this.isAsking()], () => this.topUpSection());
    this.paint("bundles", esim.bundles, () => esim.bundles.length > 1 && bundlesSection(esim.bundles));
    const isIccidShown = this.isToInstall() === true; // among the codes
    this.paint("facts", [esim.plan, facts.startsAt, facts.endsAt, isIccidShown], () =>
      factsSection(esim, { ...facts, isIccidShown }),
    );
    this.paint("history", esim.history, () => esim.history.length > 0 && historySection(esim.history));
    this.paint("links", esim.order_id, () => linksSection(esim));
    this.drawButton();
  }

  drawStatus(facts) {
    this.paint("ring", [facts.look, facts.current, facts.isDataLow], () => largeRing(facts));
    slot(this.root, "title").textContent = this.esim.plan.area.name;
    this.paint("state", [facts.look, facts.title, facts.note, facts.more, facts.time, facts.isTimeLow], () => [
      stateLine(facts, shortIccid(this.esim)),
      !facts.current && h("p", { class: "strong" }, facts.title),
      facts.note && h("p", { class: "muted" }, facts.note),
      facts.more && h("p", { class: "muted" }, facts.more),
      facts.current?.unlimited && this.esim.plan.fair_use && h("p", { class: "muted" }, this.esim.plan.fair_use),
      daysBar(facts),
    ]);
  }

  drawAge() {
    const isAsking = this.isAsking();
    const words = isAsking ? t("esim.asking") : ageWords(this.esim.updated_at);
    this.paint("age", [words, isAsking], () => [
      h("span", {}, words),
      !isAsking &&
        h(
          "button",
          { type: "button", class: "icon-btn", "aria-label": t("esim.refresh"), onclick: () => this.refresh() },
          icon("refresh", "i i-s"),
        ),
    ]);
  }

  async refresh() {
    const looking = this.lookAgain();
    this.drawAge();
    await looking;
  }

  installSection() {
    const { esim } = this;
    if (this.isToInstall() === false) return null;
    const sections = () =>
      h(
        "div",
        { class: "page-parts" },
        qrSection({ esim, orderId: esim.order_id }),
        codesSection(esim),
        h("div", { class: "card rows-icon" }, guideRow(esim.order_id)),
      );
    if (this.isToInstall()) return sections();
    const row = h(
      "button",
      { type: "button", class: "row", "data-action": "codes", onclick: () => card.replaceWith(sections()) },
      icon("sim"),
      h("span", { class: "body" }, t("esim.codes"), h("small", {}, t("esim.codes.note"))),
      h("span", { class: "end" }, chevron()),
    );
    const card = h("div", { class: "card rows-icon" }, row);
    return card;
  }

  topUpSection() {
    const [fitting, others] = [this.fitting(), this.others()];
    const options = { chosen: this.chosen(), onChoose: (plan) => this.choose(plan) };
    const section = (title, ...children) => h("section", { class: "section" }, h("h2", {}, title), children);
    if (fitting.length) {
      return [
        section(t("top_up.title"), fittingPlans(fitting, options)),
        others.length > 0 && otherPlans(others, options),
      ];
    }
    if (this.esim.top_up_plans !== null) {
      return others.length
        ? section(t("top_up.new.title"), onlyOtherPlans(others, options))
        : section(t("top_up.title"), noPlans({ name: "none", text: t("top_up.none") }));
    }
    if (this.isAsking()) return section(t("top_up.title"), noPlans({ name: "asking", text: t("top_up.asking") }));
    const retry = button({ text: t("error.retry"), onPress: () => this.lookAgain() });
    return section(t("top_up.title"), noPlans({ name: "unknown", text: t("top_up.unknown"), action: retry }));
  }

  drawButton() {
    const plan = this.chosen();
    const guide = { text: t("order.guide.button"), onPress: () => go({ guide: this.esim.order_id }) };
    const install = this.isToInstall() !== false && (installHere(this.esim) ?? (system === "desktop" ? null : guide));
    if (plan && this.fitting().some((each) => each.bundle === plan.bundle)) {
      mainButton.show({
        text: t("top_up.button", { n: plan.price_stars }),
        onPress: () => go({ plan: plan.bundle, iccid: this.iccid }),
      });
    } else if (plan) {
      mainButton.show({
        text: t("top_up.new.button", { n: plan.price_stars }),
        onPress: () => go({ plan: plan.bundle }),
      });
    } else if (install) {
      mainButton.show(install);
    } else {
      mainButton.hide();
    }
  }
}

function ageWords(updatedAt) {
  if (!updatedAt) return t("esim.updated.never");
  const age = api.serverNow() - Date.parse(updatedAt);
  if (age < MINUTE) return t("esim.updated.now");
  if (age < AGE_IN_WORDS) return t("esim.updated", { when: minutesAgo(Math.floor(age / MINUTE)) });
  return t("esim.updated", { when: date(updatedAt) });
}

const bundlesSection = (bundles) =>
  h(
    "section",
    { class: "section" },
    h("h2", {}, t("esim.bundles")),
    h(
      "ul",
      { class: "card" },
      bundles.map((bundle) =>
        h(
          "li",
          { "data-bundle-state": bundle.state },
          h(
            "div",
            { class: "row" },
            h("span", { class: "body" }, bundle.title, h("small", {}, bundleState(bundle))),
            h("span", { class: "end ink" }, bundleAmount(bundle)),
          ),
        ),
      ),
    ),
  );

const factsSection = (esim, { startsAt, endsAt, isIccidShown }) =>
  h(
    "section",
    { class: "section" },
    h("h2", {}, t("esim.about")),
    h(
      "div",
      { class: "card" },
      factRow({ name: t("esim.plan"), value: planName(esim.plan) }),
      startsAt && factRow({ name: t("esim.started"), value: date(startsAt) }),
      endsAt && factRow({ name: t("esim.ends"), value: date(endsAt) }),
      !isIccidShown && codeOf(esim, "iccid"),
    ),
  );

/** Newest first; older ones on request. */
function historySection(history) {
  const row = ({ at, kind, text }) =>
    h("div", { class: "row", "data-event": kind }, h("span", { class: "body" }, text, h("small", {}, date(at))));
  const card = h("div", { class: "card" }, history.slice(0, HISTORY_SHOWN).map(row));
  const rest = history.slice(HISTORY_SHOWN);
  const all = button({
    text: t("esim.history.all"),
    look: "plain",
    onPress: () => {
      card.append(...rest.map(row));
      all.remove();
    },
  });
  return h("section", { class: "section" }, h("h2", {}, t("esim.history")), card, rest.length > 0 && all);
}

const linksSection = (esim) =>
  h(
    "div",
    { class: "card rows-icon" },
    linkRow({
      href: linkTo({ order: esim.order_id }),
      lead: icon("receipt"),
      title: t("esim.order"),
      "data-link": "order",
    }),
    h(
      "button",
      { type: "button", class: "row", "data-action": "support", onclick: () => askSupport(esim.order_id) },
      icon("chat"),
      h("span", { class: "body" }, t("order.support")),
      h("span", { class: "end" }, chevron()),
    ),
  );

export function openEsim(iccid) {
  const root = view("esim");
  const page = new EsimPage(root, iccid);
  return { root, loaded: page.lookAgain(), close: () => page.close() };
}
