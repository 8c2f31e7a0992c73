"""Customers as Telegram names them."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet

from esimshop.init_data import TelegramUser
from esimshop.languages import language_of
from esimshop.search_terms import match_number
from orders.models import Customer


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
        "language": language_of(language_code),
    }
    customer = Customer.objects.filter(telegram_user_id=telegram_user_id).first()
    if customer is None:
        customer, _ = Customer.objects.get_or_create(telegram_user_id=telegram_user_id, defaults=fresh)
    changed = {name: value for name, value in fresh.items() if getattr(customer, name) != value}
    if changed:
        Customer.objects.filter(pk=customer.pk).update(**changed)
        for name, value in changed.items():
            setattr(customer, name, value)
    return customer


def customers_meant(term: str) -> QuerySet[Customer]:
    """Customers whose Telegram id or username, in any case, is a term as `read_term` reads it."""
    return Customer.objects.filter(Q(username__iexact=term.removeprefix("@")) | match_number("telegram_user_id", term))
