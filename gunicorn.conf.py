"""How gunicorn serves the shop; read by itself when gunicorn starts in this folder. Flags given to it win."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

wsgi_app = "esimshop.wsgi:application"
workers = 2
# Eight of them may wait for Telegram or eSIM Go (esimshop/waiting_places.py); the others are for everybody else.
threads = 12
# Loaded once, before there are workers, which then begin at once: a restart is short, what the configuration lacks is
# said once, and the workers share the memory. Nothing is connected to while it loads. A new release needs a restart.
preload_app = True
# Longer than the longest call a view waits for; a worker that hangs is replaced.
timeout = 60
graceful_timeout = 20
# A little longer than a reverse proxy keeps its own side of a connection.
keepalive = 75
# The longest addresses are pages of the catalogue; initData comes in a header, which has its own limit.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# It is steered by signals alone, and has no home in which such a socket could lie.
control_socket_disable = True

# Each process counts for itself, in a file of this folder, and whichever is asked for /metrics adds them up. Name the
# same folder for `manage.py worker` on this machine, so that its calls are counted too; empty it before a start.
_OURS = "esimshop-metrics-"
if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    Path(folder).mkdir(parents=True, exist_ok=True)
else:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=_OURS)


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    metrics = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    if metrics.name.startswith(_OURS):
        shutil.rmtree(metrics, ignore_errors=True)
