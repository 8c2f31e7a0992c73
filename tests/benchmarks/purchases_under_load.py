"""`python -m tests.benchmarks.purchases_under_load`: from charge to QR code, and the webhook meanwhile, under load.

Two loads on gunicorn, one worker, sandbox and PostgreSQL of its own: 10 purchases a second at a wholesaler without a
limit, 2 a second at one that takes eSIM Go's ten calls. Four fifths are whole purchases, as in `purchases`; a fifth
are sent to the webhook from here, pre-checkout and payment, each beside a request to a bare view at the same moment
on the same machine, so that both are measured in the same way.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from tests.benchmarks.figures import percentile
from tests.benchmarks.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

BUYERS_SHARE = 0.8
MOST_P50, MOST_P99, MOST_RATIO = 1.0, 5.0, 5.0


@dataclass(frozen=True)
class LoadCase:
    """purchases a second, and whether the wholesaler's limit is on."""

    per_second: float
    rate_limit: bool


CASES = (LoadCase(per_second=10, rate_limit=False), LoadCase(per_second=2, rate_limit=True))


@dataclass
class Probe:
    """Seconds of requests made while purchases run."""

    webhook: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


class LoadRun:
    """Purchases at a steady rate; `prepare` first."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def prepare(self) -> None:
        from django.core.management import call_command
        from django.db import connection

        from catalog.models import Plan
        from payments.models import ServicePolicy
        from tests.benchmarks import bare, stock
        from tests.benchmarks.purchases import Buyers

        logging.getLogger().setLevel(logging.ERROR)
        call_command("migrate", interactive=False, verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(bare.CREATE_TABLE)
        # An hour's worth of purchases passes in a few minutes.
        ServicePolicy.objects.create(reason="benchmark", purchases_per_hour=1_000_000)
        rate_sheet = self._processes.folder / "rates.csv"
        stock.write_rate_sheet(rate_sheet, plans=250)
        self._processes.start_sandbox(rate_sheet=rate_sheet)
        self._tell_sandbox("settings", {"rate_limit": False, "balance_usd": 5_000_000})
        call_command("sync_catalog", stdout=io.StringIO())
        call_command("set_webhook", stdout=io.StringIO())
        self._processes.start_shop()
        self._processes.start_bare()
        self._processes.start_worker()
        self._buyers = Buyers(
            shop_url=f"http://127.0.0.1:{self._processes.shop_port}",
            sandbox_url=self._processes.sandbox_url,
            bundle_name=str(Plan.objects.on_sale().values_list("bundle_name", flat=True)[0]),
        )
        self._buyers.buy_steadily(10, per_second=2)  # what is opened and planned once

    def measure(self, case: LoadCase, *, seconds: float) -> Iterator[str]:
        """The lines about one load."""
        from tests.benchmarks import stock

        self._tell_sandbox("settings", {"rate_limit": case.rate_limit})
        bought = max(1, round(case.per_second * seconds * BUYERS_SHARE))
        sent = max(1, round(case.per_second * seconds * (1 - BUYERS_SHARE)))
        orders = stock.place_orders(sent)
        for order in orders:
            user = {"id": order.customer.telegram_user_id, "first_name": "Ben", "started": True, "stars": 0}
            self._tell_sandbox("users", user)
        probe = Probe()
        prober = threading.Thread(target=self._send, args=(orders, seconds, probe))
        prober.start()
        waits = self._buyers.buy_steadily(bought, per_second=case.per_second * BUYERS_SHARE)
        prober.join()

        limit = "on" if case.rate_limit else "off"
        yield f"{case.per_second:g} purchases a second for {seconds:g} s, the wholesaler's limit {limit}"
        p50, p99 = statistics.median(waits), percentile(waits, 0.99)
        yield _line(
            "charge to QR code", waits, f"p50 < {MOST_P50:g} s, p99 < {MOST_P99:g} s", p50 < MOST_P50 and p99 < MOST_P99
        )
        yield _line("bare view meanwhile", probe.bare)
        ratio = percentile(probe.webhook, 0.99) / percentile(probe.bare, 0.99)
        wanted = f"p99 {ratio:.1f} times, < {MOST_RATIO:g}"
        yield _line("webhook meanwhile", probe.webhook, wanted, ratio < MOST_RATIO)

    def _send(self, orders: list[Any], seconds: float, probe: Probe) -> None:
        """Pre-checkout and payment of each order, evenly over the time, and the bare view as often."""
        from django.conf import settings
        from django.db import connections

        from tests.outside import WEBHOOK, payment_update, pre_checkout_update

        webhook = f"http://127.0.0.1:{self._processes.shop_port}{WEBHOOK}"
        bare_view = f"http://127.0.0.1:{self._processes.bare_port}/"
        secret = {"X-Telegram-Bot-Api-Secret-Token": settings.TELEGRAM_WEBHOOK_SECRET}
        started = time.monotonic()
        try:
            with requests.Session() as session:
                session.trust_env = False
                for number, order in enumerate(orders):
                    time.sleep(max(0.0, started + number * seconds / len(orders) - time.monotonic()))
                    for make_update in (pre_checkout_update, payment_update):
                        body = make_update(order)
                        probe.webhook.append(_timed(session, webhook, json=body, headers=secret))
                        probe.bare.append(_timed(session, bare_view, json=body))
        finally:
            connections.close_all()

    def _tell_sandbox(self, what: str, wanted: dict[str, Any]) -> None:
        url = f"{self._processes.sandbox_url}/sandbox/{what}"
        requests.post(url, json=wanted, timeout=10).raise_for_status()


def _timed(session: requests.Session, url: str, **details: Any) -> float:
    started = time.perf_counter()
    answer = session.post(url, timeout=30, **details)
    seconds = time.perf_counter() - started
    answer.raise_for_status()
    return seconds


def _line(name: str, seconds: list[float], wanted: str = "", is_ok: bool | None = None) -> str:
    shares = "".join(f"{percentile(seconds, share) * 1000:>9.1f}" for share in (0.5, 0.99))
    verdict = "" if is_ok is None else f"  {wanted}  {'ok' if is_ok else 'too slow'}"
    return f"  {name:<24}{len(seconds):>6}  p50, p99 ms:{shares}{verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.purchases_under_load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load (default 60)")
    arguments = parser.parse_args()
    with Processes() as processes:
        # Nothing that this machine has set for a real shop may reach the run.
        os.environ.clear()
        os.environ.update(processes.environment)
        import django

        django.setup()
        run = LoadRun(processes)
        run.prepare()
        for case in CASES:
            print("\n".join(run.measure(case, seconds=arguments.seconds)), flush=True)


if __name__ == "__main__":
    main()
