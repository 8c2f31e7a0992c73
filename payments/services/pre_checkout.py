"""Telegram's last question before it charges: answered from local state alone, within a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext, override

from esimshop.languages import language_of
from esimshop.prepared import fetch_prepared
from orders.models import Order
from payments.models import PreCheckout, storable
from payments.services.invoiced_orders import InvoicedOrder, find_invoiced_order

Refusal = PreCheckout.Refusal

#: Telegram holds an approved query this long; until then its charge may still come.
APPROVAL_LASTS = timedelta(seconds=150)


def answer_pre_checkout(query: Mapping[str, Any]) -> dict[str, Any]:
    """Decide a `pre_checkout_query` and keep the decision.

    Call inside a transaction.

    Returns: an `answerPreCheckoutQuery` call, to be sent as the webhook's response.
    Source:  Bot API PreCheckoutQuery, "Making requests when getting updates".
    """
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


def _decide(query: Mapping[str, Any]) -> str:
    """Decide and store the decision; a query that was decided before keeps its answer."""
    invoiced = find_invoiced_order(storable(str(query["invoice_payload"])))
    refusal = _refusal(query, invoiced)
    may_be_sold = invoiced is not None and refusal == Refusal.NONE
    if may_be_sold:
        # Locked until the decision is stored, so that twenty at once cannot oversell the balance. The decision need
        # not survive a power cut: its commit does not wait for the disk while others wait for the row.
        fetch_prepared(
            "SELECT set_config('synchronous_commit', 'off', true)"
            " FROM catalog_wholesaleraccount WHERE id = 1 FOR UPDATE",
            [],
        )
    stored = fetch_prepared(
        _STORE,
        {
            "query_id": query["id"],
            "order_id": invoiced.order.pk if invoiced else None,
            "refusal": refusal,
            "cost_usd": invoiced.order.cost_usd if invoiced else Decimal(0),
            "may_be_sold": may_be_sold,
            "now": timezone.now(),
            "approved_after": timezone.now() - APPROVAL_LASTS,
        },
    )
    assert stored is not None
    return str(stored[0])


#: Wholesale cost, USD, of all that is paid and not yet bought, and of what was approved a moment ago beside this order,
#: whose earlier approval must not stand in its own way. Each order counts once.
_PROMISED = """
    COALESCE((SELECT sum(cost_usd) FROM orders_order WHERE status IN ('paid', 'provisioning')), 0)
    + COALESCE((SELECT sum(cost_usd) FROM orders_order
                 WHERE status IN ('awaiting_payment', 'expired') AND id <> %(order_id)s::uuid
                   AND id IN (SELECT order_id FROM payments_precheckout
                               WHERE refusal = '' AND created_at > %(approved_after)s::timestamptz)), 0)
"""

_STORE = f"""
    INSERT INTO payments_precheckout (query_id, order_id, cost_usd, created_at, refusal)
    SELECT %(query_id)s::varchar, %(order_id)s::uuid, %(cost_usd)s::numeric, %(now)s::timestamptz,
           CASE WHEN %(may_be_sold)s::boolean
                 AND {_PROMISED} + %(cost_usd)s::numeric
                     > (SELECT balance_usd FROM catalog_wholesaleraccount WHERE id = 1)
                THEN 'no_balance' ELSE %(refusal)s::varchar END
    ON CONFLICT (query_id) DO UPDATE SET query_id = EXCLUDED.query_id
    RETURNING refusal
"""  # noqa: S608  our own constant


def _refusal(query: Mapping[str, Any], invoiced: InvoicedOrder | None) -> str:
    if invoiced is None:
        return Refusal.UNKNOWN_INVOICE
    order = invoiced.order
    if query["from"]["id"] != invoiced.owner_id:
        return Refusal.NOT_YOURS
    if query["currency"] != "XTR" or query["total_amount"] != order.amount_stars:
        return Refusal.WRONG_AMOUNT
    if order.status == Order.Status.EXPIRED:
        return Refusal.QUOTE_EXPIRED
    if order.status != Order.Status.AWAITING_PAYMENT:
        return Refusal.NOT_AWAITING
    if order.quote_expires_at <= timezone.now():
        return Refusal.QUOTE_EXPIRED
    if not invoiced.is_plan_on_sale:
        return Refusal.PLAN_GONE
    if not invoiced.is_selling:
        return Refusal.SALES_PAUSED
    return Refusal.NONE
