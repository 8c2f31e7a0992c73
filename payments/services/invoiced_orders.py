"""An order as an invoice's payload names it, with what a decision about its payment needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from esimshop.prepared import fetch_prepared
from orders.models import Order
from payments.models import TelegramUpdate

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
     WHERE i.payload = %(payload)s
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


_KEEP_AND_FIND = f"""
    WITH kept AS ({TelegramUpdate.objects.INSERT} ON CONFLICT (update_id) DO NOTHING RETURNING id)
    SELECT found.* FROM kept LEFT JOIN LATERAL ({_FIND} FOR UPDATE OF o) found ON true
"""  # noqa: S608  our own constants


def keep_and_find(update: Mapping[str, Any], *, kind: str, payload: str) -> tuple[bool, InvoicedOrder | None]:
    """Store an update as handled and find the order that its payment pays for, whose row is held, in one statement.

    Returns: whether the update is new (if not, nothing was looked for), and the order.
    """
    values = TelegramUpdate.objects.insert_values(update_id=update["update_id"], kind=kind, body=update)
    row = fetch_prepared(_KEEP_AND_FIND, {**values, "payload": payload})
    return row is not None, _invoiced_order(row)


def find_invoiced_order(payload: str, *, lock: bool = False) -> InvoicedOrder | None:
    """The order that an invoice payload pays for, or None.

    lock: hold the order's row until the transaction ends.
    """
    return _invoiced_order(fetch_prepared(f"{_FIND} FOR UPDATE OF o" if lock else _FIND, {"payload": payload}))


def _invoiced_order(row: tuple[Any, ...] | None) -> InvoicedOrder | None:
    if row is None or row[0] is None:
        return None
    order = Order.from_db("default", _FIELDS, row[: len(_FIELDS)])
    return InvoicedOrder(order, *row[len(_FIELDS) :])
