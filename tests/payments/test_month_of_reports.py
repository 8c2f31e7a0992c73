"""A month of all that happens, told by the five reports as Telegram's ledger and eSIM Go's books tell it.

What is expected is computed from the sandbox's books and from what the test itself did, never from the shop's tables.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.utils import timezone

from catalog.services.pricing_policies import set_pricing_policy
from catalog.services.sync import sync_plans
from esimshop.clients.esimgo import esimgo_client
from esimshop.init_data import TelegramUser
from orders.models import Order
from payments.models import Payment
from payments.reports.books import REPORTS
from payments.services.invoices import create_invoice
from payments.services.ledger import reconcile_stars
from payments.services.refund_requests import request_refund
from tests.outside import ANNA, BEN, SandboxControl, payment_update, refund_update, run_tasks, send_update, sweep

# A report is read by a connection of its own: it sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

FIRST, LAST = date(2026, 10, 20), date(2026, 11, 20)
FRANCE, TURKEY, GERMANY, EUROPE = PLANS = (
    *("esim_1GB_7D_FR_V2", "esim_3GB_30D_TR_V2"),
    *("esim_5GB_30D_DE_V2", "esim_1GB_7D_REUP_V2"),
)
FORMULA = '=HYPERLINK("http://example.com","Łódź")'
WISH = "Zoë bittet „zurück“ — цена, 返金"
OLD_RATE, NEW_RATE, NEW_RATE_FROM = Decimal("0.013"), Decimal("0.0125"), datetime(2026, 11, 5, tzinfo=UTC)
WHO = {
    BEN: TelegramUser(id=BEN, first_name="Zoë Łukasz", language_code="en"),
    ANNA: TelegramUser(id=ANNA, first_name="Анна", language_code="ru"),
}

Json = dict[str, Any]
Row = dict[str, str]


# What happens


@dataclass
class Month:
    """The shop, as its customers, its staff and Telegram use it.

    balance_usd: what eSIM Go held for the shop before.
    chosen:  the bundle of each invoice, by its payload.
    bought:  eSIM Go's reference of what was bought for a charge, as eSIM Go's books showed it at that moment.
    extras:  charges that paid for nothing. outside: charges that went back without the shop's asking.
    reasons: what a person said of a charge's refund.
    """

    sandbox: SandboxControl
    balance_usd: Decimal
    chosen: dict[str, str] = field(default_factory=dict)
    bought: dict[str, str] = field(default_factory=dict)
    extras: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    def order(self, bundle: str, *, user_id: int = BEN) -> Order:
        created = create_invoice(user=WHO[user_id], bundle_name=bundle)
        self.chosen[created.invoice.payload] = bundle
        return created.order

    def charge(self, order: Order, **changes: Any) -> Json:
        """A charge in Telegram's ledger, whose update is on its way."""
        update = payment_update(order, **changes)
        self.sandbox.charge(update)
        return update

    def arrive(self, update: Json) -> str:
        """Its update, and all that follows. Returns the charge's id."""
        charge_id = str(update["message"]["successful_payment"]["telegram_payment_charge_id"])
        with self.buying_for(charge_id):
            assert send_update(update).status_code == 200
            run_tasks()
        return charge_id

    @contextmanager
    def buying_for(self, charge_id: str) -> Iterator[None]:
        yield
        if new := {order["orderReference"] for order in self.sandbox.orders()} - set(self.bought.values()):
            assert charge_id not in self.bought
            [self.bought[charge_id]] = new

    def buy(self, bundle: str = FRANCE, *, user_id: int = BEN, **changes: Any) -> str:
        return self.arrive(self.charge(self.order(bundle, user_id=user_id), **changes))

    def refuse(self) -> None:
        """eSIM Go sells the bundle no more when it is paid for."""
        order = self.order(GERMANY)
        self.sandbox.post(f"/sandbox/catalogue/{GERMANY}", {"withdrawn": True})
        self.arrive(self.charge(order))
        self.sandbox.post(f"/sandbox/catalogue/{GERMANY}", {"withdrawn": False})

    def pay_twice(self) -> None:
        order = self.order(TURKEY)
        first, second = self.charge(order), self.charge(order)
        self.arrive(first)
        self.extras.add(self.arrive(second))

    def pay_for_another(self) -> None:
        order = self.order(FRANCE, user_id=BEN)
        self.extras.add(self.arrive(self.charge(order, user_id=ANNA)))
        self.arrive(self.charge(order))

    def pay_without_an_update(self) -> str:
        update = self.charge(self.order(EUROPE, user_id=ANNA))
        return str(update["message"]["successful_payment"]["telegram_payment_charge_id"])

    def find(self, charge_id: str) -> None:
        with self.buying_for(charge_id):
            self.settle()

    def take_back(self, *, is_told: bool) -> None:
        """Telegram returns the Stars of a delivered order by itself; the ledger, or an update too, tells of it."""
        update = self.charge(self.order(TURKEY, user_id=ANNA))
        charge_id = self.arrive(update)
        self.outside.add(charge_id)
        [row] = [row for row in self.sandbox.ledger()["transactions"] if row["id"] == charge_id]
        partner = row["source"]
        with time_machine.travel(timezone.now() + timedelta(hours=30), tick=False):
            self.row(id=charge_id, amount=row["amount"], receiver=partner)
            if is_told:
                send_update(refund_update(update))
            self.settle()

    def refund_delivered(self, charge_id: str) -> None:
        self.reasons[charge_id] = FORMULA
        self.sandbox.fail("telegram.refundStarPayment", "status", status=502)
        payment = Payment.objects.get(charge_id=charge_id)
        request_refund(payment, actor="admin:olga", reason=FORMULA, forced_by="olga")
        run_tasks()

    def refund_unused(self, charge_id: str) -> None:
        self.reasons[charge_id] = WISH
        payment = Payment.objects.get(charge_id=charge_id)
        request_refund(payment, actor="customer", reason=WISH, revokes_bundle=True)
        run_tasks()

    def row(self, **row: Any) -> None:
        """A row of Telegram's ledger that is no update's."""
        self.sandbox.post("/sandbox/transactions", row)

    def settle(self) -> None:
        reconcile_stars()
        sweep()


def live(month: Month) -> None:
    """From October 18 to November 22; each thing at its time of UTC."""
    plan: list[tuple[datetime, Callable[[], Any]]] = []
    charges: dict[str, str] = {}

    def on(moment: str | datetime, happening: Callable[[], Any], *, charge: str = "") -> None:
        def happen() -> None:
            charges[charge] = happening()

        plan.append((datetime.fromisoformat(f"{moment}").replace(tzinfo=UTC), happen))

    # Day by day, each at a later hour; the borders of the month, and of the day on which clocks go back in Berlin.
    for number in range(30):
        moment = datetime(2026, 10, 20, 0, 30, tzinfo=UTC) + number * timedelta(hours=25, minutes=30)
        on(moment, partial(month.buy, PLANS[number % 4], user_id=(BEN, ANNA)[number % 2]))
    borders = (
        *("2026-10-18T12:00:00", "2026-10-19T21:59:59", "2026-10-19T22:00:00"),
        *("2026-10-24T21:59:59", "2026-10-24T22:00:00", "2026-10-25T00:59:59", "2026-10-25T01:00:00"),
        *("2026-10-25T22:59:59", "2026-10-25T23:00:00", "2026-10-25T23:59:59", "2026-10-26T00:00:00"),
        *("2026-11-20T22:59:59", "2026-11-20T23:00:00", "2026-11-20T23:59:59", "2026-11-21T00:00:00"),
    )
    for border in borders:
        on(border, month.buy)

    on("2026-10-21T09:00", month.refuse)
    on("2026-11-12T23:30", month.refuse)
    on("2026-10-27T23:30", month.pay_twice)
    on("2026-10-29T08:00", month.pay_for_another)
    on("2026-10-30T12:00", lambda: month.order(FRANCE))
    on("2026-11-06T12:00", lambda: month.order(EUROPE, user_id=ANNA))

    # The update says 23:59:59, the ledger midnight; and an eSIM is bought on the day after its charge.
    on("2026-11-11T00:00:00", lambda: month.buy(date=datetime(2026, 11, 10, 23, 59, 59, tzinfo=UTC).timestamp()))
    on("2026-11-08T23:59:30", month.pay_without_an_update, charge="lost")
    on("2026-11-09T00:03", lambda: month.find(charges["lost"]))

    on("2026-11-01T10:00", lambda: month.take_back(is_told=True))
    on("2026-11-13T17:30", lambda: month.take_back(is_told=False))
    on("2026-11-03T10:00", month.buy, charge="delivered")
    on("2026-11-15T23:59:30", lambda: month.refund_delivered(charges["delivered"]))
    on("2026-11-16T00:10", sweep)  # Telegram answers once more
    on("2026-11-16T10:00", lambda: month.buy(TURKEY), charge="unused")
    on("2026-11-17T10:00", lambda: month.refund_unused(charges["unused"]))

    foreign = {"type": "user", "transaction_type": "invoice_payment", "user": {"id": 77, "first_name": "李"}}
    on("2026-11-02T23:15", lambda: month.row(id="foreign", amount=77, source={**foreign, "invoice_payload": "other"}))
    withdrawal = {"type": "fragment", "withdrawal_state": {"type": "pending"}}
    on("2026-11-10T10:00", lambda: month.row(id="withdrawal", amount=2000, receiver=withdrawal))

    on(
        NEW_RATE_FROM,
        lambda: set_pricing_policy(by=None, reason="Stars are worth less", payout_usd_per_star=NEW_RATE),
    )
    on("2026-10-31T06:00", month.settle)
    on("2026-11-21T06:00", month.settle)

    for moment, happen in sorted(plan, key=lambda each: each[0]):
        with time_machine.travel(moment, tick=False):
            happen()


# What Telegram's ledger and eSIM Go's books say of it


class Books:
    """The month by the sandbox's books.

    charges, refunds: rows of Telegram's ledger by charge id, of invoices that the shop made there.
    """

    def __init__(self, month: Month) -> None:
        told = month.sandbox.ledger()
        self.month = month
        self.rows: list[Json] = told["transactions"]
        self.balance_stars: int = told["bot_stars"]
        self.balance_usd = Decimal(str(told["balance_usd"]))
        self.invoices: dict[str, Json] = {invoice["payload"]: invoice for invoice in told["invoices"].values()}
        self.charges = {row["id"]: row for row in self.rows if self.is_of_shop(row.get("source", {}))}
        self.refunds = {row["id"]: row for row in self.rows if self.is_of_shop(row.get("receiver", {}))}
        self.orders: dict[str, Json] = {order["orderReference"]: order for order in told["orders"]}
        self.iccids = {each["order"]: esim["iccid"] for esim in told["esims"] for each in esim["assignments"]}
        self.revoked = {
            each["order"]
            for esim in told["esims"]
            for each in esim["assignments"]
            if each["fields"]["bundleState"] == "revoked"
        }

    def is_of_shop(self, partner: Json) -> bool:
        return partner.get("invoice_payload") in self.invoices

    def is_order(self, charge_id: str) -> bool:
        return charge_id not in self.month.extras

    def reference(self, charge_id: str) -> str:
        """eSIM Go's reference of what the shop still owns for a charge."""
        reference = self.month.bought.get(charge_id, "")
        return "" if reference in self.revoked else reference

    def wholesale(self, charge_id: str) -> Decimal:
        reference = self.reference(charge_id)
        return Decimal(str(self.orders[reference]["total"])) if reference else Decimal(0)

    def payout(self, charge_id: str) -> Decimal:
        if charge_id in self.refunds or not self.is_order(charge_id):
            return Decimal(0)
        charge = self.charges[charge_id]
        sold_at = self.invoices[charge["source"]["invoice_payload"]]["created_at"]
        return int(charge["amount"]) * (OLD_RATE if sold_at < NEW_RATE_FROM.timestamp() else NEW_RATE)

    # As the reports write it

    def payments(self, zone: str) -> Counter[tuple[str, ...]]:
        return Counter(
            (
                *(charge_id, str(row["source"]["user"]["id"]), str(row["amount"]), "XTR"),
                "refunded" if charge_id in self.refunds else "paid",
                "order" if self.is_order(charge_id) else "extra",
                str(day_of(row["date"], zone)),
                moment(self.refunds[charge_id]["date"], zone) if charge_id in self.refunds else "",
                self.reference(charge_id),
            )
            for charge_id, row in self.charges.items()
            if FIRST <= day_of(row["date"], zone) <= LAST
        )

    def refunds_made(self, zone: str) -> Counter[tuple[str, ...]]:
        return Counter(
            (
                *(charge_id, str(row["receiver"]["user"]["id"]), str(row["amount"]), "done"),
                moment(row["date"], zone),
                "true" if charge_id in self.month.outside else "false",
            )
            for charge_id, row in self.refunds.items()
        )

    def orders_made(self, zone: str) -> Counter[tuple[str, ...]]:
        paid = {
            row["source"]["invoice_payload"]: charge_id
            for charge_id, row in self.charges.items()
            if self.is_order(charge_id)
        }
        return Counter(
            self._order(payload, paid.get(payload, ""), zone)
            for payload, invoice in self.invoices.items()
            if FIRST <= day_of(invoice["created_at"], zone) <= LAST
        )

    def _order(self, payload: str, charge_id: str, zone: str) -> tuple[str, ...]:
        invoice = self.invoices[payload]
        if not charge_id:
            status, wholesale, payout = "expired", Decimal(0), Decimal(0)
        else:
            is_returned = charge_id in self.refunds and charge_id not in self.month.outside
            status = "refunded" if is_returned else "completed"
            wholesale, payout = self.wholesale(charge_id), self.payout(charge_id)
        return (
            *(self.month.chosen[payload], str(invoice["amount"]), moment(invoice["created_at"], zone)),
            *(charge_id, status, f"{wholesale:.4f}", f"{payout:.6f}", f"{payout - wholesale:.6f}"),
            *(self.reference(charge_id), self.iccids.get(self.month.bought.get(charge_id, ""), "")[-4:]),
        )

    def ledger(self, zone: str) -> Counter[tuple[str, ...]]:
        return Counter(
            (
                *(row["id"], "in" if "source" in row else "out", str(row["amount"]), moment(row["date"], zone)),
                (row.get("source") or row["receiver"])["type"],
                {"foreign": "unexplained", "withdrawal": "other"}.get(row["id"], "matched"),
            )
            for row in self.rows
            if FIRST <= day_of(row["date"], zone) <= LAST
        )

    def days(self, zone: str) -> list[Row]:
        days, balance = [], sum(self._stars(row) for row in self.rows if day_of(row["date"], zone) < FIRST)
        for number in range((LAST - FIRST).days + 1):
            day = FIRST + timedelta(days=number)
            rows = [row for row in self.rows if day_of(row["date"], zone) == day]
            opening, balance = balance, balance + sum(self._stars(row) for row in rows)
            came = [row["id"] for row in rows if self.is_of_shop(row.get("source", {}))]
            went = [row["id"] for row in rows if self.is_of_shop(row.get("receiver", {}))]
            wholesale = sum((self.wholesale(charge_id) for charge_id in came), Decimal(0))
            payout = sum((self.payout(charge_id) for charge_id in came), Decimal(0))
            days.append(
                {
                    "date": str(day),
                    "payments": str(len(came)),
                    "stars_in": str(sum(self.charges[charge_id]["amount"] for charge_id in came)),
                    "refunds": str(len(went)),
                    "stars_refunded": str(sum(self.refunds[charge_id]["amount"] for charge_id in went)),
                    "wholesale_usd": f"{wholesale:.4f}",
                    "payout_usd": f"{payout:.6f}",
                    "margin_usd": f"{payout - wholesale:.6f}",
                    "opening_stars": str(opening),
                    "closing_stars": str(balance),
                    "unexplained_stars": str(sum(self._stars(row) for row in rows if row["id"] == "foreign")),
                    "other_stars": str(sum(self._stars(row) for row in rows if row["id"] == "withdrawal")),
                    "unread_stars": "0",
                    "esims": str(sum(bool(self.reference(charge_id)) for charge_id in came)),
                }
            )
        return days

    @staticmethod
    def _stars(row: Json) -> int:
        return int(row["amount"]) if "source" in row else -int(row["amount"])


def day_of(second: int, zone: str) -> date:
    return datetime.fromtimestamp(second, ZoneInfo(zone)).date()


def moment(second: int, zone: str) -> str:
    return datetime.fromtimestamp(second, ZoneInfo(zone)).isoformat()


# What the reports say


class Reports:
    """The files of the days from FIRST to LAST (or others) in a time zone, as a strict reader sees them."""

    def __init__(self, folder: Path, zone: str) -> None:
        self.folder, self.zone = folder, zone

    def read(self, name: str, first: date | None = FIRST, last: date | None = LAST) -> list[Row]:
        file = self.folder / "report.csv"
        days = [*(["--from", str(first)] if first else []), *(["--to", str(last)] if last else [])]
        call_command("export_report", name, *days, "--tz", self.zone, "--output", str(file))
        with file.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines, strict=True))

    def cells(self, name: str, columns: str, **days: Any) -> Counter[tuple[str, ...]]:
        return Counter(tuple(row[column] for column in columns.split()) for row in self.read(name, **days))


PAYMENTS = "payment_id telegram_user_id amount_stars currency status kind day refunded_at esim_order_reference"
REFUNDS = "payment_id telegram_user_id amount_stars status refunded_at is_refunded_outside"
ORDERS = (
    "bundle amount_stars created_at payment_id status wholesale_usd payout_usd margin_usd esim_order_reference "
    "iccid_last4"
)
LEDGER = "transaction_id direction amount_stars date partner state"


@pytest.fixture
def month(sandbox: SandboxControl) -> Month:
    """The month as it was, up to its last reading of Telegram's ledger."""
    sandbox.post("/sandbox/settings", {"refunds_enabled": True})
    User.objects.create_user("olga").user_permissions.add(Permission.objects.get(codename="refund_delivered"))
    month = Month(sandbox, Decimal(str(sandbox.ledger()["balance_usd"])))
    with time_machine.travel(datetime(2026, 10, 18, tzinfo=UTC), tick=False):
        sync_plans(client=esimgo_client())
    live(month)
    return month


def differences(told: Counter[tuple[str, ...]], known: Counter[tuple[str, ...]]) -> tuple[list[Any], list[Any]]:
    """Rows that only the report has, and rows that only the books have."""
    return sorted((told - known).elements()), sorted((known - told).elements())


NONE: tuple[list[Any], list[Any]] = ([], [])


def test_five_reports_of_a_month_say_what_telegram_and_esim_go_say(month: Month, tmp_path: Path) -> None:
    books = Books(month)
    check_mixture(month, books)
    for zone in ("UTC", "Europe/Berlin"):
        reports = Reports(tmp_path, zone)
        assert differences(reports.cells("payments", PAYMENTS), books.payments(zone)) == NONE, zone
        assert differences(reports.cells("refunds", REFUNDS), books.refunds_made(zone)) == NONE, zone
        assert differences(reports.cells("orders", ORDERS), books.orders_made(zone)) == NONE, zone
        assert differences(reports.cells("ledger", LEDGER), books.ledger(zone)) == NONE, zone
        for told, known in zip(reports.read("daily"), books.days(zone), strict=True):
            assert {name: told[name] for name in known} == known, zone
        check_halves(reports)
        check_totals(reports, books)


def check_mixture(month: Month, books: Books) -> None:
    """The month held what it is meant to hold: else it proves nothing."""
    assert reconcile_stars().unexplained_stars == 77
    returned_by_the_shop = set(books.refunds) - month.outside
    assert (len(books.charges), len(books.invoices), len(books.orders)) == (57, 57, 53)
    assert (len(month.extras), len(month.outside), len(books.revoked)) == (2, 2, 1)
    assert len(returned_by_the_shop - month.extras - set(month.bought)) == 2, "refused bundles"
    assert returned_by_the_shop & set(month.bought) == set(month.reasons)
    [asked_the_day_before] = [charge for charge, reason in month.reasons.items() if reason == FORMULA]
    assert moment(books.refunds[asked_the_day_before]["date"], "UTC") == "2026-11-16T00:10:00+00:00"
    assert {"+01:00", "+02:00"} == {moment(row["date"], "Europe/Berlin")[-6:] for row in books.rows}
    for charge_id, reference in month.bought.items():
        payload = books.charges[charge_id]["source"]["invoice_payload"]
        assert books.orders[reference]["order"][0]["item"] == month.chosen[payload]


def check_halves(reports: Reports) -> None:
    """Two files of the days before and after hold each row of the whole once, and the balance goes on."""
    middle = date(2026, 11, 10)
    for name in REPORTS:
        halves = [reports.read(name, last=middle), reports.read(name, first=middle + timedelta(days=1))]
        assert all(halves), name
        assert [*halves[0], *halves[1]] == reports.read(name), name


def check_totals(reports: Reports, books: Books) -> None:
    """Without dates every row counts, and the sums are the balances at Telegram and at eSIM Go."""
    payments, refunds, orders, daily, ledger = (reports.read(name, None, None) for name in REPORTS)
    assert [len(payments), len(refunds), len(orders), len(ledger)] == [
        *(len(books.charges), len(books.refunds), len(books.invoices), len(books.rows)),
    ]
    stars_in = sum(row["amount"] for row in books.charges.values())
    stars_back = sum(row["amount"] for row in books.refunds.values())
    assert total(payments, "amount_stars") == total(daily, "stars_in") == stars_in
    assert total(refunds, "amount_stars") == total(daily, "stars_refunded") == stars_back
    assert stars_in - stars_back + 77 - 2000 == int(daily[-1]["closing_stars"]) == books.balance_stars
    spent = books.month.balance_usd - books.balance_usd
    assert total(orders, "wholesale_usd") == total(daily, "wholesale_usd") == spent
    for column in ("payout_usd", "margin_usd"):
        assert total(orders, column) == total(daily, column)

    orders_of = {row["payment_id"]: row["order_id"] for row in orders if row["payment_id"]}
    assert orders_of == {row["payment_id"]: row["order_id"] for row in payments if row["kind"] == "order"}
    said = {row["payment_id"]: row["reason"] for row in refunds if row["payment_id"] in books.month.reasons}
    assert said == {charge: f"'{text}" if text == FORMULA else text for charge, text in books.month.reasons.items()}


def total(rows: list[Row], column: str) -> Decimal:
    return sum((Decimal(row[column]) for row in rows), Decimal(0))
