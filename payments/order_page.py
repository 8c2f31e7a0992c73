"""What an order's page in the admin shows: where it stands, its facts, its timeline; and the reveal of its code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.safestring import mark_safe

from catalog.models import PricingPolicy
from esimshop.activation_codes import qr_svg
from esimshop.acts import ReasonForm, actor_of
from esimshop.back_office import BAD, BUSY, CARE, GOOD
from orders.admin import ORDER_COLOURS
from orders.models import Order, Orphan, ProvisioningAttempt
from orders.services.reveals import RevealRefused, reveal_activation_code, revealable_esim
from payments.models import Case, Payment, RefundRequest
from payments.services.situation import describe_situation
from payments.services.timeline import Entry, may_view, prefetch_order, read_payment_timeline, read_timeline, row_page

PAYMENT_COLOURS = {
    Payment.Status.PAID: GOOD,
    Payment.Status.REFUNDING: BUSY,
    Payment.Status.REFUNDED: CARE,
    Payment.Status.REFUND_FAILED: BAD,
}
_PAYMENT_STATES: dict[str, str] = {
    Payment.Status.PAID: "paid",
    Payment.Status.REFUNDING: "on their way back",
    Payment.Status.REFUNDED: "refunded",
    Payment.Status.REFUND_FAILED: "Telegram refused the refund",
}
REVEAL = "orders.reveal_activation_code"


@dataclass(frozen=True, kw_only=True)
class Money:
    """What an order brings in USD: what Telegram pays out for its Stars, less what eSIM Go took.

    cost_usd: as it was taken, or as it was quoted while nothing is bought (is_expected). Refunded Stars bring nothing.
    """

    cost_usd: Decimal
    is_expected: bool
    payout_usd: Decimal
    margin_usd: Decimal

    @property
    def rows(self) -> list[tuple[str, str, bool]]:
        """Name, amount, and whether it is a loss, as the page shows them."""
        return [
            ("Cost, quoted" if self.is_expected else "Cost", _usd(self.cost_usd), False),
            ("Payout", _usd(self.payout_usd), False),
            ("Margin, expected" if self.is_expected else "Margin", _usd(self.margin_usd), self.margin_usd < 0),
        ]


def order_context(order: Order, user: Any) -> dict[str, Any]:
    """The template's variables for an order, as `user` may see it. A fixed number of queries."""
    prefetch_order(order)
    entries = read_timeline(order, user)
    may_view_payments = user.has_perm("payments.view_payment")
    may_reveal = user.has_perm(REVEAL) and revealable_esim(order) is not None
    may_view_purchases = user.has_perm("orders.view_provisioningattempt")
    return {
        "order": order,
        "situation": describe_situation(order),
        "tone": ORDER_COLOURS[Order.Status(order.status)],
        "title_of_plan": order.bought_plan.get("en", {}).get("title") or order.plan.bundle_name,
        "customer": order.customer,
        "may_view_customer": user.has_perm("orders.view_customer"),
        "payments": list(order.payments.all()) if may_view_payments else [],
        "money": money_of(order) if may_view_payments else None,
        "esim": revealable_esim(order) if user.has_perm("orders.view_esim") or may_reveal else None,
        "may_view_esim": user.has_perm("orders.view_esim"),
        "may_reveal": may_reveal,
        "reveal_url": reverse("admin:orders_order_reveal", args=[order.pk]),
        "purchases": [attempt for attempt in order.attempts.all() if attempt.reference and may_view_purchases],
        "open_matters": [
            *_open_matters(user, order.cases.all()),
            *_open_matters(user, order.orphans.all()),
            *(
                matter
                for payment in order.payments.all()
                for matter in _open_matters(user, payment.refund_requests.all())
            ),
        ],
        "days": by_day(entries),
        "entry_count": len(entries),
    }


def payment_context(payment: Payment, user: Any) -> dict[str, Any]:
    """The template's variables for a payment's own timeline."""
    entries = read_payment_timeline(payment, user)
    return {
        "payment": payment,
        "tone": PAYMENT_COLOURS[Payment.Status(payment.status)],
        "state": _PAYMENT_STATES[payment.status],
        "open_matters": [
            *_open_matters(user, payment.cases.all()),
            *_open_matters(user, payment.refund_requests.all()),
        ],
        "days": by_day(entries),
        "entry_count": len(entries),
    }


def _open_matters(user: Any, rows: Iterable[Case | Orphan | RefundRequest]) -> Iterator[dict[str, str]]:
    """What waits for a decision beside the state itself: name, words and page, for whoever may view it."""
    for row in rows:
        name, is_open = {
            Case: ("Case", row.status != Case.Status.CLOSED),
            Orphan: ("Found purchase", row.status == Orphan.Status.OPEN),
            RefundRequest: ("Refund", row.status in {RefundRequest.Status.WAITING, RefundRequest.Status.APPROVED}),
        }[type(row)]
        if is_open and may_view(user, type(row)):
            yield {"name": name, "text": row.get_status_display(), "url": row_page(row)}


def by_day(entries: list[Entry]) -> list[tuple[Any, list[Entry]]]:
    """The entries under the days of the active time zone."""
    return [(day, list(group)) for day, group in groupby(entries, lambda entry: timezone.localtime(entry.at).date())]


def money_of(order: Order) -> Money:
    policy = order.pricing_policy or PricingPolicy()
    is_kept = not any(
        payment.status == Payment.Status.REFUNDED
        for payment in order.payments.all()
        if payment.kind == Payment.Kind.ORDER
    )
    placed = [attempt for attempt in order.attempts.all() if attempt.status == ProvisioningAttempt.Status.PLACED]
    is_expected = not placed
    taken = sum((attempt.cost_usd for attempt in placed if attempt.cost_usd is not None), Decimal(0))
    cost_usd = order.cost_usd if is_expected and is_kept else taken
    payout_usd = order.amount_stars * policy.payout_usd_per_star if is_kept else Decimal(0)
    return Money(
        cost_usd=cost_usd, is_expected=is_expected and is_kept, payout_usd=payout_usd, margin_usd=payout_usd - cost_usd
    )


def _usd(amount: Decimal) -> str:
    """Two decimals, or up to four where there are more: wholesale prices have three."""
    text = f"{amount:.4f}"
    return f"{text[:-2]}{text[-2:].rstrip('0')} USD"


def reveal_view(request: HttpRequest, object_id: str) -> HttpResponse:
    """Ask for a reason; then show the activation code once, in the answer itself, which nobody keeps."""
    user = request.user
    if not isinstance(user, User) or not user.has_perms([REVEAL, "orders.view_order"]):
        raise PermissionDenied
    order = get_object_or_404(Order.objects.select_related("customer", "top_up_esim"), pk=object_id)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Reveal the activation code",
        "opts": Order._meta,
        "order": order,
        "esim": revealable_esim(order),
        "form": form,
    }
    if form.is_valid():
        try:
            revealed = reveal_activation_code(order, actor=actor_of(user), reason=form.cleaned_data["reason"])
        except RevealRefused as refusal:
            form.add_error("reason", str(refusal))
        else:
            context["revealed"] = revealed
            context["qr_svg"] = mark_safe(qr_svg(revealed.activation_code))  # noqa: S308  our own path of squares
    answer = TemplateResponse(request, "admin/payments/reveal.html", context)
    add_never_cache_headers(answer)
    return answer
