"""What staff may do to orders, their messages and purchases that nobody owns."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from esimshop.acts import Act, ActRefused, Preview, ReasonForm, actor_of, register_act
from esimshop.clients.esimgo import EsimGoError
from esimshop.logs import redact
from esimshop.tasks import defer_once
from orders.models import Delivery, Order, Orphan, ProvisioningAttempt, StaleOrder
from orders.services.deliveries import RepeatRefused, repeat_delivery, repeat_esim_message
from orders.services.orphans import OrphanRefused, adopt_orphan, revoke_orphan, write_off_orphan
from orders.services.reprovisioning import ReprovisionRefused, plan_reprovisioning, reprovision_order


class Reprovision(Act):
    name = "reprovision"
    label = "Re-provision"
    icon = "autorenew"
    model = Order
    permission = "orders.reprovision_order"

    def suits(self, row: Order) -> bool:
        return row.status == Order.Status.NEEDS_ATTENTION

    def rows_of_cause(self, cause: str) -> QuerySet[Order]:
        return Order.objects.filter(status=Order.Status.NEEDS_ATTENTION, cause=cause).order_by("created_at")

    def preview(self, row: Order) -> Preview:
        try:
            plan = plan_reprovisioning(str(row.pk))
        except ReprovisionRefused as refusal:
            raise ActRefused(f"Not possible: {refusal}.") from refusal
        return Preview(
            what=f"{plan.next_step} The customer gets a new promise, and the eSIM as soon as it is there.",
            cost=f"{row.cost_usd.normalize():f} USD at eSIM Go, only if it must be bought.",
        )

    def perform(self, row: Order, *, user: User, reason: str, values: dict[str, Any]) -> str:
        try:
            done = reprovision_order(str(row.pk), actor=actor_of(user), reason=reason)
        except ReprovisionRefused as refusal:
            raise ActRefused(f"Nothing was done: {refusal}.") from refusal
        except StaleOrder:
            raise ActRefused("Somebody else moved the order at this moment. Look at it again.") from None
        return f"On its way. {done.next_step}"


class ResendEsim(Act):
    name = "resend-esim"
    label = "Send the QR code again"
    icon = "qr_code_2"
    model = Order
    permission = "orders.resend_delivery"
    refusals = (RepeatRefused,)

    def suits(self, row: Order) -> bool:
        return row.status == Order.Status.COMPLETED

    def preview(self, row: Order) -> Preview:
        last = row.deliveries.filter(kind=Delivery.Kind.ESIM).order_by("-pk").first()
        if last is None:
            raise ActRefused("Its eSIM was never sent.")
        blocked = "The customer had blocked the bot, or never started it: it arrives only if that has changed."
        return Preview(
            what=f"The bot sends {row.customer} the message with QR code and install links once more. "
            "It is the same eSIM.",
            warning=blocked if last.status == Delivery.Status.BLOCKED else "",
        )

    def perform(self, row: Order, *, user: User, reason: str, values: dict[str, Any]) -> str:
        repeat_esim_message(row, actor=actor_of(user), reason=reason)
        return "It is on its way."


class ResendDelivery(Act):
    name = "resend-message"
    label = "Send again"
    icon = "send"
    model = Delivery
    permission = "orders.resend_delivery"
    refusals = (RepeatRefused,)

    def suits(self, row: Delivery) -> bool:
        return row.status in {Delivery.Status.SENT, Delivery.Status.BLOCKED}

    def preview(self, row: Delivery) -> Preview:
        return Preview(what=f"The bot sends {row.customer} this message once more, as it would read today.")

    def perform(self, row: Delivery, *, user: User, reason: str, values: dict[str, Any]) -> str:
        repeat_delivery(row, actor=actor_of(user), reason=reason)
        return "It is on its way."


def _waiting_for(orphan: Orphan) -> QuerySet[Order]:
    """Orders that may be given the purchase: they wait for a person, or for a purchase of unknown outcome."""
    is_open = Q(status=Order.Status.PROVISIONING, attempts__status=ProvisioningAttempt.Status.OPEN)
    waiting = Order.objects.filter(
        is_open | Q(status=Order.Status.NEEDS_ATTENTION), plan__bundle_name=orphan.bundle_name
    )
    return waiting.select_related("customer").order_by("paid_at").distinct()


class WaitingOrderField(forms.ModelChoiceField):
    """An order, told by its number, its customer and when it was paid."""

    def label_from_instance(self, obj: Any) -> str:
        paid = f", paid {timezone.localtime(obj.paid_at):%Y-%m-%d %H:%M %Z}" if obj.paid_at else ""
        return f"{str(obj.pk)[:8]}, {obj.customer}{paid}"


class AdoptionForm(ReasonForm):
    order = WaitingOrderField(
        queryset=Order.objects.none(),
        widget=UnfoldAdminSelectWidget,
        empty_label="Choose the order",
        help_text="Orders of this bundle that wait for a purchase, the oldest payment first.",
    )


class AdoptOrphan(Act):
    name = "adopt-orphan"
    label = "Adopt for an order"
    icon = "link"
    model = Orphan
    permission = "orders.decide_orphan"
    refusals = (OrphanRefused,)
    form_class = AdoptionForm
    is_bulk = False

    def suits(self, row: Orphan) -> bool:
        return row.status == Orphan.Status.OPEN

    def make_form(self, rows: list[Any], data: Any = None) -> ReasonForm:
        form = AdoptionForm(data, initial={"order": rows[0].order_id if rows else None})
        if rows:
            form.fields["order"].queryset = _waiting_for(rows[0])  # type: ignore[attr-defined]
        return form

    def preview(self, row: Orphan) -> Preview:
        if not _waiting_for(row).exists():
            raise ActRefused(f"No order waits for a purchase of {row.bundle_name or 'this bundle'}.")
        return Preview(
            what="The purchase becomes the order's: its eSIM is fetched from eSIM Go and sent to the customer. "
            "Nothing is bought.",
            warning="It cannot be given to another order afterwards.",
        )

    def perform(self, row: Orphan, *, user: User, reason: str, values: dict[str, Any]) -> str:
        order: Order = values["order"]
        try:
            adopt_orphan(row, order=order, actor=actor_of(user), reason=reason)
        except EsimGoError as error:
            raise ActRefused(f"eSIM Go could not be asked ({redact(str(error))}). Try again in a minute.") from error
        return f"Order {order.pk} has it now; the worker fetches the eSIM."


class RevokeOrphan(Act):
    name = "revoke-orphan"
    label = "Revoke"
    icon = "undo"
    model = Orphan
    permission = "orders.decide_orphan"
    refusals = (OrphanRefused,)
    is_dangerous = True

    def suits(self, row: Orphan) -> bool:
        return row.status == Orphan.Status.OPEN

    def preview(self, row: Orphan) -> Preview:
        price = f"{row.total_usd.normalize():f} USD" if row.total_usd is not None else "its price"
        return Preview(
            what=f"eSIM Go is asked to take the bundle back; {price} returns to us. If they would not give it back, "
            "nothing is revoked.",
            warning="Nobody can use its eSIM afterwards.",
        )

    def perform(self, row: Orphan, *, user: User, reason: str, values: dict[str, Any]) -> str:
        try:
            revoke_orphan(row, actor=actor_of(user), reason=reason)
        except EsimGoError as error:
            raise ActRefused(
                f"eSIM Go did not say what came of it ({redact(str(error))}). Try again in a few minutes."
            ) from error
        return "It is revoked."


class WriteOffOrphan(Act):
    name = "write-off-orphan"
    label = "Write off"
    icon = "money_off"
    model = Orphan
    permission = "orders.decide_orphan"
    refusals = (OrphanRefused,)
    is_dangerous = True

    def suits(self, row: Orphan) -> bool:
        return row.status == Orphan.Status.OPEN

    def preview(self, row: Orphan) -> Preview:
        return Preview(
            what="The purchase is kept as a loss: no order gets it, and nobody is asked about it again.",
            cost=f"{row.total_usd.normalize():f} USD, which are paid already." if row.total_usd is not None else "",
        )

    def perform(self, row: Orphan, *, user: User, reason: str, values: dict[str, Any]) -> str:
        write_off_orphan(row, actor=actor_of(user), reason=reason)
        return "It is written off."


class ReconcileOrders(Act):
    name = "reconcile-orders"
    label = "Reconcile with eSIM Go now"
    icon = "compare_arrows"
    listed_with = Orphan
    permission = "orders.reconcile_orders"

    def preview(self, row: None) -> Preview:
        return Preview(
            what="The worker compares eSIM Go's orders and eSIMs of the last 3 days with ours, repairs what is "
            "certain, and lists the rest as orphans. It takes up to a minute."
        )

    def perform(self, row: None, *, user: User, reason: str, values: dict[str, Any]) -> str:
        from orders.tasks import reconcile_orders_task

        if not defer_once(reconcile_orders_task):
            raise ActRefused("A reconciliation waits for the worker already.")
        return "The worker reconciles now. What it finds comes to the list of orphans, and to the alerts."


for act in (
    Reprovision(),
    ResendEsim(),
    ResendDelivery(),
    AdoptOrphan(),
    RevokeOrphan(),
    WriteOffOrphan(),
    ReconcileOrders(),
):
    register_act(act)
