"""What staff may do to customers, unpaid orders, Telegram's updates and ledger. Refunds: `payments.refund_acts`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from esimshop.acts import Act, ActRefused, Preview, actor_of, register_act
from esimshop.tasks import defer_once
from orders.models import Customer, Order
from orders.services.orders import CancelRefused, cancel_order
from payments.models import PreCheckout, StarTransaction, TelegramUpdate
from payments.services.anonymisation import AnonymisationRefused, anonymise_customer, check_anonymisable
from payments.services.updates import REPEATABLE, replay_update

#: Telegram may charge so long after we approved it.
CHARGE_COMES_WITHIN = timedelta(seconds=150)


class CancelOrder(Act):
    name = "cancel-order"
    label = "Cancel"
    icon = "cancel"
    model = Order
    permission = "orders.cancel_order"
    refusals = (CancelRefused,)
    is_dangerous = True

    def suits(self, row: Order) -> bool:
        return row.status == Order.Status.AWAITING_PAYMENT

    def preview(self, row: Order) -> Preview:
        approved = PreCheckout.objects.filter(
            order=row, refusal="", created_at__gt=timezone.now() - CHARGE_COMES_WITHIN
        )
        return Preview(
            what="The order is closed for good and its customer told. Stars that come later return by themselves.",
            warning="Its payment was approved a moment ago: it is probably being paid right now."
            if approved.exists()
            else "",
        )

    def perform(self, row: Order, *, user: User, reason: str, values: dict[str, Any]) -> str:
        cancel_order(row, actor=actor_of(user), reason=reason)
        return "It is cancelled."


class ReplayUpdate(Act):
    name = "replay-update"
    label = "Replay"
    icon = "replay"
    model = TelegramUpdate
    permission = "payments.replay_telegramupdate"

    def suits(self, row: TelegramUpdate) -> bool:
        return row.kind in REPEATABLE or row.status != TelegramUpdate.Status.HANDLED

    def preview(self, row: TelegramUpdate) -> Preview:
        if row.kind == "pre_checkout_query":
            raise ActRefused("A pre-checkout is over ten seconds after it came: nothing was charged.")
        return Preview(
            what=f"The {row.kind.replace('_', ' ')} is handled once more. What it brought before is recognised: "
            "a charge or a refund is taken in once."
        )

    def perform(self, row: TelegramUpdate, *, user: User, reason: str, values: dict[str, Any]) -> str:
        if row.kind == "pre_checkout_query":
            raise ActRefused("A pre-checkout is over ten seconds after it came: nothing was charged.")
        update = replay_update(row.pk)
        if update.status == TelegramUpdate.Status.FAILED:
            raise ActRefused(f"It failed again: {update.error}")
        return f"It is {update.status}."


class ReconcileStars(Act):
    name = "reconcile-stars"
    label = "Reconcile with Telegram now"
    icon = "balance"
    listed_with = StarTransaction
    permission = "payments.reconcile_stars"

    def preview(self, row: None) -> Preview:
        return Preview(
            what="The worker reads what is new in Telegram's ledger, repairs what is certain, and lists the rest. "
            "It takes some seconds."
        )

    def perform(self, row: None, *, user: User, reason: str, values: dict[str, Any]) -> str:
        from payments.tasks import reconcile_stars_task

        if not defer_once(reconcile_stars_task):
            raise ActRefused("A reconciliation waits for the worker already.")
        return "The worker reconciles now. What it cannot explain comes to the ledger's list, and to the alerts."


class AnonymiseCustomer(Act):
    name = "anonymise-customer"
    label = "Delete their data"
    icon = "person_off"
    model = Customer
    permission = "orders.anonymise_customer"
    refusals = (AnonymisationRefused,)
    is_bulk = False
    is_dangerous = True

    def suits(self, row: Customer) -> bool:
        return row.anonymised_at is None

    def preview(self, row: Customer) -> Preview:
        check_anonymisable(row)
        return Preview(
            what="Name, username, language, requests and the codes of the customer's eSIMs are deleted; unpaid orders "
            "are cancelled. Orders stay without a name, charges with the Telegram id that paid them. The customer is "
            "not told.",
            warning="It cannot be undone. eSIMs that are not installed yet are lost to the customer.",
        )

    def perform(self, row: Customer, *, user: User, reason: str, values: dict[str, Any]) -> str:
        anonymise_customer(row, actor=actor_of(user), reason=reason)
        return "The data are deleted."


for act in (AnonymiseCustomer(), CancelOrder(), ReplayUpdate(), ReconcileStars()):
    register_act(act)
