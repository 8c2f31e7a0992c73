"""Telegram's last question before it charges: answered from local state alone, within a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext, override

from catalog.models import PricingPolicy, WholesalerAccount
from esimshop.languages import language_of
from orders.models import Order
from payments.models import Invoice, PreCheckout

Refusal = PreCheckout.Refusal

#: Telegram holds an approved query this long; until then its charge may still come.
APPROVAL_LASTS = timedelta(seconds=150)


def answer_pre_checkout(query: Mapping[str, Any]) -> dict[str, Any]:
    """Decide a `pre_checkout_query` and keep the decision.

    Returns: an `answerPreCheckoutQuery` call, to be sent as the webhook's response.
    Source:  Bot API PreCheckoutQuery, "Making requests when getting updates".
    """
    refusal = _stored_decision(str(query["id"]))
    if refusal is None:
        refusal = _decide(query)
    answer: dict[str, Any] = {"method": "answerPreCheckoutQuery", "pre_checkout_query_id": query["id"]}
    if refusal == Refusal.NONE:
        return answer | {"ok": True}
    with override(language_of(query["from"].get("language_code"))):
        return answer | {"ok": False, "error_message": explain_refusal(refusal)}


def explain_refusal(refusal: str) -> str:
    """The sentence that the buyer reads in Telegram's pay sheet, in the active language."""
    return {
        Refusal.UNKNOWN_INVOICE: gettext(
            "We do not know this invoice. Open the shop and choose the plan again; no Stars were taken."
        ),
        Refusal.NOT_YOURS: gettext(
            "This invoice is someone else's. Open the shop to buy your own; no Stars were taken."
        ),
        Refusal.WRONG_AMOUNT: gettext("The price does not match. Reopen the order; no Stars were taken."),
        Refusal.NOT_AWAITING: gettext(
            "This order is paid or closed already. Look into My orders; no Stars were taken."
        ),
        Refusal.QUOTE_EXPIRED: gettext("The price is out of date. Reopen the order; no Stars were taken."),
        Refusal.PLAN_GONE: gettext("This plan is no longer sold. Choose another one; no Stars were taken."),
        Refusal.SALES_PAUSED: gettext("Sales are paused for a short while. Try again later; no Stars were taken."),
        Refusal.NO_BALANCE: gettext("This plan cannot be delivered right now. Try again later; no Stars were taken."),
    }[Refusal(refusal)]


def _stored_decision(query_id: str) -> str | None:
    return PreCheckout.objects.filter(query_id=query_id).values_list("refusal", flat=True).first()


@transaction.atomic
def _decide(query: Mapping[str, Any]) -> str:
    invoice = (
        Invoice.objects.select_related("order__customer", "order__plan")
        .filter(payload=str(query["invoice_payload"])[:128])
        .first()
    )
    order = invoice.order if invoice else None
    refusal = _refusal(query, order)
    if refusal == Refusal.NONE and order is not None and not _balance_covers(order):
        refusal = Refusal.NO_BALANCE
    PreCheckout.objects.create(
        query_id=str(query["id"]),
        order=order,
        refusal=refusal,
        cost_usd=order.cost_usd if order else Decimal(0),
    )
    return refusal


def _refusal(query: Mapping[str, Any], order: Order | None) -> str:
    if order is None:
        return Refusal.UNKNOWN_INVOICE
    if query["from"]["id"] != order.customer.telegram_user_id:
        return Refusal.NOT_YOURS
    if query["currency"] != "XTR" or query["total_amount"] != order.amount_stars:
        return Refusal.WRONG_AMOUNT
    if order.status == Order.Status.EXPIRED:
        return Refusal.QUOTE_EXPIRED
    if order.status != Order.Status.AWAITING_PAYMENT:
        return Refusal.NOT_AWAITING
    if order.quote_expires_at <= timezone.now():
        return Refusal.QUOTE_EXPIRED
    if not order.plan.is_on_sale:
        return Refusal.PLAN_GONE
    if not PricingPolicy.in_force().is_selling:
        return Refusal.SALES_PAUSED
    return Refusal.NONE


def _balance_covers(order: Order) -> bool:
    """Whether the wholesaler's last known balance covers this order beside all that is promised already.

    The account's row is locked until the decision is stored, so that twenty at once cannot oversell it. The
    decision need not survive a power cut, so its commit does not wait for the disk while others wait for the row.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
    account = WholesalerAccount.objects.select_for_update().filter(pk=1).first()
    if account is None or account.balance_usd is None:
        return True
    return promised_usd(beside=order) + order.cost_usd <= account.balance_usd


def promised_usd(*, beside: Order | None = None) -> Decimal:
    """Wholesale cost, USD, of all that is paid and not yet bought, and of what was approved a moment ago.

    beside: an order to leave out, whose earlier approval must not stand in its own way. Each order counts once.
    """
    approved = PreCheckout.objects.filter(refusal=Refusal.NONE, created_at__gt=timezone.now() - APPROVAL_LASTS).values(
        "order_id"
    )
    unpaid = [Order.Status.AWAITING_PAYMENT, Order.Status.EXPIRED]
    orders = Order.objects.filter(pk__in=approved, status__in=unpaid)
    if beside is not None:
        orders = orders.exclude(pk=beside.pk)
    total = Decimal(0)
    for promised in (Order.objects.promised(), orders):
        total += promised.aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)
    return total
