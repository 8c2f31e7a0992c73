"""The price formula, against the same formula in whole numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import PricingPolicy
from catalog.pricing import MAX_STORED_STARS, is_sellable, price_in_stars, price_plan


def decimals(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value=Decimal(low), max_value=Decimal(high), places=places, allow_nan=False)


WHOLESALE = decimals("0.0001", "10000", 4)
POLICIES = st.builds(
    PricingPolicy,
    stars_per_usd=decimals("0.0001", "999999", 4),
    markup=decimals("0", "99", 4),
    commission=decimals("0", "0.9999", 4),
    step_stars=st.integers(1, 1000),
    min_stars=st.integers(1, 5000),
)


def price_in_whole_numbers(wholesale_usd: Decimal, policy: PricingPolicy) -> tuple[int, int]:
    """Numerator and denominator of the formula, all places moved into integers."""
    numerator = int(wholesale_usd * 10**4) * int((1 + policy.markup) * 10**4) * int(policy.stars_per_usd * 10**4)
    return numerator, 10**8 * int((1 - policy.commission) * 10**4)


@given(WHOLESALE, POLICIES)
def test_the_price_is_the_least_that_the_formula_minimum_and_step_allow(
    wholesale_usd: Decimal, policy: PricingPolicy
) -> None:
    numerator, denominator = price_in_whole_numbers(wholesale_usd, policy)

    price = price_in_stars(wholesale_usd=wholesale_usd, policy=policy)

    assert price % policy.step_stars == 0
    assert price * denominator >= numerator
    assert price >= policy.min_stars
    less = price - policy.step_stars
    assert less * denominator < numerator or less < policy.min_stars


@given(WHOLESALE, WHOLESALE, POLICIES)
def test_a_dearer_plan_never_costs_less(one: Decimal, other: Decimal, policy: PricingPolicy) -> None:
    cheap, dear = sorted([one, other])
    assert price_in_stars(wholesale_usd=cheap, policy=policy) <= price_in_stars(wholesale_usd=dear, policy=policy)


@given(WHOLESALE)
def test_with_the_default_policy_every_price_up_to_the_maximum_pays_for_its_plan(wholesale_usd: Decimal) -> None:
    policy = PricingPolicy()
    price = price_in_stars(wholesale_usd=wholesale_usd, policy=policy)
    assert is_sellable(price_stars=price, wholesale_usd=wholesale_usd, policy=policy) is (
        wholesale_usd <= Decimal(1000)
    )


@pytest.mark.parametrize(
    ("wholesale_usd", "values", "stars"),
    [
        ("1.36", {}, 136),
        ("1.3601", {}, 137),
        ("90.275", {}, 9028),
        ("0.0001", {}, 1),
        ("1", {"markup": Decimal("0.2")}, 120),
        ("1", {"commission": Decimal("0.3")}, 143),
        ("0.7", {"commission": Decimal("0.3")}, 100),
        ("1.36", {"step_stars": 50}, 150),
        ("1.50", {"step_stars": 50}, 150),
        ("0.10", {"min_stars": 25}, 25),
        ("0.10", {"min_stars": 25, "step_stars": 10}, 30),
    ],
)
def test_examples(wholesale_usd: str, values: dict[str, Decimal | int], stars: int) -> None:
    assert price_in_stars(wholesale_usd=Decimal(wholesale_usd), policy=PricingPolicy(**values)) == stars


def test_a_price_that_divides_without_end_is_still_rounded_up_exactly() -> None:
    # 0.3 × 1 ÷ (1 − 0.7) is one whole Star; in binary fractions it is a little more.
    policy = PricingPolicy(stars_per_usd=Decimal(1), commission=Decimal("0.7"))
    assert price_in_stars(wholesale_usd=Decimal("0.3"), policy=policy) == 1


def test_a_trillionth_over_a_whole_star_costs_another_star() -> None:
    # 1.0001 × 1.4341 × 13946.7261 = 20003.000000000001, of which a float keeps 20003.0.
    policy = PricingPolicy(stars_per_usd=Decimal("13946.7261"), markup=Decimal("0.4341"))
    assert price_in_stars(wholesale_usd=Decimal("1.0001"), policy=policy) == 20_004


@pytest.mark.parametrize(("price_stars", "sellable"), [(99, False), (100, True), (100_000, True), (100_001, False)])
def test_a_plan_is_sold_between_what_pays_for_it_and_the_maximum(price_stars: int, sellable: bool) -> None:
    policy = PricingPolicy(payout_usd_per_star=Decimal("0.013"), max_stars=100_000)
    assert is_sellable(price_stars=price_stars, wholesale_usd=Decimal("1.3"), policy=policy) is sellable


def test_a_price_too_large_for_its_column_is_stored_as_the_largest_and_not_sold() -> None:
    policy = PricingPolicy(stars_per_usd=Decimal(999_999), max_stars=MAX_STORED_STARS)
    assert price_plan(wholesale_usd=Decimal(10_000), policy=policy) == (MAX_STORED_STARS, False)
