"""Pages of the back office that belong to no single model."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orders.models import Customer, Order, Orphan
from payments.models import Payment, StarTransaction
from payments.services.search import MOST_SHOWN, Matches, find_anything

LONGEST_TERM = 500
_SEARCHED = (Order, Payment, Customer, Orphan, StarTransaction)


@never_cache
@require_safe
def find_page(request: HttpRequest) -> HttpResponse:
    """`?q=`: on to the one page that shows what is meant, or the results by what matched. 403 who may view nothing."""
    viewable = {model for model in _SEARCHED if may_view(request, model)}
    text = request.GET.get("q", "")[:LONGEST_TERM]
    found = find_anything(text, may_view=viewable.__contains__)
    if found.only is not None:
        return redirect(_page(found.only))
    context = {
        **admin.site.each_context(request),
        "title": "Search",
        "is_find_page": True,
        "text": text,
        "term": found.term,
        "groups": [_shown(group, found.term) for group in found.groups],
        "most_shown": MOST_SHOWN,
    }
    return TemplateResponse(request, "admin/find.html", context)


def may_view(request: HttpRequest, model: type[Model]) -> bool:
    """Whether this member of staff may look at rows of a model."""
    return admin.site._registry[model].has_view_permission(request)


def _page(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def _shown(group: Matches, term: str) -> dict[str, Any]:
    meta = group.model._meta
    all_rows = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return {
        "what": group.what,
        "kind": meta.verbose_name_plural,
        "rows": [{"page": _page(row), **_words(row)} for row in group.rows],
        "is_cut": group.is_cut,
        "all": f"{all_rows}?{urlencode({'q': term})}",
    }


def _words(row: Any) -> dict[str, Any]:
    """A row in a line: its name, its state, what else tells it from the others, and when it was."""
    if isinstance(row, Order):
        title = row.bought_plan.get("en", {}).get("title", "")
        return {
            "name": f"Order {str(row.pk)[:8]}",
            "state": row.get_status_display(),
            "more": f"{title}, {row.amount_stars} Stars, {row.customer}",
            "at": row.created_at,
        }
    if isinstance(row, Payment):
        return {
            "name": row.charge_id,
            "state": row.get_status_display(),
            "more": f"{row.amount_stars} Stars, {row.customer}",
            "at": row.charged_at,
        }
    if isinstance(row, Customer):
        return {"name": str(row), "state": "customer", "more": f"Telegram id {row.telegram_user_id}", "at": None}
    if isinstance(row, Orphan):
        return {"name": str(row), "state": row.get_status_display(), "more": row.bundle_name, "at": row.placed_at}
    return {"name": row.transaction_id, "state": row.state, "more": f"{row.amount_stars} Stars", "at": row.date}
