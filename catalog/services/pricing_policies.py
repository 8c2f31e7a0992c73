"""Changing how prices are made, and with it every price."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.forms.models import model_to_dict

from catalog.models import Plan, PlanChange, PricingPolicy
from catalog.pricing import price_plan
from catalog.services.locks import lock_catalogue


def set_pricing_policy(*, by: User | None, reason: str, **changes: Any) -> PricingPolicy:
    """Put a policy into force that differs from today's by `changes`, and reprice all plans by it.

    changes: fields of PricingPolicy, for example `markup=Decimal("0.2")`.
    Returns: the new row. A PlanChange notes each price that became another one.
    Raises:  ValidationError (a value that makes no sense), TypeError (no such field).
    """
    with transaction.atomic():
        lock_catalogue()
        policy = PricingPolicy(**{**model_to_dict(PricingPolicy.in_force()), **changes})
        policy.pk, policy.created_by, policy.reason = None, by, reason
        policy.full_clean()
        policy.save()
        _reprice_plans(policy)
    return policy


def _reprice_plans(policy: PricingPolicy) -> None:
    ids, prices, on_sale = [], [], []
    changes = []
    for plan in Plan.objects.only("wholesale_usd", "price_stars", "is_offered", "is_on_sale"):
        price, sellable = price_plan(wholesale_usd=plan.wholesale_usd, policy=policy)
        sellable = sellable and plan.is_offered
        if (price, sellable) == (plan.price_stars, plan.is_on_sale):
            continue
        ids.append(plan.pk)
        prices.append(price)
        on_sale.append(sellable)
        if price != plan.price_stars:
            changes.append(
                PlanChange(
                    plan_id=plan.pk,
                    kind=PlanChange.Kind.PRICE,
                    before={"price_stars": plan.price_stars},
                    after={"price_stars": price},
                )
            )
    if ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE catalog_plan SET price_stars = new.price, is_on_sale = new.on_sale"
                " FROM unnest(%s::bigint[], %s::bigint[], %s::boolean[]) AS new (id, price, on_sale)"
                " WHERE catalog_plan.id = new.id",
                [ids, prices, on_sale],
            )
    PlanChange.objects.bulk_create(changes)
