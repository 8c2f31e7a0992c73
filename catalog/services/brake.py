"""The sales brake: causes for which sales pause by themselves, and resume by themselves."""

from __future__ import annotations

from django.utils import timezone

from catalog.models import SalesPause


def pause_sales(*, cause: str, reason: str) -> None:
    """Pause sales for a cause, unless they are paused for it already."""
    SalesPause.objects.get_or_create(cause=cause, ended_at=None, defaults={"reason": reason})


def resume_sales(*, cause: str) -> None:
    """End the pause of a cause, if there is one."""
    SalesPause.objects.filter(cause=cause, ended_at=None).update(ended_at=timezone.now())
