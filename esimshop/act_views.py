"""The page on which staff confirm an act, and the one that says what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import structlog
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from esimshop.acts import Act, ActRefused, Preview, find_act, may_perform
from esimshop.logs import redact

log = structlog.get_logger(__name__)

#: More rows than this are not taken in one press; the page says so.
MOST_ROWS = 500
#: So many previews may each ask an outside service; of more rows only the first are previewed.
MOST_PREVIEWS = 20


@dataclass(frozen=True)
class PlannedRow:
    """A row on the confirmation page. preview: None where it was not asked for; refusal: why nothing would happen."""

    row: Any
    preview: Preview | None
    refusal: str


@dataclass(frozen=True)
class Result:
    """What came of an act on a row. state: done, refused or failed."""

    row: Any
    state: str
    text: str


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def act_page(request: HttpRequest, name: str) -> HttpResponse:
    """GET: what would happen, and the question why. POST: do it, row by row.

    Rows: `id`, repeated; or `cause`, for all that wait for that reason. 403 without the act's permission.
    """
    act = find_act(name)
    if act is None:
        raise Http404(f"There is no act {name}.")
    if not may_perform(act, request.user):
        raise PermissionDenied
    rows, is_cut = _read_rows(act, request)
    if request.method != "POST":
        return confirm_act(request, act, rows, is_cut=is_cut)
    form = act.make_form(rows, request.POST)
    if not form.is_valid():
        return confirm_act(request, act, rows, is_cut=is_cut, form=form)
    user = cast("User", request.user)
    values = dict(form.cleaned_data)
    reason = values.pop("reason")
    results = [_perform(act, row, user=user, reason=reason, values=values) for row in rows]
    context = {**_context(request, act), "results": results, "is_cut": is_cut, "most_rows": MOST_ROWS}
    return TemplateResponse(request, "admin/acts/results.html", context)


def confirm_act(
    request: HttpRequest, act: Act, rows: list[Any], *, is_cut: bool = False, form: Any = None
) -> TemplateResponse:
    """The confirmation page for these rows; also what a list's menu of acts answers."""
    planned = [_plan(act, row, is_previewed=number < MOST_PREVIEWS) for number, row in enumerate(rows)]
    suitable = [plan.row for plan in planned if not plan.refusal]
    context = {
        **_context(request, act),
        "planned": planned,
        "suitable": suitable,
        "ids": [row.pk for row in suitable if row is not None],
        "form": form or act.make_form(suitable),
        "is_cut": is_cut,
        "most_rows": MOST_ROWS,
    }
    return TemplateResponse(request, "admin/acts/confirm.html", context)


def _context(request: HttpRequest, act: Act) -> dict[str, Any]:
    back = reverse("admin:index")
    if listed := act.model or act.listed_with:
        back = reverse(f"admin:{listed._meta.app_label}_{listed._meta.model_name}_changelist")
    return {**admin.site.each_context(request), "title": act.label, "act": act, "back": back}


def _read_rows(act: Act, request: HttpRequest) -> tuple[list[Any], bool]:
    """The rows that the request names, at most MOST_ROWS, and whether there were more; [None] for the whole shop."""
    if act.model is None:
        return [None], False
    given = request.POST if request.method == "POST" else request.GET
    ids = given.getlist("id")
    if ids or request.method == "POST":
        found = act.model._default_manager.filter(pk__in=_keys(act.model, ids[:MOST_ROWS]))
        return list(found), len(ids) > MOST_ROWS
    cause = given.get("cause")
    of_cause = act.rows_of_cause(cause) if cause is not None and "\x00" not in cause else None
    if of_cause is None:
        raise Http404("No row is named.")
    rows = list(of_cause[: MOST_ROWS + 1])
    return rows[:MOST_ROWS], len(rows) > MOST_ROWS


def _keys(model: type[Model], texts: list[str]) -> list[Any]:
    keys = []
    for text in texts:
        try:
            key = model._meta.pk.to_python(text)
            model._meta.pk.run_validators(key)  # a number may be too long for its column
            keys.append(key)
        except ValidationError:
            raise Http404("No row has such a key.") from None
    return keys


def _refusals(act: Act) -> tuple[type[Exception], ...]:
    return (ActRefused, *act.refusals)


def _plan(act: Act, row: Any, *, is_previewed: bool) -> PlannedRow:
    if not act.suits(row):
        return PlannedRow(row, None, f"{act.label} makes no sense in its present state: nothing happens to it.")
    if not is_previewed:
        return PlannedRow(row, None, "")
    try:
        return PlannedRow(row, act.preview(row), "")
    except _refusals(act) as refusal:
        return PlannedRow(row, None, redact(str(refusal)))


def _perform(act: Act, row: Any, *, user: User, reason: str, values: dict[str, Any]) -> Result:
    if not act.suits(row):
        return Result(row, "refused", "It has changed since, and the act makes no sense any more. Nothing was done.")
    try:
        text = act.perform(row, user=user, reason=reason, values=values)
    except _refusals(act) as refusal:
        return Result(row, "refused", redact(str(refusal)))
    except Exception as error:  # one row's fault must not hide what came of the others
        log.exception("act_failed", act=act.name, row=str(getattr(row, "pk", "")))
        return Result(row, "failed", f"It broke ({type(error).__name__}). Look at the row before you press again.")
    told = redact(f"{act.label}: {reason}")
    if row is None:
        LogEntry.objects.create(user=user, object_repr="the shop", action_flag=CHANGE, change_message=told)
    else:
        LogEntry.objects.log_actions(user.pk, [row], CHANGE, change_message=told, single_object=True)
    log.info("act_performed", act=act.name, row=str(getattr(row, "pk", "")), actor=user.get_username())
    return Result(row, "done", redact(text))
