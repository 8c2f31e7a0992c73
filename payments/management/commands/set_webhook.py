"""`manage.py set_webhook`: updates by webhook."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from esimshop.clients.telegram import ALLOWED_UPDATES, TelegramError
from payments.services.bot_set_up import set_up_webhook, webhook_url


class Command(BaseCommand):
    help = "Have Telegram send updates to PUBLIC_URL, and set the bot's commands and menu button. Drops nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Say what would be set, and set nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.TELEGRAM_WEBHOOK_SECRET:
            raise CommandError("Set TELEGRAM_WEBHOOK_SECRET first: 1 to 256 of A-Z a-z 0-9 _ -")
        if options["dry_run"]:
            self.stdout.write(f"Would set {webhook_url()} for {', '.join(ALLOWED_UPDATES)}")
            return
        try:
            url = set_up_webhook()
        except TelegramError as error:
            raise CommandError(f"Telegram did not take the webhook: {error}") from None
        self.stdout.write(self.style.SUCCESS(f"Telegram sends {', '.join(ALLOWED_UPDATES)} to {url}"))
