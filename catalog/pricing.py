"""The price of a plan in Stars. Exact arithmetic only: a price is never below what the formula says."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from catalog.models import PricingPolicy

#: The largest number that Plan.price_stars holds, far above any price that Telegram takes.
MAX_STORED_STARS = 2_147_483_647


class Price(NamedTuple):
    """What a plan's row says of its price."""

    stars: int
    is_sellable: bool


def price_in_stars(*, wholesale_usd: Decimal, policy: PricingPolicy) -> int:
    """Price of a plan that costs us `wholesale_usd`, in whole Stars.

    ceil(wholesale × (1 + markup) × stars_per_usd ÷ (1 − commission)), at least `min_stars`, then up to the next
    multiple of `step_stars`.
    """
    # Fractions, since a Decimal division rounds at 28 digits and could end below a whole Star.
    exact = (
        Fraction(wholesale_usd)
        * (1 + Fraction(policy.markup))
        * Fraction(policy.stars_per_usd)
        / (1 - Fraction(policy.commission))
    )
    stars = max(math.ceil(exact), policy.min_stars)
    return -(-stars // policy.step_stars) * policy.step_stars


def is_sellable(*, price_stars: int, wholesale_usd: Decimal, policy: PricingPolicy) -> bool:
    """Whether the price pays for the plan at the payout rate and is one that we may ask."""
    pays = price_stars * Fraction(policy.payout_usd_per_star) >= Fraction(wholesale_usd)
    return pays and price_stars <= policy.max_stars


def price_plan(*, wholesale_usd: Decimal, policy: PricingPolicy) -> Price:
    """Price of a plan as it is stored, and whether it may be sold at it."""
    stars = price_in_stars(wholesale_usd=wholesale_usd, policy=policy)
    sellable = is_sellable(price_stars=stars, wholesale_usd=wholesale_usd, policy=policy)
    return Price(min(stars, MAX_STORED_STARS), sellable and stars <= MAX_STORED_STARS)
