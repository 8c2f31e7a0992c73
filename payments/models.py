"""Invoices, pre-checkouts, Stars payments, refunds, and the Telegram updates they came from."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from catalog.models import PolicyRow
from esimshop.encrypted_fields import EncryptedJSONField, EncryptedTextField, encrypt_json
from esimshop.moves import move_row
from esimshop.prepared import fetch_prepared
from orders.models import Customer, IllegalMove, Order


class ServicePolicy(PolicyRow):
    """What we promise and allow."""

    quote_minutes = models.PositiveIntegerField(default=15, help_text="How long a price holds.")
    grace_minutes = models.PositiveIntegerField(default=10, help_text="A payment this late after it is honoured.")
    promise_minutes = models.PositiveIntegerField(default=15, help_text="From payment to eSIM or refund.")
    invoices_per_minute = models.PositiveIntegerField(default=20, help_text="Calls of create-invoice per customer.")
    purchases_per_hour = models.PositiveIntegerField(
        default=600, help_text="More purchases at eSIM Go than this stop and alert: something may buy by mistake."
    )
    ledger_refunds_per_hour = models.PositiveIntegerField(
        default=20, help_text="Automatic refunds of charges known only from Telegram's ledger; more stop and alert."
    )
    low_balance_usd = models.DecimalField(
        "low balance, USD",
        max_digits=12, decimal_places=4, default=Decimal(20),
        help_text="Sales pause when less than this of eSIM Go's balance is not promised to paid orders, USD.",
    )  # fmt: skip
    brake_error_percent = models.PositiveIntegerField(
        default=50, help_text="Sales pause when more of the last quarter hour's purchases fail, once there are ten."
    )
    brake_queue_seconds = models.PositiveIntegerField(
        default=300, help_text="Sales pause when the oldest paid order waits longer for its purchase."
    )
    second_person_stars = models.PositiveIntegerField(
        default=10_000, help_text="A refund of more Stars than this, asked for by staff, needs a second person."
    )
    instant_refund_days = models.PositiveIntegerField(
        default=14, help_text="So long after payment an unused, uninstalled eSIM is returned without asking staff."
    )
    instant_refunds_per_month = models.PositiveIntegerField(
        default=2, help_text="Of a customer, within 30 days; more are decided by staff. 0 switches them off."
    )
    hold_days = models.PositiveIntegerField(
        default=21, help_text="So long after a payment Telegram holds its Stars back from payout."
    )
    reserve_percent = models.PositiveIntegerField(
        default=10, help_text="Of the Stars on hold, at least this share should stay for refunds."
    )
    keep_updates_days = models.PositiveIntegerField(
        default=30, db_default=30, validators=[MinValueValidator(3)],
        help_text="Handled Telegram updates are deleted after so many days; failed ones stay. At least 3: Telegram "
        "repeats an update for a day.",
    )  # fmt: skip
    keep_calls_days = models.PositiveIntegerField(
        default=180, db_default=180, validators=[MinValueValidator(3)],
        help_text="Calls to eSIM Go, as a timeline shows them, and its callbacks are deleted after so many days.",
    )  # fmt: skip
    keep_operations_days = models.PositiveIntegerField(
        default=90, db_default=90, validators=[MinValueValidator(3)],
        help_text="Failed tasks, catalogue syncs and closed alerts are deleted after so many days.",
    )  # fmt: skip
    anonymise_after_days = models.PositiveIntegerField(
        default=1095,
        db_default=1095,
        help_text="Customers without a purchase, a usable eSIM or a case for so many days are forgotten. 0: never.",
    )

    class Meta(PolicyRow.Meta):
        verbose_name_plural = "service policies"

    def __str__(self) -> str:
        return f"price {self.quote_minutes} min, promise {self.promise_minutes} min"


def payload_of(order_id: UUID, *, key: str | None = None) -> str:
    """The payload of an order's invoice: 32 characters that nobody can guess, or trace to the order, without our keys.

    Whoever has them can tell which order a charge of Telegram's ledger paid for, also when the order has been lost.
    key: one of settings.DATA_KEYS; by default the first.
    """
    digest = hmac.digest((key or settings.DATA_KEYS[0]).encode(), b"invoice payload " + order_id.bytes, "sha256")
    return base64.urlsafe_b64encode(digest[:24]).decode()


def new_payload() -> str:
    """A payload nobody can guess: 32 characters, 192 random bits."""
    return secrets.token_urlsafe(24)


class Invoice(models.Model):
    """A Stars invoice link. Telegram keeps it payable for ever, by anyone: see `payments.services.pre_checkout`."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="invoice")
    payload = models.CharField(max_length=32, unique=True, default=new_payload, editable=False)
    link = models.URLField(blank=True, help_text="Empty until Telegram has made it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.payload


class PreCheckout(models.Model):
    """Telegram's last question before charging, and what we answered."""

    class Refusal(models.TextChoices):
        """Why not; the customer reads a sentence for each (`payments.services.pre_checkout`)."""

        NONE = "", "approved"
        UNKNOWN_INVOICE = "unknown_invoice"
        NOT_YOURS = "not_yours"
        WRONG_AMOUNT = "wrong_amount"
        NOT_AWAITING = "not_awaiting"
        QUOTE_EXPIRED = "quote_expired"
        PLAN_GONE = "plan_gone"
        SALES_PAUSED = "sales_paused"
        NO_BALANCE = "no_balance"

    query_id = models.CharField(max_length=64, unique=True)
    order = models.ForeignKey(Order, null=True, on_delete=models.PROTECT, related_name="pre_checkouts")
    refusal = models.CharField(max_length=16, choices=Refusal.choices, blank=True, default=Refusal.NONE)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=4, default=0, help_text="Of the order, USD.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["created_at"],
                include=["cost_usd", "order"],
                condition=models.Q(refusal=""),
                name="pre_checkout_ok",
            )
        ]

    def __str__(self) -> str:
        return self.get_refusal_display()


class Payment(models.Model):
    """One Telegram charge. The charge id is its identity, however often its update comes."""

    class Status(models.TextChoices):
        PAID = "paid"
        REFUNDING = "refunding"
        REFUNDED = "refunded"
        REFUND_FAILED = "refund_failed"

    class Kind(models.TextChoices):
        ORDER = "order", "pays for its order"
        EXTRA = "extra", "pays for nothing: returned"

    class ExtraReason(models.TextChoices):
        NONE = "", "—"
        UNKNOWN_INVOICE = "unknown_invoice", "no invoice of ours has this payload"
        WRONG_PAYER = "wrong_payer", "paid by somebody else"
        WRONG_AMOUNT = "wrong_amount", "not the quoted amount or currency"
        PAID_TWICE = "paid_twice", "the order was paid already"
        TOO_LATE = "too_late", "the order was closed already"
        RETURNED = "returned", "returned before we were told of it"
        DELIVERED = "delivered", "its eSIM was delivered, and its order lost with the books"

    charge_id = models.CharField(max_length=255, unique=True, help_text="telegram_payment_charge_id")
    payer_id = models.BigIntegerField("payer's Telegram id", db_index=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payments")
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.PROTECT, related_name="payments")
    invoice_payload = models.CharField(max_length=255, db_index=True)
    kind = models.CharField(max_length=5, choices=Kind.choices)
    extra_reason = models.CharField(max_length=16, choices=ExtraReason.choices, blank=True, default=ExtraReason.NONE)
    status = models.CharField(max_length=13, choices=Status.choices, default=Status.PAID)
    amount_stars = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    charged_at = models.DateTimeField(help_text="Telegram's time of the charge.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    refunded_at = models.DateTimeField(null=True, blank=True)
    is_from_ledger = models.BooleanField(
        default=False, help_text="Its update never came: Telegram's ledger told of it."
    )
    is_refunded_outside = models.BooleanField(default=False, help_text="Telegram took the Stars back by itself.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["order"], condition=models.Q(kind="order"), name="one_payment_pays_for_an_order"
            ),
            models.CheckConstraint(
                condition=models.Q(kind="extra") | models.Q(order__isnull=False),
                name="order_payment_has_order",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at"], name="payment_by_time"),
            models.Index(fields=["charged_at"], name="payment_by_charge_time"),
            models.Index(fields=["status", "-created_at"], name="payment_by_status"),
        ]
        permissions = [
            ("refund_undelivered", "Can refund where no eSIM was bought"),
            ("refund_delivered", "Can refund although an eSIM was, or may have been, bought"),
        ]

    def __str__(self) -> str:
        return self.charge_id


P = Payment.Status
ALLOWED_PAYMENT_MOVES: dict[str, frozenset[str]] = {
    P.PAID: frozenset({P.REFUNDING, P.REFUNDED}),
    P.REFUNDING: frozenset({P.REFUNDED, P.REFUND_FAILED}),
    P.REFUND_FAILED: frozenset({P.REFUNDING, P.REFUNDED, P.PAID}),
    P.REFUNDED: frozenset(),
}


class StalePayment(Exception):
    """Somebody else moved the payment first; nothing changed."""


def move_payment(payment: Payment, to: str, *, actor: str, reason: str = "", **changes: object) -> None:
    """Move a payment along ALLOWED_PAYMENT_MOVES and record who did it.

    Raises: IllegalMove if the table has no such step, StalePayment if another process moved it first.
    """
    if to not in ALLOWED_PAYMENT_MOVES[payment.status]:
        raise IllegalMove(f"payment {payment.pk}: {payment.status} -> {to}")
    before = payment.status
    event = PaymentEvent(payment=payment, before=before, after=to, actor=actor, reason=reason)
    if not move_row(payment, status=before, to=to, changes=changes, event=event):
        raise StalePayment(f"payment {payment.pk} is no longer {before}")
    payment.status = to
    for name, value in changes.items():
        setattr(payment, name, value)


class PaymentEvent(models.Model):
    """What happened to a payment, when, by whom and why. Only ever added to."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="events")
    before = models.CharField(max_length=13, blank=True)
    after = models.CharField(max_length=13)
    actor = models.CharField(max_length=100)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.before} → {self.after}" if self.before != self.after else self.reason


def note_payment_event(payment: Payment, *, actor: str, reason: str) -> PaymentEvent:
    """Write a line into the payment's timeline without moving it."""
    return PaymentEvent.objects.create(
        payment=payment, before=payment.status, after=payment.status, actor=actor, reason=reason
    )


class Refund(models.Model):
    """The return of all Stars of one payment: asked for once, tried until Telegram has answered."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DONE = "done"
        REFUSED = "refused"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    reason = models.TextField()
    requested_by = models.CharField(max_length=100)
    forced_by = models.CharField(
        max_length=100,
        blank=True,
        help_text="Who took it on themselves although an eSIM was, or may have been, bought.",
    )
    requested_at = models.DateTimeField(default=timezone.now)
    refunded_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["payment"],
                condition=models.Q(status__in=["pending", "done"]),
                name="one_refund_per_payment",
            )
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=models.Q(status="pending"), name="refund_due"),
            models.Index(fields=["-requested_at"], name="refund_by_time"),
            models.Index(fields=["refunded_at"], condition=~models.Q(refunded_at=None), name="refund_by_return"),
        ]

    def __str__(self) -> str:
        return f"{self.payment}: {self.status}"


class RefundRequest(models.Model):
    """A wish for a refund that cannot begin at once: a second person must agree, or the bundle goes back first."""

    class Status(models.TextChoices):
        WAITING = "waiting", "waits for a second person"
        APPROVED = "approved", "the worker carries it out"
        DONE = "done", "the refund was started"
        DECLINED = "declined", "the second person said no"
        REFUSED = "refused", "cannot be carried out: the note says why"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refund_requests")
    status = models.CharField(max_length=8, choices=Status.choices)
    reason = models.TextField()
    requested_by = models.CharField(max_length=100, help_text="Actor: admin:NAME or customer.")
    requested_at = models.DateTimeField(default=timezone.now)
    revokes_bundle = models.BooleanField(
        default=False, help_text="eSIM Go takes the unused bundle back first; else nothing is refunded."
    )
    forced_by = models.CharField(
        max_length=100, blank=True, help_text="The lead who takes it on themselves although an eSIM was bought."
    )
    decided_by = models.CharField(max_length=100, blank=True, help_text="The second person.")
    decided_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True, help_text="What came of it.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["payment"],
                condition=models.Q(status__in=["waiting", "approved"]),
                name="one_open_refund_request_per_payment",
            )
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=models.Q(status="approved"), name="refund_request_due"),
            models.Index(fields=["status", "-requested_at"], name="refund_request_by_status"),
        ]
        permissions = [("approve_refundrequest", "Can agree to another's refund as the second person")]

    def __str__(self) -> str:
        return f"{self.payment}: {self.status}"


class Case(models.Model):
    """What a customer asks support about, from the first word to the last."""

    class Status(models.TextChoices):
        DECIDING = "deciding", "the shop asks the wholesaler whether the eSIM is unused"
        OPEN = "open", "waits for staff"
        ANSWERED = "answered", "waits for the customer"
        CLOSED = "closed"

    class Reason(models.TextChoices):
        NOT_RECEIVED = "not_received", "paid, but no eSIM came"
        DOES_NOT_WORK = "does_not_work", "the eSIM does not work"
        NOT_NEEDED = "not_needed", "no longer needed, or bought by mistake"
        OTHER = "other", "something else"

    class Wish(models.TextChoices):
        HELP = "help"
        REFUND = "refund"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="cases")
    payment = models.ForeignKey(Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="cases")
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.PROTECT, related_name="cases")
    reason = models.CharField(max_length=16, choices=Reason.choices)
    wish = models.CharField(max_length=8, choices=Wish.choices)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OPEN)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="cases",
        help_text="The member of staff who answers.",
    )  # fmt: skip
    refund_request = models.OneToOneField(
        RefundRequest, null=True, blank=True, on_delete=models.PROTECT, related_name="case",
        help_text="The instant decision.",
    )  # fmt: skip
    opened_at = models.DateTimeField(default=timezone.now)
    first_answered_at = models.DateTimeField(null=True, blank=True, help_text="By staff, or by the instant decision.")
    updated_at = models.DateTimeField(default=timezone.now, help_text="Of the last message or change of state.")
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-updated_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["payment"],
                condition=~models.Q(status="closed") & ~models.Q(payment=None),
                name="one_open_case_per_payment",
            )
        ]
        indexes = [
            models.Index(fields=["status", "-updated_at"], name="case_by_status"),
            models.Index(fields=["customer", "-updated_at"], name="case_by_customer"),
            models.Index(fields=["-opened_at"], name="case_by_time"),
        ]
        permissions = [("answer_case", "Can answer, take and close cases")]

    def __str__(self) -> str:
        return f"case {self.pk}"


class CaseMessage(models.Model):
    """One line of a case: what was written, or what changed. Only ever added to."""

    class Author(models.TextChoices):
        CUSTOMER = "customer"
        STAFF = "staff"
        SHOP = "shop"

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="messages")
    author = models.CharField(max_length=8, choices=Author.choices)
    actor = models.CharField(max_length=100, help_text="customer, admin:NAME, worker, …")
    text = EncryptedTextField(blank=True)
    before = models.CharField(max_length=8, blank=True, help_text="Where the case changed its state.")
    after = models.CharField(max_length=8, blank=True)
    is_internal = models.BooleanField(default=False, help_text="For staff alone: the customer never sees it.")
    delivery = models.OneToOneField(
        "orders.Delivery", null=True, blank=True, on_delete=models.PROTECT, related_name="case_message",
        help_text="The bot's message that brings it.",
    )  # fmt: skip
    update = models.ForeignKey(
        "TelegramUpdate", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="The update that brought a customer's message: it is taken in once.",
    )  # fmt: skip
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["update"], condition=~models.Q(update=None), name="one_case_message_per_update"
            )
        ]

    def __str__(self) -> str:
        return self.text[:60]


C = Case.Status
ALLOWED_CASE_MOVES: dict[str, frozenset[str]] = {
    C.DECIDING: frozenset({C.OPEN, C.CLOSED}),
    C.OPEN: frozenset({C.ANSWERED, C.CLOSED}),
    C.ANSWERED: frozenset({C.OPEN, C.CLOSED}),
    C.CLOSED: frozenset({C.OPEN}),
}


class StaleCase(Exception):
    """Somebody else moved the case first; nothing changed."""


def move_case(case: Case, to: str, *, line: CaseMessage, **changes: object) -> None:
    """Move a case along ALLOWED_CASE_MOVES, with the line that says who did it, or what was written with it.

    Raises: IllegalMove if the table has no such step, StaleCase if another process moved it first.
    """
    if to not in ALLOWED_CASE_MOVES[case.status]:
        raise IllegalMove(f"case {case.pk}: {case.status} -> {to}")
    line.case, line.before, line.after = case, case.status, to
    changes = {"updated_at": line.created_at, **changes}
    if not move_row(case, status=case.status, to=to, changes=changes, event=line):
        raise StaleCase(f"case {case.pk} is no longer {case.status}")
    case.status = to
    for name, value in changes.items():
        setattr(case, name, value)


class StarTransaction(models.Model):
    """One row of Telegram's Stars ledger. A refund repeats the id of its purchase with the other direction."""

    class Direction(models.TextChoices):
        IN = "in"
        OUT = "out"

    class State(models.TextChoices):
        MATCHED = "matched", "agrees with a payment or refund of ours"
        WAITING = "waiting", "young: its update may still come"
        OTHER = "other", "no sale: a withdrawal, an advertisement, a fee, …"
        HISTORY = "history", "from before the shop kept books"
        UNEXPLAINED = "unexplained", "only in Telegram: a person must look"
        DIFFERENT = "different", "another amount than ours"

    transaction_id = models.CharField(max_length=255)
    direction = models.CharField(max_length=3, choices=Direction.choices)
    amount_stars = models.BigIntegerField()
    date = models.DateTimeField(help_text="Telegram's time.")
    partner_type = models.CharField(max_length=32)
    transaction_type = models.CharField(max_length=32, blank=True)
    user_id = models.BigIntegerField(null=True, blank=True)
    invoice_payload = models.CharField(max_length=255, blank=True)
    payment = models.ForeignKey(
        Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="star_transactions"
    )
    state = models.CharField(max_length=11, choices=State.choices)
    note = models.TextField(blank=True)
    first_read_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-date", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["transaction_id", "direction"], name="one_row_per_star_transaction"),
        ]
        indexes = [
            models.Index(fields=["state"], condition=~models.Q(state__in=["matched", "other", "history"]),
                         name="star_transaction_open"),
            models.Index(fields=["-date"], name="star_transaction_by_time"),
        ]  # fmt: skip
        permissions = [
            ("reconcile_stars", "Can compare Telegram's ledger with our books"),
            ("export_reports", "Can export the CSV reports"),
        ]

    def __str__(self) -> str:
        return f"{self.direction} {self.transaction_id}"


class StarsAccount(models.Model):
    """How far Telegram's ledger was read, and what it said of our balance: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    rows_read = models.PositiveIntegerField(default=0, help_text="Rows at the beginning of the ledger that are stored.")
    balance_stars = models.BigIntegerField(null=True)
    read_at = models.DateTimeField(null=True, help_text="When the ledger was last read to its end.")
    history_until = models.DateTimeField(null=True, help_text="Rows until then are history: --adopt-history.")

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_stars_account")]

    def __str__(self) -> str:
        return f"{self.balance_stars} Stars"


class WebhookState(models.Model):
    """How Telegram reaches us: what it last said of our webhook, and the certificate that it meets there. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    url = models.CharField(max_length=500, blank=True, help_text="Where Telegram sends updates; empty: nowhere.")
    allowed_updates = models.JSONField(default=list, help_text="The kinds that it sends; empty: all that we need.")
    pending_updates = models.PositiveIntegerField(default=0, help_text="Updates that wait at Telegram.")
    last_error = models.TextField(blank=True, help_text="Why Telegram could last not deliver, in its words.")
    last_error_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True, help_text="When Telegram was last asked.")
    certificate_ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: not known, or none is needed.")
    certificate_error = models.TextField(blank=True, help_text="Why the certificate of PUBLIC_URL is not good.")
    certificate_read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_webhook_state")]

    def __str__(self) -> str:
        return self.url or "no webhook"


class TelegramUpdateManager(models.Manager["TelegramUpdate"]):
    INSERT = """
        INSERT INTO payments_telegramupdate
               (update_id, kind, body, status, error, attempts, next_try_at, received_at, handled_at)
        VALUES (%(update_id)s, %(kind)s, %(body)s::jsonb, %(status)s, '', 0, %(next_try_at)s::timestamptz, %(now)s,
                %(handled_at)s::timestamptz)
    """

    def store(
        self, *, update_id: int, kind: str, body: Mapping[str, Any], status: str, next_try_at: datetime | None
    ) -> int | None:
        """Insert an update, made `storable`, in one statement. Returns its key, or None where it was stored before."""
        values = self.insert_values(update_id=update_id, kind=kind, body=body)
        if status != TelegramUpdate.Status.HANDLED:
            values |= {"status": status, "handled_at": None, "next_try_at": next_try_at}
        row = fetch_prepared(f"{self.INSERT} ON CONFLICT (update_id) DO NOTHING RETURNING id", values)
        return row[0] if row else None

    def insert_values(self, *, update_id: int, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of INSERT for an update, made `storable`, that is handled as it is stored."""
        now = timezone.now()
        return {
            "update_id": update_id,
            "kind": kind,
            "body": json.dumps(encrypt_json(body)),
            "status": "handled",
            "next_try_at": None,
            "now": now,
            "handled_at": now,
        }


class TelegramUpdate(models.Model):
    """An update as Telegram sent it, kept before anything else happens; unique by its id."""

    class Status(models.TextChoices):
        RECEIVED = "received", "stored, the worker handles it"
        HANDLED = "handled"
        FAILED = "failed", "handling raised; replayed by a task"

    update_id = models.BigIntegerField(unique=True)
    kind = models.CharField(max_length=32, help_text="Which field of the update is set; `other` if none we use.")
    body = EncryptedJSONField()
    status = models.CharField(max_length=8, choices=Status.choices)
    error = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField(default=timezone.now, db_index=True)
    handled_at = models.DateTimeField(null=True, blank=True)

    objects = TelegramUpdateManager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["next_try_at"],
                condition=models.Q(status__in=["received", "failed"]),
                name="update_unhandled",
            )
        ]
        permissions = [("replay_telegramupdate", "Can have an update handled again")]

    def __str__(self) -> str:
        return f"{self.update_id} {self.kind}"
