"""What staff may do to orders, their messages and purchases that nobody owns."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from esimshop.acts import Act, ActRefused, Preview, actor_of, register_act
from orders.models import Order, StaleOrder
from orders.services.reprovisioning import ReprovisionRefused, plan_reprovisioning, reprovision_order


class Reprovision(Act):
    name = "reprovision"
    label = "Re-provision"
    icon = "autorenew"
    model = Order
    permission = "orders.reprovision_order"

    def suits(self, row: Order) -> bool:
        return row.status == Order.Status.NEEDS_ATTENTION

    def rows_of_cause(self, cause: str) -> QuerySet[Order]:
        return Order.objects.filter(status=Order.Status.NEEDS_ATTENTION, cause=cause).order_by("created_at")

    def preview(self, row: Order) -> Preview:
        try:
            plan = plan_reprovisioning(str(row.pk))
        except ReprovisionRefused as refusal:
            raise ActRefused(f"Not possible: {refusal}.") from refusal
        return Preview(
            what=f"{plan.next_step} The customer gets a new promise, and the eSIM as soon as it is there.",
            cost=f"{row.cost_usd.normalize():f} USD at eSIM Go, only if it must be bought.",
        )

    def perform(self, row: Order, *, user: User, reason: str, values: dict[str, Any]) -> str:
        try:
            done = reprovision_order(str(row.pk), actor=actor_of(user), reason=reason)
        except ReprovisionRefused as refusal:
            raise ActRefused(f"Nothing was done: {refusal}.") from refusal
        except StaleOrder:
            raise ActRefused("Somebody else moved the order at this moment. Look at it again.") from None
        return f"On its way. {done.next_step}"


register_act(Reprovision())
