"""`python -m tests.benchmarks.load`: a day of a busy shop, compressed, and the load that the machine holds.

Exit code 1 where an answer was wrong, something did not settle, or the books differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.load.processes import ScaledProcesses


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("--scale", choices=("small", "day"), default="day", help="small: does it run at all?")
    parser.add_argument("--minutes", type=float, help="that the day takes (default 1.5; small: 0.2)")
    parser.add_argument("--purchases", type=float, help="a second, as the day's mean (default 0.7; small: 0.5)")
    parser.add_argument("--seed", type=int, default=None, help="of who comes when; without it a random one, printed")
    parser.add_argument("--workers", type=int, default=1, help="manage.py worker processes of the day (default 1)")
    parser.add_argument("--web", type=int, default=2, help="gunicorn's worker processes of the day (default 2)")
    parser.add_argument("--kept-connections", action="store_true", help="as a proxy that keeps them (Caddyfile: none)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--document", type=Path, metavar="FILE", help="also write them under its heading 'Measured'")
    arguments = parser.parse_args()
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    with ScaledProcesses() as processes:
        # Nothing that this machine has set for a real shop may reach the run.
        os.environ.clear()
        os.environ.update(processes.environment)
        # Only now, since they read the settings.
        import django

        django.setup()
        from tests.benchmarks.load.page import write_measured
        from tests.benchmarks.load.report import as_json, report
        from tests.benchmarks.load.run import DAY, SMALL, Run

        scale = SMALL if arguments.scale == "small" else DAY
        given = {name: getattr(arguments, name) for name in ("minutes", "purchases") if getattr(arguments, name)}
        run = Run(
            processes,
            replace(scale, **given),
            seed=seed,
            web=arguments.web,
            workers=arguments.workers,
            keeps_connections=arguments.kept_connections,
        )
        run.prepare()
        run.measure()
        print(json.dumps(as_json(run), indent=2) if arguments.json else "\n".join(report(run)))
        if arguments.document:
            write_measured(run, arguments.document)
        return 0 if run.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
