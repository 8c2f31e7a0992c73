"""The admin of cases: a list with the longest wait on top, and a page that is the conversation itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Case as Choice
from django.db.models import DurationField, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.timesince import timesince
from django.views.decorators.http import require_POST
from unfold.decorators import display

from esimshop.back_office import (
    BAD,
    BUSY,
    GOOD,
    QUIET,
    ReadOnlyAdmin,
    match_number,
    register_badge,
)
from esimshop.logs import redact
from orders.admin import DELIVERY_COLOURS, ORDER_COLOURS, order_or_customer
from orders.models import Delivery, Esim
from payments.models import Case, CaseMessage, Payment
from payments.services.case_answers import ready_answers
from payments.services.cases import (
    MOST_ANSWER_UNITS,
    CaseRefused,
    answer_case,
    close_case,
    note_in_case,
    reopen_case,
    take_case,
)

CASE_COLOURS = {
    Case.Status.DECIDING: BUSY,
    Case.Status.OPEN: BAD,
    Case.Status.ANSWERED: GOOD,
    Case.Status.CLOSED: QUIET,
}
#: The conversation shows so many lines, the newest; a page says where there are more.
MOST_LINES = 300
MOST_COUNTED = 99
#: In the order of the list.
_STATES = {
    Case.Status.OPEN: "waits for us",
    Case.Status.DECIDING: "the shop decides",
    Case.Status.ANSWERED: "waits for the customer",
    Case.Status.CLOSED: "closed",
}
_LANGUAGES = {"en": "English", "ru": "Russian"}
FIRST_ANSWER_WINDOW = timedelta(days=30)


def count_open_cases() -> str:
    """How many cases wait for staff; empty if none does."""
    count = Case.objects.filter(status=Case.Status.OPEN).order_by()[: MOST_COUNTED + 1].count()
    return "" if not count else str(count) if count <= MOST_COUNTED else f"{MOST_COUNTED}+"


register_badge("payments.case", count_open_cases)


class OwnerFilter(admin.SimpleListFilter):
    """Mine and nobody's; a colleague's are found by the column."""

    title = "owner"
    parameter_name = "owned"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("me", "Mine"), ("nobody", "Nobody's")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "me":
            return queryset.filter(owner=request.user)
        return queryset.filter(owner=None) if self.value() == "nobody" else queryset


@admin.register(Case)
class CaseAdmin(ReadOnlyAdmin):
    list_display = ["name", "state", "waiting", "wish", "why", "customer", "owner", "first_answer", "opened_at"]
    list_filter = ["status", OwnerFilter, "reason", "wish", "opened_at"]
    list_select_related = ["customer", "owner"]
    list_before_template = "admin/payments/case/first_answers.html"
    search_fields = ["id"]
    search_help_text = "Case number, order id, Telegram id, @username or charge id"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).annotate(waiting_since=_waiting_since())

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        places = [When(status=status, then=Value(place)) for place, status in enumerate(_STATES)]
        return [Choice(*places).asc(), _waiting_since().asc(nulls_last=True), F("updated_at").desc()]

    def find_rows(self, request: HttpRequest, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        is_number = match_number("pk", term.removeprefix("#"))
        return rows.filter(is_number | order_or_customer(term) | Q(payment__in=Payment.objects.filter(charge_id=term)))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "first_answers": _first_answers()})

    @display(description="case", ordering="id")
    def name(self, case: Case) -> str:
        return f"#{case.pk}"

    @display(description="state", ordering="status", label=CASE_COLOURS)
    def state(self, case: Case) -> tuple[str, str]:
        return case.status, _STATES[Case.Status(case.status)]

    @display(description="waiting", ordering="waiting_since")
    def waiting(self, case: Any) -> str:
        return _age(case.waiting_since) if case.waiting_since else "–"

    @display(description="reason", ordering="reason")
    def why(self, case: Case) -> str:
        return case.get_reason_display()

    @display(description="first answer after", ordering="first_answered_at")
    def first_answer(self, case: Case) -> str:
        return _age(case.opened_at, case.first_answered_at) if case.first_answered_at else "–"

    # The page of a case

    def get_urls(self) -> list[Any]:
        view = require_POST(self.admin_site.admin_view(self._act))
        acts = [path(f"<int:case_pk>/{what}/", view, {"what": what}, name=f"payments_case_{what}") for what in _ACTS]
        return [*acts, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST":
            raise PermissionDenied
        return self._page(request, self._find(request, object_id))

    def _act(self, request: HttpRequest, case_pk: int, what: str) -> HttpResponse:
        case = self._find(request, str(case_pk))
        if not may_answer(request):
            raise PermissionDenied
        try:
            done = _ACTS[what](case, request)
        except CaseRefused as error:
            return self._page(request, self._find(request, str(case_pk)), refused=str(error), what=what)
        self.log_change(request, case, done)
        messages.success(request, done)
        return redirect("admin:payments_case_change", case.pk)

    def _find(self, request: HttpRequest, case_pk: str) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = self.get_queryset(request).select_related("customer", "order", "payment", "owner")
        case = rows.filter(match_number("pk", case_pk)).first()
        if case is None:
            raise Http404
        return case

    def _page(self, request: HttpRequest, case: Any, *, refused: str = "", what: str = "") -> HttpResponse:
        customer, order = case.customer, case.order
        # A customer may write a part of their activation code.
        secrets = list(Esim.objects.filter(customer=customer).values_list("matching_id", flat=True))
        lines = list(case.messages.select_related("delivery").order_by("-pk")[: MOST_LINES + 1])
        spoken = [line.pk for line in lines if not line.is_internal]
        typed = request.POST.get("text", "")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Case #{case.pk}",
            "opts": self.opts,
            "original": case,
            "case": case,
            "state": _STATES[Case.Status(case.status)],
            "state_colour": CASE_COLOURS[Case.Status(case.status)],
            "order": order,
            "order_title": order.bought_plan.get("en", {}).get("title", "–") if order else "",
            "order_colour": ORDER_COLOURS[order.status] if order else "",
            "language": _LANGUAGES[customer.language],
            "lines": [_shown(line, customer, secrets) for line in reversed(lines[:MOST_LINES])],
            "has_older": len(lines) > MOST_LINES,
            "others": list(Case.objects.filter(customer=customer).exclude(pk=case.pk).order_by("-pk")[:5]),
            "waiting": _age(case.waiting_since) if case.waiting_since else "",
            "first_answer": _age(case.opened_at, case.first_answered_at) if case.first_answered_at else "",
            "may_answer": may_answer(request),
            "is_owner": case.owner_id == request.user.pk,
            "ready_answers": ready_answers(customer.language),
            "most_units": MOST_ANSWER_UNITS,
            "seen": max(spoken, default=0),
            "refused": refused,
            "typed_answer": typed if what == "answer" else "",
            "typed_note": typed if what == "note" else "",
        }
        return TemplateResponse(request, "admin/payments/case/page.html", context, status=409 if refused else 200)


def _waiting_since() -> Choice:
    """Since when a case waits for staff; empty where it does not."""
    opened = CaseMessage.objects.filter(case=OuterRef("pk"), after=Case.Status.OPEN).order_by("-pk")
    return Choice(When(status=Case.Status.OPEN, then=Subquery(opened.values("created_at")[:1])))


def may_answer(request: HttpRequest) -> bool:
    """Whether the member of staff may answer, take and close cases."""
    return bool(request.user.has_perm("payments.answer_case"))  # type: ignore[union-attr]


def _answer(case: Case, request: HttpRequest) -> str:
    closes = "close" in request.POST
    seen = request.POST.get("seen", "")
    answer_case(
        case.pk,
        user=_staff(request),
        text=request.POST.get("text", ""),
        seen_pk=int(seen) if seen.isascii() and seen.isdecimal() else 0,
        closes=closes,
    )
    return "Your answer is on its way, and the case is closed." if closes else "Your answer is on its way."


def _note(case: Case, request: HttpRequest) -> str:
    note_in_case(case.pk, user=_staff(request), text=request.POST.get("text", ""))
    return "Your note is kept."


def _take(case: Case, request: HttpRequest) -> str:
    seen = request.POST.get("seen_owner", "")
    take_case(case.pk, user=_staff(request), seen_owner_pk=int(seen) if seen.isascii() and seen.isdecimal() else None)
    return "The case is yours."


def _close(case: Case, request: HttpRequest) -> str:
    close_case(case.pk, user=_staff(request))
    return "The case is closed, and the customer is told."


def _reopen(case: Case, request: HttpRequest) -> str:
    reopen_case(case.pk, user=_staff(request))
    return "The case is open again."


_ACTS: dict[str, Callable[[Case, HttpRequest], str]] = {
    "answer": _answer,
    "note": _note,
    "take": _take,
    "close": _close,
    "reopen": _reopen,
}


def _staff(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the conversation as the page shows it.

    look:     customer, staff, shop, note, or move where nothing was said.
    delivery: state of the bot's message, and its colour; empty where none brings it.
    """

    look: str
    who: str
    text: str
    at: datetime
    moved: str
    delivery: str
    delivery_colour: str


def _shown(line: CaseMessage, customer: Any, secrets: list[str]) -> Line:
    look = "note" if line.is_internal else line.author
    delivery = line.delivery
    return Line(
        look=look if line.text else "move",
        who=(customer.first_name or str(customer)) if line.actor == "customer" else _actor(line.actor),
        text=redact(line.text, *secrets),
        at=line.created_at,
        moved=f"{line.before or 'new'} → {line.after}" if line.after else "",
        delivery=_DELIVERY_WORDS[delivery.status] if delivery else "",
        delivery_colour=_DELIVERY_COLOURS[Delivery.Status(delivery.status)] if delivery else "",
    )


_DELIVERY_COLOURS = {**dict.fromkeys(Delivery.Status, QUIET), **DELIVERY_COLOURS}
_DELIVERY_WORDS = {
    "pending": "on its way",
    "sent": "delivered",
    "blocked": "not delivered: the customer blocked the bot",
    "skipped": "not sent",
}


def _actor(actor: str) -> str:
    return "the shop" if actor == "worker" else actor.removeprefix("admin:")


def _age(since: datetime, until: datetime | None = None) -> str:
    """A time span in words, roughly: 3 hours."""
    until = until or timezone.now()
    return timesince(since, until, depth=1) if until - since >= timedelta(minutes=1) else "under a minute"


def _first_answers() -> str:
    """How long customers waited for their first answer in the last 30 days: the median, in words."""
    lately = Case.objects.filter(opened_at__gt=timezone.now() - FIRST_ANSWER_WINDOW, first_answered_at__isnull=False)
    wait = ExpressionWrapper(F("first_answered_at") - F("opened_at"), output_field=DurationField())
    waits = list(lately.annotate(wait=wait).order_by("wait").values_list("wait", flat=True))
    if not waits:
        return ""
    now = timezone.now()
    return f"{_age(now - waits[len(waits) // 2], now)} (median of {len(waits):,} case{'s' if len(waits) > 1 else ''})"
