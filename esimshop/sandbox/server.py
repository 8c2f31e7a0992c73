"""The HTTP server of the sandbox: routing, and faults applied where they belong, at the socket."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from esimshop.sandbox.bot_api import LOOPBACK_HOSTS, BotApi
from esimshop.sandbox.checkout import Checkout
from esimshop.sandbox.control import Control
from esimshop.sandbox.esimgo import EsimGo
from esimshop.sandbox.exchange import Request, Response
from esimshop.sandbox.faults import Fault, Faults, kill_worker
from esimshop.sandbox.rate_sheet import made_up, read_csv
from esimshop.sandbox.state import State
from esimshop.sandbox.updates import Updates

logger = logging.getLogger(__name__)

# Public knowledge, so `esimshop.checks` refuses them for a shop that others can reach.
DEFAULT_TOKEN = "424242:sandbox-token"
DEFAULT_API_KEY = "sandbox-key"
_ESIMGO_PREFIX = "/esimgo/v2.5"
_LARGEST_BODY = 20 * 1024 * 1024
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class _Answer:
    """What goes out: response None cuts the connection, is_cut does so after half of the body."""

    response: Response | None
    is_cut: bool = False


class Sandbox:
    """Telegram and eSIM Go on this machine, served from a thread.

    port: 0 takes a free one. rate_sheet: a CSV file, see rate_sheet.read_csv; None for the made-up catalogue.
    state_file: where the state outlives the process. shop_url: address of the Mini App.
    After start(), `url`, `bot_api_base_url` (the token is appended) and `esimgo_base_url` are set.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str = DEFAULT_TOKEN,
        api_key: str = DEFAULT_API_KEY,
        rate_sheet: Path | None = None,
        state_file: Path | None = None,
        shop_url: str = "http://127.0.0.1:8000",
    ) -> None:
        self.token = token
        self.api_key = api_key
        self.state = State(state_file)
        self.faults = Faults()
        self._stopped = threading.Event()
        self._bot_api = BotApi(self.state, token)
        self._updates = Updates(self.state, self.faults, self._bot_api.execute_reply)
        self._bot_api.updates = self._updates
        self._esimgo = EsimGo(self.state, made_up() if rate_sheet is None else read_csv(rate_sheet), api_key)
        self._control = Control(
            state=self.state,
            faults=self.faults,
            updates=self._updates,
            checkout=Checkout(self.state, self._updates, self.faults),
            bot_api=self._bot_api,
            esimgo=self._esimgo,
            token=token,
            shop_url=shop_url.rstrip("/"),
        )
        self._server = _Server(("127.0.0.1", port), _handler_for(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.bot_api_base_url = f"{self.url}/bot"
        self.esimgo_base_url = f"{self.url}{_ESIMGO_PREFIX}"

    def start(self) -> str:
        """Serve from a thread of its own; returns the base URL."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._updates.wake()
        return self.url

    def stop(self) -> None:
        """Stop serving, and save the state if it has a file."""
        self._stopped.set()
        self._updates.stop()
        self._server.shutdown()
        self._server.server_close()
        self.state.save()

    def answer(self, request: Request) -> _Answer:
        """Do what a request asks for, as the faults allow."""
        if urlsplit(f"//{request.headers.get('host', '')}").hostname not in LOOPBACK_HOSTS:
            return _Answer(Response.json({"error": "this host is not served"}, 403))
        if request.path.startswith("/bot"):
            name = f"telegram.{self._bot_api.name_of(request.path)}"
            return self._faulty(name, lambda: self._bot_api.handle(request))
        if request.path.startswith(_ESIMGO_PREFIX):
            path = request.path.removeprefix(_ESIMGO_PREFIX)
            name = f"esimgo.{self._esimgo.name_of(request, path)}"
            return self._faulty(name, lambda: self._esimgo.handle(request, path))
        answer = _Answer(self._control.handle(request))
        if request.method != "GET":
            self.state.save()
        return answer

    def _faulty(self, name: str, work: Callable[[], Response]) -> _Answer:
        world = self.state.world
        fault = self.faults.take(name)
        if latency := self.state.settings["latency_ms"]:
            self._stopped.wait(latency / 1000)

        def work_in_its_world() -> Response:
            return work() if self.state.world is world else Response.json({"error": "reset meanwhile"}, 503)

        answer = _Answer(work_in_its_world()) if fault is None else self._spoil(name, fault, work_in_its_world)
        status = answer.response.status if answer.response else None
        if self.state.world is world:
            self.state.count_call(name, status=status, fault=fault.kind if fault else None)
        if not name.split(".")[1].startswith(("get", "GET")):
            self.state.save()
        return answer

    def _spoil(self, name: str, fault: Fault, work: Callable[[], Response]) -> _Answer:
        if fault.kind == "delay":
            self._stopped.wait(fault.seconds)
            return _Answer(work())
        if fault.kind == "duplicate":
            work()
            return _Answer(work())
        if fault.kind == "kill_worker":
            if not fault.after_work:
                kill_worker(fault)
                return _Answer(work())
            response = work()
            kill_worker(fault)
            return _Answer(response)
        response = work() if fault.after_work else Response.json({"ok": False, "message": "not done"})
        if fault.kind == "timeout_after_work":
            self._stopped.wait(fault.seconds)
        if fault.kind in {"drop", "drop_after_work", "timeout_after_work"}:
            return _Answer(None)
        if fault.kind == "status":
            return _Answer(_failure(name, fault))
        if fault.kind == "html":
            return _Answer(Response(fault.status, _HTML, "text/html", fault.headers))
        if fault.kind == "cut":
            return _Answer(response, is_cut=True)
        body = {
            "half_json": response.body[: len(response.body) // 2],
            "empty": b"",
            "malformed": b'{"unexpected":[null,{}]}',
        }[fault.kind]
        return _Answer(Response(fault.status, body, response.content_type, fault.headers))


def _failure(name: str, fault: Fault) -> Response:
    reason = fault.message or _REASONS.get(fault.status, "Internal Server Error")
    if name.startswith("esimgo."):
        return Response.json({"message": reason}, fault.status, fault.headers)
    body: dict[str, object] = {"ok": False, "error_code": fault.status, "description": reason}
    if fault.status == 429:
        seconds = int(fault.headers.get("Retry-After", 1))
        body |= {"description": f"{reason}: retry after {seconds}", "parameters": {"retry_after": seconds}}
    return Response.json(body, fault.status, fault.headers)


_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Processing. Please come back later",
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            logger.error("the sandbox could not answer a request: %r", error)


def _handler_for(sandbox: Sandbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            size = self.headers.get("Content-Length", "0")
            if not size.isdecimal() or int(size) > _LARGEST_BODY or "Transfer-Encoding" in self.headers:
                self.close_connection = True
                self._send(Response.json({"error": "the body's length is missing or too large"}, 413), is_cut=False)
                return
            parts = urlsplit(self.path)
            answer = sandbox.answer(
                Request(
                    method="GET" if self.command == "HEAD" else self.command,
                    path=parts.path,
                    query=parse_qs(parts.query, keep_blank_values=True),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=self.rfile.read(int(size)),
                    client_address=self.client_address[0],
                )
            )
            if answer.response is None:
                self._reset()
            else:
                self._send(answer.response, is_cut=answer.is_cut)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

        def _send(self, response: Response, *, is_cut: bool) -> None:
            headers = {
                "Date": self.date_time_string(),
                "Content-Type": response.content_type,
                "Content-Length": str(len(response.body)),
                **response.headers,
            }
            if is_cut or self.close_connection:
                self.close_connection = True
                headers["Connection"] = "close"
            reason = self.responses.get(response.status, ("",))[0]
            lines = [f"HTTP/1.1 {response.status} {reason}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            body = b"" if self.command == "HEAD" else response.body
            head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
            # One write: two would be two packets, and the second waits for the other side's acknowledgement.
            self.wfile.write(head + (body[: len(body) // 2] if is_cut else body))

        def _reset(self) -> None:
            """End the connection without a word, as a crashed server or a cut cable does."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

        def log_message(self, *args: object) -> None:
            """Say nothing: paths of the Bot API carry the token."""

    return Handler
