"""The figures of the admin's page: how days close, what becomes payable, and what sold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from payments.reports.books import DAILY, ORDERS
from payments.reports.days import Days
from payments.reports.export import bind, read_connection

#: So many rows of a table on the page; the files have all.
MOST_ROWS = 50

_SUMMED = ("payments", "refunds", "stars_in", "stars_refunded", "other_stars", "unread_stars", "unexplained_stars")
_MONEY = ("wholesale_usd", "payout_usd", "margin_usd")

_PAYABLE = """
    SELECT coalesce(i.date, p.charged_at)::date + %(hold_days)s AS day, count(*) AS payments,
           sum(p.amount_stars) AS stars
    FROM payments_payment p
    LEFT JOIN payments_startransaction i ON i.payment_id = p.id AND i.direction = 'in'
    WHERE p.charged_at >= %(start)s AND p.status <> 'refunded'
    GROUP BY 1
    HAVING coalesce(i.date, p.charged_at)::date + %(hold_days)s > %(today)s ORDER BY 1"""


@dataclass(frozen=True)
class Summary:
    """What orders of a plan, an area or a day came to, best sold first; `is_cut` where there are more."""

    title: str
    rows: list[dict[str, Any]]
    is_cut: bool


@dataclass(frozen=True)
class Closing:
    """days: rows of the daily report, the newest first. total: their sums, from the first opening to the last closing.

    today:    the row of this day, whatever days were asked for.
    payable:  the coming days on which Stars become payable: `day`, `payments`, `stars`.
    """

    days: list[dict[str, Any]]
    total: dict[str, Any]
    today: dict[str, Any]
    payable: list[dict[str, Any]]
    summaries: list[Summary]

    @property
    def is_cut(self) -> bool:
        """Whether the page has room for fewer days than there are."""
        return len(self.days) > MOST_ROWS


def balances(row: dict[str, Any]) -> bool:
    """Whether Telegram's closing balance is the opening one and what happened: nothing unexplained, nothing unread."""
    moved = row["stars_in"] - row["stars_refunded"] + row["other_stars"]
    is_certain = row["unexplained_stars"] == row["unread_stars"] == 0
    return bool(is_certain and row["closing_stars"] == row["opening_stars"] + moved)


def read_closing(days: Days) -> Closing:
    """All figures of the page, as they were at one moment."""
    with read_connection(days) as connection:
        rows = _rows(connection, DAILY.select(is_guarded=False), days)
        this_day = Days(days.today, days.today, days.zone)
        [today] = (
            rows[-1:]
            if rows and rows[-1]["date"] == days.today
            else _rows(connection, DAILY.select(is_guarded=False), this_day)
        )
        return Closing(
            days=[{**row, "balances": balances(row)} for row in reversed(rows)],
            total=_total(rows),
            today=today,
            payable=_rows(connection, _PAYABLE, Days(days.today - timedelta(days=400), None, days.zone)),
            summaries=[
                _summary(connection, days, "Plan", "plan || ' · ' || bundle"),
                _summary(connection, days, "Area", "area_name"),
                _summary(connection, days, "Day", "to_char(day, 'YYYY-MM-DD')"),
            ],
        )


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {}
    total = {name: sum(row[name] for row in rows) for name in (*_SUMMED, *_MONEY, "esims")}
    total |= {"opening_stars": rows[0]["opening_stars"], "closing_stars": rows[-1]["closing_stars"]}
    return {**total, "balances": balances(total)}


def _summary(connection: psycopg.Connection[Any], days: Days, title: str, group: str) -> Summary:
    query = f"""
        SELECT {group} AS name, count(*) AS orders, count(payment_id) AS paid,
               coalesce(sum(amount_stars) FILTER (WHERE payment_id IS NOT NULL), 0) AS stars,
               sum(wholesale_usd) AS wholesale_usd, sum(payout_usd) AS payout_usd, sum(margin_usd) AS margin_usd
        FROM ({ORDERS.select(is_guarded=False)}) AS orders
        GROUP BY 1 ORDER BY stars DESC, name LIMIT {MOST_ROWS + 1}"""  # noqa: S608 (of constants alone)
    rows = _rows(connection, query, days)
    return Summary(title, rows[:MOST_ROWS], is_cut=len(rows) > MOST_ROWS)


def _rows(connection: psycopg.Connection[Any], query: str, days: Days) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(bind(connection, query, days).encode()).fetchall()


def presets(today: date) -> list[tuple[str, date, date]]:
    """The days that finance asks for most: a name, the first and the last."""
    yesterday = today - timedelta(days=1)
    month = today.replace(day=1)
    last_month = month - timedelta(days=1)
    return [
        ("Today", today, today),
        ("Yesterday", yesterday, yesterday),
        ("This month", month, today),
        ("Last month", last_month.replace(day=1), last_month),
    ]
