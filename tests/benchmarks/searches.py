"""`python -m tests.benchmarks.searches`: the back office's searches over a million payments, as staff meet them."""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.benchmarks.figures import percentile
from tests.benchmarks.load import get_request, run_load
from tests.benchmarks.million import ATTENTION_EVERY, PAYMENTS, REFUNDED_EVERY, Purchase, fill_shop
from tests.benchmarks.processes import Processes

if TYPE_CHECKING:
    from tests.benchmarks.load import Load

MOST_P95 = 0.150
#: As many members of staff press at the same moment.
CONNECTIONS = 2

ORDERS, PAYMENTS_LIST = "/admin/orders/order/", "/admin/payments/payment/"

#: What is quoted of a purchase, on which lists that finds it.
QUOTES: dict[str, tuple[Callable[[Purchase], object], Sequence[str]]] = {
    "charge id": (lambda bought: bought.charge_id, (ORDERS, PAYMENTS_LIST)),
    "charge id, first 16": (lambda bought: bought.charge_id[:16], (PAYMENTS_LIST,)),
    "Telegram id": (lambda bought: bought.telegram_user_id, (ORDERS, PAYMENTS_LIST)),
    "@name in another case": (lambda bought: f"@{bought.username.upper()}", (ORDERS,)),
    "order id": (lambda bought: bought.order_id, (ORDERS, PAYMENTS_LIST)),
    "order id, first 8": (lambda bought: str(bought.order_id)[:8], (ORDERS, PAYMENTS_LIST)),
    "invoice payload": (lambda bought: bought.payload, (ORDERS, PAYMENTS_LIST)),
    "ICCID": (lambda bought: bought.iccid, (ORDERS,)),
    "eSIM Go's reference": (lambda bought: bought.reference, (ORDERS,)),
}
#: What finds nothing, which takes all tables that there are; and the lists as they open.
NOTHING = {"nothing of this name": "?q=nobody-has-this-name", "the list": ""}


class Searches:
    def __init__(self, processes: Processes, *, payments: int, requests: int) -> None:
        self.processes = processes
        self.payments = payments
        self.requests = requests
        self.dice = random.Random(1)
        self._session = ""

    def prepare(self) -> None:
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.db import connection
        from django.test import Client

        logging.getLogger().setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "No directory at", UserWarning)
        _say("Tables")
        call_command("migrate", interactive=False, verbosity=0)
        _say(f"{self.payments:,} payments")
        started = time.perf_counter()
        fill_shop(payments=self.payments)
        _say(f"  in {time.perf_counter() - started:.0f} s")
        client = Client()
        client.force_login(User.objects.create_superuser("support"))
        self._session = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        connection.close()
        self.processes.start_shop()
        self.processes.start_bare()

    def measure(self) -> bool:
        """Print a line for each search; whether all are fast enough."""
        print(f"{'':<34}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
        bare = run_load(
            self.processes.bare_port, [get_request("/")] * self.requests * 4, status=200, connections=CONNECTIONS
        )
        print(_line("bare view", bare))
        self._ask([f"{page}" for page in (ORDERS, PAYMENTS_LIST)] * 8)  # what is opened once
        verdicts = []
        for page in (ORDERS, PAYMENTS_LIST):
            for name, (quoted, pages) in QUOTES.items():
                if page in pages:
                    paths = [f"{page}?q={quote(str(quoted(self._purchase())))}" for _ in range(self.requests)]
                    verdicts.append(self._tell(f"{_title(page)}: {name}", paths))
            for name, query in NOTHING.items():
                verdicts.append(self._tell(f"{_title(page)}: {name}", [f"{page}{query}"] * self.requests))
        return all(verdicts)

    def _tell(self, name: str, paths: list[str]) -> bool:
        load = self._ask(paths)
        is_ok = percentile(load.latencies, 0.95) < MOST_P95
        print(f"{_line(name, load)}  p95 < {MOST_P95 * 1000:.0f} ms  {'ok' if is_ok else 'too slow'}", flush=True)
        return is_ok

    def _ask(self, paths: list[str]) -> Load:
        requests = [get_request(path, {"Cookie": self._session}) for path in paths]
        return run_load(self.processes.shop_port, requests, status=200, text=b"</html>", connections=CONNECTIONS)

    def _purchase(self) -> Purchase:
        """Any that was paid and delivered: it has all identifiers."""
        while True:
            number = self.dice.randint(1, self.payments)
            if number % REFUNDED_EVERY and number % ATTENTION_EVERY:
                return Purchase(number)


def _title(page: str) -> str:
    return "orders" if page == ORDERS else "payments"


def _line(name: str, load: Load) -> str:
    shares = (statistics.median(load.latencies), *(percentile(load.latencies, share) for share in (0.95, 0.99)))
    return f"{name:<34}" + "".join(f"{seconds * 1000:>9.1f}" for seconds in shares)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.searches", description=__doc__)
    parser.add_argument("--payments", type=int, default=PAYMENTS)
    parser.add_argument("--requests", type=int, default=100, help="of each search (default 100)")
    arguments = parser.parse_args()
    with Processes() as processes:
        processes.environment["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.desk_settings"
        # Nothing that this machine has set for a real shop may reach the run.
        os.environ.clear()
        os.environ.update(processes.environment)
        import django

        django.setup()
        searches = Searches(processes, payments=arguments.payments, requests=arguments.requests)
        searches.prepare()
        sys.exit(not searches.measure())


if __name__ == "__main__":
    main()
