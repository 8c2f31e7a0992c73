"""A new policy reprices everything at once."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Plan, PlanChange, PricingPolicy
from catalog.services.pricing_policies import set_pricing_policy
from catalog.services.quotes import PlanNotFound, SalesPaused, quote_plan
from tests.factories import PlanFactory, PricingPolicyFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def first_policy() -> PricingPolicy:
    """The row of the migration, also where a test with a real commit has flushed it away."""
    PricingPolicy.objects.all().delete()
    import_module("catalog.migrations.0002_first_pricing_policy").add_first_policy(apps, None)
    return PricingPolicy.objects.get()


def test_the_first_policy_has_the_defaults_of_the_design(first_policy: PricingPolicy) -> None:
    assert (first_policy.stars_per_usd, first_policy.markup, first_policy.commission) == (100, 0, 0)
    assert (first_policy.step_stars, first_policy.min_stars, first_policy.max_stars) == (1, 1, 100_000)
    assert first_policy.payout_usd_per_star == Decimal("0.013")
    assert first_policy.is_selling


def test_the_first_policy_is_added_once(first_policy: PricingPolicy) -> None:
    import_module("catalog.migrations.0002_first_pricing_policy").add_first_policy(apps, None)
    assert PricingPolicy.objects.get() == first_policy


def test_a_new_policy_reprices_all_plans_and_notes_who_and_why() -> None:
    plan = PlanFactory(wholesale_usd=Decimal("1.30"))
    staff = User.objects.create_user("finance")

    policy = set_pricing_policy(by=staff, reason="costs", markup=Decimal("0.5"), step_stars=10)

    plan.refresh_from_db()
    assert plan.price_stars == 200
    assert PricingPolicy.in_force() == policy
    assert (policy.created_by, policy.reason, policy.stars_per_usd) == (staff, "costs", Decimal(100))
    change = PlanChange.objects.get()
    assert (change.kind, change.before, change.after) == (
        "price", {"price_stars": 130}, {"price_stars": 200}
    )  # fmt: skip


def test_a_price_that_stays_is_not_noted() -> None:
    PlanFactory(wholesale_usd=Decimal("1.30"))
    set_pricing_policy(by=None, reason="", step_stars=10)
    assert not PlanChange.objects.exists()


def test_a_plan_that_would_be_sold_at_a_loss_or_too_dear_goes_off_sale_and_comes_back() -> None:
    cheap = PlanFactory(wholesale_usd=Decimal("1.30"))
    dear = PlanFactory(wholesale_usd=Decimal(100))
    set_pricing_policy(by=None, reason="", max_stars=5000)
    assert set(Plan.objects.on_sale()) == {cheap}
    set_pricing_policy(by=None, reason="", max_stars=100_000, stars_per_usd=Decimal(50))
    assert not Plan.objects.on_sale().exists()
    set_pricing_policy(by=None, reason="", stars_per_usd=Decimal(100))
    assert set(Plan.objects.on_sale()) == {cheap, dear}


def test_a_vanished_plan_is_repriced_but_not_put_on_sale() -> None:
    plan = PlanFactory(is_offered=False, is_on_sale=False)
    set_pricing_policy(by=None, reason="", markup=Decimal(1))
    plan.refresh_from_db()
    assert (plan.price_stars, plan.is_on_sale) == (260, False)


def test_the_number_of_queries_does_not_grow_with_the_plans() -> None:
    PlanFactory()
    with CaptureQueriesContext(connection) as one:
        set_pricing_policy(by=None, reason="", markup=Decimal(1))
    PlanFactory.create_batch(30)
    with CaptureQueriesContext(connection) as many:
        set_pricing_policy(by=None, reason="", markup=Decimal(2))
    assert len(many) == len(one)
    assert PlanChange.objects.count() == 32


@pytest.mark.parametrize(
    "changes",
    [
        {"markup": Decimal("-0.1")},
        {"commission": Decimal(1)},
        {"stars_per_usd": Decimal(0)},
        {"step_stars": 0},
        {"min_stars": 10, "max_stars": 5},
        {"stars_per_usd": "many"},
    ],
)
def test_a_policy_that_makes_no_sense_changes_nothing(changes: dict[str, Any]) -> None:
    plan = PlanFactory()
    with pytest.raises(ValidationError):
        set_pricing_policy(by=None, reason="", **changes)
    assert PricingPolicy.objects.count() == 1
    plan.refresh_from_db()
    assert plan.price_stars == 130


def test_a_quote_is_the_price_that_the_catalogue_shows() -> None:
    plan = PlanFactory(area__code="TR")
    quote = quote_plan(plan.bundle_name)
    assert (quote.plan, quote.amount_stars, quote.cost_usd) == (plan, 130, Decimal("1.3000"))
    assert quote.policy == PricingPolicy.objects.get()


@pytest.mark.parametrize("bundle_name", ["", "unknown", "with a \0", "ESIM"])
def test_an_unknown_plan_has_no_quote(bundle_name: str) -> None:
    PlanFactory(bundle_name="esim")
    with pytest.raises(PlanNotFound):
        quote_plan(bundle_name)


def test_a_plan_off_sale_has_no_quote() -> None:
    plan = PlanFactory(is_on_sale=False)
    with pytest.raises(PlanNotFound):
        quote_plan(plan.bundle_name)


def test_while_sales_are_paused_there_are_no_quotes() -> None:
    plan = PlanFactory()
    set_pricing_policy(by=None, reason="holiday", is_selling=False)
    with pytest.raises(SalesPaused):
        quote_plan(plan.bundle_name)


def test_the_newest_policy_is_in_force_and_older_rows_stay() -> None:
    newer = PricingPolicyFactory(markup=Decimal("0.1"))
    assert PricingPolicy.in_force() == newer
    assert PricingPolicy.objects.count() == 2


def test_a_quote_can_be_pointed_at_even_where_nobody_has_set_a_policy() -> None:
    plan = PlanFactory()
    PricingPolicy.objects.all().delete()
    assert quote_plan(plan.bundle_name).policy.pk is not None
