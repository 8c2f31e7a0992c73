"""What the admin's pages have in common. Only services change rows, so most pages only show them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib.admin import ShowFacets
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.admin.utils import flatten, flatten_fieldsets
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import SuspiciousOperation
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.paginator import InfinitePaginator

from esimshop.act_views import MOST_ROWS, confirm_act
from esimshop.acts import Act, acts_on
from esimshop.logs import redact
from esimshop.search_terms import match_number as match_number
from esimshop.search_terms import match_uuid as match_uuid
from esimshop.search_terms import read_term

GOOD, BUSY, CARE, BAD, QUIET = "success", "info", "warning", "danger", "default"


class ReadOnly(BaseModelAdmin):
    """Shows rows to whoever may view them; nobody adds, changes or deletes one here."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """All that is shown, also what no form could hold: the fields named, or else those of the model."""
        if named := flatten_fieldsets(self.fieldsets) if self.fieldsets else flatten(self.fields or []):
            return named
        hidden = {*(self.exclude or []), self.model._meta.pk.name}
        shown = [field.name for field in self.model._meta.fields if field.name not in hidden]
        return [*shown, *self.readonly_fields]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, ModelAdmin):
    """A list and its pages, with a fixed number of queries and no count of all rows, however many there are."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = InfinitePaginator
    actions = None
    change_form_before_template = "admin/acts/buttons.html"
    list_before_template = "admin/desk/list_top.html"
    list_filter_submit = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # No text of PostgreSQL's holds it; a filter by it would fail where others are told that they are no filter.
        if any("\x00" in value for name, values in request.GET.lists() if name != SEARCH_VAR for value in values):
            raise SuspiciousOperation("a filter with a NUL character")
        return super().get_queryset(request)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The acts on many rows that the member of staff may do; each asks on its own page first."""
        return {
            act.name: (_confirm(act), act.name, act.label) for act in acts_on(self.model, request.user) if act.is_bulk
        }

    #: The rows that an identifier, read by `read_term`, may mean: large tables say it, by what their indexes answer.
    find_rows: Callable[[HttpRequest, QuerySet[Any], str], QuerySet[Any]] | None = None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term.strip():
            return queryset, False
        if self.find_rows is None:
            return super().get_search_results(request, queryset, search_term.strip())[0], False
        term = read_term(search_term)
        return (self.find_rows(request, queryset, term) if term else queryset.none()), False


def _confirm(act: Act) -> Callable[[ReadOnlyAdmin, HttpRequest, QuerySet[Any]], HttpResponse]:
    """The entry of a list's menu that leads to the act's confirmation page."""

    def confirm(model_admin: ReadOnlyAdmin, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        chosen = list(rows[: MOST_ROWS + 1])
        return confirm_act(request, act, chosen[:MOST_ROWS], is_cut=len(chosen) > MOST_ROWS)

    return confirm


class ReadOnlyInline(ReadOnly, TabularInline):
    """Rows that belong to the shown one."""

    extra = 0
    can_delete = False
    show_change_link = True
    hide_title = True


def pretty_json(value: Any, *secrets: str) -> SafeString:
    """JSON for reading, without secrets."""
    text = redact(json.dumps(value, ensure_ascii=False, indent=2), *secrets)
    return format_html('<pre class="overflow-x-auto text-xs whitespace-pre-wrap">{}</pre>', text)


def page_link(row: Model | None, text: str) -> str:
    """A link to the row's page in the admin."""
    if row is None:
        return "–"
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500">{}</a>', url, text)


_GROUPS: dict[str, list[tuple[str, str, str]]] = {
    "Sales": [
        ("Orders", "receipt_long", "orders.order"),
        ("Payments", "payments", "payments.payment"),
        ("Refunds", "undo", "payments.refund"),
        ("Cases", "forum", "payments.case"),
        ("Refund requests", "approval", "payments.refundrequest"),
        ("Customers", "group", "orders.customer"),
        ("eSIMs", "sim_card", "orders.esim"),
        ("Orphans", "link_off", "orders.orphan"),
    ],
    "Telegram": [
        ("Stars ledger", "star", "payments.startransaction"),
        ("Stars balance", "account_balance_wallet", "payments.starsaccount"),
        ("Webhook", "webhook", "payments.webhookstate"),
        ("Updates", "inbox", "payments.telegramupdate"),
        ("Pre-checkouts", "fact_check", "payments.precheckout"),
        ("Invoices", "request_quote", "payments.invoice"),
        ("Deliveries", "send", "orders.delivery"),
        ("Restored backups", "settings_backup_restore", "orders.restoration"),
    ],
    "Catalogue": [
        ("Plans", "sell", "catalog.plan"),
        ("Areas", "public", "catalog.area"),
        ("Networks", "cell_tower", "catalog.network"),
        ("Plan changes", "published_with_changes", "catalog.planchange"),
        ("Syncs", "sync", "catalog.catalogsync"),
    ],
    "Business rules": [
        ("Pricing policy", "price_change", "catalog.pricingpolicy"),
        ("Service policy", "schedule", "payments.servicepolicy"),
        ("Currency rates", "currency_exchange", "catalog.currencyrate"),
        ("Sales pauses", "pause_circle", "catalog.salespause"),
    ],
    "Operation": [
        ("Alerts", "warning", "esimshop.alert"),
        ("Tasks", "memory", "procrastinate.procrastinatejob"),
        ("Wholesaler account", "account_balance", "catalog.wholesaleraccount"),
        ("eSIM Go's callbacks", "notifications", "orders.wholesalercallback"),
        ("Refused callbacks", "notifications_off", "orders.refusedcallback"),
        ("Staff", "badge", "auth.user"),
        ("Roles", "shield_person", "auth.group"),
        ("Second factors", "phonelink_lock", "otp_totp.totpdevice"),
        ("Logins", "login", "axes.accesslog"),
        ("Failed logins", "gpp_bad", "axes.accessattempt"),
    ],
}


#: What waits on a page, by its model: a text, empty where nothing does.
_BADGES: dict[str, Callable[[], str]] = {}


def register_badge(model: str, count_waiting: Callable[[], str]) -> None:
    """Show what waits on a model's page beside its name in the navigation. Called once, by the module of the page."""
    _BADGES[model] = count_waiting


#: Pages that are no list of a model: with the permission that opens them, and the name of their address.
_PAGES: dict[str, list[tuple[str, str, str, str]]] = {
    "Sales": [("Reports", "table_view", "payments.export_reports", "admin-reports")],
}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Unfold's navigation: the pages that the member of staff may view."""
    groups = []
    for title, pages in _GROUPS.items():
        items = []
        for page, icon, model in pages:
            app, name = model.split(".")
            if request.user.has_perm(f"{app}.view_{name}"):  # type: ignore[union-attr]
                item = {"title": page, "icon": icon, "link": reverse(f"admin:{app}_{name}_changelist")}
                if model in _BADGES and (waiting := _BADGES[model]()):
                    item["badge"] = waiting
                items.append(item)
        for page, icon, permission, address in _PAGES.get(title, []):
            if request.user.has_perm(permission):  # type: ignore[union-attr]
                items.append({"title": page, "icon": icon, "link": reverse(address)})
        if items:
            groups.append({"title": title, "separator": True, "collapsible": False, "items": items})
    return groups
