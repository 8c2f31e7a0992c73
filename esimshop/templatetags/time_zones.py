"""The time zone of a page of the back office."""

from __future__ import annotations

from django import template
from django.utils import timezone

register = template.Library()


@register.inclusion_tag("admin/time_zone.html")
def time_zone_select() -> dict[str, str]:
    """In which time zone the page shows times, and a list to choose another from."""
    # By its key: Django's own tag names zones such as Etc/GMT+3 by their offset, which is no name.
    return {"zone": str(timezone.get_current_timezone())}
