"""A shop of the documents' own, with a login for each role: what they do to it is no other test's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

#: As the demo makes them, with its password.
_LOGINS = """
from django.contrib.auth.models import Group, User
for name, role in {"support": "Support", "finance": "Finance", "operator": "Operator", "other": "Support lead"}.items():
    user = User.objects.create_user(name, password="demo", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
User.objects.create_superuser("admin", password="demo")
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
