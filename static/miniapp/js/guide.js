/** How to install the eSIM of an order, step by step, for the phone in hand or another one. */

import * as api from "./api.js";
import { installsByLink, isSamsung, system } from "./device.js";
import { h, replace, slot, view } from "./dom.js";
import { explain, showErrorPage } from "./errors.js";
import { codeOf, installHere } from "./esim.js";
import { GUIDES } from "./install-steps.js";
import { screenPicture } from "./screen-picture.js";
import { askSupport } from "./support.js";
import { mainButton } from "./telegram.js";
import { t } from "./texts.js";

/** System → its kinds of phone, the usual one first. */
const KINDS = { ios: ["iphone", "iphone_old"], android: ["samsung", "pixel"] };
const SYSTEM_OF = Object.fromEntries(Object.entries(KINDS).flatMap(([name, kinds]) => kinds.map((kind) => [kind, name])));

function kindHere() {
  if (system === "android") return isSamsung ? "samsung" : "pixel";
  return system === "ios" && !installsByLink ? "iphone_old" : "iphone";
}

class Guide {
  constructor(root, orderId) {
    this.root = root;
    this.orderId = orderId;
    this.esim = null;
    this.kind = kindHere();
    slot(root, "support").addEventListener("click", () => askSupport(orderId));
    slot(root, "order").href = `?order=${orderId}`;
    this.draw();
  }

  /** The steps are there at once; the codes and the button come with the order. */
  async load() {
    try {
      const { esim } = await api.order(this.orderId);
      this.esim = esim;
    } catch (error) {
      // Without the codes the steps still help, unless the order is not this customer's.
      if (explain(error).step !== "retry") showErrorPage(this.root, error);
      return;
    }
    if (!this.root.isConnected) return;
    this.draw();
    const install = this.esim && installHere(this.esim);
    if (install) mainButton.show(install);
  }

  /** Whether the install button below this page is for the kind of phone it shows. */
  hasButton() {
    return installsByLink && this.kind === kindHere() && !this.esim?.installed;
  }

  draw() {
    const { look, now, arrival } = GUIDES[this.kind];
    const chosen = SYSTEM_OF[this.kind];
    this.root.dataset.kind = this.kind;
    replace(slot(this.root, "systems"), this.segments(Object.keys(KINDS), chosen, (name) => KINDS[name].find((kind) => kind === kindHere()) ?? KINDS[name][0]));
    replace(slot(this.root, "kinds"), this.segments(KINDS[chosen], this.kind, (kind) => kind));
    slot(this.root, "version").hidden = chosen !== "ios";
    replace(slot(this.root, "now"), now.map((step, i) => this.step(look, step, i)));
    replace(slot(this.root, "arrival"), arrival.map((step, i) => this.step(look, step, i)));
  }

  segments(names, chosen, kindOf) {
    return names.map((name) => {
      const button = h(
        "button",
        { type: "button", "data-guide": name, "aria-pressed": String(name === chosen) },
        t(`guide.kind.${name}`),
      );
      button.addEventListener("click", () => {
        this.kind = kindOf(name);
        this.draw();
        this.root.querySelector(`[data-guide="${name}"]`).focus({ preventScroll: true });
      });
      return button;
    });
  }

  step(look, { title, text, picture, codes = [] }, i) {
    const isElsewhere = title === "guide.tap" && !this.hasButton();
    return h(
      "li",
      { class: "step" },
      h("span", { class: "n", "aria-hidden": "true" }, String(i + 1)),
      h("b", {}, t(isElsewhere ? "guide.tap.there" : title)),
      h("p", {}, t(text)),
      picture && screenPicture(look, picture),
      this.esim && codes.length > 0 && h("div", { class: "codes" }, codes.map((code) => codeOf(this.esim, code))),
    );
  }
}

export function openGuide(orderId) {
  const root = view("guide");
  return { root, loaded: new Guide(root, orderId).load() };
}
