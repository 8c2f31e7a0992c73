/** Does this phone take an eSIM? Where to look, by system, and a list of models to search. */

import { noteRow } from "./components.js";
import { h, icon, replace, slot } from "./dom.js";
import { platform } from "./telegram.js";
import { t } from "./texts.js";

const MODELS_SHOWN = 8;
const SYSTEMS = { ios: ["ios"], android: ["android"], android_x: ["android"] };
const VERDICTS = {
  yes: { iconName: "check", text: "phone.yes" },
  region: { iconName: "alert", text: "phone.region" },
  china: { iconName: "check", text: "phone.china" },
  no: { iconName: "close", text: "phone.no" },
};

/**
 * The name of the phone that shows this page, if it surely has an eSIM chip, else "": iOS 17 runs on no iPhone
 * without one, and every Pixel since the fourth has it.
 */
function phoneWithEsim(agent) {
  const [, ios] = /iPhone OS (\d+)_/.exec(agent) ?? [];
  if (ios >= 17) return "iPhone";
  const [name, pixel] = /Pixel (\d+)\w*/.exec(agent) ?? [];
  return pixel >= 4 ? name : "";
}

const advice = () => [
  t("phone.dial"),
  ...(SYSTEMS[platform] ?? ["ios", "android"]).map((system) => t(`phone.${system}`)),
  t("phone.lock"),
];

const modelRow = ({ name, verdict }) =>
  h("li", {}, noteRow({ lead: icon(VERDICTS[verdict].iconName), title: name, note: t(VERDICTS[verdict].text) }));

const familyRow = ({ name, since }) =>
  h("li", {}, noteRow({ lead: icon("phone"), title: name, note: t("phone.since", { models: since }) }));

/** The list is read when somebody looks for a model, not with every checkout. */
async function setUpSearch(root) {
  const { families, findModels } = await import("./phones.js");
  const best = families.filter(({ since }) => since);
  const input = slot(root, "model");
  const results = slot(root, "models");
  const show = () => {
    const found = findModels(input.value).slice(0, MODELS_SHOWN);
    const rows = input.value.trim() ? found.map(modelRow) : best.map(familyRow);
    replace(results, rows.length ? h("ul", {}, rows) : h("p", {}, t("phone.unknown")));
  };
  input.addEventListener("input", show);
  slot(root, "search").hidden = false;
  show();
}

/** root: the disclosure of the checkout. */
export function setUpPhoneCheck(root) {
  const known = phoneWithEsim(navigator.userAgent);
  if (known) slot(root, "phone-note").textContent = t("phone.known", { name: known });
  replace(slot(root, "advice"), advice().map((text) => h("li", {}, text)));
  // Without the list there is still the advice.
  root.addEventListener("toggle", () => setUpSearch(root).catch(() => {}), { once: true });
}
