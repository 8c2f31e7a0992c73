"""What all JSON endpoints share, on two views of the tests' own."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings as project
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, UnreadablePostError
from django.test import Client
from django.urls import path
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from esimshop import api


class Echo(api.PublicView):
    def post(self, request: Request) -> Response:
        return Response(request.data)


class Order(serializers.Serializer):
    plan = serializers.CharField()


class Validated(api.PublicView):
    def post(self, request: Request) -> Response:
        Order(data=request.data).is_valid(raise_exception=True)
        return Response()


class Fails(api.PublicView):
    def get(self, request: Request, name: str) -> Response:
        raise {
            "price": api.PriceChanged(amount_stars=140),
            "rate": api.RateLimited(retry_after=12.2),
            "throttled": Throttled(wait=3),
            "telegram": api.TelegramUnreachable(retry_after=5),
            "paused": api.SalesPaused(),
            "404": Http404(),
            "hung-up": UnreadablePostError(),
            "403": PermissionDenied(),
        }[name]


class Mine(api.PrivateView):
    def get(self, request: Request) -> Response:
        return Response({"id": request.user.id})

    def post(self, request: Request) -> Response:
        raise api.OrderNotFound


urlpatterns = [
    path("admin/", admin.site.urls),
    path("echo", Echo.as_view()),
    path("validated", Validated.as_view()),
    path("fails/<str:name>", Fails.as_view()),
    path("mine", Mine.as_view()),
]
pytestmark = pytest.mark.urls(__name__)


def init_data(*, age: int = 0, language_code: str = "ru") -> str:
    """initData signed as Telegram signs it."""
    fields = {
        "auth_date": str(int(time.time()) - age),
        "user": json.dumps({"id": 1001, "first_name": "Anna", "language_code": language_code}),
    }
    text = "\n".join(f"{name}={fields[name]}" for name in sorted(fields))
    key = hmac.digest(b"WebAppData", project.TELEGRAM_BOT_TOKEN.encode(), "sha256")
    return urlencode({**fields, "hash": hmac.new(key, text.encode(), hashlib.sha256).hexdigest()})


def post(client: Client, body: bytes, content_type: str = "application/json", **extra: Any) -> Any:
    return client.post("/echo", body, content_type=content_type, **extra)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nonsense", b'"text"', b"[]", b"null", b"1", b'{"a": "\xff"}', b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"), b"[" * 100_000, b'{"a":' * 50_000, b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b"<xml/>",
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_object_in_utf8_is_400(client: Client, body: bytes) -> None:
    answer = post(client, body)
    assert answer.status_code == 400
    assert answer.json() == {"code": "bad_request", "detail": "The shop could not understand this request."}


def test_a_json_object_arrives_as_it_was_sent(client: Client) -> None:
    assert post(client, '{"a": [1, {"б": "ё"}]}'.encode()).json() == {"a": [1, {"б": "ё"}]}


def test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_read(client: Client, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    fits = b'{"a": "' + b"x" * 91 + b'"}'
    assert len(fits) == 100
    assert post(client, fits).status_code == 200
    answer = post(client, fits + b" ")
    assert answer.status_code == 413
    assert answer.json()["code"] == "payload_too_large"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_another_content_type_is_415_in_json(client: Client, content_type: str) -> None:
    answer = post(client, b"{}", content_type)
    assert answer.status_code == 415
    assert answer.json()["code"] == "bad_request"


def test_a_wrong_method_is_405_in_json(client: Client) -> None:
    answer = client.get("/echo")
    assert (answer.status_code, answer.json()["code"]) == (405, "bad_request")


def test_a_field_that_makes_no_sense_is_named(client: Client) -> None:
    answer = client.post("/validated", {"plan": []}, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json() == {"code": "bad_request", "detail": "plan: Not a valid string."}


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("price", 409, "price_changed"),
        ("rate", 429, "rate_limited"),
        ("throttled", 429, "rate_limited"),
        ("telegram", 503, "telegram_unreachable"),
        ("paused", 409, "sales_paused"),
        ("404", 404, "bad_request"),
        ("hung-up", 400, "bad_request"),
        ("403", 403, "bad_request"),
    ],
)
def test_errors_carry_the_codes_of_the_contract_and_are_not_cached(
    client: Client, name: str, status: int, code: str
) -> None:
    answer = client.get(f"/fails/{name}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]
    assert answer["Cache-Control"] == "no-store"


def test_an_error_may_say_more_and_when_to_come_back(client: Client) -> None:
    assert client.get("/fails/price").json()["amount_stars"] == 140
    assert client.get("/fails/rate")["Retry-After"] == "13"
    assert client.get("/fails/telegram")["Retry-After"] == "5"
    assert "Retry-After" not in client.get("/fails/paused")


def test_a_public_error_speaks_the_language_of_the_browser(client: Client) -> None:
    answer = client.get("/fails/paused", headers={"accept-language": "ru-RU,ru;q=0.9"})
    assert answer.json()["detail"] == "Продажи временно приостановлены. Попробуйте позже."


def test_a_private_view_knows_who_asks_and_is_never_stored(client: Client) -> None:
    answer = client.get("/mine", headers={"authorization": f"tma {init_data()}"})
    assert answer.json() == {"id": 1001}
    assert answer["Cache-Control"] == "no-store"


def test_a_private_error_speaks_the_language_of_the_telegram_user(client: Client) -> None:
    for language_code, detail in (("ru", "Такого заказа нет."), ("de", "There is no such order.")):
        headers = {"authorization": f"tma {init_data(language_code=language_code)}", "accept-language": "fr"}
        answer = client.post("/mine", headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"code": "order_not_found", "detail": detail})
        assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "authorization", [None, "", "tma", "tma ", "tma x", "Bearer x", "tma \xff", "tma hash=1&user=%7B%7D", "x" * 9000]
)
def test_without_init_data_that_telegram_signed_a_private_view_answers_401(
    client: Client, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    answer = client.get("/mine", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"code": "init_data_invalid", "detail": "Please open the shop from Telegram."}
    assert answer["WWW-Authenticate"] == "tma"
    assert answer["Cache-Control"] == "no-store"


def test_stale_init_data_says_to_open_the_app_again(client: Client) -> None:
    stale = init_data(age=project.INIT_DATA_MAX_AGE + 10)
    answer = client.get("/mine", headers={"authorization": f"tma {stale}"})
    assert answer.status_code == 401
    assert answer.json()["code"] == "init_data_stale"
