"""Asking for a refund: the one entrance for staff and customers.

What may begin at once, begins. A larger amount waits for a second person; and where eSIM Go takes the unused bundle
back first, the worker asks them, and the Stars go back once the bundle is gone.

| request  | who moves it on, and where to                             | if that process dies       |
|----------|-----------------------------------------------------------|----------------------------|
| waiting  | a second person: done, approved, declined, or refused     | rolled back                |
| waiting  | the sweep: done, where the Stars went back otherwise      | the next sweep             |
| approved | the worker: revokes the bundle, starts the refund: done   | lease over: once more      |
| approved | eSIM Go's no: refused                                     | lease over: asked again    |
| approved | eSIM Go is silent for too long: refused                   | lease over: asked again    |
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from esimshop.alerts import clear_alert, raise_alert
from esimshop.backoff import wait_after
from esimshop.clients.esimgo import EsimGoError, EsimGoOutcomeUnknown, EsimGoRejected
from esimshop.logs import redact
from orders.models import Order
from orders.services.revocations import RevocationRefused, revoke_bundle_of
from payments.models import Payment, RefundRequest, ServicePolicy, note_payment_event
from payments.services.refunds import (
    AskedRefund,
    NotALead,
    RefundBlocked,
    check_refundable,
    lock_payment,
    refund_payment,
)

log = structlog.get_logger(__name__)

#: A revocation is up to five calls, each with its own deadline.
LEASE = timedelta(minutes=4)
#: So long eSIM Go may be silent: a customer waits for the answer; staff have decided already.
CUSTOMER_WAITS = timedelta(minutes=15)
STAFF_WAIT = timedelta(hours=24)

CUSTOMER = "customer"
_STAFF = "admin:"
_BACK = frozenset({Payment.Status.REFUNDING, Payment.Status.REFUNDED})
_Status = RefundRequest.Status


class RefundRequestRefused(Exception):
    """The refund cannot be asked for, or not be decided so; the text says why, in words for staff. Nothing changed."""


def needs_second_person(payment: Payment) -> bool:
    """Whether a refund that a person asks for takes two of them."""
    return payment.amount_stars > int(ServicePolicy.in_force().second_person_stars)


def open_request_of(payment: Payment) -> RefundRequest | None:
    """The request for its refund that waits, or is being carried out."""
    return payment.refund_requests.filter(status__in=[_Status.WAITING, _Status.APPROVED]).first()


def request_refund(
    payment: Payment, *, actor: str, reason: str, revokes_bundle: bool = False, forced_by: str = ""
) -> RefundRequest | AskedRefund:
    """Return all Stars of a charge, at once where nobody and nothing has to be asked first.

    actor:          admin:<username> or customer.
    revokes_bundle: eSIM Go takes the unused bundle of the delivered order back first; else nothing is refunded.
    forced_by:      username of the lead who takes it on themselves that the customer may keep a working eSIM.
    Returns: AskedRefund where it has begun, or had begun before; else the request that is `waiting` for a second
             person, or `approved` and with the worker.
    Raises:  RefundRequestRefused (asked for already; no bundle to revoke), RefundBlocked without `forced_by` where it
             is needed, NotALead if that is nobody who may.
    """
    with transaction.atomic():
        payment = lock_payment(payment.pk)
        is_back = payment.status in _BACK
        if not is_back:
            _check_asked_first(payment)
            if revokes_bundle:
                _check_delivered(payment)
            else:
                check_refundable(payment, forced_by=forced_by)
        if is_back or not (revokes_bundle or needs_second_person(payment)):
            return refund_payment(payment, actor=actor, reason=reason, forced_by=forced_by)
        for earlier in payment.refund_requests.all():
            clear_alert(cause=alert_cause(earlier))
        request = RefundRequest.objects.create(
            payment=payment,
            status=_Status.WAITING if needs_second_person(payment) else _Status.APPROVED,
            reason=reason,
            requested_by=actor,
            revokes_bundle=revokes_bundle,
            forced_by="" if revokes_bundle else forced_by,
        )
        if request.status == _Status.WAITING:
            _note(payment, actor=actor, text=f"asks for a refund, which waits for a second person: {reason}")
            _tell_waiting(request, payment)
        else:
            _note(payment, actor=actor, text=f"asks for a refund once the bundle is taken back: {reason}")
            _wake(request)
        return request


def _check_asked_first(payment: Payment) -> None:
    if first := open_request_of(payment):
        raise RefundRequestRefused(f"{first.requested_by} has asked for it already: it {first.get_status_display()}.")


def _check_delivered(payment: Payment) -> None:
    order = payment.order if payment.kind == Payment.Kind.ORDER else None
    if order is None or order.status != Order.Status.COMPLETED:
        raise RefundRequestRefused("No eSIM was delivered for it: there is no bundle to take back.")


# The second person


def decide_refund_request(request: RefundRequest, *, by: User, approve: bool, reason: str) -> RefundRequest:
    """Agree to another's refund as the second person, or say no.

    Returns: the request as it stands now: `done` (the refund was started), `approved` (the worker revokes the bundle
             first), `declined`, or `refused` where it can no longer be carried out: its note says why.
    Raises:  RefundRequestRefused if it was decided already, or `by` may not decide it.
    """
    actor = f"{_STAFF}{by.get_username()}"
    with transaction.atomic():
        payment = lock_payment(request.payment_id)
        request = RefundRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
        if request.status != _Status.WAITING:
            whose = f" by {request.decided_by}" if request.decided_by else ""
            raise RefundRequestRefused(f"It was decided already{whose}: {request.get_status_display()}.")
        _check_second_person(request, by)
        request.decided_by, request.decided_at = by.get_username(), timezone.now()
        request.save(update_fields=["decided_by", "decided_at"])
        clear_alert(cause=alert_cause(request))
        if not approve:
            _end(request, payment, _Status.DECLINED, actor=actor, note=f"{by.get_username()} declined: {reason}")
            return request
        _note(payment, actor=actor, text=f"agrees to the refund that {request.requested_by} asked for: {reason}")
        lost = "" if payment.status in _BACK else _what_asker_lacks(request, payment)
        if lost:
            _end(request, payment, _Status.REFUSED, actor=actor, note=lost)
        elif request.revokes_bundle:
            request.status = _Status.APPROVED
            request.save(update_fields=["status"])
            _wake(request)
        else:
            _start(request, payment, actor=actor)
        return request


def check_may_agree(username: str) -> None:
    """Raises: RefundRequestRefused unless that is somebody active who may be the second person of a refund."""
    # Read anew: who lost the permission since a page was opened decides nothing.
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None or not user.has_perm("payments.approve_refundrequest"):
        raise RefundRequestRefused(f"{username or 'Nobody named'} may not agree to refunds.")


def _check_second_person(request: RefundRequest, by: User) -> None:
    check_may_agree(by.get_username())
    if by.get_username() in {request.requested_by.removeprefix(_STAFF), request.forced_by}:
        raise RefundRequestRefused("Who asked for a refund cannot be its second person. Somebody else must decide.")


def _what_asker_lacks(request: RefundRequest, payment: Payment) -> str:
    """Why the wish of a member of staff counts no more; empty if it does."""
    if not request.requested_by.startswith(_STAFF):
        return ""
    username = request.requested_by.removeprefix(_STAFF)
    user = User.objects.filter(username=username, is_active=True).first()
    needed = ["payments.refund_delivered"]
    if not request.revokes_bundle and not request.forced_by:
        needed.append("payments.refund_undelivered")
    if user is None or not any(user.has_perm(permission) for permission in needed):
        return f"{username} may no longer refund it: somebody who may must ask anew."
    return ""


# The worker


def carry_out_refund_request(request_id: int) -> None:
    """Have eSIM Go take the bundle of an approved request back, then start its refund.

    Does nothing if it is not due, or another worker has it. Safe to repeat after a crash at any line: a bundle that is
    revoked counts as done, and a charge is refunded once.
    """
    now = timezone.now()
    claimed = RefundRequest.objects.filter(pk=request_id, status=_Status.APPROVED, next_try_at__lte=now).update(
        next_try_at=now + LEASE, attempts=F("attempts") + 1
    )
    if not claimed:
        return
    request = RefundRequest.objects.select_related("payment__order__top_up_esim").get(pk=request_id)
    order = request.payment.order
    assert order is not None
    try:
        if request.payment.status not in _BACK:
            revoke_bundle_of(
                order,
                actor=request.requested_by,
                reason=request.reason,
                may_be_installed=request.requested_by != CUSTOMER,
            )
    except RevocationRefused as refusal:
        _refuse(request, note=redact(str(refusal)))
    except EsimGoRejected as error:
        _refuse(request, note=redact(f"eSIM Go refuses: {error.message}"))
    except EsimGoError as error:
        waits = CUSTOMER_WAITS if request.requested_by == CUSTOMER else STAFF_WAIT
        since = request.decided_at or request.requested_at
        if now - since > waits:
            _refuse(request, note=redact(f"{_what_is_unknown(error)} Last answer: {error}"))
        else:
            wait = wait_after(attempts=request.attempts, retry_after=error.retry_after)
            RefundRequest.objects.filter(pk=request.pk, status=_Status.APPROVED).update(
                next_try_at=timezone.now() + wait, note=redact(str(error))
            )
    else:
        with transaction.atomic():
            payment = lock_payment(request.payment_id)
            request = RefundRequest.objects.select_for_update(of=("self",)).get(pk=request_id)
            if request.status == _Status.APPROVED:
                _start(request, payment, actor="worker")


def _what_is_unknown(error: EsimGoError) -> str:
    if isinstance(error, EsimGoOutcomeUnknown):
        return "Not known whether eSIM Go took the bundle back: ask for the refund again, which looks first."
    return "eSIM Go could not be asked."


def _start(request: RefundRequest, payment: Payment, *, actor: str) -> None:
    """Start the refund of a request, whose payment and row are held."""
    try:
        # A savepoint: what is refused here leaves the rows as they were, and the request says why.
        with transaction.atomic():
            asked = refund_payment(
                payment, actor=request.requested_by, reason=request.reason, forced_by=request.forced_by
            )
    except (RefundBlocked, NotALead) as error:
        _end(request, payment, _Status.REFUSED, actor=actor, note=str(error))
        return
    note = "The refund was started." if asked.is_new else "The Stars were on their way back already."
    _end(request, payment, _Status.DONE, actor=actor, note=note)


def _refuse(request: RefundRequest, *, note: str) -> None:
    with transaction.atomic():
        payment = lock_payment(request.payment_id)
        request = RefundRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
        if request.status == _Status.APPROVED:
            _end(request, payment, _Status.REFUSED, actor="worker", note=note)


def _end(request: RefundRequest, payment: Payment, status: str, *, actor: str, note: str) -> None:
    """Close a request, whose payment and row are held. A customer's goes on as a case; staff are told of a no."""
    request.status, request.note, request.next_try_at = status, note, None
    request.save(update_fields=["status", "note", "next_try_at"])
    if status == _Status.DONE:
        return
    _note(payment, actor=actor, text=f"no refund, its request is {status}: {note}")
    if status == _Status.REFUSED and request.requested_by != CUSTOMER:
        raise_alert(
            cause=alert_cause(request),
            text=f"The refund that {request.requested_by} asked for was not made: {note} Decide on the payment's page "
            "what is done instead.",
            path=f"/admin/payments/payment/{payment.pk}/change/",
        )


def sweep_refund_requests(*, limit: int = 100) -> int:
    """Wake requests that are due and have no task any more, and close those whose Stars went back otherwise."""
    from payments.tasks import carry_out_refund_request_task

    for request in RefundRequest.objects.filter(status=_Status.WAITING, payment__status__in=_BACK)[:limit]:
        with transaction.atomic():
            payment = lock_payment(request.payment_id)
            locked = RefundRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
            if locked.status == _Status.WAITING:
                clear_alert(cause=alert_cause(locked))
                _start(locked, payment, actor="worker")
    due = RefundRequest.objects.filter(status=_Status.APPROVED, next_try_at__lte=timezone.now() - timedelta(seconds=5))
    ids = list(due.values_list("pk", flat=True)[:limit])
    for pk in ids:
        carry_out_refund_request_task.defer(request_id=pk)
    return len(ids)


# What people see of it


def alert_cause(request: RefundRequest) -> str:
    return f"refund_request:{request.pk}"


def _wake(request: RefundRequest) -> None:
    from payments.tasks import carry_out_refund_request_task

    request.next_try_at = timezone.now()
    request.save(update_fields=["next_try_at"])
    carry_out_refund_request_task.defer(request_id=request.pk)


def _tell_waiting(request: RefundRequest, payment: Payment) -> None:
    raise_alert(
        cause=alert_cause(request),
        text=f"{request.requested_by} asks to return {payment.amount_stars} Stars, which needs a second person: "
        f"{request.reason}. Agree or decline.",
        path=f"/admin/payments/refundrequest/{request.pk}/change/",
    )


def _note(payment: Payment, *, actor: str, text: str) -> None:
    note_payment_event(payment, actor=actor, reason=redact(text))
