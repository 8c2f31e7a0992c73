"""Deleting a customer's data: who they were goes, what the books need stays under a made-up Telegram id.

Charges keep their payer's real id: without it Telegram takes no refund, and its ledger could not be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import Max, Min, Q
from django.utils import timezone

from orders.models import Customer, Delivery, Esim, Order, OrderEvent, move_order
from payments.models import Case, CaseMessage, Payment, RefundRequest, TelegramUpdate, move_case

#: In place of what was written in a case, so that staff see that something was.
DELETED_TEXT = "[deleted with the customer's data]"
#: So many stored updates are looked through at a time; a task follows for the next ones.
UPDATES_AT_ONCE = 20_000

_ON_THE_WAY = frozenset(
    {Order.Status.PAID, Order.Status.PROVISIONING, Order.Status.NEEDS_ATTENTION, Order.Status.REFUNDING}
)
_MONEY = frozenset({"successful_payment", "refunded_payment"})


class AnonymisationRefused(Exception):
    """Something of the customer's is on its way still; the text says what, for staff. Nothing changed."""


@transaction.atomic
def anonymise_customer(customer: Customer, *, actor: str, reason: str) -> None:
    """Forget who a customer is; whoever comes back under the same Telegram account is a new one.

    Unpaid orders are cancelled, open cases closed, owed messages dropped, and activation codes gone for good.
    A customer whose data are deleted already stays as they are.
    Raises: AnonymisationRefused while an order, Stars or a decision about them are on their way.
    """
    # This lock keeps out new orders and cases. A payment holds its order and then points to the customer: hence the
    # orders come next, and the id, whose change nobody who points there may meet, last.
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if customer.anonymised_at:
        return
    orders = list(Order.objects.select_for_update().filter(customer=customer).order_by("pk"))
    _refuse_unfinished(customer, orders)
    for order in orders:
        if order.status == Order.Status.AWAITING_PAYMENT:
            move_order(order, Order.Status.CANCELLED, actor=actor, reason=reason, cause=Order.Cause.REQUESTED)
    note = f"the customer's data are deleted: {reason}"
    OrderEvent.objects.bulk_create(
        OrderEvent(order=order, kind=OrderEvent.Kind.NOTE, actor=actor, reason=note) for order in orders
    )
    _close_cases(customer, actor=actor)
    _drop_messages(customer)
    Esim.objects.filter(customer=customer).update(matching_id="", usage_due_at=None)
    _scrub_updates_later(customer.telegram_user_id)
    Customer.objects.filter(pk=customer.pk).update(
        # Telegram's ids of people are positive.
        telegram_user_id=-customer.pk,
        first_name="",
        last_name="",
        username="",
        language_code="",
        chosen_language="",
        wants_usage_notices=False,
        is_bot_blocked=False,
        anonymised_at=timezone.now(),
    )


def check_anonymisable(customer: Customer) -> None:
    """Raises: AnonymisationRefused where the data could not be deleted as things stand."""
    _refuse_unfinished(customer, list(Order.objects.filter(customer=customer)))


def _refuse_unfinished(customer: Customer, orders: list[Order]) -> None:
    for order in orders:
        if order.status in _ON_THE_WAY:
            raise AnonymisationRefused(f"Order {order.pk} is {order.get_status_display().lower()}.")
    # The refused refund of an order is decided: the order went back to the customer, or a person has it (see above).
    is_owed = Q(status=Payment.Status.REFUNDING) | Q(status=Payment.Status.REFUND_FAILED, kind=Payment.Kind.EXTRA)
    if owed := Payment.objects.filter(is_owed, customer=customer).first():
        raise AnonymisationRefused(f"The Stars of charge {owed.charge_id} are to go back to the customer first.")
    undecided = [RefundRequest.Status.WAITING, RefundRequest.Status.APPROVED]
    if asked := RefundRequest.objects.filter(payment__customer=customer, status__in=undecided).first():
        raise AnonymisationRefused(f"A refund is asked for and not decided yet (request {asked.pk}).")
    if case := customer.cases.filter(status=Case.Status.DECIDING).first():
        raise AnonymisationRefused(f"A refund is being decided (case {case.pk}).")


def _close_cases(customer: Customer, *, actor: str) -> None:
    # Held before their lines are cleared: an answer that is being written now comes before, or finds the case closed.
    cases = list(Case.objects.select_for_update().filter(customer=customer).order_by("pk"))
    people = [CaseMessage.Author.CUSTOMER, CaseMessage.Author.STAFF]
    CaseMessage.objects.filter(case__in=cases, author__in=people).exclude(text="").update(text=DELETED_TEXT)
    for case in cases:
        if case.status != Case.Status.CLOSED:
            line = CaseMessage(author=CaseMessage.Author.SHOP, actor=actor, is_internal=True)
            line.text = "The customer's data are deleted."
            move_case(case, Case.Status.CLOSED, line=line, closed_at=line.created_at)


def _drop_messages(customer: Customer) -> None:
    customer.deliveries.exclude(text="").update(text="")
    owed = [Delivery.Status.PENDING, Delivery.Status.BLOCKED]
    customer.deliveries.filter(status__in=owed).update(status=Delivery.Status.SKIPPED)


# What Telegram sent about them


def _scrub_updates_later(telegram_user_id: int) -> None:
    from payments.tasks import scrub_updates_task

    kept = TelegramUpdate.objects.aggregate(oldest=Min("pk"), newest=Max("pk"))
    if kept["newest"] is not None:
        scrub_updates_task.defer(telegram_user_id=telegram_user_id, after=kept["oldest"] - 1, until=kept["newest"])


@transaction.atomic
def scrub_updates(telegram_user_id: int, *, after: int, until: int) -> None:
    """Clear the stored updates of a user, from row `after` to row `until`, part by part: a task follows for the rest.

    Of a charge or its return remains what the books have, so that it can be taken in again. One that is not taken in
    yet is left alone, and looked for again a day later.
    """
    from payments.tasks import scrub_updates_task

    end = min(after + UPDATES_AT_ONCE, until)
    # The bodies are encrypted: only we can tell whose they are.
    stored = TelegramUpdate.objects.filter(pk__gt=after, pk__lte=end).order_by("pk")
    theirs = [
        update.pk
        for update in stored.only("body").iterator(chunk_size=500)
        if telegram_user_id in _people_of(update.body)
    ]
    waiting = None
    for update in TelegramUpdate.objects.select_for_update().filter(pk__in=theirs).order_by("pk"):
        if update.kind in _MONEY and update.status != TelegramUpdate.Status.HANDLED:
            waiting = waiting or update.pk
            continue
        # What was not answered yet is not answered any more: it would bring the customer back.
        TelegramUpdate.objects.filter(pk=update.pk).update(
            body=_scrubbed(update),
            status=TelegramUpdate.Status.HANDLED,
            handled_at=update.handled_at or timezone.now(),
            error="",
            next_try_at=None,
        )
    if waiting:
        later = scrub_updates_task.configure(schedule_in={"days": 1})
        later.defer(telegram_user_id=telegram_user_id, after=waiting - 1, until=end)
    if end < until:
        scrub_updates_task.defer(telegram_user_id=telegram_user_id, after=end, until=until)


def _people_of(body: dict[str, Any]) -> Iterator[int]:
    """Telegram ids of those whom what an update brings is from."""
    for content in body.values():
        sender = content.get("from") if isinstance(content, dict) else None
        if isinstance(sender, dict):
            yield sender.get("id", 0)


def _scrubbed(update: TelegramUpdate) -> dict[str, object]:
    if update.kind not in _MONEY:
        return {"update_id": update.update_id}
    message = update.body["message"]
    kept = {"date": message["date"], "from": {"id": message["from"]["id"]}, update.kind: message[update.kind]}
    return {"update_id": update.update_id, "message": kept}
