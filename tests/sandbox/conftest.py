"""The sandbox under test, and a bot in front of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from esimshop.sandbox import Sandbox

TOKEN = "123456:TEST-TOKEN"
API_KEY = "key-of-the-tests"
Json = dict[str, Any]


class SandboxClient:
    """Plain HTTP to the sandbox, as the shop and the page speak it."""

    def __init__(self, server: Sandbox) -> None:
        self.server = server
        self.url = server.url

    def bot(self, method: str, **parameters: Any) -> requests.Response:
        return requests.post(f"{self.server.bot_api_base_url}{TOKEN}/{method}", json=parameters, timeout=20)

    def result(self, method: str, **parameters: Any) -> Any:
        answer = self.bot(method, **parameters).json()
        assert answer["ok"], answer
        return answer["result"]

    def esimgo(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"X-API-Key": API_KEY, **options.pop("headers", {})}
        url = f"{self.server.esimgo_base_url}{path}"
        return requests.request(method, url, headers=headers, timeout=options.pop("timeout", 10), **options)

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.url}{path}", timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self.url}{path}", json=body, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def ledger(self) -> Any:
        return self.get("/sandbox/ledger")

    def fault(self, target: str, kind: str, **details: Any) -> None:
        self.post("/sandbox/faults", target=target, kind=kind, **details)

    def invoice(self, *, amount: int = 552, payload: str = "payload-1") -> str:
        link = self.result(
            "createInvoiceLink",
            title="Türkiye, 10 GB, 30 days",
            description="Mobile data in Türkiye",
            payload=payload,
            currency="XTR",
            prices=[{"label": "Türkiye", "amount": amount}],
        )
        return str(link).removeprefix("https://t.me/$")

    def pay(self, slug: str, *, user_id: int = 1001, **details: Any) -> Any:
        return self.post(f"/sandbox/users/{user_id}/pay", slug=slug, **details)

    def order(self, bundle: str = "esim_1GB_7D_FR_V2", **item: Any) -> requests.Response:
        line = {"type": "bundle", "quantity": 1, "item": bundle, **item}
        body = {"type": "transaction", "assign": True, "order": [line]}
        return self.esimgo("POST", "/orders", json=body)


class Bot:
    """A bot behind a webhook. answer: status and body for each update; approves every payment by default."""

    def __init__(self) -> None:
        self.updates: list[Json] = []
        self.secrets: list[str | None] = []
        self.times: list[float] = []
        self.answer: Callable[[Json], tuple[int, Json | None]] = approve
        self.headers: dict[str, str] = {}
        bot = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                update = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                bot.updates.append(update)
                bot.times.append(time.monotonic())
                bot.secrets.append(self.headers.get("X-Telegram-Bot-Api-Secret-Token"))
                status, body = bot.answer(update)
                content = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                for name, value in bot.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Tests print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def messages(self, kind: str) -> list[Json]:
        return [update["message"] for update in self.updates if kind in update.get("message", {})]


def approve(update: Json) -> tuple[int, Json | None]:
    if query := update.get("pre_checkout_query"):
        return 200, {"method": "answerPreCheckoutQuery", "pre_checkout_query_id": query["id"], "ok": True}
    return 200, None


def until(condition: Callable[[], Any], *, seconds: float = 5) -> Any:
    """The first true value of condition; fails if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="session")
def sandbox_of_these_tests() -> Iterator[Sandbox]:
    server = Sandbox(token=TOKEN, api_key=API_KEY)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sandbox(sandbox_of_these_tests: Sandbox) -> SandboxClient:
    """The sandbox as new: no rate limit, quick retries, and half a second for a pre-checkout."""
    client = SandboxClient(sandbox_of_these_tests)
    client.post("/sandbox/reset", everything=True)
    client.post("/sandbox/settings", rate_limit=False, retry_scale=0.01, pre_checkout_seconds=0.5)
    return client


@pytest.fixture
def bot(sandbox: SandboxClient) -> Iterator[Bot]:
    """A bot whose webhook is set."""
    behind = Bot()
    sandbox.result("setWebhook", url=behind.url, secret_token="secret-1")
    yield behind
    sandbox.result("deleteWebhook")
    behind.stop()
