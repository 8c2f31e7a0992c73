"""`manage.py anonymise_customer TELEGRAM_ID`: a customer's data deleted."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orders.models import Customer
from payments.services.anonymisation import AnonymisationRefused, anonymise_customer, check_anonymisable


class Command(BaseCommand):
    help = (
        "Delete a customer's data, as they can do in the Mini App's settings: name, language, requests and the codes "
        "of their eSIMs go, charges stay with the Telegram id that paid them. It cannot be undone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("telegram_id", type=int, help="the customer's Telegram id")
        parser.add_argument("--reason", required=True, help="why; kept in the timelines of their orders")
        parser.add_argument("--dry-run", action="store_true", help="say whether it could be done, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        telegram_id = options["telegram_id"]
        customer = Customer.objects.filter(telegram_user_id=telegram_id, anonymised_at=None).first()
        if customer is None:
            self.stdout.write(f"Nobody has the Telegram id {telegram_id} here: there is nothing to delete.")
            return
        try:
            if options["dry_run"]:
                check_anonymisable(customer)
                self.stdout.write(f"Would delete the data of {customer}.")
                return
            anonymise_customer(customer, actor="command:anonymise_customer", reason=options["reason"])
        except AnonymisationRefused as refusal:
            raise CommandError(f"Not now: {refusal}") from refusal
        self.stdout.write(self.style.SUCCESS(f"The data are deleted. It is customer {customer.pk} in the books now."))
