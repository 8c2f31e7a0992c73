"""Customers who browse and buy without a pause, and note whatever did not go as it should."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

Json = dict[str, Any]

FIRST_BUYER = 7_000_001
#: Longer than a restart may keep a request waiting.
PATIENCE_SECONDS = 45


class Buyers:
    """A context: they buy while it is open.

    network: where each of their threads lives. trust: the file of the authority of the shop's certificate.
    failures: what went wrong, a line each; also a till at which the shop kept Telegram waiting for ten seconds.
    counts: purchases by outcome, and requests to the shop.
    longest_seconds: what the slowest request to the shop took.
    """

    def __init__(
        self,
        *,
        shop_url: str,
        sandbox_url: str,
        bundles: list[str],
        network: Callable[[], AbstractContextManager[None]],
        trust: str | bool = True,
        buyers: int = 6,
        pause_seconds: float = 0.5,
    ) -> None:
        self._shop_url, self._sandbox_url, self._bundles = shop_url, sandbox_url, bundles
        self._network, self._trust, self._pause_seconds = network, trust, pause_seconds
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=[FIRST_BUYER + i], daemon=True) for i in range(buyers)
        ]
        self._lock = threading.Lock()
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.longest_seconds = 0.0

    def __enter__(self) -> Buyers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS * 2)

    def summary(self) -> str:
        return f"{self.counts['paid']} paid, {self.counts['requests']} requests, slowest {self.longest_seconds:.1f} s"

    def paid(self) -> int:
        return self.counts["paid"]

    def wait_for(self, purchases: int, *, seconds: float = 60) -> None:
        """Until so many more were paid."""
        goal, deadline = self.paid() + purchases, time.monotonic() + seconds
        while self.paid() < goal:
            assert time.monotonic() < deadline, f"{self.counts}, {self.failures[:5]}"
            time.sleep(0.05)

    def _live(self, user_id: int) -> None:
        with self._network(), requests.Session() as session:
            session.trust_env = False
            user = {"id": user_id, "first_name": "Vera", "language_code": "en", "stars": 10_000_000, "started": True}
            session.post(f"{self._sandbox_url}/sandbox/users", json=user, timeout=10)
            for number in itertools.count():
                if self._is_over.wait(self._pause_seconds):
                    return
                try:
                    self._buy(session, user_id, self._bundles[number % len(self._bundles)])
                except Exception as error:
                    self._note(f"{type(error).__name__}: {error}"[:300])

    def _buy(self, session: requests.Session, user_id: int, bundle: str) -> None:
        init_data = session.get(f"{self._sandbox_url}/sandbox/users/{user_id}/init-data", timeout=10).json()[
            "init_data"
        ]
        who = {"Authorization": f"tma {init_data}"}
        self._ask(session, "GET", f"/api/plans/{bundle}")
        key = {"Idempotency-Key": uuid.uuid4().hex}
        placed = self._ask(
            session, "POST", "/api/telegram/stars/create-invoice", headers=who | key, json={"plan": bundle}
        ).json()
        paid = session.post(
            f"{self._sandbox_url}/sandbox/users/{user_id}/pay", json={"link": placed["invoice_link"]}, timeout=40
        ).json()
        if paid["status"] != "paid":
            self._note(f"not paid: {paid}")
        with self._lock:
            self.counts[paid["status"]] += 1
        self._ask(session, "GET", f"/api/orders/{placed['order_id']}", headers=who)

    def _ask(self, session: requests.Session, method: str, path: str, **details: Any) -> requests.Response:
        started = time.monotonic()
        answer = session.request(
            method, f"{self._shop_url}{path}", timeout=PATIENCE_SECONDS, verify=self._trust, **details
        )
        took = time.monotonic() - started
        with self._lock:
            self.counts["requests"] += 1
            self.longest_seconds = max(self.longest_seconds, took)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    def _note(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)
