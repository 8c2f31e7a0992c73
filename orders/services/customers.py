"""Customers as Telegram names them."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet

from esimshop.init_data import TelegramUser
from esimshop.languages import Language, language_of
from esimshop.search_terms import match_number
from orders.models import Customer


def language_for(chosen: str, language_code: str) -> Language:
    """The language to write in: the one chosen in the settings, else that of Telegram's tag."""
    return language_of(chosen or language_code)


def find_customer(user: TelegramUser) -> Customer | None:
    """The customer of a verified Telegram user; None for somebody the shop does not know."""
    return Customer.objects.filter(telegram_user_id=user.id).first()


def note_customer(user: TelegramUser) -> Customer:
    """The customer of a verified Telegram user, made or brought up to date."""
    return _store_customer(
        telegram_user_id=user.id,
        first_name=user.first_name,
        last_name=user.last_name or "",
        username=user.username or "",
        language_code=user.language_code or "",
    )


def note_sender(sender: Mapping[str, Any]) -> Customer:
    """The customer of a `from` object in an update."""
    return _store_customer(
        telegram_user_id=int(sender["id"]),
        first_name=str(sender.get("first_name") or ""),
        last_name=str(sender.get("last_name") or ""),
        username=str(sender.get("username") or ""),
        language_code=str(sender.get("language_code") or ""),
    )


def know_customer(sender: Mapping[str, Any]) -> Customer:
    """The customer with the id of a `from` object that may tell nothing else: what we know of them stays."""
    customer, _ = Customer.objects.get_or_create(telegram_user_id=int(sender["id"]))
    return customer


def change_settings(customer: Customer, **changes: Any) -> None:
    """Keep what a customer chose in the settings: `chosen_language` ("" for Telegram's), `wants_usage_notices`."""
    if "chosen_language" in changes:
        changes["language"] = language_for(changes["chosen_language"], customer.language_code)
    # By its id too: the customer's data may have been deleted since it was read.
    known = Customer.objects.filter(pk=customer.pk, telegram_user_id=customer.telegram_user_id)
    known.update(**changes)
    for name, value in changes.items():
        setattr(customer, name, value)


def note_blocked(*, customer: Customer, is_blocked: bool) -> None:
    """Remember whether the bot may write to the customer."""
    if customer.is_bot_blocked != is_blocked:
        Customer.objects.filter(pk=customer.pk).update(is_bot_blocked=is_blocked)
        customer.is_bot_blocked = is_blocked


def _store_customer(*, telegram_user_id: int, language_code: str, **names: str) -> Customer:
    """One query where nothing changed, and no lost race where two updates of a new customer come at once."""
    fresh = {
        "first_name": names["first_name"][:256],
        "last_name": names["last_name"][:256],
        "username": names["username"][:64],
        "language_code": language_code[:35],
    }
    customer = Customer.objects.filter(telegram_user_id=telegram_user_id).first()
    if customer is None:
        first = {**fresh, "language": language_of(language_code)}
        customer, _ = Customer.objects.get_or_create(telegram_user_id=telegram_user_id, defaults=first)
    fresh["language"] = language_for(customer.chosen_language, language_code)
    changed = {name: value for name, value in fresh.items() if getattr(customer, name) != value}
    if changed:
        # By its id too: the customer's data may have been deleted since it was read.
        Customer.objects.filter(pk=customer.pk, telegram_user_id=telegram_user_id).update(**changed)
        for name, value in changed.items():
            setattr(customer, name, value)
    return customer


def customers_meant(term: str) -> QuerySet[Customer]:
    """Customers whose Telegram id or username, in any case, is a term as `read_term` reads it."""
    return Customer.objects.filter(Q(username__iexact=term.removeprefix("@")) | match_number("telegram_user_id", term))
