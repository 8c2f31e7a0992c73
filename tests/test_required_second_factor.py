"""Where the second factor is required, nothing of the back office opens to whoever has none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as project
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, get_resolver
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from esimshop.acts import act_url, all_acts
from esimshop.second_factor import CodeRefused, verify_code
from payments.models import Refund
from payments.services.roles import ROLES, set_up_roles
from tests.test_admin import fill_shop

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

PAGE = "/admin/second-factor/"
#: Where whoever has shown no more than a password may go: to set one up, to log in, to leave, and to read JavaScript.
OPEN = {PAGE, "/admin/login/", "/admin/login/code/", "/admin/logout/"}


@pytest.fixture(autouse=True)
def _required(settings: Any) -> None:
    settings.STAFF_SECOND_FACTOR_REQUIRED = True


def routes(patterns: list[Any], prefix: str = "/") -> Iterator[str]:
    """Every address, with something that is there, as far as one can guess, in the place of what varies."""
    for pattern in patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            yield re.sub(r"<[^>]+>", "1", route)
        else:
            yield from routes(pattern.url_patterns, route)


def admin_addresses() -> list[str]:
    """Every address below /admin/, the page of a row of each kind, and every act on one."""
    found = {path for path in routes(get_resolver().url_patterns) if path.startswith("/admin/")}
    found = {path for path in found if "(?P" not in path and not path.endswith("$")}
    for model in admin.site._registry:
        row = model._default_manager.order_by("-pk").first()
        assert row is not None, model
        found.add(f"/admin/{model._meta.app_label}/{model._meta.model_name}/{row.pk}/change/")
        found |= {act_url(act, row) for act in all_acts() if act.model is model}
    return sorted(found - OPEN)


def is_shut(answer: Any) -> bool:
    return answer.status_code == 302 and answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("role", [None, *ROLES])
def test_whoever_has_none_opens_no_page_and_does_no_act(client: Client, role: str | None) -> None:
    fill_shop(1)
    set_up_roles()
    user = User.objects.create_user("vera", password="right", is_staff=True, is_superuser=role is None)
    if role:
        user.groups.add(Group.objects.get(name=role))
    client.post("/admin/login/", {"username": "vera", "password": "right"})
    refunds = Refund.objects.count()

    addresses = admin_addresses()

    assert len(addresses) > 150
    answers = {path: client.get(path) for path in addresses}
    assert [path for path, answer in answers.items() if not is_shut(answer) and answer.status_code != 405] == []
    assert [path for path in addresses if not is_shut(client.post(path, {"reason": "because", "post": "yes"}))] == []
    assert Refund.objects.count() == refunds


def test_every_way_into_the_back_office_leads_to_setting_one_up_and_then_everything_opens(client: Client) -> None:
    User.objects.create_superuser("vera", password="right")
    client.post("/admin/login/", {"username": "vera", "password": "right"})

    arrived = client.get("/admin/orders/order/", follow=True)
    assert arrived.redirect_chain[-1][0] == PAGE
    assert "once you have a second factor" in arrived.content.decode()

    client.post(PAGE, {"act": "start"})
    device = TOTPDevice.objects.get()
    assert client.get("/admin/").status_code == 302  # a secret that nobody has shown to know is none
    client.post(PAGE, {"act": "confirm", "code": f"{totp(device.bin_key):06}"})
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/orders/order/").status_code == 200


def test_the_page_that_sets_it_up_shows_nothing_of_the_shop(client: Client) -> None:
    fill_shop(1)
    client.force_login(User.objects.create_superuser("vera"))

    page = client.get(PAGE).content.decode()

    assert "/admin/orders/order/" not in page
    assert "/admin/payments/payment/" not in page


def test_the_page_that_sets_it_up_is_for_staff_and_takes_no_forged_form(client: Client) -> None:
    assert is_shut(client.get(PAGE))
    client.force_login(User.objects.create_user("customer"))
    assert is_shut(client.get(PAGE))

    careful = Client(enforce_csrf_checks=True)
    careful.force_login(User.objects.create_superuser("vera"))
    assert careful.post(PAGE, {"act": "start"}).status_code == 403
    assert not TOTPDevice.objects.exists()


def test_whoever_has_one_is_asked_for_it_and_cannot_set_up_another_in_its_place(client: Client) -> None:
    user = User.objects.create_superuser("vera", password="right")
    TOTPDevice.objects.create(user=user, name="app", confirmed=True)
    client.post("/admin/login/", {"username": "vera", "password": "right"})

    for answer in (client.get("/admin/"), client.get(PAGE), client.post(PAGE, {"act": "start"})):
        assert is_shut(answer)
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith("/admin/login/code/")
    assert TOTPDevice.objects.count() == 1


def test_whoever_gives_it_up_sees_no_other_page_until_there_is_another(client: Client) -> None:
    client.force_login(User.objects.create_superuser("vera"))
    client.post(PAGE, {"act": "start"})
    device = TOTPDevice.objects.get()
    page = client.post(PAGE, {"act": "confirm", "code": f"{totp(device.bin_key):06}"}).content.decode()
    (code, *_) = re.findall(r"<li>([a-z2-7]{4}-[a-z2-7]{4})</li>", page)

    client.post(PAGE, {"act": "off", "code": code})

    assert not TOTPDevice.objects.exists()
    assert is_shut(client.get("/admin/"))


def test_no_recovery_code_is_in_the_database_and_one_outlives_a_change_of_the_secret_key(
    client: Client, settings: Any
) -> None:
    user = User.objects.create_superuser("vera")
    client.force_login(user)
    client.post(PAGE, {"act": "start"})
    device = TOTPDevice.objects.get()
    page = client.post(PAGE, {"act": "confirm", "code": f"{totp(device.bin_key):06}"}).content.decode()
    codes = re.findall(r"<li>([a-z2-7]{4}-[a-z2-7]{4})</li>", page)
    kept = set(StaticToken.objects.values_list("token", flat=True))

    assert len(codes) == len(kept) == 10
    assert not kept & {code.replace("-", "") for code in codes}
    stolen = kept.pop()
    with pytest.raises(CodeRefused):
        verify_code(user, code=stolen)

    StaticToken.objects.first().device.throttle_reset()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [project.SECRET_KEY]
    verify_code(user, code=codes[0])
    with pytest.raises(CodeRefused):
        verify_code(user, code=codes[0])


@pytest.mark.parametrize(
    ("environment", "is_required"),
    [
        ({"DEBUG": "on"}, False),
        ({"DEBUG": "on", "STAFF_SECOND_FACTOR": "required"}, True),
        ({"DEBUG": "off"}, True),
        ({"DEBUG": "off", "STAFF_SECOND_FACTOR": "optional"}, False),
        ({"DEBUG": "off", "STAFF_SECOND_FACTOR": "off"}, None),
    ],
)
def test_it_is_required_in_production_unless_the_environment_says_otherwise(
    environment: dict[str, str], is_required: bool | None
) -> None:
    """None: refused, since it is neither of the two words."""
    rest = {
        "READ_DOT_ENV": "off",
        "SECRET_KEY": "x" * 60,
        "ALLOWED_HOSTS": "shop.example",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example",
        "DATABASE_URL": "postgres://shop@database.example/shop",
        "DATA_KEYS": Fernet.generate_key().decode(),
        "TELEGRAM_BOT_TOKEN": "1:not-a-real-token",
        "TELEGRAM_WEBHOOK_SECRET": "not-a-real-secret",
        "ESIMGO_API_KEY": "not-a-real-key",
        "PUBLIC_URL": "https://shop.example",
        "PATH": os.environ["PATH"],
    }
    said = subprocess.run(
        [sys.executable, "-c", "import esimshop.settings as s; print(s.STAFF_SECOND_FACTOR_REQUIRED)"],
        env={**rest, **environment},
        cwd=project.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )

    if is_required is None:
        assert said.returncode != 0
        assert "STAFF_SECOND_FACTOR is required or optional." in said.stderr
    else:
        assert said.stdout.strip() == str(is_required)
