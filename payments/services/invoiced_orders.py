"""An order as an invoice's payload names it, with what a decision about its payment needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from orders.models import Order

if TYPE_CHECKING:

    class InvoicedOrder(Order):
        """What `find_invoiced_order` returns; to Django it is an Order.

        owner_id:        Telegram id of its customer.
        is_selling:      the sales switch of today's policy.
        promise_minutes: of today's policy; None where nobody has set any.
        """

        owner_id: int
        is_plan_on_sale: bool
        is_selling: bool
        promise_minutes: int | None
else:
    InvoicedOrder = Order

# By hand: Telegram's buyer waits for it, and the ORM takes longer to compile the joins than PostgreSQL to do them.
_FIND = """
    SELECT o.id, o.status, o.customer_id, o.plan_id, o.amount_stars, o.cost_usd, o.quote_expires_at,
           c.telegram_user_id AS owner_id, p.is_on_sale AS is_plan_on_sale,
           COALESCE((SELECT is_selling FROM catalog_pricingpolicy ORDER BY id DESC LIMIT 1), true) AS is_selling,
           (SELECT promise_minutes FROM payments_servicepolicy ORDER BY id DESC LIMIT 1) AS promise_minutes
      FROM payments_invoice i
      JOIN orders_order o ON o.id = i.order_id
      JOIN orders_customer c ON c.id = o.customer_id
      JOIN catalog_plan p ON p.id = o.plan_id
     WHERE i.payload = %s
"""


def find_invoiced_order(payload: str, *, lock: bool = False) -> InvoicedOrder | None:
    """The order that an invoice payload pays for, or None.

    lock: hold the order's row until the transaction ends. Fields that are not named above load when asked for.
    """
    sql = f"{_FIND} FOR UPDATE OF o" if lock else _FIND
    return next(cast("Iterator[InvoicedOrder]", iter(Order.objects.raw(sql, [payload]))), None)
