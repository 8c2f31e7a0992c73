"""From a paid order to a stored eSIM: buying at eSIM Go once, and only once.

eSIM Go has no idempotency key, so an attempt is written down before it is sent, and an outcome that is not known is
looked up before anything is bought again. One purchase or look-up is in flight per account (`purchase_lock`).

| order            | its attempt       | who moves it on, and where to              | if that process dies     |
|------------------|-------------------|--------------------------------------------|--------------------------|
| paid             | none, or closed   | its task or the sweep: provisioning        | the sweep wakes it       |
| paid             | … promise over    | the sweep: refunding                       | the next sweep           |
| provisioning     | none, or closed   | the worker that has it: buys               | lease over: the next one |
| provisioning     | … promise over    | the sweep, lease over: refunding           | the next sweep           |
| either           | … not looked up   | the sweep: needs_attention (`look_up_from`)| the next sweep           |
| provisioning     | open              | the worker: placed, rejected, or a look-up | lease over: a look-up    |
| provisioning     | open, in window   | a look-up: adopts, waits, proves absent    | lease over: once more    |
| provisioning     | open, promise over| the sweep: needs_attention                 | the next sweep           |
| provisioning     | proven absent     | the same transaction: paid, or refunding   | rolled back: once more   |
| provisioning     | placed            | fetches its eSIM: completed                | lease over: once more    |
| needs_attention  | open              | a look-up, more and more seldom: as above  | lease over: once more    |
| needs_attention  | placed            | fetches its eSIM, as seldom: completed     | lease over: once more    |
| needs_attention  | none, or closed   | looks for an earlier purchase; refunding   | lease over: once more    |
| needs_attention  | refund refused    | staff                                      |                          |
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from esimshop.clients.esimgo import EsimGoError, esimgo_client
from esimshop.logs import redact
from orders.models import Delivery, Esim, Order, ProvisioningAttempt, StaleOrder, move_order, note_event
from orders.services.claims import claim_order, look_later, renew_claim, send_back
from orders.services.deliveries import owe_delivery
from orders.services.endings import complete_order, give_up_order, stop_for_person
from orders.services.look_ups import find_earlier_purchase, look_up_attempt, slow_look
from orders.services.purchase_lock import PurchaseLock, PurchaseLockBusy, purchase_lock
from orders.services.purchases import Bought, buy_bundle
from orders.services.wholesaler_calls import kept_calls

log = structlog.get_logger(__name__)

BUSY_RETRY = timedelta(seconds=2)
FETCH_RETRY = timedelta(seconds=5)
PREPARING_AFTER = timedelta(seconds=8)
_Attempt = ProvisioningAttempt.Status


def mark_order_paid(
    order: Order, *, promise_at: datetime, actor: str, reason: str, look_up_from: datetime | None = None
) -> None:
    """Move an order whose payment is recorded to `paid` and wake the worker. Call inside the payment's transaction.

    look_up_from: where our memory may have a gap (a restored backup): what was bought since then is looked up at
                  eSIM Go before anything is bought.
    """
    from orders.tasks import provision_order_task

    move_order(
        order,
        Order.Status.PAID,
        actor=actor,
        reason=reason,
        paid_at=timezone.now(),
        promise_at=promise_at,
        look_up_from=look_up_from,
    )
    provision_order_task.defer(order_id=str(order.pk))


def provision_order(order_id: str) -> None:
    """Bring an order on: buy it at eSIM Go, look up what became of its purchase, or fetch its eSIM.

    Does nothing if the order is not due, or another worker has it. Every outcome is written down; none is raised.
    """
    structlog.contextvars.bind_contextvars(order_id=str(order_id))
    order = claim_order(order_id)
    if order is None:
        return
    with kept_calls(order.pk):
        _bring_on(order)


def _bring_on(order: Order) -> None:
    placed = order.attempts.filter(status=_Attempt.PLACED).first()
    if placed:
        bought: Bought | None = Bought(attempt=placed, install_data=None)
    else:
        try:
            with purchase_lock() as lock:
                bought = _buy_or_look_up(order, lock)
        except PurchaseLockBusy:
            _wait_for_lock(order)
            return
    if bought is not None:
        _store_esim(order, bought)


def _buy_or_look_up(order: Order, lock: PurchaseLock) -> Bought | None:
    if not renew_claim(order):
        return None
    attempt = order.attempts.filter(status__in=[_Attempt.OPEN, _Attempt.PLACED]).first()
    if attempt is not None:
        if attempt.status == _Attempt.PLACED:  # somebody's look-up adopted it meanwhile
            return Bought(attempt=attempt, install_data=None)
        return look_up_attempt(order, attempt)
    if order.look_up_from is not None:
        is_none, earlier = find_earlier_purchase(order)
        if not is_none:
            return earlier
    if order.status == Order.Status.NEEDS_ATTENTION or (order.promise_at and order.promise_at <= timezone.now()):
        close_overdue_order(str(order.pk), lease_until=order.lease_until, is_looked_up=True)
        return None
    return buy_bundle(order, lock)


def _wait_for_lock(order: Order) -> None:
    """The lock's holder takes too long: the slot is given free, and the promise goes on."""
    until = timezone.now() + BUSY_RETRY
    if order.status == Order.Status.NEEDS_ATTENTION or order.attempts.filter(status=_Attempt.OPEN).exists():
        look_later(order, until=until)
        return
    with transaction.atomic():
        reason = "another purchase takes too long"
        send_back(order, cause=order.cause or Order.Cause.UNREACHABLE, reason=reason, until=until)


def _store_esim(order: Order, bought: Bought) -> None:
    """Store the eSIM of a purchase; without its data the order stays as it is and they are fetched again later."""
    install_data, problem = bought.install_data, ""
    if install_data is None and not order.top_up_esim_id:
        assert bought.attempt.reference is not None
        try:
            install_data = next(iter(esimgo_client().get_install_data(bought.attempt.reference)), None)
        except EsimGoError as error:
            problem = redact(str(error))
    if install_data is None and not order.top_up_esim_id:
        _fetch_later(order, reason=problem or "eSIM Go has no eSIM data for the order yet")
        return
    # Only an attempt whose answer was lost has an error.
    reason = f"adopted eSIM Go's order {bought.attempt.reference}" if bought.attempt.error else ""
    try:
        complete_order(order, install_data=install_data, actor="worker", reason=reason)
    except StaleOrder:
        # Given back or settled by somebody meanwhile: never delivered, and found as an orphan.
        log.warning("bought_for_a_closed_order", reference=bought.attempt.reference)


def _fetch_later(order: Order, *, reason: str) -> None:
    if order.status == Order.Status.NEEDS_ATTENTION:
        look_later(order, until=slow_look(order))
    elif order.promise_at and order.promise_at <= timezone.now():
        with contextlib.suppress(StaleOrder):
            stop_for_person(order, cause=Order.Cause.NO_ESIM_DATA, reason=reason)
    else:
        look_later(order, until=timezone.now() + FETCH_RETRY)


# The promise


def close_overdue_order(order_id: str, *, lease_until: datetime | None, is_looked_up: bool = False) -> None:
    """Keep the promise of an order that nobody works on any more: give its Stars back where nothing was bought, and
    tell a person where nobody knows. What was bought is fetched, and a person told by who fetches it in vain.

    lease_until:  as it was read; whoever claimed the order since then keeps it.
    is_looked_up: a purchase that we may have forgotten (`look_up_from`) was looked for, and is certainly not there.
    """
    with transaction.atomic():
        order = (
            Order.objects.select_for_update(of=("self",))
            .select_related("customer", "plan")
            .filter(pk=order_id, lease_until=lease_until)
            .first()
        )
        if order is None or order.status not in {
            Order.Status.PAID,
            Order.Status.PROVISIONING,
            Order.Status.NEEDS_ATTENTION,
        }:
            return
        attempt = order.attempts.filter(status__in=[_Attempt.OPEN, _Attempt.PLACED]).first()
        may_be_forgotten = attempt is None and order.look_up_from is not None and not is_looked_up
        if may_be_forgotten and order.status == Order.Status.PAID:
            move_order(order, Order.Status.PROVISIONING, actor="clock", reason="an earlier purchase may be its own")
        if attempt is None and not may_be_forgotten:
            is_over = order.promise_at is not None and order.promise_at <= timezone.now()
            cause = order.cause if order.status == Order.Status.PAID else Order.Cause.NONE
            give_up_order(
                order,
                cause=cause or Order.Cause.PROMISE_MISSED,
                actor="clock",
                reason="the promised time is over" if is_over else "nothing was bought",
            )
        elif order.status == Order.Status.PROVISIONING and (attempt is None or attempt.status == _Attempt.OPEN):
            stop_for_person(
                order,
                cause=Order.Cause.OUTCOME_UNKNOWN,
                actor="clock",
                reason="the promised time is over, and nobody knows whether it was bought",
            )


def stop_purchase(order: Order, *, actor: str, reason: str) -> bool:
    """Buy nothing for an order whose Stars are gone: it keeps its state until its promise, which closes it.

    Call inside a transaction. Returns whether it came in time, before the purchase was sent.
    """
    order = Order.objects.select_for_update().get(pk=order.pk)
    maybe_bought = [_Attempt.OPEN, _Attempt.PLACED]
    if (
        order.status not in {Order.Status.PAID, Order.Status.PROVISIONING}
        or order.attempts.filter(status__in=maybe_bought).exists()
    ):
        return False
    # A worker that has the order already sees its lease gone when it is about to buy.
    Order.objects.filter(pk=order.pk).update(next_try_at=order.promise_at, lease_until=order.promise_at)
    note_event(order, actor=actor, reason=reason)
    return True


# After the purchase


def set_customer_ref(esim_id: int) -> None:
    """Write our order id on the eSIM at eSIM Go, so that no eSIM we bought is without its order.

    Raises: EsimGoError (the queue, and later the sweep, tries again).
    """
    esim = Esim.objects.get(pk=esim_id)
    if esim.referenced_at:
        return
    with kept_calls(esim.order_id):
        esimgo_client().set_customer_ref(iccid=esim.iccid, reference=str(esim.order_id))
    Esim.objects.filter(pk=esim_id).update(referenced_at=timezone.now())


# The sweeps


def sweep_orders(*, limit: int = 500) -> int:
    """Close what is over, and wake every order whose task died or whose time has come. Returns how many."""
    from orders.tasks import provision_order_task

    now = timezone.now()
    for pk, lease_until in _overdue_orders(now)[:limit]:
        close_overdue_order(str(pk), lease_until=lease_until)
    _announce_preparations(now)
    # A fresh payment has its own task: only what has lain for a while is woken here.
    promised = Order.objects.promised().filter(paid_at__lte=now - timedelta(seconds=10))
    waiting = Order.objects.filter(status=Order.Status.NEEDS_ATTENTION, next_try_at__lte=now)
    queued = ProcrastinateJob.objects.filter(status="todo", task_name=provision_order_task.name)
    already = {job["order_id"] for job in queued.values_list("args", flat=True)}
    due = (promised | waiting).exclude(next_try_at__gt=now).exclude(lease_until__gt=now)
    ids = [str(pk) for pk in due.order_by("paid_at").values_list("pk", flat=True)[:limit]]
    woken = [pk for pk in ids if pk not in already]
    for pk in woken:
        provision_order_task.defer(order_id=pk)
    return len(woken)


def _overdue_orders(now: datetime) -> list[tuple[object, datetime | None]]:
    placed = ProvisioningAttempt.objects.filter(order=OuterRef("pk"), status=_Attempt.PLACED)
    over = Order.objects.promised().filter(promise_at__lte=now).exclude(Exists(placed))
    return list(
        over.filter(Q(status=Order.Status.PAID) | Q(lease_until=None) | Q(lease_until__lte=now))
        .order_by("promise_at")
        .values_list("pk", "lease_until")
    )


def _announce_preparations(now: datetime) -> None:
    """Owe a word to whoever has waited for a while; an eSIM that comes at once comes without it."""
    announced = Delivery.objects.filter(order=OuterRef("pk"), kind=Delivery.Kind.PREPARING)
    waiting = Order.objects.promised().filter(paid_at__lte=now - PREPARING_AFTER, promise_at__gt=now)
    for order in waiting.exclude(Exists(announced)).select_related("customer"):
        with contextlib.suppress(IntegrityError), transaction.atomic():  # another sweep was faster
            owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.PREPARING)


def sweep_customer_refs(*, limit: int = 100) -> int:
    """Try again to write our order ids on eSIMs, after the tasks of their purchases gave up. Returns how many."""
    from orders.tasks import set_customer_ref_task

    unreferenced = Esim.objects.filter(referenced_at=None, created_at__lte=timezone.now() - timedelta(minutes=10))
    ids = list(unreferenced.order_by("pk").values_list("pk", flat=True)[:limit])
    for pk in ids:
        set_customer_ref_task.defer(esim_id=pk)
    return len(ids)
