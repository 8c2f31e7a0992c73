"""`python -m tests.benchmarks`: measure, and print the table. About two minutes on two cores."""

from __future__ import annotations

import argparse
import os

from tests.benchmarks.processes import Processes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few requests of each kind: does it run at all?")
    arguments = parser.parse_args()
    with Processes() as processes:
        # Nothing that this machine has set for a real shop may reach the run.
        os.environ.clear()
        os.environ.update(processes.environment)
        # Only now, since they read the settings.
        import django

        django.setup()
        from tests.benchmarks.run import FULL, QUICK, Run

        run = Run(processes, QUICK if arguments.quick else FULL)
        run.prepare()
        run.measure()
        print("\n".join(run.report()))


if __name__ == "__main__":
    main()
