from typing import Any

import pytest

from catalog.models import Plan
from orders.models import Order
from payments.models import Payment
from tests.factories import PaymentFactory, PlanFactory
from tests.outside import BEN, SandboxControl


@pytest.fixture
def plan(db: None) -> Plan:
    """1 GB for 7 days in France, as the sandbox sells it too: 130 Stars."""
    return PlanFactory(bundle_name="esim_1GB_7D_FR_V2")


def paid_order(
    sandbox: SandboxControl, *, plan: Plan, user_id: int = BEN, language: str = "en", **fields: Any
) -> Order:
    """An order that a sandbox user paid for, so that it can be refunded there."""
    payment: Payment = PaymentFactory(
        order__plan=plan,
        order__customer__telegram_user_id=user_id,
        order__customer__language=language,
        **{f"order__{name}": value for name, value in fields.items()},
    )
    source = {
        "type": "user",
        "transaction_type": "invoice_payment",
        "user": {"id": user_id, "is_bot": False, "first_name": payment.customer.first_name},
        "invoice_payload": payment.invoice_payload,
    }
    sandbox.post("/sandbox/transactions", {"id": payment.charge_id, "amount": payment.amount_stars, "source": source})
    return payment.order


@pytest.fixture
def order(sandbox: SandboxControl, plan: Plan) -> Order:
    """Ben's order, paid a moment ago and not yet bought."""
    return paid_order(sandbox, plan=plan)
