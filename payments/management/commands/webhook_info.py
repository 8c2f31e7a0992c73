"""`manage.py webhook_info`: what Telegram thinks of our webhook."""

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from esimshop.clients.telegram import TelegramError, telegram_client
from payments.services.bot_set_up import webhook_url


class Command(BaseCommand):
    help = "Show the webhook as Telegram sees it. Exits 1 if it is not ours."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="For scripts.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            info = telegram_client().get_webhook_info()
        except TelegramError as error:
            raise CommandError(f"Telegram did not answer: {error}") from None
        facts = dataclasses.asdict(info)
        if options["json"]:
            self.stdout.write(json.dumps(facts, default=str))
        else:
            for name, value in facts.items():
                self.stdout.write(f"{name.replace('_', ' ')}: {value if value not in (None, '') else '—'}")
        if info.url != webhook_url():
            raise CommandError(f"The webhook is not {webhook_url()}: run `manage.py set_webhook`.")
