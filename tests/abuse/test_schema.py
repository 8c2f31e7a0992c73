"""Every call of the API, asked by schemathesis whatever its schema allows and forbids."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from orders.models import Customer, Order
from payments.models import Payment, Refund
from tests.abuse.recorder import RECORDER
from tests.outside import BEN, bearer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.abuse.conftest import Shop

#: Of each operation and asker; operations with nothing to vary get fewer.
EXAMPLES = int(os.environ.get("ABUSE_EXAMPLES", "420"))
LEAST_REQUESTS = 10_000
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,  # the same requests at each run: a failure is one of the change, not of the dice
    "suppress_health_check": list(HealthCheck),
}
# By contract a page after the last one is 400, and an empty parameter is one that was left out.
TOLERATED = [positive_data_acceptance, negative_data_rejection]
PLAIN = {"Accept-Encoding": "identity"}
CARA = 1003  # who deletes her data again and again

schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))
schema.app = RECORDER


@pytest.fixture(scope="module", autouse=True)
def _enough(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whoever runs the whole module has sent what was promised, and reached more than refusals."""
    before = RECORDER.answers.copy()
    yield
    answers = RECORDER.answers - before
    print(f"\n{answers.total():,} requests made from the schema; answers: {dict(sorted(answers.items()))}")
    items = [item for item in request.session.items if item.path == request.path]
    if len(items) == 2 * len(list(schema.get_all_operations())):
        assert answers.total() >= LEAST_REQUESTS
        assert all(answers[status] > 100 for status in (200, 204, 400, 401, 404, 405)), answers
        assert answers[201], answers


def aim(case: schemathesis.Case, shop: Shop) -> None:
    """Let half of the addresses and plans lead to a row that is there: a made-up one never does."""
    for asked in (case.path_parameters, case.body):
        for name in shop.known.keys() & (asked.keys() if isinstance(asked, dict) else ()):
            known = shop.known[name]
            number = crc32(repr(asked[name]).encode()) % (2 * len(known))
            if number < len(known):
                asked[name] = known[number]


@pytest.fixture
def unharmed(shop: Shop) -> Iterator[Shop]:
    """The shop, of which no request may change more than its own customer's unpaid orders."""
    annas, charges, refunds = shop.state_of_anna(), list(Payment.objects.values()), Refund.objects.count()
    bought = list(Order.objects.exclude(status=Order.Status.AWAITING_PAYMENT).values())
    yield shop
    assert shop.state_of_anna() == annas
    assert list(Payment.objects.values()) == charges
    assert Refund.objects.count() == refunds
    assert list(Order.objects.exclude(status=Order.Status.AWAITING_PAYMENT).values()) == bought


@schema.parametrize()
@settings(max_examples=EXAMPLES, **SETTINGS)
def test_a_customer_gets_what_the_schema_says_and_changes_nothing_but_their_own(
    case: schemathesis.Case, unharmed: Shop
) -> None:
    aim(case, unharmed)
    asker = CARA if case.method == "DELETE" else BEN
    case.call_and_validate(headers={**bearer(asker), **PLAIN}, excluded_checks=TOLERATED)


@schema.parametrize()
@settings(max_examples=EXAMPLES // 5, **SETTINGS)
def test_a_stranger_gets_nothing_that_is_somebodys(case: schemathesis.Case, unharmed: Shop) -> None:
    aim(case, unharmed)
    answer = case.call_and_validate(headers=PLAIN, excluded_checks=TOLERATED)

    if case.operation.definition.raw.get("security"):
        assert answer.status_code in {401, 405}
        assert not Customer.objects.exclude(pk__in=[unharmed.bens.customer_id, unharmed.annas.customer_id]).exists()
