"""Telegram's last question before it charges: answered from local state alone, within a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, override

from esimshop.languages import language_of
from esimshop.prepared import fetch_prepared
from orders.models import Order
from payments.models import PreCheckout, TelegramUpdate
from payments.services.invoiced_orders import InvoicedOrder, find_invoiced_order

Refusal = PreCheckout.Refusal

#: Telegram holds an approved query this long; until then its charge may still come.
APPROVAL_LASTS = timedelta(seconds=150)


def answer_pre_checkout(update: Mapping[str, Any]) -> dict[str, Any]:
    """Keep an update with a `pre_checkout_query`, decide the query, and keep the decision.

    Call outside transactions: twenty at once see one another's approvals because each commits its own before it
    looks at the balance. A query that was decided before keeps its answer.

    Returns: an `answerPreCheckoutQuery` call, to be sent as the webhook's response.
    Source:  Bot API PreCheckoutQuery, "Making requests when getting updates".
    """
    query = update["pre_checkout_query"]
    invoiced = find_invoiced_order(str(query["invoice_payload"]))
    refusal = _store(update, query, invoiced, _refusal(query, invoiced))
    if invoiced and refusal == Refusal.NONE and not _fits_balance(invoiced.order):
        refusal = _refuse_beyond_balance(query["id"], invoiced.order)
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


# Neither row need survive a power cut: the commit does not wait for the disk.
_STORE = f"""
    WITH kept AS (
        {TelegramUpdate.objects.INSERT}
        ON CONFLICT (update_id) DO UPDATE SET status = EXCLUDED.status, error = '', handled_at = EXCLUDED.handled_at
    )
    INSERT INTO payments_precheckout (query_id, order_id, cost_usd, created_at, refusal)
    SELECT %(query_id)s::varchar, %(order_id)s::uuid, %(cost_usd)s::numeric, %(now)s::timestamptz, %(refusal)s::varchar
      FROM set_config('synchronous_commit', 'off', true)
    ON CONFLICT (query_id) DO UPDATE SET query_id = EXCLUDED.query_id
    RETURNING refusal
"""  # noqa: S608  our own constant


def _store(update: Mapping[str, Any], query: Mapping[str, Any], invoiced: InvoicedOrder | None, refusal: str) -> str:
    """Keep update and decision; returns the decision, which is the earlier one where the query was decided before."""
    stored = fetch_prepared(
        _STORE,
        {
            **TelegramUpdate.objects.insert_values(
                update_id=update["update_id"], kind="pre_checkout_query", body=update
            ),
            "query_id": query["id"],
            "order_id": invoiced.order.pk if invoiced else None,
            "cost_usd": invoiced.order.cost_usd if invoiced else Decimal(0),
            "refusal": refusal,
        },
    )
    assert stored is not None
    return str(stored[0])


_PROMISED = "COALESCE((SELECT sum(cost_usd) FROM orders_order WHERE status IN ('paid', 'provisioning')), 0)"
_BALANCE = "(SELECT balance_usd FROM catalog_wholesaleraccount WHERE id = 1)"

#: Does the balance cover at least what is promised: all that is paid and not yet bought, and every approval of a moment
#: ago, this one's too? An order that tried twice counts twice, one that was paid meanwhile too.
_FITS = f"""
    SELECT {_PROMISED}
         + COALESCE((SELECT sum(cost_usd) FROM payments_precheckout
                      WHERE refusal = '' AND created_at > %(approved_after)s::timestamptz), 0)
        <= {_BALANCE}
"""  # noqa: S608  our own constants

#: The same to the cent: each order counts once.
_FITS_EXACTLY = f"""
    SELECT {_PROMISED}
         + COALESCE((SELECT sum(cost_usd) FROM orders_order
                      WHERE status IN ('awaiting_payment', 'expired') AND id <> %(order_id)s::uuid
                        AND id IN (SELECT order_id FROM payments_precheckout
                                    WHERE refusal = '' AND created_at > %(approved_after)s::timestamptz)), 0)
         + %(cost_usd)s::numeric
        <= {_BALANCE}
"""  # noqa: S608  our own constants


def _fits_balance(order: Order) -> bool:
    """Whether the balance covers an order that is stored as approved, beside all others; a balance nobody knows does.

    Of approvals that together exceed the balance the one stored last sees all others, so no lock is needed.
    """
    fits = fetch_prepared(_FITS, {"approved_after": timezone.now() - APPROVAL_LASTS})
    return fits is None or fits[0] is not False


def _refuse_beyond_balance(query_id: str, order: Order) -> str:
    """Look exactly, one query at a time, and take the approval back where it is too much. Returns the decision."""
    with transaction.atomic():
        fetch_prepared("SELECT 1 FROM catalog_wholesaleraccount WHERE id = 1 FOR UPDATE", [])
        fits = fetch_prepared(
            _FITS_EXACTLY,
            {"order_id": order.pk, "cost_usd": order.cost_usd, "approved_after": timezone.now() - APPROVAL_LASTS},
        )
        if fits is None or fits[0] is not False:
            return Refusal.NONE
        PreCheckout.objects.filter(query_id=query_id).update(refusal=Refusal.NO_BALANCE)
        return Refusal.NO_BALANCE


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
