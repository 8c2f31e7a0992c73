"""`manage.py refund_payment CHARGE_ID`: the Stars of one charge back."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from orders.models import StaleOrder
from payments.models import Payment, StalePayment
from payments.services.refund_requests import RefundRequestRefused, check_may_agree, needs_second_person
from payments.services.refunds import NotALead, RefundBlocked, refund_payment


class Command(BaseCommand):
    help = (
        "Return all Stars of one charge. A charge is returned once, whoever asks: one that is or was being returned "
        "says so, and the exit code is 0. The worker asks Telegram, and tries until it has answered."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("charge_id", help="telegram_payment_charge_id: Telegram's id of the charge")
        parser.add_argument("--reason", required=True, help="why; kept in the timeline")
        parser.add_argument(
            "--force",
            action="store_true",
            help="although the eSIM is delivered, or may have been bought; needs --by",
        )
        parser.add_argument("--by", default="", metavar="USERNAME", help="whose decision it is; a lead with --force")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["force"] and not options["by"]:
            raise CommandError("--force needs --by USERNAME: somebody takes it on themselves.")
        payment = Payment.objects.filter(charge_id=options["charge_id"]).first()
        if payment is None:
            raise CommandError(
                f"No charge {options['charge_id']} is recorded here. `reconcile_stars` says what Telegram knows of it."
            )
        self._check_second_person(payment, options["by"])
        actor = f"command:refund_payment {options['by']}".strip()
        try:
            with transaction.atomic():
                asked = refund_payment(
                    payment,
                    actor=actor,
                    reason=options["reason"],
                    forced_by=options["by"] if options["force"] else "",
                )
                transaction.set_rollback(options["dry_run"])
        except RefundBlocked as error:
            raise CommandError(f"{error} A lead may decide it: --force --by USERNAME.") from error
        except NotALead as error:
            raise CommandError(str(error)) from error
        except (StaleOrder, StalePayment) as error:
            raise CommandError(f"Something changed at the same moment: {error}. Run it again.") from error
        payment.refresh_from_db()
        if not asked.is_new:
            first = f" (asked for by {asked.refund.requested_by})" if asked.refund else ""
            self.stdout.write(f"Charge {payment.charge_id} is {payment.status} already{first}: nothing to do.")
            return
        if options["dry_run"]:
            self.stdout.write(f"Would return {payment.amount_stars} Stars to {payment.payer_id}.")
            return
        self.stdout.write(
            self.style.SUCCESS(f"{payment.amount_stars} Stars go back to {payment.payer_id}: the worker asks Telegram.")
        )

    def _check_second_person(self, payment: Payment, username: str) -> None:
        """Who types the command is the first."""
        if payment.status in {Payment.Status.REFUNDING, Payment.Status.REFUNDED} or not needs_second_person(payment):
            return
        try:
            check_may_agree(username)
        except RefundRequestRefused as error:
            raise CommandError(
                f"{payment.amount_stars} Stars need a second person beside you: --by USERNAME of somebody who may "
                f"agree to refunds. {error}"
            ) from error
