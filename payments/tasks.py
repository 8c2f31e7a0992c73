"""Tasks of payments: each loads by id and calls one service."""

import structlog
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from esimshop.alerts import alert_on_error
from esimshop.clients.telegram import TelegramError
from esimshop.tasks import FULFILMENT, HOUSEKEEPING, IDLE, NORMAL, URGENT
from payments.services.anonymisation import scrub_updates
from payments.services.cases import sweep_cases
from payments.services.ledger import AlreadyReconciling, note_unread_ledger, reconcile_stars
from payments.services.refund_requests import carry_out_refund_request, sweep_refund_requests
from payments.services.refunds import perform_refund, sweep_refunds
from payments.services.retention import trim_data
from payments.services.sales_watch import watch_sales
from payments.services.updates import handle_update, sweep_updates
from payments.services.webhook_watch import watch_webhook

log = structlog.get_logger(__name__)


@app.task(queue=FULFILMENT, priority=URGENT)
def perform_refund_task(*, refund_id: int) -> None:
    path = f"/admin/payments/refund/{refund_id}/change/"
    with alert_on_error(cause=f"refund:{refund_id}", what=f"Refund {refund_id}", path=path):
        perform_refund(refund_id)


@app.task(queue=FULFILMENT, priority=NORMAL)
def carry_out_refund_request_task(*, request_id: int) -> None:
    path = f"/admin/payments/refundrequest/{request_id}/change/"
    with alert_on_error(cause=f"refund_request:{request_id}", what=f"Refund request {request_id}", path=path):
        carry_out_refund_request(request_id)


@app.task(queue=FULFILMENT, priority=NORMAL)
def handle_update_task(*, update_pk: int) -> None:
    handle_update(update_pk)


@app.task(queue=HOUSEKEEPING, priority=IDLE, retry=RetryStrategy(max_attempts=10, exponential_wait=3))
def scrub_updates_task(*, telegram_user_id: int, after: int, until: int) -> None:
    scrub_updates(telegram_user_id, after=after, until=until)


@app.periodic(cron="* * * * *")
@app.task(queue=FULFILMENT, priority=NORMAL, queueing_lock="watch_sales")
def watch_sales_task(timestamp: int) -> None:
    watch_sales()


@app.periodic(cron="* * * * * */5")
@app.task(queue=FULFILMENT, priority=NORMAL, queueing_lock="sweep_payments")
def sweep_payments_task(timestamp: int) -> None:
    sweep_refunds()
    sweep_refund_requests()
    sweep_updates()
    sweep_cases()


@app.periodic(cron="11 4 * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="trim_data")
def trim_data_task(timestamp: int) -> None:
    trim_data()


@app.periodic(cron="*/5 * * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="reconcile_stars")
def reconcile_stars_task(timestamp: int) -> None:
    path = "/admin/payments/starsaccount/"
    what = "The reconciliation with Telegram's Stars ledger"
    with alert_on_error(cause="stars_reconciliation", what=what, path=path):
        try:
            reconcile_stars()
        except AlreadyReconciling:
            log.info("already_reconciling")
        except TelegramError as error:
            note_unread_ledger(error)


@app.periodic(cron="* * * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="watch_webhook")
def watch_webhook_task(timestamp: int) -> None:
    watch_webhook()
