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

const UNREACHABLE = ["offline", "timeout", "server_error"];

/** Whether nobody answered, or not in a way that says anything about what was asked for. */
export const isUnreachable = (error) => UNREACHABLE.includes(error.code);

let clockSkew = 0;

/** The server's clock in milliseconds: countdowns must not depend on how the phone's clock is set. */
export const serverNow = () => Date.now() + clockSkew;

/** → { status, content }; content is null where there is none. */
async function send(path, { method = "GET", body, headers = {}, own = false, fresh = false } = {}) {
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
    if (answer.status === 204) return { status: 204, content: null };
    const content = await answer.json().catch(() => null);
    if (answer.ok && content !== null) return { status: answer.status, content };
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

const request = async (path, options) => (await send(path, options)).content;

/** What was read in this visit: path → { content, at: milliseconds }. In memory only: it holds activation codes. */
const seen = new Map();
const keep = (path, content) => seen.set(path, { content, at: Date.now() });

let tellAge = () => {};

/** callback({ error, at, ask }) is told whenever something seen before is shown again; ask() tries to read it anew. */
export const whenShowingSeen = (callback) => {
  tellAge = callback;
};

/** A GET whose last answer stands in for a new one while the shop cannot be reached. onNew: told of a new one. */
async function read(path, { onNew = () => {}, ...options } = {}) {
  try {
    const content = await request(path, options);
    keep(path, content);
    onNew(content);
    return content;
  } catch (error) {
    if (!seen.has(path) || !isUnreachable(error)) throw error;
    const { content, at } = seen.get(path);
    tellAge({ error, at, ask: () => request(path, options) });
    return content;
  }
}

async function allPages(path, parameters, options = {}) {
  const pageOf = (page) =>
    read(`${path}?${new URLSearchParams({ ...parameters, page, page_size: PAGE_SIZE })}`, options);
  const first = await pageOf(1);
  const more = Math.ceil(first.count / PAGE_SIZE) - 1;
  const others = await Promise.all(Array.from({ length: more }, (_, i) => pageOf(i + 2)));
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

/** The area with its networks; "plan_not_found" where nothing is on sale. */
export const area = (code) => read(`/api/areas/${encodeURIComponent(code)}`);

/** {"results": [{"code", "per_usd", "updated_at"}]} */
export const readCurrencies = () => request("/api/currencies");

/** Asked anew each time (304 where nothing changed): a plan that was just found gone must not be offered again. */
export const plans = (area) => allPages("/api/plans", { area }, { fresh: true });
export const plan = (bundle) => read(`/api/plans/${encodeURIComponent(bundle)}`, { fresh: true });

/**
 * {"order_id", "invoice_link", "amount_stars", "currency", "expires_at"} and isNew: false where the order was there
 * already. iccid: the own eSIM that the plan tops up, or null. Safe to repeat with the same key.
 */
export async function createInvoice({ bundle, iccid, expectedStars, key }) {
  const { status, content } = await send("/api/telegram/stars/create-invoice", {
    method: "POST",
    own: true,
    headers: { "Idempotency-Key": key },
    body: { plan: bundle, expected_stars: expectedStars, ...(iccid && { iccid }) },
  });
  return { ...content, isNew: status === 201 };
}

const orderPath = (id) => `/api/orders/${encodeURIComponent(id)}`;

/** Own orders, newest first, as a page. */
export const orders = (page = 1) =>
  read(`/api/orders?${new URLSearchParams({ page })}`, {
    own: true,
    onNew: ({ results }) => results.forEach((each) => keep(orderPath(each.order_id), each)),
  });

/** Own orders in one of these states, newest first. */
export async function ordersIn(statuses) {
  const query = new URLSearchParams(statuses.map((status) => ["status", status]));
  return (await request(`/api/orders?${query}`, { own: true })).results;
}

/** The order as the server has it now: never an older answer, since money depends on it. */
export async function order(id) {
  const content = await request(orderPath(id), { own: true });
  keep(orderPath(id), content);
  return content;
}

/** The order as it was seen before in this visit: { content, at }, or undefined. */
export const seenOrder = (id) => seen.get(orderPath(id));

const OWN_PAGE = 50;
export const esims = (page = 1) => request(`/api/esims?${new URLSearchParams({ page, page_size: OWN_PAGE })}`, { own: true });
/** Looking at it makes the shop ask the carrier for fresh usage: the next answers have it. */
export const esim = (iccid) => request(`/api/esims/${encodeURIComponent(iccid)}`, { own: true });

/** A hint for the shop's timeline; nothing depends on its arrival. */
export const reportInvoiceClosed = (id, status) =>
  request(`${orderPath(id)}/invoice-closed`, { method: "POST", own: true, body: { status } });

/** The bot sends the message with the order's QR code again. */
export const sendEsimMessage = (id) => request(`${orderPath(id)}/message`, { method: "POST", own: true });

/** {"language", "chosen_language": null for Telegram's, "usage_notices"} */
export const customer = () => request("/api/customer", { own: true });
/** changes: any of chosen_language, usage_notices. */
export const changeCustomer = (changes) => request("/api/customer", { method: "PATCH", own: true, body: changes });

/** What was seen of the customer's own goes with it. */
export async function deleteCustomer() {
  await request("/api/customer", { method: "DELETE", own: true });
  seen.clear();
}

const CASES_PAGE = 20;
export const cases = (page = 1) =>
  request(`/api/cases?${new URLSearchParams({ page, page_size: CASES_PAGE })}`, { own: true });

export const faq = () => read("/api/faq");
/** name: "terms" or "privacy". → {"title", "sections": [{"title", "text"}]} */
export const legalText = (name) => read(`/api/${name}`);
