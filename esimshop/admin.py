"""The admin of what every app shares: alerts, tasks, staff."""

from __future__ import annotations

from typing import Any

import procrastinate.contrib.django.admin  # noqa: F401  these register what is registered anew below
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from esimshop.back_office import BAD, BUSY, GOOD, QUIET, ReadOnlyAdmin, ReadOnlyInline, pretty_json
from esimshop.list_filters import DaysFilter
from esimshop.models import Alert
from esimshop.second_factor import remove_second_factor

# Registered so far in Django's own look, or with secrets in plain sight.
admin.site.unregister([User, Group, ProcrastinateJob, TOTPDevice, StaticDevice])


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_per_page = 50


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


@admin.register(TOTPDevice)
class SecondFactorAdmin(ReadOnlyAdmin):
    """Who has a second factor. Whoever has lost theirs asks a superuser to delete it here."""

    list_display = ["user", "state", "created_at", "last_used_at"]
    list_filter = ["confirmed"]
    search_fields = ["user__username"]
    list_select_related = ["user"]
    fields = ["user", "state", "created_at", "last_used_at"]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # Else the address line could ask for the secret letter by letter.
        return not lookup.startswith("key") and super().lookup_allowed(lookup, value, request)

    @display(description="state", label={"on": GOOD, "being set up": QUIET})
    def state(self, device: TOTPDevice) -> str:
        return "on" if device.confirmed else "being set up"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser  # type: ignore[union-attr]

    def delete_model(self, request: HttpRequest, obj: TOTPDevice) -> None:
        # With its recovery codes.
        remove_second_factor(obj.user)


@admin.register(AccessLog)
class LoginAdmin(ReadOnlyAdmin):
    """Who logged in, when and from where."""

    list_display = ["attempt_time", "username", "ip_address", "user_agent", "logout_time"]
    list_filter = ["attempt_time"]
    search_fields = ["username", "ip_address"]
    fields = ["username", "ip_address", "user_agent", "attempt_time", "logout_time"]
    ordering = ["-id"]


@admin.register(AccessAttempt)
class FailedLoginAdmin(ReadOnlyAdmin):
    """Names and addresses whose last login failed; a good login takes its row away."""

    list_display = ["attempt_time", "username", "ip_address", "failures_since_start", "state", "user_agent"]
    list_filter = ["attempt_time"]
    search_fields = ["username", "ip_address"]
    fields = ["username", "ip_address", "user_agent", "failures_since_start", "state", "attempt_time"]
    ordering = ["-attempt_time"]

    @display(description="state", label={"locked": BAD, "may try again": QUIET})
    def state(self, attempt: AccessAttempt) -> str:
        is_recent = attempt.attempt_time > timezone.now() - settings.AXES_COOLOFF_TIME
        return (
            "locked" if is_recent and attempt.failures_since_start >= settings.AXES_FAILURE_LIMIT else "may try again"
        )


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ["cause", "state", "text", "raised_at", "cleared_at", "sent_at"]
    list_filter = [("cleared_at", admin.EmptyFieldListFilter), ("raised_at", DaysFilter)]
    search_fields = ["cause", "text"]
    fields = ["cause", "text", "page", "raised_at", "cleared_at", "sent_at"]

    @display(description="state", label={"open": BAD, "cleared": QUIET})
    def state(self, alert: Alert) -> str:
        return "cleared" if alert.cleared_at else "open"

    @display(description="where to look")
    def page(self, alert: Alert) -> str:
        return format_html('<a href="{0}" class="text-primary-600">{0}</a>', alert.path) if alert.path else "–"


class JobEventInline(ReadOnlyInline):
    model = ProcrastinateEvent
    fields = ["type", "at"]
    ordering = ["id"]
    show_change_link = False


@admin.register(ProcrastinateJob)
class JobAdmin(ReadOnlyAdmin):
    """Tasks that wait, run or have failed; the finished ones are deleted. Their arguments are ids."""

    list_display = ["id", "task", "state", "queue_name", "priority", "attempts", "scheduled_at"]
    list_filter = ["status", "queue_name"]
    search_fields = ["task_name"]
    fields = [
        "task",
        "state",
        "arguments",
        "queue_name",
        "priority",
        "lock",
        "queueing_lock",
        "attempts",
        "scheduled_at",
    ]
    inlines = [JobEventInline]
    ordering = ["-id"]

    @display(description="task", ordering="task_name")
    def task(self, job: ProcrastinateJob) -> str:
        return job.task_name.rpartition(".")[2]

    @display(
        description="status", ordering="status", label={"todo": QUIET, "doing": BUSY, "failed": BAD, "succeeded": GOOD}
    )
    def state(self, job: ProcrastinateJob) -> str:
        return job.status

    @display(description="arguments")
    def arguments(self, job: ProcrastinateJob) -> str:
        return pretty_json(job.args)
