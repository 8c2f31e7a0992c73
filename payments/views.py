"""The customer's side of buying: create an invoice, look at orders."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.services.quotes import PlanNotFound, SalesPaused
from esimshop import api
from orders.models import Order
from orders.services.orders import IdempotencyKeyReused, note_invoice_closed
from payments.documents import describe_order
from payments.serializers import (
    CreatedInvoiceSerializer,
    CreateInvoiceSerializer,
    InvoiceClosedSerializer,
    OrderSerializer,
)
from payments.services import invoices


class CreateInvoiceView(api.PrivateView):
    @extend_schema(
        operation_id="create_invoice",
        request=CreateInvoiceSerializer,
        responses={201: CreatedInvoiceSerializer, 200: CreatedInvoiceSerializer},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=False)],
    )
    def post(self, request: Request) -> Response:
        """An order at the price of this moment, and the link that pays for it."""
        asked = CreateInvoiceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        key = request.headers.get("Idempotency-Key") or None
        if key and (len(key) > 100 or not key.isascii() or not key.isprintable()):
            raise api.BadRequest("Idempotency-Key: 1 to 100 printable ASCII characters")
        try:
            created = invoices.create_invoice(
                user=request.user,
                bundle_name=asked.validated_data["plan"],
                expected_stars=asked.validated_data.get("expected_stars"),
                iccid=asked.validated_data.get("iccid"),
                idempotency_key=key,
            )
        except PlanNotFound:
            raise api.PlanNotFound from None
        except SalesPaused:
            raise api.SalesPaused from None
        except invoices.EsimNotOwned:
            raise api.EsimNotFound from None
        except invoices.PriceChanged as error:
            raise api.PriceChanged(amount_stars=error.amount_stars) from None
        except IdempotencyKeyReused:
            raise api.IdempotencyKeyReused from None
        except invoices.TooManyInvoices as error:
            raise api.RateLimited(retry_after=error.retry_after) from None
        except invoices.InvoiceNotMade as error:
            raise api.TelegramUnreachable(retry_after=error.retry_after) from None
        answer = {
            "order_id": created.order.pk,
            "invoice_link": created.invoice.link,
            "amount_stars": created.order.amount_stars,
            "currency": "XTR",
            "expires_at": created.order.quote_expires_at,
        }
        return Response(CreatedInvoiceSerializer(answer).data, status=201 if created.is_new else 200)


class OrderView(api.PrivateView):
    """Base of the views of a customer's own orders."""

    def own_orders(self, request: Request) -> QuerySet[Order]:
        return (
            Order.objects.filter(customer__telegram_user_id=request.user.id)
            .select_related("invoice", "top_up_esim")
            .prefetch_related("esims", "deliveries")
        )

    def own_order(self, request: Request, order_id: UUID) -> Order:
        order = self.own_orders(request).filter(pk=order_id).first()
        if order is None:
            raise api.OrderNotFound
        return order


class OrderListView(OrderView):
    @extend_schema(operation_id="list_orders", responses=OrderSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The customer's own orders, newest first."""
        paginator = api.Page()
        page = paginator.paginate_queryset(
            self.own_orders(request).order_by("-created_at"), request, view=self
        )
        return paginator.get_paginated_response(
            [describe_order(order, request.user.language) for order in page]
        )


class OrderDetailView(OrderView):
    @extend_schema(operation_id="get_order", responses=OrderSerializer)
    def get(self, request: Request, order_id: UUID) -> Response:
        """One order with its live state and, once completed, its eSIM."""
        return Response(describe_order(self.own_order(request, order_id), request.user.language))


class InvoiceClosedView(OrderView):
    @extend_schema(operation_id="invoice_closed", request=InvoiceClosedSerializer, responses={204: None})
    def post(self, request: Request, order_id: UUID) -> Response:
        """What the Mini App saw when the pay sheet closed: a hint for people, never proof of payment."""
        asked = InvoiceClosedSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        note_invoice_closed(order=self.own_order(request, order_id), status=asked.validated_data["status"])
        return Response(status=204)
