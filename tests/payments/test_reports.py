"""The CSV reports: every row once, every cell harmless, every file one that any program reads."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from orders.models import Order, ProvisioningAttempt
from payments.models import Payment, Refund, StarTransaction
from payments.reports.books import REPORTS
from payments.reports.days import BadDays, Days, parse_day
from payments.reports.export import BOM, stream_report
from tests.factories import (
    AreaFactory,
    CustomerFactory,
    EsimFactory,
    OrderFactory,
    PaymentFactory,
    PlanFactory,
    PricingPolicyFactory,
)

# A report is read by a connection of its own: it sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

FIRST_COLUMNS = {
    "payments": "payment_id telegram_user_id order_id amount_stars currency status esim_order_reference created_at "
    "completed_at refunded_at",
    "refunds": "payment_id telegram_user_id order_id amount_stars status reason requested_by requested_at refunded_at",
    "orders": "order_id telegram_user_id bundle area status amount_stars wholesale_usd payout_usd margin_usd "
    "iccid_last4 esim_order_reference created_at completed_at",
    "daily": "date payments stars_in refunds stars_refunded wholesale_usd payout_usd margin_usd opening_stars "
    "closing_stars unexplained_stars",
    "ledger": "transaction_id direction amount_stars date partner matched_to state",
}
NOVEMBER = Days(date(2026, 11, 1), date(2026, 11, 30))


def export(name: str, days: Days = NOVEMBER, **options: Any) -> bytes:
    return b"".join(stream_report(REPORTS[name], days, **options))


def read(name: str, days: Days = NOVEMBER) -> list[dict[str, str]]:
    """The rows as a strict reader sees them."""
    return list(csv.DictReader(io.StringIO(export(name, days).decode(), newline=""), strict=True))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def paid(when: datetime, *, stars: int = 130, user_id: int = 1002, **fields: Any) -> Payment:
    """A payment of that time with a completed order and its purchase."""
    order = OrderFactory(
        customer=CustomerFactory(telegram_user_id=user_id),
        plan=fields.pop("plan", None) or PlanFactory(),
        status=Order.Status.COMPLETED,
        amount_stars=stars,
        created_at=when,
        paid_at=when,
        completed_at=when,
    )
    ProvisioningAttempt.objects.create(
        order=order, bundle_name=order.plan.bundle_name, status="placed", reference=f"ref-{order.pk}",
        cost_usd=Decimal("1.25"), started_at=when,
    )  # fmt: skip
    return PaymentFactory(order=order, charged_at=when, created_at=when, **fields)


def refunded(payment: Payment, when: datetime, **fields: Any) -> Refund:
    Payment.objects.filter(pk=payment.pk).update(status="refunded", refunded_at=when)
    values = {"reason": "asked for", "requested_by": "admin:olga", "requested_at": when, "status": "done"}
    return Refund.objects.create(payment=payment, refunded_at=when, **{**values, **fields})


def in_ledger(payment: Payment, direction: str = "in", **fields: Any) -> StarTransaction:
    when = payment.charged_at if direction == "in" else Payment.objects.get(pk=payment.pk).refunded_at
    values = {"amount_stars": payment.amount_stars, "date": when, "partner_type": "user", "state": "matched"}
    return StarTransaction.objects.create(
        transaction_id=payment.charge_id, direction=direction, payment=payment, **{**values, **fields}
    )


@pytest.mark.parametrize("name", list(REPORTS))
def test_the_first_columns_are_those_that_finance_was_promised(name: str) -> None:
    header = export(name).decode().partition("\r\n")[0].split(",")

    assert " ".join(header).startswith(FIRST_COLUMNS[name])
    assert len(set(header)) == len(header)


@pytest.mark.parametrize("name", ["payments", "refunds", "orders", "ledger"])
def test_days_without_a_row_make_a_file_with_a_header_alone(name: str) -> None:
    assert export(name).count(b"\r\n") == 1


def test_a_refunded_payment_is_shown_as_refunded() -> None:
    payment = paid(at("2026-11-10T12:00"))
    refunded(payment, at("2026-11-12T09:30"))

    [row] = read("payments")
    [refund] = read("refunds")

    assert (row["status"], row["refunded_at"], row["payable_on"]) == ("refunded", "2026-11-12T09:30:00+00:00", "")
    assert (refund["payment_id"], refund["status"], refund["amount_stars"]) == (payment.charge_id, "done", "130")
    assert refund["requested_by"] == "admin:olga"


def test_an_order_says_its_cost_its_payout_and_its_margin() -> None:
    payment = paid(at("2026-11-10T12:00"))
    EsimFactory(order=payment.order, iccid="89445380000000004711")

    [row] = read("orders")

    money = (row["amount_stars"], row["wholesale_usd"], row["payout_usd"], row["margin_usd"])
    assert money == ("130", "1.2500", "1.690000", "0.440000")
    assert (row["iccid_last4"], row["payment_id"]) == ("4711", payment.charge_id)
    assert row["completed_at"] == "2026-11-10T12:00:00+00:00"


def test_an_order_is_worth_nothing_once_it_is_refunded_and_costs_nothing_once_its_bundle_is_revoked() -> None:
    revoked, kept = paid(at("2026-11-10T12:00")), paid(at("2026-11-11T12:00"))
    for payment in (revoked, kept):
        refunded(payment, at("2026-11-12T09:30"))
    ProvisioningAttempt.objects.filter(order=revoked.order).update(status="revoked")

    rows = read("orders")

    assert [(row["wholesale_usd"], row["payout_usd"], row["margin_usd"]) for row in rows] == [
        ("0.0000", "0.000000", "0.000000"),
        ("1.2500", "0.000000", "-1.250000"),
    ]


def test_the_payout_is_that_of_the_policy_under_which_it_was_sold() -> None:
    payment = paid(at("2026-11-10T12:00"))
    policy = PricingPolicyFactory(payout_usd_per_star=Decimal("0.01"))
    Order.objects.update(pricing_policy=policy)

    assert read("orders")[0]["payout_usd"] == "1.300000"
    assert read("daily")[9]["payout_usd"] == "1.300000", payment


def test_an_extra_charge_claims_nothing_that_its_order_got() -> None:
    payment = paid(at("2026-11-10T12:00"))
    PaymentFactory(
        order=payment.order, kind="extra", extra_reason="paid_twice", charged_at=at("2026-11-10T12:01"), amount_stars=7
    )

    first, extra = read("payments")

    assert first["esim_order_reference"]
    assert first["bundle"]
    assert (extra["kind"], extra["esim_order_reference"], extra["completed_at"], extra["bundle"]) == (
        "extra",
        "",
        "",
        "",
    )
    assert extra["order_id"] == str(payment.order_id)
    [order] = read("orders")
    assert order["payment_id"] == payment.charge_id


# Cells


@pytest.mark.parametrize(
    "reason",
    ["=1+1", "+7 900", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "\u00a0＠a", "\ufeff=1", "\u200b-1"],
)
def test_a_text_that_could_be_a_formula_is_made_harmless(reason: str) -> None:
    refunded(paid(at("2026-11-10T12:00")), at("2026-11-12T09:30"), reason=reason, forced_by="@olga")

    [row] = read("refunds")

    assert row["reason"] == "'" + reason.replace("\r", " ").replace("\n", " ")
    assert row["forced_by"] == "'@olga"


@pytest.mark.parametrize("reason", ["2 - 1 = 1", "Bitte zurück, „schnell“", "цена — 5", "'=1", "🦊", 'a,b;"c"', "(-1)"])
def test_a_text_that_is_no_formula_stays_as_it_is(reason: str) -> None:
    refunded(paid(at("2026-11-10T12:00")), at("2026-11-12T09:30"), reason=reason)

    assert read("refunds")[0]["reason"] == reason


def test_no_cell_breaks_a_line_and_every_line_ends_in_crlf() -> None:
    refunded(paid(at("2026-11-10T12:00")), at("2026-11-12T09:30"), reason="first\nsecond\r\nthird\rfourth")

    file = export("refunds")

    assert file.count(b"\n") == file.count(b"\r\n") == 2
    assert file.count(b"\r") == 2
    assert read("refunds")[0]["reason"] == "first second  third fourth"


def test_negative_numbers_stay_numbers() -> None:
    paid(at("2026-11-10T12:00"), stars=1)

    assert read("orders")[0]["margin_usd"] == "-1.237000"


def test_names_of_all_scripts_come_through_and_a_mark_at_the_beginning_is_an_option() -> None:
    plan = PlanFactory(area=AreaFactory(code="=X", name_en="Côte d’Ivoire / Абхазия 日本"), bundle_name="=cmd|' /C'!A1")
    paid(at("2026-11-10T12:00"), plan=plan)

    [row] = read("orders")

    assert (row["area"], row["area_name"], row["bundle"]) == ("'=X", "Côte d’Ivoire / Абхазия 日本", "'=cmd|' /C'!A1")
    assert export("orders", has_bom=True) == BOM + export("orders")


def test_every_row_counts() -> None:
    customer = CustomerFactory()
    Payment.objects.bulk_create(
        Payment(
            charge_id=f"stx{number}", payer_id=1, customer=customer, kind="extra", amount_stars=1, currency="XTR",
            charged_at=at("2026-11-10T12:00") + timedelta(seconds=number),
        )
        for number in range(10_000)
    )  # fmt: skip

    rows = read("payments")

    assert [row["payment_id"] for row in rows] == [f"stx{number}" for number in range(10_000)]
    assert read("daily")[9]["stars_in"] == "10000"


# Days


def test_both_dates_are_included_and_days_are_those_of_the_zone() -> None:
    early, late = paid(at("2026-10-31T22:59:59")), paid(at("2026-10-31T23:00:00"))
    end, over = paid(at("2026-11-30T22:59:59")), paid(at("2026-11-30T23:00:00"))

    berlin = read("payments", Days(date(2026, 11, 1), date(2026, 11, 30), "Europe/Berlin"))

    assert [row["payment_id"] for row in berlin] == [late.charge_id, end.charge_id]
    assert berlin[0]["charged_at"] == "2026-11-01T00:00:00+01:00"
    assert berlin[0]["day"] == "2026-11-01"
    assert [row["payment_id"] for row in read("payments")] == [end.charge_id, over.charge_id]
    assert early.charge_id in {row["payment_id"] for row in read("payments", Days())}


def test_the_day_on_which_clocks_go_back_has_25_hours() -> None:
    for hour in range(26):
        paid(at("2026-10-24T21:30") + timedelta(hours=hour), stars=1)

    fall = Days(date(2026, 10, 25), date(2026, 10, 25), "Europe/Berlin")
    rows = read("payments", fall)

    assert len(rows) == 25
    assert [row["charged_at"] for row in rows[2:4]] == ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    [day] = read("daily", fall)
    assert (day["date"], day["payments"], day["stars_in"]) == ("2026-10-25", "25", "25")


def test_a_charge_belongs_to_the_day_of_its_row_in_the_ledger() -> None:
    payment = paid(at("2026-11-10T23:59:59"))
    in_ledger(payment, date=at("2026-11-11T00:00:00"))

    eleventh = Days(date(2026, 11, 11), date(2026, 11, 11))

    assert [row["payment_id"] for row in read("payments", eleventh)] == [payment.charge_id]
    [day] = read("daily", eleventh)
    assert (day["stars_in"], day["opening_stars"], day["closing_stars"]) == ("130", "0", "130")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Days(zone="Europe/Nowhere"), "time zone"),
        (lambda: Days(zone="'; DROP TABLE"), "time zone"),
        (lambda: Days(date(2026, 2, 1), date(2026, 1, 1)), "after"),
        (lambda: Days(date(1, 1, 1)), "between"),
        (lambda: parse_day("yesterday"), "2026-11-30"),
    ],
)
def test_days_that_make_no_sense_are_refused_in_words(make: Any, word: str) -> None:
    with pytest.raises(BadDays, match=word):
        make()


# The day as finance closes it


def test_a_day_is_opened_and_closed_by_telegrams_ledger() -> None:
    payment, other = paid(at("2026-11-10T12:00")), paid(at("2026-11-11T12:00"), stars=200)
    in_ledger(payment)
    in_ledger(other)
    refunded(payment, at("2026-11-12T09:30"))
    in_ledger(payment, "out")
    rows = [
        ("withdrawal", "out", 50, "other", "2026-11-12T10:00"),
        ("stranger", "in", 9, "unexplained", "2026-11-12T11:00"),
    ]
    for key, direction, stars, state, date_ in rows:
        StarTransaction.objects.create(
            transaction_id=key, direction=direction, amount_stars=stars, state=state, date=at(date_), partner_type="x"
        )

    days = {row["date"]: row for row in read("daily", Days(date(2026, 11, 9), date(2026, 11, 13)))}

    assert list(days) == [f"2026-11-{day:02}" for day in range(9, 14)]
    _, first, second, third, fourth = days.values()
    assert [first["opening_stars"], first["closing_stars"]] == ["0", "130"]
    assert [second["opening_stars"], second["closing_stars"]] == ["130", "330"]
    assert [third[name] for name in ("payments", "refunds", "stars_refunded", "other_stars", "unexplained_stars")] == [
        "0", "1", "130", "-50", "9",
    ]  # fmt: skip
    assert [third["opening_stars"], third["closing_stars"]] == ["330", "159"]
    assert [fourth["opening_stars"], fourth["closing_stars"]] == ["159", "159"]
    for row in days.values():
        assert balances(row)


def balances(row: dict[str, str]) -> bool:
    figures = {name: int(value) for name, value in row.items() if name.endswith("_stars") or name.startswith("stars_")}
    explained = figures["stars_in"] - figures["stars_refunded"] + figures["other_stars"] - figures["unread_stars"]
    return figures["closing_stars"] == figures["opening_stars"] + explained + figures["unexplained_stars"]


def test_a_different_amount_is_unexplained_by_its_difference() -> None:
    payment = paid(at("2026-11-10T12:00"))
    in_ledger(payment, amount_stars=131, state="different")

    [day] = read("daily", Days(date(2026, 11, 10), date(2026, 11, 10)))

    assert (day["stars_in"], day["unexplained_stars"], day["closing_stars"]) == ("130", "1", "131")


def test_what_telegrams_ledger_was_not_read_for_yet_is_named() -> None:
    paid(at("2026-11-10T12:00"))

    [day] = read("daily", Days(date(2026, 11, 10), date(2026, 11, 10)))

    assert (day["stars_in"], day["unread_stars"], day["closing_stars"], day["unexplained_stars"]) == (
        *("130", "130", "0", "0"),
    )


def test_stars_are_on_hold_for_21_days_and_a_share_of_them_stays_for_refunds() -> None:
    kept, returned = paid(at("2026-11-01T12:00"), stars=1000), paid(at("2026-11-02T12:00"), stars=500)
    asked = paid(at("2026-11-03T12:00"), stars=100)
    refunded(returned, at("2026-11-04T12:00"))
    Refund.objects.create(payment=asked, reason="-", requested_by="x", requested_at=at("2026-11-05T12:00"))
    for payment in (kept, returned, asked):
        in_ledger(payment)
    in_ledger(returned, "out")

    days = {row["date"]: row for row in read("daily")}

    def figures(day: str) -> list[str]:
        return [days[day][name] for name in ("on_hold_stars", "payable_stars", "reserve_stars")]

    assert figures("2026-11-01") == ["1000", "0", "100"], "a tenth"
    assert figures("2026-11-05") == ["1100", "0", str(344 + 100)], "500 of 1,600 went back: 31.25 %, and one is asked"
    assert figures("2026-11-21")[0] == "1100"
    assert figures("2026-11-22")[:2] == ["100", "1000"]
    assert [row["payable_on"] for row in read("payments")] == ["2026-11-22", "", "2026-11-24"]
