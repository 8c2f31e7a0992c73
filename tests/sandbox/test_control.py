"""The sandbox's own calls: initData, state between runs, callbacks, and who may call at all."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest
import requests

from esimshop.sandbox import Sandbox
from tests.sandbox.conftest import API_KEY, TOKEN, Bot, SandboxClient, until

if TYPE_CHECKING:
    from pathlib import Path


def test_init_data_is_signed_as_telegram_documents(sandbox: SandboxClient) -> None:
    raw = sandbox.get("/sandbox/users/1001/init-data?start_param=FR")["init_data"]
    fields = dict(parse_qsl(raw, strict_parsing=True, keep_blank_values=True))
    given = fields.pop("hash")
    assert "signature" in fields
    checked = "\n".join(f"{name}={value}" for name, value in sorted(fields.items()))
    secret = hmac.new(b"WebAppData", TOKEN.encode(), hashlib.sha256).digest()
    assert hmac.new(secret, checked.encode(), hashlib.sha256).hexdigest() == given
    assert json.loads(fields["user"])["id"] == 1001
    assert json.loads(fields["user"])["language_code"] == "ru"
    assert fields["start_param"] == "FR"
    assert abs(int(fields["auth_date"]) - time.time()) < 5


def test_init_data_can_be_old(sandbox: SandboxClient) -> None:
    raw = sandbox.get("/sandbox/users/1001/init-data?age_seconds=90000")["init_data"]
    assert time.time() - int(dict(parse_qsl(raw))["auth_date"]) >= 90000


def test_users_are_added_and_changed(sandbox: SandboxClient) -> None:
    added = sandbox.post("/sandbox/users", id=9_007_199_254_740, first_name="Zoë", stars=1)
    assert (added["language_code"], added["stars"]) == ("en", 1)
    changed = sandbox.post("/sandbox/users", id=9_007_199_254_740, language_code="ru")
    assert (changed["first_name"], changed["language_code"]) == ("Zoë", "ru")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
@pytest.mark.parametrize("path", ["/", "/sandbox/ledger", f"/bot{TOKEN}/getMe", "/esimgo/v2.5/organisation"])
def test_a_name_that_was_bound_to_this_machine_is_not_served(sandbox: SandboxClient, host: str, path: str) -> None:
    answer = requests.get(f"{sandbox.url}{path}", headers={"Host": host}, timeout=5)
    assert answer.status_code == 403


def test_a_foreign_page_cannot_post(sandbox: SandboxClient) -> None:
    body = json.dumps({"stars": 1, "id": 1001})
    answer = requests.post(f"{sandbox.url}/sandbox/users", data=body, headers={"Content-Type": "text/plain"}, timeout=5)
    assert answer.status_code == 415
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/static/..%2fserver.py", "/static/js/../../state.py", "/static/none.css", "/x"])
def test_only_its_own_files_are_served(sandbox: SandboxClient, path: str) -> None:
    request = requests.Request("GET", sandbox.url).prepare()
    request.url = f"{sandbox.url}{path}"
    with requests.Session() as session:
        assert session.send(request, timeout=5).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sandbox/users/1/pay", {"slug": "x"}, 404),
        ("/sandbox/users/1001/pay", {"slug": "x"}, 404),
        ("/sandbox/users/x/messages", {"text": "x"}, 404),
        ("/sandbox/users/1001/messages", {"text": ""}, 400),
        ("/sandbox/users", {"stars": "many"}, 400),
        ("/sandbox/settings", {"unknown": 1}, 400),
        ("/sandbox/settings", {"balance_usd": "cheap"}, 400),
        ("/sandbox/settings", {"rate_limit": 3}, 400),
        ("/sandbox/catalogue/none", {"price": 1}, 404),
        ("/sandbox/updates", {"update_id": 3}, 400),
        ("/sandbox/updates/3/redeliver", {}, 404),
        ("/sandbox/transactions", {"id": "x", "amount": 3}, 400),
        ("/sandbox/esims/1", {}, 404),
        ("/sandbox/callbacks", {}, 404),
    ],
)
def test_a_mistaken_call_says_so(sandbox: SandboxClient, path: str, body: dict[str, object], status: int) -> None:
    answer = requests.post(f"{sandbox.url}{path}", json=body, timeout=5)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_cloud_storage_keeps_values_by_user(sandbox: SandboxClient) -> None:
    def storage(user_id: int, method: str, **params: object) -> object:
        return sandbox.post(f"/sandbox/users/{user_id}/storage", method=method, params=params)

    assert storage(1001, "saveStorageValue", key="theme", value="dark") == {"result": True}
    assert storage(1001, "getStorageValues", keys=["theme", "none"]) == {"result": {"theme": "dark", "none": ""}}
    assert storage(1002, "getStorageKeys") == {"result": []}
    assert storage(1001, "saveStorageValue", key="bad key", value="") == {"error": "KEY_INVALID"}
    assert storage(1001, "deleteStorageValues", keys=["theme"]) == {"result": True}
    assert storage(1001, "getStorageKeys") == {"result": []}


def test_a_chat_can_be_waited_for(sandbox: SandboxClient) -> None:
    revision = sandbox.get("/sandbox/users/1001/chat")["revision"]
    threading.Timer(0.2, sandbox.result, args=("sendMessage",), kwargs={"chat_id": 1001, "text": "news"}).start()
    news = sandbox.get(f"/sandbox/users/1001/chat?after={revision}&wait=10")
    assert news["messages"][-1]["text"] == "news"


def test_the_state_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    first = Sandbox(token=TOKEN, api_key=API_KEY, state_file=file)
    first.start()
    client, bot = SandboxClient(first), Bot()
    client.result("setWebhook", url=bot.url)
    charge_id = client.pay(client.invoice())["charge_id"]
    iccid = client.order().json()["order"][0]["iccids"][0]
    first.stop()
    second = Sandbox(token=TOKEN, api_key=API_KEY, state_file=file)
    second.start()
    client = SandboxClient(second)
    ledger = client.ledger()
    assert ledger["transactions"][0]["id"] == charge_id
    assert ledger["esims"][0]["iccid"] == iccid
    assert ledger["balance_usd"] == 9998.85
    assert client.order().ok
    assert client.pay(client.invoice())["status"] == "paid"
    client.post("/sandbox/users/1001/messages", text="hello")
    until(lambda: bot.messages("text"))
    numbers = [update["update_id"] for update in bot.updates]
    assert len(set(numbers)) == len(numbers)
    second.stop()
    bot.stop()


def test_without_state_no_identifier_repeats(sandbox: SandboxClient) -> None:
    before = sandbox.post("/sandbox/users/1001/messages", text="a")["update_id"]
    time.sleep(1.1)
    fresh = Sandbox(token=TOKEN)
    fresh.start()
    assert SandboxClient(fresh).post("/sandbox/users/1001/messages", text="a")["update_id"] > before
    fresh.stop()


@pytest.mark.parametrize("encoding", ["base64", "hex"])
def test_callbacks_of_the_wholesaler_are_signed(encoding: str) -> None:
    received: list[tuple[str, bytes]] = []

    class Shop(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["X-Signature-SHA256"], content))
            assert self.path == "/api/esimgo/callback"
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Tests print nothing."""

    shop = HTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=shop.handle_request, daemon=True).start()
    server = Sandbox(api_key=API_KEY, shop_url=f"http://127.0.0.1:{shop.server_address[1]}")
    server.start()
    client = SandboxClient(server)
    iccid = client.order().json()["order"][0]["iccids"][0]
    sent = client.post("/sandbox/callbacks", iccid=iccid, alert_type="Utilisation", encoding=encoding)
    server.stop()
    shop.server_close()
    ((signature, content),) = received
    digest = hmac.new(API_KEY.encode(), content, hashlib.sha256).digest()
    assert signature == (digest.hex() if encoding == "hex" else b64encode(digest).decode())
    assert sent["status"] == 200
    assert json.loads(content)["bundle"]["initialQuantity"] == 1_000_000_000
