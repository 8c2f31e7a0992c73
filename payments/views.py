"""The customer's side of buying: create an invoice, look at orders."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from catalog.services.quotes import PlanNotFound, SalesPaused
from esimshop import api
from esimshop.rate_limits import count_use
from orders.customer_view import CustomerView
from orders.models import Order
from orders.services.deliveries import RepeatRefused, repeat_esim_message
from orders.services.orders import IdempotencyKeyReused, note_invoice_closed
from payments.documents import describe_order
from payments.serializers import (
    CreatedInvoiceSerializer,
    CreateInvoiceSerializer,
    InvoiceClosedSerializer,
    OrderFilterSerializer,
    OrderSerializer,
)
from payments.services import invoices

# Taken as text by the URL, so that what is no UUID gets the JSON of an order that is not there.
ORDER_ID = OpenApiParameter("order_id", UUID, OpenApiParameter.PATH)

#: Of one customer; each is a line in an order's timeline.
HINTS_PER_MINUTE = 60
#: Of one customer, beside those that the bot sends by itself.
MESSAGES_PER_HOUR = 10


class CreateInvoiceView(CustomerView):
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
                user=self.telegram_user,
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


class OrderView(CustomerView):
    """Base of the views of a customer's own orders."""

    def own_orders(self) -> QuerySet[Order]:
        return (
            Order.objects.filter(customer=self.customer)
            .select_related("invoice", "top_up_esim")
            .prefetch_related("esims__bundles", "top_up_esim__bundles", "deliveries", "payments")
        )

    def own_order(self, order_id: str) -> Order:
        try:
            return self.own_orders().get(pk=UUID(order_id))
        except (ValueError, Order.DoesNotExist):
            raise api.OrderNotFound from None


class OrderListView(OrderView):
    pagination_class = api.Page

    @extend_schema(operation_id="list_orders", parameters=[OrderFilterSerializer], responses=OrderSerializer(many=True))
    def get(self, request: Request) -> Response:
        """The customer's own orders, newest first; with `status` those in one of these states."""
        asked = OrderFilterSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        orders = self.own_orders().order_by("-created_at")
        if statuses := asked.validated_data.get("status"):
            orders = orders.filter(status__in=statuses)
        paginator = self.pagination_class()
        page = paginator.paginate_queryset(orders, request, view=self)
        return paginator.get_paginated_response([describe_order(order, self.language) for order in page])


class OrderDetailView(OrderView):
    @extend_schema(operation_id="get_order", responses=OrderSerializer, parameters=[ORDER_ID])
    def get(self, request: Request, order_id: str) -> Response:
        """One order with its live state and, once completed, its eSIM."""
        return Response(describe_order(self.own_order(order_id), self.language))


class InvoiceClosedView(OrderView):
    @extend_schema(
        operation_id="invoice_closed",
        request=InvoiceClosedSerializer,
        responses={204: None},
        parameters=[ORDER_ID],
    )
    def post(self, request: Request, order_id: str) -> Response:
        """What the Mini App saw when the pay sheet closed: a hint for people, never proof of payment."""
        asked = InvoiceClosedSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        if wait := count_use(key=f"invoice-closed:{self.telegram_user.id}", limit=HINTS_PER_MINUTE, seconds=60):
            raise api.RateLimited(retry_after=wait)
        note_invoice_closed(order=self.own_order(order_id), status=asked.validated_data["status"])
        return Response(status=204)


class EsimMessageView(OrderView):
    @extend_schema(operation_id="send_esim_message", request=None, responses={204: None}, parameters=[ORDER_ID])
    def post(self, request: Request, order_id: str) -> Response:
        """The bot sends the message with the order's eSIM again, to be saved or passed on from the chat.

        Nothing more is sent where it is on its way already, or has just come.
        """
        order = self.own_order(order_id)
        if order.esim is None:
            raise api.OrderNotFound
        if wait := count_use(key=f"esim-message:{self.telegram_user.id}", limit=MESSAGES_PER_HOUR, seconds=3600):
            raise api.RateLimited(retry_after=wait)
        with suppress(RepeatRefused):
            repeat_esim_message(order, actor="customer", reason="asked for in the Mini App")
        return Response(status=204)
