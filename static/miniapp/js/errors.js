/** What an ApiError means to the customer, and the next step it leaves. */

import { button, empty } from "./components.js";
import { go, reopen } from "./router.js";
import { askSupport } from "./support.js";
import { close, isInside, mainButton } from "./telegram.js";
import { has, t } from "./texts.js";

const DEFAULT_RETRY = { rate_limited: 20, telegram_unreachable: 5 };

const LOOKS = {
  offline: { iconName: "offline", tone: "warn", step: "retry" },
  timeout: { iconName: "clock", tone: "warn", step: "retry" },
  server_error: { iconName: "alert", tone: "danger", step: "retry" },
  bad_request: { iconName: "refresh", tone: "", step: "reload" },
  init_data_invalid: { iconName: "refresh", tone: "", step: "close" },
  init_data_stale: { iconName: "refresh", tone: "", step: "close" },
  plan_not_found: { iconName: "search", tone: "", step: "plans" },
  order_not_found: { iconName: "search", tone: "", step: "orders" },
  sales_paused: { iconName: "pause", tone: "warn", step: "orders" },
  idempotency_key_reused: { iconName: "alert", tone: "", step: "retry" },
  still_on_the_way: { iconName: "clock", tone: "warn", step: "orders" },
  rate_limited: { iconName: "clock", tone: "warn", step: "retry" },
  telegram_unreachable: { iconName: "offline", tone: "warn", step: "retry" },
};

/** → { name, iconName, tone, step, seconds, title, text }; seconds: how long to wait before another try. */
export function explain(error) {
  const name = error.code in LOOKS && has(`error.${error.code}.title`) ? error.code : "server_error";
  const seconds = error.retryAfter ?? DEFAULT_RETRY[name] ?? 0;
  return {
    name,
    ...LOOKS[name],
    seconds,
    title: t(`error.${name}.title`),
    text: t(`error.${name}.text`, { seconds: t("seconds", { n: seconds }) }),
  };
}

const STEPS = {
  retry: ({ retry }) => ({ text: t("error.retry"), onPress: retry }),
  reload: () => ({ text: t("error.reload"), onPress: () => location.reload() }),
  close: () => (isInside ? { text: t("error.close"), onPress: close } : null),
  plans: ({ plansOf }) => ({ text: t("error.plans"), onPress: () => go(plansOf ? { area: plansOf } : {}) }),
  orders: () => ({ text: t("error.orders"), onPress: () => go({ view: "orders" }) }),
};

/**
 * Replaces a view that could not be loaded at all, and puts the next step on the MainButton.
 * plansOf: code of the area whose plans may do instead of a plan that is gone.
 */
export function showErrorPage(root, error, { retry = reopen, plansOf = null } = {}) {
  if (!("code" in error)) console.error(error);
  const { step, ...words } = explain(error);
  const support = button({ text: t("error.support"), look: "plain", onPress: () => askSupport() });
  root.replaceChildren(empty({ ...words, actions: words.name === "server_error" ? [support] : [] }));
  const next = STEPS[step]({ retry, plansOf });
  if (next) mainButton.show(next);
  else mainButton.hide();
  if (words.name === "offline") window.addEventListener("online", () => root.isConnected && retry(), { once: true });
}
