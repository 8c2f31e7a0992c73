"""Orders that a restored backup does not know, made anew from what Telegram and eSIM Go know of them.

eSIM Go has the id of each order on its eSIM, and Telegram's ledger the payload of its invoice, which follows from that
id (`payload_of`). Where both fit, the charge paid for that eSIM, and nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from catalog.models import Plan
from catalog.titles import describe_plan
from esimshop.clients.esimgo import EsimGoError
from esimshop.languages import LANGUAGES
from esimshop.logs import redact
from orders.models import Order, Orphan, note_event
from orders.services.orphans import OrphanRefused, adopt_orphan
from payments.models import Invoice, Payment, note_payment_event, payload_of
from payments.services.held_charges import held_charges
from payments.services.refunds import lock_payment

log = structlog.get_logger(__name__)


@dataclass
class Recovery:
    """What came of it.

    recovered: ids of orders that were made anew, with their charges and eSIMs.
    stopped:   of orders that were made anew, whose eSIMs could not be taken: a person has them, the text says why.
    held:      charge ids for which no eSIM of ours at eSIM Go was bought, as far as it names its order.
    nameless:  purchases at eSIM Go that name no order and wait for a decision: one of the charges may be theirs.
    """

    recovered: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)


def recover_lost_orders(*, actor: str, dry_run: bool = False) -> Recovery:
    """Bring the held charges of lost orders and the eSIMs that were bought for them together again.

    Run it after both books were reconciled. The worker sends each customer the eSIM once more. Nothing is bought.
    """
    recovery = Recovery()
    waiting = Orphan.objects.filter(status=Orphan.Status.OPEN).order_by("pk")
    for orphan in waiting.exclude(named_order_id=None):
        payment = _payment_for(orphan)
        plan = Plan.objects.filter(bundle_name=orphan.bundle_name).first()
        if payment is None or plan is None:
            continue
        if dry_run:
            recovery.recovered.append(str(orphan.named_order_id))
            continue
        order = _make_anew(orphan, payment, plan, actor=actor)
        if order is None:
            continue
        try:
            adopt_orphan(orphan, order=order, actor=actor, reason="its lost order was made anew")
        except (OrphanRefused, EsimGoError) as error:
            recovery.stopped[str(order.pk)] = redact(str(error))
        else:
            recovery.recovered.append(str(order.pk))
            log.info("order_recovered", order_id=str(order.pk), charge_id=payment.charge_id)
    recovery.held = list(held_charges().order_by("pk").values_list("charge_id", flat=True))
    recovery.nameless = [str(orphan) for orphan in waiting.filter(named_order_id=None)]
    return recovery


def _payment_for(orphan: Orphan) -> Payment | None:
    """The held charge of the order that eSIM Go names, if that order is lost."""
    assert orphan.named_order_id is not None
    if Order.objects.filter(pk=orphan.named_order_id).exists():
        return None
    payloads = [payload_of(orphan.named_order_id, key=key) for key in settings.DATA_KEYS]
    lost = held_charges().filter(extra_reason=Payment.ExtraReason.UNKNOWN_INVOICE, invoice_payload__in=payloads)
    return lost.order_by("charged_at", "pk").first()


@transaction.atomic
def _make_anew(orphan: Orphan, payment: Payment, plan: Plan, *, actor: str) -> Order | None:
    """The order, or None where somebody has decided about the charge meanwhile."""
    now = timezone.now()
    payment = lock_payment(payment.pk)
    if not held_charges().filter(pk=payment.pk).exists():
        return None
    order = Order.objects.create(
        id=orphan.named_order_id,
        customer=payment.customer,
        plan=plan,
        bought_plan={language: describe_plan(plan, language=language) for language in LANGUAGES},
        status=Order.Status.NEEDS_ATTENTION,
        amount_stars=payment.amount_stars,
        cost_usd=orphan.total_usd or plan.wholesale_usd,
        quote_expires_at=payment.charged_at,
        created_at=payment.charged_at,
        paid_at=payment.charged_at,
        promise_at=now,
        # Whatever happens to it: its purchase is there.
        look_up_from=payment.charged_at,
    )
    Invoice.objects.create(order=order, payload=payment.invoice_payload)
    Payment.objects.filter(pk=payment.pk).update(
        kind=Payment.Kind.ORDER, extra_reason=Payment.ExtraReason.NONE, order=order
    )
    told = "the order was lost with the books, and made anew from Telegram's ledger and eSIM Go's orders"
    note_event(order, actor=actor, reason=told)
    note_payment_event(payment, actor=actor, reason=told)
    return order
