"""The admin's page of finance: how the days close, and the CSV reports."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from payments.models import ServicePolicy
from payments.reports.books import REPORTS
from payments.reports.closing import MOST_ROWS, presets, read_closing
from payments.reports.days import BadDays, Days
from payments.reports.export import file_name, stream_report

PERMISSION = "payments.export_reports"


class DaysForm(forms.Form):
    """Which days; on the page as the address has them."""

    first = forms.DateField(label="From", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    last = forms.DateField(label="To, included", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    zone = forms.CharField(label="Time zone", max_length=64, widget=forms.TextInput(attrs={"list": "zones"}))

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                values["days"] = Days(values["first"], values["last"], values["zone"])
            except BadDays as error:
                raise forms.ValidationError(str(error)) from error
        return values


class ExportForm(DaysForm):
    report = forms.ChoiceField(choices=[(name, name) for name in REPORTS])
    bom = forms.BooleanField(required=False)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def reports_page(request: HttpRequest) -> HttpResponseBase:
    """GET: the figures of the days. POST: a report as a file. 403 without `payments.export_reports`."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    return _export(request) if request.method == "POST" else _show(request)


def _show(request: HttpRequest, form: DaysForm | None = None) -> HttpResponse:
    zone = timezone.get_current_timezone_name()
    today = timezone.localdate()
    asked = {name: request.GET[name] for name in DaysForm.base_fields if name in request.GET}
    month = {"first": today.replace(day=1).isoformat(), "last": today.isoformat(), "zone": zone}
    form = form or DaysForm({**month, **asked})
    days = form.cleaned_data["days"] if form.is_valid() else None
    context = {
        **admin.site.each_context(request),
        "title": "Reports",
        "form": form,
        "days": days,
        "closing": read_closing(days) if days else None,
        "presets": presets(days.today if days else today),
        "reports": REPORTS.values(),
        "policy": ServicePolicy.in_force(),
        "most_rows": MOST_ROWS,
        "zones": ("UTC", "Europe/London", "Europe/Berlin", "Europe/Moscow", "Asia/Dubai", "America/New_York"),
    }
    return TemplateResponse(request, "admin/payments/reports.html", context, status=200 if days else 400)


def _export(request: HttpRequest) -> HttpResponseBase:
    form = ExportForm(request.POST)
    if not form.is_valid():
        return _show(request, form)
    report, days = REPORTS[form.cleaned_data["report"]], form.cleaned_data["days"]
    user = cast("User", request.user)
    LogEntry.objects.create(
        user=user,
        object_repr=f"report {report.name}",
        action_flag=CHANGE,
        change_message=f"Exported {days.first} to {days.last}, {days.zone}",
    )
    chunks = stream_report(report, days, has_bom=form.cleaned_data["bom"])
    return StreamingHttpResponse(
        chunks,
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{file_name(report, days)}"',
            "X-Accel-Buffering": "no",  # nginx would keep the file on its disk first
        },
    )
