"""What the sandbox remembers: people, Stars, messages, updates, orders and eSIMs."""

from __future__ import annotations

import os
import secrets
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from esimshop.sandbox.exchange import Json, decode, encode

# Identifiers go on from the clock, so that a sandbox started without its old state never repeats one
# that the shop has already stored.
_IDENTIFIERS_BEGIN = 1_704_067_200

DEFAULT_SETTINGS: Json = {
    "rate_limit": True,  # eSIM Go's 10 tokens a second
    "retry_scale": 1.0,  # factor on the waits between webhook deliveries
    "pre_checkout_seconds": 10.0,  # how long a buyer waits for the answer
    "latency_ms": 0,  # added to every answer of both services
    "esims_in_order": True,  # False: an order answers without its eSIMs, they come with /esims/assignments
    "refunds_enabled": False,  # eSIM Go refunds revoked bundles only for accounts that asked for it
}

DEFAULT_USERS: tuple[Json, ...] = (
    {"id": 1001, "first_name": "Anna", "username": "anna_sandbox", "language_code": "ru"},
    {"id": 1002, "first_name": "Ben", "username": "ben_sandbox", "language_code": "en"},
)

_SAVED = (
    "users",
    "chats",
    "photos",
    "invoices",
    "transactions",
    "bot",
    "updates",
    "pending",
    "queries",
    "balance_usd",
    "orders",
    "esims",
    "overrides",
    "settings",
    "storage",
    "next_update_id",
    "next_message_id",
)
_KEYED_BY_NUMBER = ("users", "chats", "updates")


class State:
    """All memory of the sandbox. Read and write only while holding `lock`; say `touch()` after a change."""

    def __init__(self, file: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.revision = 0
        self.bot: Json = {}
        self.next_update_id = (int(time.time()) - _IDENTIFIERS_BEGIN) * 10
        self.next_message_id = int(time.time()) - _IDENTIFIERS_BEGIN
        self._file = file
        self.reset(keep_bot=False)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                self._load(file)

    def reset(self, *, keep_bot: bool) -> None:
        """Forget all but identifiers and, with keep_bot, the bot's webhook, commands and menu button."""
        with self.lock:
            # A call that is still waiting out a delay belongs to the world before.
            self.world = object()
            self.users: dict[int, Json] = {}
            self.chats: dict[int, list[Json]] = {}
            self.photos: dict[str, Json] = {}
            self.invoices: dict[str, Json] = {}
            self.transactions: list[Json] = []
            self.updates: dict[int, Json] = {}
            self.pending: list[int] = []
            self.queries: dict[str, Json] = {}
            self.balance_usd = Decimal(10000)
            self.orders: dict[str, Json] = {}
            self.esims: dict[str, Json] = {}
            self.overrides: dict[str, Json] = {}
            self.storage: dict[str, dict[str, str]] = {}
            self.settings: Json = dict(DEFAULT_SETTINGS)
            self.calls: dict[str, int] = {}
            self.recent_calls: list[Json] = []
            if not keep_bot:
                self.bot = {
                    "webhook": None,
                    "allowed_updates": None,
                    "last_error": None,
                    "commands": {},
                    "menu_button": {"type": "default"},
                }
            for user in DEFAULT_USERS:
                self.put_user(user)
            self.touch()

    def touch(self) -> None:
        """Tell everyone who waits that something changed."""
        self.revision += 1
        self.changed.notify_all()

    def put_user(self, fields: Json) -> Json:
        """Add a user, or change the named fields of one."""
        with self.lock:
            identifier = int(fields.get("id") or secrets.randbelow(9_000_000_000) + 1_000_000_000)
            user = self.users.setdefault(
                identifier,
                {
                    "id": identifier,
                    "first_name": "Guest",
                    "last_name": "",
                    "username": "",
                    "language_code": "en",
                    "stars": 5000,
                    "started": True,
                    "blocked_bot": False,
                },
            )
            user.update({name: value for name, value in fields.items() if name in user and name != "id"})
            self.chats.setdefault(identifier, [])
            self.touch()
            return user

    def new_update_id(self) -> int:
        with self.lock:
            self.next_update_id += 1
            return self.next_update_id

    def new_message_id(self) -> int:
        with self.lock:
            self.next_message_id += 1
            return self.next_message_id

    def count_call(self, name: str, *, status: int | None, fault: str | None) -> None:
        """Log a call by name; status None means that it got no answer."""
        with self.lock:
            self.calls[name] = self.calls.get(name, 0) + 1
            self.recent_calls.append({"name": name, "status": status, "fault": fault, "at": time.time()})
            del self.recent_calls[:-500]

    def save(self) -> None:
        """Write the snapshot, if a file was given; whole or not at all."""
        if self._file is None:
            return
        with self.lock:
            content = encode({name: getattr(self, name) for name in _SAVED})
            draft = self._file.with_suffix(".draft")
            draft.write_bytes(content)
            os.replace(draft, self._file)

    def _load(self, file: Path) -> None:
        saved: dict[str, Any] = decode(file.read_bytes())
        for name in _SAVED:
            if name not in saved:
                continue
            value = saved[name]
            if name in _KEYED_BY_NUMBER:
                value = {int(key): item for key, item in value.items()}
            setattr(self, name, value)
        self.balance_usd = Decimal(self.balance_usd)
        # Times that are waited for: the clock's arithmetic takes no Decimal.
        settings = {
            name: float(value) if isinstance(value, Decimal) else value for name, value in self.settings.items()
        }
        self.settings = {**DEFAULT_SETTINGS, **settings}
