"""The shop's processes, which are killed and come back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.processes import Processes, stop_process
from tests.chaos.plan import DEADLINE

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

WORKERS = 2
_LOOK_SECONDS = 0.2


class MortalProcesses(Processes):
    """As Processes; whatever has ended is started again, as systemd or a container's supervisor does.

    kills: how many processes were killed, by what they were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kills: dict[str, int] = {}
        self._kept: dict[str, tuple[subprocess.Popen[bytes], tuple[str, ...]]] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> MortalProcesses:
        super().__enter__()
        self.environment |= {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "ESIMGO_TIMEOUT": str(DEADLINE)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._keeper.is_alive():
            self._keeper.join()
        super().__exit__(kind, error, trace)

    def start_made_up_sandbox(self) -> None:
        self._start("sandbox", "manage.py", "sandbox", f"--port={self.sandbox_port}")
        self._wait_for(f"{self.sandbox_url}/sandbox/faults")

    def start_mortals(self) -> None:
        """The web server and the task workers; from here on they come back whenever they end."""
        self.start_shop()
        for number in range(WORKERS):
            self._start(_worker(number), "manage.py", "worker")
        self._wait_for(f"http://127.0.0.1:{self.shop_port}/readyz")
        self._keeper.start()

    def worker_pid(self, number: int) -> int:
        with self._lock:
            return self._kept[_worker(number)][0].pid

    def kill(self, victim: str, number: int) -> None:
        """SIGKILL. victim: "web" one of gunicorn's workers, "server" all of gunicorn, "worker" a task worker."""
        with self._lock, contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if victim == "worker":
                os.kill(self.worker_pid(number), signal.SIGKILL)
            else:
                server = self._kept["shop"][0].pid
                if victim == "server":
                    os.killpg(server, signal.SIGKILL)
                else:
                    workers = Path(f"/proc/{server}/task/{server}/children").read_text().split()
                    os.kill(int(workers[number % len(workers)]), signal.SIGKILL)
            self.kills[victim] = self.kills.get(victim, 0) + 1

    def logs(self) -> dict[str, str]:
        return {file.stem: file.read_text(errors="replace") for file in self.folder.glob("*.log")}

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._lock:
            process = super()._start(name, *arguments)
            if name != "sandbox":
                self._kept[name] = (process, arguments)
            return process

    def _keep(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            with self._lock:
                for name, (process, arguments) in list(self._kept.items()):
                    if process.poll() is not None and not self._ended.is_set():
                        stop_process(process)  # what is left of its group
                        self._running = [each for each in self._running if each[0] is not process]
                        self._start(name, *arguments)


def _worker(number: int) -> str:
    return f"worker-{number}"
