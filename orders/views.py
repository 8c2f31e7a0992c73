"""The customer's own eSIMs."""

from __future__ import annotations

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from esimshop import api
from orders.customer_view import CustomerView
from orders.documents import describe_esim, describe_esim_in_full
from orders.models import Esim, EsimBundle, Order
from orders.serializers import EsimDetailSerializer, OwnEsimSerializer
from orders.services.top_ups import find_top_up_plans
from orders.services.usage import refresh_usage

ICCID = OpenApiParameter("iccid", str, OpenApiParameter.PATH)


class EsimView(CustomerView):
    """Base of the views of a customer's own eSIMs: not of those whose Stars went back."""

    def own_esims(self) -> QuerySet[Esim]:
        bundles = EsimBundle.objects.select_related("order")
        return (
            Esim.objects.filter(customer=self.customer, order__status=Order.Status.COMPLETED)
            .select_related("order__plan")
            .prefetch_related(Prefetch("bundles", bundles))
        )


class EsimListView(EsimView):
    pagination_class = api.Page

    @extend_schema(operation_id="list_esims", responses=OwnEsimSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The customer's own eSIMs with what is left on them, newest first."""
        paginator = self.pagination_class()
        page = paginator.paginate_queryset(self.own_esims().order_by("-pk"), request, view=self)
        return paginator.get_paginated_response([describe_esim(esim, self.language) for esim in page])


class EsimDetailView(EsimView):
    @extend_schema(operation_id="get_esim", responses=EsimDetailSerializer, parameters=[ICCID])
    def get(self, request: Request, iccid: str) -> Response:
        """One eSIM with its activation code, its history and the plans that top it up.

        Looking at it has eSIM Go asked for fresh usage, which a later look shows.
        """
        if "\0" in iccid:
            raise api.EsimNotFound
        esim = self.own_esims().prefetch_related("top_up_orders").filter(iccid=iccid).first()
        if esim is None:
            raise api.EsimNotFound
        refresh_usage(esim)
        plans = find_top_up_plans(esim)
        return Response(describe_esim_in_full(esim, self.language, top_up_plans=plans))
