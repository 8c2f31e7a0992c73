"""What staff may do about refunds: ask for one, and agree or say no as the second person."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from unfold.widgets import UnfoldAdminRadioSelectWidget

from esimshop.acts import Act, ActRefused, Preview, ReasonForm, actor_of, register_act
from esimshop.clients.esimgo import EsimGoError
from esimshop.logs import redact
from orders.models import IllegalMove, Order, StaleOrder
from orders.services.revocations import EsimCondition, RevocationRefused, inspect_esim
from payments.models import Payment, RefundRequest, StalePayment
from payments.services.held_charges import NotHeld, keep_charge, may_be_kept
from payments.services.refund_requests import (
    RefundRequestRefused,
    decide_refund_request,
    needs_second_person,
    open_request_of,
    request_refund,
)
from payments.services.refunds import AskedRefund, NotALead, RefundBlocked, check_refundable

REFUNDABLE = frozenset({Payment.Status.PAID, Payment.Status.REFUND_FAILED})
REVOKE, IN_SPITE = "revoke", "in_spite"
SECOND_PERSON = "So many Stars need a second person: it waits until somebody else has agreed."


class RefundPayment(Act):
    """The Stars of a charge for which certainly no eSIM is held."""

    name = "refund-payment"
    label = "Refund"
    icon = "undo"
    model: type[Model] | None = Payment
    permission = "payments.refund_undelivered"
    is_dangerous = True

    def payment_of(self, row: Any) -> Payment | None:
        return row if isinstance(row, Payment) else None

    def suits(self, row: Any) -> bool:
        payment = self.payment_of(row)
        return payment is not None and payment.status in REFUNDABLE and self.is_for(what_blocks(payment))

    def is_for(self, block: str) -> bool:
        return not block

    def preview(self, row: Any) -> Preview:
        payment = _unasked(self.payment_of(row))
        what = f"{payment.amount_stars:,} Stars go back to the customer, who is told."
        if payment.status == Payment.Status.REFUND_FAILED:
            what = f"Telegram refused once. It is asked again to return {payment.amount_stars:,} Stars."
        if payment.kind == Payment.Kind.EXTRA:
            what += " The charge is an extra one: no order changes."
        return Preview(what=what, warning=SECOND_PERSON if needs_second_person(payment) else "")

    def perform(self, row: Any, *, user: User, reason: str, values: dict[str, Any]) -> str:
        return _ask(self.payment_of(row), actor=actor_of(user), reason=reason)


class RefundOrder(RefundPayment):
    name = "refund-order"
    model = Order

    def payment_of(self, row: Any) -> Payment | None:
        return paying_payment(row)

    def rows_of_cause(self, cause: str) -> QuerySet[Order]:
        return Order.objects.filter(status=Order.Status.NEEDS_ATTENTION, cause=cause).order_by("created_at")


class BoughtRefundForm(ReasonForm):
    how = forms.ChoiceField(
        label="How",
        choices=[
            (REVOKE, "Take the unused bundle back first. If eSIM Go refuses, nothing is refunded."),
            (IN_SPITE, "Refund although the customer may keep a working eSIM. I take that on myself."),
        ],
        widget=UnfoldAdminRadioSelectWidget,
    )


class RefundBoughtPayment(RefundPayment):
    """The Stars of a charge whose eSIM was delivered, or may have been bought."""

    name = "refund-bought-payment"
    label = "Refund a bought eSIM"
    icon = "assignment_return"
    permission = "payments.refund_delivered"
    form_class = BoughtRefundForm
    is_bulk = False

    def is_for(self, block: str) -> bool:
        return bool(block)

    def make_form(self, rows: list[Any], data: Any = None) -> ReasonForm:
        # What the preview has just heard from eSIM Go decides what is offered, without asking them twice.
        said: EsimCondition | None = getattr(rows[0], "said_by_wholesaler", None) if rows else None
        is_delivered = not rows or _is_delivered(self.payment_of(rows[0]))
        may_be_revoked = is_delivered and (said is None or said.is_refundable or said.is_revoked)
        form = BoughtRefundForm(data, initial={"how": REVOKE if said is not None and may_be_revoked else None})
        if not may_be_revoked:
            how = form.fields["how"]
            how.choices = [choice for choice in how.choices if choice[0] != REVOKE]  # type: ignore[attr-defined]
        return form

    def preview(self, row: Any) -> Preview:
        payment = _unasked(self.payment_of(row))
        order = payment.order
        assert order is not None
        second = SECOND_PERSON if needs_second_person(payment) else ""
        back = f"{payment.amount_stars:,} Stars go back to the customer, who is told."
        if not _is_delivered(payment):
            lost = "An eSIM was bought for it, or may have been. It is never delivered once the refund has begun."
            return Preview(what=f"{lost} {back}", cost=_price(order.cost_usd), warning=second)
        try:
            said = inspect_esim(order)
        except RevocationRefused as refusal:
            return Preview(what=f"{refusal} {back}", cost=_price(order.cost_usd), warning=_join(KEEPS, second))
        except EsimGoError as error:
            unknown = (
                f"eSIM Go could not be asked ({redact(str(error))}): not known whether the eSIM is installed or used."
            )
            cost = f"Nothing if they take it back, else {_price(order.cost_usd)}"
            return Preview(what=back, cost=cost, warning=_join(unknown, second))
        row.said_by_wholesaler = said
        if said.is_revoked or said.is_refundable:
            return Preview(
                what=f"{_describe(said)} eSIM Go takes the bundle back, then {back}",
                cost="Nothing: its price comes back.",
                warning=_join("The eSIM stops being of use to the customer.", second),
            )
        return Preview(
            what=f"{_describe(said)} eSIM Go would not give its price back: {said.message.rstrip('.')}. {back}",
            cost=f"{_price(said.cost_usd)} It stays with us.",
            warning=_join(KEEPS, second),
        )

    def perform(self, row: Any, *, user: User, reason: str, values: dict[str, Any]) -> str:
        is_revoked = values["how"] == REVOKE
        return _ask(
            self.payment_of(row),
            actor=actor_of(user),
            reason=reason,
            revokes_bundle=is_revoked,
            forced_by="" if is_revoked else user.get_username(),
        )


class RefundBoughtOrder(RefundBoughtPayment):
    name = "refund-bought-order"
    model = Order

    def payment_of(self, row: Any) -> Payment | None:
        return paying_payment(row)


class ApproveRefund(Act):
    name = "approve-refund"
    label = "Agree as the second person"
    icon = "done_all"
    model = RefundRequest
    permission = "payments.approve_refundrequest"
    is_bulk = False
    is_dangerous = True

    def suits(self, row: RefundRequest) -> bool:
        return row.status == RefundRequest.Status.WAITING

    def preview(self, row: RefundRequest) -> Preview:
        asked = f"{row.requested_by} asks to return {row.payment.amount_stars:,} Stars: {row.reason}."
        order = row.payment.order
        if row.revokes_bundle:
            then = "eSIM Go takes the unused bundle back first; if they refuse, nothing is refunded."
            return Preview(what=f"{asked} {then}")
        if row.forced_by and order is not None:
            return Preview(what=asked, cost=f"{_price(order.cost_usd)} It stays with us.", warning=KEEPS)
        return Preview(what=asked)

    def perform(self, row: RefundRequest, *, user: User, reason: str, values: dict[str, Any]) -> str:
        request = _decide(row, by=user, approve=True, reason=reason)
        if request.status == RefundRequest.Status.REFUSED:
            raise ActRefused(f"It is refused: {request.note}")
        return _told(request)


class DeclineRefund(Act):
    name = "decline-refund"
    label = "Decline"
    icon = "block"
    model = RefundRequest
    permission = "payments.approve_refundrequest"
    is_bulk = False

    def suits(self, row: RefundRequest) -> bool:
        return row.status == RefundRequest.Status.WAITING

    def preview(self, row: RefundRequest) -> Preview:
        return Preview(what=f"The {row.payment.amount_stars:,} Stars stay with us. The customer is not told.")

    def perform(self, row: RefundRequest, *, user: User, reason: str, values: dict[str, Any]) -> str:
        return _told(_decide(row, by=user, approve=False, reason=reason))


class KeepCharge(Act):
    """The Stars of a charge that was earned after all."""

    name = "keep-charge"
    label = "Keep the Stars"
    icon = "savings"
    model = Payment
    permission = "payments.refund_delivered"
    is_bulk = False

    def suits(self, row: Payment) -> bool:
        return may_be_kept(row)

    def preview(self, row: Payment) -> Preview:
        if row.kind == Payment.Kind.ORDER:
            why = "Telegram refused to return them, and the customer has the eSIM."
        else:
            why = "The charge pays for nothing we know. Its eSIM was delivered before a backup was restored?"
        return Preview(what=f"The {row.amount_stars:,} Stars stay with us. {why} The customer is not told.")

    def perform(self, row: Payment, *, user: User, reason: str, values: dict[str, Any]) -> str:
        try:
            keep_charge(row, actor=actor_of(user), reason=reason)
        except NotHeld as refusal:
            raise ActRefused(str(refusal)) from refusal
        return f"{row.amount_stars:,} Stars are kept."


KEEPS = "The customer may keep a working eSIM."


def paying_payment(order: Order) -> Payment | None:
    """The charge that paid for an order."""
    payment = Payment.objects.filter(order=order, kind=Payment.Kind.ORDER).first()
    if payment is not None:
        payment.order = order
    return payment


def what_blocks(payment: Payment) -> str:
    """Why its refund needs a lead's name; empty where it does not."""
    try:
        return check_refundable(payment)
    except RefundBlocked as block:
        return str(block)


def _is_delivered(payment: Payment | None) -> bool:
    return payment is not None and payment.order is not None and payment.order.status == Order.Status.COMPLETED


def _unasked(payment: Payment | None) -> Payment:
    """Raises: ActRefused where somebody has asked for the refund already."""
    if payment is None:
        raise ActRefused("Nothing was paid for it.")
    if first := open_request_of(payment):
        raise ActRefused(f"{first.requested_by} has asked for it already: it {first.get_status_display()}.")
    return payment


def _ask(payment: Payment | None, **details: Any) -> str:
    if payment is None:
        raise ActRefused("Nothing was paid for it.")
    try:
        asked = request_refund(payment, **details)
    except RefundBlocked as block:
        raise ActRefused(f"{block} It needs a lead now.") from block
    except (RefundRequestRefused, NotALead) as refusal:
        raise ActRefused(str(refusal)) from refusal
    except (StaleOrder, StalePayment, IllegalMove):
        raise ActRefused("Somebody else moved it at this moment. Look at it again.") from None
    if isinstance(asked, RefundRequest):
        return _told(asked)
    return _tell_begun(asked, payment)


def _tell_begun(asked: AskedRefund, payment: Payment) -> str:
    if not asked.is_new:
        by = f", asked for by {asked.refund.requested_by}" if asked.refund else ""
        raise ActRefused(f"Its Stars went back already, or are on their way{by}.")
    return f"{payment.amount_stars:,} Stars go back: the worker asks Telegram."


def _decide(request: RefundRequest, **details: Any) -> RefundRequest:
    try:
        return decide_refund_request(request, **details)
    except RefundRequestRefused as refusal:
        raise ActRefused(str(refusal)) from refusal
    except (StaleOrder, StalePayment, IllegalMove):
        raise ActRefused("Somebody else moved it at this moment. Look at it again.") from None


def _told(request: RefundRequest) -> str:
    return {
        RefundRequest.Status.WAITING: "It waits for a second person, under Refund requests.",
        RefundRequest.Status.APPROVED: "The worker has eSIM Go take the bundle back, then the Stars go back.",
        RefundRequest.Status.DONE: "The Stars go back: the worker asks Telegram.",
        RefundRequest.Status.DECLINED: "It is declined; the Stars stay with us.",
    }[RefundRequest.Status(request.status)]


def _describe(said: EsimCondition) -> str:
    installed = {
        True: "The eSIM is or was installed",
        False: "The eSIM was never installed",
        None: "Not known whether the eSIM is installed",
    }
    first = "A top-up of an eSIM that the customer has" if said.is_top_up else installed[said.is_installed]
    return f"{first}; its data are {'in use or used up' if said.is_used else 'unused'} (bundle {said.bundle_state})."


def _price(usd: Decimal) -> str:
    return f"{usd.normalize():f} USD of wholesale price."


def _join(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


for act in (
    RefundOrder(),
    RefundBoughtOrder(),
    RefundPayment(),
    RefundBoughtPayment(),
    ApproveRefund(),
    DeclineRefund(),
    KeepCharge(),
):
    register_act(act)
