"""Tasks that all apps share, and how tasks are queued: an id in, one service call, retries by the queue."""

import time
from typing import Any

from django.apps import apps
from django.db import transaction
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Status
from procrastinate.tasks import Task

from esimshop.alerts import clear_alert, raise_alert, send_alert, sweep_alerts
from esimshop.data_keys import rotate_data_keys
from esimshop.rate_limits import trim_rate_counts
from esimshop.staff_login import trim_logins

#: Purchases wait for one another (one is in flight per account), so they have a slot of their own in every worker.
PROVISIONING = "provisioning"
FULFILMENT = "fulfilment"
HOUSEKEEPING = "housekeeping"
#: Higher goes first: a customer who has paid waits for none of the housekeeping.
URGENT, NORMAL, IDLE = 100, 50, 0


def defer_once(task: Task[..., Any, Any]) -> bool:
    """Have the worker run a periodic task now. Returns False where it waits in the queue already."""
    try:
        with transaction.atomic():  # the refusal must not spoil a transaction around it
            task.configure().defer(timestamp=int(time.time()))
    except AlreadyEnqueued:
        return False
    return True


@app.task(queue=FULFILMENT, priority=NORMAL)
def send_alert_task(*, alert_id: int) -> None:
    send_alert(alert_id)


@app.periodic(cron="* * * * *")
@app.task(queue=FULFILMENT, priority=NORMAL, queueing_lock="sweep_alerts")
def sweep_alerts_task(timestamp: int) -> None:
    sweep_alerts()


@app.periodic(cron="17 * * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="trim_rate_counts")
def trim_rate_counts_task(timestamp: int) -> None:
    trim_rate_counts()


@app.periodic(cron="41 3 * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="trim_logins")
def trim_logins_task(timestamp: int) -> None:
    trim_logins()


@app.periodic(cron="23 4 * * *")
@app.task(queue=HOUSEKEEPING, priority=IDLE, queueing_lock="rotate_data_keys")
def rotate_data_keys_task(timestamp: int) -> None:
    """So that no row stays plain, or under an old key, because somebody forgot; and that a lost key is noticed."""
    rotation = rotate_data_keys(apps.get_models())
    if rotation.unknown:
        raise_alert(
            cause="data_keys",
            text=f"{len(rotation.unknown)} stored values open with none of DATA_KEYS. Put the key they were written "
            "with at the end of DATA_KEYS. `manage.py rotate_data_keys --dry-run` lists them.",
            path="/admin/esimshop/alert/",
        )
    else:
        clear_alert(cause="data_keys")


@app.periodic(cron="* * * * * */20")
@app.task(queue=FULFILMENT, priority=URGENT, queueing_lock="retry_stalled_jobs")
async def retry_stalled_jobs_task(timestamp: int) -> None:
    """Run the jobs of killed workers again: the queue does not by itself, and a job's lock would block its siblings."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=30):
        try:
            await app.job_manager.retry_job(job)
        except AlreadyEnqueued:
            # Its successor waits already.
            await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
