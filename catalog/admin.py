"""The admin of the catalogue: to look at; only the pricing policy is set here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

import catalog.acts  # noqa: F401  registers what staff may do
from catalog.models import (
    Area,
    CatalogSync,
    CurrencyRate,
    Network,
    Plan,
    PlanChange,
    PolicyRow,
    PricingPolicy,
    SalesPause,
    WholesalerAccount,
)
from catalog.services.pricing_policies import set_pricing_policy
from esimshop.back_office import BAD, BUSY, CARE, GOOD, QUIET, ReadOnlyAdmin, ReadOnlyInline, pretty_json


@admin.register(Area)
class AreaAdmin(ReadOnlyAdmin):
    list_display = ["code", "kind", "name_en", "name_ru", "country_count", "plans_on_sale"]
    list_filter = ["kind"]
    search_fields = ["code", "name_en", "name_ru", "search_words"]
    paginator = Paginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Area]:
        plans = Count("plans", filter=Q(plans__is_on_sale=True))
        return super().get_queryset(request).annotate(plans_on_sale=plans)

    @display(description="countries")
    def country_count(self, area: Area) -> int:
        return len(area.countries)

    @display(description="plans on sale", ordering="plans_on_sale")
    def plans_on_sale(self, area: Any) -> int:
        return area.plans_on_sale


@admin.register(Network)
class NetworkAdmin(ReadOnlyAdmin):
    list_display = ["name", "country", "spoken_speeds"]
    search_fields = ["name", "country"]
    paginator = Paginator

    @display(description="speeds")
    def spoken_speeds(self, network: Network) -> str:
        return ", ".join(network.speeds)


@admin.register(CurrencyRate)
class CurrencyRateAdmin(ModelAdmin):
    """Rough rates for the "≈" beside a price. Only Stars are charged, so the admin's history of them is enough."""

    list_display = ["code", "per_usd", "updated_at"]
    search_fields = ["code"]
    paginator = Paginator
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # The code is the row's key: another code would be another row.
        return ["code", "updated_at"] if obj else ["updated_at"]


class PlanChangeInline(ReadOnlyInline):
    model = PlanChange
    fields = ["created_at", "kind", "before", "after"]
    verbose_name_plural = "what changed"


@admin.register(Plan)
class PlanAdmin(ReadOnlyAdmin):
    list_display = [
        "bundle_name",
        "area",
        "data",
        "validity_days",
        "wholesale_usd",
        "price_stars",
        "state",
        "vanished_at",
    ]
    list_filter = ["is_on_sale", "is_offered", "is_unlimited", "fair_use", "area__kind", "first_seen_at"]
    search_fields = ["bundle_name", "area__code", "area__name_en", "area__name_ru", "profile_name"]
    list_select_related = ["area"]
    inlines = [PlanChangeInline]
    paginator = Paginator

    @display(description="data", ordering="data_mb")
    def data(self, plan: Plan) -> str:
        return "unlimited" if plan.is_unlimited else f"{plan.data_mb} MB"

    @display(description="state", label={"on sale": GOOD, "too dear or at a loss": CARE, "gone": QUIET})
    def state(self, plan: Plan) -> str:
        if plan.is_on_sale:
            return "on sale"
        return "too dear or at a loss" if plan.is_offered else "gone"


_CHANGE_COLOURS = {
    PlanChange.Kind.NEW: GOOD,
    PlanChange.Kind.CHANGED: BUSY,
    PlanChange.Kind.PRICE: CARE,
    PlanChange.Kind.VANISHED: BAD,
    PlanChange.Kind.RETURNED: GOOD,
}


@admin.register(PlanChange)
class PlanChangeAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "plan", "change", "difference"]
    list_filter = ["kind", "created_at"]
    search_fields = ["plan__bundle_name"]
    list_select_related = ["plan"]
    fields = ["created_at", "plan", "change", "old_values", "new_values"]

    @display(description="change", ordering="kind", label=_CHANGE_COLOURS)
    def change(self, change: PlanChange) -> tuple[str, str]:
        return change.kind, change.get_kind_display()

    @display(description="difference")
    def difference(self, change: PlanChange) -> str:
        names = list(change.after)[:4]
        return ", ".join(f"{name}: {change.before.get(name, '–')} → {change.after[name]}" for name in names)

    @display(description="before")
    def old_values(self, change: PlanChange) -> str:
        return pretty_json(change.before)

    @display(description="after")
    def new_values(self, change: PlanChange) -> str:
        return pretty_json(change.after)


@admin.register(CatalogSync)
class CatalogSyncAdmin(ReadOnlyAdmin):
    list_display = [
        "started_at",
        "result",
        "seconds",
        "plans_total",
        "plans_new",
        "plans_changed",
        "plans_vanished",
        "prices_changed",
        "networks_total",
        "error",
    ]
    list_filter = ["started_at", ("error", admin.EmptyFieldListFilter)]
    exclude = ["skipped"]
    readonly_fields = ["skipped_bundles"]

    @display(description="result", label={"done": GOOD, "failed": BAD, "running": BUSY})
    def result(self, sync: CatalogSync) -> str:
        if sync.error:
            return "failed"
        return "done" if sync.finished_at else "running"

    @display(description="seconds")
    def seconds(self, sync: CatalogSync) -> str:
        return f"{(sync.finished_at - sync.started_at).total_seconds():.1f}" if sync.finished_at else "–"

    @display(description="skipped")
    def skipped_bundles(self, sync: CatalogSync) -> str:
        return pretty_json(sync.skipped)


@admin.register(WholesalerAccount)
class WholesalerAccountAdmin(ReadOnlyAdmin):
    list_display = ["balance_usd", "currency", "read_at"]
    paginator = Paginator


@admin.register(SalesPause)
class SalesPauseAdmin(ReadOnlyAdmin):
    list_display = ["cause", "state", "reason", "min_cost_usd", "started_at", "ended_at"]
    list_filter = ["cause", ("ended_at", admin.EmptyFieldListFilter)]

    @display(description="sales", label={"paused": BAD, "over": QUIET})
    def state(self, pause: SalesPause) -> str:
        return "over" if pause.ended_at else "paused"


class PolicyAdmin(ModelAdmin):
    """A policy with history: adding a row puts it into force, and no row is ever changed or deleted."""

    ordering = ["-id"]
    list_select_related = ["created_by"]
    list_per_page = 50
    show_full_result_count = False

    def put_into_force(self, *, by: Any, reason: str, **values: Any) -> PolicyRow:
        """The service that adds the row."""
        raise NotImplementedError

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["created_at", "created_by"] if obj else []

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The values of today: whoever sets one leaves the others."""
        today = self.model.in_force()
        names = (field.name for field in self.model._meta.fields if field.editable and field.name != "reason")
        return {name: getattr(today, name) for name in names}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if "reason" in form.base_fields:
            form.base_fields["reason"].required = True
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        # The service makes a row of its own; the admin goes on with its id.
        obj.pk = self.put_into_force(by=request.user, **form.cleaned_data).pk


@admin.register(PricingPolicy)
class PricingPolicyAdmin(PolicyAdmin):
    list_display = [
        "created_at",
        "stars_per_usd",
        "markup",
        "commission",
        "step_stars",
        "min_stars",
        "max_stars",
        "payout_usd_per_star",
        "is_selling",
        "created_by",
        "reason",
    ]

    def put_into_force(self, *, by: Any, reason: str, **values: Any) -> PolicyRow:
        return set_pricing_policy(by=by, reason=reason, **values)
