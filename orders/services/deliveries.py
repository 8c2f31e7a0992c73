"""Messages that the bot owes customers: at least once, with backoff, until sent or blocked."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.backoff import wait_after
from esimshop.clients.telegram import TelegramBlocked, TelegramError, telegram_client
from esimshop.logs import redact
from orders.messages import write_message
from orders.models import Customer, Delivery, EsimBundle, Order, note_event
from orders.services.customers import note_blocked
from orders.services.revocations import is_revoked
from orders.usage import due_notices

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
#: A message that went out so recently is not sent again: it was pressed twice.
JUST_SENT = timedelta(seconds=30)
ALERT_AFTER_ATTEMPTS = 6


class RepeatRefused(Exception):
    """The message is not sent again; the text says why, for staff."""


def owe_delivery(
    *,
    customer: Customer,
    order: Order | None,
    kind: str,
    bundle: EsimBundle | None = None,
    amount_stars: int | None = None,
    text: str = "",
) -> Delivery:
    """Write down a message that the customer must get, and wake the worker.

    Call inside the transaction that causes it.
    bundle: what runs out, where it tells of that.
    text:   what an answer says, without markup.
    """
    from orders.tasks import send_delivery_task

    delivery = Delivery.objects.create(
        customer=customer, order=order, kind=kind, bundle=bundle, amount_stars=amount_stars, text=text
    )
    send_delivery_task.defer(delivery_id=delivery.pk)
    return delivery


def send_delivery(delivery_id: int) -> None:
    """Send a message that is due. Does nothing if it is not, or another worker has it; failures wait in its row."""
    now = timezone.now()
    claimed = Delivery.objects.filter(pk=delivery_id, status=Delivery.Status.PENDING, next_try_at__lte=now).update(
        next_try_at=now + LEASE, attempts=F("attempts") + 1
    )
    if not claimed:
        return
    delivery = Delivery.objects.select_related("customer", "order__top_up_esim", "bundle__esim").get(pk=delivery_id)
    if _is_overtaken(delivery):
        Delivery.objects.filter(pk=delivery_id).update(status=Delivery.Status.SKIPPED)
        return
    message = write_message(delivery)
    chat_id = delivery.customer.telegram_user_id
    try:
        if message.photo:
            message_id = telegram_client().send_photo(
                chat_id=chat_id, photo=message.photo, caption=message.text, buttons=message.buttons
            )
        else:
            message_id = telegram_client().send_message(chat_id=chat_id, text=message.text, buttons=message.buttons)
    except TelegramBlocked as error:
        Delivery.objects.filter(pk=delivery_id).update(status=Delivery.Status.BLOCKED, error=redact(str(error)))
        note_blocked(customer=delivery.customer, is_blocked=True)
    except TelegramError as error:
        _wait(delivery, error)
    else:
        Delivery.objects.filter(pk=delivery_id).update(
            status=Delivery.Status.SENT, message_id=message_id, sent_at=timezone.now(), error=""
        )
        note_blocked(customer=delivery.customer, is_blocked=False)
        if delivery.attempts > 1:
            clear_alert(cause=f"delivery:{delivery.pk}")


def _is_overtaken(delivery: Delivery) -> bool:
    """Whether the order has gone on: who has the eSIM, or the Stars back, need not read that it is being prepared.

    And who has the Stars back gets no eSIM any more, neither late nor again; who had their data deleted gets nothing.
    """
    if delivery.customer.anonymised_at:
        return True
    if delivery.bundle is not None:
        # The customer has topped up, switched the notices off, or it has run out altogether since.
        due = due_notices(list(delivery.bundle.esim.bundles.all()), now=timezone.now())
        return not delivery.customer.wants_usage_notices or (delivery.bundle, delivery.kind) not in due
    if delivery.order is None:
        return False
    if delivery.kind == Delivery.Kind.PREPARING:
        return delivery.order.status not in {Order.Status.PAID, Order.Status.PROVISIONING}
    return delivery.kind == Delivery.Kind.ESIM and (delivery.order.esim is None or is_revoked(delivery.order))


def _wait(delivery: Delivery, error: TelegramError) -> None:
    wait = wait_after(attempts=delivery.attempts, retry_after=getattr(error, "retry_after", None))
    Delivery.objects.filter(pk=delivery.pk).update(next_try_at=timezone.now() + wait, error=redact(str(error)))
    if delivery.attempts == ALERT_AFTER_ATTEMPTS:
        raise_alert(
            cause=f"delivery:{delivery.pk}",
            text=f"A message ({delivery.kind}) of order {delivery.order_id} could not be sent {delivery.attempts} "
            f"times: {error}. It is tried on; the customer sees everything in the Mini App. Run `manage.py doctor`.",
            path=f"/admin/orders/delivery/{delivery.pk}/change/",
        )


def resume_deliveries(customer: Customer) -> None:
    """Send what a customer could not get while the bot might not write to them."""
    note_blocked(customer=customer, is_blocked=False)
    for delivery in customer.deliveries.filter(status=Delivery.Status.BLOCKED):
        resend_delivery(delivery)


def resend_delivery(delivery: Delivery) -> None:
    """Make a message due again, e.g. when the customer has unblocked the bot."""
    from orders.tasks import send_delivery_task

    Delivery.objects.filter(pk=delivery.pk).update(status=Delivery.Status.PENDING, next_try_at=timezone.now())
    send_delivery_task.defer(delivery_id=delivery.pk)


def repeat_delivery(delivery: Delivery, *, actor: str, reason: str) -> None:
    """Send a customer's message again because a person wants it.

    Raises: RepeatRefused where it is on its way, has just been sent, or was overtaken.
    """
    with transaction.atomic():
        rows = Delivery.objects.select_for_update(of=["self"]).select_related("order", "customer")
        delivery = rows.get(pk=delivery.pk)
        if delivery.customer.anonymised_at:
            raise RepeatRefused("The customer's data are deleted: there is nobody to write to.")
        if delivery.status == Delivery.Status.PENDING:
            raise RepeatRefused("It is on its way already.")
        if delivery.status == Delivery.Status.SKIPPED:
            raise RepeatRefused("What it says is over.")
        if delivery.sent_at and delivery.sent_at > timezone.now() - JUST_SENT:
            raise RepeatRefused("It was sent a moment ago.")
        if delivery.order:
            note_event(delivery.order, actor=actor, reason=f"message sent again ({delivery.kind}): {reason}")
        resend_delivery(delivery)


def repeat_esim_message(order: Order, *, actor: str, reason: str) -> None:
    """Send the message with an order's QR code again. Raises: RepeatRefused."""
    delivery = order.deliveries.filter(kind=Delivery.Kind.ESIM).order_by("-pk").first()
    if delivery is None:
        raise RepeatRefused("Its eSIM was never sent.")
    repeat_delivery(delivery, actor=actor, reason=reason)


def sweep_deliveries(*, limit: int = 500) -> int:
    """Wake messages that are due and have no task any more. Returns how many."""
    from orders.tasks import send_delivery_task

    due = Delivery.objects.filter(
        status=Delivery.Status.PENDING, next_try_at__lte=timezone.now() - timedelta(seconds=5)
    )
    ids = list(due.values_list("pk", flat=True)[:limit])
    for pk in ids:
        send_delivery_task.defer(delivery_id=pk)
    return len(ids)
