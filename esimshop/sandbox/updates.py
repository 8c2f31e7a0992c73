"""Updates of the bot: queued per chat, delivered to the webhook as Telegram does, or fetched by getUpdates."""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from esimshop.sandbox.exchange import Json, encode
from esimshop.sandbox.faults import Fault, Faults, kill_worker
from esimshop.sandbox.state import State

logger = logging.getLogger(__name__)

LEFT_OUT_BY_DEFAULT = {"chat_member", "message_reaction", "message_reaction_count"}
_LIFETIME = 24 * 3600.0
_PRE_CHECKOUT_LIFETIME = 150.0
_READ_TIMEOUT = 60.0
_KEPT = 20_000
_NOT_IN_A_REPLY = {"setwebhook", "deletewebhook", "close", "logout"}


class ConflictError(Exception):
    """Another getUpdates began while this one waited."""


class Updates:
    """The bot's queue of updates.

    execute: runs a Bot API call found in the webhook's answer, given its parameters with "method".
    """

    def __init__(self, state: State, faults: Faults, execute: Callable[[Json], None]) -> None:
        self._state = state
        self._faults = faults
        self._execute = execute
        self._busy: set[str] = set()
        self._webhook_version = 0
        self._polls = 0
        self._delivered = 0
        self._stopped = False
        self._connections = threading.Semaphore(40)
        self._session = requests.Session()
        self._session.trust_env = False
        # A shop that tries its certificate has it from an authority of its own.
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=100)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def add(self, update: Json, *, chat_id: int) -> int | None:
        """Queue an update, given without update_id; None if the bot does not take its kind."""
        state = self._state
        with state.lock:
            kind = next((name for name in update if name != "update_id"), "")
            allowed = state.bot["allowed_updates"]
            if kind in LEFT_OUT_BY_DEFAULT if not allowed else kind not in allowed:
                return None
            update_id = update.get("update_id") or state.new_update_id()
            now = time.time()
            is_query = kind == "pre_checkout_query"
            state.updates[update_id] = {
                "update": {**update, "update_id": update_id},
                "name": f"webhook.{_fine_kind(kind, update[kind])}",
                "queue": f"{'pre_checkout' if is_query else 'chat'}:{chat_id}",
                "created_at": now,
                "expires_at": now + (_PRE_CHECKOUT_LIFETIME if is_query else _LIFETIME),
                "attempts": 0,
                "delivered_at": None,
                "outcome": "pending",
            }
            state.pending.append(update_id)
            while len(state.updates) > _KEPT and (oldest := next(iter(state.updates))) not in state.pending:
                del state.updates[oldest]
            state.touch()
            self._work_on(state.updates[update_id]["queue"])
            return int(update_id)

    def webhook_changed(self) -> None:
        """Begin anew with the deliveries, to the webhook that is set now."""
        with self._state.lock:
            self._webhook_version += 1
            self._state.touch()
            webhook = self._state.bot["webhook"]
            if webhook:
                self._connections = threading.Semaphore(webhook["max_connections"])
            self.wake()

    def wake(self) -> None:
        """Let every queue that has something to deliver be worked on."""
        with self._state.lock:
            for update_id in self._state.pending:
                self._work_on(self._state.updates[update_id]["queue"])

    def _work_on(self, queue: str) -> None:
        if self._stopped or not self._state.bot["webhook"] or queue in self._busy:
            return
        self._busy.add(queue)
        threading.Thread(target=self._drain, args=(queue,), daemon=True).start()

    def stop(self) -> None:
        with self._state.lock:
            self._stopped = True
            self._state.touch()
        self._session.close()

    def fetch(self, *, offset: int, limit: int, timeout: int) -> list[Json]:
        """getUpdates: confirm what lies before offset, then wait up to timeout seconds for the rest."""
        state = self._state
        with state.lock:
            self._polls += 1
            poll = self._polls
            state.touch()
            if offset < 0:
                offset = state.pending[max(len(state.pending) + offset, 0)] if state.pending else 0
            for update_id in [pending for pending in state.pending if pending < offset]:
                self._settle(update_id, "delivered")
            state.changed.wait_for(lambda: state.pending or poll != self._polls or self._stopped, timeout=timeout)
            if poll != self._polls:
                raise ConflictError
            return [state.updates[update_id]["update"] for update_id in sorted(state.pending)[:limit]]

    def drop_pending(self) -> None:
        with self._state.lock:
            for update_id in list(self._state.pending):
                self._settle(update_id, "dropped")

    def redeliver(self, update_id: int, times: int) -> list[int | None]:
        """Send an update again, all copies at once; the HTTP statuses, None for no answer.

        Raises KeyError for an unknown update, LookupError without a webhook.
        """
        with self._state.lock:
            update = self._state.updates[update_id]["update"]
            if not self._state.bot["webhook"]:
                raise LookupError("no webhook is set")
        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(lambda _: self._send(update)[0], range(times)))

    def _drain(self, queue: str) -> None:
        state = self._state
        while True:
            with state.lock:
                update_id = self._next_of(queue)
                if update_id is None:
                    self._busy.discard(queue)
                    return
                record = state.updates[update_id]
                version = self._webhook_version
            fault = None if record.get("held_until") else self._faults.take(record["name"])
            if fault is not None and fault.kind == "reorder":
                with state.lock:
                    record["held_until"] = time.time() + fault.seconds
                    record["held_from"] = self._delivered
                continue
            if fault is not None and fault.kind == "lose":
                with state.lock:
                    self._settle(update_id, "lost")
                continue
            status, retry_after = self._attempt(record, fault)
            with state.lock:
                if update_id not in state.pending:
                    continue
                record["attempts"] += 1
                if status is not None and 200 <= status < 300:
                    self._delivered += 1
                    self._settle(update_id, "delivered")
                    continue
                wait = retry_after if retry_after is not None else _wait_after(record["attempts"])
                wait *= state.settings["retry_scale"]
                if time.time() + wait > record["expires_at"]:
                    self._settle(update_id, "expired")
                    continue
                self._pause(wait, version)

    def _pause(self, seconds: float, version: int) -> None:
        """Wait before the next try, unless the webhook is set anew meanwhile."""
        self._state.changed.wait_for(lambda: self._stopped or self._webhook_version != version, timeout=seconds)

    def _next_of(self, queue: str) -> int | None:
        """The next update to deliver, held back ones aside; waits while there are only those."""
        state = self._state
        while not self._stopped and state.bot["webhook"]:
            waiting = [number for number in state.pending if state.updates[number]["queue"] == queue]
            if not waiting:
                return None
            for number in waiting:
                record = state.updates[number]
                held_until = record.get("held_until", 0)
                if held_until < time.time() or record["held_from"] < self._delivered:
                    return number
            state.changed.wait(0.05)
        return None

    def _attempt(self, record: Json, fault: Fault | None) -> tuple[int | None, float | None]:
        kind = fault.kind if fault is not None else ""
        if fault is not None:
            if kind == "delay":
                time.sleep(fault.seconds)
            if kind == "kill_worker" and not fault.after_work:
                kill_worker(fault)
            if kind == "drop":
                self._note_error("Connection reset by peer")
                return None, None
        with self._connections:
            status, retry_after = self._send(
                record["update"], obey_reply=kind not in {"drop_after_work", "timeout_after_work"}
            )
            if kind == "duplicate":
                self._send(record["update"])
        if kind == "kill_worker" and fault is not None and fault.after_work:
            kill_worker(fault)
        if kind in {"drop_after_work", "timeout_after_work"}:
            self._note_error("Connection reset by peer" if kind == "drop_after_work" else "Read timeout expired")
            return None, None
        return status, retry_after

    def _send(self, update: Json, *, obey_reply: bool = True) -> tuple[int | None, float | None]:
        with self._state.lock:
            webhook = self._state.bot["webhook"]
            if not webhook:
                return None, None
        headers = {"Content-Type": "application/json"}
        if webhook["secret_token"]:
            headers["X-Telegram-Bot-Api-Secret-Token"] = webhook["secret_token"]
        try:
            answer = self._session.post(
                webhook["url"],
                data=encode(update),
                headers=headers,
                timeout=(5, _READ_TIMEOUT),
                allow_redirects=False,
            )
        except requests.Timeout:
            self._note_error("Read timeout expired")
            return None, None
        except requests.RequestException:
            self._note_error("Connection refused")
            return None, None
        if 200 <= answer.status_code < 300:
            if obey_reply:
                self._obey(answer.content)
        else:
            self._note_error(f"Wrong response from the webhook: {answer.status_code} {answer.reason}")
        retry_after = answer.headers.get("Retry-After", "")
        return answer.status_code, min(float(retry_after), 3600.0) if retry_after.isdecimal() else None

    def _obey(self, body: bytes) -> None:
        try:
            call = json.loads(body)
        except ValueError:
            return
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return
        method = call["method"].lower()
        if method not in _NOT_IN_A_REPLY and not method.startswith("get"):
            self._execute(call)

    def _note_error(self, message: str) -> None:
        with self._state.lock:
            self._state.bot["last_error"] = {"date": int(time.time()), "message": message}

    def _settle(self, update_id: int, outcome: str) -> None:
        state = self._state
        if update_id not in state.pending:
            return  # a reset came between
        state.pending.remove(update_id)
        state.updates[update_id] |= {"outcome": outcome, "delivered_at": time.time()}
        state.touch()


def _fine_kind(kind: str, content: Json) -> str:
    for service_message in ("successful_payment", "refunded_payment"):
        if kind == "message" and service_message in content:
            return service_message
    return kind


def _wait_after(attempts: int) -> float:
    """Seconds before the next try: none after the first failure, then 2, 4, 8 … up to a random 60 to 120."""
    return 0.0 if attempts == 1 else min(2.0 ** (attempts - 1), 60.0 + secrets.randbelow(61))
