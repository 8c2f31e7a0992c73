"""HTTP requests that end within a total time.

The timeout of `requests` counts anew for every read, so a server that sends a byte now and then holds a
call for ever, and of several addresses each is tried for the whole of it. Here one budget covers looking up
the name, connecting, sending, waiting, and reading headers and body.
"""

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from django.utils import timezone
from requests import Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError


def deadline_session() -> Session:
    """A session for one thread; give each request a `total_timeout` as its timeout."""
    session = Session()
    session.mount("http://", _DeadlineAdapter())
    session.mount("https://", _DeadlineAdapter())
    return session


def total_timeout(seconds: float) -> Any:
    """A budget of so many seconds for the whole request.

    Connecting has a third of it, which counts once for the name and addresses, once for the TLS handshake and
    once for sending; the answer has what is left. (Requests hands it on to urllib3; its types do not say so.)
    """
    return Timeout(total=seconds, connect=seconds / 3)


@contextmanager
def sent_before(moment: datetime) -> Iterator[None]:
    """Let no request of this thread be sent after a moment (aware), however long the process slept before.

    A request that comes too late fails like one that could not connect: nothing of it arrived in whole.
    """
    token = _SEND_BEFORE.set(moment)
    try:
        yield
    finally:
        _SEND_BEFORE.reset(token)


_SEND_BEFORE: ContextVar[datetime | None] = ContextVar("send_before", default=None)


class _UntilDeadline(io.RawIOBase):
    """The bytes of a socket until its timeout, taken as it is now for the whole, has passed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._bytes = sock.makefile("rb", buffering=0)
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left)
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_UntilDeadline(sock))


class _DeadlineConnection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        try:
            return _within(_seconds(self.timeout), super()._new_conn)
        except TimeoutError:
            raise ConnectTimeoutError(self, "connecting took too long") from None

    def connect(self) -> None:
        try:
            super().connect()
        except HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            # A failed handshake or tunnel too: whoever sees this kind knows that nothing was sent.
            raise NewConnectionError(self, f"not connected: {error}") from error

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        # Looked at again before every part: without its last one a request is none.
        moment = _SEND_BEFORE.get()
        if moment is not None and timezone.now() >= moment:
            raise NewConnectionError(self, "not sent: its deadline had passed before")
        super().send(data)


class _DeadlineHTTPSConnection(_DeadlineConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _DeadlineConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineHTTPSConnection


class _DeadlineAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_deadlines(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        _use_deadlines(manager)
        return manager


def _use_deadlines(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


def _seconds(timeout: Any) -> float | None:
    return float(timeout) if isinstance(timeout, (int, float)) else None


def _within(seconds: float | None, connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect in a thread, left behind when the time is up: the system's resolver cannot be interrupted."""
    connected: Future[socket.socket] = Future()

    def run() -> None:
        try:
            connected.set_result(connect())
        except BaseException as error:
            connected.set_exception(error)

    threading.Thread(target=run, name="connect", daemon=True).start()
    try:
        return connected.result(seconds)
    except TimeoutError:
        connected.add_done_callback(_close)
        raise


def _close(connected: "Future[socket.socket]") -> None:
    if connected.exception() is None:
        connected.result().close()
