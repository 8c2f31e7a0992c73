"""A loopback HTTP server that answers each request by the next step of a script, down to the bytes."""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    arrived_at: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Step = Callable[[socket.socket, Request], None]


class ScriptedServer:
    """Answers by `script`, step by step; the last step is repeated. `requests` holds what came."""

    def __init__(self) -> None:
        self.script: list[Step] = []
        self.requests: list[Request] = []
        self._connections = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer._connections += 1
                number = outer._connections
                while (request := _read_request(self.rfile, number)) is not None:
                    outer.requests.append(request)
                    step = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                    try:
                        step(self.connection, request)
                    except OSError:
                        return

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _read_request(stream: Any, connection: int) -> Request | None:
    try:
        first = stream.readline().decode()
        if not first.strip():
            return None
        method, target, _version = first.split()
        headers: dict[str, str] = {}
        while (line := stream.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", "0")))
    except OSError:
        return None
    return Request(method, target, headers, body, connection)


def answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Step:
    """A proper answer: a str or bytes as it is, anything else as JSON."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    content = text.encode() if isinstance(text, str) else text

    def step(connection: socket.socket, request: Request) -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"HTTP/1.1 {status} Said so\r\nContent-Length: {len(content)}\r\n{extra}\r\n"
        connection.sendall(head.encode() + content)

    return step


def drop(connection: socket.socket, request: Request) -> None:
    """Closes the connection without a word."""
    connection.shutdown(socket.SHUT_RDWR)


def half(content: bytes) -> Step:
    """Promises twice the content and hangs up after it."""

    def step(connection: socket.socket, request: Request) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {2 * len(content)}\r\n\r\n".encode() + content)
        connection.shutdown(socket.SHUT_RDWR)

    return step


def drip(start: bytes, *, seconds: float = 20) -> Step:
    """Sends the start of an answer and then a byte every 50 ms, so that no single read ever times out."""

    def step(connection: socket.socket, request: Request) -> None:
        connection.sendall(start)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.05)
            connection.sendall(b"x")

    return step


def silence(seconds: float) -> Step:
    """Takes the request and says nothing."""

    def step(connection: socket.socket, request: Request) -> None:
        time.sleep(seconds)
        connection.shutdown(socket.SHUT_RDWR)

    return step


DRIPPING_HEADERS = drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")
DRIPPING_BODY = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
HTML = answer("<html><body>Bad gateway</body></html>", headers={"Content-Type": "text/html"})
HTML_REFUSAL = answer("<html><body>Forbidden</body></html>", status=403)
EMPTY = answer(b"")
HALF_JSON = half(b'{"ok": true, "result"')
DEEP_JSON = answer("[" * 100_000)
