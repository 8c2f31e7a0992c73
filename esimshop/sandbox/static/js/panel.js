// The sandbox's own panel: who uses the phone, how it looks, and what goes wrong.

import { get, post, remove } from "./api.js";
import { choices, choose, chosen } from "./client.js";
import { closeIcon, element, find, withStars } from "./elements.js";
import { showEsims } from "./esims.js";
import { count, language, text } from "./texts.js";

const FAULTS = [
  { ru: "Платёж: бот не успевает ответить", en: "Payment: the bot's answer is lost", fault: { target: "webhook.pre_checkout_query", kind: "lose" } },
  { ru: "Платёж: сообщение об оплате приходит дважды", en: "Payment: its update comes twice", fault: { target: "webhook.successful_payment", kind: "duplicate" } },
  { ru: "Платёж: сообщение об оплате теряется", en: "Payment: its update is lost", fault: { target: "webhook.successful_payment", kind: "lose" } },
  { ru: "Платёж: сообщение опаздывает на 10 с", en: "Payment: its update is 10 s late", fault: { target: "webhook.successful_payment", kind: "delay", seconds: 10 } },
  { ru: "Платёж: клиент говорит «не прошёл», хотя списал", en: "Payment: the client says failed, but charged", fault: { target: "client.invoice_closed", kind: "claim", claim: "failed" } },
  { ru: "Платёж: клиент ничего не говорит", en: "Payment: the client says nothing", fault: { target: "client.invoice_closed", kind: "lose" } },
  { ru: "eSIM Go: нет такого тарифа (400)", en: "eSIM Go: bundle refused (400)", fault: { target: "esimgo.POST /orders", kind: "status", status: 400, message: "bundle not available" } },
  { ru: "eSIM Go: слишком часто (429)", en: "eSIM Go: too often (429)", fault: { target: "esimgo.POST /orders", kind: "status", status: 429, headers: { "Retry-After": "2" } } },
  { ru: "eSIM Go: заказ сделан, ответ 503", en: "eSIM Go: order placed, answers 503", fault: { target: "esimgo.POST /orders", kind: "status", status: 503, after_work: true } },
  { ru: "eSIM Go: заказ сделан, связь оборвалась", en: "eSIM Go: order placed, connection dropped", fault: { target: "esimgo.POST /orders", kind: "drop_after_work" } },
  { ru: "eSIM Go: заказ не сделан, связь оборвалась", en: "eSIM Go: order not placed, connection dropped", fault: { target: "esimgo.POST /orders", kind: "drop" } },
  { ru: "eSIM Go: отвечает через 5 с", en: "eSIM Go: answers after 5 s", fault: { target: "esimgo.POST /orders", kind: "delay", seconds: 5 } },
  { ru: "Telegram: счёт не создаётся (500)", en: "Telegram: no invoice link (500)", fault: { target: "telegram.createInvoiceLink", kind: "status", status: 500 } },
  { ru: "Telegram: QR-код не отправляется (429)", en: "Telegram: no QR code (429)", fault: { target: "telegram.sendPhoto", kind: "status", status: 429, headers: { "Retry-After": "3" } } },
  { ru: "Telegram: возврат не проходит (500)", en: "Telegram: refund fails (500)", fault: { target: "telegram.refundStarPayment", kind: "status", status: 500 } },
  { ru: "Telegram: возврат отклонён (400)", en: "Telegram: refund refused (400)", fault: { target: "telegram.refundStarPayment", kind: "status", status: 400, message: "Bad Request: CHARGE_NOT_FOUND" } },
];
const MUCH_MONEY = 10000;

export class Panel {
  #user;
  #onChange;

  // onChange: called after anything that the rest of the page shows was changed.
  constructor({ user, onUser, onLanguage, onTheme, onClient, onChange }) {
    this.#user = user;
    this.#onChange = onChange;
    find("user").addEventListener("change", ({ target }) => onUser(Number(target.value)));
    for (const button of document.querySelectorAll("[data-language]")) button.addEventListener("click", () => onLanguage(button.dataset.language));
    for (const button of document.querySelectorAll("[data-set-theme]")) button.addEventListener("click", () => onTheme(button.dataset.setTheme));
    for (const name of ["version", "platform"]) {
      find(name).replaceChildren(...choices(name).map((value) => element("option", { value, textContent: value, selected: value === chosen(name) })));
      find(name).addEventListener("change", ({ target }) => {
        choose(name, target.value);
        onClient();
      });
    }
    find("add-stars").addEventListener("click", () => this.#changeUser({ stars: this.#user().stars + 1000 }));
    find("blocked").addEventListener("change", ({ target }) => this.#changeUser({ blocked_bot: target.checked }));
    find("no-balance").addEventListener("change", ({ target }) => post("/sandbox/settings", { balance_usd: target.checked ? 0 : MUCH_MONEY }));
    find("rate-limit").addEventListener("change", ({ target }) => post("/sandbox/settings", { rate_limit: target.checked }));
    find("fault-form").addEventListener("submit", (event) => this.#addFault(event));
    find("clear-faults").addEventListener("click", async () => {
      await remove("/sandbox/faults");
      this.showFaults();
    });
    find("open-panel").addEventListener("click", () => this.#open(true));
    find("close-panel").addEventListener("click", () => this.#open(false));
    document.querySelector(".faults").addEventListener("toggle", () => this.showFaults());
    find("esims").addEventListener("toggle", () => find("esims").open && showEsims());
  }

  show({ users, settings }) {
    const user = this.#user();
    find("user").replaceChildren(
      ...users.map(({ id, first_name }) => element("option", { value: id, textContent: `${first_name} · ${id}`, selected: id === user.id })),
    );
    this.showUser();
    find("no-balance").checked = Number(settings.balance_usd) <= 0;
    find("rate-limit").checked = settings.rate_limit;
    find("fault").replaceChildren(...FAULTS.map((fault, index) => element("option", { value: index, textContent: fault[language()] })));
    this.showFaults();
  }

  showUser() {
    find("stars").replaceChildren(...withStars(`${count(this.#user().stars)} ⭐`));
    find("add-stars").replaceChildren(...withStars(text("addStars")));
    find("blocked").checked = this.#user().blocked_bot;
    for (const button of document.querySelectorAll("[data-language]")) button.ariaPressed = String(button.dataset.language === language());
    for (const button of document.querySelectorAll("[data-set-theme]")) {
      button.ariaPressed = String(button.dataset.setTheme === document.documentElement.dataset.theme);
    }
  }

  async showFaults() {
    const { faults } = await get("/sandbox/faults");
    find("clear-faults").hidden = faults.length === 0;
    find("fault-list").replaceChildren(
      ...faults.map(({ id, target, kind, times }) => {
        const button = element("button", { className: "icon", type: "button", ariaLabel: text("remove") }, closeIcon());
        button.addEventListener("click", async () => {
          await remove(`/sandbox/faults?id=${id}`);
          this.showFaults();
        });
        return element("li", {}, `${target}: ${kind}${times === null ? "" : ` × ${times}`}`, button);
      }),
    );
  }

  #open(isOpen) {
    find("panel").classList.toggle("open", isOpen);
    find(isOpen ? "close-panel" : "open-panel").focus();
  }

  async #changeUser(fields) {
    Object.assign(this.#user(), await post("/sandbox/users", { id: this.#user().id, ...fields }));
    this.#onChange();
  }

  async #addFault(event) {
    event.preventDefault();
    const times = Number(find("fault-times").value) || 1;
    await post("/sandbox/faults", { ...FAULTS[find("fault").value].fault, times });
    this.showFaults();
  }
}
