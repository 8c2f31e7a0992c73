"""The catalogue's API: open to everyone, in the language of `Accept-Language`. Cached by `catalog.middleware`."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, IntegerField, Q, Value, When
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.areas import searchable
from catalog.models import Area, CurrencyRate, Network, Plan, PlanQuerySet
from catalog.on_sale import AreaOnSale, area_on_sale, areas_on_sale
from catalog.serializers import (
    AreaDetailSerializer,
    AreaSerializer,
    CurrencyListSerializer,
    ErrorSerializer,
    PlanSerializer,
)
from catalog.titles import describe_plan, spoken_language
from esimshop.api import BadRequest, Page, PlanNotFound, PublicView

_DESCRIPTION = "In the language of `Accept-Language`. Cacheable: an `ETag` holds until the catalogue changes."
_FLAGS = {"": None, "true": True, "1": True, "false": False, "0": False}
_BAD_REQUEST = OpenApiResponse(ErrorSerializer, description="A parameter makes no sense.")


class AreaListView(PublicView):
    pagination_class = Page

    @extend_schema(
        operation_id="list_areas",
        summary="Areas with plans on sale: countries by name, then regions, then the whole world",
        description=_DESCRIPTION,
        responses={200: AreaSerializer(many=True), 400: _BAD_REQUEST},
        auth=[],
    )
    def get(self, request: Request) -> Response:
        areas = areas_on_sale(spoken_language())
        page = self.pagination_class()
        return page.get_paginated_response(
            [_describe_area(each) for each in page.paginate_queryset(areas, request, view=self)]
        )


class AreaView(PublicView):
    @extend_schema(
        operation_id="get_area",
        summary="An area with plans on sale, and the networks of its countries",
        description=_DESCRIPTION,
        responses={
            200: AreaDetailSerializer,
            404: OpenApiResponse(ErrorSerializer, description="Unknown, or nothing on sale there."),
        },
        auth=[],
    )
    def get(self, request: Request, code: str) -> Response:
        found = None if "\0" in code else area_on_sale(code, spoken_language())
        if found is None:
            raise PlanNotFound(_("No plans are on sale for this place right now."))
        networks = Network.objects.filter(country__in=found.area.countries)
        return Response(
            {
                **_describe_area(found),
                "networks": [
                    {"country": network.country, "name": network.name, "speeds": network.speeds} for network in networks
                ],
            }
        )


class PlanListView(PublicView):
    pagination_class = Page

    @extend_schema(
        operation_id="list_plans",
        summary="Plans on sale",
        description=_DESCRIPTION,
        parameters=[
            OpenApiParameter("area", str, description="Code of an area; an unknown one has no plans."),
            OpenApiParameter(
                "search",
                str,
                description="Beginnings of words, in Russian or English: a country, region, city, code or bundle. "
                "A country also finds the plans of regions that it lies in.",
            ),
            OpenApiParameter("unlimited", bool),
        ],
        responses={200: PlanSerializer(many=True), 400: _BAD_REQUEST},
        auth=[],
    )
    def get(self, request: Request) -> Response:
        language = spoken_language()
        plans = Plan.objects.on_sale().select_related("area")
        if code := _text(request, "area", 16):
            plans = plans.filter(area=code)
        if (is_unlimited := _flag(request, "unlimited")) is not None:
            plans = plans.filter(is_unlimited=is_unlimited)
        if search := _text(request, "search", 100):
            plans = _find(plans, search)
        page = self.pagination_class()
        return page.get_paginated_response(
            [describe_plan(plan, language=language) for plan in page.paginate_queryset(plans, request, view=self)]
        )


class PlanView(PublicView):
    @extend_schema(
        operation_id="get_plan",
        summary="A plan on sale",
        description=_DESCRIPTION,
        responses={200: PlanSerializer, 404: OpenApiResponse(ErrorSerializer, description="Not on sale.")},
        auth=[],
    )
    def get(self, request: Request, bundle_name: str) -> Response:
        plan = None
        if "\0" not in bundle_name:
            plan = Plan.objects.on_sale().select_related("area").filter(bundle_name=bundle_name).first()
        if plan is None:
            raise PlanNotFound
        return Response(describe_plan(plan, language=spoken_language()))


class CurrencyListView(PublicView):
    @extend_schema(
        operation_id="list_currencies",
        summary="What a US dollar is in other currencies: only to say about how much a price is",
        description="Rough, set by the shop's staff; nothing is charged by them. Cacheable like the catalogue.",
        responses=CurrencyListSerializer,
        auth=[],
    )
    def get(self, request: Request) -> Response:
        dollar = {"code": "USD", "per_usd": "1", "updated_at": None}
        others = [
            {"code": rate.code, "per_usd": f"{rate.per_usd.normalize():f}", "updated_at": rate.updated_at}
            for rate in CurrencyRate.objects.exclude(code="USD")
        ]
        return Response({"results": [dollar, *others]})


def _describe_area(found: AreaOnSale) -> dict[str, Any]:
    return {
        "code": found.area.code,
        "name": found.name,
        "kind": found.area.kind,
        "countries": found.area.countries,
        "plans": found.plans,
        "from_stars": found.from_stars,
        "search": found.area.search_words.strip(),
    }


def _find(plans: PlanQuerySet, search: str) -> PlanQuerySet:
    """Plans of the areas that are meant, best first; then those of regions with a country that is, and by bundle."""
    words = searchable(search).split()
    meant = Area.objects.filter(*(Q(search_words__contains=f" {word}") for word in words))
    countries = meant.filter(kind=Area.Kind.COUNTRY).values("code")
    found = plans.filter(bundle_name__icontains=search)
    if words:
        found = plans.filter(
            Q(bundle_name__icontains=search) | Q(area__in=meant) | Q(countries__overlap=ArraySubquery(countries))
        )
    rank = Case(
        When(area=search.upper(), then=Value(0)),
        When(Q(area__name_en__istartswith=search) | Q(area__name_ru__istartswith=search), then=Value(1)),
        When(area__in=meant, then=Value(2)),
        default=Value(3),
        output_field=IntegerField(),
    )
    return found.order_by(rank, "area_id", "is_unlimited", "price_stars", "bundle_name")


def _text(request: Request, name: str, longest: int) -> str:
    text = request.query_params.get(name, "").strip()
    if len(text) > longest or "\0" in text:
        raise BadRequest(_("%(name)s makes no sense.") % {"name": name})
    return text


def _flag(request: Request, name: str) -> bool | None:
    try:
        return _FLAGS[request.query_params.get(name, "").lower()]
    except KeyError:
        raise BadRequest(_("%(name)s must be true or false.") % {"name": name}) from None
