"""Faults on request: what goes wrong, where, and how often."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from esimshop.sandbox.exchange import Json

# Answers that hide or spoil the result come after the work by default: those are the dangerous ones.
_SPOILED = {"html", "half_json", "cut", "empty", "malformed"}
_AFTER_WORK_BY_DEFAULT = {"timeout_after_work", "drop_after_work", *_SPOILED}
_FOR_CALLS = {
    "delay",
    "timeout_after_work",
    "status",
    "drop",
    "drop_after_work",
    *_SPOILED,
    "duplicate",
    "kill_worker",
}
_FOR_WEBHOOK = {
    "delay",
    "timeout_after_work",
    "drop",
    "drop_after_work",
    "duplicate",
    "reorder",
    "lose",
    "kill_worker",
}
_FOR_CLIENT = {"claim", "lose"}
_KINDS = {"telegram": _FOR_CALLS, "esimgo": _FOR_CALLS, "webhook": _FOR_WEBHOOK, "client": _FOR_CLIENT}


@dataclass
class Fault:
    """One thing that goes wrong.

    target:     "esimgo.POST /orders", "telegram.sendPhoto", "webhook.successful_payment",
                "client.invoice_closed"; "esimgo", "webhook" … mean all of them, * is a wildcard.
    times:      how often it still strikes; None: until it is taken away.
    after_work: whether the call does its work before it goes wrong.
    status, headers, message: of the answer of kind "status"; a spoiled answer has the status too.
    seconds:    of kinds "delay" and "timeout_after_work"; the longest hold of "reorder".
    pid:        of the worker to kill. claim: what the Mini App is told of a payment.
    """

    id: int
    target: str
    kind: str
    status: int = 503
    seconds: float = 0.0
    times: int | None = 1
    after_work: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    pid: int | None = None
    claim: str = "failed"


class Faults:
    """The faults that wait to strike, oldest first.

    struck: how often each kind has, since the start.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._last_id = 0
        self.struck: Counter[str] = Counter()

    def add(self, wanted: Json) -> Fault:
        """Plan a fault. Raises ValueError for a kind that its target cannot have, or a wrong field."""
        target, kind = str(wanted.get("target", "")), str(wanted.get("kind", ""))
        kinds = _KINDS.get(target.split(".")[0])
        if kinds is None:
            raise ValueError(f"target begins with one of {', '.join(sorted(_KINDS))}")
        if kind not in kinds:
            raise ValueError(f"kind for {target} is one of {', '.join(sorted(kinds))}")
        if kind == "kill_worker":
            _require_worker(wanted.get("pid"))
        wanted = {"after_work": kind in _AFTER_WORK_BY_DEFAULT, **wanted}
        if kind in {"timeout_after_work", "reorder"}:
            wanted = {"seconds": 30.0, **wanted}
        if kind in _SPOILED:
            wanted = {"status": 200, **wanted}
        unknown = set(wanted) - set(Fault.__dataclass_fields__) | {"id"} & set(wanted)
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        with self._lock:
            self._last_id += 1
            fault = Fault(id=self._last_id, **wanted)
            fault.seconds, fault.status = float(fault.seconds), int(fault.status)
            fault.headers = {str(name): str(value) for name, value in dict(fault.headers).items()}
            self._faults.append(fault)
            return fault

    def take(self, name: str) -> Fault | None:
        """The fault that strikes the call or delivery of this name, used up by one."""
        with self._lock:
            for fault in self._faults:
                if fnmatchcase(name, fault.target) or name.startswith(fault.target + "."):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self._faults.remove(fault)
                    self.struck[fault.kind] += 1
                    return fault
        return None

    def clear(self, identifier: int | None = None) -> int:
        """Take away one fault, or all; returns how many there were."""
        with self._lock:
            gone = [fault for fault in self._faults if identifier in (None, fault.id)]
            self._faults = [fault for fault in self._faults if fault not in gone]
            return len(gone)

    def listed(self) -> list[Json]:
        with self._lock:
            return [asdict(fault) for fault in self._faults]


def kill_worker(fault: Fault) -> None:
    """Kill the worker process that the fault names; a process that is gone already counts as killed."""
    if fault.pid is not None and _is_worker(fault.pid):
        os.kill(fault.pid, signal.SIGKILL)


def _require_worker(pid: object) -> None:
    if not isinstance(pid, int) or isinstance(pid, bool) or not _is_worker(pid):
        raise ValueError("pid is not of a running `manage.py worker`")


def _is_worker(pid: int) -> bool:
    file = Path(f"/proc/{pid}/cmdline")
    if file.exists():
        words = file.read_bytes().split(b"\0")
    else:
        listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        words = listed.stdout.split()
    return any(word.endswith(b"manage.py") for word in words) and b"worker" in words
