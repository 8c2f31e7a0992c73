"""From a customer's choice to an invoice link."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from catalog.services.quotes import quote_plan
from catalog.services.rehearsals import rehearse_purchase
from catalog.titles import invoice_description, invoice_title
from esimshop.alerts import clear_alert, raise_alert
from esimshop.clients.telegram import TelegramError, TelegramRejected, telegram_client
from esimshop.init_data import TelegramUser
from esimshop.languages import Language, language_of
from esimshop.rate_limits import count_use
from esimshop.waiting_places import NoWaitingPlace, waiting_place
from orders.models import Customer, Esim, Order, StaleOrder
from orders.services.customers import note_customer
from orders.services.orders import place_order
from payments.models import Invoice, ServicePolicy, payload_of

#: A place is free again once Telegram has answered somebody; the Mini App asks three times by itself.
NO_PLACE_RETRY_SECONDS = 3


class PriceChanged(Exception):
    """The price is no longer the one that the customer saw. `amount_stars` is the new one."""

    def __init__(self, amount_stars: int) -> None:
        super().__init__(f"now {amount_stars} Stars")
        self.amount_stars = amount_stars


class TooManyInvoices(Exception):
    """The customer asked too often; `retry_after` seconds to wait."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"retry after {retry_after} s")
        self.retry_after = retry_after


class EsimNotOwned(Exception):
    """The customer has no eSIM with this ICCID."""


class InvoiceNotMade(Exception):
    """Telegram gave no link, or too many wait for one. The order stays, where there is one; the next call goes on with
    it. `retry_after` in seconds.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("Telegram made no invoice link")
        self.retry_after = retry_after


@dataclass(frozen=True)
class CreatedInvoice:
    order: Order
    invoice: Invoice
    is_new: bool


def create_invoice(
    *,
    user: TelegramUser,
    bundle_name: str,
    expected_stars: int | None = None,
    iccid: str | None = None,
    idempotency_key: str | None = None,
) -> CreatedInvoice:
    """An order at the price of this moment, and the link that pays for it.

    expected_stars: the price that the customer saw, in Stars; refused if it is another one now.
    iccid:          an eSIM of the customer, for a top-up.
    Raises: TooManyInvoices, PlanNotFound, SalesPaused, PriceChanged, EsimNotOwned, IdempotencyKeyReused,
            InvoiceNotMade.
    Source: Bot API createInvoiceLink.
    """
    customer = note_customer(user)
    policy = ServicePolicy.in_force()
    retry_after = count_use(
        key=f"create-invoice:{customer.telegram_user_id}", limit=policy.invoices_per_minute, seconds=60
    )
    if retry_after:
        raise TooManyInvoices(retry_after)
    try:
        with waiting_place():
            return _create(user, customer, policy, bundle_name, expected_stars, iccid, idempotency_key)
    except NoWaitingPlace:
        raise InvoiceNotMade(retry_after=NO_PLACE_RETRY_SECONDS) from None


def _create(
    user: TelegramUser,
    customer: Customer,
    policy: ServicePolicy,
    bundle_name: str,
    expected_stars: int | None,
    iccid: str | None,
    idempotency_key: str | None,
) -> CreatedInvoice:
    digest = _digest(bundle_name, expected_stars, iccid)
    rehearse_purchase(quote_plan(bundle_name).plan, iccid=_own_iccid(customer, iccid))
    try:
        created = _store_order(customer, policy, bundle_name, expected_stars, iccid, idempotency_key, digest)
    except (StaleOrder, Customer.DoesNotExist):
        # Between our reading and our writing it was paid, or expired by the clock, or its customer's data were
        # deleted: look again.
        customer = note_customer(user)
        _own_iccid(customer, iccid)
        created = _store_order(customer, policy, bundle_name, expected_stars, iccid, idempotency_key, digest)
    if not created.invoice.link:
        _ask_for_link(created, language=language_of(customer.language))
    return created


def _own_iccid(customer: Customer, iccid: str | None) -> str | None:
    if iccid is not None and not Esim.objects.filter(customer=customer, iccid=iccid).exists():
        raise EsimNotOwned(iccid[-4:])
    return iccid


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@transaction.atomic
def _store_order(
    customer: Customer,
    policy: ServicePolicy,
    bundle_name: str,
    expected_stars: int | None,
    iccid: str | None,
    idempotency_key: str | None,
    digest: str,
) -> CreatedInvoice:
    # Not against a payment, which holds the order that may expire below and points to the customer.
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk, anonymised_at=None)
    esim = Esim.objects.get(customer=customer, iccid=iccid) if iccid is not None else None
    quote = quote_plan(bundle_name)
    if expected_stars is not None and expected_stars != quote.amount_stars:
        raise PriceChanged(quote.amount_stars)
    placed = place_order(
        customer=customer,
        quote=quote,
        top_up_esim=esim,
        quote_expires_at=timezone.now() + timedelta(minutes=policy.quote_minutes),
        idempotency_key=idempotency_key,
        request_digest=digest if idempotency_key else "",
    )
    invoice, _ = Invoice.objects.get_or_create(order=placed.order, defaults={"payload": payload_of(placed.order.pk)})
    return CreatedInvoice(order=placed.order, invoice=invoice, is_new=placed.is_new)


def _ask_for_link(created: CreatedInvoice, *, language: Language) -> None:
    plan = created.order.plan
    try:
        link = telegram_client().create_invoice_link(
            title=invoice_title(plan, language=language),
            description=invoice_description(plan, language=language),
            payload=created.invoice.payload,
            amount_stars=created.order.amount_stars,
        )
    except TelegramRejected as error:
        raise_alert(
            cause="create_invoice_link",
            text=f"Telegram refuses to make invoices: {error}. Nobody can buy: run `manage.py doctor`.",
            path=f"/admin/orders/order/{created.order.pk}/change/",
        )
        raise InvoiceNotMade(retry_after=60) from None
    except TelegramError as error:
        raise InvoiceNotMade(retry_after=int(getattr(error, "retry_after", None) or 5)) from None
    clear_alert(cause="create_invoice_link")
    # Two calls may have asked at once: the first link stays; both carry the same payload.
    Invoice.objects.filter(pk=created.invoice.pk, link="").update(link=link)
    created.invoice.refresh_from_db(fields=["link"])
