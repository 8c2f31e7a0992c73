"""What every answer tells a browser, whichever route gives it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as project
from django.contrib.auth.models import User
from django.urls import URLPattern, get_resolver

from tests.test_admin import fill_shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

pytestmark = pytest.mark.django_db

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def routes(patterns: list[Any], prefix: str = "/") -> Iterator[str]:
    for pattern in patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            yield re.sub(r"<[^>]+>|\(\?P.*$|\\|\$|\^", "1", route)
        else:
            yield from routes(pattern.url_patterns, route)


def all_routes() -> list[str]:
    return sorted(
        {*routes(get_resolver().url_patterns), "/static/miniapp/icon.svg", "/nothing-here", "/api/nothing-here"}
    )


@pytest.mark.parametrize("who", ["stranger", "superuser"])
def test_every_route_carries_the_headers_of_its_kind(client: Client, who: str) -> None:
    fill_shop(1)
    if who == "superuser":
        client.force_login(User.objects.create_superuser("vera"))
    pages = 0
    for path in all_routes():
        if path == "/admin/logout/":
            continue
        answer = client.get(path)
        assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE, path
        is_page = answer.headers.get("Content-Type", "").startswith("text/html")
        if path.startswith("/admin/"):
            assert "X-Frame-Options" not in answer or answer["X-Frame-Options"] == "DENY"
        if is_page:
            pages += 1
            assert answer.headers.get("Content-Security-Policy"), path
            assert "camera=()" in answer.headers.get("Permissions-Policy", ""), path
        if not is_page or path.startswith("/admin/"):
            assert answer.headers.get("Cross-Origin-Resource-Policy") == "same-origin", path
        if path.startswith("/admin/") and is_page:
            assert "frame-ancestors 'none'" in answer["Content-Security-Policy"], path
    assert pages > (40 if who == "superuser" else 2)


def test_no_page_of_the_back_office_is_kept_by_a_browser(client: Client) -> None:
    client.force_login(User.objects.create_superuser("vera"))
    for path in ("/admin/", "/admin/login/", "/admin/orders/order/", "/admin/second-factor/"):
        assert "no-store" in client.get(path, follow=True)["Cache-Control"], path


def test_the_mini_app_may_be_framed_by_telegram_so_no_resource_policy_forbids_it(client: Client) -> None:
    assert "Cross-Origin-Resource-Policy" not in client.get("/").headers


IN_PRODUCTION = """
import json
import esimshop.wsgi
from django.conf import settings
from django.test import Client
plain, secure = Client(), Client()
redirected = plain.get("/api/plans", headers={"host": "shop.example"})
answer = secure.get("/healthz", secure=True, headers={"host": "shop.example"})
print(json.dumps({
    "redirected": [redirected.status_code, redirected["Location"]],
    "hsts": answer["Strict-Transport-Security"],
    "cookies": {name: getattr(settings, name) for name in dir(settings) if name.endswith(
        ("COOKIE_SECURE", "COOKIE_HTTPONLY", "COOKIE_SAMESITE"))},
}))
"""


def test_in_production_there_is_https_only_and_cookies_know_it() -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "READ_DOT_ENV": "off",
        "DJANGO_SETTINGS_MODULE": "esimshop.settings",
        "SECRET_KEY": "x" * 60,
        "ALLOWED_HOSTS": "shop.example",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example",
        "PUBLIC_URL": "https://shop.example",
        "DATABASE_URL": "postgres://shop@database.example/shop",
        "DATA_KEYS": Fernet.generate_key().decode(),
        "TELEGRAM_BOT_TOKEN": "1:not-a-real-token",
        "TELEGRAM_WEBHOOK_SECRET": "not-a-real-secret",
        "ESIMGO_API_KEY": "not-a-real-key",
    }
    ran = subprocess.run(
        [sys.executable, "-c", IN_PRODUCTION],
        env=environment,
        cwd=project.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])

    assert said["redirected"] == [301, "https://shop.example/api/plans"]
    assert said["hsts"] == "max-age=31536000; includeSubDomains; preload"
    cookies = said["cookies"]
    for name in ("SESSION_COOKIE", "CSRF_COOKIE"):
        assert cookies[f"{name}_SECURE"] is True
        assert cookies[f"{name}_HTTPONLY"] is True
        assert cookies[f"{name}_SAMESITE"] == "Lax"
