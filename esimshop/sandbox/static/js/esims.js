// What happens to a sold eSIM out in the world: it is installed, used, used up, and ends. The shop hears of it as from eSIM Go.

import { get, post } from "./api.js";
import { element, find, toast } from "./elements.js";
import { text } from "./texts.js";

const SHOWN = 30;
const MB = 1_000_000;

const newest = (esim) => esim.assignments.at(-1).fields;
const part = (share) => (esim) => ({ remaining_mb: Math.round((newest(esim).initialQuantity * share) / MB) });

// change: what to tell the sandbox about an eSIM; alert: the callback that eSIM Go sends of it, if it sends one.
const ACTS = [
  { name: "install", change: () => ({ profile_status: "Installed" }) },
  { name: "firstUse", change: () => ({ profile_status: "Enabled", bundle_state: "active" }), alert: "FirstUse" },
  { name: "use80", change: part(0.2), alert: "Utilisation", isOfData: true },
  { name: "useAll", change: part(0), alert: "Utilisation", isOfData: true },
  { name: "threeDays", change: () => ({ ends_in_hours: 71.9 }) },
  { name: "oneDay", change: () => ({ ends_in_hours: 23.9 }) },
  { name: "expire", change: () => ({ ends_in_hours: 0 }) },
];

let esims = [];

const chosen = () => esims.find(({ iccid }) => iccid === find("esim").value) ?? esims[0];

export async function showEsims() {
  const ledger = await get("/sandbox/ledger");
  const before = find("esim").value;
  esims = ledger.esims.filter(({ assignments }) => assignments.length).reverse().slice(0, SHOWN);
  find("no-esims").hidden = esims.length > 0;
  find("esim-controls").hidden = esims.length === 0;
  find("esim").replaceChildren(
    ...esims.map(({ iccid, assignments }) =>
      element("option", { value: iccid, textContent: `…${iccid.slice(-4)} · ${assignments.at(-1).description}`, selected: iccid === before }),
    ),
  );
  find("esim").onchange = showChosen;
  if (esims.length) showChosen();
}

function showChosen() {
  const { bundleState, unlimited, initialQuantity, remainingQuantity } = newest(chosen());
  const [left, all] = [remainingQuantity, initialQuantity].map((bytes) => Math.round(bytes / MB));
  find("esim-left").textContent = text(unlimited ? "leftUnlimited" : "left", { state: bundleState, left, all });
  find("esim-acts").replaceChildren(
    ...ACTS.map((act) => {
      const button = element("button", { type: "button", className: "small-button", textContent: text(act.name), disabled: Boolean(act.isOfData && unlimited) });
      button.addEventListener("click", () => perform(act));
      return button;
    }),
  );
}

async function perform({ change, alert }) {
  const esim = chosen();
  try {
    await post(`/sandbox/esims/${esim.iccid}`, change(esim));
    if (alert) await post("/sandbox/callbacks", { iccid: esim.iccid, alert_type: alert });
  } catch (error) {
    toast(error.message);
  }
  await showEsims();
}
