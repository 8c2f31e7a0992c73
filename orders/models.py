"""Customers, what they ordered, how it was bought at eSIM Go, their eSIMs, and the messages that deliver them.

An order knows no charge, invoice or refund: those live in `payments` and point here.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Upper
from django.utils import timezone

from catalog.models import Plan, PricingPolicy
from esimshop.activation_codes import lpa_code
from esimshop.encrypted_fields import EncryptedJSONField, EncryptedTextField
from esimshop.moves import move_row


class IllegalMove(Exception):
    """The transition table has no such step: a bug, or two people pressing opposite buttons. Nothing changed."""


class StaleOrder(Exception):
    """Somebody else moved the order first. Read it again and decide anew; nothing changed."""


class Customer(models.Model):
    """A Telegram user who opened the shop or wrote to the bot."""

    telegram_user_id = models.BigIntegerField(unique=True)
    first_name = models.CharField(max_length=256, blank=True)
    last_name = models.CharField(max_length=256, blank=True)
    username = models.CharField(max_length=64, blank=True)
    language_code = models.CharField(max_length=35, blank=True, help_text="As Telegram says it.")
    language = models.CharField(max_length=2, default="en", help_text="The one we write in: ru or en.")
    chosen_language = models.CharField(
        max_length=2, blank=True, default="", db_default="",
        help_text="Chosen in the Mini App's settings; empty: Telegram's.",
    )  # fmt: skip
    wants_usage_notices = models.BooleanField(
        default=True, db_default=True, help_text="The bot tells of data and days that run out."
    )
    is_bot_blocked = models.BooleanField(default=False)
    anonymised_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the customer's data were deleted; the Telegram id is a made-up one since.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        permissions = [("anonymise_customer", "Can have a customer's data deleted")]
        # Telegram does not tell upper from lower case in a username; so `username__iexact` has its index.
        indexes = [models.Index(Upper("username"), name="customer_by_username")]

    def __str__(self) -> str:
        if self.anonymised_at:
            return f"deleted customer {self.pk}"
        return f"@{self.username}" if self.username else str(self.telegram_user_id)


class OrderQuerySet(models.QuerySet["Order"]):
    def promised(self) -> OrderQuerySet:
        """Paid and not yet bought at the wholesaler: what its balance must cover."""
        return self.filter(status__in=[Order.Status.PAID, Order.Status.PROVISIONING])

    def unfinished(self) -> OrderQuerySet:
        """Paid for and neither completed nor refunded nor with a person."""
        return self.filter(status__in=[Order.Status.PAID, Order.Status.PROVISIONING, Order.Status.REFUNDING])


class Order(models.Model):
    """One eSIM, or one top-up, for one customer at one quoted price."""

    class Status(models.TextChoices):
        AWAITING_PAYMENT = "awaiting_payment"
        PAID = "paid"
        PROVISIONING = "provisioning"
        COMPLETED = "completed"
        NEEDS_ATTENTION = "needs_attention"
        REFUNDING = "refunding"
        REFUNDED = "refunded"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    class Cause(models.TextChoices):
        """Why an order could not go its way; what the customer is told follows from it."""

        NONE = "", "—"
        SOLD_OUT = "sold_out", "the wholesaler refused the bundle"
        ACCOUNT = "account", "the wholesaler refuses our account"
        UNREACHABLE = "unreachable", "the wholesaler does not answer"
        OUTCOME_UNKNOWN = "outcome_unknown", "not known whether the wholesaler placed the order"
        NO_ESIM_DATA = "no_esim_data", "bought, but the eSIM's data have not come"
        PROMISE_MISSED = "promise_missed", "not ready within the promised time"
        PURCHASE_LIMIT = "purchase_limit", "more purchases an hour than the policy allows"
        SEVERAL_MATCHES = "several_matches", "several purchases at the wholesaler may be this order's"
        REFUND_REFUSED = "refund_refused", "Telegram refused the refund"
        REQUESTED = "requested", "asked for by the customer or decided by staff"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="orders")
    top_up_esim = models.ForeignKey(
        "Esim", null=True, blank=True, on_delete=models.PROTECT, related_name="top_up_orders",
        help_text="The eSIM that gets the data; empty: a new eSIM.",
    )  # fmt: skip
    bought_plan = models.JSONField(help_text="The plan as it was bought, by language, in the shape of the API.")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.AWAITING_PAYMENT)
    cause = models.CharField(max_length=20, choices=Cause.choices, blank=True, default=Cause.NONE)

    amount_stars = models.PositiveIntegerField(help_text="The quote: what the customer pays.")
    cost_usd = models.DecimalField(
        max_digits=12, decimal_places=4, help_text="Wholesale price the quote was made from."
    )
    pricing_policy = models.ForeignKey(
        PricingPolicy, null=True, on_delete=models.PROTECT, related_name="+", help_text="Empty: the defaults."
    )
    quote_expires_at = models.DateTimeField()

    # Null where none was sent: several of these may be, unlike empty texts, under the unique constraint.
    idempotency_key = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001
    request_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the request under the key.")

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    paid_at = models.DateTimeField(null=True, blank=True)
    promise_at = models.DateTimeField(null=True, blank=True, help_text="By then: eSIM, refund, or a person.")
    completed_at = models.DateTimeField(null=True, blank=True)
    next_try_at = models.DateTimeField(null=True, blank=True, help_text="When the worker tries again.")
    lease_until = models.DateTimeField(null=True, blank=True, help_text="Until then one worker has it.")
    look_up_from = models.DateTimeField(
        null=True, blank=True, help_text="Set: purchases since then are looked up at eSIM Go before anything is bought."
    )

    objects = OrderQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        permissions = [
            ("reprovision_order", "Can bring an order that waits for a person on its way again"),
            ("cancel_order", "Can cancel an unpaid order"),
            ("reconcile_orders", "Can compare eSIM Go's books with ours"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_stars__gte=1), name="order_costs_at_least_one_star"),
            models.UniqueConstraint(
                fields=["customer", "plan"],
                condition=models.Q(status="awaiting_payment", top_up_esim=None),
                name="one_unpaid_order_per_customer_and_plan",
            ),
            models.UniqueConstraint(
                fields=["customer", "plan", "top_up_esim"],
                condition=models.Q(status="awaiting_payment") & ~models.Q(top_up_esim=None),
                name="one_unpaid_top_up_per_customer_and_esim",
            ),
            models.UniqueConstraint(fields=["customer", "idempotency_key"], name="one_order_per_idempotency_key"),
        ]
        indexes = [
            models.Index(fields=["customer", "-created_at"], name="order_by_customer"),
            models.Index(fields=["-created_at"], name="order_by_time"),
            models.Index(fields=["status", "-created_at"], name="order_by_status"),
            models.Index(fields=["cause", "-created_at"], condition=~models.Q(cause=""), name="order_by_cause"),
            models.Index(fields=["plan", "-created_at"], name="order_by_plan"),
            models.Index(fields=["paid_at"], condition=~models.Q(paid_at=None), name="order_by_payment"),
            models.Index(
                fields=["status", "next_try_at"],
                condition=models.Q(
                    status__in=["awaiting_payment", "paid", "provisioning", "refunding", "needs_attention"]
                ),
                name="order_open",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def short_name(self) -> str:
        """For staff who see several: "34646d36, Norway, 1 GB, 7 days, 115 Stars"."""
        title = self.bought_plan.get("en", {}).get("title", "")
        return ", ".join(filter(None, [str(self.pk)[:8], title, f"{self.amount_stars:,} Stars"]))

    @property
    def delivery_state(self) -> str:
        """`pending`, `sent` or `blocked`: the state of the message that brings the eSIM."""
        for delivery in self.deliveries.all():
            if delivery.kind == Delivery.Kind.ESIM and delivery.status != Delivery.Status.SKIPPED:
                return delivery.status
        return Delivery.Status.PENDING

    @property
    def esim(self) -> Esim | None:
        """The eSIM that this order bought or topped up, while it is the customer's: not once its Stars go back."""
        if self.status != Order.Status.COMPLETED:
            return None
        return self.top_up_esim or next(iter(self.esims.all()), None)


S = Order.Status
#: Who may go where. Nothing changes `Order.status` but `move_order` (and `orders.services` claims through it).
ALLOWED_MOVES: dict[str, frozenset[str]] = {
    S.AWAITING_PAYMENT: frozenset({S.PAID, S.EXPIRED, S.CANCELLED}),
    S.EXPIRED: frozenset({S.PAID}),
    S.PAID: frozenset({S.PROVISIONING, S.REFUNDING}),
    S.PROVISIONING: frozenset({S.COMPLETED, S.PAID, S.REFUNDING, S.NEEDS_ATTENTION}),
    S.NEEDS_ATTENTION: frozenset({S.PROVISIONING, S.COMPLETED, S.REFUNDING, S.REFUNDED}),
    S.COMPLETED: frozenset({S.REFUNDING}),
    S.REFUNDING: frozenset({S.REFUNDED, S.NEEDS_ATTENTION, S.COMPLETED}),
    S.CANCELLED: frozenset(),
    S.REFUNDED: frozenset(),
}


def move_order(order: Order, to: str, *, actor: str, reason: str = "", **changes: object) -> None:
    """Move an order along ALLOWED_MOVES, change further fields with it, and record who did it.

    actor:   "worker", "clock", "telegram", "customer", "admin:<username>" or "command:<name>".
    changes: other fields of the row that change in the same statement.
    Raises:  IllegalMove if the table has no such step, StaleOrder if another process moved it first.
    """
    if to not in ALLOWED_MOVES[order.status]:
        raise IllegalMove(f"order {order.pk}: {order.status} -> {to}")
    before = order.status
    event = OrderEvent(order=order, kind=OrderEvent.Kind.MOVE, before=before, after=to, actor=actor, reason=reason)
    if not move_row(order, status=before, to=to, changes=changes, event=event):
        raise StaleOrder(f"order {order.pk} is no longer {before}")
    order.status = to
    for name, value in changes.items():
        setattr(order, name, value)


class OrderEvent(models.Model):
    """What happened to an order, when, by whom and why. Only ever added to."""

    class Kind(models.TextChoices):
        MOVE = "move"
        HINT = "hint", "hint from the Mini App"
        NOTE = "note"
        REVEAL = "reveal", "a member of staff saw the activation code"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    before = models.CharField(max_length=20, blank=True)
    after = models.CharField(max_length=20, blank=True)
    actor = models.CharField(max_length=100)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.before} → {self.after}" if self.kind == self.Kind.MOVE else self.reason


class ProvisioningAttempt(models.Model):
    """One `POST /orders` at eSIM Go, written down before it is sent."""

    class Status(models.TextChoices):
        OPEN = "open", "sent, or about to be; outcome not known"
        PLACED = "placed"
        REJECTED = "rejected", "certain no: nothing was bought"
        ABSENT = "absent", "looked up after its window: nothing was bought"
        REVOKED = "revoked", "bought, and the bundle was revoked"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="attempts")
    bundle_name = models.CharField(max_length=100)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OPEN)
    reference = models.CharField(
        max_length=64, null=True, blank=True, unique=True, help_text="eSIM Go's orderReference."
    )
    cost_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True, help_text="What eSIM Go took, USD.")
    source_ip = models.CharField(max_length=45, blank=True, help_text="Where eSIM Go saw the purchase come from.")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    empty_look_ups = models.PositiveSmallIntegerField(
        default=0, help_text="Complete look-ups after its window that found nothing: two prove it absent."
    )

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["-started_at"], name="attempt_by_time"),
            models.Index(fields=["bundle_name"], condition=models.Q(status="open"), name="attempt_open"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["order"],
                condition=models.Q(status__in=["open", "placed"]),
                name="one_open_or_placed_attempt_per_order",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="placed") | ~models.Q(reference=None),
                name="placed_attempt_has_reference",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bundle_name} {self.status}"


class Esim(models.Model):
    """An eSIM that a customer owns."""

    iccid = models.CharField("ICCID", max_length=32, unique=True)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="esims")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="esims")
    smdp_address = models.CharField("SM-DP+ address", max_length=255, help_text="Host without a scheme.")
    matching_id = EncryptedTextField(max_length=255, help_text="Secret half of the activation code.")
    referenced_at = models.DateTimeField(
        null=True, blank=True, help_text="When eSIM Go stored our order id on it as customerRef."
    )
    profile_name = models.CharField(
        max_length=50, blank=True, default="", db_default="", help_text="Operator profile; decides what tops it up."
    )
    profile_status = models.CharField(
        max_length=20, blank=True, default="", db_default="",
        help_text="eSIM Go's word, for example Released or Installed; empty: not told yet.",
    )  # fmt: skip
    was_installed = models.BooleanField(
        null=True, help_text="Whether a phone has, or had, its profile; empty: unknown."
    )
    is_deleted = models.BooleanField(default=False, db_default=False, help_text="eSIM Go has deactivated it for good.")
    usage_read_at = models.DateTimeField(null=True, blank=True, help_text="When eSIM Go last told of its bundles.")
    usage_due_at = models.DateTimeField(
        null=True, blank=True, help_text="When the worker asks eSIM Go again; empty: nothing changes any more."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "eSIM"
        indexes = [
            models.Index(fields=["usage_due_at"], condition=~models.Q(usage_due_at=None), name="esim_usage_due"),
        ]
        permissions = [("reveal_activation_code", "Can reveal an eSIM's activation code, which is logged")]

    def __str__(self) -> str:
        return f"eSIM …{self.iccid[-4:]}"

    @property
    def activation_code(self) -> str:
        """LPA:1$<SM-DP+ address>$<matching id>: whoever holds it can install the eSIM."""
        return lpa_code(self.smdp_address, self.matching_id)


class EsimBundle(models.Model):
    """A bundle that an eSIM has, or had, as eSIM Go last told: how much of it is left, and until when."""

    class State(models.TextChoices):
        """eSIM Go's bundleState."""

        PROCESSING = "processing", "being put on the eSIM: up to ten minutes"
        QUEUED = "queued", "waits for its first use"
        ACTIVE = "active"
        DEPLETED = "depleted", "its data are used up"
        EXPIRED = "expired", "its days are over"
        LAPSED = "lapsed", "was never used in time"
        REVOKED = "revoked", "taken back"
        UNKNOWN = "unknown", "a word we do not know"

    esim = models.ForeignKey(Esim, on_delete=models.PROTECT, related_name="bundles")
    order = models.ForeignKey(
        Order, null=True, blank=True, on_delete=models.PROTECT, related_name="bundles",
        help_text="Which of our orders put it there.",
    )  # fmt: skip
    assignment_id = models.CharField(max_length=64, help_text="eSIM Go's id of it.")
    bundle_name = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=State.choices)
    is_unlimited = models.BooleanField(default=False)
    initial_bytes = models.BigIntegerField(null=True, blank=True, help_text="Empty: unlimited, or not told.")
    remaining_bytes = models.BigIntegerField(null=True, blank=True, help_text="Empty: unlimited, or not told.")
    assigned_at = models.DateTimeField(null=True, blank=True)
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(default=timezone.now, help_text="When eSIM Go last told of it.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When it was first seen to be over.")

    class Meta:
        ordering = ["assigned_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["esim", "assignment_id"], name="one_row_per_bundle_on_an_esim"),
        ]
        indexes = [
            models.Index(fields=["ends_at"], condition=models.Q(state="active"), name="esim_bundle_ending"),
        ]

    def __str__(self) -> str:
        return f"{self.bundle_name} {self.state}"


class WholesalerCallback(models.Model):
    """One signed callback of eSIM Go about an eSIM, or about our balance. The same body is kept once."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the body.")
    kind = models.CharField(max_length=40, help_text="alertType or event, for example Utilisation.")
    esim = models.ForeignKey(Esim, null=True, blank=True, on_delete=models.PROTECT, related_name="callbacks")
    body = EncryptedJSONField()
    received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["-received_at"], name="callback_by_time")]

    def __str__(self) -> str:
        return self.kind


class RefusedCallback(models.Model):
    """How often callbacks about eSIMs of ours came without a right signature: one row per reason, and no body.

    Whoever knows none of our ICCIDs writes nothing here.
    """

    class Reason(models.TextChoices):
        UNSIGNED = "unsigned", "not signed: version V2 is chosen in eSIM Go's portal"
        WRONG_SIGNATURE = "wrong_signature", "signed with another key than ours"

    reason = models.CharField(max_length=16, choices=Reason.choices, unique=True)
    count = models.PositiveBigIntegerField(default=0)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["reason"]

    def __str__(self) -> str:
        return f"{self.reason}: {self.count}"


class TopUpFit(models.Model):
    """Whether bundles of an operator profile top up an eSIM, as eSIM Go last said (`compatible`)."""

    esim = models.ForeignKey(Esim, on_delete=models.CASCADE, related_name="top_up_fits")
    profile_name = models.CharField(max_length=50, blank=True)
    fits = models.BooleanField()
    asked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["esim", "profile_name"], name="one_fit_per_esim_and_profile")]

    def __str__(self) -> str:
        return f"{self.profile_name}: {'fits' if self.fits else 'needs a new eSIM'}"


class WholesalerCall(models.Model):
    """One call to eSIM Go that was made for an order, without its secrets: for the order's timeline."""

    class Outcome(models.TextChoices):
        OK = "ok"
        REJECTED = "rejected"
        UNREACHABLE = "unreachable", "not reached: nothing happened"
        OUTCOME_UNKNOWN = "outcome_unknown", "outcome not known"
        BUG = "bug", "the shop failed over the answer"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="wholesaler_calls")
    call = models.CharField(max_length=64, help_text="As in the metrics, for example place_order.")
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    http_status = models.PositiveSmallIntegerField(null=True)
    request = models.JSONField(default=dict, help_text="Method, path, parameters and body.")
    response = models.TextField(blank=True, help_text="Its beginning, or why there is none.")
    duration_ms = models.PositiveIntegerField()
    started_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.call}: {self.outcome}"


class Orphan(models.Model):
    """A purchase, or an eSIM, at eSIM Go that belongs to no order of ours. Offered for adoption."""

    class Status(models.TextChoices):
        OPEN = "open", "waits for a decision"
        ADOPTED = "adopted"
        REVOKED = "revoked", "its bundle was revoked"
        WRITTEN_OFF = "written_off", "kept as a loss"

    reference = models.CharField(
        max_length=64, null=True, blank=True, unique=True, help_text="eSIM Go's orderReference; empty: only an eSIM."
    )
    iccid = models.CharField("ICCID", max_length=32, blank=True)
    bundle_name = models.CharField(max_length=100, blank=True)
    total_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    placed_at = models.DateTimeField(null=True, blank=True, help_text="eSIM Go's time of the purchase.")
    status = models.CharField(max_length=11, choices=Status.choices, default=Status.OPEN)
    order = models.ForeignKey(
        Order, null=True, blank=True, on_delete=models.PROTECT, related_name="orphans",
        help_text="Which order adopted it, or for which it was probably bought.",
    )  # fmt: skip
    named_order_id = models.UUIDField(
        null=True, blank=True, help_text="Our order id, as eSIM Go has it on the eSIM; the order may have been lost."
    )
    note = models.TextField(blank=True)
    found_at = models.DateTimeField(default=timezone.now, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["iccid"], condition=models.Q(reference=None), name="one_orphan_per_unordered_esim"
            ),
        ]
        permissions = [("decide_orphan", "Can adopt, revoke or write off a purchase that nobody owns")]

    def __str__(self) -> str:
        return self.reference or f"eSIM …{self.iccid[-4:]}"


class Restoration(models.Model):
    """A backup that was put back. What happened in between, only Telegram, eSIM Go and the customers remember."""

    forgotten_from = models.DateTimeField(help_text="The last moment that the backup knows.")
    forgotten_until = models.DateTimeField(help_text="When it was put back.")
    noted_by = models.CharField(max_length=100)
    orders_in_doubt = models.PositiveIntegerField(
        help_text="Orders that were on their way: their purchases are looked up before anything is bought."
    )

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.forgotten_from:%Y-%m-%d %H:%M} to {self.forgotten_until:%Y-%m-%d %H:%M}"


class Delivery(models.Model):
    """A message that the bot owes a customer, sent at least once, with a state of its own."""

    class Kind(models.TextChoices):
        PREPARING = "preparing", "paid, the eSIM is being prepared"
        ESIM = "esim", "the eSIM's QR code"
        ATTENTION = "attention", "a person is on it"
        REFUNDED = "refunded", "Stars are back"
        EXTRA_REFUNDED = "extra_refunded", "a second payment is back"
        CANCELLED = "cancelled", "the unpaid order was cancelled"
        ANSWER = "answer", "what support, or the shop, says in a case"
        DATA_LOW = "data_low", "80 % of the data are used"
        DATA_GONE = "data_gone", "all data are used"
        THREE_DAYS = "three_days", "the last three days begin"
        ONE_DAY = "one_day", "the last day begins"

    class Status(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        BLOCKED = "blocked", "the customer blocked the bot or never started it"
        SKIPPED = "skipped", "overtaken by what happened since"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="deliveries")
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.PROTECT, related_name="deliveries")
    bundle = models.ForeignKey(
        EsimBundle, null=True, blank=True, on_delete=models.PROTECT, related_name="deliveries",
        help_text="The bundle that runs out, where it tells of one.",
    )  # fmt: skip
    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount_stars = models.PositiveIntegerField(
        null=True, blank=True, help_text="Stars returned, where it tells of a refund."
    )
    text = EncryptedTextField(blank=True, help_text="What it says, where no template does; plain text.")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    message_id = models.BigIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "deliveries"
        permissions = [("resend_delivery", "Can send a customer's message again")]
        constraints = [
            models.UniqueConstraint(
                fields=["order"], condition=models.Q(kind="preparing"), name="one_preparing_message_per_order"
            ),
            models.UniqueConstraint(
                fields=["bundle", "kind"], condition=~models.Q(bundle=None), name="one_usage_notice_per_bundle_and_kind"
            ),
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=models.Q(status="pending"), name="delivery_due"),
            models.Index(
                fields=["customer", "message_id"], condition=~models.Q(message_id=None), name="delivery_by_message"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.status}"


def note_event(order: Order, *, actor: str, reason: str, kind: str = OrderEvent.Kind.NOTE) -> OrderEvent:
    """Write a line into the order's timeline without moving it."""
    return OrderEvent.objects.create(order=order, kind=kind, actor=actor, reason=reason)
