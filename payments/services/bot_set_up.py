"""Telling Telegram where the shop is: webhook, commands, menu button."""

from django.conf import settings
from django.utils.translation import gettext, override

from esimshop.clients.telegram import telegram_client
from esimshop.languages import LANGUAGES
from esimshop.models import Bot
from payments.services.replies import describe_commands


def webhook_url() -> str:
    """Where Telegram is to send updates."""
    return f"{settings.PUBLIC_URL}/api/telegram/stars/webhook"


def set_up_webhook() -> str:
    """Have updates sent to this server, with the secret and exactly the kinds that the shop reads.

    Pending updates are never dropped: there may be payments among them.
    Returns: the URL. Raises: TelegramError.
    """
    telegram_client().set_webhook(url=webhook_url(), secret=settings.TELEGRAM_WEBHOOK_SECRET)
    set_up_commands()
    return webhook_url()


def set_up_commands() -> None:
    """Set the bot's command menu in each language and its button that opens the Mini App, and remember its name.

    Raises: TelegramError.
    """
    Bot.objects.update_or_create(pk=1, defaults={"username": telegram_client().get_me().username})
    telegram_client().set_commands({language: describe_commands(language) for language in LANGUAGES})
    with override("en"):
        telegram_client().set_menu_button(text=gettext("Buy eSIM"), url=f"{settings.PUBLIC_URL}/")


def bot_username() -> str:
    """The bot's name for links to its chat; empty before it was set up."""
    return Bot.objects.values_list("username", flat=True).first() or ""
