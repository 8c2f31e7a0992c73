"""Our books beside the outside world's own: where each charge ended, and what was bought for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orders.models import Delivery, Esim, Order, Orphan, ProvisioningAttempt
from payments.models import Payment, Refund, TelegramUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]

ZEROS = ("lost", "bought twice", "orphans", "refunded and delivered", "refunds that differ", "not delivered")


@dataclass
class Books:
    """What a comparison found.

    ends:   charges by where they ended: completed, refunded, needs_attention.
    faults: by the names in ZEROS, a line for each case; all of them must be empty.
    """

    charges: int = 0
    bought: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def attention_percent(self) -> float:
        return 100 * self.ends["needs_attention"] / self.charges if self.charges else 0.0

    @property
    def is_clean(self) -> bool:
        return not any(self.faults[name] for name in ZEROS)


def count_unfinished(ledger: Json) -> dict[str, int]:
    """What still moves by itself, by name; empty when everything has settled.

    An order with a person is settled; see `count_look_ups`.
    """
    recorded = set(Payment.objects.values_list("charge_id", flat=True))
    counts = {
        "updates on their way": len(ledger["pending_updates"]),
        "charges not recorded": sum(row["id"] not in recorded for row in _charges(ledger)),
        "orders": Order.objects.unfinished().count(),
        "refunds": Refund.objects.filter(status=Refund.Status.PENDING).count(),
        "messages": Delivery.objects.filter(status=Delivery.Status.PENDING).count(),
        "messages for the blocked": Delivery.objects.filter(status=Delivery.Status.BLOCKED).count(),
        "updates": TelegramUpdate.objects.exclude(status="handled").filter(next_try_at__isnull=False).count(),
    }
    return {name: count for name, count in counts.items() if count}


def count_look_ups() -> int:
    """Purchases that machines go on looking up although a person was told."""
    return ProvisioningAttempt.objects.filter(
        status=ProvisioningAttempt.Status.OPEN, order__status=Order.Status.NEEDS_ATTENTION
    ).count()


def compare(ledger: Json) -> Books:
    """Compare our database with GET /sandbox/ledger."""
    books = Books(charges=len(_charges(ledger)), bought=len(ledger["orders"]))
    payments = {
        payment.charge_id: payment
        for payment in Payment.objects.select_related("order").prefetch_related("order__esims", "order__attempts")
    }
    refunded_there = Counter(row["id"] for row in ledger["transactions"] if "receiver" in row)
    for row in _charges(ledger):
        _follow_charge(books, row, payments.get(row["id"]), refunded_there[row["id"]])
    for charge_id in payments.keys() - {row["id"] for row in _charges(ledger)}:
        books.faults["lost"].append(f"payment {charge_id[:12]}… is not in Telegram's ledger")
    _follow_purchases(books, ledger["orders"])
    return books


def _charges(ledger: Json) -> list[Json]:
    return [row for row in ledger["transactions"] if row.get("source", {}).get("transaction_type") == "invoice_payment"]


def _follow_charge(books: Books, row: Json, payment: Payment | None, refunds: int) -> None:
    name = f"charge {row['id'][:12]}…"
    if payment is None:
        books.faults["lost"].append(f"{name}: no payment")
        return
    order = payment.order
    name += f" of order {order.pk} ({order.status}, {order.cause or 'no cause'})" if order else ""
    if payment.amount_stars != row["amount"]:
        books.faults["lost"].append(f"{name}: {row['amount']} Stars there, {payment.amount_stars} here")
    is_refunded = payment.status == Payment.Status.REFUNDED
    if refunds != is_refunded:
        books.faults["refunds that differ"].append(f"{name}: refunded {refunds} times there, {payment.status} here")
    pays_order = payment.kind == Payment.Kind.ORDER and order is not None
    if is_refunded:
        books.ends["refunded"] += 1
    elif payment.status == Payment.Status.REFUND_FAILED or (pays_order and order.status == "needs_attention"):
        books.ends["needs_attention"] += 1
    elif pays_order and order.status == "completed" and payment.status == Payment.Status.PAID:
        books.ends["completed"] += 1
        _follow_delivery(books, name, order)
    else:
        books.faults["lost"].append(f"{name}: {payment.kind}, {payment.status}")
    if pays_order and is_refunded:
        held = [attempt for attempt in order.attempts.all() if attempt.status == ProvisioningAttempt.Status.PLACED]
        if held or order.esims.all() or order.status != Order.Status.REFUNDED:
            books.faults["refunded and delivered"].append(f"{name}: {len(held)} purchases held")


def _follow_delivery(books: Books, name: str, order: Order) -> None:
    is_sent = order.deliveries.filter(kind=Delivery.Kind.ESIM, status=Delivery.Status.SENT).exists()
    if not is_sent or (not order.esims.all() and order.top_up_esim_id is None):
        books.faults["not delivered"].append(name)


def _follow_purchases(books: Books, sold: Iterable[Json]) -> None:
    """Every order at the wholesaler has one of ours, or is on the list of orphans, or a person is on it."""
    orders_of = dict(ProvisioningAttempt.objects.exclude(reference=None).values_list("reference", "order_id"))
    listed = dict(Orphan.objects.exclude(reference=None).values_list("reference", "order_id"))
    iccids = dict(Esim.objects.values_list("iccid", "order_id"))
    with_person = Counter(
        ProvisioningAttempt.objects.filter(
            status=ProvisioningAttempt.Status.OPEN, order__status=Order.Status.NEEDS_ATTENTION
        ).values_list("bundle_name", flat=True)
    )
    bought: Counter[Any] = Counter()
    for each in sold:
        reference, [line] = each["orderReference"], each["order"]
        order_id = orders_of.get(reference) or listed.get(reference)
        if order_id:
            bought[order_id] += 1
        for esim in line.get("esims", []):
            if iccids.get(esim["iccid"], order_id) != order_id:
                books.faults["bought twice"].append(f"{reference}: its eSIM is another order's")
        if reference in orders_of or reference in listed:
            continue
        if with_person[line["item"]] > 0:
            with_person[line["item"]] -= 1
        else:
            books.faults["orphans"].append(f"{reference}: {line['item']} at {each['createdDate']}")
    for order_id, times in bought.items():
        if times > 1:
            books.faults["bought twice"].append(f"order {order_id}: {times} purchases")
