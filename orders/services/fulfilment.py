"""From a paid order to a stored eSIM: buying at eSIM Go once, and only once.

eSIM Go has no idempotency key, so an attempt is written down before it is sent, and an outcome that is not known
is never tried again blindly. One purchase is in flight per account (an advisory lock), in whatever process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from catalog.models import WholesalerAccount
from esimshop.alerts import clear_alert, raise_alert
from esimshop.clients.esimgo import (
    EsimGoError,
    EsimGoOutcomeUnknown,
    EsimGoRejected,
    EsimGoUnreachable,
    InstallData,
    PlacedOrder,
    esimgo_client,
)
from esimshop.logs import redact
from orders.models import Delivery, Esim, Order, ProvisioningAttempt, StaleOrder, move_order, note_event
from orders.services.deliveries import owe_delivery

log = structlog.get_logger(__name__)

#: Shared by all processes that buy from one account.
PURCHASE_LOCK = 0x6553494D
ACCOUNT_ALERT = "esimgo_account"
RETRY_SECONDS = 20


def give_up_order(order: Order, *, cause: str, actor: str, reason: str) -> None:
    """Return the Stars of an order that cannot be fulfilled; `payments` puts its service here when it is ready.

    Called inside a transaction; moves the order to `refunding`.
    """
    raise RuntimeError("payments has not registered its refund")


def mark_order_paid(order: Order, *, promise_at: object, actor: str, reason: str) -> None:
    """Move an order whose payment is recorded to `paid` and wake the worker. Call inside the payment's transaction."""
    from orders.tasks import provision_order_task

    move_order(order, Order.Status.PAID, actor=actor, reason=reason, paid_at=timezone.now(), promise_at=promise_at)
    provision_order_task.defer(order_id=str(order.pk))


def provision_order(order_id: str) -> None:
    """Buy a paid order at eSIM Go and store its eSIM.

    Does nothing if the order is not due, or another worker has it. Every outcome is written down; none is raised.
    """
    structlog.contextvars.bind_contextvars(order_id=str(order_id))
    order = _claim_order(order_id)
    if order is None:
        return
    placed = order.attempts.filter(status=ProvisioningAttempt.Status.PLACED).first()
    if placed:
        _fetch_install_data(order, placed)
        return
    if order.attempts.filter(status=ProvisioningAttempt.Status.OPEN).exists():
        _stop_unknown(order, reason="a worker died while it was buying")
        return
    with _purchase_lock():
        if order.promise_at and order.promise_at <= timezone.now():
            _miss_promise(order)
            return
        attempt = _open_attempt(order)
        if attempt is not None:
            _buy(order, attempt)


def _claim_order(order_id: str) -> Order | None:
    """Take a due order for this worker.

    A `paid` one becomes `provisioning`; a `provisioning` one whose lease is over is resumed.
    """
    now = timezone.now()
    order = Order.objects.select_related("customer", "plan", "top_up_esim").filter(pk=order_id).first()
    if order is None:
        return None
    if order.status == Order.Status.PAID and order.promise_at and order.promise_at <= now:
        _miss_promise(order)
        return None
    if order.next_try_at and order.next_try_at > now:
        return None
    lease_until = now + _lease()
    if order.status == Order.Status.PAID:
        try:
            move_order(order, Order.Status.PROVISIONING, actor="worker", lease_until=lease_until, next_try_at=None)
        except StaleOrder:
            return None
        return order
    if order.status == Order.Status.PROVISIONING and (order.lease_until is None or order.lease_until <= now):
        taken = Order.objects.filter(pk=order.pk, status=order.status, lease_until=order.lease_until).update(
            lease_until=lease_until, next_try_at=None
        )
        order.lease_until = lease_until
        return order if taken else None
    return None


def _lease() -> timedelta:
    """Longer than waiting for the lock and one call may take."""
    return timedelta(seconds=3 * settings.ESIMGO_TIMEOUT + 30)


@contextlib.contextmanager
def _purchase_lock() -> Iterator[None]:
    """Hold the account's purchase lock on a connection of its own, and keep ESIMGO_ORDER_INTERVAL between purchases."""
    params = connection.get_connection_params()
    for django_only in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(django_only, None)
    with psycopg.connect(**params, autocommit=True) as direct:
        direct.execute("SELECT pg_advisory_lock(%s)", [PURCHASE_LOCK])
        _keep_interval()
        yield


def _keep_interval() -> None:
    if not settings.ESIMGO_ORDER_INTERVAL:
        return
    last = ProvisioningAttempt.objects.order_by("-started_at").values_list("started_at", flat=True).first()
    if last:
        since = (timezone.now() - last).total_seconds()
        time.sleep(min(max(0.0, settings.ESIMGO_ORDER_INTERVAL - since), settings.ESIMGO_ORDER_INTERVAL))


def _open_attempt(order: Order) -> ProvisioningAttempt | None:
    """Write the attempt down, if the order is still this worker's."""
    with transaction.atomic():
        mine = Order.objects.select_for_update().filter(
            pk=order.pk, status=Order.Status.PROVISIONING, lease_until=order.lease_until
        )
        if not mine.exists():
            return None
        lease_until = timezone.now() + _lease()
        mine.update(lease_until=lease_until)
        order.lease_until = lease_until
        return ProvisioningAttempt.objects.create(order=order, bundle_name=order.plan.bundle_name)


def _buy(order: Order, attempt: ProvisioningAttempt) -> None:
    try:
        placed = esimgo_client().place_order(
            bundle_name=attempt.bundle_name,
            iccid=order.top_up_esim.iccid if order.top_up_esim else None,
            started_at=attempt.started_at,
        )
    except EsimGoRejected as error:
        if error.is_account_level:
            _wait(order, attempt, error=error, cause=Order.Cause.ACCOUNT, seconds=RETRY_SECONDS)
            raise_alert(
                cause=ACCOUNT_ALERT,
                text=f"eSIM Go refuses our account: {error}. Paid orders wait and are refunded at their promise. "
                "Check key, IP allow-list and balance in eSIM Go's portal.",
                path="/admin/orders/order/",
            )
        else:
            _refuse(order, attempt, error=error)
    except EsimGoUnreachable as error:
        seconds = max(1, int(error.retry_after or RETRY_SECONDS))
        _wait(order, attempt, error=error, cause=Order.Cause.UNREACHABLE, seconds=seconds)
    except EsimGoOutcomeUnknown as error:
        ProvisioningAttempt.objects.filter(pk=attempt.pk).update(error=redact(str(error)))
        _stop_unknown(order, reason=redact(str(error)))
    else:
        clear_alert(cause=ACCOUNT_ALERT)
        _store_placed(order, attempt, placed)


def _wait(order: Order, attempt: ProvisioningAttempt, *, error: EsimGoError, cause: str, seconds: int) -> None:
    """A certain "not now": nothing was bought, the order waits inside its promise."""
    with transaction.atomic():
        _close_rejected(attempt, error)
        move_order(
            order,
            Order.Status.PAID,
            actor="worker",
            reason=redact(str(error)),
            cause=cause,
            lease_until=None,
            next_try_at=timezone.now() + timedelta(seconds=seconds),
        )


def _refuse(order: Order, attempt: ProvisioningAttempt, *, error: EsimGoError) -> None:
    """A certain no for this bundle: the Stars go back."""
    with transaction.atomic():
        _close_rejected(attempt, error)
        give_up_order(order, cause=Order.Cause.SOLD_OUT, actor="worker", reason=redact(str(error)))


def _miss_promise(order: Order) -> None:
    """The promised time passed before anything was bought: the Stars go back."""
    with contextlib.suppress(StaleOrder), transaction.atomic():
        give_up_order(
            order,
            cause=order.cause or Order.Cause.PROMISE_MISSED,
            actor="clock",
            reason="the promised time is over",
        )


def _close_rejected(attempt: ProvisioningAttempt, error: EsimGoError) -> None:
    ProvisioningAttempt.objects.filter(pk=attempt.pk).update(
        status=ProvisioningAttempt.Status.REJECTED, error=redact(str(error)), finished_at=timezone.now()
    )


def _stop_unknown(order: Order, *, reason: str) -> None:
    """It may have been bought: a person looks it up at eSIM Go before anything is bought again."""
    stop_for_person(order, cause=Order.Cause.OUTCOME_UNKNOWN, reason=reason)


def stop_for_person(order: Order, *, cause: str, reason: str, actor: str = "worker") -> None:
    """Move an order to `needs_attention`, tell the operators and the customer."""
    with transaction.atomic():
        move_order(
            order,
            Order.Status.NEEDS_ATTENTION,
            actor=actor,
            reason=reason,
            cause=cause,
            lease_until=None,
            next_try_at=None,
        )
        owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.ATTENTION)
        raise_alert(
            cause=f"order:{order.pk}",
            text=f"Order {order.pk} needs a person ({Order.Cause(cause).label}): {reason}. "
            "Look it up at eSIM Go before buying again.",
            path=f"/admin/orders/order/{order.pk}/change/",
        )


def stop_purchase(order: Order, *, actor: str, reason: str) -> bool:
    """Buy nothing for an order whose Stars are gone: it keeps its state until its promise, which closes it.

    Call inside a transaction. Returns whether it came in time, before the purchase was sent.
    """
    order = Order.objects.select_for_update().get(pk=order.pk)
    maybe_bought = [ProvisioningAttempt.Status.OPEN, ProvisioningAttempt.Status.PLACED]
    if (
        order.status not in {Order.Status.PAID, Order.Status.PROVISIONING}
        or order.attempts.filter(status__in=maybe_bought).exists()
    ):
        return False
    # A worker that has the order already sees its lease gone when it is about to buy.
    Order.objects.filter(pk=order.pk).update(next_try_at=order.promise_at, lease_until=order.promise_at)
    note_event(order, actor=actor, reason=reason)
    return True


def _store_placed(order: Order, attempt: ProvisioningAttempt, placed: PlacedOrder) -> None:
    """Keep the reference first, then the eSIM; without its data the order stays `provisioning` and is tried again."""
    # Committed by itself: whatever goes wrong with the eSIM, what was bought is known.
    ProvisioningAttempt.objects.filter(pk=attempt.pk).update(
        status=ProvisioningAttempt.Status.PLACED,
        reference=placed.reference,
        cost_usd=placed.total_usd,
        finished_at=timezone.now(),
    )
    if placed.balance_usd is not None:
        WholesalerAccount.objects.filter(pk=1).update(balance_usd=placed.balance_usd, read_at=timezone.now())
    if placed.esims or order.top_up_esim_id:
        complete_order(order, install_data=placed.esims[0] if placed.esims else None, actor="worker")
        return
    attempt.reference = placed.reference
    _fetch_install_data(order, attempt)


def _fetch_install_data(order: Order, attempt: ProvisioningAttempt) -> None:
    """Read the eSIM of a purchase whose answer came without it; try again later where it is not there yet."""
    assert attempt.reference is not None
    try:
        found = esimgo_client().get_install_data(attempt.reference)
    except EsimGoError as error:
        found, reason = [], redact(str(error))
    else:
        reason = "the wholesaler has no eSIM data for the order yet"
    if found:
        complete_order(order, install_data=found[0], actor="worker")
    elif order.promise_at and order.promise_at <= timezone.now():
        stop_for_person(order, cause=Order.Cause.NO_ESIM_DATA, reason=reason)
    else:
        now = timezone.now()
        Order.objects.filter(pk=order.pk, status=Order.Status.PROVISIONING).update(
            lease_until=now, next_try_at=now + timedelta(seconds=5)
        )


def complete_order(order: Order, *, install_data: InstallData | None, actor: str) -> None:
    """Store the eSIM of a purchase, complete its order and owe the customer the QR code.

    install_data: None only for a top-up, whose eSIM we have.
    """
    from orders.tasks import set_customer_ref_task

    with transaction.atomic():
        move_order(
            order,
            Order.Status.COMPLETED,
            actor=actor,
            completed_at=timezone.now(),
            lease_until=None,
            next_try_at=None,
            cause=Order.Cause.NONE,
        )
        if install_data and not (order.top_up_esim and order.top_up_esim.iccid == install_data.iccid):
            esim = Esim.objects.create(
                iccid=install_data.iccid,
                order=order,
                customer=order.customer,
                smdp_address=install_data.smdp_address,
                matching_id=install_data.matching_id,
            )
            set_customer_ref_task.defer(esim_id=esim.pk)
        owe_delivery(customer=order.customer, order=order, kind=Delivery.Kind.ESIM)
        clear_alert(cause=f"order:{order.pk}")


def set_customer_ref(esim_id: int) -> None:
    """Write our order id on the eSIM at eSIM Go, so that no eSIM we bought is without its order.

    Raises: EsimGoError (the queue, and later the sweep, tries again).
    """
    esim = Esim.objects.get(pk=esim_id)
    if esim.referenced_at:
        return
    esimgo_client().set_customer_ref(iccid=esim.iccid, reference=str(esim.order_id))
    Esim.objects.filter(pk=esim_id).update(referenced_at=timezone.now())


def sweep_orders(*, limit: int = 500) -> int:
    """Wake every order whose task died, or whose time or promise is over. Returns how many."""
    from orders.tasks import provision_order_task

    now = timezone.now()
    # A fresh payment has its own task: only what has lain for a while is woken here.
    promised = Order.objects.promised().filter(paid_at__lte=now - timedelta(seconds=10))
    due = promised.exclude(next_try_at__gt=now).exclude(lease_until__gt=now)
    missed = promised.filter(status=Order.Status.PAID, promise_at__lte=now)
    ids = list((due | missed).order_by("paid_at").values_list("pk", flat=True)[:limit])
    for pk in ids:
        provision_order_task.defer(order_id=str(pk))
    return len(ids)


def sweep_customer_refs(*, limit: int = 100) -> int:
    """Try again to write our order ids on eSIMs, after the tasks of their purchases gave up. Returns how many."""
    from orders.tasks import set_customer_ref_task

    unreferenced = Esim.objects.filter(referenced_at=None, created_at__lte=timezone.now() - timedelta(minutes=10))
    ids = list(unreferenced.order_by("pk").values_list("pk", flat=True)[:limit])
    for pk in ids:
        set_customer_ref_task.defer(esim_id=pk)
    return len(ids)
