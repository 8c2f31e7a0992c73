"""What the Mini App's start page offers before anybody has searched."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.models import Area
from catalog.on_sale import AreaOnSale, areas_on_sale
from esimshop.languages import Language

# Where Russian speakers travel most. What is not on sale gives its place to the countries with the most plans.
POPULAR = ("TR", "TH", "AE", "IT", "JP", "EG", "US", "GE", "ES", "FR", "GR", "CN")
POPULAR_SHOWN = 6


@dataclass(frozen=True)
class StartPage:
    """countries: how many there are plans for. areas: how many places of any kind."""

    popular: list[AreaOnSale]
    regions: list[AreaOnSale]
    worlds: list[AreaOnSale]
    countries: int
    areas: int


def start_page(language: Language) -> StartPage:
    """The start page in a language; without anything where nothing is on sale. Two queries."""
    areas = areas_on_sale(language)
    countries = _of_kind(areas, Area.Kind.COUNTRY)
    by_plans = sorted(countries, key=lambda each: -each.plans)
    by_code = {each.area.code: each for each in countries}
    wanted = [by_code[code] for code in POPULAR if code in by_code]
    return StartPage(
        popular=[*wanted, *(each for each in by_plans if each.area.code not in POPULAR)][:POPULAR_SHOWN],
        regions=sorted(_of_kind(areas, Area.Kind.REGION), key=lambda each: -each.plans),
        worlds=_of_kind(areas, Area.Kind.GLOBAL),
        countries=len(countries),
        areas=len(areas),
    )


def _of_kind(areas: list[AreaOnSale], kind: Area.Kind) -> list[AreaOnSale]:
    return [each for each in areas if each.area.kind == kind]
