"""What staff may do to the catalogue and to sales as a whole."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.models import User
from unfold.widgets import UnfoldAdminTextInputWidget

from catalog.models import CatalogSync, SalesPause
from catalog.services.brake import PauseRefused, pause_sales_by_hand, resume_sales_by_hand
from catalog.tasks import sync_catalog_task
from esimshop.acts import Act, ActRefused, Preview, ReasonForm, actor_of, register_act
from esimshop.tasks import defer_once


class PauseForm(ReasonForm):
    min_cost_usd = forms.DecimalField(
        label="Only plans that cost us at least, USD",
        required=False,
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=4,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="Empty: all plans.",
    )


class PauseSales(Act):
    name = "pause-sales"
    label = "Pause sales"
    icon = "pause_circle"
    listed_with = SalesPause
    permission = "catalog.pause_sales"
    refusals = (PauseRefused,)
    form_class = PauseForm
    is_dangerous = True

    def suits(self, row: None) -> bool:
        return not SalesPause.objects.filter(cause=SalesPause.Cause.STAFF, ended_at=None).exists()

    def preview(self, row: None) -> Preview:
        return Preview(
            what="No invoice is made and no payment approved until somebody resumes sales. What is paid for goes on.",
            cost="Every sale that customers would have made meanwhile.",
        )

    def perform(self, row: None, *, user: User, reason: str, values: dict[str, Any]) -> str:
        pause_sales_by_hand(actor=actor_of(user), reason=reason, min_cost_usd=values["min_cost_usd"])
        return "Sales are paused. Resume them on the pause's page."


class ResumeSales(Act):
    name = "resume-sales"
    label = "Resume sales"
    icon = "play_circle"
    model = SalesPause
    permission = "catalog.pause_sales"
    refusals = (PauseRefused,)
    is_bulk = False

    def suits(self, row: SalesPause) -> bool:
        return row.ended_at is None and row.cause == SalesPause.Cause.STAFF

    def preview(self, row: SalesPause) -> Preview:
        others = SalesPause.objects.filter(ended_at=None).exclude(pk=row.pk)
        causes = ", ".join(str(other) for other in others)
        return Preview(
            what="Invoices are made and payments approved again at once.",
            warning=f"Sales stay paused for another cause: {causes}." if causes else "",
        )

    def perform(self, row: SalesPause, *, user: User, reason: str, values: dict[str, Any]) -> str:
        resume_sales_by_hand(row, actor=actor_of(user), reason=reason)
        return "This pause is over."


class SyncCatalogue(Act):
    name = "sync-catalogue"
    label = "Sync the catalogue now"
    icon = "sync"
    listed_with = CatalogSync
    permission = "catalog.add_catalogsync"

    def preview(self, row: None) -> Preview:
        return Preview(what="The worker reads plans and wholesale prices from eSIM Go. It takes some seconds.")

    def perform(self, row: None, *, user: User, reason: str, values: dict[str, Any]) -> str:
        if not defer_once(sync_catalog_task):
            raise ActRefused("A sync waits for the worker already.")
        return "The worker syncs now. Its result comes to the list of syncs."


for act in (PauseSales(), ResumeSales(), SyncCatalogue()):
    register_act(act)
