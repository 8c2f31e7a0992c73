"""One search for whatever a customer, Telegram or eSIM Go quotes. Only exact matches and beginnings, by indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet

from esimshop.search_terms import match_number, match_uuid, read_term
from orders.models import Customer, Esim, Order, Orphan, ProvisioningAttempt
from orders.services.customers import customers_meant
from payments.models import Invoice, Payment, StarTransaction

#: A search that finds more rows is no search.
MOST_FOUND = 1000
#: So many of each kind stand on the page of results.
MOST_SHOWN = 20
#: Fewer characters are the beginning of too much.
SHORTEST_BEGINNING = 8


@dataclass(frozen=True)
class Matches:
    """Rows of one model that one identifier may mean.

    what: which identifier matched, in words. is_cut: there are more.
    """

    what: str
    model: type[Model]
    rows: list[Any]
    is_cut: bool


@dataclass(frozen=True)
class Found:
    """term: as it was read. groups: none of them empty. only: the one row whose page shows it all, if there is one."""

    term: str
    groups: list[Matches]
    only: Model | None


def find_anything(text: str, *, may_view: Callable[[type[Model]], bool] = lambda model: True) -> Found:
    """What a pasted text means: an order, payment, customer or purchase at eSIM Go, by any of their identifiers.

    may_view: which models may be among the results.
    """
    term = read_term(text)
    groups = [group for group in _matches(term, may_view) if may_view(group.model)] if term else []
    return Found(term, groups, _only_row(groups, may_view))


def orders_meant(term: str) -> list[UUID]:
    """Ids of the orders that a read term may mean, at most MOST_FOUND.

    A union, each part of which has its index and its end, and read before the orders are: PostgreSQL cannot tell how
    few they are, and would read all orders to find them.
    """
    parts = [order_ids for _, order_ids in _order_parts(term)]
    by_customer = Order.objects.order_by("-created_at").filter(customer__in=_customer_ids(term))
    return _union([by_customer.values_list("pk"), *parts])


def payments_meant(term: str) -> list[int]:
    """Keys of the payments that a read term may mean, at most MOST_FOUND."""
    payments = Payment.objects.order_by()
    return _union(
        [
            *_charges(term),
            payments.filter(match_number("payer_id", term)).values_list("pk"),
            payments.filter(customer__in=_customer_ids(term)).values_list("pk"),
            payments.filter(match_uuid("order", term)).values_list("pk"),
        ]
    )


def _charges(term: str) -> list[QuerySet[Any, Any]]:
    """Keys of the payments with this charge id, its beginning, or this invoice payload."""
    payments = Payment.objects.order_by()
    return [
        _starting(payments, "charge_id", term).values_list("pk"),
        payments.filter(invoice_payload=term).values_list("pk"),
    ]


def _customer_ids(term: str) -> list[int]:
    return list(customers_meant(term).order_by().values_list("pk", flat=True)[:MOST_FOUND])


def _order_parts(term: str) -> list[tuple[str, QuerySet[Any, Any]]]:
    """What may be an order's own identifier, and the ids of the orders that have it."""
    iccid = term.replace("-", "")
    esims = _starting(Esim.objects.order_by(), "iccid", iccid) if iccid.isdecimal() else Esim.objects.none()
    charges = _starting(Payment.objects.order_by().exclude(order=None), "charge_id", term)
    return [
        ("Order id", Order.objects.order_by().filter(match_uuid("pk", term)).values_list("pk")),
        ("Charge id", charges.values_list("order")),
        ("Invoice payload", Invoice.objects.order_by().filter(payload=term).values_list("order")),
        ("ICCID", esims.values_list("order")),
        (
            "ICCID of the eSIM that is topped up",
            Order.objects.order_by().filter(top_up_esim__in=_keys(esims)).values_list("pk"),
        ),
        (
            "eSIM Go's order reference",
            _starting(ProvisioningAttempt.objects.order_by(), "reference", _as_reference(term)).values_list("order"),
        ),
    ]


def _keys(rows: QuerySet[Any]) -> list[Any]:
    return list(rows.values_list("pk", flat=True)[:MOST_FOUND])


def _as_reference(term: str) -> str:
    """eSIM Go writes its references as UUIDs in lower case; what is none stays as it is."""
    return term.lower() if set(term.lower()) <= set("0123456789abcdef-") else term


def _starting(rows: QuerySet[Any], field: str, term: str) -> QuerySet[Any]:
    """Rows whose identifier is the term or, where that is long enough to mean something, begins with it."""
    is_beginning = len(term) >= SHORTEST_BEGINNING
    return rows.filter(**{f"{field}__startswith" if is_beginning else field: term})


def _union(parts: list[QuerySet[Any, Any]]) -> list[Any]:
    first, *others = [part[:MOST_FOUND] for part in parts]
    return list(dict.fromkeys(key for (key,) in first.union(*others, all=True)))[:MOST_FOUND]


def _matches(term: str, may_view: Callable[[type[Model]], bool]) -> Iterator[Matches]:
    customers = customers_meant(term)
    yield from _group("Telegram id or @username", Customer, customers.order_by("-id"))
    for what, ids in _order_parts(term):
        meant = [order_id for (order_id,) in ids[: MOST_SHOWN + 1]]
        orders = Order.objects.filter(pk__in=meant).select_related("customer").order_by("-created_at")
        if meant:
            yield from _group(what, Order, orders)
    charges = Payment.objects.filter(pk__in=_union(_charges(term))).select_related("customer").order_by("-id")
    if may_view(Order):
        charges = charges.filter(order=None)  # The others' pages are those of their orders.
    yield from _group("Charge id or invoice payload", Payment, charges)
    reference = _starting(Orphan.objects.all(), "reference", _as_reference(term))
    yield from _group("Purchase at eSIM Go that belongs to no order", Orphan, reference | _orphans_by_iccid(term))
    ledger = StarTransaction.objects.filter(transaction_id=term, payment=None)
    yield from _group("Row of Telegram's ledger that no payment explains", StarTransaction, ledger)


def _orphans_by_iccid(term: str) -> QuerySet[Orphan]:
    iccid = term.replace("-", "")
    return _starting(Orphan.objects.all(), "iccid", iccid) if iccid.isdecimal() else Orphan.objects.none()


def _group(what: str, model: type[Model], rows: QuerySet[Any]) -> Iterator[Matches]:
    found = list(rows[: MOST_SHOWN + 1])
    if found:
        yield Matches(what, model, found[:MOST_SHOWN], len(found) > MOST_SHOWN)


def _only_row(groups: list[Matches], may_view: Callable[[type[Model]], bool]) -> Model | None:
    """The row that all matches mean; of a customer with a single order, that order."""
    rows: set[Model] = {row for group in groups for row in group.rows}
    if len(rows) != 1 or any(group.is_cut for group in groups):
        return None
    [row] = rows
    if isinstance(row, Customer) and may_view(Order):
        orders = list(row.orders.all()[:2])
        return orders[0] if len(orders) == 1 else row
    return row
