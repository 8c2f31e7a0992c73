"""What each report holds, as SQL.

Parameters of all: `start`, `end` (moments), and those that `closing` and `daily` name. The session's time zone is the
report's, so that `::date` is its day. A payment belongs to the day of its row in Telegram's ledger, and where that was
not read yet to Telegram's time of the charge; a refund likewise: so the sums are the ledger's, to the Star.
"""

from __future__ import annotations

from dataclasses import dataclass

from payments.reports.cells import Column, moment, text

#: Between Telegram's time of a charge and that of its row in the ledger lies less.
_SKEW = "interval '1 day'"

_PLACED = "LEFT JOIN orders_provisioningattempt a ON a.order_id = o.id AND a.status = 'placed'"
_WHOLESALE = "CASE WHEN a.id IS NULL THEN 0 ELSE coalesce(a.cost_usd, o.cost_usd) END"
_PAYOUT = (
    "CASE WHEN p.status <> 'refunded' THEN p.amount_stars * coalesce(g.payout_usd_per_star, %(payout)s) ELSE 0 END"
)


@dataclass(frozen=True)
class Report:
    """One report: its columns, and the FROM, WHERE and ORDER BY that they are read with.

    before: common table expressions.
    about:  one sentence for the admin's page.
    """

    name: str
    about: str
    columns: tuple[Column, ...]
    source: str
    before: str = ""

    def select(self, *, is_guarded: bool) -> str:
        """The whole query; without guards the values are as they are stored."""
        cells = ", ".join(
            f'{column.guarded() if is_guarded else column.value} AS "{column.name}"' for column in self.columns
        )
        return f"{self.before} SELECT {cells} {self.source}"


PAYMENTS = Report(
    name="payments",
    about="Every charge, by Telegram's time; refunded ones with the time of their return.",
    columns=(
        text("payment_id", "p.charge_id"),
        Column("telegram_user_id", "p.payer_id"),
        Column("order_id", "p.order_id"),
        Column("amount_stars", "p.amount_stars"),
        text("currency", "p.currency"),
        Column("status", "p.status"),
        text("esim_order_reference", "a.reference"),
        moment("created_at", "p.created_at"),
        moment("completed_at", "o.completed_at"),
        moment("refunded_at", "p.refunded_at"),
        moment("charged_at", "p.charged_at"),
        Column("day", "coalesce(i.date, p.charged_at)::date"),
        Column("kind", "p.kind"),
        Column("extra_reason", "nullif(p.extra_reason, '')"),
        Column(
            "payable_on",
            "CASE WHEN p.refunded_at IS NULL THEN coalesce(i.date, p.charged_at)::date + %(hold_days)s END",
        ),
        text("bundle", "n.bundle_name"),
        text("area", "n.area_id"),
        Column("is_from_ledger", "p.is_from_ledger::text"),
        Column("is_refunded_outside", "p.is_refunded_outside::text"),
    ),
    # An extra charge bought nothing: what its order got belongs to the charge that paid for it.
    source=f"""
        FROM payments_payment p
        LEFT JOIN payments_startransaction i ON i.payment_id = p.id AND i.direction = 'in'
        LEFT JOIN orders_order o ON o.id = p.order_id AND p.kind = 'order'
        {_PLACED}
        LEFT JOIN catalog_plan n ON n.id = o.plan_id
        WHERE p.charged_at >= %(start)s - {_SKEW} AND p.charged_at < %(end)s + {_SKEW}
          AND coalesce(i.date, p.charged_at) >= %(start)s AND coalesce(i.date, p.charged_at) < %(end)s
        ORDER BY p.charged_at, p.id""",
)

REFUNDS = Report(
    name="refunds",
    about="Every refund that was asked for, by the time of asking, with what came of it.",
    columns=(
        text("payment_id", "p.charge_id"),
        Column("telegram_user_id", "p.payer_id"),
        Column("order_id", "p.order_id"),
        Column("amount_stars", "p.amount_stars"),
        Column("status", "r.status"),
        text("reason", "r.reason"),
        text("requested_by", "r.requested_by"),
        moment("requested_at", "r.requested_at"),
        moment("refunded_at", "r.refunded_at"),
        Column("payment_kind", "p.kind"),
        Column("extra_reason", "nullif(p.extra_reason, '')"),
        text("forced_by", "nullif(r.forced_by, '')"),
        Column("attempts", "r.attempts"),
        text("error", "nullif(r.error, '')"),
        moment("charged_at", "p.charged_at"),
        Column("is_refunded_outside", "p.is_refunded_outside::text"),
    ),
    source="""
        FROM payments_refund r
        JOIN payments_payment p ON p.id = r.payment_id
        WHERE r.requested_at >= %(start)s AND r.requested_at < %(end)s
        ORDER BY r.requested_at, r.id""",
)

ORDERS = Report(
    name="orders",
    about="Every order that was made, paid or not: what it cost, what it is worth at payout, what is left.",
    columns=(
        Column("order_id", "o.id"),
        Column("telegram_user_id", "c.telegram_user_id"),
        text("bundle", "n.bundle_name"),
        text("area", "n.area_id"),
        Column("status", "o.status"),
        Column("amount_stars", "o.amount_stars"),
        Column("wholesale_usd", f"round({_WHOLESALE}, 4)"),
        Column("payout_usd", f"round(CASE WHEN p.id IS NULL THEN 0 ELSE {_PAYOUT} END, 6)"),
        Column("margin_usd", f"round(CASE WHEN p.id IS NULL THEN 0 ELSE {_PAYOUT} END - {_WHOLESALE}, 6)"),
        text("iccid_last4", "coalesce(e.last4, right(t.iccid, 4))"),
        text("esim_order_reference", "a.reference"),
        moment("created_at", "o.created_at"),
        moment("completed_at", "o.completed_at"),
        Column("day", "o.created_at::date"),
        moment("paid_at", "o.paid_at"),
        Column("cause", "nullif(o.cause, '')"),
        text("plan", "o.bought_plan #>> '{en,title}'"),
        text("area_name", "z.name_en"),
        Column("days", "n.validity_days"),
        Column("data_mb", "n.data_mb"),
        Column("is_top_up", "(o.top_up_esim_id IS NOT NULL)::text"),
        text("payment_id", "p.charge_id"),
    ),
    source=f"""
        FROM orders_order o
        JOIN orders_customer c ON c.id = o.customer_id
        JOIN catalog_plan n ON n.id = o.plan_id
        JOIN catalog_area z ON z.code = n.area_id
        {_PLACED}
        LEFT JOIN LATERAL (
            SELECT right(iccid, 4) AS last4 FROM orders_esim WHERE order_id = o.id ORDER BY id LIMIT 1
        ) e ON TRUE
        LEFT JOIN orders_esim t ON t.id = o.top_up_esim_id
        LEFT JOIN payments_payment p ON p.order_id = o.id AND p.kind = 'order'
        LEFT JOIN catalog_pricingpolicy g ON g.id = o.pricing_policy_id
        WHERE o.created_at >= %(start)s AND o.created_at < %(end)s
        ORDER BY o.created_at, o.id""",  # noqa: S608 (of constants alone)
)

LEDGER = Report(
    name="ledger",
    about="Every row of Telegram's Stars ledger, by Telegram's time, and what of ours it matched.",
    columns=(
        text("transaction_id", "s.transaction_id"),
        Column("direction", "s.direction"),
        Column("amount_stars", "s.amount_stars"),
        moment("date", "s.date"),
        text("partner", "s.partner_type"),
        text("matched_to", "p.charge_id"),
        Column("state", "s.state"),
        text("transaction_type", "nullif(s.transaction_type, '')"),
        Column("telegram_user_id", "s.user_id"),
        Column("order_id", "p.order_id"),
        Column("payment_kind", "p.kind"),
        Column("our_amount_stars", "p.amount_stars"),
        text("note", "nullif(s.note, '')"),
        moment("first_read_at", "s.first_read_at"),
    ),
    source="""
        FROM payments_startransaction s
        LEFT JOIN payments_payment p ON p.id = s.payment_id
        WHERE s.date >= %(start)s AND s.date < %(end)s
        ORDER BY s.date, s.id""",
)


_FACTS = (
    *("payments", "stars_in", "refunds", "stars_refunded", "wholesale", "payout", "esims", "unread"),
    *("booked", "other", "unexplained", "held", "asked"),
)
_SUMS = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in _FACTS)

# Whole days of the session's time zone. `sales`: what was charged on a day, by the day it went back (if it did).
_DAILY_BOOKS = f"""
    WITH sales AS (
        SELECT coalesce(i.date, p.charged_at)::date AS day,
               CASE WHEN p.status = 'refunded' THEN coalesce(x.date, p.refunded_at)::date END AS back,
               count(*) AS payments,
               sum(p.amount_stars) AS stars,
               coalesce(sum(p.amount_stars) FILTER (WHERE i.id IS NULL), 0) AS unread_in,
               coalesce(sum(p.amount_stars) FILTER (WHERE p.status = 'refunded' AND x.id IS NULL), 0) AS unread_out,
               count(a.id) AS esims,
               sum(CASE WHEN o.id IS NULL THEN 0 ELSE {_WHOLESALE} END) AS wholesale,
               sum(CASE WHEN o.id IS NULL THEN 0 ELSE {_PAYOUT} END) AS payout
        FROM payments_payment p
        LEFT JOIN payments_startransaction i ON i.payment_id = p.id AND i.direction = 'in'
        LEFT JOIN payments_startransaction x ON x.payment_id = p.id AND x.direction = 'out'
        LEFT JOIN orders_order o ON o.id = p.order_id AND p.kind = 'order'
        {_PLACED}
        LEFT JOIN catalog_pricingpolicy g ON g.id = o.pricing_policy_id
        WHERE p.charged_at < %(end)s + {_SKEW}
        GROUP BY 1, 2
    ), ledger AS (
        SELECT s.date::date AS day,
               sum(CASE s.direction WHEN 'in' THEN s.amount_stars ELSE -s.amount_stars END) AS stars,
               coalesce(sum(CASE s.direction WHEN 'in' THEN s.amount_stars ELSE -s.amount_stars END)
                   FILTER (WHERE s.state IN ('other', 'history', 'waiting')), 0) AS other,
               coalesce(sum((CASE s.direction WHEN 'in' THEN 1 ELSE -1 END)
                   * (s.amount_stars - CASE s.state WHEN 'different' THEN p.amount_stars ELSE 0 END))
                   FILTER (WHERE s.state IN ('unexplained', 'different')), 0) AS unexplained
        FROM payments_startransaction s
        LEFT JOIN payments_payment p ON p.id = s.payment_id AND s.state = 'different'
        WHERE s.date < %(end)s
        GROUP BY 1
    ), asked AS (
        SELECT r.requested_at::date AS day,
               CASE WHEN p.status = 'refunded' THEN coalesce(x.date, p.refunded_at)::date END AS back,
               sum(p.amount_stars) AS stars
        FROM payments_refund r
        JOIN payments_payment p ON p.id = r.payment_id
        LEFT JOIN payments_startransaction x ON x.payment_id = p.id AND x.direction = 'out'
        WHERE r.status <> 'refused' AND r.requested_at < %(end)s
        GROUP BY 1, 2
    ), facts AS (
        -- Columns as in _FACTS: `booked` is Telegram's balance, `held` the Stars on hold, `asked` refunds under way.
        SELECT day, payments, stars AS stars_in, 0 AS refunds, 0 AS stars_refunded, wholesale, payout, esims,
               unread_in AS unread, 0 AS booked, 0 AS other, 0 AS unexplained, stars AS held, 0 AS asked
        FROM sales
        UNION ALL
        SELECT back, 0, 0, payments, stars, 0, 0, 0, -unread_out, 0, 0, 0, 0, 0 FROM sales WHERE back IS NOT NULL
        UNION ALL
        SELECT greatest(day, least(day + %(hold_days)s, back)), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -stars, 0 FROM sales
        UNION ALL
        SELECT day, 0, 0, 0, 0, 0, 0, 0, 0, stars, other, unexplained, 0, 0 FROM ledger
        UNION ALL
        SELECT day, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, stars FROM asked
        UNION ALL
        SELECT greatest(day, back), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -stars FROM asked WHERE back IS NOT NULL
    ), days AS (
        SELECT {_SUMS}, day::date AS day
        FROM generate_series(
            least(%(first)s::date, (SELECT min(day) FROM facts)), %(last)s::date, interval '1 day') AS calendar(day)
        LEFT JOIN facts USING (day)
        GROUP BY day
    ), figures AS (
        SELECT days.*, sum(booked) OVER so_far AS closing, sum(held) OVER so_far AS on_hold,
               sum(asked) OVER so_far AS under_way, sum(stars_in) OVER quarter AS in_90,
               sum(stars_refunded) OVER quarter AS back_90
        FROM days
        WINDOW so_far AS (ORDER BY day), quarter AS (ORDER BY day ROWS 89 PRECEDING)
    )"""  # noqa: S608 (of constants alone)

DAILY = Report(
    name="daily",
    about="One row a day: what came, what went, and whether Telegram's balance says the same.",
    before=_DAILY_BOOKS,
    columns=(
        Column("date", "day"),
        Column("payments", "payments"),
        Column("stars_in", "stars_in"),
        Column("refunds", "refunds"),
        Column("stars_refunded", "stars_refunded"),
        Column("wholesale_usd", "round(wholesale, 4)"),
        Column("payout_usd", "round(payout, 6)"),
        Column("margin_usd", "round(payout - wholesale, 6)"),
        Column("opening_stars", "closing - booked"),
        Column("closing_stars", "closing"),
        Column("unexplained_stars", "unexplained"),
        Column("other_stars", "other"),
        Column("unread_stars", "unread"),
        Column("esims", "esims"),
        Column("on_hold_stars", "on_hold"),
        Column("payable_stars", "greatest(closing - on_hold, 0)"),
        Column(
            "reserve_stars",
            "ceil(on_hold * greatest(%(reserve)s, CASE WHEN in_90 > 0 THEN least(back_90 / in_90, 1) ELSE 0 END))"
            " + under_way",
        ),
    ),
    source="FROM figures WHERE coalesce(day >= %(first)s::date, TRUE) ORDER BY day",
)

REPORTS = {report.name: report for report in (PAYMENTS, REFUNDS, ORDERS, DAILY, LEDGER)}
