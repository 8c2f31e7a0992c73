"""What the Mini App's page and its API tell a browser to allow and to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.conf import settings

from tests.outside import bearer

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

PUBLIC = ["/", "/api/areas", "/api/plans", "/api/schema"]
PRIVATE = ["/api/orders", "/api/orders/00000000-0000-4000-8000-000000000000"]


def read_policy(client: Client) -> dict[str, list[str]]:
    directives = client.get("/")["Content-Security-Policy"].split(";")
    return {name: sources for name, *sources in (each.split() for each in directives if each.strip())}


def test_the_page_runs_no_script_or_style_but_its_own_files_and_telegrams(client: Client) -> None:
    policy = read_policy(client)

    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'", settings.TELEGRAM_WEB_APP_JS_URL]
    assert policy["connect-src"] == ["'self'"]
    assert policy["base-uri"] == ["'none'"]
    assert not any("unsafe" in source for sources in policy.values() for source in sources)
    assert not any(source in {"*", "data:", "https:", "http:"} for sources in policy.values() for source in sources)


def test_only_telegrams_web_clients_may_frame_the_page(client: Client) -> None:
    assert settings.TELEGRAM_WEB_APP_JS_URL.startswith("https://telegram.org/")  # no sandbox is configured here
    assert read_policy(client)["frame-ancestors"] == ["https://web.telegram.org", "https://*.web.telegram.org"]
    assert "X-Frame-Options" not in client.get("/")


def test_the_page_keeps_no_address_and_no_type_to_guess(client: Client) -> None:
    page = client.get("/")

    assert page["X-Content-Type-Options"] == "nosniff"
    assert page["Referrer-Policy"] in {"same-origin", "no-referrer"}
    assert '<meta name="referrer" content="no-referrer">' in page.content.decode()


@pytest.mark.parametrize("path", PUBLIC)
def test_what_is_public_sets_no_cookie(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert not answer.cookies


@pytest.mark.parametrize("path", PRIVATE)
def test_what_is_private_sets_no_cookie_and_is_kept_nowhere(client: Client, path: str) -> None:
    for headers in ({}, bearer()):
        answer = client.get(path, headers=headers)
        assert not answer.cookies
        assert answer["Cache-Control"] == "no-store"
