from typing import Any

import pytest

from catalog.models import Plan
from orders.models import Order
from tests.factories import InvoiceFactory, PlanFactory
from tests.outside import BEN


@pytest.fixture
def plan(db: None) -> Plan:
    """1 GB for 7 days in France, as the sandbox sells it too: 130 Stars."""
    return PlanFactory(bundle_name="esim_1GB_7D_FR_V2")


@pytest.fixture
def order(plan: Plan) -> Order:
    """Ben's unpaid order for `plan`, with its invoice."""
    return invoiced_order(plan=plan)


def invoiced_order(*, user_id: int = BEN, language: str = "en", **fields: Any) -> Order:
    """An order with an invoice, by default unpaid and Ben's."""
    invoice = InvoiceFactory(
        order__customer__telegram_user_id=user_id,
        order__customer__language=language,
        **{f"order__{name}": value for name, value in fields.items()},
    )
    return invoice.order
