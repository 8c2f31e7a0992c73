"""How the queue of tasks fares: by the database's clock, which also writes its times."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from esimshop.tasks import FULFILMENT, HOUSEKEEPING, PROVISIONING
from payments.health import WORKER_SILENT_AFTER

QUEUES = (PROVISIONING, FULFILMENT, HOUSEKEEPING)


@dataclass(frozen=True)
class QueueWait:
    """Tasks that are due and not begun, and for how many seconds the oldest has been."""

    tasks: int
    seconds: float


def read_waits() -> dict[str, QueueWait]:
    """What waits, for each queue of the shop."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT job.queue_name,
                   count(*),
                   max(extract(epoch FROM clock_timestamp() - greatest(event.at, job.scheduled_at)))
              FROM procrastinate_jobs job
              JOIN procrastinate_events event ON event.job_id = job.id AND event.type = 'deferred'
             WHERE job.status = 'todo' AND (job.scheduled_at IS NULL OR job.scheduled_at <= clock_timestamp())
             GROUP BY job.queue_name
            """
        )
        waits = {queue: QueueWait(tasks, max(0.0, float(seconds))) for queue, tasks, seconds in cursor}
    return {queue: waits.get(queue, QueueWait(0, 0.0)) for queue in QUEUES}


def count_stalled_jobs() -> int:
    """Tasks that belong to workers that are gone: a living worker takes them over within a minute."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*)
              FROM procrastinate_jobs job
              LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
             WHERE job.status = 'doing'
               AND (worker.id IS NULL OR worker.last_heartbeat < clock_timestamp() - %s * interval '1 second')
            """,
            [WORKER_SILENT_AFTER.total_seconds()],
        )
        (stalled,) = cursor.fetchone()
    return int(stalled)


def count_workers() -> int:
    """Workers with a fresh sign of life; a process has two, one of them for purchases alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_workers"
            " WHERE last_heartbeat >= clock_timestamp() - %s * interval '1 second'",
            [WORKER_SILENT_AFTER.total_seconds()],
        )
        (alive,) = cursor.fetchone()
    return int(alive)
