"""`manage.py sandbox`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command


def test_it_says_where_it_is_and_ends_cleanly() -> None:
    command = [sys.executable, "manage.py", "sandbox", "--port", "0"]
    environment = {
        **os.environ,
        "TELEGRAM_BOT_TOKEN": "",
        "ESIMGO_API_KEY": "",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        address = process.stdout.readline().split()[-1]
        assert requests.get(address, timeout=5).text.startswith("<!doctype html>")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "ESIMGO_BASE_URL=" in process.stdout.read()


@pytest.mark.parametrize(
    ("name", "value"),
    [("TELEGRAM_API_BASE_URL", "https://api.telegram.org/bot"), ("ESIMGO_BASE_URL", "https://api.esim-go.com/v2.5")],
)
def test_it_refuses_to_stand_in_for_a_real_service(settings: Any, name: str, value: str) -> None:
    settings.TELEGRAM_API_BASE_URL = settings.ESIMGO_BASE_URL = "http://127.0.0.1:9/"
    setattr(settings, name, value)
    with pytest.raises(CommandError, match=name):
        call_command("sandbox", "--port", "0")


def test_a_sheet_that_is_not_there_is_said_so() -> None:
    with pytest.raises(CommandError, match="cannot start"):
        call_command("sandbox", "--port", "0", "--rate-sheet", "/nonexistent.csv")
