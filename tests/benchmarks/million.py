"""A shop with a year of history, written by PostgreSQL itself: a million payments in a minute or two.

Row n of every table belongs to purchase n, and its identifiers follow from n: see `Purchase`. Purchases above
`payments` are orders that nobody paid.

`python -m tests.benchmarks.million --payments 100000` fills the database that DATABASE_URL names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYMENTS = 1_000_000
DAYS = 365
PLANS = 120
FIRST_CUSTOMER = 7_100_000_000
#: A customer has five purchases, paid or not; an order of so many is refunded, and of so many waits for a person.
PURCHASES_PER_CUSTOMER = 5
REFUNDED_EVERY, ATTENTION_EVERY, UNPAID_EVERY = 37, 2_003, 5
_TABLES = (
    *("orders_customer", "orders_order", "orders_orderevent", "orders_provisioningattempt", "orders_esim"),
    *("orders_delivery", "payments_invoice", "payments_precheckout", "payments_payment", "payments_paymentevent"),
    *("payments_refund", "payments_startransaction"),
)


@dataclass(frozen=True)
class Purchase:
    """What purchase n, from 1, is called."""

    number: int

    @property
    def order_id(self) -> UUID:
        return UUID(self._digest("order"))

    @property
    def charge_id(self) -> str:
        return f"stx{self._digest('charge')}{self._digest('charge-end')}"

    @property
    def payload(self) -> str:
        return self._digest("payload")

    @property
    def reference(self) -> str:
        return str(UUID(self._digest("reference")))

    @property
    def iccid(self) -> str:
        return f"8944538{self.number:012}"

    @property
    def telegram_user_id(self) -> int:
        return FIRST_CUSTOMER + self._customer

    @property
    def username(self) -> str:
        return f"Traveller_{self._customer}"

    @property
    def _customer(self) -> int:
        return (self.number - 1) // PURCHASES_PER_CUSTOMER + 1

    def _digest(self, what: str) -> str:
        return hashlib.md5(f"{what}-{self.number}".encode(), usedforsecurity=False).hexdigest()


def fill_shop(*, payments: int = PAYMENTS) -> None:
    """Fill the empty tables of the shop with so many payments and all that belongs to them."""
    from django.db import connection

    names = {
        "payments": payments,
        "orders": payments + payments // UNPAID_EVERY,
        "days": DAYS,
        "first_customer": FIRST_CUSTOMER,
        "per_customer": PURCHASES_PER_CUSTOMER,
        "refunded": REFUNDED_EVERY,
        "attention": ATTENTION_EVERY,
    }
    with connection.cursor() as cursor:
        _make_plans(cursor)
        # The rows are right by construction, and asking a million times whether they are takes longer than they do.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET maintenance_work_mem = '256MB'")
        cursor.execute("SET work_mem = '64MB'")
        try:
            with _indexes_put_aside(cursor):
                for statement in _STATEMENTS:
                    cursor.execute(statement, names)
            for table in _TABLES:
                # The keys were given; the next one that the shop adds comes after them.
                if table != "orders_order":
                    newest = f"SELECT max(id) FROM {table}"
                    cursor.execute(f"SELECT setval(pg_get_serial_sequence(%s, 'id'), ({newest}))", [table])
        finally:
            cursor.execute("RESET ALL")
        cursor.execute("VACUUM (ANALYZE)")


def _make_plans(cursor: Any) -> None:
    """Plans of fixed data in twelve countries, with the words that an order keeps."""
    from catalog.models import Plan
    from catalog.titles import describe_plan
    from esimshop.languages import LANGUAGES
    from tests.factories import AreaFactory, PlanFactory

    areas = [
        AreaFactory(code=code) for code in ("FR", "TR", "DE", "IT", "ES", "US", "JP", "TH", "GB", "GR", "AE", "RS")
    ]
    for number in range(PLANS):
        area, size = areas[number % len(areas)], number // len(areas) + 1
        PlanFactory(
            area=area,
            bundle_name=f"esim_{size}GB_{size * 3}D_{area.code}_V2",
            data_mb=size * 1000,
            validity_days=size * 3,
            wholesale_usd=f"{size * 1.3:.4f}",
        )
    cursor.execute(
        "CREATE TEMP TABLE bought (number int PRIMARY KEY, plan_id bigint, stars int, cost numeric, plan jsonb)"
    )
    for number, plan in enumerate(Plan.objects.select_related("area").order_by("pk")[:PLANS]):
        words = {language: describe_plan(plan, language=language) for language in LANGUAGES}
        cursor.execute(
            "INSERT INTO bought VALUES (%s, %s, %s, %s, %s)",
            [number, plan.pk, plan.price_stars, plan.wholesale_usd, json.dumps(words)],
        )


@contextmanager
def _indexes_put_aside(cursor: Any) -> Iterator[None]:
    """Without the indexes that are no constraint: made at the end they take a fraction of the time."""
    cursor.execute(
        """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = current_schema() AND tablename = ANY(%s)
          AND indexname NOT IN (SELECT conname FROM pg_constraint)
        """,
        [list(_TABLES)],
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    yield
    for _, definition in indexes:
        cursor.execute(definition)


# Of purchase n: paid where n <= payments. A second between two purchases is as even as a year allows.
_STATEMENTS = (
    """
    INSERT INTO orders_customer (id, telegram_user_id, first_name, last_name, username, language_code, language,
                                 is_bot_blocked, created_at)
    SELECT c, %(first_customer)s + c, 'Ben', '', 'Traveller_' || c, 'en', 'en', false,
           now() - interval '1 day' * (%(days)s + 1)
    FROM generate_series(1, %(orders)s / %(per_customer)s + 1) c
    """,
    """
    CREATE TEMP TABLE purchase AS
    SELECT n, md5('order-' || n)::uuid AS order_id, (n - 1) / %(per_customer)s + 1 AS customer_id,
           n <= %(payments)s AS is_paid,
           n <= %(payments)s AND n %% %(refunded)s = 0 AS is_refunded,
           n <= %(payments)s AND n %% %(attention)s = 0 AND n %% %(refunded)s <> 0 AS is_attention,
           -- The paid and the unpaid each run through the whole year.
           date_trunc('second', now() - interval '1 day' * %(days)s * (1 - CASE WHEN n <= %(payments)s
               THEN n::float / (%(payments)s + 1)
               ELSE (n - %(payments)s)::float / (%(orders)s - %(payments)s + 1) END)) AS at,
           b.plan_id, b.stars, b.cost, b.plan
    FROM generate_series(1, %(orders)s) n JOIN bought b ON b.number = (n * 7) %% 120
    """,
    """
    INSERT INTO orders_order (id, customer_id, plan_id, top_up_esim_id, bought_plan, status, cause, amount_stars,
                              cost_usd, pricing_policy_id, quote_expires_at, idempotency_key, request_digest,
                              created_at, paid_at, promise_at, completed_at, next_try_at, lease_until, look_up_from)
    SELECT order_id, customer_id, plan_id, NULL, plan,
           CASE WHEN is_refunded THEN 'refunded' WHEN is_attention THEN 'needs_attention'
                WHEN is_paid THEN 'completed' ELSE 'expired' END,
           CASE WHEN is_refunded THEN 'sold_out'
                WHEN is_attention THEN (ARRAY['account', 'outcome_unknown', 'no_esim_data'])[1 + n %% 3] ELSE '' END,
           stars, cost, NULL, at + interval '15 min', NULL, '',
           at, CASE WHEN is_paid THEN at + interval '20 s' END,
           CASE WHEN is_paid THEN at + interval '15 min 20 s' END,
           CASE WHEN is_paid AND NOT is_refunded AND NOT is_attention
                THEN at + interval '21 s' + interval '1 s' * (n %% 20) END,
           NULL, NULL, NULL
    FROM purchase
    """,
    """
    INSERT INTO payments_invoice (id, order_id, payload, link, created_at)
    SELECT n, order_id, md5('payload-' || n), 'https://t.me/$' || n, at FROM purchase
    """,
    """
    INSERT INTO payments_precheckout (id, query_id, order_id, refusal, cost_usd, created_at)
    SELECT n, 'query-' || n, order_id, '', cost, at + interval '15 s' FROM purchase WHERE is_paid
    """,
    """
    INSERT INTO payments_payment (id, charge_id, payer_id, customer_id, order_id, invoice_payload, kind, extra_reason,
                                  status, amount_stars, currency, charged_at, created_at, refunded_at, is_from_ledger,
                                  is_refunded_outside)
    SELECT n, 'stx' || md5('charge-' || n) || md5('charge-end-' || n), %(first_customer)s + customer_id, customer_id,
           order_id, md5('payload-' || n), 'order', '',
           CASE WHEN is_refunded THEN 'refunded' ELSE 'paid' END, stars, 'XTR', at + interval '19 s',
           at + interval '20 s', CASE WHEN is_refunded THEN at + interval '10 min' END, false, false
    FROM purchase WHERE is_paid
    """,
    """
    INSERT INTO payments_paymentevent (id, payment_id, before, after, actor, reason, created_at)
    SELECT n, n, '', 'paid', 'telegram', '', at + interval '20 s' FROM purchase WHERE is_paid
    """,
    """
    INSERT INTO payments_refund (id, payment_id, status, reason, requested_by, forced_by, requested_at, refunded_at,
                                 attempts, next_try_at, error)
    SELECT n, n, 'done', 'the wholesaler refused the bundle', 'worker', '', at + interval '9 min',
           at + interval '10 min', 1, at + interval '9 min', ''
    FROM purchase WHERE is_refunded
    """,
    """
    INSERT INTO payments_startransaction (id, transaction_id, direction, amount_stars, date, partner_type,
                                          transaction_type, user_id, invoice_payload, payment_id, state, note,
                                          first_read_at)
    SELECT n, 'stx' || md5('charge-' || n) || md5('charge-end-' || n), 'in', stars, at + interval '19 s', 'user',
           'invoice_payment', %(first_customer)s + customer_id, md5('payload-' || n), n, 'matched', '',
           at + interval '10 min'
    FROM purchase WHERE is_paid
    """,
    """
    INSERT INTO payments_startransaction (id, transaction_id, direction, amount_stars, date, partner_type,
                                          transaction_type, user_id, invoice_payload, payment_id, state, note,
                                          first_read_at)
    SELECT %(orders)s + n, 'stx' || md5('charge-' || n) || md5('charge-end-' || n), 'out', stars,
           at + interval '10 min', 'user', 'invoice_payment', %(first_customer)s + customer_id,
           md5('payload-' || n), n, 'matched', '', at + interval '20 min'
    FROM purchase WHERE is_refunded
    """,
    """
    INSERT INTO orders_provisioningattempt (id, order_id, bundle_name, status, reference, cost_usd, source_ip, error,
                                            started_at, finished_at, empty_look_ups)
    SELECT n, order_id, 'esim_1GB', CASE WHEN is_refunded THEN 'rejected' ELSE 'placed' END,
           CASE WHEN NOT is_refunded THEN md5('reference-' || n)::uuid::text END,
           CASE WHEN NOT is_refunded THEN cost END, '203.0.113.7', '', at + interval '20 s', at + interval '21 s', 0
    FROM purchase WHERE is_paid
    """,
    """
    INSERT INTO orders_esim (id, iccid, order_id, customer_id, smdp_address, matching_id, referenced_at, created_at)
    SELECT n, '8944538' || lpad(n::text, 12, '0'), order_id, customer_id, 'rsp.example.com', 'K2-' || md5('code-' || n),
           at + interval '30 s', at + interval '21 s'
    FROM purchase WHERE is_paid AND NOT is_refunded AND NOT is_attention
    """,
    """
    INSERT INTO orders_delivery (id, customer_id, order_id, kind, amount_stars, text, status, attempts, next_try_at,
                                 message_id, error, created_at, sent_at)
    SELECT n, customer_id, order_id, CASE WHEN is_refunded THEN 'refunded' ELSE 'esim' END,
           CASE WHEN is_refunded THEN stars END, '', 'sent', 1, at + interval '22 s', n, '',
           at + interval '22 s', at + interval '23 s' + interval '1 s' * (n %% 20)
    FROM purchase WHERE is_paid AND NOT is_attention
    """,
    """
    INSERT INTO orders_orderevent (id, order_id, kind, before, after, actor, reason, created_at)
    SELECT n, order_id, 'move', 'awaiting_payment', CASE WHEN is_paid THEN 'paid' ELSE 'expired' END,
           CASE WHEN is_paid THEN 'telegram' ELSE 'clock' END, '', at + interval '20 s'
    FROM purchase
    """,
    "DROP TABLE purchase",
    "DROP TABLE bought",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.million", description=__doc__)
    parser.add_argument("--payments", type=int, default=PAYMENTS)
    arguments = parser.parse_args()
    import django

    django.setup()
    started = time.perf_counter()
    fill_shop(payments=arguments.payments)
    print(f"{arguments.payments} payments in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
