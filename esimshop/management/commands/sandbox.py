"""Run the stand-in for Telegram and eSIM Go."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from esimshop.sandbox import DEFAULT_API_KEY, DEFAULT_TOKEN, Sandbox


class Command(BaseCommand):
    help = (
        "Runs a stand-in for Telegram's Bot API and for eSIM Go on this machine, with a page that imitates "
        "the Telegram client. Nothing is bought and no Stars move. Ends with Ctrl-C."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8900, help="port on 127.0.0.1, 0 for any (default: 8900)")
        parser.add_argument(
            "--rate-sheet",
            type=Path,
            metavar="CSV",
            help="a real rate sheet as the catalogue; columns as in esimshop/sandbox/README.md",
        )
        parser.add_argument("--state", type=Path, metavar="FILE", help="where the state is kept between runs")
        parser.add_argument(
            "--shop-url", default=settings.PUBLIC_URL, help="address of the Mini App (default: PUBLIC_URL)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_real_services()
        try:
            sandbox = Sandbox(
                port=options["port"],
                token=settings.TELEGRAM_BOT_TOKEN or DEFAULT_TOKEN,
                api_key=settings.ESIMGO_API_KEY or DEFAULT_API_KEY,
                rate_sheet=options["rate_sheet"],
                state_file=options["state"],
                shop_url=options["shop_url"],
            )
        except (OSError, ValueError) as error:
            raise CommandError(f"The sandbox cannot start: {error}") from None
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        sandbox.start()
        self.stdout.write(
            f"Telegram client:  {sandbox.url}/\n"
            f"Settings of the shop:\n"
            f"  TELEGRAM_API_BASE_URL={sandbox.bot_api_base_url}\n"
            f"  TELEGRAM_WEB_APP_JS_URL={sandbox.url}/telegram-web-app.js\n"
            f"  ESIMGO_BASE_URL={sandbox.esimgo_base_url}"
        )
        if not settings.TELEGRAM_BOT_TOKEN:
            self.stdout.write(f"  TELEGRAM_BOT_TOKEN={DEFAULT_TOKEN}")
        if not settings.ESIMGO_API_KEY:
            self.stdout.write(f"  ESIMGO_API_KEY={DEFAULT_API_KEY}")
        self.stdout.flush()
        ended.wait()
        sandbox.stop()


def refuse_real_services() -> None:
    """Raise CommandError where real credentials meet a real service: the sandbox stands in for neither."""
    for credential, base_url in (
        ("TELEGRAM_BOT_TOKEN", "TELEGRAM_API_BASE_URL"),
        ("ESIMGO_API_KEY", "ESIMGO_BASE_URL"),
    ):
        host = urlsplit(getattr(settings, base_url)).hostname
        if getattr(settings, credential) and host not in {"127.0.0.1", "localhost", "::1"}:
            raise CommandError(
                f"{credential} is set and {base_url} is a real service: this environment sells for real. "
                f"Point {base_url} at this machine, or leave {credential} out, to run the sandbox."
            )
