"""Faults are real: connections end, answers break, and the work is done or not as announced."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests

from tests.sandbox.conftest import SandboxClient

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = "esimgo.POST /orders"


def orders(sandbox: SandboxClient) -> int:
    return len(sandbox.ledger()["orders"])


@pytest.mark.parametrize(("kind", "placed"), [("drop", 0), ("drop_after_work", 1)])
def test_a_dropped_connection_has_no_answer(sandbox: SandboxClient, kind: str, placed: int) -> None:
    sandbox.fault(ORDERS, kind)
    with pytest.raises(requests.ConnectionError):
        sandbox.order()
    assert orders(sandbox) == placed
    assert sandbox.order().ok


def test_a_timeout_comes_after_the_work(sandbox: SandboxClient) -> None:
    sandbox.fault(ORDERS, "timeout_after_work", seconds=5)
    body = {
        "type": "transaction",
        "assign": True,
        "order": [{"type": "bundle", "quantity": 1, "item": "esim_1GB_7D_FR_V2"}],
    }
    with pytest.raises(requests.ReadTimeout):
        sandbox.esimgo("POST", "/orders", json=body, timeout=0.3)
    assert orders(sandbox) == 1


@pytest.mark.parametrize(("after_work", "placed"), [(False, 0), (True, 1)])
def test_a_status_comes_with_or_without_the_work(sandbox: SandboxClient, after_work: bool, placed: int) -> None:
    sandbox.fault(ORDERS, "status", status=503, headers={"Retry-After": "7"}, after_work=after_work)
    answer = sandbox.order()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert list(answer.json()) == ["message"]
    assert orders(sandbox) == placed


def test_telegrams_429_says_how_long_to_wait(sandbox: SandboxClient) -> None:
    sandbox.fault("telegram.sendMessage", "status", status=429, headers={"Retry-After": "3"})
    assert sandbox.bot("sendMessage", chat_id=1001, text="x").json() == {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 3",
        "parameters": {"retry_after": 3},
    }


def test_spoiled_answers_come_after_the_work(sandbox: SandboxClient) -> None:
    for kind in ("html", "half_json", "empty", "malformed"):
        sandbox.fault(ORDERS, kind)
    html, half, empty, malformed = (sandbox.order() for _ in range(4))
    assert html.headers["Content-Type"] == "text/html"
    assert half.text.startswith('{"order"')
    with pytest.raises(ValueError):
        half.json()
    assert empty.content == b""
    assert "orderReference" not in malformed.json()
    assert orders(sandbox) == 4


def test_an_answer_can_end_in_its_middle(sandbox: SandboxClient) -> None:
    sandbox.fault(ORDERS, "cut")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        sandbox.order()
    assert orders(sandbox) == 1


def test_a_duplicate_does_the_work_twice(sandbox: SandboxClient) -> None:
    sandbox.fault(ORDERS, "duplicate")
    assert sandbox.order().ok
    assert orders(sandbox) == 2


def test_a_delay_delays(sandbox: SandboxClient) -> None:
    sandbox.fault(ORDERS, "delay", seconds=0.3)
    began = time.monotonic()
    assert sandbox.order().ok
    assert time.monotonic() - began >= 0.3


def test_a_call_that_outlives_a_reset_leaves_no_trace_in_the_world_after_it(sandbox: SandboxClient) -> None:
    sandbox.fault(ORDERS, "delay", seconds=0.5)
    late = threading.Thread(target=sandbox.order)
    late.start()
    time.sleep(0.2)
    sandbox.post("/sandbox/reset", everything=True)
    late.join(5)

    ledger = sandbox.get("/sandbox/ledger")
    assert ledger["calls"]["counts"] == {}
    assert not ledger["orders"]


def test_faults_strike_as_often_as_told_and_only_their_target(sandbox: SandboxClient) -> None:
    sandbox.fault("esimgo.GET /esims/*", "status", status=500, times=2)
    statuses = [sandbox.esimgo("GET", "/esims/assignments?reference=x").status_code for _ in range(3)]
    assert statuses == [500, 500, 400]
    sandbox.fault("telegram", "status", status=502, times=None)
    assert {sandbox.bot("getMe").status_code for _ in range(3)} == {502}
    assert sandbox.order().ok
    (fault,) = sandbox.get("/sandbox/faults")["faults"]
    assert requests.delete(f"{sandbox.url}/sandbox/faults?id={fault['id']}", timeout=5).json() == {"removed": 1}
    assert sandbox.bot("getMe").ok


def test_calls_are_counted_with_their_faults(sandbox: SandboxClient) -> None:
    sandbox.fault(ORDERS, "drop")
    with pytest.raises(requests.ConnectionError):
        sandbox.order()
    sandbox.order()
    calls = sandbox.ledger()["calls"]
    assert calls["counts"] == {"esimgo.POST /orders": 2}
    assert [(call["status"], call["fault"]) for call in calls["recent"]] == [(None, "drop"), (200, None)]


@pytest.mark.parametrize(
    "fault",
    [
        {"target": "bank", "kind": "drop"},
        {"target": "esimgo.POST /orders", "kind": "lose"},
        {"target": "webhook", "kind": "html"},
        {"target": "telegram.sendPhoto", "kind": "drop", "unknown": 1},
        {"target": "telegram.sendPhoto", "kind": "status", "status": "many"},
        {"target": "telegram.sendPhoto", "kind": "kill_worker"},
        {"target": "telegram.sendPhoto", "kind": "kill_worker", "pid": 1},
    ],
)
def test_a_fault_that_cannot_be_is_refused(sandbox: SandboxClient, fault: dict[str, object]) -> None:
    assert requests.post(f"{sandbox.url}/sandbox/faults", json=fault, timeout=5).status_code == 400
    assert sandbox.get("/sandbox/faults")["faults"] == []


@pytest.mark.parametrize(("after_work", "placed"), [(False, 1), (True, 1)])
def test_a_worker_is_killed_where_told(sandbox: SandboxClient, tmp_path: Path, after_work: bool, placed: int) -> None:
    script = tmp_path / "manage.py"
    script.write_text("import time; time.sleep(60)")
    worker = subprocess.Popen([sys.executable, str(script), "worker"])
    time.sleep(0.2)
    sandbox.fault(ORDERS, "kill_worker", pid=worker.pid, after_work=after_work)
    assert sandbox.order().ok
    assert worker.wait(5) == -9
    assert orders(sandbox) == placed


def test_no_other_process_is_killed(sandbox: SandboxClient, tmp_path: Path) -> None:
    script = tmp_path / "manage.py"
    script.write_text("import time; time.sleep(60)")
    process = subprocess.Popen([sys.executable, str(script), "runserver"])
    try:
        time.sleep(0.2)
        fault = {"target": ORDERS, "kind": "kill_worker", "pid": process.pid}
        assert requests.post(f"{sandbox.url}/sandbox/faults", json=fault, timeout=5).status_code == 400
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_what_struck_is_counted(sandbox: SandboxClient) -> None:
    before = sandbox.get("/sandbox/faults")["struck"].get("status", 0)
    sandbox.fault("esimgo", "status", times=3)
    for _ in range(2):
        sandbox.esimgo("GET", "/organisation")

    assert sandbox.get("/sandbox/faults")["struck"]["status"] == before + 2
