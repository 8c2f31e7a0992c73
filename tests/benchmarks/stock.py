"""What the shop holds while it is measured: a made-up catalogue of the real one's size, and orders in bulk."""

from __future__ import annotations

import csv
import itertools
import re
import time
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from babel import Locale
from django.db import connection
from django.utils import timezone

from catalog.models import Plan
from catalog.titles import describe_plan
from esimshop.languages import LANGUAGES
from orders.models import Customer, Order
from payments.models import Invoice, Payment, PreCheckout, TelegramUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLANS = 5_221  # the rate sheet of November 2025
COUNTRIES = 200
COUNTRIES_IN_A_REGION = 30
_REGIONS = ("RAF", "RAS", "REUP", "REUS", "RGB", "RLA", "RME", "RNA", "ROC")
_FIXED = ((1000, 7), (2000, 15), (3000, 30), (5000, 30), (10_000, 30), (20_000, 30), (50_000, 30))
_UNLIMITED = (("UL", "Unlimited Lite"), ("ULE", "Unlimited Essential"), ("ULP", "Unlimited Plus"))
_UNLIMITED_DAYS = (1, 3, 5, 7, 15, 30)
_COLUMNS = (
    *("bundle", "group", "area_name", "area_code", "countries", "profile", "data_mb", "days", "unlimited"),
    "price_usd",
)
_STATEMENT = re.compile(r" LOG:  (?:statement|execute [^:]+): *([^\n]*)")
_customers = itertools.count(7_000_000_000)


class Unfinished(Exception):
    """The shop answered well, but did not do what it was sent."""


def write_rate_sheet(file: Path, *, plans: int = PLANS) -> None:
    """A CSV that `sandbox --rate-sheet` reads, of as many plans: countries first, then regions."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(_COLUMNS)
        writer.writerows(itertools.islice(_rows(), plans))


def _rows() -> Iterator[tuple[object, ...]]:
    names = {code: name for code, name in Locale("en").territories.items() if len(code) == 2 and code.isalpha()}
    codes = sorted(names)[:COUNTRIES]
    for code in codes:
        yield from _plans_of(code, names[code], [code])
    for number, code in enumerate(_REGIONS):
        inside = codes[number * 10 : number * 10 + COUNTRIES_IN_A_REGION]
        yield from _plans_of(code, f"Region {code}", inside)


def _plans_of(code: str, name: str, countries: list[str]) -> Iterator[tuple[object, ...]]:
    area = (name, code, ";".join(countries), "1")
    for data_mb, days in _FIXED:
        price = Decimal(data_mb) / 1000 * Decimal("1.1")
        yield (f"esim_{data_mb // 1000}GB_{days}D_{code}_V2", "Standard - Fixed", *area, data_mb, days, 0, price)
    for tier, group in _UNLIMITED:
        for days in _UNLIMITED_DAYS:
            yield (f"esim_{tier}_{days}D_{code}_V2", f"Standard - {group}", *area, "", days, 1, days * Decimal("1.9"))


def place_orders(count: int) -> list[Order]:
    """New orders that await payment, each of another customer, over all plans; with `customer` and `invoice`."""
    plans = list(Plan.objects.on_sale().select_related("area"))
    customers = Customer.objects.bulk_create(
        Customer(telegram_user_id=next(_customers), first_name="Ben", language_code="en") for _ in range(count)
    )
    expires_at = timezone.now() + timedelta(hours=1)
    orders = Order.objects.bulk_create(
        Order(
            customer=customer,
            plan=plan,
            bought_plan={language: describe_plan(plan, language=language) for language in LANGUAGES},
            amount_stars=plan.price_stars,
            cost_usd=plan.wholesale_usd,
            quote_expires_at=expires_at,
        )
        for customer, plan in zip(customers, itertools.cycle(plans), strict=False)
    )
    Invoice.objects.bulk_create(Invoice(order=order, link="https://t.me/$benchmark") for order in orders)
    analyze()
    return orders


def expect_paid(orders: list[Order]) -> None:
    """Raise Unfinished unless each order was approved and paid once, and every update is handled."""
    paid = Payment.objects.filter(order__in=orders, kind=Payment.Kind.ORDER, order__status=Order.Status.PAID)
    approved = PreCheckout.objects.filter(order__in=orders, refusal=PreCheckout.Refusal.NONE)
    failed = TelegramUpdate.objects.exclude(status=TelegramUpdate.Status.HANDLED)
    counts = (paid.count(), approved.count(), failed.count())
    if counts != (len(orders), len(orders), 0):
        raise Unfinished(f"of {len(orders)} orders: {counts[0]} paid, {counts[1]} approved; {counts[2]} updates failed")


def settle() -> None:
    """As if the worker had done its part and the approvals were over: no backlog where the next measuring starts."""
    Order.objects.filter(status=Order.Status.PAID).update(status=Order.Status.COMPLETED, completed_at=timezone.now())
    PreCheckout.objects.update(created_at=timezone.now() - timedelta(hours=1))
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_events RESTART IDENTITY CASCADE")
    analyze()


@contextmanager
def logged_statements(log: Path) -> Iterator[list[str]]:
    """What all processes ask PostgreSQL meanwhile; the list is filled at the end.

    log: the server's.
    """
    statements: list[str] = []
    _set_up_server("ALTER SYSTEM SET log_statement = 'all'")
    begins_at = log.stat().st_size
    yield statements
    _set_up_server("ALTER SYSTEM RESET log_statement")
    with log.open(encoding="utf-8") as lines:
        lines.seek(begins_at)
        found = _STATEMENT.findall(lines.read().partition("ALTER SYSTEM RESET")[0])
    # The last one is our own.
    statements.extend(found[:-1])
    if not statements:
        raise Unfinished(f"{log} has no statements")


def _set_up_server(change: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(change)
        cursor.execute("SELECT pg_reload_conf()")
    # Every process of the server hears of it on its own.
    time.sleep(0.3)


def analyze() -> None:
    """Let PostgreSQL know what is in the tables, as it would in a shop that has run for a while."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
