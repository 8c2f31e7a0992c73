"""docs/api.md is followed from its first example to its last, and leaves out no call of the schema."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from esimshop.sandbox.server import DEFAULT_API_KEY
from tests.docs.chat import Chat
from tests.docs.documents import planted, read_document
from tests.docs.examples import Example, Message, Reader, read_examples
from tests.e2e.shop import WEBHOOK_SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.shop import Shop

DOCUMENT = read_document("docs/api.md")
EXAMPLES = read_examples(DOCUMENT)
#: Of the document; the first answer that has one tells what is in its place.
MADE_UP = {
    "6808c012-bc25-4034-9430-e3dc24a46b3f",
    "https://t.me/$XCuz-AUibDavKHUza2HmNg",
    "8944538321976518672",
    "SBX-9078D3-7F4A1C-B5E45F",
    'W/"aeb10165-06b7-4091-80bb-1792d0da1e71-ru"',
}
VARIES = {"heartbeat_age_seconds", "case_id", "id"}
#: Addresses beside those of the schema.
BESIDE = {
    "POST /api/telegram/stars/webhook",
    "POST /api/esimgo/callback",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /api/schema",
}


def sign(text: str) -> dict[str, str]:
    digest = hmac.new(DEFAULT_API_KEY.encode(), text.encode(), hashlib.sha256).digest()
    return {"<signature>": base64.b64encode(digest).decode()}


def read_as(customer: int, shop: Shop) -> Reader:
    old = shop.sandbox.get(f"/sandbox/users/{customer}/init-data?age_seconds=172800")["init_data"]
    return Reader(
        shop_url=shop.url,
        replace={
            "http://127.0.0.1:8000": shop.url,
            "http://127.0.0.1:8900": shop.sandbox_url,
            "1002": str(customer),
            "<initData>": shop.init_data_of(customer),
            "<initData of the day before yesterday>": str(old),
            "<TELEGRAM_WEBHOOK_SECRET>": WEBHOOK_SECRET,
        },
        made_up=MADE_UP,
        varies=VARIES,
        sign=sign,
    )


@pytest.mark.slow
def test_every_example_answers_as_it_is_written(shop: Shop) -> None:
    customer = shop.new_customer(language="en", name="Ben")
    reader = read_as(customer, shop)
    for example in EXAMPLES:
        if example.request.start == "GET /api/cases":
            # The document leaves to the reader how to ask in the chat.
            chat = Chat(shop.sandbox, customer)
            chat.ask_for("1. ", "I need help", "The eSIM does not work")
            chat.wait_for("Tell us in a message here")
            chat.write("No network in Ankara")
            chat.wait_for("Thank you, we have it")
        # What comes after one that went wrong says nothing more.
        assert reader.follow(example) == [], str(example)
    assert set(reader.replace) >= MADE_UP


def test_its_shell_commands_say_what_is_beside_them(shop: Shop) -> None:
    reader = read_as(shop.new_customer(), shop)
    [fence] = [fence for fence in DOCUMENT.fences if fence.info == "sh"]
    command, _, said = fence.text.partition("#")
    for written in ("http://127.0.0.1:8900", "1002"):
        command = command.replace(written, reader.replace[written])
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, timeout=30, check=True)
    assert reader.compare(json.loads(said), json.loads(done.stdout), "") == []


def calls_of(examples: list[Example]) -> set[str]:
    return {f"{example.method} {example.address.partition('?')[0]}" for example in examples}


def test_every_call_of_the_schema_has_an_example_and_a_row(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    call_command("spectacular", format="openapi-json", file=str(file))
    schema = json.loads(file.read_text())
    calls = {f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods} | BESIDE
    table = " ".join(row[0] for row in DOCUMENT.rows())
    for call in calls:
        method, path = call.split()
        pattern = re.compile(f"{method} {re.sub('{[^}]*}', '[^/]+', path)}")
        assert any(pattern.fullmatch(each) for each in calls_of(EXAMPLES)), f"no example of {call}"
        assert re.sub(r"\{\w+\}", "{", path) in re.sub(r"\{\w+\}", "{", table), f"no row of {call}"


def test_what_differs_is_found() -> None:
    reader = Reader("", {}, {"made-up"}, {"age"})
    same: list[tuple[Any, Any]] = [
        ({"a": 1, "…": "more"}, {"a": 1, "b": 2}),
        (["x", "…"], ["x", "y"]),
        ("<svg …>", "<svg a>"),
        ("2026-11-24T14:02:31Z", "2027-01-01T00:00:00.123456Z"),
        ({"id": "made-up"}, {"id": "real"}),
        ({"age": 1}, {"age": 7}),
    ]
    other: list[tuple[Any, Any]] = [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": None}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": "1"}),
        (["x"], ["x", "y"]),
        ("2026-11-24T14:02:31Z", "yesterday"),
        ({"age": 1}, {"age": "7"}),
    ]
    for written, real in same:
        assert reader.compare(written, real, "") == [], written
    for written, real in other:
        assert len(reader.compare(written, real, "")) == 1, written
    # A value that was made up stands for one thing only.
    assert Message.read("GET /x\nA: made-up\n\n{}").body == "{}"
    assert reader.replace == {"made-up": "real"}


@pytest.mark.parametrize(
    "text",
    [
        "```http\nGET /x\n```",
        "```http\nHTTP/1.1 200 OK\n```\n\n```http\nGET /x\n```",
        "```http\nGET /x\n```\n\n```http\nOK\n```",
    ],
)
def test_a_request_without_an_answer_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError):
        read_examples(planted(text))
