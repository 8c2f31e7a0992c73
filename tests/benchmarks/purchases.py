"""Whole purchases through sandbox, shop and worker: how long from Telegram's charge to the QR code in the chat."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_SECONDS = 30.0
BUYERS_AT_ONCE = 16


class NoQrCode(Exception):
    """A purchase did not end with the QR code in the chat."""


class Buyers:
    """People of the sandbox who buy a plan, each their first.

    shop_url, sandbox_url: without a slash at the end.
    """

    def __init__(self, *, shop_url: str, sandbox_url: str, bundle_name: str) -> None:
        self._shop_url = shop_url
        self._sandbox_url = sandbox_url
        self._bundle_name = bundle_name
        self._next_id = 5_000_000

    def buy_in_turn(self, count: int) -> list[float]:
        """Purchases one after another; seconds from charge to QR code of each."""
        return self._waits({user_id: self._buy(user_id) for user_id in self._invite(count)})

    def buy_steadily(self, count: int, *, per_second: float) -> list[float]:
        """Purchases that begin `per_second` each second, however long they take; seconds from charge to QR code."""
        buyers = self._invite(count)
        with ThreadPoolExecutor(BUYERS_AT_ONCE) as pool:
            started = time.monotonic()
            purchases = {}
            for number, user_id in enumerate(buyers):
                time.sleep(max(0.0, started + number / per_second - time.monotonic()))
                purchases[user_id] = pool.submit(self._buy, user_id)
            return self._waits({user_id: purchase.result() for user_id, purchase in purchases.items()})

    def _invite(self, count: int) -> list[int]:
        ids = list(range(self._next_id, self._next_id + count))
        self._next_id += count
        with requests.Session() as session:
            for user_id in ids:
                user = {"id": user_id, "first_name": "Ben", "language_code": "en", "stars": 1_000_000}
                self._call(session, "POST", f"{self._sandbox_url}/sandbox/users", json=user)
        return ids

    def _buy(self, user_id: int) -> float:
        """Buy as the Mini App does; the time (of `time.time`) at which the QR code was in the chat."""
        person = f"{self._sandbox_url}/sandbox/users/{user_id}"
        with requests.Session() as session:
            init_data = self._call(session, "GET", f"{person}/init-data")["init_data"]
            invoice = self._call(
                session,
                "POST",
                f"{self._shop_url}/api/telegram/stars/create-invoice",
                json={"plan": self._bundle_name},
                headers={"Authorization": f"tma {init_data}"},
            )
            outcome = self._call(session, "POST", f"{person}/pay", json={"link": invoice["invoice_link"]})
            if outcome["status"] != "paid":
                raise NoQrCode(f"not paid: {outcome}")
            revision, deadline = -1, time.monotonic() + LONGEST_SECONDS
            while time.monotonic() < deadline:
                chat = self._call(session, "GET", f"{person}/chat?after={revision}&wait=5")
                if any(message["photo"] for message in chat["messages"]):
                    return time.time()
                revision = chat["revision"]
        raise NoQrCode(f"none within {LONGEST_SECONDS:.0f} s of the payment")

    def _waits(self, seen_at: dict[int, float]) -> list[float]:
        with requests.Session() as session:
            updates = self._call(session, "GET", f"{self._sandbox_url}/sandbox/ledger")["updates"]
        charged_at = {
            record["update"]["message"]["from"]["id"]: record["created_at"] for record in _payments_among(updates)
        }
        return [seen - charged_at[user_id] for user_id, seen in seen_at.items()]

    @staticmethod
    def _call(session: requests.Session, method: str, url: str, **details: Any) -> Any:
        session.trust_env = False
        answer = session.request(method, url, timeout=LONGEST_SECONDS, **details)
        if not answer.ok:
            raise NoQrCode(f"{url}: {answer.status_code} {answer.text[:300]}")
        return answer.json()


def _payments_among(updates: Iterable[Any]) -> Iterable[Any]:
    # The sandbox writes the charge down and queues its update at one moment.
    return (record for record in updates if "successful_payment" in record["update"].get("message", {}))
