"""The sales brake: pauses that set in and end by themselves, beside the switch of the pricing policy."""

from __future__ import annotations

from decimal import Decimal

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from catalog.models import SalesPause
from esimshop.alerts import clear_alert, raise_alert

_WHAT_TO_DO = {
    SalesPause.Cause.BALANCE: "Top up the balance in eSIM Go's portal",
    SalesPause.Cause.ACCOUNT: "Check key, IP allow-list and balance in eSIM Go's portal; paid orders wait inside their "
    "promise and are refunded at its end",
    SalesPause.Cause.ERRORS: "See `manage.py doctor`, and eSIM Go's status page",
    SalesPause.Cause.QUEUE: "See `manage.py doctor`: does a worker run, does eSIM Go answer?",
    SalesPause.Cause.STAFF: "Press Resume sales on the pause's page when its reason is over",
    SalesPause.Cause.PURCHASE_LIMIT: "See whether something buys by mistake; if not, raise purchases_per_hour in the "
    "service policy",
}


def pause_sales(*, cause: str, reason: str, min_cost_usd: Decimal | None = None) -> None:
    """Pause sales for a cause, or bring its open pause up to date; the operators are told once. Paid orders go on.

    cause:        a SalesPause.Cause.
    reason:       in words for the operators.
    min_cost_usd: only plans that cost us at least so much are paused; None: all.
    """
    pause, is_new = SalesPause.objects.get_or_create(
        cause=cause, ended_at=None, defaults={"reason": reason, "min_cost_usd": min_cost_usd}
    )
    if not is_new and (pause.reason, pause.min_cost_usd) != (reason, min_cost_usd):
        SalesPause.objects.filter(pk=pause.pk).update(reason=reason, min_cost_usd=min_cost_usd)
    by_itself = "" if cause == SalesPause.Cause.STAFF else " They resume by themselves."
    which = "Sales are paused" if min_cost_usd is None else f"Sales of plans from {min_cost_usd} USD on are paused"
    raise_alert(
        cause=f"sales_pause:{cause}",
        text=f"{which}: {reason}. {_WHAT_TO_DO[SalesPause.Cause(cause)]}.{by_itself}",
        path="/admin/catalog/salespause/",
    )


def resume_sales(*, cause: str) -> None:
    """End the pause of a cause, if there is one."""
    if not SalesPause.objects.filter(cause=cause, ended_at=None).exists():
        return
    with transaction.atomic():
        SalesPause.objects.filter(cause=cause, ended_at=None).update(ended_at=timezone.now())
        clear_alert(cause=f"sales_pause:{cause}")


class PauseRefused(Exception):
    """Sales are not paused, or resumed, so; the text says why, for staff."""


def pause_sales_by_hand(*, actor: str, reason: str, min_cost_usd: Decimal | None = None) -> None:
    """Pause sales until a person resumes them. Raises: PauseRefused where one by hand is in force already."""
    with transaction.atomic():
        _, is_new = SalesPause.objects.get_or_create(
            cause=SalesPause.Cause.STAFF,
            ended_at=None,
            defaults={"reason": f"{reason} ({actor})", "min_cost_usd": min_cost_usd},
        )
        if not is_new:
            raise PauseRefused("Sales are paused by hand already. Resume them first to pause others.")
        pause_sales(cause=SalesPause.Cause.STAFF, reason=f"{reason} ({actor})", min_cost_usd=min_cost_usd)


def resume_sales_by_hand(pause: SalesPause, *, actor: str, reason: str) -> None:
    """End a pause that a person set. Raises: PauseRefused where it is over, or ends by itself."""
    with transaction.atomic():
        pause = SalesPause.objects.select_for_update().get(pk=pause.pk)
        if pause.ended_at:
            raise PauseRefused("It is over already.")
        if pause.cause != SalesPause.Cause.STAFF:
            raise PauseRefused("It ends by itself once its cause is gone.")
        SalesPause.objects.filter(pk=pause.pk).update(reason=f"{pause.reason}; ended: {reason} ({actor})")
        resume_sales(cause=SalesPause.Cause.STAFF)


def find_pause(cost_usd: Decimal) -> SalesPause | None:
    """A pause that stops the sale of a plan with this wholesale price, USD."""
    covers = Q(min_cost_usd=None) | Q(min_cost_usd__lte=cost_usd)
    return SalesPause.objects.filter(covers, ended_at=None).order_by("id").first()
