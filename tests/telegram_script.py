"""Telegram's own telegram-web-app.js, which the browser tests meet beside the sandbox's stand-in for it.

Telegram publishes it at an address of its own only, so it comes from an npm package that carries it unchanged (Bot API
8.0). `python -m tests.telegram_script` fetches it unless it is here, prints where it is, and exits with 1 where it is
not to be had.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

PACKAGE = "@twa-dev/sdk@8.0.2"
INTEGRITY = "sha512-Pp5GxnxP2blboVZFiM9aWjs4cb8IpW3x2jP3kLOMvIqy0jzNUTuFHkwHtx+zEvh/UcF2F+wmS8G6ebIA0XPXcg=="
MEMBER = "package/src/telegram-web-apps.js"
# Changes with what is asked for, so that no earlier one is taken for it.
SCRIPT = Path(__file__).resolve().parents[1] / "var" / f"telegram-web-app-{PACKAGE.rpartition('@')[2]}.js"
FETCH_SECONDS = 300

# A test of both: the sandbox's stand-in, and what real customers have.
with_both_scripts = pytest.mark.parametrize(
    "script", ["stand-in", pytest.param("official", marks=pytest.mark.official_script)]
)


class NotFetched(Exception):
    """The script is not to be had here; the text says why."""


def find_script() -> Path | None:
    return SCRIPT if SCRIPT.exists() else None


def use_script(page: Page, script: str) -> None:
    """What a page gets at the address of Telegram's script: "official", or as it is there, the "stand-in"."""
    if script == "official":
        page.route("**/telegram-web-app.js", lambda route: route.fulfill(path=SCRIPT, content_type="text/javascript"))


def fetch_script() -> Path:
    """The script, from the npm registry that this machine is set up for. Raises: NotFetched."""
    if SCRIPT.exists():
        return SCRIPT
    if shutil.which("npm") is None:
        raise NotFetched("npm is missing")
    with tempfile.TemporaryDirectory(prefix="npm-") as folder:
        command = ("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, PACKAGE)
        done = _run(*command)
        packed = list(Path(folder).glob("*.tgz"))
        if done is None or done.returncode or len(packed) != 1:
            raise NotFetched(f"{' '.join(command)}: {done.stderr.strip() if done else 'no answer'}")
        digest = hashlib.sha512(packed[0].read_bytes()).digest()
        if f"sha512-{base64.b64encode(digest).decode()}" != INTEGRITY:
            raise NotFetched(f"{PACKAGE} is not the package that was looked at: its sha512 differs")
        with tarfile.open(packed[0]) as package:
            source = package.extractfile(MEMBER)
            assert source is not None
            _write(source.read())
    return SCRIPT


def _write(script: bytes) -> None:
    SCRIPT.parent.mkdir(exist_ok=True)
    # Whole or not at all: another run may look for it at the same time.
    half = SCRIPT.with_suffix(f".{os.getpid()}")
    half.write_bytes(script)
    half.replace(SCRIPT)


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            command,
            env=environment,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _install_npm() -> None:
    """As root on Debian and its kin; elsewhere npm is for whoever keeps the machine to install."""
    if shutil.which("npm") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stderr.write("  apt-get install npm\n")
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "npm")


if __name__ == "__main__":
    if not SCRIPT.exists():
        sys.stderr.write(f"Fetching Telegram's script for the browser tests: {PACKAGE}\n")
        _install_npm()
    try:
        print(f"Telegram's script for the browser tests: {fetch_script()}")  # noqa: T201
    except NotFetched as reason:
        print(f"Telegram's script for the browser tests: none ({reason})")  # noqa: T201
        sys.exit(1)
