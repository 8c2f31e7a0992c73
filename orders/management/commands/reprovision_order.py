"""`manage.py reprovision_order`: the safe re-provisioning of the admin."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from orders.models import Order, StaleOrder
from orders.services.reprovisioning import ReprovisionRefused, plan_reprovisioning, reprovision_order


class Command(BaseCommand):
    help = (
        "Bring an order that needs attention on its way again. eSIM Go is asked first what was bought for it already; "
        "only what is proven absent is bought. The worker does it: this command only starts it. "
        "Exit code 1: the order cannot be re-provisioned, and why."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("order_id", metavar="ORDER_ID", help="The order's id (UUID).")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="Why; kept in the order's timeline.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would happen, and change nothing.")

    def handle(self, *args: Any, order_id: str, reason: str, dry_run: bool, **options: Any) -> None:
        try:
            if dry_run:
                started = plan_reprovisioning(order_id)
            else:
                started = reprovision_order(order_id, actor="command:reprovision_order", reason=reason)
        except (Order.DoesNotExist, ValidationError):
            raise CommandError(f"There is no order {order_id}.") from None
        except ReprovisionRefused as refusal:
            raise CommandError(f"Order {order_id} is not re-provisioned: {refusal}.") from None
        except StaleOrder:
            raise CommandError(f"Somebody else has just moved order {order_id}. Look at it again.") from None
        self.stdout.write(started.next_step)
        if dry_run:
            self.stdout.write("Dry run: nothing was changed.")
            return
        self.stdout.write(
            f"Started; promised by {started.order.promise_at:%Y-%m-%d %H:%M:%S} UTC. "
            f"Watch it: {settings.PUBLIC_URL}/admin/orders/order/{started.order.pk}/change/"
        )
