"""What there is to buy, area by area: the list of the API and the Mini App's start page are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Count, Min

from catalog.areas import searchable
from catalog.models import Area, Plan, PlanQuerySet
from catalog.titles import area_name
from esimshop.languages import Language


@dataclass(frozen=True)
class AreaOnSale:
    """An area with plans on sale. plans: how many; from_stars: the cheapest."""

    area: Area
    name: str
    plans: int
    from_stars: int


def areas_on_sale(language: Language) -> list[AreaOnSale]:
    """Countries by name, then regions, then the whole world. Two queries."""
    kinds = list(Area.Kind)
    return sorted(
        _with_areas(Plan.objects.on_sale(), language),
        key=lambda each: (kinds.index(Area.Kind(each.area.kind)), searchable(each.name)),
    )


def area_on_sale(code: str, language: Language) -> AreaOnSale | None:
    """One of them; None where nothing is on sale. Two queries."""
    return next(_with_areas(Plan.objects.on_sale().filter(area=code), language), None)


def _with_areas(plans: PlanQuerySet, language: Language) -> Iterator[AreaOnSale]:
    numbers = {
        area: (number, from_stars)
        for area, number, from_stars in plans.order_by()
        .values_list("area_id")
        .annotate(Count("id"), Min("price_stars"))
    }
    for area in Area.objects.filter(pk__in=numbers):
        yield AreaOnSale(area, area_name(area, language), *numbers[area.code])
