"""What the tests of a real server need, root and some of Debian's packages; and installing those where it can be done.

`python -m tests.debian` installs what is missing, says what is there, and exits with 1 where it is not to be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Package → one of its programs, or another of its files.
PACKAGES = {
    "adduser": "adduser",
    "ca-certificates": "update-ca-certificates",
    "caddy": "caddy",
    "prometheus": "promtool",
    "prometheus-alertmanager": "amtool",
    "curl": "curl",
    "git": "git",
    "postgresql": "/usr/lib/postgresql/15/bin/initdb",
    "python3-venv": "/usr/lib/python3.11/ensurepip/__init__.py",
    "ssl-cert": "make-ssl-cert",
    "iproute2": "ip",
    "systemd": "systemd-analyze",
}
INSTALL_SECONDS = 600


def missing_packages() -> list[str]:
    return [
        package
        for package, program in PACKAGES.items()
        if shutil.which(program) is None and not Path(program).is_file()
    ]


def find_packages() -> Path | None:
    """Where the programs are; None without root, whose the tests' network namespaces and users are, or without one."""
    if os.geteuid() != 0 or missing_packages():
        return None
    return Path("/usr")


def _install(packages: list[str]) -> None:
    # The tests start what they need themselves: a package's own service would only be in their way.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    for command in (["apt-get", "update", "-qq"], install):
        subprocess.run(command, env=environment, timeout=INSTALL_SECONDS, check=True)


def main() -> int:
    missing = missing_packages()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        try:
            _install(missing)
        except (subprocess.SubprocessError, OSError) as error:
            sys.stderr.write(f"Not installed: {error}\n")
    if find_packages() is None:
        sys.stderr.write(f"No tests of a real server: they need root and {', '.join(PACKAGES)}.\n")
        return 1
    sys.stdout.write(f"For the tests of a real server: {', '.join(PACKAGES)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
