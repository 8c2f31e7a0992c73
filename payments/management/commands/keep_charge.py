"""`manage.py keep_charge CHARGE_ID`: a charge was earned after all."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from payments.models import Payment
from payments.services.held_charges import NotHeld, keep_charge


class Command(BaseCommand):
    help = (
        "Decide that a charge was earned, since its eSIM was delivered: one that `reconcile_stars` lists as held after "
        "a restored backup, or one whose refund Telegram refused. Nothing is returned or bought. `refund_payment` "
        "still can."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("charge_id", help="telegram_payment_charge_id: Telegram's id of the charge")
        parser.add_argument("--reason", required=True, help="how it is known; kept in the timeline")

    def handle(self, *args: Any, **options: Any) -> None:
        payment = Payment.objects.filter(charge_id=options["charge_id"]).first()
        if payment is None:
            raise CommandError(f"No charge {options['charge_id']} is recorded here. Run reconcile_stars first.")
        try:
            keep_charge(payment, actor="command:keep_charge", reason=options["reason"])
        except NotHeld as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS(f"{payment.amount_stars} Stars of charge {payment.charge_id} are kept."))
