"""The back office's start page: figures, charts and what needs a person, each with a link to its list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, cast
from urllib.parse import urlencode

from django.core.cache import cache
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from esimshop.acts import act_url, find_act, may_perform
from esimshop.back_office import BAD, CARE, GOOD, QUIET
from orders.models import Order
from payments.health import WORKER_SILENT_AFTER
from payments.models import ServicePolicy
from payments.services.dashboard import (
    Day,
    Figures,
    Health,
    Sales,
    StuckOrders,
    find_stuck_orders,
    find_waiting,
    read_figures,
    read_health,
)
from payments.services.diagnosis import ACCOUNTS_ARE_OLD, CATALOGUE_IS_OLD, CATALOGUE_IS_STALE
from payments.services.situation import describe_duration, next_action

#: Seconds for which the figures of 30 days may be old; what needs a person is always of now.
FIGURES_LAST = 60

#: By name of what waits: which list it is, in words, and what to do.
_WAITING: dict[str, tuple[str, str, tuple[str, str], str]] = {
    "cases": (
        "payments.case",
        "status__exact=open",
        ("case waits for an answer", "cases wait for an answer"),
        "Answer the one that waits longest.",
    ),
    "refund_requests": (
        "payments.refundrequest",
        "status__exact=waiting",
        ("refund waits for a second person", "refunds wait for a second person"),
        "Look at the order, then agree or decline.",
    ),
    "refused_refunds": (
        "payments.payment",
        "status__exact=refund_failed",
        ("refund was refused by Telegram", "refunds were refused by Telegram"),
        "Read why on the payment's page; ask again or settle it with the customer.",
    ),
    "unexplained": (
        "payments.startransaction",
        "state__in=unexplained,different",
        ("row of Telegram's ledger is unexplained", "rows of Telegram's ledger are unexplained"),
        "Find out what each row is: see the finance handbook.",
    ),
    "orphans": (
        "orders.orphan",
        "status__exact=open",
        ("purchase at eSIM Go belongs to no order", "purchases at eSIM Go belong to no order"),
        "Adopt each for an order that waits, revoke it, or write it off.",
    ),
    "failed_updates": (
        "payments.telegramupdate",
        "status__exact=failed",
        ("update could not be handled", "updates could not be handled"),
        "Mend the cause that its error names, then replay them.",
    ),
    "failed_jobs": (
        "procrastinate.procrastinatejob",
        "status__exact=failed",
        ("task has failed for good", "tasks have failed for good"),
        "Their rows are found by the sweeps; tell a developer.",
    ),
    "alerts": (
        "esimshop.alert",
        "cleared_at__isempty=1",
        ("alert is open", "alerts are open"),
        "Each says what to do.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Matter:
    """Something that needs a person: how much of what, what to do next, and where."""

    tone: str
    count: int
    what: str
    action: str
    url: str
    since: str
    act_label: str = ""
    act_link: str = ""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure with its name, a line about it and its list."""

    name: str
    value: str
    note: str = ""
    url: str = ""
    tone: str = QUIET


def fill_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the start page shows to this member of staff: only of what they may view."""
    may_see_sales = request.user.has_perm("payments.view_payment")
    context["matters"] = _matters(request)
    context["health"] = _health_tiles(request, read_health())
    if may_see_sales:
        figures = _figures()
        context["today"] = _sales_tiles(figures.today, figures.starts)
        context["month"] = _sales_tiles(figures.month, figures.month_starts)
        context["charts"] = _charts(figures)
        context["has_sold"] = bool(figures.month.payments or figures.month.invoices)
    context["title"] = "Today"
    context["may_see_sales"] = may_see_sales
    context["zone"] = timezone.get_current_timezone_name()
    return context


def _figures() -> Figures:
    zone = timezone.get_current_timezone()
    key = f"dashboard:{timezone.get_current_timezone_name()}:{timezone.localdate()}"
    return cast("Figures", cache.get_or_set(key, lambda: read_figures(zone), FIGURES_LAST))


def _list_url(model: str, query: str = "") -> str:
    app, name = model.split(".")
    url = reverse(f"admin:{app}_{name}_changelist")
    return f"{url}?{query}" if query else url


def _since(field: str, moment: datetime, **others: str) -> str:
    return urlencode({f"{field}__gte": moment.isoformat(), **others})


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _sales_tiles(sales: Sales, since: datetime) -> list[Tile]:
    made = _list_url("orders.order", _since("created_at", since))
    return [
        Tile(
            name="Payments",
            value=_number(sales.payments),
            note=f"{_number(sales.stars)} Stars",
            url=_list_url("payments.payment", _since("charged_at", since)),
        ),
        Tile(
            name="Refunds",
            value=_number(sales.refunds),
            note=f"{_number(sales.stars_refunded)} Stars",
            url=_list_url("payments.refund", _since("refunded_at", since, status__exact="done")),
        ),
        Tile(
            name="Invoice to payment",
            value=_percent(sales.invoices_paid, sales.invoices),
            note=f"{_number(sales.invoices_paid)} of {_number(sales.invoices)} invoices",
            url=made,
        ),
        Tile(
            name="Payment to delivery",
            value=_percent(sales.invoices_delivered, sales.invoices_paid),
            note=f"{_number(sales.invoices_delivered)} of {_number(sales.invoices_paid)} paid",
            url=_list_url("orders.order", _since("created_at", since, status__exact="completed")),
        ),
        Tile(
            name="Paid to QR code",
            value=describe_short(sales.median),
            note=f"95 % within {describe_short(sales.slow)}" if sales.slow is not None else "no delivery yet",
            url=_list_url("orders.order", _since("paid_at", since, status__exact="completed")),
        ),
    ]


def describe_short(length: timedelta | None) -> str:
    """A length of time for a figure: "0.3 s", "4 min 10 s", "–" for none."""
    if length is None:
        return "–"
    seconds = length.total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else describe_duration(length)


def _matters(request: HttpRequest) -> list[Matter]:
    now = timezone.now()
    matters = []
    if request.user.has_perm("orders.view_order"):
        matters += [_stuck_matter(request, stuck, now) for stuck in find_stuck_orders()]
    waiting = find_waiting()
    for name, (model, query, what, action) in _WAITING.items():
        app, model_name = model.split(".")
        found = waiting[name]
        if found.count and request.user.has_perm(f"{app}.view_{model_name}"):
            matters.append(
                Matter(
                    tone=CARE if name in {"cases", "refund_requests"} else BAD,
                    count=found.count,
                    what=what[found.count > 1],
                    action=action,
                    url=_list_url(model, query),
                    since=describe_duration(now - found.oldest) if found.oldest else "",
                )
            )
    return matters


def _stuck_matter(request: HttpRequest, stuck: StuckOrders, now: datetime) -> Matter:
    needs_person = stuck.status == Order.Status.NEEDS_ATTENTION
    one, many = ("order needs a person", "orders need a person") if needs_person else ("order waits", "orders wait")
    cause = f": {Order.Cause(stuck.cause).label}" if stuck.cause else ""
    act = find_act("reprovision")
    can_act = needs_person and act is not None and may_perform(act, request.user)
    return Matter(
        tone=BAD if needs_person else CARE,
        count=stuck.count,
        what=f"{one if stuck.count == 1 else many}{cause} ({_number(stuck.stars)} Stars)",
        action=next_action(stuck.status, stuck.cause),
        url=_list_url("orders.order", urlencode({"status__exact": stuck.status, "cause__exact": stuck.cause})),
        since=describe_duration(now - stuck.oldest) if stuck.oldest else "",
        act_label=f"Re-provision {stuck.count}" if can_act else "",
        act_link=f"{act_url(act)}?{urlencode({'cause': stuck.cause})}" if can_act and act else "",
    )


def _health_tiles(request: HttpRequest, health: Health) -> list[Tile]:
    policy = ServicePolicy.in_force()
    paused = bool(health.pauses) or not health.is_selling
    why = "; ".join(f"{pause} since {_moment(pause.started_at)}" for pause in health.pauses)
    if not health.is_selling:
        why = "; ".join(filter(None, ["switched off in the pricing policy", why]))
    is_low = health.balance_usd is not None and health.balance_usd < policy.low_balance_usd
    tiles = {
        "catalog.salespause": Tile(
            name="Sales",
            value="paused" if paused else "on",
            note=why,
            url=_list_url("catalog.salespause", "ended_at__isempty=1" if health.pauses else ""),
            tone=BAD if paused else GOOD,
        ),
        "catalog.wholesaleraccount": Tile(
            name="eSIM Go's balance",
            value="not known" if health.balance_usd is None else f"{health.balance_usd:,.2f} USD",
            note=_told(health.balance_age),
            url=_list_url("catalog.wholesaleraccount"),
            tone=BAD if is_low or health.balance_usd is None else _tone_of(health.balance_age, ACCOUNTS_ARE_OLD),
        ),
        "payments.starsaccount": Tile(
            name="Our Stars at Telegram",
            value="not known" if health.balance_stars is None else _number(health.balance_stars),
            note=_told(health.stars_age),
            url=_list_url("payments.startransaction"),
            tone=_tone_of(health.stars_age, ACCOUNTS_ARE_OLD),
        ),
        "catalog.catalogsync": Tile(
            name="Catalogue",
            value="never synced" if health.catalogue_age is None else "synced",
            note=_told(health.catalogue_age),
            url=_list_url("catalog.catalogsync"),
            tone=_tone_of(health.catalogue_age, CATALOGUE_IS_OLD, CATALOGUE_IS_STALE),
        ),
        "procrastinate.procrastinatejob": Tile(
            name="Worker",
            value="works" if _is_alive(health) else "silent",
            note=_told(health.heartbeat_age, "last sign of life"),
            url=_list_url("procrastinate.procrastinatejob"),
            tone=GOOD if _is_alive(health) else BAD,
        ),
        "payments.telegramupdate": Tile(
            name="Webhook",
            value="nothing came yet" if health.update_age is None else "receives",
            note=_told(health.update_age, "last update"),
            url=_list_url("payments.telegramupdate"),
            tone=QUIET if health.update_age is None else GOOD,
        ),
    }
    return [tile for model, tile in tiles.items() if request.user.has_perm(_view_permission(model))]


def _view_permission(model: str) -> str:
    app, name = model.split(".")
    return f"{app}.view_{name}"


def _is_alive(health: Health) -> bool:
    return health.heartbeat_age is not None and health.heartbeat_age <= WORKER_SILENT_AFTER


def _moment(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT")


def _told(age: timedelta | None, what: str = "read") -> str:
    return "" if age is None else f"{what} {describe_duration(age)} ago"


def _tone_of(age: timedelta | None, old: timedelta, stale: timedelta | None = None) -> str:
    if age is None or age > (stale or old):
        return BAD
    return CARE if age > old else GOOD


# Charts: drawn on the server, so that they need no script, print well and follow light and dark.

WIDTH, HEIGHT, GAP = 720, 150, 3


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar of a chart, in units of its drawing; `inner` is the height of its darker part."""

    x: float
    y: float
    width: float
    height: float
    inner: float
    title: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A titled bar chart: one bar a day."""

    title: str
    legend: list[tuple[str, str]]
    top: str
    first: str
    last: str
    bars: list[Bar]


def _charts(figures: Figures) -> dict[str, Any]:
    days = figures.days
    seconds = [day.median.total_seconds() if day.median is not None else 0.0 for day in days]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "drawings": [
            _chart(
                "Stars a day",
                days,
                [float(day.stars) for day in days],
                [float(day.stars_refunded) for day in days],
                [("chart-bar", "taken in"), ("chart-inner", "given back")],
                lambda top: f"{_number(round(top))} Stars",
            ),
            _chart(
                "Payments a day",
                days,
                [float(day.payments) for day in days],
                [float(day.refunds) for day in days],
                [("chart-bar", "payments"), ("chart-inner", "refunds")],
                lambda top: _number(round(top)),
            ),
            _chart(
                "From payment to QR code, median",
                days,
                seconds,
                [0.0] * len(days),
                [],
                lambda top: describe_short(timedelta(seconds=top)),
            ),
        ],
        "days": [
            {
                "date": day.date,
                "payments": day.payments,
                "stars": day.stars,
                "refunds": day.refunds,
                "stars_refunded": day.stars_refunded,
                "median": describe_short(day.median),
                "url": _day_url(day),
            }
            for day in reversed(days)
        ],
    }


def _chart(
    title: str, days: list[Day], values: list[float], inners: list[float], legend: list[tuple[str, str]], label: Any
) -> Chart:
    top = max([*values, *inners], default=0.0)
    step = WIDTH / len(days)
    bars = []
    for number, (day, value, inner) in enumerate(zip(days, values, inners, strict=True)):
        height = HEIGHT * max(value, inner) / top if top else 0.0
        told = f"{date_format(day.date, 'j M')}: {day.payments} payments, {_number(day.stars)} Stars; {day.refunds} "
        told += f"refunds, {_number(day.stars_refunded)} Stars; paid to QR code {describe_short(day.median)}"
        bars.append(
            Bar(
                x=round(number * step + GAP / 2, 1),
                y=round(HEIGHT - height, 1),
                width=round(step - GAP, 1),
                height=round(height, 1),
                inner=round(HEIGHT * inner / top, 1) if top else 0.0,
                title=told,
                url=_day_url(day),
            )
        )
    return Chart(
        title=title,
        legend=legend,
        top=label(top) if top else "",
        first=date_format(days[0].date, "j M"),
        last=date_format(days[-1].date, "j M"),
        bars=bars,
    )


def _day_url(day: Day) -> str:
    zone = timezone.get_current_timezone()
    starts = datetime.combine(day.date, time(), zone)
    ends = datetime.combine(day.date + timedelta(days=1), time(), zone)
    query = urlencode({"charged_at__gte": starts.isoformat(), "charged_at__lt": ends.isoformat()})
    return _list_url("payments.payment", query)
