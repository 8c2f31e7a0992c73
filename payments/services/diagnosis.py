"""What `doctor` looks at: one small check a thing, each with a cure, a time limit, and no power to break the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks as django_checks
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Max, Min, Q, Sum
from django.utils import timezone

from catalog.models import CatalogSync, Plan, PricingPolicy, SalesPause, WholesalerAccount
from catalog.services.accounts import CURRENCY
from esimshop.alerts import TASK_TAKES as ALERT_TASK_TAKES
from esimshop.clients.certificates import CertificateError, CertificateRefused, read_certificate_end
from esimshop.clients.esimgo import EsimGoError, EsimGoRejected, esimgo_client
from esimshop.clients.telegram import TelegramError, TelegramRejected, telegram_client
from esimshop.logs import redact
from esimshop.models import Alert
from orders.models import Order, Orphan, RefusedCallback, WholesalerCallback
from payments.health import PROMISE_SLACK, WORKER_SILENT_AFTER, age_seconds, worker_heartbeat_age_seconds
from payments.models import Payment, Refund, ServicePolicy, StarsAccount, StarTransaction, TelegramUpdate
from payments.services.bot_set_up import webhook_url
from payments.services.queue import count_stalled_jobs, read_waits
from payments.services.webhook_watch import Place, missing_updates, webhook_place

CHECK_SECONDS = 15.0
CLOCKS_APART = timedelta(seconds=5)
#: A failed delivery to the webhook this long ago says nothing of now.
WEBHOOK_ERROR_IS_FRESH = timedelta(hours=1)
#: More updates than this wait only where we are too slow or cannot be reached.
MANY_PENDING_UPDATES = 50
#: Let's Encrypt's are renewed when a month is left: below, the renewal fails.
CERTIFICATE_ENDS_SOON, CERTIFICATE_ENDS_NOW = timedelta(days=14), timedelta(days=3)
#: Callbacks are seldom where few eSIMs are in use, so one refused this long ago still tells how the portal is set.
REFUSAL_IS_FRESH = timedelta(days=7)
#: Read every 5 minutes.
ACCOUNTS_ARE_OLD = timedelta(minutes=20)
#: Synced every hour.
CATALOGUE_IS_OLD, CATALOGUE_IS_STALE = timedelta(hours=3), timedelta(hours=24)
UPDATES_TO_BE_PAID = ("message", "pre_checkout_query")
LOST_WITHOUT = {
    "callback_query": "the buttons of /paysupport do nothing",
    "my_chat_member": "nobody notices who blocks the bot or lets it in again",
}
JOB_WAITS_LONG = timedelta(minutes=2)
REFUND_IS_STUCK = timedelta(minutes=15)
UPDATE_IS_STUCK = timedelta(minutes=5)


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check saw: one sentence, and where it is not ok its cure, which is a command or a place."""

    name: str = ""
    state: State
    text: str
    cure: str = ""


Check = Callable[[], Iterator[Finding]]


def diagnose(*, check_seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Look at the whole shop. Raises nothing: a check that breaks, or takes longer than check_seconds, is a finding."""
    database = _look("database", _check_database, seconds=check_seconds)
    has_database = all(finding.state == State.OK for finding in database)
    inside = CHECKS_OF_ROWS if has_database else {}
    return [
        *database,
        *(
            finding
            for name, check in (CHECKS_OF_SERVICES | inside).items()
            for finding in _look(name, check, seconds=check_seconds)
        ),
    ]


def _look(name: str, check: Check, *, seconds: float) -> list[Finding]:
    """Run a check in a thread of its own, which is left behind when its time is over."""
    found: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            try:
                findings = list(check())
            finally:
                connections.close_all()
        except BaseException as error:
            found.set_exception(error)
        else:
            found.set_result(findings)

    threading.Thread(target=run, name=f"check {name}", daemon=True).start()
    try:
        findings = found.result(seconds)
    except TimeoutError:
        findings = [_problem(f"No answer within {seconds:g} s.", "See whether it is overloaded, and ask again.")]
    except DatabaseError as error:
        # Without its text, which may name host and user.
        findings = [_problem(f"The database fails: {type(error).__name__}.", "Look at DATABASE_URL and PostgreSQL.")]
    except Exception as error:
        findings = [_problem(f"The check broke with {type(error).__name__}: {error}", "Report it to a developer.")]
    return [replace(finding, name=name, text=redact(finding.text)) for finding in findings]


def _ok(text: str) -> Finding:
    return Finding(state=State.OK, text=text)


def _warning(text: str, cure: str) -> Finding:
    return Finding(state=State.WARNING, text=text, cure=cure)


def _problem(text: str, cure: str) -> Finding:
    return Finding(state=State.PROBLEM, text=text, cure=cure)


# The services around us


def _check_settings() -> Iterator[Finding]:
    messages = django_checks.run_checks(tags=[django_checks.Tags.security])
    for message in messages:
        kind = _problem if message.is_serious() else _warning
        yield kind(f"{message.msg}", f"{message.hint or 'Set it in the environment.'}")
    if settings.DEBUG and not settings.IS_LOOPBACK:
        yield _problem(f"DEBUG is on, and {settings.PUBLIC_URL} is public.", "Set DEBUG=off and start all anew.")
    elif not messages:
        yield _ok("Complete for production." if not settings.DEBUG else "DEBUG is on, for this machine alone.")


def _check_database() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        (version,) = cursor.fetchone()
    yield _ok(f"PostgreSQL {version}.")


def _check_bot() -> Iterator[Finding]:
    try:
        bot = telegram_client().get_me()
    except TelegramRejected as error:
        yield _problem(f"Telegram refuses the token: {error}.", "Set TELEGRAM_BOT_TOKEN to what @BotFather shows.")
    except TelegramError as error:
        yield _telegram_is_away(error)
    else:
        yield _ok(f"@{bot.username}.")


def _check_webhook() -> Iterator[Finding]:
    try:
        info = telegram_client().get_webhook_info()
    except TelegramError as error:
        yield _telegram_is_away(error)
        return
    set_it = "manage.py set_webhook"
    waiting = f"{info.pending_update_count} updates wait"
    if not info.url:
        if info.pending_update_count:
            yield _problem(f"No webhook is set, and {waiting}: nobody fetches them.", f"{set_it}, or run_polling")
        else:
            yield _warning("No webhook is set: updates come only while run_polling runs.", set_it)
        return
    healthy = True
    if webhook_place(info.url) == Place.ELSEWHERE:
        healthy = False
        yield _problem(
            f"Telegram sends updates to {info.url}, not to {webhook_url()}.",
            f"{set_it}; if another shop uses this bot, give it a bot of its own first",
        )
    missing = missing_updates(info.allowed_updates)
    if needed := [unsent for unsent in missing if unsent in UPDATES_TO_BE_PAID]:
        healthy = False
        yield _problem(f"Telegram does not send {' and '.join(needed)}: nobody can pay.", set_it)
    for unsent in missing:
        if unsent in LOST_WITHOUT:
            healthy = False
            yield _warning(f"Telegram does not send {unsent}: {LOST_WITHOUT[unsent]}.", set_it)
    if info.last_error_at and timezone.now() - info.last_error_at < WEBHOOK_ERROR_IS_FRESH:
        healthy = False
        kind = _problem if info.pending_update_count else _warning
        yield kind(
            f"At {info.last_error_at:%H:%M:%S} Telegram could not deliver: {info.last_error_message}; {waiting}.",
            "Look at proxy, certificate and TELEGRAM_WEBHOOK_SECRET; docs/troubleshooting.md",
        )
    elif info.pending_update_count > MANY_PENDING_UPDATES:
        healthy = False
        yield _warning(f"{waiting} at Telegram.", "Look at the web processes' log and at /metrics.")
    if healthy:
        yield _ok(f"{info.url}; {waiting}.")


def _check_certificate() -> Iterator[Finding]:
    renew = "Look at the log of the proxy (Caddy, certbot), which renews it, and load it anew"
    if urlsplit(settings.PUBLIC_URL).scheme != "https":
        yield _ok("None is needed on this machine.")
        return
    try:
        ends_at = read_certificate_end(settings.PUBLIC_URL)
    except CertificateRefused as error:
        yield _problem(f"The certificate of {settings.PUBLIC_URL} is not good: {error}.", f"{renew}.")
        return
    except CertificateError as error:
        yield _problem(
            f"{settings.PUBLIC_URL} does not answer: {error}.", "Is the proxy running? Look at name and port."
        )
        return
    left = ends_at - timezone.now()
    text = f"The certificate of {settings.PUBLIC_URL} ends on {ends_at:%Y-%m-%d}, in {left.days} days."
    if left > CERTIFICATE_ENDS_SOON:
        yield _ok(text)
    else:
        kind = _warning if left > CERTIFICATE_ENDS_NOW else _problem
        yield kind(text, f"{renew}: Telegram calls no webhook without it.")


def _check_telegram_clock() -> Iterator[Finding]:
    try:
        theirs = telegram_client().get_time()
    except TelegramError as error:
        yield _telegram_is_away(error)
    else:
        yield _compare_clocks(theirs, whose="Telegram's")


def _telegram_is_away(error: TelegramError) -> Finding:
    return _problem(f"Telegram does not answer: {error}.", "Look at the network and TELEGRAM_API_BASE_URL.")


def _compare_clocks(theirs: datetime, *, whose: str) -> Finding:
    apart = timezone.now() - theirs
    if abs(apart) <= CLOCKS_APART:
        return _ok(f"Ours and {whose} agree.")
    which = "ahead of" if apart > timedelta() else "behind"
    return _problem(
        f"Our clock is {abs(apart.total_seconds()):.0f} s {which} {whose}.", "Set up time synchronisation (NTP)."
    )


def _check_wholesaler() -> Iterator[Finding]:
    try:
        organisation = esimgo_client().get_organisation()
    except EsimGoRejected as error:
        yield _problem(
            f"eSIM Go refuses us: {error}.", "Check ESIMGO_API_KEY and the IP allow-list in eSIM Go's portal."
        )
    except EsimGoError as error:
        yield _problem(f"eSIM Go does not answer: {error}.", "Look at ESIMGO_BASE_URL, the network, eSIM Go's status.")
    else:
        if organisation.currency == CURRENCY:
            yield _ok(f"The key works; {_usd(organisation.balance_usd)} USD.")
        else:
            yield _problem(
                f"The account is kept in {organisation.currency or 'no currency'}, not in {CURRENCY}.",
                "Ask eSIM Go for an account in USD; until then switch sales off in the pricing policy.",
            )


# Our own rows


def _check_migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        names = ", ".join(f"{migration.app_label} {migration.name}" for migration, _ in waiting[:5])
        yield _problem(f"{len(waiting)} migrations are not applied: {names}.", "manage.py migrate")
    else:
        yield _ok("All applied.")


def _check_database_clock() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (theirs,) = cursor.fetchone()
    yield _compare_clocks(theirs, whose="the database's")


def _check_catalogue() -> Iterator[Finding]:
    on_sale = Plan.objects.on_sale().count()
    if not on_sale:
        yield _problem("No plan is on sale.", "manage.py sync_catalog, then look at the pricing policy")
    last = CatalogSync.objects.filter(error="", finished_at__isnull=False).aggregate(at=Max("finished_at"))["at"]
    age = timezone.now() - last if last else None
    if age is None or age > CATALOGUE_IS_OLD:
        kind = _warning if age is not None and age < CATALOGUE_IS_STALE else _problem
        yield kind(f"Last synced {_ago(last)}.", "manage.py sync_catalog; /admin/catalog/catalogsync/")
    elif on_sale:
        yield _ok(f"{on_sale} plans on sale, synced {_ago(last)}.")


def _check_balance() -> Iterator[Finding]:
    account = WholesalerAccount.objects.first()
    if account is None or account.balance_usd is None or account.read_at is None:
        yield _warning("eSIM Go's balance was never read.", "Start a worker: it reads it every 5 minutes.")
        return
    promised: Decimal = Order.objects.promised().aggregate(usd=Sum("cost_usd"))["usd"] or Decimal(0)
    low = ServicePolicy.in_force().low_balance_usd
    text = f"{_usd(account.balance_usd)} USD at eSIM Go, {_usd(promised)} of it promised, read {_ago(account.read_at)}"
    if account.balance_usd - promised <= 0:
        yield _problem(f"Nothing is left to sell from: {text}.", "Top up in eSIM Go's portal.")
    elif account.balance_usd - promised < low:
        yield _warning(f"Low: {text}.", "Top up in eSIM Go's portal.")
    elif timezone.now() - account.read_at > ACCOUNTS_ARE_OLD:
        yield _warning(f"Old: {text}.", "Is a worker running, and does eSIM Go answer?")
    else:
        yield _ok(f"{text}.")


def _check_worker() -> Iterator[Finding]:
    age = worker_heartbeat_age_seconds()
    if age is None or age > WORKER_SILENT_AFTER.total_seconds():
        silent = "No worker runs" if age is None else f"No worker gave a sign of life for {age:.0f} s"
        yield _problem(f"{silent}: nothing is bought, sent or refunded.", "manage.py worker")
    else:
        yield _ok(f"A worker gave a sign of life {age:.0f} s ago.")


def _check_queue() -> Iterator[Finding]:
    waits = read_waits().values()
    waiting, seconds = sum(wait.tasks for wait in waits), max(wait.seconds for wait in waits)
    stalled = count_stalled_jobs()
    if stalled:
        yield _problem(
            f"{stalled} tasks belong to workers that are gone.",
            "manage.py worker: a living worker takes them over within a minute",
        )
    if seconds > JOB_WAITS_LONG.total_seconds():
        yield _problem(
            f"{waiting} tasks wait, the oldest for {seconds:.0f} s.", "Start another manage.py worker; /admin/, Tasks"
        )
    elif not stalled:
        yield _ok(f"{waiting} tasks wait.")


def _check_orders() -> Iterator[Finding]:
    oldest = Order.objects.unfinished().order_by("paid_at").first()
    late = Order.objects.unfinished().filter(promise_at__lt=timezone.now() - PROMISE_SLACK).count()
    if late:
        yield _problem(
            f"{late} paid orders are past their promise; the oldest was paid {_ago(oldest and oldest.paid_at)}.",
            f"Is a worker running? /admin/orders/order/{oldest and oldest.pk}/change/",
        )
    elif oldest:
        yield _ok(f"The oldest unfinished order was paid {_ago(oldest.paid_at)}.")
    else:
        yield _ok("No paid order waits.")


def _check_attention() -> Iterator[Finding]:
    waiting = Order.objects.filter(status=Order.Status.NEEDS_ATTENTION).order_by("paid_at")
    yield _count(
        waiting.count(),
        "{} orders wait for a person.",
        "/admin/orders/order/?status__exact=needs_attention, then reprovision_order or refund_payment",
        none="No order waits for a person.",
    )


def _check_refunds() -> Iterator[Finding]:
    refused = Payment.objects.filter(status=Payment.Status.REFUND_FAILED).count()
    pending = Refund.objects.filter(status=Refund.Status.PENDING)
    stuck = pending.filter(requested_at__lt=timezone.now() - REFUND_IS_STUCK).aggregate(
        count=Count("pk"), oldest=Min("requested_at")
    )
    if refused:
        yield _problem(
            f"Telegram refused to refund {refused} payments.",
            "/admin/payments/payment/?status__exact=refund_failed, then refund_payment",
        )
    if stuck["count"]:
        yield _problem(
            f"{stuck['count']} refunds are stuck, the oldest was asked for {_ago(stuck['oldest'])}.",
            "/admin/payments/refund/?status__exact=pending has the error; check the bot's Stars and a worker",
        )
    if not refused and not stuck["count"]:
        yield _ok(f"{pending.count()} refunds under way, none stuck.")


def _check_stars() -> Iterator[Finding]:
    owed: int = Refund.objects.filter(status=Refund.Status.PENDING).aggregate(
        stars=Sum("payment__amount_stars")
    )["stars"] or 0  # fmt: skip
    try:
        balance = telegram_client().get_star_balance()
    except TelegramError as error:
        yield _telegram_is_away(error)
        return
    if balance < owed or balance < 0:
        yield _problem(
            f"The bot has {balance} Stars and owes {owed} in refunds.",
            "Send Stars to the bot; refunds go on by themselves.",
        )
    else:
        yield _ok(f"{balance} Stars, {owed} owed in refunds.")


def _check_updates() -> Iterator[Finding]:
    counts = TelegramUpdate.objects.aggregate(
        failed=Count("pk", filter=Q(status=TelegramUpdate.Status.FAILED)),
        stuck=Count(
            "pk",
            filter=Q(status=TelegramUpdate.Status.RECEIVED, received_at__lt=timezone.now() - UPDATE_IS_STUCK),
        ),
    )
    if counts["failed"]:
        yield _problem(
            f"{counts['failed']} updates could not be handled.",
            "/admin/payments/telegramupdate/?status__exact=failed, then manage.py replay_updates --failed",
        )
    if counts["stuck"]:
        yield _warning(f"{counts['stuck']} messages to the bot wait for their answer.", "Is a worker running?")
    if not any(counts.values()):
        yield _ok("All handled.")


def _check_alerts() -> Iterator[Finding]:
    if settings.ALERT_CHAT_ID and not settings.ALERT_CHAT_ID.removeprefix("-").isdecimal():
        yield _problem("ALERT_CHAT_ID is no number.", "Set ALERT_CHAT_ID to the id of a chat, such as -1001234567890.")
    elif not settings.ALERT_CHAT_ID and not settings.SENTRY_DSN:
        yield _warning("Nobody is told of alerts.", "Set ALERT_CHAT_ID or SENTRY_DSN.")
    counts = Alert.objects.filter(cleared_at=None).aggregate(
        open=Count("pk"),
        unsent=Count("pk", filter=Q(sent_at=None, raised_at__lt=timezone.now() - ALERT_TASK_TAKES * 2)),
    )
    if counts["unsent"]:
        yield _problem(
            f"{counts['unsent']} alerts could not be sent.",
            "Check ALERT_CHAT_ID: whoever reads there must have started the bot, or added it to the group.",
        )
    yield _count(
        counts["open"],
        "{} alerts are open.",
        "/admin/esimshop/alert/?cleared_at__isempty=1: each says what to do",
        none="None is open.",
        kind=_warning,
    )


def _check_ledger() -> Iterator[Finding]:
    unsettled = StarTransaction.objects.filter(
        state__in=[StarTransaction.State.UNEXPLAINED, StarTransaction.State.DIFFERENT]
    )
    open_rows = unsettled.aggregate(count=Count("pk"), stars=Sum("amount_stars"))
    if open_rows["count"]:
        yield _problem(
            f"{open_rows['count']} rows of Telegram's ledger, {open_rows['stars']} Stars, do not agree with ours.",
            "manage.py reconcile_stars lists them (--adopt-history if they are from before this shop)",
        )
    account = StarsAccount.objects.first()
    read_at = account.read_at if account else None
    if read_at is None or timezone.now() - read_at > ACCOUNTS_ARE_OLD:
        kind = _warning if read_at is None else _problem
        yield kind(
            f"Telegram's ledger was last read {_ago(read_at)}.", "manage.py reconcile_stars; is a worker running?"
        )
    elif not open_rows["count"]:
        yield _ok(f"All Stars are explained, read {_ago(read_at)}.")


def _check_orphans() -> Iterator[Finding]:
    yield _count(
        Orphan.objects.filter(status=Orphan.Status.OPEN).count(),
        "{} purchases at eSIM Go belong to no order.",
        "manage.py reconcile_orders, then decide each: /admin/orders/orphan/?status__exact=open",
        none="Every purchase at eSIM Go has its order.",
    )


def _check_callbacks() -> Iterator[Finding]:
    cures = {
        RefusedCallback.Reason.UNSIGNED: "Choose version V3 in eSIM Go's portal, Account Settings → API Details.",
        RefusedCallback.Reason.WRONG_SIGNATURE: "Compare the keys; put the one that signs into ESIMGO_API_KEY_OLD.",
    }
    accepted_at = WholesalerCallback.objects.order_by("-received_at").values_list("received_at", flat=True).first()
    since = timezone.now() - REFUSAL_IS_FRESH
    refused = RefusedCallback.objects.filter(last_at__gt=max(since, accepted_at or since))
    for row in refused:
        reason = RefusedCallback.Reason(row.reason)
        yield _problem(f"Callbacks of eSIM Go are refused, last {_ago(row.last_at)}: {reason.label}.", cures[reason])
    if not refused:
        yield _ok("None was refused lately." if accepted_at is None else f"The last was taken {_ago(accepted_at)}.")


def _check_sales() -> Iterator[Finding]:
    paused = False
    if not PricingPolicy.in_force().is_selling:
        paused = True
        yield _warning("Sales are switched off.", "/admin/catalog/pricingpolicy/")
    for pause in SalesPause.objects.filter(ended_at=None):
        paused = True
        which = f"plans from {_usd(pause.min_cost_usd)} USD" if pause.min_cost_usd is not None else "all plans"
        yield _warning(
            f"Paused since {pause.started_at:%Y-%m-%d %H:%M}, {which}: {pause.reason}",
            "It ends by itself when its cause does; /admin/catalog/salespause/",
        )
    if not paused:
        yield _ok("On.")


def _count(count: int, text: str, cure: str, *, none: str, kind: Callable[[str, str], Finding] = _problem) -> Finding:
    return kind(text.format(count), cure) if count else _ok(none)


def _usd(amount: Decimal) -> str:
    return f"{amount:.2f}"


def _ago(moment: Any) -> str:
    if moment is None:
        return "never"
    seconds = age_seconds(moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


#: In the order in which they are told.
CHECKS_OF_SERVICES: dict[str, Check] = {
    "settings": _check_settings,
    "bot": _check_bot,
    "webhook": _check_webhook,
    "certificate": _check_certificate,
    "Telegram's clock": _check_telegram_clock,
    "eSIM Go": _check_wholesaler,
}
CHECKS_OF_ROWS: dict[str, Check] = {
    "migrations": _check_migrations,
    "database's clock": _check_database_clock,
    "worker": _check_worker,
    "queue": _check_queue,
    "sales": _check_sales,
    "catalogue": _check_catalogue,
    "balance": _check_balance,
    "orders": _check_orders,
    "needs attention": _check_attention,
    "refunds": _check_refunds,
    "Stars": _check_stars,
    "ledger": _check_ledger,
    "orphans": _check_orphans,
    "callbacks": _check_callbacks,
    "updates": _check_updates,
    "alerts": _check_alerts,
}
