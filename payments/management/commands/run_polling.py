"""`manage.py run_polling`: updates by long polling, for a machine that Telegram cannot reach."""

import time
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections

from esimshop.clients.telegram import TelegramError, TelegramRejected
from payments.services.bot_set_up import set_up_commands
from payments.services.polling import poll_updates

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Fetch updates from Telegram by long polling. Confirms to Telegram only what is stored here."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Handle what is waiting, then end.")

    def handle(self, *args: Any, **options: Any) -> None:
        offset, wait = 0, 1
        try:
            if not options["once"]:
                set_up_commands()
                self.stdout.write("Waiting for updates. Ctrl-C ends.")
            while True:
                try:
                    polled = poll_updates(offset=offset, timeout_seconds=0 if options["once"] else 30)
                except TelegramRejected as error:
                    raise CommandError(
                        f"Telegram refuses: {error}. A webhook or another poller may be active: see `webhook_info`."
                    ) from None
                except TelegramError as error:
                    if options["once"]:
                        raise CommandError(f"Telegram did not answer: {error}") from None
                    log.warning("polling_failed", error=str(error), wait=wait)
                else:
                    offset = polled.offset
                    if options["once"] and polled.is_broken:
                        raise CommandError("An update could not be stored. Telegram keeps it; see the log.")
                    if options["once"] and not polled.count:
                        return
                    if not polled.is_broken:
                        wait = 1
                        continue
                time.sleep(wait)
                wait = min(wait * 2, 60)
                # A database that went away leaves a dead connection behind.
                close_old_connections()
        except KeyboardInterrupt:
            self.stdout.write("Ended.")
