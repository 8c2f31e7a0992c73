"""Finding a Chromium for the browser tests, and installing one where that is possible.

`python -m tests.chromium` installs one unless there is one already, prints where it is, and exits with 1
where none is to be had. CHROMIUM names another browser of the family.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_SECONDS = 600
# Quiet: nothing of the browser's own goes out to the internet or draws on a GPU that is not there.
ARGUMENTS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_chromium() -> Path | None:
    """The browser to test with: $CHROMIUM, the system's, or the one Playwright downloaded."""
    if chosen := os.environ.get("CHROMIUM"):
        return Path(chosen) if Path(chosen).exists() else None
    for name in NAMES:
        if path := shutil.which(name):
            return Path(path)
    return _of_playwright()


def launch_arguments() -> list[str]:
    """Command line of the browser. Chromium's own sandbox does not work for root."""
    return [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def _of_playwright() -> Path | None:
    # Asked in a process of its own: Playwright brings an event loop, which this one may have already.
    code = (
        "from playwright.sync_api import sync_playwright\n"
        "with sync_playwright() as playwright: print(playwright.chromium.executable_path)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    path = Path(answer.stdout.strip() or "/nonexistent")
    return path if answer.returncode == 0 and path.exists() else None


def _install() -> None:
    """Try the system's package (as root, on Debian and its kin), then Playwright's download."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-noto-color-emoji")
        if find_chromium():
            return
    _run(sys.executable, "-m", "playwright", "install", "chromium")


def _run(*command: str) -> None:
    print(f"  {' '.join(command)}", file=sys.stderr, flush=True)  # noqa: T201
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": sys.stderr}
    try:
        subprocess.run(command, env=environment, timeout=INSTALL_SECONDS, check=False, **quiet)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"  {error}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    if find_chromium() is None and "CHROMIUM" not in os.environ:
        print("No Chromium here. Trying to install one for the browser tests:", file=sys.stderr)  # noqa: T201
        _install()
    found = find_chromium()
    print(f"Chromium for the browser tests: {found or 'none'}")  # noqa: T201
    sys.exit(found is None)
