"""The scan for secrets, as CI runs it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from django.conf import settings

if TYPE_CHECKING:
    from pathlib import Path

# Put together here, so that the scan of this very file finds nothing.
PLANTED = {
    "a bot token": 'TOKEN = "110201543' + ':AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawQ"\n',
    "a key in an environment": "ESIMGO_API_" + "KEY = 'q7Rz0pVt3LxN8sWk2YbMdE5u'\n",
    "a password in an address": "DATABASE_URL=postgres://shop:" + "hJ7kQ2vX9z@db.internal/shop\n",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n",
}


def scan(*files: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.secret_scan", *files],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", PLANTED)
def test_a_secret_in_a_file_is_found(tmp_path: Path, name: str) -> None:
    file = tmp_path / "planted.py"
    file.write_text(PLANTED[name])

    said = scan(str(file))

    assert said.returncode == 1
    assert "planted.py:1" in said.stdout


def test_a_file_without_a_secret_passes(tmp_path: Path) -> None:
    file = tmp_path / "good.py"
    file.write_text('TOKEN = env.str("TELEGRAM_BOT_TOKEN")\n')

    assert scan(str(file)).returncode == 0
