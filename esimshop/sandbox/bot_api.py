"""The Bot API methods that the shop uses, with Telegram's checks and error texts."""

from __future__ import annotations

import base64
import re
import secrets
import struct
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from esimshop.sandbox.exchange import Json, Request, Response
from esimshop.sandbox.formatting import FormattingError, parse_html, utf16_length
from esimshop.sandbox.parameters import ParameterError, Parameters
from esimshop.sandbox.state import State
from esimshop.sandbox.updates import ConflictError, Updates
from esimshop.sandbox.users import as_chat, as_user

LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1"}
_MAX_STARS = 100_000
_MAX_SUBSCRIPTION_STARS = 10_000
_SUBSCRIPTION_PERIOD = 2_592_000


class BotApiError(Exception):
    def __init__(self, code: int, description: str, parameters: Json | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


class BotApi:
    def __init__(self, state: State, token: str) -> None:
        self._state = state
        self._token = token
        self.updates: Updates
        self.user = {
            "id": int(token.partition(":")[0]),
            "is_bot": True,
            "first_name": "eSIM Shop",
            "username": "esim_sandbox_bot",
        }
        self._methods: dict[str, tuple[str, Callable[[Parameters], Any]]] = {
            name.lower(): (name, method)
            for name, method in {
                "getMe": self._get_me,
                "setWebhook": self._set_webhook,
                "deleteWebhook": self._delete_webhook,
                "getWebhookInfo": self._get_webhook_info,
                "getUpdates": self._get_updates,
                "createInvoiceLink": self._create_invoice_link,
                "answerPreCheckoutQuery": self._answer_pre_checkout_query,
                "sendMessage": self._send_message,
                "sendPhoto": self._send_photo,
                "editMessageText": self._edit_message_text,
                "answerCallbackQuery": self._answer_callback_query,
                "setMyCommands": self._set_my_commands,
                "getMyCommands": self._get_my_commands,
                "setChatMenuButton": self._set_chat_menu_button,
                "getChatMenuButton": self._get_chat_menu_button,
                "refundStarPayment": self._refund_star_payment,
                "getStarTransactions": self._get_star_transactions,
                "getMyStarBalance": self._get_my_star_balance,
            }.items()
        }

    def name_of(self, path: str) -> str:
        """The method asked for in a path like /bot<token>/sendMessage, in its usual spelling."""
        method = path.rpartition("/")[2]
        return self._methods.get(method.lower(), (method, None))[0]

    def handle(self, request: Request) -> Response:
        token, _, method = request.path.removeprefix("/bot").partition("/")
        try:
            if token != self._token:
                raise BotApiError(401, "Unauthorized")
            result = self.call(method, Parameters.of(request))
        except ParameterError as error:
            return _error(400, f"Bad Request: {error}", None)
        except BotApiError as error:
            return _error(error.code, error.description, error.parameters)
        return Response.json({"ok": True, "result": result})

    def call(self, method: str, parameters: Parameters) -> Any:
        """The result of a call. Raises BotApiError, ParameterError."""
        _, function = self._methods.get(method.lower(), ("", None))
        if function is None:
            raise BotApiError(404, "Not Found")
        with self._state.lock:
            return function(parameters)

    def execute_reply(self, call: Json) -> None:
        """Run a call that came in the webhook's answer; the bot never sees its result."""
        values = {name: value for name, value in call.items() if name != "method"}
        status = 200
        try:
            self.call(call["method"], Parameters(values))
        except (BotApiError, ParameterError) as error:
            status = getattr(error, "code", 400)
        self._state.count_call(f"telegram.{self.name_of(call['method'])}", status=status, fault=None)

    # Updates

    def _get_me(self, parameters: Parameters) -> Json:
        return {
            **self.user,
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
            "has_main_web_app": False,
        }

    def _set_webhook(self, parameters: Parameters) -> bool:
        url = parameters.text("url")
        if not url:
            return self._delete_webhook(parameters)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise _bad("bad webhook: An HTTPS URL must be provided for webhook")
        if parts.hostname not in LOOPBACK_HOSTS:
            raise _bad("bad webhook: the sandbox calls only this machine")
        secret = parameters.text("secret_token")
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            raise _bad("secret token contains unallowed characters")
        self._take_allowed_updates(parameters)
        self._state.bot["webhook"] = {
            "url": url,
            "secret_token": secret,
            "max_connections": min(max(parameters.integer("max_connections", 40), 1), 100),
        }
        if parameters.boolean("drop_pending_updates"):
            self.updates.drop_pending()
        self._state.bot["last_error"] = None
        self.updates.webhook_changed()
        return True

    def _delete_webhook(self, parameters: Parameters) -> bool:
        self._state.bot["webhook"] = None
        if parameters.boolean("drop_pending_updates"):
            self.updates.drop_pending()
        self.updates.webhook_changed()
        return True

    def _get_webhook_info(self, parameters: Parameters) -> Json:
        bot = self._state.bot
        webhook = bot["webhook"]
        info: Json = {
            "url": webhook["url"] if webhook else "",
            "has_custom_certificate": False,
            "pending_update_count": len(self._state.pending),
        }
        if webhook:
            info["ip_address"] = "127.0.0.1"
            info["max_connections"] = webhook["max_connections"]
        if bot["last_error"]:
            info["last_error_date"] = bot["last_error"]["date"]
            info["last_error_message"] = bot["last_error"]["message"]
        if bot["allowed_updates"]:
            info["allowed_updates"] = bot["allowed_updates"]
        return info

    def _get_updates(self, parameters: Parameters) -> list[Json]:
        if self._state.bot["webhook"]:
            raise BotApiError(
                409,
                "Conflict: can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first",
            )
        self._take_allowed_updates(parameters)
        try:
            return self.updates.fetch(
                offset=parameters.integer("offset", 0),
                limit=min(max(parameters.integer("limit", 100), 1), 100),
                timeout=min(max(parameters.integer("timeout", 0), 0), 50),
            )
        except ConflictError:
            raise BotApiError(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            ) from None

    def _take_allowed_updates(self, parameters: Parameters) -> None:
        kinds = parameters.structure("allowed_updates")
        if kinds is None:
            return
        if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
            raise _bad("can't parse allowed updates JSON object")
        self._state.bot["allowed_updates"] = kinds or None

    # Payments

    def _create_invoice_link(self, parameters: Parameters) -> str:
        title, description = parameters.text("title"), parameters.text("description")
        if not 1 <= len(title) <= 32:
            raise _bad("INVOICE_TITLE_INVALID")
        if not 1 <= len(description) <= 255:
            raise _bad("INVOICE_DESCRIPTION_INVALID")
        payload = parameters.text("payload")
        if not 1 <= len(payload.encode()) <= 128:
            raise _bad("INVOICE_PAYLOAD_INVALID")
        if parameters.text("currency") != "XTR":
            raise _bad("PAYMENT_PROVIDER_INVALID")
        if parameters.text("provider_token") or parameters.integer("max_tip_amount", 0):
            raise _bad("STARS_INVOICE_INVALID")
        amount = self._star_amount(parameters)
        if parameters.has("subscription_period"):
            if parameters.integer("subscription_period") != _SUBSCRIPTION_PERIOD:
                raise _bad("SUBSCRIPTION_PERIOD_INVALID")
            if amount > _MAX_SUBSCRIPTION_STARS:
                raise _bad("SUBSCRIPTION_AMOUNT_INVALID")
        slug = secrets.token_urlsafe(16)
        self._state.invoices[slug] = {
            "title": title,
            "description": description,
            "payload": payload,
            "currency": "XTR",
            "amount": amount,
            "created_at": int(time.time()),
            "paid": 0,
        }
        return f"https://t.me/${slug}"

    @staticmethod
    def _star_amount(parameters: Parameters) -> int:
        prices = parameters.structure("prices")
        if not isinstance(prices, list) or not all(isinstance(price, dict) for price in prices):
            raise _bad("can't parse prices JSON object")
        if len(prices) != 1:
            raise _bad("STARS_INVOICE_INVALID")
        label, amount = prices[0].get("label"), prices[0].get("amount")
        if not isinstance(label, str) or not label:
            raise _bad('can\'t parse labeled price: field "label" must be a non-empty string')
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise _bad('can\'t parse labeled price: field "amount" must be a whole number')
        if not 1 <= amount <= _MAX_STARS:
            raise _bad("CURRENCY_TOTAL_AMOUNT_INVALID")
        return amount

    def _answer_pre_checkout_query(self, parameters: Parameters) -> bool:
        query = self._state.queries.get(parameters.text("pre_checkout_query_id"))
        ok, message = parameters.boolean("ok"), parameters.text("error_message")
        if not ok and not message:
            raise _bad("error message must be non-empty")
        if query is None or query["closed"] or query["answer"] is not None:
            raise _bad("query is too old and response timeout expired or query ID is invalid")
        query["answer"] = {"ok": ok, "error_message": message}
        self._state.touch()
        return True

    def _refund_star_payment(self, parameters: Parameters) -> bool:
        state = self._state
        user_id = parameters.integer("user_id")
        charge_id = parameters.text("telegram_payment_charge_id")
        if not charge_id:
            raise _bad("CHARGE_ID_EMPTY")
        user = state.users.get(user_id)
        if user is None:
            raise _bad("USER_ID_INVALID")
        rows = [row for row in state.transactions if row["id"] == charge_id]
        charge = next((row for row in rows if "source" in row), None)
        if charge is None:
            raise _bad("CHARGE_NOT_FOUND")
        if charge["source"].get("user", {}).get("id") != user_id:
            raise _bad("USER_ID_INVALID")
        if any("receiver" in row for row in rows):
            raise _bad("CHARGE_ALREADY_REFUNDED")
        if self.star_balance() < charge["amount"]:
            raise _bad("BALANCE_TOO_LOW")
        now = int(time.time())
        payload = charge["source"]["invoice_payload"]
        user["stars"] += charge["amount"]
        state.transactions.append(
            {"id": charge_id, "amount": charge["amount"], "date": now, "receiver": charge["source"]}
        )
        message_id = state.new_message_id()
        state.chats[user_id].append(
            {
                "message_id": message_id,
                "from": "service",
                "date": now,
                "service": {"kind": "refunded", "stars": charge["amount"], "charge_id": charge_id},
            }
        )
        message = {
            "message_id": message_id,
            "from": self.user,
            "chat": as_chat(user),
            "date": now,
            "refunded_payment": {
                "currency": "XTR",
                "total_amount": charge["amount"],
                "invoice_payload": payload,
                "telegram_payment_charge_id": charge_id,
                "provider_payment_charge_id": "",
            },
        }
        self.updates.add({"message": message}, chat_id=user_id)
        state.touch()
        return True

    def _get_star_transactions(self, parameters: Parameters) -> Json:
        offset = max(parameters.integer("offset", 0), 0)
        limit = min(max(parameters.integer("limit", 100), 1), 100)
        return {"transactions": self._state.transactions[offset : offset + limit]}

    def _get_my_star_balance(self, parameters: Parameters) -> Json:
        return {"amount": self.star_balance()}

    def star_balance(self) -> int:
        """The bot's Stars: what came in less what went out."""
        with self._state.lock:
            return sum(row["amount"] if "source" in row else -row["amount"] for row in self._state.transactions)

    # Messages

    def _send_message(self, parameters: Parameters) -> Json:
        user = self._reachable_user(parameters)
        text, entities = self._formatted(parameters, "text")
        if not text.strip():
            raise _bad("message text is empty")
        if utf16_length(text) > 4096:
            raise _bad("message is too long")
        return self._post(user, {"text": text, "entities": entities}, parameters)

    def _send_photo(self, parameters: Parameters) -> Json:
        user = self._reachable_user(parameters)
        caption, entities = self._formatted(parameters, "caption")
        if utf16_length(caption) > 1024:
            raise _bad("message caption is too long")
        photo_id = self._photo(parameters)
        return self._post(user, {"photo_id": photo_id, "text": caption, "entities": entities}, parameters)

    def _photo(self, parameters: Parameters) -> str:
        name = parameters.text("photo").removeprefix("attach://") or "photo"
        if name in self._state.photos:
            return name
        content = parameters.files.get(name)
        if content is None:
            raise _bad("there is no photo in the request" if not parameters.has("photo") else "wrong remote file id")
        size = _image_size(content)
        if size is None:
            raise _bad("IMAGE_PROCESS_FAILED")
        photo_id = f"AgACAgIAAx{secrets.token_urlsafe(30)}"
        self._state.photos[photo_id] = {
            "content": base64.b64encode(content).decode(),
            "type": "image/png" if content.startswith(b"\x89PNG") else "image/jpeg",
            "width": size[0],
            "height": size[1],
            "bytes": len(content),
        }
        return photo_id

    def _edit_message_text(self, parameters: Parameters) -> Json:
        user = self._reachable_user(parameters)
        message_id = parameters.integer("message_id")
        found = [message for message in self._state.chats[user["id"]] if message["message_id"] == message_id]
        if not found or found[0]["from"] != "bot":
            raise _bad("message to edit not found" if not found else "message can't be edited")
        text, entities = self._formatted(parameters, "text")
        if not text.strip():
            raise _bad("message text is empty")
        if utf16_length(text) > 4096:
            raise _bad("message is too long")
        buttons = self._buttons(parameters)
        if (found[0]["text"], found[0]["entities"], found[0]["buttons"]) == (text, entities, buttons):
            raise _bad(
                "message is not modified: specified new message content and reply markup are exactly "
                "the same as a current content and reply markup of the message"
            )
        found[0].update({"text": text, "entities": entities, "buttons": buttons, "edited": int(time.time())})
        self._state.touch()
        return self.as_message(user, found[0])

    def _answer_callback_query(self, parameters: Parameters) -> bool:
        query = self._state.queries.get(parameters.text("callback_query_id"))
        if query is None or query["answer"] is not None:
            raise _bad("query is too old and response timeout expired or query ID is invalid")
        query["answer"] = {
            "text": parameters.text("text")[:200],
            "show_alert": parameters.boolean("show_alert"),
        }
        self._state.touch()
        return True

    def _reachable_user(self, parameters: Parameters) -> Json:
        if not parameters.text("chat_id"):
            raise _bad("chat_id is empty")
        text = parameters.text("chat_id")
        user = self._state.users.get(int(text)) if re.fullmatch(r"-?\d{1,18}", text) else None
        if user is None:
            raise _bad("chat not found")
        if user["blocked_bot"]:
            raise BotApiError(403, "Forbidden: bot was blocked by the user")
        if not user["started"]:
            raise BotApiError(403, "Forbidden: bot can't initiate conversation with a user")
        return user

    @staticmethod
    def _formatted(parameters: Parameters, name: str) -> tuple[str, list[Json]]:
        text, mode = parameters.text(name), parameters.text("parse_mode").lower()
        if not mode:
            return text, []
        if mode != "html":
            raise _bad("unsupported parse_mode")
        try:
            return parse_html(text)
        except FormattingError as error:
            raise _bad(str(error)) from None

    @staticmethod
    def _buttons(parameters: Parameters) -> list[list[Json]]:
        markup = parameters.structure("reply_markup")
        if markup is None:
            return []
        if not isinstance(markup, dict):
            raise _bad("object expected as reply markup")
        rows = markup.get("inline_keyboard", [])
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise _bad("can't parse inline keyboard")
        for button in (button for row in rows for button in row):
            _check_button(button)
        return rows

    def _post(self, user: Json, content: Json, parameters: Parameters) -> Json:
        message = {
            "message_id": self._state.new_message_id(),
            "from": "bot",
            "date": int(time.time()),
            **content,
            "buttons": self._buttons(parameters),
        }
        self._state.chats[user["id"]].append(message)
        self._state.touch()
        return self.as_message(user, message)

    def as_message(self, user: Json, message: Json) -> Json:
        """Bot API Message of an entry of the chat."""
        shown: Json = {
            "message_id": message["message_id"],
            "from": self.user if message["from"] == "bot" else as_user(user),
            "chat": as_chat(user),
            "date": message["date"],
        }
        text_field, entities_field = "text", "entities"
        if message.get("photo_id"):
            photo = self._state.photos[message["photo_id"]]
            shown["photo"] = [
                {
                    "file_id": message["photo_id"],
                    "file_unique_id": message["photo_id"][-15:],
                    "width": photo["width"],
                    "height": photo["height"],
                    "file_size": photo["bytes"],
                }
            ]
            text_field, entities_field = "caption", "caption_entities"
        if message.get("text"):
            shown[text_field] = message["text"]
        if message.get("entities"):
            shown[entities_field] = message["entities"]
        if message.get("buttons"):
            shown["reply_markup"] = {"inline_keyboard": message["buttons"]}
        if message.get("edited"):
            shown["edit_date"] = message["edited"]
        return shown

    # The bot's looks

    def _set_my_commands(self, parameters: Parameters) -> bool:
        commands = parameters.structure("commands")
        if not isinstance(commands, list) or not all(isinstance(command, dict) for command in commands):
            raise _bad("can't parse list of bot commands")
        for command in commands:
            name, description = str(command.get("command", "")), str(command.get("description", ""))
            if not re.fullmatch(r"/?[a-z0-9_]{1,32}", name):
                raise _bad("BOT_COMMAND_INVALID")
            if not 1 <= len(description) <= 256:
                raise _bad("BOT_COMMAND_DESCRIPTION_INVALID")
        self._state.bot["commands"][parameters.text("language_code")] = [
            {"command": command["command"].removeprefix("/"), "description": command["description"]}
            for command in commands
        ]
        self._state.touch()
        return True

    def _get_my_commands(self, parameters: Parameters) -> list[Json]:
        commands: list[Json] = self._state.bot["commands"].get(parameters.text("language_code"), [])
        return commands

    def _set_chat_menu_button(self, parameters: Parameters) -> bool:
        button = parameters.structure("menu_button") or {"type": "default"}
        if not isinstance(button, dict) or button.get("type") not in {"default", "commands", "web_app"}:
            raise _bad("can't parse menu button")
        if button["type"] == "web_app":
            if not button.get("text"):
                raise _bad("menu button text must be non-empty")
            _check_web_app(button.get("web_app"), "menu button")
        self._state.bot["menu_button"] = button
        self._state.touch()
        return True

    def _get_chat_menu_button(self, parameters: Parameters) -> Json:
        button: Json = self._state.bot["menu_button"]
        return button


def _error(code: int, description: str, parameters: Json | None) -> Response:
    body: Json = {"ok": False, "error_code": code, "description": description}
    if parameters:
        body["parameters"] = parameters
    return Response.json(body, code)


def _bad(what: str) -> BotApiError:
    return BotApiError(400, f"Bad Request: {what}")


def _check_button(button: object) -> None:
    if not isinstance(button, dict) or not isinstance(button.get("text"), str) or not button["text"].strip():
        raise _bad("can't parse inline keyboard button: text must be non-empty")
    actions = [name for name in ("url", "callback_data", "web_app", "copy_text", "pay") if button.get(name)]
    if len(actions) != 1:
        raise _bad("text buttons are unallowed in the inline keyboard")
    if "callback_data" in actions and len(str(button["callback_data"]).encode()) > 64:
        raise _bad("BUTTON_DATA_INVALID")
    if "url" in actions:
        parts = urlsplit(str(button["url"]))
        if parts.scheme not in {"http", "https", "tg"} or not parts.netloc:
            raise _bad("BUTTON_URL_INVALID")
    if "web_app" in actions:
        _check_web_app(button["web_app"], "inline keyboard button")


def _check_web_app(web_app: object, place: str) -> None:
    url = str(web_app.get("url", "")) if isinstance(web_app, dict) else ""
    parts = urlsplit(url)
    # Like Telegram's test servers, the sandbox takes plain HTTP, but only from this machine.
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        raise _bad(f"{place} Web App URL '{url}' is invalid: Only HTTPS links are allowed")


def _image_size(content: bytes) -> tuple[int, int] | None:
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > 24:
        width, height = struct.unpack(">II", content[16:24])
        return int(width), int(height)
    if content.startswith(b"\xff\xd8"):
        found = re.search(rb"\xff[\xc0-\xc2]..\x08(..)(..)", content, re.DOTALL)
        if found:
            return int.from_bytes(found[2]), int.from_bytes(found[1])
    return None
