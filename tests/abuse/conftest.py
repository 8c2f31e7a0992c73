"""A shop that is abused: what is asked of it in process, and what none of its answers may hold."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as project
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from catalog import middleware
from catalog.models import PricingPolicy
from orders import customer_view
from orders.models import Delivery, Esim, Order
from payments import customer_views, views
from payments.models import Case, CaseMessage, ServicePolicy
from tests.abuse.recorder import RECORDER
from tests.factories import EsimFactory, InvoiceFactory, OrderFactory, PaymentFactory, PlanFactory
from tests.outside import ANNA, BEN, init_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.abuse.recorder import Recorder
    from tests.outside import SandboxControl

ANNAS_WORDS = "Anna wrote this to nobody but support"


@dataclass(frozen=True)
class Shop:
    """What there is to be found: Ben's, who asks, and Anna's, who must stay unseen.

    known: by the name of a parameter or field, values that lead somewhere.
    """

    bens: Order
    annas: Order
    known: dict[str, list[str]]

    def state_of_anna(self) -> list[Any]:
        """All of hers that anybody could have changed."""
        order = Order.objects.filter(pk=self.annas.pk).values()
        return [
            *order,
            *Esim.objects.filter(order=self.annas).values(),
            *self.annas.payments.values(),
            *self.annas.deliveries.values(),
            *self.annas.events.values(),
            *Case.objects.filter(order=self.annas).values(),
        ]


def bought_order(*, user_id: int, language: str, bundle_name: str) -> Order:
    order = OrderFactory(
        paid=True,
        plan__bundle_name=bundle_name,
        status=Order.Status.COMPLETED,
        customer__telegram_user_id=user_id,
        customer__language=language,
        customer__username=f"username_of_{user_id}",
    )
    InvoiceFactory(order=order)
    payment = PaymentFactory(order=order, customer=order.customer)
    EsimFactory(order=order, customer=order.customer)
    Delivery.objects.create(customer=order.customer, order=order, kind=Delivery.Kind.ESIM)
    case = Case.objects.create(customer=order.customer, payment=payment, order=order, reason="other", wish="help")
    words = ANNAS_WORDS if user_id == ANNA else "Help"
    CaseMessage.objects.create(case=case, author="customer", actor="customer", text=words, after="open")
    return order


@pytest.fixture
def recorder() -> Recorder:
    return RECORDER


@pytest.fixture
def shop(
    transactional_db: None, sandbox: SandboxControl, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """The shop with something to find in it, and the recorder that knows what must stay hidden.

    It commits, as a shop does.
    """
    PricingPolicy.objects.create()
    # The limits have tests of their own; here they would hide what lies behind them.
    ServicePolicy.objects.create(invoices_per_minute=1_000_000)
    monkeypatch.setattr(customer_view, "CALLS_PER_MINUTE", 1_000_000)
    monkeypatch.setattr(middleware, "MISSES_PER_MINUTE", 1_000_000)
    monkeypatch.setattr(views, "HINTS_PER_MINUTE", 1_000_000)
    monkeypatch.setattr(views, "MESSAGES_PER_HOUR", 1_000_000)
    monkeypatch.setattr(customer_views, "CHANGES_PER_MINUTE", 1_000_000)
    PlanFactory(bundle_name="esim_1GB_7D_FR_V2")
    bens = bought_order(user_id=BEN, language="en", bundle_name="esim_3GB_30D_FR_V2")
    annas = bought_order(user_id=ANNA, language="ru", bundle_name="esim_5GB_30D_FR_V2")
    esim = annas.esims.get()
    recorder.secrets = {
        "bot token": project.TELEGRAM_BOT_TOKEN,
        "secret half of the token": project.TELEGRAM_BOT_TOKEN.partition(":")[2],
        "webhook secret": project.TELEGRAM_WEBHOOK_SECRET,
        "eSIM Go key": project.ESIMGO_API_KEY,
        "hash of initData": init_data(BEN).rpartition("hash=")[2],
        "Django's secret key": project.SECRET_KEY,
        "stack": "Traceback (most recent call last)",
        "database": "psycopg",
        "Anna's order": str(annas.pk),
        "Anna's eSIM": esim.iccid,
        "Anna's matching id": esim.matching_id,
        "Anna's name": annas.customer.username,
        "Anna's words": ANNAS_WORDS,
        "Anna's invoice": annas.invoice.payload,
        "Anna's charge": annas.payments.get().charge_id,
    }
    yield Shop(
        bens=bens,
        annas=annas,
        known={
            "order_id": [str(bens.pk), str(annas.pk)],
            "iccid": [bens.esims.get().iccid, esim.iccid],
            "bundle_name": ["esim_1GB_7D_FR_V2"],
            "plan": ["esim_1GB_7D_FR_V2"],
            "code": ["FR"],
        },
    )
    recorder.secrets = {}


@pytest.fixture(autouse=True)
def _as_in_djangos_own_client() -> Iterator[None]:
    """Keep the test's connection and transaction from one request to the next; write no log of thousands."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    logging.disable(before)
