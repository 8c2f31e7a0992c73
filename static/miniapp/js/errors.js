/** What an ApiError means to the customer, and the next step it leaves. */

import { isUnreachable, whenShowingSeen } from "./api.js";
import { banner, button, empty } from "./components.js";
import { replace, slot } from "./dom.js";
import { go, reopen } from "./router.js";
import { askSupport } from "./support.js";
import { close, isInside, mainButton, onReturn } from "./telegram.js";
import { has, t, time } from "./texts.js";

const ASK_AGAIN = 10_000;
const DEFAULT_RETRY = { rate_limited: 20, telegram_unreachable: 5 };

const LOOKS = {
  offline: { iconName: "offline", tone: "warn", step: "retry" },
  timeout: { iconName: "clock", tone: "warn", step: "retry" },
  server_error: { iconName: "alert", tone: "danger", step: "retry" },
  bad_request: { iconName: "refresh", tone: "", step: "reload" },
  init_data_invalid: { iconName: "refresh", tone: "", step: "close" },
  init_data_stale: { iconName: "refresh", tone: "", step: "close" },
  top_up_refused: { iconName: "sim", tone: "warn", step: "new" },
  plan_not_found: { iconName: "search", tone: "", step: "plans" },
  esim_not_found: { iconName: "search", tone: "", step: "esims" },
  order_not_found: { iconName: "search", tone: "", step: "orders" },
  esim_not_found: { iconName: "search", tone: "", step: "esims" },
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
  new: ({ buyNew }) => buyNew,
  plans: ({ plansOf }) => ({ text: t("error.plans"), onPress: () => go(plansOf ? { area: plansOf } : {}) }),
  esims: () => ({ text: t("error.esims"), onPress: () => go({ view: "esims" }) }),
  orders: () => ({ text: t("error.orders"), onPress: () => go({ view: "orders" }) }),
};

/**
 * Replaces a view that could not be loaded at all, and puts the next step on the MainButton.
 * plansOf: code of the area whose plans may do instead of a plan that is gone;
 * buyNew: the button that buys a new eSIM where the plan cannot top up one; below: what else helps there, if anything.
 */
export function showErrorPage(root, error, { retry = reopen, plansOf = null, buyNew = null, below = null } = {}) {
  if (!("code" in error)) console.error(error);
  const { step, ...words } = explain(error);
  const support = button({ text: t("error.support"), look: "plain", onPress: () => askSupport() });
  root.removeAttribute("aria-busy");
  replace(root, empty({ ...words, actions: words.name === "server_error" ? [support] : [] }), below);
  const next = STEPS[step]({ retry, plansOf, buyNew });
  if (next) mainButton.show(next);
  else mainButton.hide();
  if (words.name === "offline") window.addEventListener("online", () => root.isConnected && retry(), { once: true });
}

/** The words over content that was seen at a moment and could not be read anew. */
export const ageBanner = (error, at) =>
  banner({ ...explain(error), text: t("error.saved", { time: time(at) }) });

let ageNote = null;

/** Tells over the open view how old its content is, and opens it anew once the shop answers again: see whenShowingSeen. */
function showAge({ error, at, ask }) {
  if (ageNote?.isConnected) return;
  const root = document.getElementById("stage").firstElementChild;
  const note = ageBanner(error, at);
  ageNote = note;
  (slot(root, "banner") ?? root).prepend(note);
  let isAsking = false;
  const again = async () => {
    if (!note.isConnected) {
      note.remove(); // of a view that is kept while others are open
      stop();
      return;
    }
    // A payment that is being opened must not lose its view.
    if (isAsking || document.hidden || mainButton.shown?.busy) return;
    isAsking = true;
    const failure = await ask().then(() => null, (reason) => reason);
    isAsking = false;
    if (!note.isConnected || (failure && isUnreachable(failure))) return;
    stop();
    reopen();
  };
  const timer = setInterval(again, ASK_AGAIN);
  const stopListening = onReturn(again);
  const stop = () => {
    clearInterval(timer);
    stopListening();
  };
}

whenShowingSeen(showAge);
