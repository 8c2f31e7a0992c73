"""The shop's processes in numbers that a run changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.processes import Processes, stop_process

if TYPE_CHECKING:
    import subprocess


class ScaledProcesses(Processes):
    """As Processes, with the Mini App's static files; web and worker processes come and go by `scale`.

    web: as many gunicorn workers; workers: as many `manage.py worker`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.web = self.workers = 0
        self._named: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> ScaledProcesses:
        super().__enter__()
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.page_settings",
            "STATIC_ROOT": str(self.folder / "static"),
        }
        return self

    def scale(self, *, web: int, workers: int) -> None:
        """Let so many run, all of them new."""
        for name in ("shop", *self._worker_names):
            if name in self._named:
                stop_process(self._named.pop(name))
        self.web, self.workers = web, workers
        # Threads and all else are those of gunicorn.conf.py.
        self._start(
            "shop",
            *("-m", "gunicorn", "esimshop.wsgi:application", f"--bind=127.0.0.1:{self.shop_port}"),
            *(f"--workers={web}", "--no-control-socket"),
        )
        self._wait_for(f"http://127.0.0.1:{self.shop_port}/healthz")
        for name in self._worker_names:
            self._start(name, "manage.py", "worker")
        self._wait_for(f"http://127.0.0.1:{self.shop_port}/readyz")

    def groups(self) -> dict[str, list[int]]:
        """The process ids of what is measured, by name."""
        pids = {name: process.pid for name, process in self._named.items()}
        return {
            "web": [pids["shop"]],
            "worker": [pids[name] for name in self._worker_names],
            "sandbox": [pids["sandbox"]],
            "bare view": [pids["bare"]],
        }

    @property
    def _worker_names(self) -> list[str]:
        return [f"worker-{number}" for number in range(self.workers)]

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = super()._start(name, *arguments)
        self._named[name] = process
        return process
