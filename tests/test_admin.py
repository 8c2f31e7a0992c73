"""The back office: everything can be looked at, nothing can be made to lie, no activation code is shown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from catalog.models import (
    CatalogSync,
    CurrencyRate,
    Network,
    Plan,
    PlanChange,
    PricingPolicy,
    SalesPause,
    WholesalerAccount,
)
from esimshop.models import Alert
from orders.models import (
    Delivery,
    Esim,
    EsimBundle,
    Order,
    Orphan,
    ProvisioningAttempt,
    RefusedCallback,
    Restoration,
    WholesalerCallback,
    note_event,
)
from payments.models import (
    Case,
    CaseMessage,
    Invoice,
    Payment,
    PaymentEvent,
    PreCheckout,
    Refund,
    RefundRequest,
    ServicePolicy,
    StarsAccount,
    StarTransaction,
    TelegramUpdate,
    WebhookState,
)
from tests.factories import (
    AreaFactory,
    CustomerFactory,
    EsimFactory,
    InvoiceFactory,
    OrderFactory,
    PaymentFactory,
    PlanFactory,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model
    from django.test import Client
    from playwright.sync_api import Page

pytestmark = pytest.mark.django_db

MATCHING_ID = "SECRET-MATCHING-ID"
MODELS: list[type[Model]] = list(admin.site._registry)
# What staff add here, and what they also change and delete.
ADDED = {PricingPolicy, ServicePolicy, CurrencyRate, User, Group}
CHANGED = {CurrencyRate, User, Group}
# A second factor that was lost is taken away.
DELETED = {*CHANGED, TOTPDevice}


@pytest.fixture
def staff(client: Client) -> User:
    user = User.objects.create_superuser("lead", password="password")
    client.force_login(user)
    return user


def name_of(model: type[Model]) -> str:
    return model._meta.label_lower


def list_url(model: type[Model]) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def page_url(row: Model) -> str:
    return f"{list_url(type(row))}{row.pk}/change/"


def fill_shop(purchases: int) -> None:
    """As many rows of everything as there are purchases, in all states that a list shows differently."""
    for number in range(purchases):
        key = uuid4().hex[:12]
        area = AreaFactory(code=f"X{key}", kind="region", name_en=key, name_ru=key, search_words=key, countries=["FR"])
        plan = PlanFactory(area=area, bundle_name=f"esim_{key}")
        customer = CustomerFactory(telegram_user_id=10**9 + int(key[:8], 16), username=f"u{key}")
        status = list(Order.Status)[number % len(Order.Status)]
        order = OrderFactory(customer=customer, plan=plan, status=status, paid_at=timezone.now())
        note_event(order, actor="customer", reason="quoted")
        invoice = InvoiceFactory(order=order)
        PreCheckout.objects.create(query_id=key, order=order)
        payment = PaymentFactory(order=order, customer=customer, invoice_payload=invoice.payload)
        PaymentEvent.objects.create(payment=payment, after="paid", actor="telegram")
        Refund.objects.create(payment=payment, reason="no such bundle", requested_by="worker")
        RefundRequest.objects.create(payment=payment, status="waiting", reason="asked", requested_by="admin:olga")
        StarTransaction.objects.create(
            transaction_id=payment.charge_id,
            direction="in",
            amount_stars=130,
            date=timezone.now(),
            partner_type="user",
            payment=payment,
            state="matched",
        )
        ProvisioningAttempt.objects.create(order=order, bundle_name=plan.bundle_name)
        Orphan.objects.create(reference=key, bundle_name=plan.bundle_name, order=order)
        Restoration.objects.create(forgotten_from=timezone.now(), forgotten_until=timezone.now(), orders_in_doubt=1)
        esim = EsimFactory(order=order, customer=customer, matching_id=f"{MATCHING_ID}-{key}")
        EsimBundle.objects.create(
            esim=esim, order=order, assignment_id=key, bundle_name=plan.bundle_name, state="active"
        )
        WholesalerCallback.objects.create(digest=key, kind="Utilisation", esim=esim, body={"iccid": esim.iccid})
        Delivery.objects.create(customer=customer, order=order, kind=Delivery.Kind.ESIM)
        TelegramUpdate.objects.create(
            update_id=int(key, 16),
            kind="message",
            status=TelegramUpdate.Status.HANDLED,
            body={
                "message": {
                    "from": {"id": customer.telegram_user_id},
                    "text": f"Does {esim.matching_id} work? {esim.activation_code} Спасибо",
                }
            },
        )
        case = Case.objects.create(
            customer=customer,
            payment=payment,
            order=order,
            reason="other",
            wish="help",
            first_answered_at=timezone.now(),
        )
        CaseMessage.objects.create(
            case=case, author="customer", actor="customer", text=f"{esim.matching_id} is it", after="open"
        )
        PlanChange.objects.create(plan=plan, kind=PlanChange.Kind.NEW, after={"price_stars": 130})
        CatalogSync.objects.create(finished_at=timezone.now())
        Network.objects.create(country="FR", name=key, speeds=["4G"])
        PricingPolicy.objects.create(created_by=User.objects.first())
        ServicePolicy.objects.create(created_by=User.objects.first())
        Alert.objects.create(cause=key, text="What to do", path="/admin/")
        app.tasks["orders.tasks.provision_order_task"].defer(order_id=str(order.pk))
        TOTPDevice.objects.create(user=User.objects.create(username=key), name="app", confirmed=number % 2 == 0)
        AccessLog.objects.create(username=key, ip_address="192.0.2.1")
        AccessAttempt.objects.create(username=key, ip_address="192.0.2.1", failures_since_start=5)
        Group.objects.create(name=key)
    WholesalerAccount.objects.update_or_create(pk=1)
    StarsAccount.objects.update_or_create(pk=1)
    WebhookState.objects.update_or_create(pk=1)
    RefusedCallback.objects.get_or_create(reason="unsigned")
    CurrencyRate.objects.get_or_create(code="EUR", defaults={"per_usd": 1})
    SalesPause.objects.get_or_create(cause="errors", ended_at=None, defaults={"reason": "many"})


# Looking


@pytest.mark.usefixtures("staff")
def test_every_list_costs_the_same_number_of_queries_for_3_rows_and_for_30(client: Client) -> None:
    def count() -> dict[str, int]:
        counts = {}
        for model in MODELS:
            with CaptureQueriesContext(connection) as queries:
                assert client.get(list_url(model)).status_code == 200
            counts[name_of(model)] = len(queries)
        return counts

    fill_shop(3)
    few = count()
    fill_shop(27)

    assert count() == few
    assert max(few.values()) <= 8


@pytest.mark.usefixtures("staff")
def test_every_page_opens_and_neither_page_nor_list_shows_an_activation_code(client: Client) -> None:
    fill_shop(1)

    for model in MODELS:
        row = model._default_manager.order_by("-pk").first()
        assert row is not None, f"no row of {name_of(model)} to look at"
        for url in (list_url(model), page_url(row)):
            answer = client.get(url)
            assert answer.status_code == 200, url
            assert MATCHING_ID not in answer.content.decode(), url


@pytest.mark.usefixtures("staff")
def test_the_body_of_an_update_is_shown_without_what_it_gives_away(client: Client) -> None:
    fill_shop(1)

    page = client.get(page_url(TelegramUpdate.objects.get())).content.decode()

    assert "Does [redacted] work? [redacted] Спасибо" in page


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize(
    "query",
    ["orders/esim/?matching_id__startswith=SECRET", "payments/telegramupdate/?body__icontains=SECRET",
     "orders/order/?esims__matching_id__startswith=SECRET"],
)  # fmt: skip
def test_the_address_line_cannot_ask_for_an_activation_code(client: Client, query: str) -> None:
    assert client.get(f"/admin/{query}").status_code == 400


@pytest.mark.usefixtures("staff")
def test_an_order_page_tells_its_whole_story(client: Client) -> None:
    fill_shop(1)
    order = Order.objects.get()
    esim, payment, invoice = Esim.objects.get(), Payment.objects.get(), Invoice.objects.get()

    page = client.get(page_url(order)).content.decode()

    for part in (f"@{order.customer.username}", "quoted", payment.charge_id, invoice.payload, f"…{esim.iccid[-4:]}"):
        assert part in page
    assert esim.iccid not in page


# Changing


def test_staff_add_policies_rates_and_staff_and_change_the_last_two_alone(staff: User, rf: Any) -> None:
    request = rf.get("/admin/")
    request.user = staff
    pages = admin.site._registry

    assert {model for model, page in pages.items() if page.has_add_permission(request)} == ADDED
    assert {model for model, page in pages.items() if page.has_change_permission(request)} == CHANGED
    assert {model for model, page in pages.items() if page.has_delete_permission(request)} == DELETED


@pytest.mark.usefixtures("staff")
def test_what_is_sent_to_a_page_for_looking_is_refused(client: Client) -> None:
    fill_shop(1)

    for model in set(MODELS) - CHANGED:
        row = model._default_manager.order_by("-pk").first()
        assert row is not None
        assert client.post(page_url(row), {"status": "completed"}).status_code == 403, name_of(model)
        if model not in DELETED:
            assert client.post(f"{list_url(model)}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        if model not in ADDED:
            assert client.post(f"{list_url(model)}add/", {}).status_code == 403


PRICING = {
    "stars_per_usd": "100",
    "markup": "0.5",
    "commission": "0",
    "step_stars": "1",
    "min_stars": "1",
    "max_stars": "100000",
    "payout_usd_per_star": "0.013",
    "is_selling": "on",
}


def test_a_pricing_policy_is_added_beside_the_old_one_and_prices_follow_it(client: Client, staff: User) -> None:
    plan = PlanFactory()
    before = list(PricingPolicy.objects.values_list("pk", flat=True))

    client.post("/admin/catalog/pricingpolicy/add/", {**PRICING, "reason": "autumn"})

    new = PricingPolicy.objects.exclude(pk__in=before).get()
    assert (new.created_by, new.reason, str(new.markup)) == (staff, "autumn", "0.5000")
    assert PricingPolicy.objects.count() == len(before) + 1
    assert (plan.price_stars, Plan.objects.get().price_stars) == (130, 195)
    history = client.get(f"/admin/catalog/pricingpolicy/{new.pk}/history/")
    assert b"lead" in history.content


@pytest.mark.usefixtures("staff")
def test_the_form_of_a_policy_starts_from_the_one_in_force(client: Client) -> None:
    PricingPolicy.objects.create(min_stars=77)

    assert 'value="77"' in client.get("/admin/catalog/pricingpolicy/add/").content.decode()


@pytest.mark.usefixtures("staff")
@pytest.mark.parametrize(
    "wrong", [{"reason": ""}, {"commission": "1"}, {"stars_per_usd": "0"}, {"max_stars": "0"}, {"markup": "NaN"}]
)
def test_a_policy_that_makes_no_sense_or_has_no_reason_is_not_taken(client: Client, wrong: dict[str, str]) -> None:
    before = PricingPolicy.objects.count()

    answer = client.post("/admin/catalog/pricingpolicy/add/", {**PRICING, "reason": "autumn", **wrong})

    assert answer.status_code == 200
    assert PricingPolicy.objects.count() == before


@pytest.mark.usefixtures("staff")
def test_a_rate_is_set_and_one_that_makes_no_sense_is_not_taken(client: Client) -> None:
    CurrencyRate.objects.all().delete()
    add = "/admin/catalog/currencyrate/add/"
    for code, per_usd in (("USD", "1"), ("eur", "0.9"), ("EURO", "0.9"), ("EUR", "0"), ("EUR", "-1"), ("EUR", "NaN")):
        assert client.post(add, {"code": code, "per_usd": per_usd}).status_code == 200, (code, per_usd)
    assert not CurrencyRate.objects.exists()

    assert client.post(add, {"code": "EUR", "per_usd": "0.9"}).status_code == 302
    client.post(page_url(CurrencyRate.objects.get()), {"code": "GBP", "per_usd": "0.85"})
    assert [(rate.code, str(rate.per_usd)) for rate in CurrencyRate.objects.all()] == [("EUR", "0.850000")]


def test_a_service_policy_is_added_beside_the_old_one(client: Client, staff: User) -> None:
    old = ServicePolicy.objects.create()
    values = {
        field.name: getattr(old, field.name)
        for field in ServicePolicy._meta.fields
        if field.editable and field.name not in {"id", "reason"}
    }

    client.post("/admin/payments/servicepolicy/add/", {**values, "promise_minutes": 20, "reason": "slow supplier"})

    now = ServicePolicy.in_force()
    assert (now.promise_minutes, now.created_by, now.reason) == (20, staff, "slow supplier")
    assert ServicePolicy.objects.get(pk=old.pk).promise_minutes == old.promise_minutes


# Finding


@pytest.fixture
def purchase(staff: User) -> Payment:
    fill_shop(3)
    return Payment.objects.order_by("pk")[1]


def found(client: Client, model: type[Model], term: str) -> list[Any]:
    answer = client.get(list_url(model), {"q": term})
    assert answer.status_code == 200
    return [row.pk for row in answer.context["cl"].result_list]


@pytest.mark.parametrize(
    "quote",
    [
        lambda payment: payment.charge_id,
        lambda payment: f" {payment.payer_id} ",
        lambda payment: payment.invoice_payload,
        lambda payment: str(payment.order_id),
        lambda payment: payment.order_id.hex,
        lambda payment: str(payment.order_id)[:8],
    ],
)
def test_a_payment_is_found_by_what_a_customer_quotes(
    client: Client, purchase: Payment, quote: Callable[[Payment], str]
) -> None:
    assert found(client, Payment, quote(purchase)) == [purchase.pk]


def test_payments_are_found_by_the_beginning_of_a_charge_id_but_not_by_its_middle(
    client: Client, purchase: Payment
) -> None:
    assert len(found(client, Payment, "stx-charge-of")) == 3
    assert found(client, Payment, purchase.charge_id[1:]) == []


@pytest.mark.parametrize(
    "quote",
    [
        lambda order: str(order.pk),
        lambda order: str(order.pk)[:8].upper(),
        lambda order: str(order.customer.telegram_user_id),
        lambda order: order.customer.username,
        lambda order: f"@{order.customer.username}",
        lambda order: order.esims.get().iccid,
        lambda order: order.attempts.get().reference,
        lambda order: order.payments.get().charge_id,
        lambda order: order.invoice.payload,
    ],
)
def test_an_order_is_found_by_what_a_customer_quotes(
    client: Client, purchase: Payment, quote: Callable[[Order], str]
) -> None:
    assert purchase.order is not None
    purchase.order.attempts.update(reference="7f5d1e0c-reference")

    assert found(client, Order, quote(purchase.order)) == [purchase.order_id]


def test_a_top_up_is_found_by_the_iccid_of_its_esim(client: Client, purchase: Payment) -> None:
    esim = Esim.objects.get(order=purchase.order)
    top_up = OrderFactory(customer=esim.customer, top_up_esim=esim, created_at=timezone.now() + timedelta(seconds=1))

    assert found(client, Order, esim.iccid) == [top_up.pk, purchase.order_id]


@pytest.mark.usefixtures("purchase")
@pytest.mark.parametrize("term", ["\0", "9" * 18, "9" * 5000, "-1", "²", "%", "O'Neil", "@", "f" * 32, "ключ", "🦊"])
def test_a_search_for_nonsense_finds_nothing_and_breaks_nothing(client: Client, term: str) -> None:
    for model in set(MODELS) - {WholesalerAccount, SalesPause, PricingPolicy, ServicePolicy, CatalogSync, PlanChange}:
        if admin.site._registry[model].search_fields and term != "\0":
            assert found(client, model, term) == [], name_of(model)
        else:
            assert client.get(list_url(model), {"q": term}).status_code == 200


@pytest.mark.usefixtures("staff")
def test_lists_can_be_filtered_by_state_and_date(client: Client) -> None:
    fill_shop(len(Order.Status))

    answer = client.get("/admin/orders/order/?status__exact=needs_attention")
    assert [row.status for row in answer.context["cl"].result_list] == ["needs_attention"]
    assert (
        client.get(
            "/admin/payments/payment/",
            {"created_at__gte": "2026-01-01 00:00:00+00:00", "created_at__lt": "2999-01-01 00:00:00+00:00"},
        ).status_code
        == 200
    )
    assert client.get("/admin/payments/telegramupdate/?kind=message").context["cl"].result_list
    assert not client.get("/admin/payments/telegramupdate/?kind=other").context["cl"].result_list


# Who may look, and from where


def test_a_member_of_staff_sees_only_what_they_may(client: Client) -> None:
    support = User.objects.create_user("support", password="password", is_staff=True)
    support.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(support)
    fill_shop(1)

    index = client.get("/admin/").content.decode()

    assert "/admin/orders/order/" in index
    assert "/admin/payments/payment/" not in index
    assert client.get("/admin/payments/payment/").status_code == 403
    page = client.get(page_url(Order.objects.get())).content.decode()
    assert Payment.objects.get().charge_id not in page


def test_strangers_are_asked_to_log_in(client: Client) -> None:
    for model in MODELS:
        assert client.get(list_url(model)).status_code == 302


def test_only_the_back_office_has_the_looser_policy_and_nobody_may_frame_it(client: Client) -> None:
    back_office = client.get("/admin/login/")["Content-Security-Policy"]
    mini_app = client.get("/")["Content-Security-Policy"]

    assert "frame-ancestors 'none'" in back_office
    assert "unsafe-eval" in back_office
    assert "unsafe" not in mini_app


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_pages_work_in_a_browser_within_their_content_security_policy(
    page: Page, live_server: Any, color_scheme: Any
) -> None:
    User.objects.create_superuser("lead", password="password")
    fill_shop(2)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.emulate_media(color_scheme=color_scheme)

    page.goto(f"{live_server.url}/admin/")
    page.fill("input[name=username]", "lead")
    page.fill("input[name=password]", "password")
    page.click("button[type=submit]")
    page.goto(f"{live_server.url}{list_url(Order)}")
    page.get_by_text("Filters").first.click()
    page.get_by_role("link", name="Needs Attention").wait_for()
    page.goto(f"{live_server.url}{page_url(Order.objects.first())}")  # type: ignore[arg-type]
    page.get_by_text("All fields of the order").click()
    page.get_by_text("Plan as it was bought, by language").click()
    page.get_by_text('"data_mb"').first.wait_for()
    page.goto(f"{live_server.url}/admin/catalog/pricingpolicy/add/")
    page.get_by_role("button", name="Save", exact=True).wait_for()

    assert complaints == []


def test_waiting_tasks_are_shown(client: Client, staff: User) -> None:
    app.tasks["orders.tasks.send_delivery_task"].defer(delivery_id=4711)
    job = ProcrastinateJob.objects.get()

    assert "send_delivery_task" in client.get(list_url(ProcrastinateJob)).content.decode()
    assert "4711" in client.get(page_url(job)).content.decode()


@pytest.mark.usefixtures("staff")
def test_an_empty_list_offers_to_add_a_row_only_where_one_can(client: Client) -> None:
    orders = client.get("/admin/orders/order/").text
    policies = client.get("/admin/payments/servicepolicy/").text

    assert "There are no orders yet." in orders
    assert "Create a new item" not in orders
    assert "/admin/orders/order/add/" not in orders
    assert "There are no service policies yet." in policies
    assert "/admin/payments/servicepolicy/add/" in policies


@pytest.mark.usefixtures("staff")
def test_a_search_without_a_result_leads_back_to_all_rows(client: Client) -> None:
    page = client.get("/admin/orders/order/?q=nobody").text

    assert "No orders are meant by this search" in page
    assert "Show all orders" in page


@pytest.mark.usefixtures("staff")
def test_a_filter_that_no_text_could_match_is_refused(client: Client) -> None:
    assert client.get("/admin/orders/order/?status__exact=%00").status_code == 400
    assert client.get("/admin/orders/order/?q=%00").status_code == 200
