"""A load generator that costs little beside the server it measures: one thread, kept connections, ready requests."""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Two for every thread of the server, so that it never waits for us, and both of its processes get enough.
CONNECTIONS = 16
LONGEST_SECONDS = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class WrongAnswer(Exception):
    """The server answered something else than what is measured: the figures would mean nothing."""


@dataclass(frozen=True)
class Load:
    """What a run took: seconds of the whole, and seconds of each request from its sending to the end of its answer."""

    seconds: float
    latencies: list[float]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def get_request(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    return _head("GET", path, headers or {}) + b"\r\n"


def post_request(path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST of a body as JSON."""
    content = json.dumps(body).encode()
    lines = {**(headers or {}), "Content-Type": "application/json", "Content-Length": str(len(content))}
    return _head("POST", path, lines) + b"\r\n" + content


def _head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = {"Host": "127.0.0.1", **headers}
    return "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {lines[name]}\r\n" for name in lines)]).encode()


def run_load(
    port: int, requests: Sequence[bytes], *, status: int, text: bytes = b"", connections: int = CONNECTIONS
) -> Load:
    """Send every request once, each connection its next one as soon as it has an answer.

    Raises: WrongAnswer for another status than `status`, or an answer without `text`.
    """
    latencies: list[float] = []
    waiting = iter(requests)
    with contextlib.ExitStack() as ends, selectors.DefaultSelector() as selector:
        for _ in range(0, min(connections, len(requests)), 2):
            for connection in _connect_two(port):
                ends.enter_context(connection)
                selector.register(connection, selectors.EVENT_READ, _Exchange())
        started = time.perf_counter()
        for key in list(selector.get_map().values()):
            if (request := next(waiting, None)) is not None:
                key.data.send(key.fileobj, request)
        while len(latencies) < len(requests):
            ready = selector.select(LONGEST_SECONDS)
            if not ready:
                raise WrongAnswer(f"no answer within {LONGEST_SECONDS:.0f} s")
            for key, _ in ready:
                exchange = key.data
                if not exchange.receive(key.fileobj):
                    continue
                latencies.append(time.perf_counter() - exchange.sent_at)
                exchange.check(status, text)
                if (request := next(waiting, None)) is not None:
                    exchange.send(key.fileobj, request)
        seconds = time.perf_counter() - started
    return Load(seconds=seconds, latencies=latencies)


def _connect_two(port: int) -> list[socket.socket]:
    # Two with a request each, since of several that come at once one process of the server may take all.
    pair = [socket.create_connection(("127.0.0.1", port), timeout=LONGEST_SECONDS) for _ in range(2)]
    for connection in pair:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(get_request("/healthz"))
    for connection in pair:
        greeting = _Exchange()
        while not greeting.receive(connection):
            pass
        greeting.check(200, b"")
    return pair


class _Exchange:
    """The request and answer that a connection is busy with."""

    def __init__(self) -> None:
        self.sent_at = 0.0
        self._answer = b""

    def send(self, connection: socket.socket, request: bytes) -> None:
        self._answer = b""
        self.sent_at = time.perf_counter()
        connection.sendall(request)

    def receive(self, connection: socket.socket) -> bool:
        """Read what has come; whether the answer is complete."""
        received = connection.recv(1 << 18)
        if not received:
            raise WrongAnswer(f"the connection was closed after {self._answer[:200]!r}")
        self._answer += received
        head, end_of_head, body = self._answer.partition(b"\r\n\r\n")
        if not end_of_head:
            return False
        if head.startswith(b"HTTP/1.1 304"):
            return True
        if length := _LENGTH.search(head):
            return len(body) >= int(length[1])
        return body.endswith(b"0\r\n\r\n")  # chunked

    def check(self, status: int, text: bytes) -> None:
        if not self._answer.startswith(b"HTTP/1.1 %d" % status) or text not in self._answer:
            raise WrongAnswer(self._answer[:600].decode(errors="replace"))
