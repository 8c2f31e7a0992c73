"""initData: what Telegram signs, made here by the rules of the reference and not by the code under test."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from esimshop.init_data import (
    InitDataAuthentication,
    InitDataInvalid,
    InitDataStale,
    TelegramUser,
    read_init_data,
)

NOW = 1_790_000_000
TOKEN = "424242:token-of-the-tests"
ANNA = {"id": 1001, "first_name": "Анна", "username": "anna", "language_code": "ru", "allows_write_to_pm": True}

# The example of the @tma.js/init-data-node documentation: made by Telegram itself, for a bot that is no more.
PUBLIC_TOKEN = "7342037359:AAFZehRPBRs8Seg40oDjTMIW8uTGPuW1zfQ"
PUBLIC_INIT_DATA = (
    "user=%7B%22id%22%3A279058397%2C%22first_name%22%3A%22Vladislav%20%2B%20-%20%3F%20%5C%2F%22%2C%22last_name%22%3A"
    "%22Kibenko%22%2C%22username%22%3A%22vdkfrost%22%2C%22language_code%22%3A%22ru%22%2C%22is_premium%22%3Atrue%2C"
    "%22allows_write_to_pm%22%3Atrue%2C%22photo_url%22%3A%22https%3A%5C%2F%5C%2Ft.me%5C%2Fi%5C%2Fuserpic%5C%2F320"
    "%5C%2F4FPEE4tmP3ATHa57u6MqTDih13LTOiMoKoLDRG4PnSA.svg%22%7D&chat_instance=8134722200314281151"
    "&chat_type=private&auth_date=1733584787&signature=zL-ucjNyREiHDE8aihFwpfR9aggP2xiAo3NSpfe-p7IbCisNlDKlo7Kb6G4D"
    "0Ao2mBrSgEk4maLSdv6MLIlADQ&hash=2174df5b000556d044f3f020384e879c8efcab55ddea2ced4eb752e93e7080d6"
)


def signed(fields: Mapping[str, str], *, token: str = TOKEN) -> str:
    checked = "\n".join(f"{name}={fields[name]}" for name in sorted(fields))
    key = hmac.new(b"WebAppData", token.encode(), hashlib.sha256).digest()
    digest = hmac.new(key, checked.encode(), hashlib.sha256).hexdigest()
    return urlencode({**fields, "hash": digest}, quote_via=quote)


def fields(**changes: Any) -> dict[str, str]:
    values = {"query_id": "AAE", "user": ANNA, "auth_date": NOW, "signature": "c2lnbmF0dXJl"} | changes
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
        if value is not None
    }


@pytest.fixture(autouse=True)
def _shop(settings: Any) -> Any:
    settings.TELEGRAM_BOT_TOKEN = TOKEN
    settings.INIT_DATA_MAX_AGE = 3600
    with time_machine.travel(NOW, tick=False):
        yield


def test_what_telegram_signed_names_its_user() -> None:
    user = read_init_data(signed(fields()))

    assert user == TelegramUser(
        id=1001, first_name="Анна", username="anna", language_code="ru", allows_write_to_pm=True
    )
    assert user.language == "ru"


def test_a_real_example_of_telegram_is_accepted(settings: Any) -> None:
    settings.TELEGRAM_BOT_TOKEN = PUBLIC_TOKEN

    with time_machine.travel(1_733_584_787 + 60, tick=False):
        user = read_init_data(PUBLIC_INIT_DATA)

    assert (user.id, user.first_name, user.username) == (279058397, "Vladislav + - ? /", "vdkfrost")


def test_the_signature_field_is_part_of_what_is_signed(settings: Any) -> None:
    settings.TELEGRAM_BOT_TOKEN = PUBLIC_TOKEN
    without = "&".join(pair for pair in PUBLIC_INIT_DATA.split("&") if not pair.startswith("signature="))

    with time_machine.travel(1_733_584_787, tick=False), pytest.raises(InitDataInvalid):
        read_init_data(without)


def test_fields_of_tomorrow_are_signed_like_all_others() -> None:
    assert read_init_data(signed(fields(of_tomorrow="x=y z"))).id == 1001


def test_a_user_needs_no_more_than_an_id_and_a_name() -> None:
    user = read_init_data(signed(fields(user={"id": 2**52 - 1, "first_name": "B"})))

    assert user == TelegramUser(id=2**52 - 1, first_name="B")
    assert user.language == "en"


VALID = signed(fields())


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "hash",
        "\x00",
        "a" * 10_000,
        VALID.replace("1001", "1002"),
        VALID + "&start_param=x",
        VALID.replace("query_id=AAE&", ""),
        VALID + "&query_id=AAE",
        VALID + "&user=" + quote(json.dumps({"id": 1002, "first_name": "Ben"})),
        VALID[:-64] + "0" * 64,
        VALID.rpartition("&")[0],
        VALID + "%",
        quote(VALID),
        signed(fields(), token="424242:another-token"),
        signed(fields(auth_date=None)),
        signed(fields(auth_date="soon")),
        signed(fields(auth_date="9" * 19)),
        signed(fields(auth_date=NOW + 61)),
        signed(fields(user=None)),
        signed(fields(user="null")),
        signed(fields(user="[" * 5000)),
        signed(fields(user={"id": "1001", "first_name": "Anna"})),
        signed(fields(user={"first_name": "Anna"})),
    ],
    ids=range(23),
)
def test_whatever_telegram_did_not_sign_like_this_is_invalid(raw: str) -> None:
    with pytest.raises(InitDataInvalid):
        read_init_data(raw)


@given(st.text())
def test_no_text_is_more_than_invalid(raw: str) -> None:
    with pytest.raises(InitDataInvalid):
        read_init_data(raw)


def test_an_error_quotes_nothing_of_what_was_sent() -> None:
    with pytest.raises(InitDataInvalid) as caught:
        read_init_data(signed(fields(auth_date="secret-part")))

    assert "secret-part" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("auth_date", [NOW - 3600, NOW, NOW + 60])
def test_within_its_age_and_a_minute_of_clock_difference_it_is_fresh(auth_date: int) -> None:
    assert read_init_data(signed(fields(auth_date=auth_date))).id == 1001


def test_after_its_age_it_is_stale() -> None:
    with pytest.raises(InitDataStale):
        read_init_data(signed(fields(auth_date=NOW - 3601)))


def test_what_is_old_and_forged_is_invalid_and_not_stale() -> None:
    with pytest.raises(InitDataInvalid):
        read_init_data(signed(fields(auth_date=NOW - 3601), token="424242:another-token"))


def test_without_a_bot_token_nobody_is_let_in(settings: Any) -> None:
    settings.TELEGRAM_BOT_TOKEN = ""

    with pytest.raises(InitDataInvalid):
        read_init_data(signed(fields(), token=""))


# Over HTTP


class WhoAmI(APIView):
    authentication_classes = [InitDataAuthentication]
    permission_classes = [IsAuthenticated]

    def get(self, request: Request) -> Response:
        return Response({"id": request.user.id, "pk": request.user.pk})


def ask(authorization: str | None) -> Response:
    headers = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
    response = WhoAmI.as_view()(APIRequestFactory().get("/", **headers))
    assert isinstance(response, Response)
    return response


@pytest.mark.parametrize("scheme", ["tma", "TMA"])
def test_a_request_with_init_data_has_its_user(scheme: str) -> None:
    response = ask(f"{scheme} {VALID}")

    assert (response.status_code, response.data) == (200, {"id": 1001, "pk": 1001})


@pytest.mark.parametrize("authorization", [None, "", "Bearer x", "tma", "tma ", "tma x", "tma \xff\xfe"])
def test_a_request_without_is_401_and_told_the_scheme(authorization: str | None) -> None:
    response = ask(authorization)

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "tma"


@pytest.mark.parametrize(
    ("raw", "code"),
    [(VALID + "x", "init_data_invalid"), (signed(fields(auth_date=NOW - 3601)), "init_data_stale")],
)
def test_a_refusal_carries_the_code_of_the_contract(raw: str, code: str) -> None:
    request = Request(APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"tma {raw}"))

    with pytest.raises(AuthenticationFailed) as caught:
        InitDataAuthentication().authenticate(request)

    assert caught.value.get_codes() == code
