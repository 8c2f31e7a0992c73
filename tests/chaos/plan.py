"""What goes wrong, and when: drawn from the seed alone before anything starts, so that a seed repeats its schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

#: Seconds after which the shop gives a call to the wholesaler up; the sandbox's delays lie on both sides of it.
DEADLINE = 2

TELEGRAM_CALLS = ("createInvoiceLink", "sendPhoto", "sendMessage", "refundStarPayment", "getStarTransactions")
ESIMGO_CALLS = (
    *("POST /orders", "POST /orders validate", "GET /orders", "GET /orders/{reference}", "GET /esims/assignments"),
    *("GET /esims", "GET /esims/{iccid}", "PUT /esims", "GET /organisation"),
)
UPDATES = ("pre_checkout_query", "successful_payment", "refunded_payment", "my_chat_member")

OFTEN = {"esimgo.POST /orders": 2, "webhook.successful_payment": 5}

#: How a buyer pays: mostly once; twice at once; somebody else with the same link; and charges that Telegram makes
#: although no pre-checkout was approved, which is what "any charge may come" means.
WAYS = ("once", "twice", "stranger", "charged_twice", "charged_stranger", "charged_wrong_amount", "charged_unknown")
_WAY_WEIGHTS = (70, 8, 6, 5, 4, 4, 3)

#: What happens beside single calls, for a while.
TROUBLES = ("", "blocked_bot", "no_balance", "withdrawn", "telegram_away", "no_esims_in_orders")
_TROUBLE_WEIGHTS = (78, 8, 2, 4, 4, 4)

KILLED = ("web", "worker", "server")
_KILLED_WEIGHTS = (45, 45, 10)


@dataclass(frozen=True)
class Kill:
    """A SIGKILL: of one of gunicorn's two workers, of all of gunicorn, or of a task worker."""

    victim: str
    number: int
    after_seconds: float


@dataclass(frozen=True)
class Step:
    """One purchase, and what is broken when it starts.

    buyer, plan: numbers, of whatever people and plans there are. faults: bodies of POST /sandbox/faults.
    trouble_seconds: how long the trouble lasts.
    """

    number: int
    buyer: int
    plan: int
    way: str
    faults: tuple[Json, ...]
    trouble: str
    trouble_seconds: float
    kills: tuple[Kill, ...]


def draw_plan(*, seed: int, purchases: int, kills: int, leave_out: frozenset[str] = frozenset()) -> list[Step]:
    """The steps of a run.

    leave_out: kinds of faults, ways and troubles that do not happen; everything else stays as the seed says.
    """
    dice = random.Random(seed)
    faults = _deal(dice)
    moments = sorted(dice.randrange(purchases) for _ in range(kills))
    steps = []
    for number in range(purchases):
        way = dice.choices(WAYS, _WAY_WEIGHTS)[0]
        trouble = dice.choices(TROUBLES, _TROUBLE_WEIGHTS)[0]
        struck = [next(faults) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
        steps.append(
            Step(
                number=number,
                buyer=dice.randrange(10_000),
                plan=dice.randrange(10_000),
                way="once" if way in leave_out else way,
                faults=tuple(fault for fault in struck if fault["kind"] not in leave_out),
                trouble="" if trouble in leave_out else trouble,
                trouble_seconds=round(dice.uniform(2, 8), 2),
                kills=tuple(
                    Kill(
                        victim=dice.choices(KILLED, _KILLED_WEIGHTS)[0],
                        number=dice.randrange(2),
                        after_seconds=round(dice.uniform(0, 2), 2),
                    )
                    for _ in range(moments.count(number))
                ),
            )
        )
    return steps


def _deal(dice: random.Random) -> Iterator[Json]:
    """Faults without end: each once before any comes again, those of the purchase and of the payment more often."""
    while True:
        deck = [*_call_faults(dice), *_webhook_faults(dice)]
        deck = [fault for fault in deck for _ in range(OFTEN.get(fault["target"], 1))]
        dice.shuffle(deck)
        yield from deck


def _call_faults(dice: random.Random) -> Iterator[Json]:
    targets = [
        *(f"telegram.{call}" for call in TELEGRAM_CALLS),
        *(f"esimgo.{call}" for call in ESIMGO_CALLS),
    ]
    for target in targets:
        for kind in ("drop", "drop_after_work", "html", "half_json", "cut", "empty", "malformed"):
            yield {"target": target, "kind": kind}
        yield {"target": target, "kind": "delay", "seconds": round(dice.uniform(0.2, 2 * DEADLINE), 2)}
        yield {"target": target, "kind": "timeout_after_work", "seconds": DEADLINE + 1}
        for status in (500, 503):
            for after_work in (False, True):
                yield {"target": target, "kind": "status", "status": status, "after_work": after_work}
        # Never after the work: eSIM Go and Telegram document that such a request was not executed.
        yield {"target": target, "kind": "status", "status": 429, "headers": {"Retry-After": "1"}}
        # Beside the orders: there it is the wholesaler itself that buys twice, which no shop can prevent.
        if target != "esimgo.POST /orders":
            yield {"target": target, "kind": "duplicate"}
    for target in ("esimgo.POST /orders", "telegram.sendPhoto", "telegram.refundStarPayment"):
        for after_work in (False, True):
            # The run puts in the process id that this worker has at the time.
            yield {"target": target, "kind": "kill_worker", "after_work": after_work, "worker": dice.randrange(2)}
    for status, message in ((400, "bundle not available"), (400, "insufficient balance"), (403, "Forbidden")):
        yield {"target": "esimgo.POST /orders", "kind": "status", "status": status, "message": message}


def _webhook_faults(dice: random.Random) -> Iterator[Json]:
    for update in UPDATES:
        target = f"webhook.{update}"
        for kind in ("drop", "drop_after_work", "timeout_after_work", "duplicate", "lose"):
            yield {"target": target, "kind": kind}
        yield {"target": target, "kind": "delay", "seconds": round(dice.uniform(0.2, 4), 2)}
        yield {"target": target, "kind": "reorder", "seconds": round(dice.uniform(1, 5), 2)}
