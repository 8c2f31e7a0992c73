"""What orders need of payments, which they may not import: payments put it here in AppConfig.ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orders.models import Order


class GiveUpOrder(Protocol):
    def __call__(self, order: Order, *, cause: str, actor: str, reason: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """give_up_order: moves an order that cannot be fulfilled to `refunding` and starts its refund; called inside a
                       transaction that has made sure that no attempt of the order is open or placed.
    is_paid_for:        whether we have the Stars of an order and are not giving them back.
    promise_minutes, purchases_per_hour: of the service policy in force.
    """

    give_up_order: GiveUpOrder
    is_paid_for: Callable[[Order], bool]
    promise_minutes: Callable[[], int]
    purchases_per_hour: Callable[[], int]


_registered: list[Hooks] = []


def register_hooks(hooks: Hooks) -> None:
    """Put the hooks of payments in place of whatever was there."""
    _registered[:] = [hooks]


def payment_hooks() -> Hooks:
    """The hooks of payments."""
    (hooks,) = _registered
    return hooks
