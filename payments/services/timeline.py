"""All that happened to an order, or to a payment without one, in the order in which the shop learned of it.

One query per table, whatever the length. Each entry is shown to whoever may view its row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Model, Prefetch, prefetch_related_objects
from django.urls import NoReverseMatch, reverse

from esimshop.back_office import BAD, BUSY, CARE, GOOD, QUIET
from esimshop.logs import redact
from orders.models import Delivery, Esim, Order, OrderEvent, Orphan, ProvisioningAttempt, WholesalerCall
from payments.models import (
    Case,
    CaseMessage,
    Invoice,
    Payment,
    PaymentEvent,
    PreCheckout,
    Refund,
    RefundRequest,
    StarTransaction,
)

#: A longer timeline has the calls that repeat one after the other folded together.
FOLDED_OVER = 300


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that happened.

    icon:    a Material symbol; tone: one of esimshop.back_office's colours.
    who:     "Customer", "Shop", "Telegram", "eSIM Go", or a member of staff by username.
    what:    one line; note: why, in the words of whoever did it.
    details: names and values; texts: names and long values, such as a request.
    url:     of the row's own page in the admin, if there is one.
    count:   how many calls are folded into this one; first_at: when the first of them was.
    """

    at: datetime
    icon: str
    tone: str
    who: str
    what: str
    note: str = ""
    details: tuple[tuple[str, Any], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    url: str = ""
    count: int = 1
    first_at: datetime | None = None


_PAYMENT_ROWS = ("events", "refunds", "refund_requests", "star_transactions")


def prefetch_order(order: Order) -> None:
    """Read all that belongs to an order at once; what was read before is kept."""
    prefetch_related_objects(
        [order],
        "customer",
        "plan",
        "pricing_policy",
        "top_up_esim",
        "invoice",
        "events",
        Prefetch("pre_checkouts", PreCheckout.objects.order_by("id")),
        Prefetch("payments", Payment.objects.order_by("id")),
        *(f"payments__{rows}" for rows in _PAYMENT_ROWS),
        "attempts",
        # Thousands of look-ups may have been made: their answers are read only where they are shown.
        Prefetch("wholesaler_calls", WholesalerCall.objects.defer("request", "response")),
        Prefetch("esims", Esim.objects.order_by("id")),
        Prefetch("deliveries", Delivery.objects.order_by("id")),
        Prefetch("orphans", Orphan.objects.order_by("id")),
        Prefetch("cases", Case.objects.order_by("id").select_related("owner")),
        "cases__messages",
    )


def read_timeline(order: Order, user: Any) -> list[Entry]:
    """An order's whole story as `user` may see it, oldest first."""
    prefetch_order(order)
    story = _Story(user, secrets=[esim.matching_id for esim in _esims_of(order)])
    story.add(_order_events, order.events.all())
    story.add(_invoices, [order.invoice] if hasattr(order, "invoice") else [])
    story.add(_pre_checkouts, order.pre_checkouts.all())
    _add_payments(story, order.payments.all())
    story.add(_attempts, order.attempts.all())
    story.add(_calls, order.wholesaler_calls.all())
    story.add(_esims, order.esims.all())
    story.add(_deliveries, order.deliveries.all())
    story.add(_orphans, order.orphans.all())
    story.add(_cases, order.cases.all())
    return story.tell()


def read_payment_timeline(payment: Payment, user: Any) -> list[Entry]:
    """A payment's own story, oldest first: that of an extra charge, which no order tells."""
    prefetch_related_objects(
        [payment],
        "customer",
        *_PAYMENT_ROWS,
        Prefetch("cases", Case.objects.order_by("id").select_related("owner")),
        "cases__messages",
    )
    secrets = list(Esim.objects.filter(customer_id=payment.customer_id).values_list("matching_id", flat=True))
    story = _Story(user, secrets=secrets)
    _add_payments(story, [payment])
    story.add(_cases, payment.cases.all())
    return story.tell()


def _add_payments(story: _Story, payments: Iterable[Payment]) -> None:
    story.add(_charges, payments)
    for payment in payments:
        story.add(_payment_events, payment.events.all())
        story.add(_refund_requests, payment.refund_requests.all())
        story.add(_refunds, payment.refunds.all())
        story.add(_ledger_rows, payment.star_transactions.all())


def _esims_of(order: Order) -> list[Esim]:
    return [*order.esims.all(), *([order.top_up_esim] if order.top_up_esim else [])]


class _Story:
    def __init__(self, user: Any, *, secrets: list[str]) -> None:
        self._user = user
        self._secrets = secrets
        self._entries: list[Entry] = []
        self._calls: list[tuple[Entry, WholesalerCall]] = []

    def add(self, write: Any, rows: Iterable[Any]) -> None:
        """The entries of rows of one table, if the member of staff may view it."""
        for row in rows:
            if not may_view(self._user, type(row)):
                return
            for entry in write(row):
                if isinstance(row, WholesalerCall):
                    self._calls.append((entry, row))
                else:
                    self._entries.append(entry)

    def tell(self) -> list[Entry]:
        told: list[tuple[Entry, WholesalerCall | None]] = [(entry, None) for entry in self._entries]
        told = sorted([*told, *self._calls], key=lambda each: each[0].at)
        if len(told) > FOLDED_OVER:
            told = _folded(told)
        return [self._cleaned(entry) for entry in _with_contents(told)]

    def _cleaned(self, entry: Entry) -> Entry:
        # Staff and customers write what they like, and an activation code may be among it.
        return replace(
            entry,
            what=redact(entry.what, *self._secrets),
            note=redact(entry.note, *self._secrets),
            details=tuple(
                (name, redact(value, *self._secrets) if isinstance(value, str) else value)
                for name, value in entry.details
                if value not in ("", None)
            ),
            texts=tuple((name, redact(text, *self._secrets)) for name, text in entry.texts if text),
        )


def may_view(user: Any, model: type[Model]) -> bool:
    """Whether the member of staff may see rows of a model."""
    return bool(user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))


def _folded(told: list[tuple[Entry, WholesalerCall | None]]) -> list[tuple[Entry, WholesalerCall | None]]:
    """Calls of one kind and outcome that follow one another become the last of them, with a count."""
    folded: list[tuple[Entry, WholesalerCall | None]] = []
    for entry, call in told:
        before, call_before = folded[-1] if folded else (None, None)
        if call and call_before and before and (call.call, call.outcome) == (call_before.call, call_before.outcome):
            entry = replace(entry, count=before.count + 1, first_at=before.first_at or before.at)
            folded[-1] = (entry, call)
        else:
            folded.append((entry, call))
    return folded


def _with_contents(told: list[tuple[Entry, WholesalerCall | None]]) -> Iterator[Entry]:
    """The entries, those of calls with what was asked and answered: one query for all that are shown."""
    shown = [call.pk for _, call in told if call]
    contents = {
        pk: rest for pk, *rest in WholesalerCall.objects.filter(pk__in=shown).values_list("pk", "request", "response")
    }
    for entry, call in told:
        if call is None:
            yield entry
        elif call.pk in contents:
            request, response = contents[call.pk]
            yield replace(entry, texts=(("request", _request_text(request)), ("response", response)))


def _request_text(request: dict[str, Any]) -> str:
    lines = [f"{request.get('method', '')} {request.get('path', '')}".strip()]
    for name, value in (request.get("params") or {}).items():
        values = value if isinstance(value, list) else [value]
        lines += [f"  {name}={each}" for each in values]
    if request.get("body"):
        lines.append(json.dumps(request["body"], ensure_ascii=False, indent=1))
    return "\n".join(lines)


# What each row tells


def _who(actor: str) -> str:
    kind, _, name = actor.partition(":")
    if kind == "admin":
        return name
    return {"worker": "Shop", "clock": "Clock", "telegram": "Telegram", "customer": "Customer"}.get(kind, actor)


def row_page(row: Model) -> str:
    """The address of a row's own page in the admin; empty where it has none."""
    try:
        return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    except NoReverseMatch:
        return ""


_STATUS_TONES: dict[str, str] = {
    Order.Status.PAID: BUSY,
    Order.Status.PROVISIONING: BUSY,
    Order.Status.COMPLETED: GOOD,
    Order.Status.NEEDS_ATTENTION: BAD,
    Order.Status.REFUNDING: CARE,
    Order.Status.REFUNDED: CARE,
    Payment.Status.REFUND_FAILED: BAD,
}


def _words(value: str) -> str:
    return value.replace("_", " ")


def _order_events(event: OrderEvent) -> Iterator[Entry]:
    who = _who(event.actor)
    match event.kind:
        case OrderEvent.Kind.MOVE:
            yield Entry(
                at=event.created_at,
                icon="arrow_forward",
                tone=_STATUS_TONES.get(event.after, QUIET),
                who=who,
                what=f"Order: {_words(event.before)} → {_words(event.after)}",
                note=event.reason,
            )
        case OrderEvent.Kind.HINT:
            yield Entry(
                at=event.created_at,
                icon="touch_app",
                tone=QUIET,
                who="Mini App",
                what=f"Hint: {event.reason}",
            )
        case OrderEvent.Kind.REVEAL:
            yield Entry(
                at=event.created_at,
                icon="visibility",
                tone=CARE,
                who=who,
                what="Saw the activation code",
                note=event.reason,
            )
        case _:
            icon = "person_edit" if event.actor.startswith("admin:") else "edit_note"
            yield Entry(at=event.created_at, icon=icon, tone=QUIET, who=who, what=_sentence(event.reason))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _invoices(invoice: Invoice) -> Iterator[Entry]:
    yield Entry(
        at=invoice.created_at,
        icon="request_quote",
        tone=QUIET,
        who="Shop",
        what="Invoice made" if invoice.link else "Invoice made; Telegram has given no link yet",
        details=(("payload", invoice.payload), ("link", invoice.link)),
        url=row_page(invoice),
    )


def _pre_checkouts(row: PreCheckout) -> Iterator[Entry]:
    is_approved = row.refusal == PreCheckout.Refusal.NONE
    yield Entry(
        at=row.created_at,
        icon="fact_check",
        tone=QUIET if is_approved else CARE,
        who="Shop",
        what="Pre-checkout approved" if is_approved else f"Pre-checkout refused: {_words(row.refusal)}",
        details=(("query id", row.query_id),),
        url=row_page(row),
    )


def _charges(payment: Payment) -> Iterator[Entry]:
    is_extra = payment.kind == Payment.Kind.EXTRA
    what = f"{payment.amount_stars:,} Stars charged"
    yield Entry(
        at=payment.created_at,
        icon="payments",
        tone=CARE if is_extra else GOOD,
        who="Telegram",
        what=f"{what}, an extra charge: {payment.get_extra_reason_display()}" if is_extra else what,
        note="Its update never came: Telegram's ledger told of it." if payment.is_from_ledger else "",
        details=(
            ("charge id", payment.charge_id),
            ("payer", payment.payer_id),
            ("Telegram's time", payment.charged_at),
            ("currency", "" if payment.currency == "XTR" else payment.currency),
        ),
        url=row_page(payment),
    )


def _payment_events(event: PaymentEvent) -> Iterator[Entry]:
    if not event.before:
        return  # The charge, which has an entry of its own.
    yield Entry(
        at=event.created_at,
        icon="currency_exchange",
        tone=_STATUS_TONES.get(event.after, QUIET),
        who=_who(event.actor),
        what=f"Payment: {_words(event.before)} → {_words(event.after)}",
        note=event.reason,
    )


def _refund_requests(request: RefundRequest) -> Iterator[Entry]:
    yield Entry(
        at=request.requested_at,
        icon="hourglass_top",
        tone=CARE,
        who=_who(request.requested_by),
        what=f"Refund asked for: {request.get_status_display()}",
        note=request.reason,
        details=(
            ("in spite of the eSIM", _who(request.forced_by)),
            ("revokes the bundle", "first" if request.revokes_bundle else ""),
            ("tried", request.attempts or ""),
            ("next try", request.next_try_at if request.status == RefundRequest.Status.APPROVED else None),
            ("what came of it", request.note),
        ),
        url=row_page(request),
    )
    if request.decided_at:
        was_declined = request.status == RefundRequest.Status.DECLINED
        yield Entry(
            at=request.decided_at,
            icon="how_to_reg",
            tone=BAD if was_declined else GOOD,
            who=_who(request.decided_by),
            what="Declined the refund" if was_declined else "Agreed to the refund",
            note=request.note if was_declined else "",
        )


def _refunds(refund: Refund) -> Iterator[Entry]:
    answer, tone = {
        Refund.Status.PENDING: ("Telegram has not answered yet", BUSY),
        Refund.Status.DONE: ("done since", GOOD),
        Refund.Status.REFUSED: ("refused by Telegram since", BAD),
    }[Refund.Status(refund.status)]
    yield Entry(
        at=refund.requested_at,
        icon="undo",
        tone=tone,
        who=_who(refund.requested_by),
        what=f"Refund begun, {answer}",
        note=refund.reason,
        details=(
            ("in spite of the eSIM", _who(refund.forced_by)),
            ("tried", _times(refund.attempts)),
            ("next try", refund.next_try_at if refund.status == Refund.Status.PENDING else None),
            ("Stars back", refund.refunded_at),
            ("Telegram's words", refund.error),
        ),
        url=row_page(refund),
    )


def _times(count: int) -> str:
    return {0: "", 1: "once"}.get(count, f"{count} times")


def _ledger_rows(row: StarTransaction) -> Iterator[Entry]:
    is_doubtful = row.state in {StarTransaction.State.UNEXPLAINED, StarTransaction.State.DIFFERENT}
    sign = "+" if row.direction == StarTransaction.Direction.IN else "−"
    yield Entry(
        at=row.first_read_at,
        icon="menu_book",
        tone=BAD if is_doubtful else QUIET,
        who="Telegram",
        what=f"Ledger read: {sign}{abs(row.amount_stars):,} Stars, {row.get_state_display()}",
        note=row.note,
        details=(("Telegram's time", row.date), ("transaction", row.transaction_id)),
        url=row_page(row),
    )


def _attempts(attempt: ProvisioningAttempt) -> Iterator[Entry]:
    status = ProvisioningAttempt.Status(attempt.status)
    yield Entry(
        at=attempt.started_at,
        icon="shopping_cart",
        tone=BUSY if status == ProvisioningAttempt.Status.OPEN else QUIET,
        who="Shop",
        what=f"Purchase of {attempt.bundle_name} begun"
        + (": outcome not known" if status == ProvisioningAttempt.Status.OPEN else ""),
        note=attempt.error if not attempt.finished_at else "",
        details=(("empty look-ups", attempt.empty_look_ups or ""),),
    )
    if attempt.finished_at:
        what, tone = {
            ProvisioningAttempt.Status.PLACED: ("Purchase placed", GOOD),
            ProvisioningAttempt.Status.REJECTED: ("Purchase refused: certainly nothing was bought", CARE),
            ProvisioningAttempt.Status.ABSENT: ("Purchase proven absent: nothing was bought", CARE),
            ProvisioningAttempt.Status.REVOKED: ("Purchase revoked", CARE),
        }.get(status, ("Purchase closed", QUIET))
        yield Entry(
            at=attempt.finished_at,
            icon="shopping_cart_checkout",
            tone=tone,
            who="Shop",
            what=what,
            note=attempt.error,
            details=(
                ("eSIM Go's reference", attempt.reference),
                ("cost", f"{attempt.cost_usd} USD" if attempt.cost_usd is not None else ""),
                ("bought from", attempt.source_ip),
            ),
        )


def _calls(call: WholesalerCall) -> Iterator[Entry]:
    outcome, tone = {
        WholesalerCall.Outcome.OK: ("ok", QUIET),
        WholesalerCall.Outcome.REJECTED: ("refused", BAD),
        WholesalerCall.Outcome.UNREACHABLE: ("nothing came of it", CARE),
        WholesalerCall.Outcome.OUTCOME_UNKNOWN: ("outcome not known", BAD),
        WholesalerCall.Outcome.BUG: ("the shop failed over it", BAD),
    }[WholesalerCall.Outcome(call.outcome)]
    status = f", HTTP {call.http_status}" if call.http_status else ""
    yield Entry(
        at=call.started_at,
        icon="cloud_sync",
        tone=tone,
        who="eSIM Go",
        what=f"{_sentence(_words(call.call))}: {outcome}{status}, {call.duration_ms:,} ms",
    )


def _esims(esim: Esim) -> Iterator[Entry]:
    name = f"eSIM …{esim.iccid[-4:]}"
    yield Entry(at=esim.created_at, icon="sim_card", tone=GOOD, who="Shop", what=f"{name} stored", url=row_page(esim))
    if esim.referenced_at:
        yield Entry(
            at=esim.referenced_at,
            icon="sim_card",
            tone=QUIET,
            who="Shop",
            what=f"Our order id written on {name} at eSIM Go",
        )


def _deliveries(delivery: Delivery) -> Iterator[Entry]:
    kind = delivery.get_kind_display()
    details: tuple[tuple[str, Any], ...] = (("tried", _times(delivery.attempts)), ("problem", delivery.error))
    if delivery.status == Delivery.Status.SENT and delivery.sent_at:
        yield Entry(
            at=delivery.sent_at,
            icon="send",
            tone=GOOD,
            who="Bot",
            what=f"Message sent: {kind}",
            note=delivery.text,
            details=(("message id", str(delivery.message_id or "")), ("owed since", delivery.created_at), *details),
            url=row_page(delivery),
        )
        return
    is_pending = delivery.status == Delivery.Status.PENDING
    state = {
        Delivery.Status.PENDING: "Message owed",
        Delivery.Status.BLOCKED: "Message not taken, the bot is blocked",
        Delivery.Status.SKIPPED: "Message skipped",
    }.get(Delivery.Status(delivery.status), "Message")
    yield Entry(
        at=delivery.created_at,
        icon="schedule_send" if is_pending else "cancel_schedule_send",
        tone=BUSY if is_pending else CARE,
        who="Bot",
        what=f"{state}: {kind}",
        note=delivery.text,
        details=(*details, ("next try", delivery.next_try_at if is_pending else None)),
        url=row_page(delivery),
    )


def _orphans(orphan: Orphan) -> Iterator[Entry]:
    yield Entry(
        at=orphan.found_at,
        icon="link_off",
        tone=BAD if orphan.status == Orphan.Status.OPEN else CARE,
        who="Shop",
        what=f"Found at eSIM Go without an order: {orphan}",
        note=orphan.note,
        details=(
            ("bundle", orphan.bundle_name),
            ("cost", f"{orphan.total_usd} USD" if orphan.total_usd is not None else ""),
            ("bought", orphan.placed_at),
        ),
        url=row_page(orphan),
    )
    if orphan.decided_at and orphan.status != Orphan.Status.OPEN:
        yield Entry(
            at=orphan.decided_at,
            icon="link",
            tone=QUIET,
            who=_who(orphan.decided_by),
            what=f"The found purchase: {orphan.get_status_display()}",
            url=row_page(orphan),
        )


def _cases(case: Case) -> Iterator[Entry]:
    wish = "a refund" if case.wish == Case.Wish.REFUND else "help"
    yield Entry(
        at=case.opened_at,
        icon="support_agent",
        tone=BUSY if case.status in {Case.Status.OPEN, Case.Status.DECIDING} else QUIET,
        who="Customer",
        what=f"Case opened: {case.get_reason_display()}; wants {wish}",
        details=(("state", case.get_status_display()), ("owner", case.owner.username if case.owner else "")),
        url=row_page(case),
    )
    for message in case.messages.all():
        yield _case_message(case, message)


def _case_message(case: Case, message: CaseMessage) -> Entry:
    icons = {CaseMessage.Author.CUSTOMER: "chat", CaseMessage.Author.STAFF: "reply"}
    what = "Internal note" if message.is_internal else "Wrote"
    if not message.text:
        what = f"Case: {_words(message.before) or 'new'} → {_words(message.after)}" if message.after else "Case"
    return Entry(
        at=message.created_at,
        icon=icons.get(CaseMessage.Author(message.author), "forum"),
        tone=BUSY if message.author == CaseMessage.Author.CUSTOMER else QUIET,
        who=_who(message.actor),
        what=what,
        note=message.text,
        url=row_page(case),
    )
