"""Asks the public advisories about every package that is installed here: `python -m tests.dependency_audit`.

Fails where one of them is known to be vulnerable. Where no service of advisories can be reached it says so loudly, and
fails only with AUDIT=required: a check that cannot run is no reason to stop a mend, and none to look green either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field

#: Of pip-audit, tried in turn.
SERVICES = ("pypi", "osv")
TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Audit:
    """found: "package version: advisory (mended in …)". unknown: packages of which the service said nothing."""

    answered: int = 0
    found: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def read_report(report: str) -> Audit:
    """What pip-audit's JSON says; nothing at all where it is none, since the service did not answer."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        return Audit()
    answered = [package for package in packages if "vulns" in package]
    return Audit(
        answered=len(answered),
        found=[
            f"{package['name']} {package['version']}: {advisory['id']}"
            f" (mended in {', '.join(advisory['fix_versions']) or 'no version yet'})"
            for package in answered
            for advisory in package["vulns"]
        ],
        unknown=[package["name"] for package in packages if "vulns" not in package],
    )


def ask(service: str, *options: str) -> Audit:
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    asked = subprocess.run(
        [*command, "--vulnerability-service", service, "--timeout", str(TIMEOUT_SECONDS), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return read_report(asked.stdout)


def main() -> int:
    for service in SERVICES:
        audit = ask(service)
        if audit.found:
            print(f"{service} knows of holes in what is installed:", *audit.found, sep="\n  ")
            return 1
        if audit.answered:
            print(f"{service} knows of no hole in {audit.answered} packages.")
            if audit.unknown:
                print(f"WARNING: it said nothing of {len(audit.unknown)}: {', '.join(audit.unknown)}")
            return 0
    print("*" * 100)
    print(f"WARNING: no advisories could be asked ({', '.join(SERVICES)}). NOTHING IS KNOWN about the dependencies.")
    print("Run `make audit` where the internet can be reached, before a release at the latest.")
    print("*" * 100)
    return 1 if os.environ.get("AUDIT") == "required" else 0


if __name__ == "__main__":
    sys.exit(main())
