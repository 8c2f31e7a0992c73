"""A process that handles a payment as webhook and worker do, in children of its own that die at a chosen step.

`python -m tests.chaos.mortal_child` reads one JSON object a line, {"update": …, "step": n}, forks a child that takes
the update and runs all tasks that follow, and kills it at its n-th step. It answers {"step": its name, or null where
the child came to its end, "is_answered": whether the webhook had answered 200}.

A step is before and after every commit (of a transaction, or of a statement by itself) and every call to the outside.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import requests
from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITES = ("INSERT", "UPDATE", "DELETE", "WITH")


class Steps:
    """Counts what a process does, and ends it with SIGKILL at one step. report: told in a line what happens."""

    def __init__(self, *, last: int, report: Callable[[str], None]) -> None:
        self._last = last
        self._report = report
        self._count = 0

    def pass_one(self, name: str) -> None:
        self._count += 1
        if self._count == self._last:
            self._report(f"died {name}")
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """From now on every commit and every outside call is two steps."""
        self._watch_commits()
        self._watch_statements()
        self._watch_calls()

    def _watch_commits(self) -> None:
        commit = psycopg.Connection.commit

        @wraps(commit)
        def watched(connection: Any) -> None:
            if connection.info.transaction_status != TransactionStatus.INTRANS:
                commit(connection)
                return
            self.pass_one("before COMMIT")
            commit(connection)
            self.pass_one("after COMMIT")

        psycopg.Connection.commit = watched  # type: ignore[method-assign]

    def _watch_statements(self) -> None:
        execute = psycopg.Cursor.execute

        @wraps(execute)
        def watched(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            statement = " ".join(str(query).split())
            is_free = cursor.connection.info.transaction_status == TransactionStatus.IDLE
            is_alone = cursor.connection.autocommit and is_free and statement.startswith(_WRITES)
            if not is_alone:
                return execute(cursor, query, *arguments, **options)
            self.pass_one(f"before {statement[:60]}")
            result = execute(cursor, query, *arguments, **options)
            self.pass_one(f"after {statement[:60]}")
            return result

        psycopg.Cursor.execute = watched  # type: ignore[method-assign]

    def _watch_calls(self) -> None:
        send, send_async = requests.Session.send, httpx.AsyncClient.send

        @wraps(send)
        def watched(session: Any, request: Any, **options: Any) -> Any:
            call = f"{request.method} {request.path_url.partition('?')[0]}"
            self.pass_one(f"before {call}")
            answer = send(session, request, **options)
            self.pass_one(f"after {call}")
            return answer

        @wraps(send_async)
        async def watched_async(client: Any, request: Any, **options: Any) -> Any:
            # The last part alone: the whole path has the bot's token.
            call = request.url.path.rpartition("/")[2]
            self.pass_one(f"before {call}")
            answer = await send_async(client, request, **options)
            self.pass_one(f"after {call}")
            return answer

        requests.Session.send = watched  # type: ignore[method-assign]
        httpx.AsyncClient.send = watched_async  # type: ignore[method-assign]


def live_until(update: Any, *, step: int, report: Callable[[str], None]) -> None:
    """Take a payment's update and do all that follows, in this process."""
    from tests.outside import run_tasks, send_update

    Steps(last=step, report=report).watch()
    answer = send_update(update)
    if answer.status_code == 200:
        report("answered")
    run_tasks()


def main() -> None:
    # What the shop logs goes where errors go; standard output is for the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import django

    django.setup()
    # Reads all that a request needs, so that no child does so for itself.
    from django.test import Client

    Client(raise_request_exception=False).get("/no-such-page")
    from django.db import connections

    connections.close_all()
    for line in sys.stdin:
        answers.write(json.dumps(_let_live(**json.loads(line))) + "\n")
        answers.flush()


def _let_live(*, update: Any, step: int) -> dict[str, Any]:
    """Handle an update in a child that dies at a step; what it reported."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            live_until(update, step=step, report=lambda text: _write(writing, f"{text}\n"))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as report:
        lines = report.read().splitlines()
    _, status = os.waitpid(child, 0)
    died = [text.removeprefix("died ") for text in lines if text.startswith("died ")]
    if not died and status:
        raise RuntimeError("the child failed by itself; its traceback is above")
    return {"step": died[0] if died else None, "is_answered": "answered" in lines}


def _write(pipe: int, text: str) -> None:
    os.write(pipe, text.encode())


if __name__ == "__main__":
    main()
