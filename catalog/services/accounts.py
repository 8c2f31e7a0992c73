"""What eSIM Go says of our account."""

from __future__ import annotations

from django.utils import timezone

from catalog.models import WholesalerAccount
from esimshop.clients.esimgo import EsimGoClient, Organisation

CURRENCY = "USD"


class WrongCurrency(Exception):
    """The account is not kept in USD, so neither its prices nor its balance mean what we would take them for."""


def refresh_account(*, client: EsimGoClient) -> WholesalerAccount:
    """Read the balance.

    Raises: EsimGoError, WrongCurrency; the row then stays as it was.
    """
    organisation = client.get_organisation()
    check_currency(organisation)
    return store_account(organisation)


def check_currency(organisation: Organisation) -> None:
    """Raise WrongCurrency unless the account is in USD: eSIM Go's prices carry no currency of their own."""
    if organisation.currency != CURRENCY:
        raise WrongCurrency(f"the account's currency is {organisation.currency or 'not given'}, not {CURRENCY}")


def store_account(organisation: Organisation) -> WholesalerAccount:
    account, _ = WholesalerAccount.objects.update_or_create(
        pk=1,
        defaults={
            "currency": organisation.currency,
            "balance_usd": organisation.balance_usd,
            "read_at": timezone.now(),
        },
    )
    return account
