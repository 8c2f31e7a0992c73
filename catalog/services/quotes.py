"""What a plan costs at this moment."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from catalog.models import Plan, PricingPolicy
from catalog.services.brake import find_pause


class PlanNotFound(Exception):
    """No plan of this name is on sale: the customer chooses another one."""


class SalesPaused(Exception):
    """The pricing policy's switch, or the brake, stops the sale: the customer comes back later."""


@dataclass(frozen=True)
class Quote:
    """A plan's price in Stars, what it costs us in USD, and the policy that made the one from the other."""

    plan: Plan
    amount_stars: int
    cost_usd: Decimal
    policy: PricingPolicy


def quote_plan(bundle_name: str) -> Quote:
    """The price that the catalogue shows for a plan on sale; its `plan.area` is loaded.

    policy: the one in force, saved, so that an order can point at it.
    Raises: PlanNotFound, SalesPaused.
    """
    # PostgreSQL stores no NUL, and the driver raises where one is asked for.
    plan = None
    if "\0" not in bundle_name:
        plan = Plan.objects.on_sale().select_related("area").filter(bundle_name=bundle_name).first()
    if plan is None:
        raise PlanNotFound(bundle_name)
    policy: PricingPolicy = PricingPolicy.in_force()
    if not policy.is_selling or find_pause(plan.wholesale_usd):
        raise SalesPaused
    if policy._state.adding:
        policy.save()
    return Quote(plan=plan, amount_stars=plan.price_stars, cost_usd=plan.wholesale_usd, policy=policy)
