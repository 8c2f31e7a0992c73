"""Cases: what customers ask support about. Opened in the bot, answered in the admin or decided by the shop at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, override

from orders.models import Customer, Delivery, Order
from orders.services.deliveries import owe_delivery
from payments.models import Case, CaseMessage, Payment, RefundRequest, ServicePolicy, TelegramUpdate, move_case
from payments.services.refund_requests import RefundRequestRefused, request_refund

Author = CaseMessage.Author
Status = Case.Status

#: Of what a customer writes at once, so much is kept: as much as Telegram lets them write, nearly.
MOST_LETTERS = 4000
#: An answer, its heading and its end must fit into a message of Telegram's 4,096 UTF-16 units.
MOST_ANSWER_UNITS = 3500
#: A customer who writes so soon after the case was closed writes about it.
REOPENED_WITHIN = timedelta(days=7)
#: What follows within this time is thanked for once.
BURST = timedelta(minutes=10)
INSTANT_WINDOW = timedelta(days=30)
#: By then the shop has decided, or a person does: a customer's refund request is tried for 15 minutes.
LONGEST_DECISION = timedelta(hours=1)


class CaseRefused(Exception):
    """It cannot be done with the case as it is now; the text says why, in words for staff. Nothing changed."""


class NewerLines(CaseRefused):
    """Something was written since the member of staff looked at the case."""


@dataclass(frozen=True, kw_only=True)
class OpenedCase:
    """is_new: False where a case about the same payment was open already: it is that one."""

    case: Case
    is_new: bool


@dataclass(frozen=True, kw_only=True)
class TakenMessage:
    """is_thanked_for: this message begins a burst, so that the customer should hear that it has arrived."""

    case: Case
    is_thanked_for: bool


# By the customer


@transaction.atomic
def open_case(*, customer: Customer, payment: Payment | None, wish: str, reason: str) -> OpenedCase:
    """Open a customer's case about one of their payments, or about none; at most one is open about each.

    Where the rules allow it, the shop decides about a refund by itself: see `decides_at_once`.
    """
    # Two presses at once make one case, and each sees the instant refunds that the other asked for.
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk, anonymised_at=None)
    known = customer.cases.filter(payment=payment).exclude(status=Status.CLOSED).first()
    if known is not None:
        return OpenedCase(case=known, is_new=False)
    case = Case(customer=customer, payment=payment, order=payment.order if payment else None, wish=wish, reason=reason)
    if payment is not None and wish == Case.Wish.REFUND and decides_at_once(payment):
        case.refund_request = _ask_for_refund(payment, reason=case.get_reason_display())
    case.status = Status.DECIDING if case.refund_request else Status.OPEN
    case.save()
    text = f"Asks for {'a refund' if wish == Case.Wish.REFUND else 'help'}: {case.get_reason_display()}."
    CaseMessage.objects.create(case=case, author=Author.CUSTOMER, actor="customer", text=text, after=case.status)
    return OpenedCase(case=case, is_new=True)


def decides_at_once(payment: Payment) -> bool:
    """Whether the shop may return an unused eSIM without asking staff, as far as our own books tell.

    Once a payment: what the wholesaler said about the eSIM, staff then have in the case.
    """
    policy, now, order = ServicePolicy.in_force(), timezone.now(), payment.order
    if payment.kind != Payment.Kind.ORDER or payment.status != Payment.Status.PAID or order is None:
        return False
    if order.status != Order.Status.COMPLETED or payment.amount_stars > policy.second_person_stars:
        return False
    if (order.paid_at or payment.charged_at) < now - timedelta(days=policy.instant_refund_days):
        return False
    if payment.refund_requests.exists():
        return False
    lately: int = RefundRequest.objects.filter(
        payment__customer=payment.customer_id,
        requested_by="customer",
        requested_at__gt=now - INSTANT_WINDOW,
        status__in=[RefundRequest.Status.APPROVED, RefundRequest.Status.DONE],
    ).count()
    return lately < int(policy.instant_refunds_per_month)


def _ask_for_refund(payment: Payment, *, reason: str) -> RefundRequest | None:
    """The request that the worker carries out; None where somebody else decided about the payment meanwhile."""
    try:
        asked = request_refund(payment, actor="customer", reason=reason, revokes_bundle=True)
    except RefundRequestRefused:
        return None
    return asked if isinstance(asked, RefundRequest) else None


@transaction.atomic
def take_message(
    *, customer: Customer, update: TelegramUpdate, text: str, replied_to: int | None = None
) -> TakenMessage | None:
    """Put what a customer wrote to the bot into the case that it belongs to; the same update once.

    replied_to: id of the bot's message that the customer answered.
    Returns:    None where it belongs to no case: none is open, none was closed lately.
    """
    known = CaseMessage.objects.filter(update=update).select_related("case").first()
    if known is not None:
        return TakenMessage(case=known.case, is_thanked_for=True)
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk, anonymised_at=None)
    found = _find_case(customer, replied_to)
    if found is None:
        return None
    case = _lock(found.pk)
    is_thanked_for = _begins_burst(case)
    line = CaseMessage(case=case, author=Author.CUSTOMER, actor="customer", text=text[:MOST_LETTERS], update=update)
    if case.status in {Status.ANSWERED, Status.CLOSED}:
        move_case(case, Status.OPEN, line=line, closed_at=None)
    else:
        _add(line)
    return TakenMessage(case=case, is_thanked_for=is_thanked_for)


def _find_case(customer: Customer, replied_to: int | None) -> Case | None:
    if replied_to is not None:
        case = customer.cases.filter(
            messages__delivery__message_id=replied_to, messages__delivery__customer=customer
        ).first()
        if case is not None:
            # About a payment one case is open at most: the old one then stays closed.
            newer = customer.cases.filter(payment=case.payment).exclude(status=Status.CLOSED).first()
            return newer or case
    in_progress = customer.cases.exclude(status=Status.CLOSED).first()
    return in_progress or customer.cases.filter(closed_at__gt=timezone.now() - REOPENED_WITHIN).first()


def _begins_burst(case: Case) -> bool:
    spoken = case.messages.filter(is_internal=False).exclude(text="")
    last = spoken.order_by("-pk").first()
    if last is None or last.update_id is None:
        return True
    return last.created_at < timezone.now() - BURST


@transaction.atomic
def close_own_case(*, customer: Customer, case_pk: int) -> Case | None:
    """Close a case because its customer says that it is settled. Returns None where it is nobody's or another's."""
    if not customer.cases.filter(pk=case_pk).exists():
        return None
    case = _lock(case_pk)
    if case.status != Status.CLOSED:
        line = CaseMessage(author=Author.CUSTOMER, actor="customer", text="Says that it is settled.")
        move_case(case, Status.CLOSED, line=line, closed_at=line.created_at)
    return case


# By the shop


@transaction.atomic
def settle_decision(case_pk: int) -> None:
    """Close a case that the shop decides about once the Stars are back, or hand it to staff where they will not come.

    Does nothing while that is open. Call outside of any transaction that holds the payment.
    """
    case = _lock(case_pk)
    if case.status != Status.DECIDING or case.payment is None:
        return
    payment, request = case.payment, case.refund_request
    if payment.status == Payment.Status.REFUNDED:
        _close_refunded(case)
    elif request is None or request.status in {RefundRequest.Status.REFUSED, RefundRequest.Status.DECLINED}:
        _hand_to_staff(case, f"No instant refund: {request.note or request.status if request else 'never asked for'}")
    elif payment.status == Payment.Status.REFUND_FAILED:
        _hand_to_staff(case, "The bundle was taken back, but Telegram refuses to return the Stars.")
    elif case.opened_at < timezone.now() - LONGEST_DECISION:
        _hand_to_staff(case, "The refund was not carried out within an hour.")


def _close_refunded(case: Case) -> None:
    with override(case.customer.language):
        if case.order and case.order.top_up_esim_id:
            text = gettext("Decided: the data were not used, so we took them back and returned all Stars.")
        else:
            text = gettext(
                "Decided: your eSIM was not used, so we took it back and returned all Stars. Please do not install it "
                "any more."
            )
    line = _told(case, text, actor="worker", author=Author.SHOP)
    move_case(case, Status.CLOSED, line=line, closed_at=line.created_at, **_first_answer(case, line))


def _hand_to_staff(case: Case, why: str) -> None:
    CaseMessage.objects.create(case=case, author=Author.SHOP, actor="worker", text=why, is_internal=True)
    with override(case.customer.language):
        text = gettext(
            "This refund cannot be decided by itself: a person looks at it and answers here. Tell us meanwhile, in a "
            "message, what happened."
        )
    move_case(case, Status.OPEN, line=_told(case, text, actor="worker", author=Author.SHOP))


def sweep_cases() -> int:
    """Look after cases that the shop decides about. Returns how many there are."""
    pks = list(Case.objects.filter(status=Status.DECIDING).values_list("pk", flat=True))
    for pk in pks:
        settle_decision(pk)
    return len(pks)


# By staff


@transaction.atomic
def answer_case(case_pk: int, *, user: User, text: str, seen_pk: int, closes: bool = False) -> CaseMessage:
    """Answer a customer: the bot delivers it, and the case waits for the customer, or is closed with it.

    seen_pk: the newest line, of those that the customer knows too, that the member of staff saw.
    Raises:  NewerLines where there is a newer one; CaseRefused where the text is empty or too long, or the case closed.
    """
    text = text.strip()
    if not text:
        raise CaseRefused("Write an answer first.")
    if (units := len(text.encode("utf-16-le")) // 2) > MOST_ANSWER_UNITS:
        raise CaseRefused(f"An answer has at most {MOST_ANSWER_UNITS:,} characters; this one has {units:,}.")
    case = _lock(case_pk)
    newest = case.messages.filter(is_internal=False).order_by("-pk").first()
    if newest is not None and newest.pk > seen_pk:
        who = "The customer" if newest.author == Author.CUSTOMER else newest.actor.removeprefix("admin:")
        raise NewerLines(f"{who} wrote meanwhile. Read it above, then send your answer, which is kept.")
    if case.status == Status.CLOSED:
        raise CaseRefused("The case is closed. Reopen it to answer.")
    line = _told(case, text, actor=f"admin:{user.username}", author=Author.STAFF)
    changes = _first_answer(case, line)
    if case.owner is None:
        Case.objects.filter(pk=case.pk).update(owner=user)
    if closes:
        move_case(case, Status.CLOSED, line=line, closed_at=line.created_at, **changes)
    elif case.status == Status.OPEN:
        move_case(case, Status.ANSWERED, line=line, **changes)
    else:
        _add(line, **changes)
    return line


@transaction.atomic
def note_in_case(case_pk: int, *, user: User, text: str) -> CaseMessage:
    """Leave a line for colleagues. Raises: CaseRefused where it is empty."""
    if not text.strip():
        raise CaseRefused("Write a note first.")
    case = _lock(case_pk)
    line = CaseMessage(
        case=case,
        author=Author.STAFF,
        actor=f"admin:{user.username}",
        text=text.strip()[:MOST_LETTERS],
        is_internal=True,
    )
    _add(line)
    return line


@transaction.atomic
def take_case(case_pk: int, *, user: User, seen_owner_pk: int | None) -> None:
    """Make a member of staff the owner.

    seen_owner_pk: whom the page named as the owner. Raises: CaseRefused where it is somebody else by now.
    """
    case = _lock(case_pk)
    if case.owner_id == user.pk:
        return
    if case.owner_id != seen_owner_pk:
        raise CaseRefused(f"{case.owner} took the case meanwhile." if case.owner else "The case was let go meanwhile.")
    before = f" from {case.owner}" if case.owner else ""
    line = CaseMessage(case=case, author=Author.STAFF, actor=f"admin:{user.username}", is_internal=True)
    line.text = f"Took the case{before}."
    _add(line, owner=user)


@transaction.atomic
def close_case(case_pk: int, *, user: User) -> None:
    """Close a case and tell its customer. Raises: CaseRefused where it is closed already."""
    case = _lock(case_pk)
    if case.status == Status.CLOSED:
        raise CaseRefused("The case is closed already.")
    with override(case.customer.language):
        text = gettext("We closed your request. Is something still wrong? Write here, and it is open again.")
    line = _told(case, text, actor=f"admin:{user.username}", author=Author.SHOP)
    move_case(case, Status.CLOSED, line=line, closed_at=line.created_at)


@transaction.atomic
def reopen_case(case_pk: int, *, user: User) -> None:
    """Open a closed case again, without a word to its customer.

    Raises: CaseRefused where it is not closed, or another one about the same payment is open.
    """
    Customer.objects.select_for_update(no_key=True).get(cases=case_pk)
    case = _lock(case_pk)
    if case.status != Status.CLOSED:
        raise CaseRefused("The case is open already.")
    if case.customer.anonymised_at:
        raise CaseRefused("The customer's data are deleted: nobody could read an answer.")
    other = Case.objects.filter(customer=case.customer_id, payment=case.payment).exclude(status=Status.CLOSED).first()
    if other is not None:
        raise CaseRefused(f"Case {other.pk} about the same payment is open: go on there.")
    line = CaseMessage(author=Author.STAFF, actor=f"admin:{user.username}", text="Reopened the case.", is_internal=True)
    move_case(case, Status.OPEN, line=line, closed_at=None)


def _lock(case_pk: int) -> Case:
    return (
        Case.objects.select_for_update(of=("self",))
        .select_related("customer", "payment", "order", "owner", "refund_request")
        .get(pk=case_pk)
    )


def _told(case: Case, text: str, *, actor: str, author: str) -> CaseMessage:
    """A line, not yet stored, that the bot brings to the customer."""
    delivery = owe_delivery(customer=case.customer, order=case.order, kind=Delivery.Kind.ANSWER, text=text)
    return CaseMessage(case=case, author=author, actor=actor, text=text, delivery=delivery)


def _add(line: CaseMessage, **changes: object) -> None:
    line.save()
    Case.objects.filter(pk=line.case_id).update(updated_at=line.created_at, **changes)


def _first_answer(case: Case, line: CaseMessage) -> dict[str, object]:
    return {} if case.first_answered_at else {"first_answered_at": line.created_at}
