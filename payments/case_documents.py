"""A case as its customer sees it over HTTP: without what staff tell each other."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext

from orders.documents import rfc3339
from orders.messages import plan_title
from orders.models import Customer
from payments.models import Case, CaseMessage

_AUTHORS = {
    CaseMessage.Author.CUSTOMER: "customer",
    CaseMessage.Author.STAFF: "support",
    CaseMessage.Author.SHOP: "shop",
}
#: What stands before the caption of a picture, a voice …: words for staff.
_ATTACHED = re.compile(r"^\[sent [a-z ]+\] ?")


def customer_cases(customer: Customer | None) -> QuerySet[Case]:
    """A customer's cases, the latest first, with what `describe_case` needs."""
    told = CaseMessage.objects.filter(is_internal=False).exclude(text="").order_by("pk")
    cases = Case.objects.filter(customer=customer).select_related("order", "payment").order_by("-updated_at", "-pk")
    return cases.prefetch_related(Prefetch("messages", queryset=told))


def describe_case(case: Case, language: str) -> dict[str, Any]:
    """The case in the shape of CaseSerializer, in the active language; without queries for one of `customer_cases`."""
    # Of another's order, whose invoice was paid by this customer, they see nothing.
    order = case.order if case.order and case.order.customer_id == case.customer_id else None
    if order is not None:
        title = plan_title(order, language=language)
    else:
        title = gettext("Payment without an order") if case.payment else gettext("A question")
    return {
        "case_id": case.pk,
        "status": case.status,
        "reason": case.reason,
        "title": title,
        "order_id": str(order.pk) if order else None,
        "opened_at": rfc3339(case.opened_at),
        "updated_at": rfc3339(case.updated_at),
        "messages": [
            {
                "author": _AUTHORS[CaseMessage.Author(line.author)],
                "text": _words(case, line),
                "at": rfc3339(line.created_at),
            }
            for line in case.messages.all()
        ],
    }


def _words(case: Case, line: CaseMessage) -> str:
    """What a line says to its customer: their presses of buttons are kept in words for staff."""
    if line.author != CaseMessage.Author.CUSTOMER:
        return line.text
    if line.update_id is not None:
        return _ATTACHED.sub("📎 ", line.text).strip()
    if line.after == Case.Status.CLOSED:
        return gettext("It is settled.")
    wish = {
        Case.Wish.HELP: gettext("I need help."),
        Case.Wish.REFUND: gettext("I want my Stars back."),
    }[Case.Wish(case.wish)]
    reason = {
        Case.Reason.NOT_RECEIVED: gettext("I paid, but no eSIM came."),
        Case.Reason.DOES_NOT_WORK: gettext("The eSIM does not work."),
        Case.Reason.NOT_NEEDED: gettext("I do not need it, or bought it by mistake."),
        Case.Reason.OTHER: "",
    }[Case.Reason(case.reason)]
    return f"{wish} {reason}".strip()
