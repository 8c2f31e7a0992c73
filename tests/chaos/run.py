"""One run: sell and break, let everything settle, compare the books."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import random
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from django.core.management import call_command, get_commands
from django.db import OperationalError, connection

from catalog.models import Plan
from payments.models import PreCheckout, ServicePolicy
from tests.chaos.books import ZEROS, Books, compare, count_look_ups, count_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.plan import Kill, Step
    from tests.chaos.processes import MortalProcesses

Json = dict[str, Any]

BALANCE_USD = 1_000_000
FIRST_BUYER = 6_000_001
STRANGER = 6_900_001
TRIES = 4
BUYERS_AT_ONCE = 64
COPIES = 20
#: The brake looks every minute whether sales may go on.
RETURNS, RETURN_SECONDS = 20, 5
DELIVERING = ("sendPhoto", "sendMessage", "refundStarPayment")
#: Commands that repair what no update tells of; the worker runs them too, but seldom.
REPAIRS = ("reconcile_stars", "reconcile_orders")
REPAIR_SECONDS = 10
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Conditions:
    """rate: purchases that begin each second. promise_minutes: of the policy. settle_seconds: at most.
    look_up_seconds: how long to wait for what machines may still find where a person was told.

    attention_percent: how many of the charges may end with a person.
    """

    seed: int
    rate: float = 2.0
    promise_minutes: int = 6
    settle_seconds: int = 600
    look_up_seconds: int = 180
    attention_percent: float = 5.0


class Run:
    def __init__(self, processes: MortalProcesses, steps: list[Step], conditions: Conditions) -> None:
        self._processes = processes
        self._steps = steps
        self._conditions = conditions
        self._refusals: Counter[str] = Counter()
        self._replays: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._planned: Counter[str] = Counter()
        self._struck: Counter[str] = Counter()
        self._later: list[threading.Timer] = []
        self._unfinished: dict[str, int] = {}
        self._selling_seconds = self._settle_seconds = 0.0
        self._books = Books()
        self._buyers = max(4, len(steps) // 6)
        self._bundles: list[str] = []

    def prepare(self) -> None:
        logging.getLogger().setLevel(logging.ERROR)
        _say(f"Seed {self._conditions.seed}; logs while it runs: {self._processes.folder}")
        call_command("migrate", interactive=False, verbosity=0)
        self._processes.start_made_up_sandbox()
        self._set(rate_limit=False, balance_usd=BALANCE_USD, retry_scale=0.25)
        call_command("sync_catalog", stdout=io.StringIO())
        call_command("set_webhook", stdout=io.StringIO())
        # The figures that would stop a run for its own sake: they have tests of their own.
        ServicePolicy.objects.create(
            reason="chaos",
            promise_minutes=self._conditions.promise_minutes,
            invoices_per_minute=1000,
            purchases_per_hour=100_000,
            ledger_refunds_per_hour=10_000,
            brake_error_percent=100,
        )
        # Few, so that purchases of one bundle stand beside each other at the wholesaler.
        self._bundles = list(Plan.objects.on_sale().order_by("wholesale_usd").values_list("bundle_name", flat=True)[:6])
        for number, user_id in enumerate([*range(FIRST_BUYER, FIRST_BUYER + self._buyers), STRANGER]):
            language = "en" if number % 2 else "ru"
            user = {"id": user_id, "first_name": "Vera", "language_code": language, "stars": 10_000_000}
            self._post("/sandbox/users", {**user, "started": True})
        self._processes.start_mortals()

    def sell(self) -> None:
        """Every step at its time, however the ones before it go."""
        started = time.monotonic()
        with ThreadPoolExecutor(BUYERS_AT_ONCE) as pool:
            for step in self._steps:
                time.sleep(max(0.0, started + step.number / self._conditions.rate - time.monotonic()))
                self._break(step)
                pool.submit(self._buy_counted, step)
        self._selling_seconds = time.monotonic() - started

    def replay(self, count: int, *, kills: int) -> None:
        """Send updates again that were delivered before, in handfuls of copies at once, and kill meanwhile."""
        dice = random.Random(self._conditions.seed)
        delivered = [record["update"]["update_id"] for record in self._ledger()["updates"] if record["attempts"]]
        rounds = -(-count // COPIES)
        for number in range(rounds):
            if kills and number % max(1, rounds // kills) == 0:
                self._processes.kill(dice.choice(("web", "worker", "server")), dice.randrange(2))
            answers = self._post(f"/sandbox/updates/{dice.choice(delivered)}/redeliver", {"times": COPIES})
            self._replays.update("answered" if status == 200 else "not answered" for status in answers["statuses"])

    def settle(self) -> None:
        """Heal everything, and wait until nothing moves by itself any more."""
        _say("Everything is healed; settling")
        for timer in self._later:
            timer.cancel()
        self._struck.update(self._request("GET", "/sandbox/faults")["struck"])
        self._request("DELETE", "/sandbox/faults")
        self._set(balance_usd=BALANCE_USD, esims_in_order=True)
        for bundle in self._bundles:
            self._post(f"/sandbox/catalogue/{bundle}", {"withdrawn": False})
        for user_id in range(FIRST_BUYER, FIRST_BUYER + self._buyers):
            self._post("/sandbox/users", {"id": user_id, "blocked_bot": False})
        started = repaired = time.monotonic()
        while True:
            self._unfinished = count_unfinished(self._ledger())
            self._settle_seconds = time.monotonic() - started
            look_ups = count_look_ups() if self._settle_seconds < self._conditions.look_up_seconds else 0
            is_settled = not self._unfinished and not look_ups
            if is_settled or self._settle_seconds > self._conditions.settle_seconds:
                break
            if time.monotonic() - repaired > REPAIR_SECONDS:
                self._repair()
                repaired = time.monotonic()
            time.sleep(0.5)
        self._repair()
        self._refusals.update(PreCheckout.objects.exclude(refusal="").values_list("refusal", flat=True))
        self._books = compare(self._ledger())

    @property
    def is_well(self) -> bool:
        return (
            not self._unfinished
            and self._books.is_clean
            # A run in which nobody could buy shows nothing.
            and self._books.charges >= len(self._steps) / 2
            and self._books.attention_percent <= self._conditions.attention_percent
        )

    def report(self) -> Iterator[str]:
        """The lines of the result."""
        books = self._books
        yield f"seed {self._conditions.seed}: {len(self._steps)} purchases in {self._selling_seconds:.0f} s"
        yield f"  buyers were told: {_listed(self._outcomes)}"
        yield f"  refused before money moved: {_listed(self._refusals)}"
        yield f"  faults planned: {_listed(self._planned)}"
        yield f"  of them struck: {_listed(self._struck)}"
        yield f"  killed: {_listed(self._processes.kills)}"
        if self._replays:
            yield f"  updates sent again: {self._replays.total()} ({_listed(self._replays)})"
        yield f"  time to settle: {self._settle_seconds:.0f} s"
        ends = " + ".join(f"{books.ends[end]} {end}" for end in ("completed", "refunded", "needs_attention"))
        yield f"  {ends} = {books.ends.total()} of {books.charges} paid; {books.bought} bought at the wholesaler"
        yield f"  needs_attention: {books.attention_percent:.1f} %, at most {self._conditions.attention_percent:g} %"
        for name in ZEROS:
            yield f"  {name}: {len(books.faults[name])}"
            yield from (f"    {line}" for line in books.faults[name])
        if self._unfinished:
            yield f"  NOT SETTLED: {_listed(self._unfinished)}"
        if books.charges < len(self._steps) / 2:
            yield "  TOO FEW PAID to show anything"
        if not self.is_well:
            yield f"FAILED. The same schedule again: --purchases {len(self._steps)} --seed {self._conditions.seed}"

    # --- Breaking

    def _break(self, step: Step) -> None:
        for fault in step.faults:
            body = dict(fault)
            self._planned[_name_of(body)] += 1
            if (worker := body.pop("worker", None)) is not None:
                body["pid"] = self._processes.worker_pid(worker)
            # A worker that is being started is not yet one.
            with contextlib.suppress(requests.HTTPError):
                self._post("/sandbox/faults", body)
        if step.trouble:
            self._planned[step.trouble] += 1
            self._begin(step)
        for kill in step.kills:
            self._after(kill.after_seconds, self._kill, kill)

    def _kill(self, kill: Kill) -> None:
        self._processes.kill(kill.victim, kill.number)

    def _begin(self, step: Step) -> None:
        """Let a trouble begin, and end by itself."""
        bundle, buyer = self._bundle(step), self._buyer(step)
        if step.trouble == "telegram_away":
            for call in DELIVERING:
                fault = self._post("/sandbox/faults", {"target": f"telegram.{call}", "kind": "drop", "times": None})
                self._after(step.trouble_seconds, self._request, "DELETE", f"/sandbox/faults?id={fault['id']}")
            return
        begin, end = {
            "blocked_bot": (
                ("/sandbox/users", {"id": buyer, "blocked_bot": True}),
                ("/sandbox/users", {"id": buyer, "blocked_bot": False}),
            ),
            "no_balance": (
                ("/sandbox/settings", {"balance_usd": 0}),
                ("/sandbox/settings", {"balance_usd": BALANCE_USD}),
            ),
            "withdrawn": (
                (f"/sandbox/catalogue/{bundle}", {"withdrawn": True}),
                (f"/sandbox/catalogue/{bundle}", {"withdrawn": False}),
            ),
            "no_esims_in_orders": (
                ("/sandbox/settings", {"esims_in_order": False}),
                ("/sandbox/settings", {"esims_in_order": True}),
            ),
        }[step.trouble]
        self._post(*begin)
        self._after(step.trouble_seconds, self._post, *end)

    def _after(self, seconds: float, call: Any, *arguments: Any) -> None:
        timer = threading.Timer(seconds, call, arguments)
        timer.daemon = True
        self._later.append(timer)
        timer.start()

    # --- Buying

    def _bundle(self, step: Step) -> str:
        return self._bundles[step.plan % len(self._bundles)]

    def _buyer(self, step: Step) -> int:
        return FIRST_BUYER + step.buyer % self._buyers

    def _buy_counted(self, step: Step) -> None:
        """Buy, and come again later where the shop says so."""
        for attempt in range(RETURNS):
            try:
                outcome = self._buy(step)
            except requests.RequestException as error:
                outcome = type(error).__name__
            if outcome == "paid":
                break
            if attempt < RETURNS - 1:
                time.sleep(RETURN_SECONDS)
        self._outcomes[outcome] += 1

    def _buy(self, step: Step) -> str:
        """Buy as the Mini App does, which tries again under the same key. Returns what the buyer was told."""
        buyer = self._buyer(step)
        invoice = self._invoice(buyer, self._bundle(step))
        if isinstance(invoice, str):
            return invoice
        link = {"link": invoice["invoice_link"]}
        if step.way == "stranger":
            self._post(f"/sandbox/users/{STRANGER}/pay", link)
        pays = 2 if step.way == "twice" else 1
        with ThreadPoolExecutor(pays) as pool:
            answers = list(pool.map(lambda _: self._post(f"/sandbox/users/{buyer}/pay", link), range(pays)))
        if step.way.startswith("charged"):
            self._charge(step, buyer, invoice)
        return "paid" if any(answer["status"] == "paid" for answer in answers) else "not paid"

    def _invoice(self, buyer: int, bundle: str) -> Json | str:
        """The invoice, or why there is none."""
        key, why = uuid.uuid4().hex, ""
        for _ in range(TRIES):
            init_data = self._request("GET", f"/sandbox/users/{buyer}/init-data")["init_data"]
            try:
                answer = requests.post(
                    f"http://127.0.0.1:{self._processes.shop_port}/api/telegram/stars/create-invoice",
                    json={"plan": bundle},
                    headers={"Authorization": f"tma {init_data}", "Idempotency-Key": key},
                    timeout=30,
                )
            except requests.RequestException as error:
                why = type(error).__name__
            else:
                if answer.ok:
                    return dict(answer.json())
                why = f"no invoice: {answer.status_code}"
                if answer.status_code < 500:
                    break
            time.sleep(1)
        return why

    def _charge(self, step: Step, buyer: int, invoice: Json) -> None:
        """A charge that nobody was asked about, in Telegram's ledger and as an update."""
        slug = invoice["invoice_link"].removeprefix("https://t.me/$")
        payload = self._ledger()["invoices"][slug]["payload"]
        payer = STRANGER if step.way == "charged_stranger" else buyer
        amount = invoice["amount_stars"] + (step.way == "charged_wrong_amount")
        payload = "no-invoice-of-this-shop" if step.way == "charged_unknown" else payload
        user = {"id": payer, "is_bot": False, "first_name": "Vera", "language_code": "en"}
        charge_id = f"stx-unasked-{next(_numbers)}-{uuid.uuid4().hex}"
        source = {"type": "user", "transaction_type": "invoice_payment", "user": user, "invoice_payload": payload}
        self._post("/sandbox/transactions", {"id": charge_id, "amount": amount, "source": source})
        payment = {
            "currency": "XTR",
            "total_amount": amount,
            "invoice_payload": payload,
            "telegram_payment_charge_id": charge_id,
            "provider_payment_charge_id": "",
        }
        message = {
            "message_id": next(_numbers),
            "from": user,
            "chat": {"id": payer, "type": "private"},
            "date": int(time.time()),
            "successful_payment": payment,
        }
        self._post("/sandbox/updates", {"message": message})

    # --- The outside world

    def _repair(self) -> None:
        for name in REPAIRS:
            if name in get_commands():
                # Their exit code says that a person must look; what is wrong, the books say.
                with contextlib.suppress(SystemExit, OperationalError):
                    call_command(name, stdout=io.StringIO(), stderr=io.StringIO())
        connection.close_if_unusable_or_obsolete()

    def _ledger(self) -> Json:
        return dict(self._request("GET", "/sandbox/ledger"))

    def _set(self, **settings: Any) -> None:
        self._post("/sandbox/settings", settings)

    def _post(self, path: str, body: Json) -> Json:
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = requests.request(method, f"{self._processes.sandbox_url}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())


def _name_of(fault: Json) -> str:
    status = f" {fault['status']}" if fault["kind"] == "status" else ""
    return f"{fault['kind']}{status}{' after work' if fault.get('after_work') else ''}"


def _listed(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda each: -each[1])) or "none"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
