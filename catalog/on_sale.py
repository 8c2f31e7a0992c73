"""What there is to buy, area by area: the list of the API and the Mini App's start page are made of it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Min

from catalog.areas import searchable
from catalog.models import Area, Plan
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
    on_sale = {
        area: (plans, from_stars)
        for area, plans, from_stars in Plan.objects.on_sale()
        .order_by()
        .values_list("area_id")
        .annotate(Count("id"), Min("price_stars"))
    }
    kinds = list(Area.Kind)
    return sorted(
        (
            AreaOnSale(area, area_name(area, language), *on_sale[area.code])
            for area in Area.objects.filter(pk__in=on_sale)
        ),
        key=lambda each: (kinds.index(Area.Kind(each.area.kind)), searchable(each.name)),
    )
