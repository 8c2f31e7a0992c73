"""One run: the same rounds of reference and shop after each other, then whole purchases."""

from __future__ import annotations

import itertools
import logging
import sys
import warnings
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import requests
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from catalog.models import Plan
from tests.benchmarks import bare, stock
from tests.benchmarks.closed_loop import get_request, post_request, run_load
from tests.benchmarks.figures import Measure, Wait, table
from tests.benchmarks.purchases import Buyers
from tests.outside import WEBHOOK, init_data, payment_update, pre_checkout_update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.processes import Processes

PLANS_PATH = "/api/plans"
CREATE_INVOICE = "/api/telegram/stars/create-invoice"
PLANS_A_PAGE = 100
_AROUND = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "SELECT 1")  # the last asks whether the connection is alive
_numbers = itertools.count(1)
_buyers = itertools.count(8_000_000_000)


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds of so many requests each, and so many purchases in both manners."""

    rounds: int
    requests: int
    purchases: int
    plans: int = stock.PLANS


FULL = Size(rounds=5, requests=500, purchases=20)
QUICK = Size(rounds=1, requests=20, purchases=2, plans=250)


class Run:
    """Measures on processes that are prepared: `prepare` first, then `measure`, then `report`."""

    def __init__(self, processes: Processes, size: Size) -> None:
        self.processes = processes
        self.size = size
        self.bare_view = Measure("bare view")
        self.bare_insert = Measure("bare view that inserts one row")
        self.pre_checkout = Measure("pre-checkout decision / insert", self.bare_insert, least=0.4)
        self.webhook = Measure("successful_payment / insert", self.bare_insert, least=0.25)
        self.plans = Measure(f"100 of {size.plans:,} plans / bare", self.bare_view, least=0.3)
        self.unchanged = Measure("the same, answered 304 / bare", self.bare_view, least=0.6)
        self.plans_made = Measure("the same, not kept in memory / bare", self.bare_view)
        self.create_invoice = Measure("create-invoice, to Telegram and back")
        self.waits: list[Wait] = []
        self.statements: list[str] = []

    def prepare(self) -> None:
        # This process speaks by its table; the servers write their logs as ever, into files.
        logging.getLogger().setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "No directory at", UserWarning)  # of static files, which nobody asks for
        _say(f"Logs while it runs: {self.processes.folder}")
        _say("Tables, sandbox and catalogue")
        call_command("migrate", interactive=False, verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(bare.CREATE_TABLE)
        rate_sheet = self.processes.folder / "rates.csv"
        stock.write_rate_sheet(rate_sheet, plans=self.size.plans)
        self.processes.start_sandbox(rate_sheet=rate_sheet)
        # The limit of eSIM Go is a real shop's ceiling; what is measured is our own part.
        _tell_sandbox(self.processes, {"rate_limit": False, "balance_usd": 5_000_000})
        call_command("sync_catalog", stdout=StringIO())
        if (listed := Plan.objects.on_sale().count()) != self.size.plans:
            raise stock.Unfinished(f"{listed} of {self.size.plans} plans are on sale")
        call_command("set_webhook", stdout=StringIO())
        stock.analyze()
        _say("Servers")
        self.processes.start_shop()
        self.processes.start_bare()

    def measure(self) -> None:
        # The first round, thrown away, fills caches and opens connections.
        for number in range(self.size.rounds + 1):
            _say(f"Round {number} of {self.size.rounds}" if number else "Warming up")
            self._measure_round()
            if number == 0:
                for measure in self._measures:
                    measure.rounds.clear()
        self._count_statements()
        _say("Purchases")
        self._measure_purchases()

    def report(self) -> Iterator[str]:
        """The lines of the result."""
        yield from table(self._measures, self.waits)
        yield ""
        yield from self.statements

    @property
    def _measures(self) -> list[Measure]:
        return [
            *(self.bare_view, self.plans, self.unchanged, self.plans_made),
            *(self.bare_insert, self.pre_checkout, self.webhook, self.create_invoice),
        ]

    def _measure_round(self) -> None:
        count = self.size.requests
        shop, bare_port = self.processes.shop_port, self.processes.bare_port
        pages = range(1, -(-self.size.plans // PLANS_A_PAGE) + 1)
        tags = {page: self._etag(page) for page in pages}

        def plan_pages(number: int, *, with_tag: bool = False, made_anew: bool = False) -> list[bytes]:
            listed = []
            for page in itertools.islice(itertools.cycle(pages), number):
                # An address that nobody has asked for yet.
                path = f"{PLANS_PATH}?page={page}" + (f"&asked={next(_numbers)}" if made_anew else "")
                # From many addresses: a limit counts what one of them has made anew.
                headers = {"X-Forwarded-For": f"10.0.0.{next(_numbers) % 256}"}
                listed.append(get_request(path, headers | ({"If-None-Match": tags[page]} if with_tag else {})))
            return listed

        self._add(self.bare_view, run_load(bare_port, [get_request("/")] * count * 3, status=200, text=b"ok"))
        plans = plan_pages(count)
        self._add(self.plans, run_load(shop, plans, status=200, text=b'"results"'))
        self._add(self.unchanged, run_load(shop, plan_pages(count * 2, with_tag=True), status=304))
        made_anew = plan_pages(max(count // 4, 1), made_anew=True)
        self._add(self.plans_made, run_load(shop, made_anew, status=200, text=b'"results"'))

        orders = stock.place_orders(count)
        asked = [post_request(WEBHOOK, pre_checkout_update(order), _secret()) for order in orders]
        paid = [post_request(WEBHOOK, payment_update(order), _secret()) for order in orders]
        inserted = [post_request("/insert", payment_update(order)) for order in orders]
        self._add(self.bare_insert, run_load(bare_port, inserted, status=200, text=b"ok"))
        self._add(self.pre_checkout, run_load(shop, asked, status=200, text=b'"ok": true'))
        self._add(self.webhook, run_load(shop, paid, status=200))
        stock.expect_paid(orders)
        stock.settle()

        invoices = list(self._invoice_requests(max(count // 4, 1)))
        self._add(self.create_invoice, run_load(shop, invoices, status=201, text=b"https://t.me/$"))

    @staticmethod
    def _add(measure: Measure, load: Any) -> None:
        measure.rounds.append(load)

    def _etag(self, page: int) -> str:
        url = f"http://127.0.0.1:{self.processes.shop_port}{PLANS_PATH}?page={page}"
        answer = requests.get(url, timeout=10)
        answer.raise_for_status()
        return answer.headers["ETag"]

    def _invoice_requests(self, count: int) -> Iterator[bytes]:
        names = list(Plan.objects.on_sale().values_list("bundle_name", flat=True)[:count])
        for name in itertools.islice(itertools.cycle(names), count):
            authorization = {"Authorization": f"tma {init_data(next(_buyers))}"}
            yield post_request(CREATE_INVOICE, {"plan": name}, authorization)

    def _measure_purchases(self) -> None:
        self.processes.start_worker()
        buyers = Buyers(
            shop_url=settings.PUBLIC_URL,
            sandbox_url=self.processes.sandbox_url,
            bundle_name=str(Plan.objects.on_sale().values_list("bundle_name", flat=True)[0]),
        )
        buyers.buy_in_turn(1)  # the worker's first call opens its connections
        in_turn = buyers.buy_in_turn(self.size.purchases)
        steadily = buyers.buy_steadily(self.size.purchases, per_second=2)
        self.waits = [
            Wait("charge to QR code, one after another", in_turn, longest_p50=1.0),
            Wait("charge to QR code, 2 purchases a second", steadily, longest_p50=1.0),
        ]

    def _count_statements(self) -> None:
        """What one request costs in statements, as PostgreSQL sees them: those of all middleware included."""
        [order] = orders = stock.place_orders(1)
        kinds = (("pre-checkout decision", pre_checkout_update(order)), ("successful_payment", payment_update(order)))
        for name, update in kinds:
            with stock.logged_statements(self.processes.postgres_log) as statements:
                run_load(self.processes.shop_port, [post_request(WEBHOOK, update, _secret())], status=200)
            around = sum(statement.startswith(_AROUND) for statement in statements)
            self.statements.append(f"{name}: {len(statements)} SQL statements, {around} of them around the others")
        stock.expect_paid(orders)
        stock.settle()


def _secret() -> dict[str, str]:
    return {"X-Telegram-Bot-Api-Secret-Token": settings.TELEGRAM_WEBHOOK_SECRET}


def _tell_sandbox(processes: Processes, wanted: dict[str, Any]) -> None:
    requests.post(f"{processes.sandbox_url}/sandbox/settings", json=wanted, timeout=10).raise_for_status()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
