// The words of the window, in the language of its user.

const ru = {
  bot: "бот", miniApp: "мини-приложение", sandbox: "Песочница", message: "Сообщение", send: "Отправить", start: "Начать",
  commands: "Команды", close: "Закрыть", back: "Назад", reload: "Обновить", appSettings: "Настройки приложения",
  sandboxHint: "Так выглядит Telegram, но всё происходит на этом компьютере: звёзды, счета и eSIM ненастоящие.",
  user: "Пользователь", language: "Язык", theme: "Тема", light: "Светлая", dark: "Тёмная", version: "Версия Telegram", platform: "Устройство", balance: "Баланс",
  addStars: "+1000 ⭐", faults: "Неполадки", blocked: "Бот заблокирован этим пользователем",
  noBalance: "На счёте у eSIM Go нет денег", rateLimit: "Ограничение eSIM Go: 10 запросов в секунду",
  nextTime: "Что сломать", times: "Сколько раз", add: "Добавить", remove: "Убрать", clearFaults: "Убрать все",
  ledger: "Журнал песочницы (JSON)", empty: "Здесь пока пусто. Нажмите «Начать»",
  today: "Сегодня", paid: "Вы отправили {stars} ⭐ боту {bot}: {title}", refunded: "{bot} вернул {stars} ⭐",
  confirmPayment: "Подтвердите покупку", pay: "Заплатить {stars} ⭐", yourBalance: "Баланс: {stars} ⭐",
  tooFew: "Не хватает {missing} ⭐", paying: "Проводим платёж", paidToast: "Оплачено: {stars} ⭐",
  failed: "Платёж не прошёл. Звёзды не списаны.", timeout: "Бот не ответил вовремя. Звёзды не списаны.",
  notFound: "Счёт не найден", leave: "Закрыть приложение?", leaveText: "Внесённые изменения могут не сохраниться.",
  cancel: "Отмена", ok: "ОК", writeAccess: "Разрешить боту {bot} писать вам?", allow: "Разрешить",
  phoneAccess: "Эта песочница не передаёт номер телефона.", noAnswer: "Бот не ответил", opensElsewhere: "Открылось бы в Telegram: {link}",
  esims: "Что происходит с eSIM", esim: "eSIM, новые сверху", noEsims: "Пока ничего не куплено.", left: "{state}: {left} из {all} МБ", leftUnlimited: "{state}: безлимит",
  install: "Установить", firstUse: "Подключить к сети", use80: "Потратить 80 %", useAll: "Потратить всё", threeDays: "Осталось 3 дня", oneDay: "Остался день", expire: "Срок вышел",
  lostConnection: "Песочница не отвечает", photo: "Изображение от бота",
};
const en = {
  bot: "bot", miniApp: "mini app", sandbox: "Sandbox", message: "Message", send: "Send", start: "Start",
  commands: "Commands", close: "Close", back: "Back", reload: "Reload", appSettings: "App settings",
  sandboxHint: "It looks like Telegram, but all of it happens on this computer: no Stars, invoices or eSIMs are real.",
  user: "User", language: "Language", theme: "Theme", light: "Light", dark: "Dark", version: "Version of Telegram", platform: "Device", balance: "Balance",
  addStars: "+1000 ⭐", faults: "Faults", blocked: "This user has blocked the bot",
  noBalance: "The account at eSIM Go is empty", rateLimit: "eSIM Go's limit of 10 calls a second",
  nextTime: "What goes wrong", times: "How often", add: "Add", remove: "Remove", clearFaults: "Remove all",
  ledger: "The sandbox's ledger (JSON)", empty: "Nothing here yet. Press Start",
  today: "Today", paid: "You sent {stars} ⭐ to {bot}: {title}", refunded: "{bot} refunded {stars} ⭐",
  confirmPayment: "Confirm your purchase", pay: "Pay {stars} ⭐", yourBalance: "Balance: {stars} ⭐",
  tooFew: "You need {missing} more ⭐", paying: "Paying", paidToast: "Paid: {stars} ⭐",
  failed: "The payment failed. No Stars were taken.", timeout: "The bot did not answer in time. No Stars were taken.",
  notFound: "No such invoice", leave: "Close the app?", leaveText: "Changes that you made may not be saved.",
  cancel: "Cancel", ok: "OK", writeAccess: "Allow {bot} to message you?", allow: "Allow",
  phoneAccess: "This sandbox shares no phone numbers.", noAnswer: "The bot did not answer", opensElsewhere: "Would open in Telegram: {link}",
  esims: "What happens to an eSIM", esim: "eSIM, newest first", noEsims: "Nothing was bought yet.", left: "{state}: {left} of {all} MB", leftUnlimited: "{state}: unlimited",
  install: "Install", firstUse: "First connection", use80: "Use 80%", useAll: "Use all", threeDays: "3 days left", oneDay: "1 day left", expire: "Expire",
  lostConnection: "The sandbox is not answering", photo: "Picture from the bot",
};

let words = en;

export const language = () => (words === ru ? "ru" : "en");

export function useLanguage(code) {
  words = code.startsWith("ru") ? ru : en;
  document.documentElement.lang = language();
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = words[node.dataset.text];
  for (const node of document.querySelectorAll("[data-label]")) node.ariaLabel = node.title = words[node.dataset.label];
  for (const node of document.querySelectorAll("[data-placeholder]")) node.placeholder = words[node.dataset.placeholder];
}

export const text = (name, values = {}) => words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);

export const count = (number) => new Intl.NumberFormat(language()).format(number);
