"""An order as its customer sees it over HTTP."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext

from esimshop.activation_codes import android_install_url, apple_install_url, qr_svg
from esimshop.moments import rfc3339
from orders.messages import refund_reason
from orders.models import Esim, Order
from payments.models import Invoice

Status = Order.Status


def describe_order(order: Order, language: str) -> dict[str, Any]:
    """The order in the shape of OrderSerializer; its messages are in the active language.

    Without queries where `invoice`, `esims` and `deliveries` are loaded.
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
        "delivery": order.delivery_state,
        "invoice": _describe_invoice(order),
        "esim": describe_esim(esim) if esim else None,
    }


def _describe_invoice(order: Order) -> dict[str, Any] | None:
    """The link that pays for an order which still awaits it."""
    invoice: Invoice | None = getattr(order, "invoice", None)
    if invoice is None or not invoice.link or order.status != Status.AWAITING_PAYMENT:
        return None
    return {"invoice_link": invoice.link, "expires_at": rfc3339(order.quote_expires_at)}


def describe_esim(esim: Esim) -> dict[str, Any]:
    """The eSIM in the shape of EsimSerializer: for its owner only, it holds the activation code."""
    code = esim.activation_code
    return {
        "iccid": esim.iccid,
        "smdp_address": esim.smdp_address,
        "matching_id": esim.matching_id,
        "activation_code": code,
        "qr_svg": qr_svg(code),
        "apple_install_url": apple_install_url(code),
        "android_install_url": android_install_url(code),
        "usage": None,
    }


def explain_status(order: Order) -> str:
    """What is going on with an order, in a sentence of the active language."""
    if order.status == Status.REFUNDED:
        back = gettext("Your Stars are back on your Telegram balance.")
        return f"{refund_reason(order.cause)} {back}"
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
