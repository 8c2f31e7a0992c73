/** The shop's HTTP API. Every failure becomes one ApiError, so that a view has one thing to explain. */

import { noteSpoken } from "./language.js";
import { initData } from "./telegram.js";
import { language } from "./texts.js";

const TIMEOUT = 15_000;
const PAGE_SIZE = 100;

/**
 * code: one of the server's codes, or ours: "offline", "timeout", "server_error".
 * retryAfter: seconds after which another try makes sense, or null.
 */
export class ApiError extends Error {
  constructor({ code, detail = "", status = 0, retryAfter = null }) {
    super(`${code} ${detail}`);
    this.code = code;
    this.detail = detail;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

let clockSkew = 0;

/** The server's clock in milliseconds: countdowns must not depend on how the phone's clock is set. */
export const serverNow = () => Date.now() + clockSkew;

async function request(path, { method = "GET", body, headers = {}, own = false, fresh = false } = {}) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), TIMEOUT);
  try {
    const answer = await fetch(path, {
      method,
      headers: {
        "Accept": "application/json",
        "Accept-Language": language,
        ...(own && { "Authorization": `tma ${initData}` }),
        ...(body && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body && JSON.stringify(body),
      cache: own ? "no-store" : fresh ? "no-cache" : "default",
      credentials: "omit",
      signal: controller.signal,
    });
    const sentAt = Date.parse(answer.headers.get("Date"));
    if (own && sentAt) clockSkew = sentAt - Date.now();
    if (own && answer.ok) noteSpoken(answer.headers.get("Content-Language"));
    if (answer.status === 204) return null;
    const content = await answer.json().catch(() => null);
    if (answer.ok && content !== null) return content;
    throw new ApiError({
      code: (answer.status < 500 || answer.status === 503) && content?.code ? content.code : "server_error",
      detail: content?.detail,
      status: answer.status,
      retryAfter: Number.parseInt(answer.headers.get("Retry-After"), 10) || null,
    });
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError({ code: controller.signal.aborted ? "timeout" : "offline", detail: error.message });
  } finally {
    clearTimeout(timer);
  }
}

async function allPages(path, parameters, options = {}) {
  const read = (page) =>
    request(`${path}?${new URLSearchParams({ ...parameters, page, page_size: PAGE_SIZE })}`, options);
  const first = await read(1);
  const more = Math.ceil(first.count / PAGE_SIZE) - 1;
  const others = await Promise.all(Array.from({ length: more }, (_, i) => read(i + 2)));
  return [first, ...others].flatMap((page) => page.results);
}

let knownAreas = null;

/** All areas on sale; read once per visit, again after a failure. */
export function areas() {
  knownAreas ??= allPages("/api/areas", {}).catch((error) => {
    knownAreas = null;
    throw error;
  });
  return knownAreas;
}

/** Asked anew each time (304 where nothing changed): a plan that was just found gone must not be offered again. */
export const plans = (area) => allPages("/api/plans", { area }, { fresh: true });
export const plan = (bundle) => request(`/api/plans/${encodeURIComponent(bundle)}`, { fresh: true });

/** {"order_id", "invoice_link", "amount_stars", "currency", "expires_at"}; safe to repeat with the same key. */
export const createInvoice = ({ bundle, expectedStars, key }) =>
  request("/api/telegram/stars/create-invoice", {
    method: "POST",
    own: true,
    headers: { "Idempotency-Key": key },
    body: { plan: bundle, expected_stars: expectedStars },
  });

export const orders = (page = 1) => request(`/api/orders?${new URLSearchParams({ page })}`, { own: true });
export const order = (id) => request(`/api/orders/${encodeURIComponent(id)}`, { own: true });

/** A hint for the shop's timeline; nothing depends on its arrival. */
export const reportInvoiceClosed = (id, status) =>
  request(`/api/orders/${encodeURIComponent(id)}/invoice-closed`, { method: "POST", own: true, body: { status } });

/** {"language", "chosen_language": null for Telegram's, "usage_notices"} */
export const customer = () => request("/api/customer", { own: true });
/** changes: any of chosen_language, usage_notices. */
export const changeCustomer = (changes) => request("/api/customer", { method: "PATCH", own: true, body: changes });
export const deleteCustomer = () => request("/api/customer", { method: "DELETE", own: true });

const CASES_PAGE = 20;
export const cases = (page = 1) =>
  request(`/api/cases?${new URLSearchParams({ page, page_size: CASES_PAGE })}`, { own: true });

export const faq = () => request("/api/faq");
/** name: "terms" or "privacy". → {"title", "sections": [{"title", "text"}]} */
export const legalText = (name) => request(`/api/${name}`);
