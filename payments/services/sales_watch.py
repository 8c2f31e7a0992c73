"""Watching over sales: whether what is sold can be served, and putting the brake on and off accordingly."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import structlog
from django.db.models import Exists, Max, OuterRef, Sum
from django.utils import timezone

from catalog.models import Plan, SalesPause, WholesalerAccount
from catalog.services.accounts import WrongCurrency, refresh_account
from catalog.services.brake import pause_sales, resume_sales
from esimshop.clients.esimgo import EsimGoError, EsimGoRejected, esimgo_client
from orders.models import Order, ProvisioningAttempt
from orders.services.purchases import is_over_limit
from payments.models import ServicePolicy

log = structlog.get_logger(__name__)

Cause = SalesPause.Cause
Attempt = ProvisioningAttempt.Status

#: How old a balance may be while nothing is short.
BALANCE_LASTS = timedelta(minutes=5)
ERRORS_WITHIN = timedelta(minutes=15)
FEWEST_ATTEMPTS = 10
#: An open attempt so young is not a failed one yet.
IN_FLIGHT = timedelta(minutes=2)
#: So much better, as a factor, must it be before a pause ends, or the brake would flap.
BETTER = Decimal("1.1")
SMALLEST_STEP = Decimal("0.0001")


def watch_sales() -> None:
    """Put the brake on where paid orders could not be served, and take it off where they can again.

    Looks at the wholesaler's balance, at how many purchases fail, and at how long paid orders wait.
    """
    policy = ServicePolicy.in_force()
    _watch_balance(_read_account(), policy)
    _watch_account()
    _watch_errors(policy)
    _watch_queue(policy)
    _watch_purchases()


def _read_account() -> WholesalerAccount | None:
    """The account as last told, asked anew where that is old or sales are paused for it."""
    account = WholesalerAccount.objects.filter(pk=1).first()
    is_fresh = account and account.read_at and account.read_at > timezone.now() - BALANCE_LASTS
    is_short = SalesPause.objects.filter(cause__in=[Cause.BALANCE, Cause.ACCOUNT], ended_at=None).exists()
    if is_fresh and not is_short:
        return account
    try:
        return refresh_account(client=esimgo_client())
    except (EsimGoError, WrongCurrency) as error:
        log.warning("account_not_refreshed", error=str(error))
        return account


def _watch_account() -> None:
    """Take the account's pause off once eSIM Go would sell again; whoever is refused puts it on."""
    cheapest = Plan.objects.on_sale().order_by("wholesale_usd").first()
    if cheapest is None or not SalesPause.objects.filter(cause=Cause.ACCOUNT, ended_at=None).exists():
        return
    try:
        esimgo_client().validate_order(bundle_name=cheapest.bundle_name)
    except EsimGoRejected as error:
        if error.is_account_level:
            return
    except EsimGoError as error:
        log.warning("account_not_rehearsed", error=str(error))
        return
    resume_sales(cause=Cause.ACCOUNT)


def _watch_balance(account: WholesalerAccount | None, policy: ServicePolicy) -> None:
    """Pause the plans that the balance could not pay for; one that nobody knows stops no sale."""
    if account is None or account.balance_usd is None:
        return
    promised = Order.objects.promised().aggregate(usd=Sum("cost_usd"))["usd"] or Decimal(0)
    left: Decimal = account.balance_usd - promised - policy.low_balance_usd
    pause = SalesPause.objects.filter(cause=Cause.BALANCE, ended_at=None).first()
    if pause and left <= (pause.min_cost_usd or 0) * BETTER:
        # Still short: it may get worse at once, and better only when it is clearly better.
        left_before = (pause.min_cost_usd or SMALLEST_STEP) - SMALLEST_STEP
        _pause_beyond(min(left, left_before), account.balance_usd, promised)
        return
    dearest = Plan.objects.on_sale().aggregate(usd=Max("wholesale_usd"))["usd"] or Decimal(0)
    if left <= 0 or left < dearest:
        _pause_beyond(left, account.balance_usd, promised)
    else:
        resume_sales(cause=Cause.BALANCE)


def _pause_beyond(left: Decimal, balance: Decimal, promised: Decimal) -> None:
    pause_sales(
        cause=Cause.BALANCE,
        reason=f"the wholesaler's balance is {balance} USD, of which {promised} USD are promised to paid orders",
        min_cost_usd=left + SMALLEST_STEP if left > 0 else None,
    )


def _watch_errors(policy: ServicePolicy) -> None:
    now = timezone.now()
    recent = ProvisioningAttempt.objects.filter(started_at__gt=now - ERRORS_WITHIN).exclude(
        status=Attempt.OPEN, started_at__gt=now - IN_FLIGHT
    )
    total = recent.count()
    # A certain no for one bundle says nothing about the next.
    failed = (
        recent.exclude(status__in=[Attempt.PLACED, Attempt.REVOKED])
        .exclude(status=Attempt.REJECTED, error__regex=r"^4(00|04|10):")
        .count()
    )
    if total >= FEWEST_ATTEMPTS and failed * 100 > policy.brake_error_percent * total:
        pause_sales(cause=Cause.ERRORS, reason=f"{failed} of the last {total} purchases at the wholesaler failed")
    elif total < FEWEST_ATTEMPTS or failed * 100 * BETTER <= policy.brake_error_percent * total:
        resume_sales(cause=Cause.ERRORS)


def _watch_queue(policy: ServicePolicy) -> None:
    # One whose outcome is looked up waits for the wholesaler's books, not for its turn.
    alive = ProvisioningAttempt.objects.filter(order=OuterRef("pk"), status__in=[Attempt.OPEN, Attempt.PLACED])
    waiting = Order.objects.promised().filter(~Exists(alive))
    oldest = waiting.order_by("paid_at").values_list("paid_at", flat=True).first()
    waits = (timezone.now() - oldest).total_seconds() if oldest else 0.0
    if waits > policy.brake_queue_seconds:
        pause_sales(cause=Cause.QUEUE, reason=f"the oldest paid order waits for {int(waits // 60)} minutes")
    elif waits < policy.brake_queue_seconds / 2:
        resume_sales(cause=Cause.QUEUE)


def _watch_purchases() -> None:
    """Take the limit's pause off again; whoever buys puts it on."""
    if not is_over_limit():
        resume_sales(cause=Cause.PURCHASE_LIMIT)
