"""One run: a day, eSIM Go's limit, a slow Telegram, steps of rising load; then the books."""

from __future__ import annotations

import asyncio
import io
import logging
import random
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from catalog.models import Plan
from orders.models import Delivery
from payments.models import Payment, ServicePolicy
from tests.benchmarks import bare, stock
from tests.benchmarks.figures import percentile
from tests.benchmarks.load.crowd import Catalogue, Crowd
from tests.benchmarks.load.gauges import Backlog, Gauges, Memory, postmaster_pid, read_backlog, read_sizes
from tests.benchmarks.load.mix import Phase, day
from tests.benchmarks.load.open_loop import Record
from tests.chaos.books import Books, compare, count_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks.load.processes import ScaledProcesses

WEBHOOK_KINDS = ("pre-checkout", "successful_payment")
#: What a step of the load has to keep: most of the webhook's p95, most seconds' worth of purchases that wait.
MOST_WEBHOOK_P95, MOST_SECONDS_BEHIND = 0.25, 3.0
#: All that a phase began has ended by then, even where each answer took as long as it may.
LONGEST_ENDING_SECONDS = 180.0


@dataclass(frozen=True)
class Scale:
    """minutes: of the day. purchases: a second; of the day its mean.

    telegram_seconds: how long a slow Telegram takes to make a link.
    setups: web and worker processes for which the load is stepped up.
    """

    plans: int
    minutes: float
    purchases: float
    limited: Phase
    slow_telegram: Phase
    steps: Sequence[float]
    setups: Sequence[tuple[int, int]]
    telegram_seconds: float = 5.0
    step_seconds: float = 12.0
    settle_seconds: float = 120.0


SMALL = Scale(
    plans=250,
    minutes=0.2,
    purchases=0.5,
    limited=Phase("eSIM Go's limit", [0.7], 3.0),
    slow_telegram=Phase("slow Telegram", [0.7], 3.0),
    steps=(0.7,),
    setups=((2, 1),),
    telegram_seconds=1.0,
    step_seconds=2.0,
)
DAY = Scale(
    plans=stock.PLANS,
    minutes=1.5,
    purchases=0.7,
    limited=Phase("eSIM Go's limit", [1.0], 30.0, warm_seconds=5.0),
    slow_telegram=Phase("slow Telegram", [1.0], 20.0, warm_seconds=5.0),
    steps=(1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0),
    setups=((2, 1), (4, 1), (2, 2), (2, 4)),
)


@dataclass
class Outcome:
    """What a phase showed.

    waits:   seconds from charge to the QR code in the chat. ready: likewise, to the eSIM on the order page.
    cpu:     processors used, by group.
    wholesaler_calls: at eSIM Go, until all purchases were done; counted under its limit only.
    backlog: at the end of the phase, before anything settled. connections: then, to each web process.
    """

    phase: Phase
    web: int
    workers: int
    record: Record
    seconds: float
    waits: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    connections: list[int] = field(default_factory=list)
    backlog: Backlog = field(default_factory=lambda: Backlog(0, 0, 0))
    settle_seconds: float = 0.0
    charges: int = 0
    wholesaler_calls: Counter[str] = field(default_factory=Counter)

    @property
    def webhook(self) -> list[float]:
        return [each for kind in WEBHOOK_KINDS for each in self.record.latencies[kind]]

    @property
    def requests_per_second(self) -> float:
        count = sum(len(each) for kind, each in self.record.latencies.items() if kind != "bare view")
        return count / (self.phase.seconds - self.phase.warm_seconds)

    @property
    def is_held(self) -> bool:
        """Whether the shop kept up with it."""
        webhook = self.webhook
        return (
            not self.record.errors
            and bool(webhook)
            and percentile(webhook, 0.95) <= MOST_WEBHOOK_P95
            and self.backlog.orders <= MOST_SECONDS_BEHIND * max(self.phase.purchases)
        )


@dataclass
class Growth:
    """Bytes by table and of the log, over so many purchases."""

    purchases: int
    tables: dict[str, int]
    wal: int


class Run:
    """`prepare`, `measure`, then read what the fields hold.

    keeps_connections: whether the proxy that is played here does, or opens a new one for each request.
    """

    def __init__(
        self,
        processes: ScaledProcesses,
        scale: Scale,
        *,
        seed: int,
        web: int,
        workers: int,
        keeps_connections: bool = False,
    ) -> None:
        self.scale = scale
        self.seed = seed
        self.web, self.workers = web, workers
        self.outcomes: dict[str, Outcome] = {}
        self.steps: dict[tuple[int, int], list[Outcome]] = {}
        self.memory: dict[str, Memory] = {}
        self.growth = Growth(0, {}, 0)
        self.books = Books()
        self.unfinished: dict[str, int] = {}
        self._processes = processes
        # Apart from each other, so that a seed means the same arrivals however the server does.
        self._dice, self._dice_of_arrivals = random.Random(seed), random.Random(seed)
        self._keeps_connections = keeps_connections

    @property
    def everything(self) -> Iterator[Outcome]:
        yield from self.outcomes.values()
        for steps in self.steps.values():
            yield from steps

    @property
    def errors(self) -> dict[str, int]:
        """Of what the shop should have managed: a step of the load may break it, that is what it is for."""
        found: dict[str, int] = {}
        for outcome in self.outcomes.values():
            for name, count in outcome.record.errors.items():
                found[f"{outcome.phase.name}: {name}"] = count
        return found

    @property
    def is_well(self) -> bool:
        return self.books.is_clean and not self.unfinished and not self.errors and self.books.charges > 0

    def prepare(self) -> None:
        logging.getLogger().setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "No directory at", UserWarning)
        _say(f"Seed {self.seed}; logs while it runs: {self._processes.folder}")
        _say("Static files, tables, catalogue, processes")
        call_command("collectstatic", interactive=False, verbosity=0)
        call_command("migrate", interactive=False, verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(bare.CREATE_TABLE)
        # An hour's worth of purchases passes in a few minutes.
        ServicePolicy.objects.create(reason="benchmark", purchases_per_hour=1_000_000, invoices_per_minute=1000)
        rate_sheet = self._processes.folder / "rates.csv"
        stock.write_rate_sheet(rate_sheet, plans=self.scale.plans)
        self._processes.start_sandbox(rate_sheet=rate_sheet)
        self._set(rate_limit=False, balance_usd=50_000_000)
        call_command("sync_catalog", stdout=io.StringIO())
        call_command("set_webhook", stdout=io.StringIO())
        stock.analyze()
        self._processes.start_bare()
        self._processes.scale(web=self.web, workers=self.workers)

    def measure(self) -> None:
        ports = {
            "shop": self._processes.shop_port,
            "bare": self._processes.bare_port,
            "sandbox": self._processes.sandbox_port,
        }
        self._crowd = Crowd(
            ports=ports,
            catalogue=self._read_catalogue(),
            session=_log_in(),
            dice=self._dice,
            keeps_connections=self._keeps_connections,
        )
        asyncio.run(self._live())
        self.books = compare(self._ledger())

    async def _live(self) -> None:
        await self._crowd.open()
        _say("Warming up")
        await self._pass(Phase("warm-up", [1.0], slot_seconds=min(8.0, self.scale.minutes * 20)))
        await self._live_a_day()
        await self._live_with_limit()
        await self._live_with_slow_telegram()
        for web, workers in self.scale.setups:
            await self._step_up(web, workers)
        self._crowd.close()
        self.unfinished = await self._settle()

    async def _live_a_day(self) -> None:
        phase = day(minutes=self.scale.minutes, purchases_per_second=self.scale.purchases)
        before, charged = await asyncio.to_thread(read_sizes), len(self._crowd.charged_at)
        outcome = await self._pass(phase, memory=self.memory)
        after = await asyncio.to_thread(read_sizes)
        self.growth = Growth(
            purchases=len(self._crowd.charged_at) - charged,
            tables={name: size - before.tables.get(name, 0) for name, size in after.tables.items()},
            wal=after.wal - before.wal,
        )
        self.outcomes["day"] = outcome

    async def _live_with_limit(self) -> None:
        before = await asyncio.to_thread(self._count_wholesaler_calls)
        self._set(rate_limit=True)
        self.outcomes["limit"] = outcome = await self._pass(self.scale.limited)
        outcome.wholesaler_calls = await asyncio.to_thread(self._count_wholesaler_calls) - before
        self._set(rate_limit=False)
        await self._settle()

    async def _live_with_slow_telegram(self) -> None:
        fault = {"target": "telegram.createInvoiceLink", "kind": "delay", "times": None}
        self._tell_sandbox("faults", {**fault, "seconds": self.scale.telegram_seconds})
        self.outcomes["slow_telegram"] = await self._pass(self.scale.slow_telegram)
        requests.delete(f"{self._processes.sandbox_url}/sandbox/faults", timeout=10).raise_for_status()

    async def _step_up(self, web: int, workers: int) -> None:
        """More and more of everything, until the shop no longer keeps up."""
        if (self._processes.web, self._processes.workers) != (web, workers):
            await asyncio.to_thread(self._processes.scale, web=web, workers=workers)
            await self._pass(Phase("warm-up", [1.0], slot_seconds=self.scale.step_seconds / 3))
        steps = self.steps[web, workers] = []
        for rate in self.scale.steps:
            warm = self.scale.step_seconds / 4
            phase = Phase(f"{rate:g} purchases/s", [rate], self.scale.step_seconds, warm_seconds=warm)
            steps.append(await self._pass(phase))
            if not steps[-1].is_held:
                break

    async def _pass(self, phase: Phase, *, memory: dict[str, Memory] | None = None) -> Outcome:
        """Let a phase happen, and what it began end."""
        _say(f"{phase.name}: {phase.seconds:.0f} s, {self._processes.web} web, {self._processes.workers} workers")
        crowd, record = self._crowd, Record()
        crowd.record, before = record, set(crowd.charged_at)
        groups = {**self._processes.groups(), "PostgreSQL": [await asyncio.to_thread(postmaster_pid)]}
        gauges = Gauges(groups, memory={} if memory is None else memory)
        gauges.start()
        arrivals = phase.arrivals(self._dice_of_arrivals)
        started = time.monotonic()
        record.counts_from = started + phase.warm_seconds
        watching = asyncio.create_task(_watch(gauges))
        tasks = set()
        for moment, kind in arrivals:
            due = started + moment
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            tasks.add(asyncio.create_task(crowd.do(kind, due)))
        await asyncio.sleep(max(0.0, started + phase.seconds - time.monotonic()))
        outcome = Outcome(phase, self._processes.web, self._processes.workers, record, phase.seconds)
        outcome.backlog = await asyncio.to_thread(read_backlog)
        outcome.cpu = gauges.cpu_shares()
        outcome.connections = gauges.count_connections("web", self._processes.shop_port)
        watching.cancel()
        await asyncio.wait(tasks, timeout=LONGEST_ENDING_SECONDS)
        for task in tasks:
            task.result()
        await self._wait_for_deliveries()
        outcome.settle_seconds = time.monotonic() - started - phase.seconds
        charges = {charge_id: crowd.charged_at[charge_id] for charge_id in crowd.charged_at.keys() - before}
        outcome.charges = len(charges)
        outcome.waits = await asyncio.to_thread(_waits, charges)
        outcome.ready = [crowd.ready[charge_id] for charge_id in charges if charge_id in crowd.ready]
        return outcome

    def _read_catalogue(self) -> Catalogue:
        plans = Plan.objects.on_sale().filter(is_unlimited=False, data_mb__lte=5000).order_by("bundle_name")
        areas = sorted(set(plans.values_list("area__code", flat=True)))
        bundles = list(plans.values_list("bundle_name", flat=True))
        return Catalogue(areas=areas, bundles=self._dice.sample(bundles, min(200, len(bundles))))

    async def _wait_for_deliveries(self) -> None:
        """Purchases leave no work behind for the next phase."""
        deadline = time.monotonic() + self.scale.settle_seconds
        while time.monotonic() < deadline:
            backlog = await asyncio.to_thread(read_backlog)
            if not backlog.orders and not backlog.tasks:
                return
            await asyncio.sleep(0.5)

    async def _settle(self) -> dict[str, int]:
        """Wait until nothing moves by itself any more; what does so still."""
        deadline = time.monotonic() + self.scale.settle_seconds
        while unfinished := await asyncio.to_thread(lambda: count_unfinished(self._ledger())):
            if time.monotonic() > deadline:
                return unfinished
            await asyncio.sleep(1.0)
        return {}

    def _count_wholesaler_calls(self) -> Counter[str]:
        counts: dict[str, int] = self._ledger()["calls"]["counts"]
        return Counter({name: count for name, count in counts.items() if name.startswith("esimgo.")})

    def _ledger(self) -> Any:
        return requests.get(f"{self._processes.sandbox_url}/sandbox/ledger", timeout=60).json()

    def _set(self, **wanted: Any) -> None:
        self._tell_sandbox("settings", wanted)

    def _tell_sandbox(self, what: str, wanted: dict[str, Any]) -> None:
        url = f"{self._processes.sandbox_url}/sandbox/{what}"
        requests.post(url, json=wanted, timeout=10).raise_for_status()


async def _watch(gauges: Gauges) -> None:
    while True:
        await asyncio.to_thread(gauges.look)
        await asyncio.sleep(2.0)


def _log_in() -> str:
    client = Client()
    client.force_login(User.objects.create_superuser("support"))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def _waits(charged_at: dict[str, float]) -> list[float]:
    """Seconds from each charge until the QR code was sent, where it was."""
    orders = dict(Payment.objects.filter(charge_id__in=charged_at).values_list("order_id", "charge_id"))
    sent = Delivery.objects.filter(order_id__in=orders, kind=Delivery.Kind.ESIM, sent_at__isnull=False)
    return [
        sent_at.timestamp() - charged_at[orders[order_id]]
        for order_id, sent_at in sent.values_list("order_id", "sent_at")
    ]


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)
