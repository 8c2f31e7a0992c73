"""An order as its customer sees it over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from orders.documents import describe_installation, rfc3339
from orders.messages import refund_reason
from orders.models import Order
from payments.models import Invoice, Payment

Status = Order.Status


def describe_order(order: Order, language: str) -> dict[str, Any]:
    """The order in the shape of OrderSerializer; its messages are in the active language.

    Without queries where `invoice`, `payments`, `deliveries`, `esims` and `top_up_esim` with `bundles` are loaded.
    """
    esim = order.esim
    return {
        "order_id": str(order.pk),
        "status": order.status,
        "message": explain_status(order),
        "plan": order.bought_plan[language],
        "amount_stars": order.amount_stars,
        "created_at": rfc3339(order.created_at),
        "paid_at": rfc3339(order.paid_at),
        "promise_at": rfc3339(order.promise_at),
        "completed_at": rfc3339(order.completed_at),
        "refunded_at": rfc3339(_refunded_at(order)),
        "delivery": order.delivery_state,
        "invoice": _describe_invoice(order),
        "esim": describe_installation(esim) if esim else None,
        "top_up_iccid": order.top_up_esim.iccid if order.top_up_esim else None,
    }


def _refunded_at(order: Order) -> datetime | None:
    """When the Stars that paid for an order came back; those of a charge too many are another story."""
    if order.status != Status.REFUNDED:
        return None
    return next((each.refunded_at for each in order.payments.all() if each.kind == Payment.Kind.ORDER), None)


def _describe_invoice(order: Order) -> dict[str, Any] | None:
    """The link that pays for an order which still awaits it."""
    invoice: Invoice | None = getattr(order, "invoice", None)
    if invoice is None or not invoice.link or order.status != Status.AWAITING_PAYMENT:
        return None
    return {"invoice_link": invoice.link, "expires_at": rfc3339(order.quote_expires_at)}


def explain_status(order: Order) -> str:
    """What is going on with an order, in a sentence of the active language."""
    if order.status == Status.REFUNDED:
        back = gettext("Your Stars are back on your Telegram balance.")
        return f"{refund_reason(order.cause)} {back}"
    if order.status == Status.COMPLETED and order.top_up_esim_id:
        return gettext("Topped up. Nothing to install: the data reach your eSIM within ten minutes.")
    return {
        Status.AWAITING_PAYMENT: gettext("Waiting for your payment."),
        Status.PAID: gettext("Paid. Preparing your eSIM."),
        Status.PROVISIONING: gettext("Preparing your eSIM. Usually under a minute."),
        Status.COMPLETED: gettext("Your eSIM is ready. Install it now on Wi‑Fi, switch it on when you arrive."),
        Status.NEEDS_ATTENTION: gettext("This needs a little longer. A person is on it. Please do not buy again."),
        Status.REFUNDING: gettext("Returning your Stars. Usually a minute."),
        Status.EXPIRED: gettext("The order is closed, nothing was charged. Start again?"),
        Status.CANCELLED: gettext("The order is closed, nothing was charged. Start again?"),
    }[Status(order.status)]
