"""The admin of customers, eSIMs and deliveries. An order's own page is in `payments.admin`: it shows the money too."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import BaseModelAdmin
from django.db.models import Q, QuerySet, Value
from django.http import HttpRequest
from unfold.decorators import display

import orders.acts  # noqa: F401  registers what staff may do
from esimshop.back_office import (
    BAD,
    BUSY,
    CARE,
    GOOD,
    QUIET,
    ReadOnlyAdmin,
    ReadOnlyInline,
    page_link,
    pretty_json,
)
from esimshop.list_filters import DaysFilter
from esimshop.search_terms import match_uuid
from orders.models import (
    Customer,
    Delivery,
    Esim,
    EsimBundle,
    Order,
    Orphan,
    RefusedCallback,
    Restoration,
    WholesalerCallback,
)
from orders.services.customers import customers_meant
from orders.usage import MB

ORDER_COLOURS = {
    Order.Status.AWAITING_PAYMENT: QUIET,
    Order.Status.PAID: BUSY,
    Order.Status.PROVISIONING: BUSY,
    Order.Status.COMPLETED: GOOD,
    Order.Status.NEEDS_ATTENTION: BAD,
    Order.Status.REFUNDING: CARE,
    Order.Status.REFUNDED: CARE,
    Order.Status.EXPIRED: QUIET,
    Order.Status.CANCELLED: QUIET,
}
DELIVERY_COLOURS = {
    Delivery.Status.PENDING: BUSY,
    Delivery.Status.SENT: GOOD,
    Delivery.Status.BLOCKED: CARE,
}
ORPHAN_COLOURS = {
    Orphan.Status.OPEN: BAD,
    Orphan.Status.ADOPTED: GOOD,
    Orphan.Status.REVOKED: CARE,
    Orphan.Status.WRITTEN_OFF: QUIET,
}


def order_or_customer(term: str) -> Q:
    """Rows with an `order` and a `customer`, by order id (its first 8 digits will do), Telegram id or @username."""
    return match_uuid("order", term) | Q(customer__in=customers_meant(term))


class ShowsOrder:
    """A column with a link to the row's order."""

    @display(description="order", ordering="order")
    def order_page(self, row: Any) -> str:
        return page_link(row.order, str(row.order_id)[:8])


class ShowsCustomer(BaseModelAdmin):
    """A column and field `buyer`: the row's customer, by name only for whoever may view customers."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        may_name = request.user.has_perm("orders.view_customer")  # type: ignore[union-attr]
        return super().get_queryset(request).annotate(may_name_buyer=Value(may_name))

    @display(description="customer", ordering="customer")
    def buyer(self, row: Any) -> str:
        if row.customer is not None and not row.may_name_buyer:
            return str(row.customer.telegram_user_id)
        return page_link(row.customer, str(row.customer))


class CustomerOrderInline(ReadOnlyInline):
    model = Order
    fields = ["id", "status", "amount_stars", "created_at", "paid_at", "completed_at"]
    ordering = ["-created_at"]
    per_page = 20


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    list_display = [
        "telegram_user_id",
        "username",
        "first_name",
        "last_name",
        "language",
        "is_bot_blocked",
        "created_at",
        "anonymised_at",
    ]
    list_filter = ["is_bot_blocked", ("anonymised_at", admin.EmptyFieldListFilter), ("created_at", DaysFilter)]
    search_fields = ["telegram_user_id"]
    search_help_text = "Telegram id or @username"
    inlines = [CustomerOrderInline]

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(pk__in=customers_meant(term))


class EsimBundleInline(ReadOnlyInline):
    model = EsimBundle
    fields = ["bundle_name", "state", "left", "starts_at", "ends_at", "told_at", "order"]
    readonly_fields = ["left"]
    show_change_link = False

    @display(description="left, MB")
    def left(self, bundle: EsimBundle) -> str:
        if bundle.is_unlimited:
            return "unlimited"
        amounts = (bundle.remaining_bytes, bundle.initial_bytes)
        return " of ".join("?" if amount is None else f"{-(-amount // MB):,}" for amount in amounts)


@admin.register(Esim)
class EsimAdmin(ShowsOrder, ReadOnlyAdmin):
    """Without the matching id: whoever reads it can install the eSIM."""

    list_display = ["short_iccid", "order_page", "customer", "created_at", "referenced_at"]
    list_filter = [("created_at", DaysFilter)]
    search_fields = ["iccid"]
    search_help_text = "ICCID or its beginning, order id, Telegram id or @username"
    list_select_related = ["order", "customer"]
    fields = [
        "iccid",
        "order",
        "customer",
        "smdp_address",
        "profile_name",
        "profile_status",
        "was_installed",
        "is_deleted",
        "created_at",
        "referenced_at",
        "usage_read_at",
        "usage_due_at",
    ]
    inlines = [EsimBundleInline]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # Else the address line could ask for it letter by letter.
        return not lookup.startswith("matching_id") and super().lookup_allowed(lookup, value, request)

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(Q(iccid__startswith=term) | order_or_customer(term))

    @display(description="ICCID", ordering="iccid")
    def short_iccid(self, esim: Esim) -> str:
        return f"…{esim.iccid[-4:]}"


@admin.register(WholesalerCallback)
class WholesalerCallbackAdmin(ReadOnlyAdmin):
    """What eSIM Go called back about."""

    list_display = ["received_at", "kind", "about"]
    list_filter = [("received_at", DaysFilter)]
    search_fields = ["esim"]
    search_help_text = "ICCID or its beginning"
    list_select_related = ["esim"]
    fields = ["received_at", "kind", "esim", "told"]
    readonly_fields = ["told"]

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(esim__iccid__startswith=term)

    @display(description="eSIM")
    def about(self, callback: WholesalerCallback) -> str:
        return page_link(callback.esim, str(callback.esim))

    @display(description="body")
    def told(self, callback: WholesalerCallback) -> str:
        return pretty_json(callback.body)


@admin.register(RefusedCallback)
class RefusedCallbackAdmin(ReadOnlyAdmin):
    """Why callbacks of eSIM Go were refused, and when last."""

    list_display = ["last_at", "reason", "count"]


@admin.register(Orphan)
class OrphanAdmin(ShowsOrder, ReadOnlyAdmin):
    list_display = ["found_at", "state", "name", "bundle_name", "total_usd", "placed_at", "order_page", "decided_by"]
    list_filter = ["status", ("found_at", DaysFilter)]
    search_fields = ["reference"]
    search_help_text = "eSIM Go's order reference, ICCID or its beginning, or order id"
    list_select_related = ["order"]

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(Q(reference=term) | Q(iccid__startswith=term) | match_uuid("order", term))

    @display(description="purchase")
    def name(self, orphan: Orphan) -> str:
        return str(orphan)

    @display(description="status", ordering="status", label=ORPHAN_COLOURS)
    def state(self, orphan: Orphan) -> tuple[str, str]:
        return orphan.status, orphan.get_status_display()


@admin.register(Restoration)
class RestorationAdmin(ReadOnlyAdmin):
    """Backups that were put back."""

    list_display = ["forgotten_from", "forgotten_until", "orders_in_doubt", "noted_by"]


@admin.register(Delivery)
class DeliveryAdmin(ShowsOrder, ReadOnlyAdmin):
    list_display = ["created_at", "kind", "state", "customer", "order_page", "attempts", "sent_at"]
    list_filter = ["status", "kind", ("created_at", DaysFilter)]
    search_fields = ["order"]
    search_help_text = "Order id, Telegram id or @username"
    ordering = ["-id"]
    list_select_related = ["order", "customer"]

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(order_or_customer(term))

    @display(description="status", ordering="status", label=DELIVERY_COLOURS)
    def state(self, delivery: Delivery) -> tuple[str, str]:
        return delivery.status, delivery.get_status_display()
