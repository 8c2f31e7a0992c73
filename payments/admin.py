"""The admin of orders (with their money), invoices, payments, refunds and Telegram's updates."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, Q, QuerySet, When
from django.http import HttpRequest
from django.urls import path
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeNumericFilter
from unfold.decorators import display

import payments.acts
import payments.case_admin
import payments.refund_acts  # noqa: F401  all three register their pages and acts
from catalog.admin import PolicyAdmin
from catalog.models import PolicyRow
from esimshop.back_office import (
    BAD,
    BUSY,
    CARE,
    GOOD,
    QUIET,
    ReadOnlyAdmin,
    pretty_json,
)
from esimshop.list_filters import DaysFilter
from esimshop.search_terms import match_number, match_uuid
from orders.admin import ORDER_COLOURS, ShowsCustomer, ShowsOrder
from orders.models import Esim, Order
from payments.models import (
    Invoice,
    Payment,
    PreCheckout,
    Refund,
    RefundRequest,
    ServicePolicy,
    StarsAccount,
    StarTransaction,
    TelegramUpdate,
    WebhookState,
)
from payments.order_page import PAYMENT_COLOURS, order_context, payment_context, reveal_view
from payments.services.policies import set_service_policy
from payments.services.search import orders_meant, payments_meant
from payments.services.updates import ANSWERED, HANDLERS

KIND_COLOURS = {Payment.Kind.ORDER: QUIET, Payment.Kind.EXTRA: CARE}
LEDGER_COLOURS = {
    StarTransaction.State.MATCHED: GOOD,
    StarTransaction.State.WAITING: BUSY,
    StarTransaction.State.OTHER: QUIET,
    StarTransaction.State.HISTORY: QUIET,
    StarTransaction.State.UNEXPLAINED: BAD,
    StarTransaction.State.DIFFERENT: BAD,
}
REFUND_COLOURS = {Refund.Status.PENDING: BUSY, Refund.Status.DONE: GOOD, Refund.Status.REFUSED: BAD}
REQUEST_COLOURS = {
    RefundRequest.Status.WAITING: CARE,
    RefundRequest.Status.APPROVED: BUSY,
    RefundRequest.Status.DONE: GOOD,
    RefundRequest.Status.DECLINED: QUIET,
    RefundRequest.Status.REFUSED: BAD,
}
UPDATE_COLOURS = {
    TelegramUpdate.Status.RECEIVED: BUSY,
    TelegramUpdate.Status.HANDLED: GOOD,
    TelegramUpdate.Status.FAILED: BAD,
}


@admin.register(Order)
class OrderAdmin(ShowsCustomer, ReadOnlyAdmin):
    list_display = [
        "short_id",
        "state",
        "cause",
        "buyer",
        "plan_title",
        "amount_stars",
        "created_at",
        "completed_at",
    ]
    list_filter = [
        "status",
        "cause",
        ("created_at", DaysFilter),
        ("paid_at", DaysFilter),
        ("plan", AutocompleteSelectFilter),
        ("plan__area", AutocompleteSelectFilter),
        ("amount_stars", RangeNumericFilter),
        ("top_up_esim", admin.EmptyFieldListFilter),
    ]
    list_select_related = ["customer"]
    search_fields = ["id"]
    search_help_text = "Order id, Telegram id, @username, ICCID, eSIM Go's reference, charge id or invoice payload"
    fieldsets = [
        (None, {"fields": [("status", "cause"), "buyer", ("plan_title", "plan"), "top_up_esim"]}),
        ("Price", {"fields": [("amount_stars", "cost_usd"), "pricing_policy", "quote_expires_at"]}),
        (
            "Times",
            {
                "fields": [
                    ("created_at", "paid_at"),
                    ("promise_at", "completed_at"),
                    ("next_try_at", "lease_until"),
                ]
            },
        ),
        ("Plan as it was bought, by language", {"fields": ["plan_as_bought"], "classes": ["collapse"]}),
    ]
    change_form_template = "admin/payments/order.html"
    change_form_before_template = ""  # The buttons stand at the top.

    def get_urls(self) -> list[Any]:
        reveal = self.admin_site.admin_view(reveal_view)
        return [path("<uuid:object_id>/reveal/", reveal, name="orders_order_reveal"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context |= order_context(kwargs["obj"], request.user)
        return super().render_change_form(request, context, *args, **kwargs)

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(pk__in=orders_meant(term))

    @display(description="order", ordering="id")
    def short_id(self, order: Order) -> str:
        return str(order.pk)[:8]

    @display(description="status", ordering="status", label=ORDER_COLOURS)
    def state(self, order: Order) -> tuple[str, str]:
        return order.status, order.get_status_display()

    @display(description="bought")
    def plan_title(self, order: Order) -> str:
        return order.bought_plan.get("en", {}).get("title", "–")

    @display(description="plan")
    def plan_as_bought(self, order: Order) -> str:
        return pretty_json(order.bought_plan)


@admin.register(Payment)
class PaymentAdmin(ShowsOrder, ShowsCustomer, ReadOnlyAdmin):
    list_display = ["charge_id", "state", "use", "amount_stars", "payer_id", "buyer", "order_page", "created_at"]
    list_filter = [
        "status",
        "kind",
        "extra_reason",
        ("charged_at", DaysFilter),
        ("created_at", DaysFilter),
        ("order__plan", AutocompleteSelectFilter),
        ("order__plan__area", AutocompleteSelectFilter),
        ("amount_stars", RangeNumericFilter),
    ]
    list_select_related = ["customer", "order"]
    exclude = ["customer"]
    readonly_fields = ["buyer"]
    search_fields = ["charge_id"]
    search_help_text = "Charge id or its beginning, payer's Telegram id, invoice payload or order id"
    change_form_template = "admin/payments/payment.html"
    change_form_before_template = ""  # The buttons stand at the top.

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context |= payment_context(kwargs["obj"], request.user)
        return super().render_change_form(request, context, *args, **kwargs)

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(pk__in=payments_meant(term))

    @display(description="status", ordering="status", label=PAYMENT_COLOURS)
    def state(self, payment: Payment) -> tuple[str, str]:
        return payment.status, payment.get_status_display()

    @display(description="kind", ordering="kind", label=KIND_COLOURS)
    def use(self, payment: Payment) -> tuple[str, str]:
        return payment.kind, payment.kind


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ["payment", "state", "reason", "requested_by", "requested_at", "attempts", "refunded_at"]
    list_filter = [
        "status",
        ("requested_at", DaysFilter),
        ("refunded_at", DaysFilter),
        ("payment__amount_stars", RangeNumericFilter),
    ]
    list_select_related = ["payment"]
    search_fields = ["payment"]
    search_help_text = "Charge id or its beginning, payer's Telegram id, or order id"

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(payment__in=payments_meant(term))

    @display(description="status", ordering="status", label=REFUND_COLOURS)
    def state(self, refund: Refund) -> tuple[str, str]:
        return refund.status, refund.get_status_display()


@admin.register(RefundRequest)
class RefundRequestAdmin(ReadOnlyAdmin):
    list_display = ["state", "stars", "requested_by", "requested_at", "reason", "decided_by", "note", "payment"]
    list_filter = ["status", "revokes_bundle", "requested_at"]
    list_select_related = ["payment"]
    # What waits for somebody first, then what is being carried out.
    ordering = [
        Case(When(status="waiting", then=0), When(status="approved", then=1), default=2).asc(),
        "-pk",
    ]
    search_fields = ["payment"]
    search_help_text = "Charge id or its beginning, payer's Telegram id, or order id"
    fieldsets = [
        (None, {"fields": [("status", "stars"), "payment", "reason"]}),
        ("First person", {"fields": [("requested_by", "requested_at"), ("revokes_bundle", "forced_by")]}),
        ("Second person", {"fields": [("decided_by", "decided_at")]}),
        ("What came of it", {"fields": ["note", ("attempts", "next_try_at")]}),
    ]

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(payment__in=payments_meant(term))

    @display(description="status", ordering="status", label=REQUEST_COLOURS)
    def state(self, request: RefundRequest) -> tuple[str, str]:
        return request.status, request.get_status_display()

    @display(description="Stars")
    def stars(self, request: RefundRequest) -> int:
        return request.payment.amount_stars


@admin.register(StarTransaction)
class StarTransactionAdmin(ReadOnlyAdmin):
    list_display = ["date", "direction", "amount_stars", "shown_state", "partner_type", "transaction_id", "note"]
    list_filter = ["state", "direction", ("date", DaysFilter), ("amount_stars", RangeNumericFilter)]
    list_select_related = ["payment"]
    search_fields = ["transaction_id"]
    search_help_text = "Charge id"

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(transaction_id=term)

    @display(description="state", ordering="state", label=LEDGER_COLOURS)
    def shown_state(self, row: StarTransaction) -> str:
        return row.state


@admin.register(StarsAccount)
class StarsAccountAdmin(ReadOnlyAdmin):
    list_display = ["balance_stars", "rows_read", "read_at", "history_until"]


@admin.register(WebhookState)
class WebhookStateAdmin(ReadOnlyAdmin):
    list_display = ["read_at", "url", "pending_updates", "last_error_at", "last_error", "certificate_ends_at"]


@admin.register(Invoice)
class InvoiceAdmin(ShowsOrder, ReadOnlyAdmin):
    list_display = ["payload", "order_page", "link", "created_at"]
    list_filter = [("created_at", DaysFilter)]
    list_select_related = ["order"]
    search_fields = ["payload"]
    search_help_text = "Payload, or order id"
    fields = ["payload", "order", "link", "created_at"]

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(Q(payload=term) | match_uuid("order", term))


@admin.register(PreCheckout)
class PreCheckoutAdmin(ShowsOrder, ReadOnlyAdmin):
    list_display = ["created_at", "answer", "order_page", "cost_usd", "query_id"]
    list_filter = ["refusal", ("created_at", DaysFilter)]
    list_select_related = ["order"]
    search_fields = ["query_id"]
    search_help_text = "Query id, or order id"

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(Q(query_id=term) | match_uuid("order", term))

    @display(
        description="answer",
        ordering="refusal",
        label={**dict.fromkeys(PreCheckout.Refusal, CARE), PreCheckout.Refusal.NONE: GOOD},
    )
    def answer(self, pre_checkout: PreCheckout) -> tuple[str, str]:
        return pre_checkout.refusal, pre_checkout.get_refusal_display()


class UpdateKindFilter(admin.SimpleListFilter):
    """By the kinds that the shop knows: the built-in filter would read all updates for theirs."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind.replace("_", " ")) for kind in (*sorted(ANSWERED), "pre_checkout_query", *HANDLERS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(TelegramUpdate)
class TelegramUpdateAdmin(ReadOnlyAdmin):
    list_display = ["update_id", "kind", "state", "attempts", "error", "received_at", "handled_at"]
    list_filter = ["status", UpdateKindFilter, ("received_at", DaysFilter)]
    search_fields = ["update_id"]
    search_help_text = "Update id"
    exclude = ["body"]
    readonly_fields = ["pretty_body"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[TelegramUpdate]:
        return super().get_queryset(request).defer("body")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # A search in the bodies would read every row, and could ask for what the page redacts.
        return not lookup.startswith("body") and super().lookup_allowed(lookup, value, request)

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(match_number("update_id", term))

    @display(description="status", ordering="status", label=UPDATE_COLOURS)
    def state(self, update: TelegramUpdate) -> tuple[str, str]:
        return update.status, update.get_status_display()

    @display(description="body")
    def pretty_body(self, update: TelegramUpdate) -> str:
        # A customer may write a part of their activation code to the bot.
        return pretty_json(update.body, *_matching_ids_of_sender(update))


def _matching_ids_of_sender(update: TelegramUpdate) -> QuerySet[Any]:
    message = update.body.get("message") or update.body.get("callback_query")
    sender = message.get("from") if isinstance(message, dict) else None
    sender_id = sender.get("id") if isinstance(sender, dict) else None
    if not isinstance(sender_id, int):
        return Esim.objects.none()
    return Esim.objects.filter(customer__telegram_user_id=sender_id).values_list("matching_id", flat=True)


@admin.register(ServicePolicy)
class ServicePolicyAdmin(PolicyAdmin):
    list_display = [
        "created_at",
        "quote_minutes",
        "grace_minutes",
        "promise_minutes",
        "invoices_per_minute",
        "purchases_per_hour",
        "low_balance_usd",
        "created_by",
        "reason",
    ]

    def put_into_force(self, *, by: Any, reason: str, **values: Any) -> PolicyRow:
        return set_service_policy(by=by, reason=reason, **values)
