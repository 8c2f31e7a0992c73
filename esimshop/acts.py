"""What staff may do: each act once, with its permission, its preview and the one service that it calls.

An app declares its acts in a module of its own and registers them; the admin shows a button where an act suits the
row's state, asks for a reason on a page that says what will happen (`esimshop.act_views`), and reports row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Model, QuerySet
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget

LONGEST_REASON = 500


class ActRefused(Exception):
    """The act cannot be done now; the text says why, in words for staff. Nothing changed."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What an act will do to a row, in sentences for the confirmation page.

    what:    what happens, also to the customer.
    cost:    what it costs the shop; empty: nothing.
    warning: what may go wrong or cannot be undone.
    """

    what: str
    cost: str = ""
    warning: str = ""


class ReasonForm(forms.Form):
    """Why it is done; kept in the timeline."""

    reason = forms.CharField(
        max_length=LONGEST_REASON,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the timeline with your name. No secrets of customers.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # First what is chosen, then why.
        self.fields["reason"] = self.fields.pop("reason")


class Act:
    """One thing that staff can do to a row, or to the shop where `model` is None.

    name:        in the address and the log.
    listed_with: of an act on the shop: the model whose list shows its button, and to which it leads back.
    permission:  what it takes to press it.
    refusals:    exceptions of its service that mean ActRefused; their texts are for staff.
    is_bulk:     also offered for many rows.
    """

    name: str
    label: str
    icon: str = "bolt"
    model: type[Model] | None = None
    listed_with: type[Model] | None = None
    permission: str
    refusals: tuple[type[Exception], ...] = ()
    form_class: type[ReasonForm] = ReasonForm
    is_bulk: bool = True
    is_dangerous: bool = False

    def suits(self, row: Any) -> bool:
        """Whether it makes sense in the row's state. Asks nobody outside."""
        return True

    def preview(self, row: Any) -> Preview:
        """What will happen. May ask outside services. Raises: ActRefused where it cannot be done now."""
        raise NotImplementedError

    def perform(self, row: Any, *, user: User, reason: str, values: dict[str, Any]) -> str:
        """Do it by one service. Returns what came of it, in a sentence. Raises: ActRefused.

        values: of the further fields of `form_class`.
        """
        raise NotImplementedError

    def make_form(self, rows: list[Any], data: Any = None) -> ReasonForm:
        """The confirmation page's form, for these rows."""
        return self.form_class(data)

    def rows_of_cause(self, cause: str) -> QuerySet[Any] | None:
        """All rows that wait for this act for one cause; None where rows have no cause."""
        return None


_acts: dict[str, Act] = {}


def register_act(act: Act) -> None:
    """Offer an act in the admin. Raises: ValueError where another has its name."""
    if act.name in _acts:
        raise ValueError(f"There is an act {act.name} already.")
    _acts[act.name] = act


def find_act(name: str) -> Act | None:
    """The registered act of that name."""
    return _acts.get(name)


def all_acts() -> list[Act]:
    """Every registered act, by name."""
    return [_acts[name] for name in sorted(_acts)]


def may_perform(act: Act, user: User | AnonymousUser) -> bool:
    """Whether this member of staff may press it."""
    return user.has_perm(act.permission)


def acts_on(model: type[Model] | None, user: User | AnonymousUser) -> list[Act]:
    """The acts that a member of staff may do to rows of a model, in the order they were registered."""
    return [act for act in _acts.values() if act.model is model and may_perform(act, user)]


def acts_for(row: Model, user: User | AnonymousUser) -> list[Act]:
    """The acts that make sense for a row now, and that this member of staff may do."""
    return [act for act in acts_on(type(row), user) if act.suits(row)]


def act_url(act: Act, *rows: Model) -> str:
    """The confirmation page of an act for these rows."""
    url = reverse("admin-act", args=[act.name])
    return f"{url}?{urlencode({'id': [row.pk for row in rows]}, doseq=True)}" if rows else url


def actor_of(user: User) -> str:
    """How a member of staff stands in events."""
    return f"admin:{user.get_username()}"
