"""What no schema describes: bodies, headers, methods and addresses that no honest client would send."""

from __future__ import annotations

import copy
import io
import json
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings as project
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.urls import URLPattern, get_resolver

from orders.models import Order, WholesalerCallback
from payments.models import Payment, TelegramUpdate
from tests.abuse.recorder import RECORDER
from tests.factories import InvoiceFactory
from tests.orders.esims import CALLBACK, GB, sign
from tests.outside import (
    WEBHOOK,
    bearer,
    membership_update,
    message_update,
    payment_update,
    pre_checkout_update,
    press_update,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.abuse.conftest import Shop

SECRET = {"X-Telegram-Bot-Api-Secret-Token": project.TELEGRAM_WEBHOOK_SECRET}
MUTATIONS = 200
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 1.5, -0.0, 1e308, "", " ", "0", "\0",
    "a\0b", "\ud800", "\u202e", "𝕏" * 500, "x" * 100_000, "'; DROP TABLE orders_order; --", "{{7*7}}", "%s%n%x",
    "../../etc/passwd", "<script>alert(1)</script>", "=1+1", [], [[]], [None], {}, {"": None}, {"id": {}}, [1] * 5000,
]  # fmt: skip
BODIES: list[bytes] = [
    b"", b" ", b"\0", b"\0" * 1000, b"null", b"true", b"0", b'"update_id"', b"[]", b"{}", b"[[]]", b"{", b"}",
    b"\xff\xfe", b"\xef\xbb\xbf{}",
    b'{"update_id": 1', b'{"update_id": "1"}', b'{"update_id": null}', b'{"update_id": true}',
    b'{"update_id": 1.5}', b'{"update_id": 1e400}', b'{"update_id": -1}', b'{"update_id": 99999999999999999999999999}',
    b'{"update_id": NaN}', b'{"update_id": Infinity}', b'{"update_id": 7, "update_id": 8}', b'{"a": "\\ud800"}',
    b'{"update_id": 9, "message": "\\u0000"}', b'{"update_id": 10, "\\udfff": 1}', b"[" * 100_000, b'{"a":' * 50_000,
    b'{"update_id": 11, "message": ' + b"[" * 900 + b"]" * 900 + b"}", b'{"a": ' + b"9" * 5000 + b"}", b"<xml/>",
    '{"update_id": 12}'.encode("utf-16"), '{"update_id": 13}'.encode("utf-32"), b"a=b&c=d", bytes(range(256)) * 100,
    b"x" * (1024 * 1024 + 1), b'{"update_id": 14, "x": "' + b"x" * (1024 * 1024) + b'"}', b"\x1f\x8b\x08\0\0\0\0\0",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X-1"]
# Without control characters and wrong lengths, which gunicorn refuses before the shop sees them.
TEXTS = [
    "", " ", "x" * 8000, "é" * 100, "-1", "999999999999999999999999", "../../..",
    "'\"><script>", "*/*;q=abc", ",,,;;;===", "application/json; charset=", "text/html; charset=no-such-charset",
    "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300, "application/json;" * 200, "gzip, br;q=x", "*",
    'W/"', '"' * 50, "Sun, 99 Nov 9999 99:99:99 GMT", "Thu, 01 Jan 0000 00:00:00 GMT", "bytes=0-99999999999",
    "xx-" * 400, "ru;q=9", "en-", "bearer", "tma", "tma ", "Basic OjpA", "%00", "%ff%fe", "{{7*7}}", "${jndi:ldap://x}",
]  # fmt: skip
HEADERS = [
    "Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Content-Type", "Cookie",
    "Expect", "Forwarded", "Host", "Idempotency-Key", "If-Match", "If-Modified-Since",
    "If-None-Match", "If-Unmodified-Since",
    "Origin", "Range", "Referer", "Transfer-Encoding", "User-Agent", "X-Correlation-Id", "X-Forwarded-For",
    "X-Forwarded-Host", "X-Forwarded-Proto", "X-Http-Method-Override", "X-Request-Id", "X-Requested-With",
    "X-Signature-SHA256", "X-Telegram-Bot-Api-Secret-Token", "X-Forwarded-Port", "X-Original-Url", "X-Csrftoken",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> Iterator[None]:
    before = RECORDER.answers.copy()
    yield
    answers = RECORDER.answers - before
    print(f"\n{answers.total():,} requests by {request.node.name}; answers: {dict(sorted(answers.items()))}")


def ask(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request as bytes would make it: nothing is checked or mended on the way. Path: percent-decoded."""
    address, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": address.encode("utf-8", "surrogatepass").decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "REMOTE_ADDR": "203.0.113.7",
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        environ[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value.encode().decode("latin-1")
    setup_testing_defaults(environ)
    said: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        said[:] = [int(status[:3]), dict(headers)]
        return lambda data: None

    content = b"".join(RECORDER(environ, start))
    return said[0], said[1], content


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to everything in a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def mutate(value: Any, dice: random.Random) -> Any:
    """The same with one or two things replaced, or gone."""
    mutant = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2))):
        *way, last = dice.choice(list(leaves(mutant)))
        inner = mutant
        for key in way:
            inner = inner[key]
        if dice.random() < 0.15:
            del inner[last]
        else:
            inner[last] = dice.choice(NASTY)
        if not list(leaves(mutant)):
            break
    return mutant


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def page_addresses() -> list[str]:
    """All that is served, with a word in the place of what varies."""

    def walk(patterns: list[Any], prefix: str) -> Iterator[str]:
        for pattern in patterns:
            route = f"{prefix}{pattern.pattern}"
            if isinstance(pattern, URLPattern):
                yield route
            else:
                yield from walk(pattern.url_patterns, route)

    found = set(walk(get_resolver().url_patterns, "/"))
    return sorted(route.replace("^", "").replace("$", "").replace("<", "").replace(">", "") for route in found)


# Telegram's webhook


def test_without_the_secret_nothing_is_read_or_kept(shop: Shop) -> None:
    paid = as_bytes(payment_update(InvoiceFactory(order__plan=shop.bens.plan).order))
    for secret in ("", "wrong", "é", project.TELEGRAM_WEBHOOK_SECRET[:-1], "x" * 8000):
        for body in (*BODIES, paid):
            assert ask("POST", WEBHOOK, body, {"X-Telegram-Bot-Api-Secret-Token": secret})[0] == 403
    assert not TelegramUpdate.objects.exists()


def test_with_the_secret_garbage_is_refused_or_kept_and_moves_no_money(shop: Shop) -> None:
    charges = list(Payment.objects.values())
    for body in BODIES:
        status, _, _ = ask("POST", WEBHOOK, body, SECRET)
        assert status in {200, 400, 413}, body[:60]
    for content_type in TEXTS:
        status, _, _ = ask("POST", WEBHOOK, b'{"update_id": 15}', {**SECRET, "Content-Type": content_type})
        assert status == 200
    assert list(Payment.objects.values()) == charges


def test_updates_with_something_else_in_them_pay_for_no_order_that_was_not_paid(shop: Shop) -> None:
    dice = random.Random(7)
    order = InvoiceFactory(order__plan=shop.bens.plan, order__customer=shop.bens.customer).order
    makers = [
        lambda: payment_update(order),
        lambda: pre_checkout_update(order),
        lambda: message_update("/start"),
        lambda: message_update("/paysupport"),
        lambda: press_update("pay:1"),
        lambda: press_update(f"help:{shop.bens.pk}"),
        lambda: membership_update("kicked"),
    ]
    for number in range(MUTATIONS * len(makers)):
        body = as_bytes(mutate(makers[number % len(makers)](), dice))
        if len(body) <= project.DATA_UPLOAD_MAX_MEMORY_SIZE:
            assert ask("POST", WEBHOOK, body, SECRET)[0] in {200, 400}, body[:300]

    for payment in Payment.objects.filter(kind=Payment.Kind.ORDER).select_related("order__customer"):
        paid = payment.order
        assert paid is not None
        assert payment.amount_stars == paid.amount_stars
        assert payment.currency == "XTR"
        assert payment.payer_id == paid.customer.telegram_user_id
    assert Order.objects.exclude(paid_at=None).count() <= 3


# eSIM Go's callbacks


def test_unsigned_callbacks_are_not_kept(shop: Shop) -> None:
    for body in BODIES:
        for signature in ("", "x", "é", sign(b"another body"), sign(body, key="another key")):
            status, _, _ = ask("POST", CALLBACK, body, {"X-Signature-SHA256": signature})
            assert status == (413 if len(body) > project.DATA_UPLOAD_MAX_MEMORY_SIZE else 403)
    assert not WholesalerCallback.objects.exists()


def test_signed_garbage_is_refused_or_kept_and_never_an_error(shop: Shop) -> None:
    dice = random.Random(8)
    esim = shop.bens.esims.get()
    told = {
        "iccid": esim.iccid,
        "alertType": "Utilisation",
        "bundle": {
            "id": "41000001",
            "reference": "abc-0",
            "name": "esim_3GB_30D_FR_V2",
            "initialQuantity": GB,
            "remainingQuantity": GB // 5,
            "startTime": "2026-11-20T08:00:00Z",
            "endTime": "2026-11-30T08:00:00Z",
            "unlimited": False,
        },
    }
    bodies = [*BODIES, *(as_bytes(mutate(told, dice)) for _ in range(3 * MUTATIONS))]
    for body in bodies:
        status, _, _ = ask("POST", CALLBACK, body, {"X-Signature-SHA256": sign(body)})
        assert status in {200, 400, 413}, body[:300]


# Whatever else


def test_no_method_on_any_address_is_an_error(shop: Shop) -> None:
    for path in page_addresses():
        for method in METHODS:
            ask(method, path, b"\0", bearer() if path.startswith("/api/") else {})


def test_no_header_on_any_public_address_is_an_error(shop: Shop) -> None:
    paths = ["/", "/healthz", "/readyz", "/metrics", "/api/schema", "/api/plans", "/api/areas/FR", "/api/faq",
             "/api/orders", "/api/customer", f"/api/orders/{shop.bens.pk}", "/admin/", "/admin/login/",
             "/static/miniapp/icon.svg"]  # fmt: skip
    for number, path in enumerate(paths):
        for name in HEADERS:
            for text in TEXTS[number % 2 :: 2]:
                ask("GET", path, headers={**bearer(), name: text})


def test_no_query_is_an_error(shop: Shop) -> None:
    paths = ["/", "/api/schema", "/api/plans", "/api/areas", "/api/orders", "/api/cases", "/admin/login/", "/readyz"]
    names = [
        "page",
        "page_size",
        "search",
        "area",
        "unlimited",
        "status",
        "format",
        "lang",
        "version",
        "next",
        "id",
        "\0",
    ]
    for path in paths:
        for number, name in enumerate(names):
            for text in TEXTS[number % 2 :: 2]:
                ask("GET", f"{path}?{urlencode({name: text})}", headers=bearer())
            ask("GET", f"{path}?{quote(name)}=%ff%00%ud800&{'&'.join(['a=b'] * 1200)}", headers=bearer())


def test_no_file_but_the_static_ones_is_served(shop: Shop) -> None:
    targets = [
        "esimshop/settings.py",
        ".env",
        ".env.example",
        "manage.py",
        "var/postgres/PG_VERSION",
        "etc/passwd",
        ".git/config",
    ]
    dots = [
        "..",
        "%2e%2e",
        "..%2f",
        "%2e%2e%2f",
        "....//",
        "..\\",
        "..%5c",
        ".",
        "%252e%252e",
        "..;",
        "\0",
        "static/..",
    ]
    for target in targets:
        for dot in dots:
            for depth in (1, 2, 3, 8):
                for start in ("/static/", "/static/miniapp/", "/", "/api/", "//"):
                    status, _, content = ask("GET", f"{start}{'/'.join([dot] * depth)}/{target}")
                    assert status in {301, 302, 400, 404}, (start, dot, target)
                    assert b"SECRET_KEY" not in content
                    assert b"root:" not in content


def test_the_login_takes_no_nonsense(shop: Shop) -> None:
    User.objects.create_superuser("vera", password="right")
    form = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": "csrftoken=" + "a" * 32}
    texts = [text if isinstance(text, str) else str(text) for text in NASTY] + TEXTS
    for number, text in enumerate(texts):
        text = text.encode("utf-8", "surrogatepass")
        proxied = {"X-Forwarded-For": f"198.51.100.{number}"}
        for fields in (
            {"username": text, "password": "wrong"},
            {"username": "vera", "password": text},
            {"username": "vera", "password": "wrong", "next": text},
            {text: text},
        ):
            body = urlencode({**fields, "csrfmiddlewaretoken": "a" * 32}).encode()
            for path in ("/admin/login/", "/admin/login/code/", "/admin/second-factor/", "/admin/logout/"):
                status, headers, _ = ask("POST", path, body, {**form, **proxied})
                assert status in {200, 302, 400, 403, 405, 413, 429}
                assert "sessionid" not in headers.get("Set-Cookie", "")
    for cookie in (f"sessionid={quote(str(text), errors='surrogatepass')}" for text in texts):
        assert ask("GET", "/admin/", headers={"Cookie": cookie[:4000]})[0] in {302, 400}
    assert not Session.objects.exists()
