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
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.benchmarks.closed_loop import get_request, run_load
from tests.benchmarks.figures import percentile
from tests.benchmarks.million import ATTENTION_EVERY, PAYMENTS, REFUNDED_EVERY, Purchase, fill_shop
from tests.benchmarks.processes import Processes

if TYPE_CHECKING:
    from tests.benchmarks.closed_loop import Load

MOST_P95 = 0.150
#: As many members of staff press at the same moment.
CONNECTIONS = 2

ORDERS, PAYMENTS_LIST, FIND = "/admin/orders/order/", "/admin/payments/payment/", "/admin/find/"
TITLES = {ORDERS: "orders", PAYMENTS_LIST: "payments", FIND: "find"}


@dataclass(frozen=True)
class Search:
    """term: what is quoted of a purchase. pages: those that find something by it. is_one: it means a single row."""

    name: str
    term: Callable[[Purchase], object]
    pages: Sequence[str] = (ORDERS, PAYMENTS_LIST, FIND)
    is_one: bool = True

    def status(self, page: str) -> int:
        """What the page answers: the box leads straight to the page of a single row."""
        return 302 if page == FIND and self.is_one else 200


SEARCHES = (
    Search("charge id", lambda bought: bought.charge_id),
    Search("charge id, first 16", lambda bought: bought.charge_id[:16]),
    Search("Telegram id", lambda bought: bought.telegram_user_id),
    Search("@name in another case", lambda bought: f"@{bought.username.upper()}"),
    Search("order id", lambda bought: bought.order_id),
    Search("order id, first 13", lambda bought: str(bought.order_id)[:13]),
    Search("invoice payload", lambda bought: bought.payload),
    Search("ICCID", lambda bought: bought.iccid, (ORDERS, FIND)),
    Search("ICCID, first 16", lambda bought: bought.iccid[:16], (ORDERS, FIND), is_one=False),
    Search("ICCID, first 8: all of them", lambda bought: bought.iccid[:8], (ORDERS, FIND), is_one=False),
    Search("eSIM Go's reference", lambda bought: bought.reference, (ORDERS, FIND)),
    Search("eSIM Go's reference, first 13", lambda bought: bought.reference[:13], (ORDERS, FIND)),
    Search("nothing of this name", lambda bought: f"nobody-has-{bought.number}", is_one=False),
)


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
        print(f"{'':<42}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
        bare = run_load(
            self.processes.bare_port, [get_request("/")] * self.requests * 4, status=200, connections=CONNECTIONS
        )
        print(_line("bare view", bare))
        self._ask([ORDERS, PAYMENTS_LIST, FIND] * 8, status=200)  # what is opened once
        are_ok = True
        for page, title in TITLES.items():
            for search in SEARCHES:
                if page in search.pages:
                    terms = [quote(str(search.term(self._purchase()))) for _ in range(self.requests)]
                    load = self._ask([f"{page}?q={term}" for term in terms], status=search.status(page))
                    are_ok &= _tell(f"{title}: {search.name}", load)
        for page in (ORDERS, PAYMENTS_LIST):
            are_ok &= _tell(f"{TITLES[page]}, as the list opens", self._ask([page] * self.requests, status=200))
        return are_ok

    def _ask(self, paths: list[str], *, status: int) -> Load:
        requests = [get_request(path, {"Cookie": self._session}) for path in paths]
        return run_load(self.processes.shop_port, requests, status=status, connections=CONNECTIONS)

    def _purchase(self) -> Purchase:
        """Any that was paid and delivered: it has all identifiers."""
        while True:
            number = self.dice.randint(1, self.payments)
            if number % REFUNDED_EVERY and number % ATTENTION_EVERY:
                return Purchase(number)


def _tell(name: str, load: Load) -> bool:
    """Print the line of a search; whether it is fast enough."""
    is_ok = percentile(load.latencies, 0.95) < MOST_P95
    print(f"{_line(name, load)}  p95 < {MOST_P95 * 1000:.0f} ms  {'ok' if is_ok else 'too slow'}", flush=True)
    return is_ok


def _line(name: str, load: Load) -> str:
    shares = (statistics.median(load.latencies), *(percentile(load.latencies, share) for share in (0.95, 0.99)))
    return f"{name:<42}" + "".join(f"{seconds * 1000:>9.1f}" for seconds in shares)


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
