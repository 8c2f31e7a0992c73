"""Rows for tests, with values that a sync of the real catalogue would have written."""

from datetime import timedelta
from decimal import Decimal

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from catalog.areas import area_kind, area_names, search_words
from catalog.models import Area, Plan, PricingPolicy
from catalog.pricing import price_in_stars
from catalog.titles import describe_plan
from esimshop.languages import LANGUAGES
from orders.models import Customer, Esim, Order
from payments.models import Invoice, Payment

# catalog


class AreaFactory(DjangoModelFactory[Area]):
    """`AreaFactory(code="TR")`: names and kind follow from the code."""

    class Meta:
        model = Area
        django_get_or_create = ("code",)

    class Params:
        names = factory.LazyAttribute(lambda area: area_names(code=area.code, fallback=area.code))

    code = "FR"
    kind = factory.LazyAttribute(lambda area: area_kind(code=area.code, region=""))
    name_en = factory.LazyAttribute(lambda area: area.names.en)
    name_ru = factory.LazyAttribute(lambda area: area.names.ru)
    countries = factory.LazyAttribute(lambda area: [area.code])
    search_words = factory.LazyAttribute(
        lambda area: search_words(code=area.code, names=area.names, wholesaler_names=[])
    )


class PricingPolicyFactory(DjangoModelFactory[PricingPolicy]):
    class Meta:
        model = PricingPolicy


class PlanFactory(DjangoModelFactory[Plan]):
    """1 GB for 7 days in France; `area__code="TR"` for elsewhere, `unlimited=True` for no end of data."""

    class Meta:
        model = Plan

    class Params:
        unlimited = factory.Trait(
            is_unlimited=True, data_mb=None, fair_use=Plan.FairUse.ESSENTIAL, groups=["Standard Unlimited Essential"]
        )

    area = factory.SubFactory(AreaFactory)
    bundle_name = factory.Sequence(lambda number: f"esim_1GB_7D_FR_V{number + 2}")
    data_mb = 1000
    validity_days = 7
    speeds = ["4G", "5G"]
    countries = factory.LazyAttribute(lambda plan: plan.area.countries)
    groups = ["Standard Fixed"]
    profile_name = "Profile 1"
    wholesale_usd = Decimal("1.3000")
    price_stars = factory.LazyAttribute(
        lambda plan: price_in_stars(wholesale_usd=plan.wholesale_usd, policy=PricingPolicy())
    )


# orders


class CustomerFactory(DjangoModelFactory[Customer]):
    """Ben, who writes English; `telegram_user_id=1001, language="ru"` is Anna (both live in the sandbox)."""

    class Meta:
        model = Customer
        django_get_or_create = ("telegram_user_id",)

    telegram_user_id = 1002
    first_name = factory.LazyAttribute(lambda customer: "Anna" if customer.language == "ru" else "Ben")
    language = "en"
    language_code = factory.LazyAttribute(lambda customer: customer.language)


class OrderFactory(DjangoModelFactory[Order]):
    """An unpaid order at the price of its plan; `paid=True`: paid a moment ago, waiting for the worker."""

    class Meta:
        model = Order

    class Params:
        paid = factory.Trait(
            status=Order.Status.PAID,
            paid_at=factory.LazyFunction(timezone.now),
            promise_at=factory.LazyFunction(lambda: timezone.now() + timedelta(minutes=15)),
        )

    customer = factory.SubFactory(CustomerFactory)
    plan = factory.SubFactory(PlanFactory, bundle_name="esim_1GB_7D_FR_V2")
    bought_plan = factory.LazyAttribute(
        lambda order: {language: describe_plan(order.plan, language=language) for language in LANGUAGES}
    )
    amount_stars = factory.LazyAttribute(lambda order: order.plan.price_stars)
    cost_usd = factory.LazyAttribute(lambda order: order.plan.wholesale_usd)
    quote_expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(minutes=15))


class EsimFactory(DjangoModelFactory[Esim]):
    class Meta:
        model = Esim

    iccid = factory.Sequence(lambda number: f"8944538{number:012}")
    order = factory.SubFactory(OrderFactory, status=Order.Status.COMPLETED)
    customer = factory.SelfAttribute("order.customer")
    smdp_address = "rsp.example.com"
    matching_id = factory.Sequence(lambda number: f"K2-1A2B3C-{number:06}")


# payments


class InvoiceFactory(DjangoModelFactory[Invoice]):
    class Meta:
        model = Invoice

    order = factory.SubFactory(OrderFactory)
    link = factory.Sequence(lambda number: f"https://t.me/$invoice{number}")


class PaymentFactory(DjangoModelFactory[Payment]):
    """The charge that paid for its order."""

    class Meta:
        model = Payment

    order = factory.SubFactory(OrderFactory, paid=True)
    customer = factory.SelfAttribute("order.customer")
    payer_id = factory.SelfAttribute("customer.telegram_user_id")
    charge_id = factory.Sequence(lambda number: f"stx-charge-of-factory-{number}")
    invoice_payload = "payload"
    kind = Payment.Kind.ORDER
    amount_stars = factory.SelfAttribute("order.amount_stars")
    currency = "XTR"
    charged_at = factory.LazyFunction(timezone.now)
