"""What a list is filtered by, in templates."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.simple_tag
def active_filters(changelist: Any) -> list[dict[str, str]]:
    """The filters in force: title, value in words, and the address of the list without it."""
    active = []
    for spec in changelist.filter_specs:
        names = [name for name in spec.expected_parameters() if name]
        given = {name: changelist.params[name] for name in names if changelist.params.get(name)}
        if hasattr(spec, "used_parameters"):
            given |= {name: value for name, value in spec.used_parameters.items() if value not in (None, "", [])}
        if given:
            active.append(
                {
                    "title": str(spec.title),
                    "value": _in_words(spec, changelist, given),
                    "without": changelist.get_query_string(remove=list(given)),
                }
            )
    return active


def _in_words(spec: Any, changelist: Any, given: dict[str, Any]) -> str:
    ends = {name.rpartition("_")[2]: _text(value) for name, value in given.items()}
    if ends.keys() <= {"from", "to"}:
        return " ".join(f"{end} {ends[end]}" for end in ("from", "to") if end in ends)
    for choice in spec.choices(changelist):
        if choice.get("selected") and choice.get("display"):
            return str(choice["display"])
    related = getattr(getattr(spec, "field", None), "related_model", None)
    if related is None:
        return ", ".join(_text(value) for value in given.values())
    row = related._default_manager.filter(pk__in=[_text(value) for value in given.values()]).first()
    return str(row or "unknown")


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
