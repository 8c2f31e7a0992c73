"""`python -m tests.chaos`: sell while everything breaks, then compare the books. Exit code 1 where they differ."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from dataclasses import fields
from pathlib import Path

from tests.chaos.plan import draw_plan
from tests.chaos.processes import MortalProcesses


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--purchases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="of the schedule; without it a random one, printed")
    parser.add_argument("--kills", type=int, default=None, help="processes killed beside faults (default: purchases/8)")
    parser.add_argument("--replays", type=int, default=0, help="updates sent again afterwards, amid more kills")
    parser.add_argument("--rate", type=float, default=2.0, help="purchases that begin each second (default 2)")
    parser.add_argument("--promise-minutes", type=int, default=6, help="of the service policy (default 6)")
    parser.add_argument("--settle-seconds", type=int, default=600, help="how long settling may take (default 600)")
    parser.add_argument("--look-up-seconds", type=int, default=180, help="for look-ups beside a person (default 180)")
    parser.add_argument("--attention-percent", type=float, default=5.0, help="charges that may end with a person")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="NAME", help="kinds of faults, ways, troubles")
    parser.add_argument("--logs", type=Path, help="folder for the logs of all processes")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    kills = arguments.purchases // 8 if arguments.kills is None else arguments.kills
    steps = draw_plan(
        seed=seed,
        purchases=arguments.purchases,
        kills=kills,
        leave_out=frozenset(arguments.leave_out),
    )
    with MortalProcesses() as processes:
        # Nothing that this machine has set for a real shop may reach the run.
        os.environ.clear()
        os.environ.update(processes.environment)
        # Only now, since they read the settings.
        import django

        django.setup()
        from tests.chaos.run import Conditions, Run

        given = {field.name: getattr(arguments, field.name) for field in fields(Conditions) if field.name != "seed"}
        run = Run(processes, steps, Conditions(seed=seed, **given))
        run.prepare()
        run.sell()
        run.replay(arguments.replays, kills=kills)
        run.settle()
        print("\n".join(run.report()))
        if arguments.logs:
            arguments.logs.mkdir(parents=True, exist_ok=True)
            for name, text in processes.logs().items():
                (arguments.logs / f"{name}.log").write_text(text)
        return 0 if run.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
