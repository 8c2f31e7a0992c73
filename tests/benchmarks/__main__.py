"""`python -m tests.benchmarks`: measure, and print the table. About two minutes on two cores.

With a name first, one of the other measurements, with its own options:
  exports               each report of a million payments beside PostgreSQL's COPY
  first_view            how soon the Mini App's start page is there on a slow phone
  load                  a day of a busy shop, compressed, and the load that the machine holds
  purchases_under_load  from charge to QR code while others buy
  replays               stored payments replayed by a process that is killed again and again
  searches              the back office's searches over a million payments
"""

from __future__ import annotations

import argparse
import os
import re
import sys

from tests.benchmarks.processes import Processes

OTHERS = re.findall(r"^  (\w+) +\w", __doc__, re.MULTILINE)


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in OTHERS:
        name, *options = sys.argv[1:]
        os.execv(sys.executable, [sys.executable, "-m", f"tests.benchmarks.{name}", *options])
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
