"""An order as an invoice's payload names it, with what a decision about its payment needs."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from esimshop.prepared import fetch_prepared
from orders.models import Order

# In the model's own order, as Model.from_db takes them.
_NEEDED = {"id", "status", "customer_id", "plan_id", "amount_stars", "cost_usd", "quote_expires_at"}
_FIELDS = tuple(field.attname for field in Order._meta.concrete_fields if field.attname in _NEEDED)
_FIND = f"""
    SELECT {", ".join(f"o.{field}" for field in _FIELDS)}, c.telegram_user_id, p.is_on_sale,
           COALESCE((SELECT is_selling FROM catalog_pricingpolicy ORDER BY id DESC LIMIT 1), true)
           AND NOT EXISTS (SELECT 1 FROM catalog_salespause
                            WHERE ended_at IS NULL AND (min_cost_usd IS NULL OR min_cost_usd <= o.cost_usd)),
           (SELECT promise_minutes FROM payments_servicepolicy ORDER BY id DESC LIMIT 1)
      FROM payments_invoice i
      JOIN orders_order o ON o.id = i.order_id
      JOIN orders_customer c ON c.id = o.customer_id
      JOIN catalog_plan p ON p.id = o.plan_id
     WHERE i.payload = %s
"""  # noqa: S608  our own fields


@dataclass(frozen=True)
class InvoicedOrder:
    """order:           its other fields load when they are asked for.
    owner_id:        Telegram id of its customer.
    is_selling:      neither the policy's sales switch nor the brake stops this order.
    promise_minutes: of today's policy; None where nobody has set any.
    """

    order: Order
    owner_id: int
    is_plan_on_sale: bool
    is_selling: bool
    promise_minutes: int | None


def find_invoiced_order(payload: str, *, lock: bool = False) -> InvoicedOrder | None:
    """The order that an invoice payload pays for, or None.

    lock: hold the order's row until the transaction ends.
    """
    row = fetch_prepared(f"{_FIND} FOR UPDATE OF o" if lock else _FIND, [payload])
    if row is None:
        return None
    order = Order.from_db(connection.alias, _FIELDS, row[: len(_FIELDS)])
    return InvoicedOrder(order, *row[len(_FIELDS) :])
