"""Acts in templates: which buttons a row has, and where they lead."""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse

from esimshop.acts import Act, act_url, acts_for, acts_on

register = template.Library()


@register.simple_tag
def row_acts(row: Any, user: Any) -> list[dict[str, Any]]:
    """The buttons of a row: acts that make sense now and that the user may do."""
    return [_button(act, act_url(act, row)) for act in acts_for(row, user)]


@register.simple_tag
def shop_acts(user: Any, changelist: Any = None) -> list[dict[str, Any]]:
    """The buttons of acts on the whole shop that make sense now: all, or those that belong to a list."""
    acts = [act for act in acts_on(None, user) if changelist is None or act.listed_with is changelist.model]
    return [_button(act, act_url(act)) for act in acts if act.suits(None)]


def _button(act: Act, url: str) -> dict[str, Any]:
    return {"label": act.label, "icon": act.icon, "url": url, "is_dangerous": act.is_dangerous}


@register.filter
def admin_page(row: Any) -> str:
    """The address of a row's page in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
