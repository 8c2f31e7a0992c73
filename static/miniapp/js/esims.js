/** The customer's eSIMs: how much data and how many days each has left, and what to do next. */

import * as api from "./api.js";
import { button, empty, flag, linkRow } from "./components.js";
import { h, replace, slot, view } from "./dom.js";
import { ageBanner, explain, showErrorPage } from "./errors.js";
import { daysBar, smallRing, stateLine } from "./esim-gauges.js";
import { shortIccid, summary } from "./esim-summary.js";
import { go, linkTo } from "./router.js";
import { mainButton, onReturn } from "./telegram.js";
import { planSize, t } from "./texts.js";

/** States that the carrier's next word changes, within minutes. */
const PASSING = ["preparing", "unknown"];
const PASSING_POLL = 15_000;

/** What was last read while the app is open: shown at once, and where nothing newer comes, with its age. */
const seen = { esims: [], at: null, pages: 0, hasMore: false };

/** The one thing worth doing about an eSIM in the list, beside reading more. */
function firstStep(esim, { look }) {
  if (["new", "ready"].includes(look)) return { text: t("esims.install"), href: linkTo({ guide: esim.order_id }) };
  if (["active", "low", "used_up"].includes(look)) return { text: t("esims.top_up"), href: linkTo({ esim: esim.iccid }) };
  return null;
}

function card(esim, facts, { isNamed }) {
  const step = firstStep(esim, facts);
  const details = linkTo({ esim: esim.iccid });
  return h(
    "article",
    { class: "card esim", "data-esim": esim.iccid, "data-look": facts.look },
    h(
      "header",
      {},
      flag(esim.plan.area),
      h("div", {}, h("h2", {}, esim.plan.area.name), stateLine(facts, isNamed && shortIccid(esim))),
    ),
    h(
      "div",
      { class: "left" },
      smallRing(facts),
      h(
        "div",
        {},
        h("p", {}, h("b", {}, facts.title), h("small", {}, facts.note), facts.more && h("small", {}, facts.more)),
        facts.current?.unlimited && esim.plan.fair_use && h("p", { class: "muted small" }, esim.plan.fair_use),
        daysBar(facts),
      ),
    ),
    h(
      "div",
      { class: "btn-row" },
      step && h("a", { class: "btn", href: step.href }, step.text),
      h("a", { class: "btn quiet", href: details }, t("esims.details")),
    ),
  );
}

const finishedRow = (esim, facts) =>
  h(
    "li",
    {},
    linkRow({
      href: linkTo({ esim: esim.iccid }),
      "data-esim": esim.iccid,
      "data-look": facts.look,
      lead: flag(esim.plan.area, "", { isOff: true }),
      title: t("list.pair", { a: esim.plan.area.name, b: planSize(esim.plan) }),
      note: facts.note,
    }),
  );

class EsimList {
  constructor(root) {
    this.root = root;
    this.stopListening = onReturn(() => this.refresh());
    if (seen.at) this.draw();
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.stopListening();
  }

  /** Reads the newest ones again and keeps those of later pages that were read before. */
  async refresh() {
    if (this.isClosed) return;
    clearTimeout(this.timer);
    await this.read(1, (fresh) => {
      const isFresh = new Set(fresh.results.map((esim) => esim.iccid));
      const older = seen.pages > 1 ? seen.esims.filter((esim) => !isFresh.has(esim.iccid)) : [];
      seen.esims = [...fresh.results, ...older];
    });
    this.waitForNews();
  }

  readMore() {
    return this.read(seen.pages + 1, (fresh) => {
      const known = new Set(seen.esims.map((esim) => esim.iccid));
      seen.esims.push(...fresh.results.filter((esim) => !known.has(esim.iccid)));
    });
  }

  async read(page, take) {
    try {
      const fresh = await api.esims(page);
      take(fresh);
      if (page >= seen.pages) Object.assign(seen, { pages: page, hasMore: fresh.next !== null });
      seen.at = Date.now();
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    if (!this.isClosed) this.draw();
  }

  waitForNews() {
    const isPassing = this.error || seen.esims.some((esim) => PASSING.includes(esim.state));
    if (this.isClosed || !isPassing) return;
    this.timer = setTimeout(() => document.hidden || this.refresh(), PASSING_POLL);
  }

  draw() {
    if (this.error && (!seen.at || explain(this.error).step !== "retry")) {
      showErrorPage(this.root, this.error);
      this.close();
      return;
    }
    if (seen.esims.length === 0) {
      this.drawEmpty();
      return;
    }
    mainButton.hide();
    const all = seen.esims.map((esim) => [esim, summary(esim)]);
    const living = all.filter(([, facts]) => facts.look !== "ended");
    const finished = all.filter(([, facts]) => facts.look === "ended");
    const ofArea = (code) => living.filter(([esim]) => esim.plan.area.code === code).length;
    replace(slot(this.root, "banner"), this.error && ageBanner(this.error, seen.at));
    replace(
      slot(this.root, "living"),
      living.map(([esim, facts]) => card(esim, facts, { isNamed: ofArea(esim.plan.area.code) > 1 })),
    );
    slot(this.root, "living").removeAttribute("aria-busy");
    slot(this.root, "finished").hidden = finished.length === 0;
    replace(slot(this.root, "finished-list"), finished.map(([esim, facts]) => finishedRow(esim, facts)));
    const more = button({ text: t("esims.more_esims"), look: "quiet", onPress: () => this.readMore() });
    replace(slot(this.root, "more"), seen.hasMore && more);
    slot(this.root, "links").hidden = false;
  }

  drawEmpty() {
    replace(
      slot(this.root, "living"),
      empty({ name: "no_esims", iconName: "sim", title: t("esims.empty.title"), text: t("esims.empty.text"), heading: "h2" }),
    );
    slot(this.root, "living").removeAttribute("aria-busy");
    slot(this.root, "links").hidden = false;
    mainButton.show({ text: t("orders.choose"), onPress: () => go({}) });
  }

}

export function openEsims() {
  const root = view("esims");
  const list = new EsimList(root);
  return { root, loaded: list.refresh(), close: () => list.close() };
}
