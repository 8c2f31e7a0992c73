"""The admin of what every app shares: alerts, tasks, staff."""

from __future__ import annotations

import procrastinate.contrib.django.admin  # noqa: F401  registers what is registered anew below
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.utils.html import format_html
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from esimshop.back_office import BAD, BUSY, GOOD, QUIET, ReadOnlyAdmin, ReadOnlyInline, pretty_json
from esimshop.list_filters import DaysFilter
from esimshop.models import Alert

# Registered so far in Django's own look.
admin.site.unregister([User, Group, ProcrastinateJob])


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_per_page = 50


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


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
