"""`python -m tests.benchmarks.replays`: payments replayed by a process that is killed again and again."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from typing import Any

from tests.benchmarks.processes import PROJECT, Processes

#: Every so many payments one comes a second time, under an update of its own.
REPEATED_EVERY = 10
#: From the start of a process, which needs about a second before it begins.
KILLED_AFTER_SECONDS = (1.0, 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.replays", description=__doc__)
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    with Processes() as processes:
        # Nothing that this machine has set for a real shop may reach the run.
        os.environ.clear()
        os.environ.update(processes.environment)
        # Only now, since it reads the settings.
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        payments = store_updates(arguments.updates)
        print(f"{arguments.updates} updates of {payments} charges, seed {arguments.seed}", flush=True)
        started = time.monotonic()
        kills = replay(kills=arguments.kills, dice=random.Random(arguments.seed))
        print(f"replayed in {time.monotonic() - started:.0f} s, killed when so many were handled: {kills}", flush=True)
        faults = count_faults(payments)
    for name, count in faults.items():
        print(f"{name:<40} {count}")
    sys.exit(any(faults.values()) or len(kills) < arguments.kills)


def store_updates(count: int) -> int:
    """As many stored payment updates that nobody has handled yet; returns how many charges they tell of."""
    from payments.models import TelegramUpdate
    from tests.benchmarks.stock import place_orders
    from tests.factories import PlanFactory
    from tests.outside import payment_update

    for number in range(20):
        PlanFactory(bundle_name=f"esim_{number + 1}GB_7D_FR_V2")
    repeated = count // REPEATED_EVERY
    bodies = [payment_update(order) for order in place_orders(count - repeated)]
    for body in random.Random(0).sample(bodies, repeated):
        bodies.append({**body, "update_id": bodies[-1]["update_id"] + 10_000_000})
    TelegramUpdate.objects.bulk_create(
        TelegramUpdate(
            update_id=body["update_id"],
            kind="successful_payment",
            body=body,
            status=TelegramUpdate.Status.FAILED,
        )
        for body in bodies
    )
    return count - repeated


def replay(*, kills: int, dice: random.Random) -> list[int]:
    """Replay all from the beginning, over and over, until a process was let to end.

    Returns: how many updates were handled at each kill.
    """
    from payments.models import TelegramUpdate

    killed: list[int] = []
    while True:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "replay_updates"],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        if len(killed) == kills:
            if process.wait():
                raise SystemExit("replay_updates failed")
            return killed
        try:
            process.wait(dice.uniform(*KILLED_AFTER_SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed.append(TelegramUpdate.objects.filter(status=TelegramUpdate.Status.HANDLED).count())
        else:
            # So few updates that it was done before it could be killed.
            return killed


def count_faults(payments: int) -> dict[str, int]:
    """What must be 0: everything that there is not exactly once for each charge."""
    from procrastinate.contrib.django.models import ProcrastinateJob

    from esimshop.models import Alert
    from orders.models import Order, OrderEvent
    from payments.models import Payment, PaymentEvent, Refund, TelegramUpdate

    def beside(rows: Any, field: str) -> int:
        """How many rows there are too many or too few of."""
        return abs(rows.count() - payments) + rows.count() - rows.values(field).distinct().count()

    paid = Order.objects.filter(status=Order.Status.PAID)
    return {
        "payments missing or twice": beside(Payment.objects.filter(kind=Payment.Kind.ORDER), "charge_id"),
        "payments taken for extra": Payment.objects.filter(kind=Payment.Kind.EXTRA).count(),
        "orders not paid": payments - paid.count(),
        "moves to paid missing or twice": beside(OrderEvent.objects.filter(after="paid"), "order_id"),
        "events of payments missing or twice": beside(PaymentEvent.objects.order_by(), "payment_id"),
        "purchases queued missing or twice": beside(
            ProcrastinateJob.objects.filter(task_name__endswith="provision_order_task"), "args"
        ),
        "refunds": Refund.objects.count(),
        "updates not handled": TelegramUpdate.objects.exclude(status=TelegramUpdate.Status.HANDLED).count(),
        "alerts": Alert.objects.count(),
    }


if __name__ == "__main__":
    main()
