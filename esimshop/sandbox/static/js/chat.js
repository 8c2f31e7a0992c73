// The chat with the bot.

import { element, find, withStars } from "./elements.js";
import { count, language, text } from "./texts.js";

const TAGS = {
  bold: "b", italic: "i", underline: "u", strikethrough: "s", code: "code", pre: "pre", blockquote: "blockquote", spoiler: "span",
};

// Entities nest; their offsets count UTF-16 units, as JavaScript's strings do.
function formatted(content, entities, onLink, from = 0, to = content.length) {
  const nodes = [];
  let position = from;
  const inside = entities.filter(({ offset, length }) => offset >= from && offset + length <= to);
  for (const entity of inside) {
    if (entity.offset < position) continue;
    const end = entity.offset + entity.length;
    nodes.push(...plain(content.slice(position, entity.offset), onLink));
    const children = formatted(content, inside.filter((other) => other !== entity), onLink, entity.offset, end);
    nodes.push(
      entity.type === "text_link" ? link(entity.url, children, onLink) : element(TAGS[entity.type] ?? "span", {}, ...children),
    );
    position = end;
  }
  nodes.push(...plain(content.slice(position, to), onLink));
  return nodes;
}

function plain(content, onLink) {
  return content
    .split(/(https?:\/\/[^\s<>]+[^\s<>.,;:!?)]|(?<=^|\s)\/[a-z0-9_]{1,32}\b)/g)
    .filter(Boolean)
    .flatMap((part) => (/^https?:\/\/|^\/[a-z]/.test(part) ? link(part, [part], onLink) : withStars(part)));
}

function link(address, children, onLink) {
  const node = element("a", { href: address.startsWith("/") ? "#" : address, rel: "noopener" }, ...children);
  node.addEventListener("click", (event) => {
    event.preventDefault();
    onLink(address);
  });
  return node;
}

function serviceLine({ service }, botName) {
  const values = { stars: count(service.stars), bot: botName, title: service.title };
  return element("p", { className: "service" }, ...withStars(text(service.kind, values)));
}

function keyboard(message, onButton) {
  if (!message.buttons?.length) return null;
  const keys = element("div", { className: "keys" });
  for (const buttons of message.buttons) {
    const row = element("div", { className: "keys-row" });
    for (const button of buttons) {
      const label = button.url ? `${button.text} ↗` : button.text;
      const key = element("button", { className: "key", type: "button" }, ...withStars(label));
      key.addEventListener("click", () => onButton(message, button));
      row.append(key);
    }
    keys.append(row);
  }
  return keys;
}

function bubble(message, handlers) {
  const moment = new Date(message.date * 1000);
  const time = element("time", {
    dateTime: moment.toISOString(),
    textContent: new Intl.DateTimeFormat(language(), { hour: "2-digit", minute: "2-digit" }).format(moment),
  });
  const photo = message.photo
    ? element("div", { className: "photo" }, element("img", { src: message.photo, alt: text("photo") }))
    : null;
  const words = message.text
    ? element("p", {}, ...formatted(message.text, message.entities ?? [], handlers.onLink))
    : null;
  const keys = keyboard(message, handlers.onButton);
  const whole = element("div", { className: "message" }, element("div", { className: "bubble" }, photo, words, time), keys);
  whole.classList.toggle("mine", message.from === "user");
  whole.classList.toggle("wide", Boolean(keys || photo));
  whole.dataset.messageId = message.message_id;
  return whole;
}

export function showChat(messages, botName, handlers) {
  const chat = find("chat");
  const atEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 80;
  const nodes = messages.map((message) => (message.from === "service" ? serviceLine(message, botName) : bubble(message, handlers)));
  if (nodes.length) nodes.unshift(element("p", { className: "day", textContent: text("today") }));
  else nodes.push(element("p", { className: "empty", textContent: text("empty") }));
  chat.replaceChildren(...nodes);
  if (!atEnd) return;
  const toEnd = () => (chat.scrollTop = chat.scrollHeight);
  toEnd();
  for (const image of chat.querySelectorAll("img")) image.addEventListener("load", toEnd);
}
