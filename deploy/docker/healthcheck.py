"""Health of a container: `healthcheck.py web` asks its own server, `healthcheck.py worker` looks for a sign of life.

Exit code 0 or 1, as Docker wants it. Without Django, whose start would cost more than the answer is worth.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

import psycopg

#: As in payments/health.py.
WORKER_SILENT_AFTER_SECONDS = 30


def web_answers() -> bool:
    server = HTTPConnection("127.0.0.1", 8000, timeout=4)
    # The shop answers only to its own name.
    server.request("GET", "/healthz", headers={"Host": urlsplit(os.environ["PUBLIC_URL"]).netloc})
    return server.getresponse().status == 200


def worker_lives() -> bool:
    with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=4) as session:
        row = session.execute(
            "SELECT extract(epoch FROM clock_timestamp() - max(last_heartbeat)) FROM procrastinate_workers"
        ).fetchone()
    return row is not None and row[0] is not None and row[0] <= WORKER_SILENT_AFTER_SECONDS


if __name__ == "__main__":
    CHECKS = {"web": web_answers, "worker": worker_lives}
    sys.exit(0 if CHECKS[sys.argv[1]]() else 1)
