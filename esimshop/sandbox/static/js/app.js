// The window as a whole: one user at a time, their chat, and the Mini App.

import { get, post } from "./api.js";
import { showChat } from "./chat.js";
import { element, find, toast } from "./elements.js";
import { MiniApp, openLink } from "./mini_app.js";
import { popup } from "./overlay.js";
import { Panel } from "./panel.js";
import { openPaySheet } from "./pay_sheet.js";
import { language, text, useLanguage } from "./texts.js";

const WAIT = 20;
const RETRY = 2000;

let overview = await get("/sandbox/overview");
let user = overview.users.find(({ id }) => id === Number(sessionStorage.getItem("user"))) ?? overview.users[0];
let messages = [];
let shown = "";
let watching = new AbortController();

const botName = () => overview.bot.first_name;
const handlers = { onLink: openAnyLink, onButton: pressButton };
const miniApp = new MiniApp({ user: () => user, botName, onTelegramLink: openTelegramPath });
const panel = new Panel({ user: () => user, onUser: chooseUser, onLanguage: chooseLanguage, onTheme: chooseTheme, onClient: reopenApp, onChange: showAll });

function showAll() {
  useLanguage(user.language_code);
  find("bot-name").textContent = botName();
  const button = overview.menu_button;
  find("menu-button").hidden = button.type !== "web_app";
  find("menu-button").textContent = button.text ?? "";
  find("composer").classList.toggle("to-start", !user.started || messages.length === 0);
  find("start").hidden = user.started && messages.length > 0;
  showCommands();
  showMessages(true);
  miniApp.relabel();
  panel.show(overview);
}

function showMessages(isForced) {
  const now = JSON.stringify(messages);
  if (now === shown && !isForced) return;
  shown = now;
  showChat(messages, botName(), handlers);
}

function showCommands() {
  const { commands } = overview;
  const list = commands[user.language_code] ?? commands[language()] ?? commands[""] ?? [];
  find("open-commands").hidden = list.length === 0;
  find("commands").replaceChildren(
    ...list.map(({ command, description }) => {
      const button = element("button", { type: "button" }, element("b", { textContent: `/${command}` }), element("span", { textContent: description }));
      button.addEventListener("click", () => say(`/${command}`));
      return element("li", {}, button);
    }),
  );
}

async function say(words) {
  toggleCommands(false);
  try {
    await post(`/sandbox/users/${user.id}/messages`, { text: words });
  } catch (error) {
    toast(error.message);
  }
}

function toggleCommands(isOpen) {
  find("commands").hidden = !isOpen;
  find("open-commands").ariaExpanded = String(isOpen);
}

async function pressButton(message, button) {
  if (button.web_app) return miniApp.open(button.web_app.url);
  if (button.url) return openAnyLink(button.url);
  const { answer } = await post(`/sandbox/users/${user.id}/press`, { message_id: message.message_id, callback_data: button.callback_data });
  if (!answer) return toast(text("noAnswer"));
  if (answer.show_alert) return popup({ message: answer.text, buttons: [{ type: "ok" }] });
  return answer.text && toast(answer.text);
}

function openAnyLink(address) {
  if (address.startsWith("/")) return say(address);
  const url = new URL(address);
  if (url.hostname === "t.me") return openTelegramPath(url.pathname + url.search);
  return openLink(address);
}

function openTelegramPath(path) {
  const url = new URL(path, "https://t.me");
  const invoice = url.pathname.match(/^\/(?:\$|invoice\/)([\w=-]+)$/);
  if (invoice) return openPaySheet(invoice[1], () => user);
  if (url.pathname.split("/")[1].toLowerCase() !== overview.bot.username) return toast(text("opensElsewhere", { link: url.href }));
  if (url.searchParams.has("startapp")) return miniApp.open(appAddress(), url.searchParams.get("startapp"));
  if (url.searchParams.has("start")) return say(`/start ${url.searchParams.get("start")}`.trim());
  // Telegram writes the words of such a link into the field, and leaves it to the user to send them.
  if (url.searchParams.has("text")) find("message").value = url.searchParams.get("text");
  return miniApp.close();
}

const appAddress = () => overview.menu_button.web_app?.url ?? `${overview.shop_url}/`;

async function chooseUser(id) {
  user = overview.users.find((each) => each.id === id);
  sessionStorage.setItem("user", id);
  messages = [];
  await miniApp.close();
  showAll();
  watch();
}

async function chooseLanguage(code) {
  Object.assign(user, await post("/sandbox/users", { id: user.id, language_code: code }));
  showAll();
  reopenApp();
}

function reopenApp() {
  if (miniApp.isOpen) find("mini-app-reload").click();
}

function chooseTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  panel.showUser();
  miniApp.themeChanged();
}

async function watch() {
  watching.abort();
  const { signal } = (watching = new AbortController());
  let revision = -1;
  while (!signal.aborted) {
    try {
      const news = await get(`/sandbox/users/${user.id}/chat?after=${revision}&wait=${WAIT}`);
      if (signal.aborted) return;
      if (news.revision === revision) continue;
      revision = news.revision;
      messages = news.messages;
      const before = JSON.stringify([user, overview.commands, overview.menu_button, overview.users.length]);
      overview = await get("/sandbox/overview");
      user = Object.assign(user, news.user);
      overview.users = overview.users.map((each) => (each.id === user.id ? user : each));
      const after = JSON.stringify([user, overview.commands, overview.menu_button, overview.users.length]);
      if (before !== after || messages.length === 0 || !find("start").hidden) showAll();
      else showMessages(false);
    } catch {
      if (signal.aborted) return;
      toast(text("lostConnection"));
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
}

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = find("message");
  if (input.value.trim()) say(input.value.trim());
  input.value = "";
});
find("start").addEventListener("click", () => say("/start"));
find("open-commands").addEventListener("click", () => toggleCommands(find("commands").hidden));
find("menu-button").addEventListener("click", () => miniApp.open(appAddress()));

const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? preferred;
showAll();
watch();
