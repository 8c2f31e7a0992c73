/** Does this phone take an eSIM? Where to look, by system, and a list of models to search. */

import { noteRow } from "./components.js";
import { phoneWithEsim, system } from "./device.js";
import { h, icon, replace, slot } from "./dom.js";
import { t } from "./texts.js";

const MODELS_SHOWN = 8;
const VERDICTS = {
  yes: { iconName: "check", text: "phone.yes" },
  region: { iconName: "alert", text: "phone.region" },
  china: { iconName: "check", text: "phone.china" },
  no: { iconName: "close", text: "phone.no" },
};

const advice = () => [
  t("phone.dial"),
  ...(system === "desktop" ? ["ios", "android"] : [system]).map((each) => t(`phone.${each}`)),
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
  if (phoneWithEsim) slot(root, "phone-note").textContent = t("phone.known", { name: phoneWithEsim });
  replace(slot(root, "advice"), advice().map((text) => h("li", {}, text)));
  // Without the list there is still the advice.
  root.addEventListener("toggle", () => setUpSearch(root).catch(() => {}), { once: true });
}
