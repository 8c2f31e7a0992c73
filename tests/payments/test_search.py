"""One box finds all: whatever somebody quotes, however it was pasted, leads to the one page that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from catalog.models import Plan
from esimshop.search_terms import read_term
from orders.models import Order, Orphan, ProvisioningAttempt
from payments.models import Payment, StarTransaction
from payments.services.search import MOST_SHOWN, find_anything
from tests.factories import CustomerFactory, EsimFactory, InvoiceFactory, OrderFactory, PaymentFactory, PlanFactory

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.django_db

REFERENCE = "7f5d1e0c-1111-4222-8333-123456789abc"
CHARGE = "stxA1b2C3d4E5f6G7h8_I9j0"
QUOTES: dict[str, Callable[[Order], str]] = {
    "order id": lambda order: str(order.pk),
    "order id in capitals without dashes": lambda order: order.pk.hex.upper(),
    "beginning of the order id": lambda order: str(order.pk)[:8],
    "charge id": lambda order: CHARGE,
    "beginning of the charge id": lambda order: CHARGE[:10],
    "invoice payload": lambda order: order.invoice.payload,
    "ICCID": lambda order: order.esims.get().iccid,
    "beginning of the ICCID": lambda order: order.esims.get().iccid[:12],
    "reference": lambda order: REFERENCE,
    "reference in capitals": lambda order: REFERENCE.upper(),
    "beginning of the reference": lambda order: REFERENCE[:8],
    "Telegram id": lambda order: "5550001",
    "@name": lambda order: "@Anna_K",
    "name in another case": lambda order: "ANNA_k",
    "link": lambda order: "https://t.me/anna_k",
}


def another_order(**values: object) -> Order:
    return OrderFactory(plan=Plan.objects.first() or PlanFactory(), **values)


@pytest.fixture
def order() -> Order:
    """Anna's only order; Ben has one, too."""
    anna = CustomerFactory(telegram_user_id=5550001, username="Anna_K")
    order = another_order(customer=anna, status=Order.Status.COMPLETED, paid_at=timezone.now())
    invoice = InvoiceFactory(order=order)
    PaymentFactory(order=order, charge_id=CHARGE, invoice_payload=invoice.payload)
    ProvisioningAttempt.objects.create(order=order, bundle_name="esim", status="placed", reference=REFERENCE)
    EsimFactory(order=order, iccid="8944538123456789012")
    PaymentFactory(order=another_order(customer=CustomerFactory(telegram_user_id=5550002, username="Ben"), paid=True))
    return order


@pytest.fixture
def staff(client: Client) -> User:
    user = User.objects.create_superuser("lead", password="password")
    client.force_login(user)
    return user


def order_page(order: Order) -> str:
    return f"/admin/orders/order/{order.pk}/change/"


# Reading what was pasted


@pytest.mark.parametrize(
    ("pasted", "term"),
    [
        ("  stxABC \n", "stxABC"),
        ("stx\u200bABC\u00a0DEF\ufeff", "stxABCDEF"),
        ("8944 5381\u202f2345", "894453812345"),
        ("stxABC\nDEF", "stxABCDEF"),
        ("«7F5D1E0C»", "7F5D1E0C"),
        ("“7f5d1e0c”.", "7f5d1e0c"),
        ("#7f5d1e0c", "7f5d1e0c"),
        ("Order № 7f5d1e0c", "7f5d1e0c"),
        ("order: 7f5d1e0c", "7f5d1e0c"),
        ("Charge ID: stxABC", "stxABC"),
        ("7f5d1e0c–1111‑4222", "7f5d1e0c-1111-4222"),
        ("t.me/anna_k", "anna_k"),
        ("https://t.me/Anna_K?start=1", "Anna_K"),
        ("tg://resolve?domain=anna_k", "anna_k"),
        ("@anna_k", "@anna_k"),
        ("orderly_anna", "orderly_anna"),
        ("-AbC_d-", "-AbC_d-"),
        ("«»", ""),
        ("", ""),
    ],
)
def test_a_paste_is_read_as_the_identifier_in_it(pasted: str, term: str) -> None:
    assert read_term(pasted) == term


# One box


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES)
def test_whatever_is_quoted_leads_straight_to_the_order(
    client: Client, order: Order, quote: Callable[[Order], str]
) -> None:
    for pasted in (quote(order), f" \u00a0“{quote(order)}”\u200b\n"):
        answer = client.get("/admin/find/", {"q": pasted})

        assert (answer.status_code, answer.headers.get("Location")) == (302, order_page(order))


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES)
def test_the_lists_of_orders_and_payments_find_the_same(
    client: Client, order: Order, quote: Callable[[Order], str]
) -> None:
    answer = client.get("/admin/orders/order/", {"q": f"«{quote(order)}»"})

    assert answer.status_code == 200
    assert [row.pk for row in answer.context["cl"].result_list] == [order.pk]
    assert client.get("/admin/payments/payment/", {"q": quote(order)}).status_code == 200


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize("name", ["order id", "charge id", "invoice payload", "Telegram id", "@name"])
def test_the_list_of_payments_finds_a_payment_by_it(client: Client, order: Order, name: str) -> None:
    answer = client.get("/admin/payments/payment/", {"q": f" {QUOTES[name](order)} "})

    assert [row.charge_id for row in answer.context["cl"].result_list] == [CHARGE]


@pytest.mark.usefixtures("staff")
def test_a_charge_without_an_order_leads_to_its_own_page(client: Client) -> None:
    charge = PaymentFactory(order=None, customer=CustomerFactory(), kind=Payment.Kind.EXTRA, amount_stars=5)

    answer = client.get("/admin/find/", {"q": charge.charge_id})

    assert answer.headers["Location"] == f"/admin/payments/payment/{charge.pk}/change/"


@pytest.mark.usefixtures("staff")
def test_a_customer_with_several_orders_or_none_leads_to_the_customers_page(client: Client, order: Order) -> None:
    another_order(customer=order.customer, status=Order.Status.EXPIRED)
    new = CustomerFactory(telegram_user_id=5550003, username="Clara")

    for name, customer in (("@anna_k", order.customer), ("5550001", order.customer), ("clara", new)):
        answer = client.get("/admin/find/", {"q": name})
        assert answer.headers["Location"] == f"/admin/orders/customer/{customer.pk}/change/"


@pytest.mark.usefixtures("staff")
def test_purchases_and_ledger_rows_that_nothing_owns_are_found(client: Client) -> None:
    orphan = Orphan.objects.create(reference=REFERENCE, bundle_name="esim_1GB")
    row = StarTransaction.objects.create(
        transaction_id="stxOfNobody", direction="in", amount_stars=5, date=timezone.now(), partner_type="user",
        state="unexplained",
    )  # fmt: skip

    assert (
        client.get("/admin/find/", {"q": REFERENCE[:13]}).headers["Location"].endswith(f"/orphan/{orphan.pk}/change/")
    )
    assert client.get("/admin/find/", {"q": "stxOfNobody"}).headers["Location"].endswith(f"/{row.pk}/change/")


@pytest.mark.usefixtures("staff")
def test_several_results_are_grouped_by_what_matched_and_the_list_has_all(client: Client, order: Order) -> None:
    for number in range(MOST_SHOWN + 1):
        PaymentFactory(charge_id=f"stxA1b2C3d4Z{number:02}", order=another_order(status=Order.Status.EXPIRED))

    answer = client.get("/admin/find/", {"q": "stxA1b2C3d4"})

    [group] = answer.context["groups"]
    assert (group["what"], len(group["rows"]), group["is_cut"]) == ("Charge id", MOST_SHOWN, True)
    assert "there are more" in answer.content.decode()
    assert len(client.get(group["all"]).context["cl"].result_list) == MOST_SHOWN + 2


@pytest.mark.usefixtures("staff", "order")
@pytest.mark.parametrize("term", ["nobody_here", "stxUnknown", "\0", "%", "_", "9" * 400, "O'Neil", "🦊", "Ben\\", "x"])
def test_what_is_not_found_gets_a_page_of_hints(client: Client, term: str) -> None:
    answer = client.get("/admin/find/", {"q": term})

    assert answer.status_code == 200
    assert "Telegram id or @name" in answer.content.decode()


@pytest.mark.usefixtures("staff", "order")
def test_neither_a_first_name_nor_a_middle_nor_too_short_a_beginning_finds_anything() -> None:
    for term in ("Anna", CHARGE[3:], CHARGE[:5], "8944538", REFERENCE[9:]):
        assert find_anything(term).groups == [], term


def test_what_a_member_of_staff_may_not_view_is_not_found(client: Client, order: Order) -> None:
    agent = User.objects.create_user("agent", password="password", is_staff=True)
    client.force_login(agent)

    assert client.get("/admin/find/", {"q": CHARGE}).context["groups"] == []
    agent.user_permissions.add(Permission.objects.get(codename="view_payment"))
    payment = order.payments.get()
    assert client.get("/admin/find/", {"q": CHARGE}).headers["Location"].endswith(f"/payment/{payment.pk}/change/")
    assert client.get("/admin/find/", {"q": "@anna_k"}).context["groups"] == []


def test_strangers_cannot_search(client: Client) -> None:
    assert client.get("/admin/find/", {"q": CHARGE}).headers["Location"].startswith("/admin/login/")


@pytest.mark.usefixtures("staff")
def test_every_page_of_the_admin_has_the_search_field(client: Client, order: Order) -> None:
    for url in ("/admin/", "/admin/orders/order/", order_page(order), "/admin/catalog/pricingpolicy/add/"):
        assert 'action="/admin/find/"' in client.get(url).content.decode(), url
