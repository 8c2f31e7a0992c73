"""A shop of the documents' own, with a login for each role: what they do to it is no other test's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from esimshop.management.commands.demo import ROLE_NAMES, STAFF_NAME, STAFF_PASSWORD
from tests.e2e.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

#: With the names and the password that the demo gives them.
_LOGINS = f"""
from django.contrib.auth.models import Group, User
User.objects.all().delete()
User.objects.create_superuser({STAFF_NAME!r}, password={STAFF_PASSWORD!r})
for name, role in {ROLE_NAMES!r}.items():
    user = User.objects.create_user(name, password={STAFF_PASSWORD!r}, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
"""


@pytest.fixture(scope="session")
def running_shop() -> Iterator[Shop]:
    with Shop(name="docs") as shop:
        shop.run("setup_roles")
        shop.run("shell", "-c", _LOGINS)
        yield shop


@pytest.fixture
def shop(running_shop: Shop) -> Iterator[Shop]:
    """The running shop, with nothing going wrong unless the document asks for it."""
    running_shop.sandbox.heal()
    yield running_shop
    running_shop.sandbox.heal()
