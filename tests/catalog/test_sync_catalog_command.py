"""`manage.py sync_catalog` and the worker's own sync."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from catalog.models import Plan, WholesalerAccount
from catalog.tasks import refresh_account_task, sync_catalog_task
from esimshop.models import Alert
from tests.catalog.conftest import Wholesaler, many_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def wholesaler(open_wholesaler: Callable[[list[dict[str, Any]]], Wholesaler], settings: Any) -> Wholesaler:
    wholesaler = open_wholesaler(many_rows(10))
    settings.ESIMGO_BASE_URL = wholesaler.sandbox.esimgo_base_url
    settings.ESIMGO_API_KEY = "sandbox-key"
    return wholesaler


def sync_catalog(*arguments: str) -> str:
    out = StringIO()
    call_command("sync_catalog", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_command_fills_the_catalogue_and_says_so(wholesaler: Wholesaler) -> None:
    assert "10 plans: 10 new, 0 changed, 0 gone, 0 prices changed, 20 networks, 0 skipped." in sync_catalog()
    assert Plan.objects.on_sale().count() == 10


def test_the_command_prints_one_json_object_for_scripts(wholesaler: Wholesaler) -> None:
    assert json.loads(sync_catalog("--json")) == {
        "plans": 10, "new": 10, "changed": 0, "vanished": 0, "prices_changed": 0, "networks": 20, "skipped": [],
        "dry_run": False,
    }  # fmt: skip


def test_a_dry_run_writes_nothing(wholesaler: Wholesaler) -> None:
    assert "Would be: 10 plans" in sync_catalog("--dry-run")
    assert not Plan.objects.exists()


def test_a_failure_is_an_error_of_the_command(wholesaler: Wholesaler) -> None:
    wholesaler.fail("GET /catalogue", "html", times=None)
    with pytest.raises(CommandError, match="The catalogue stays as it was"):
        sync_catalog()


def test_the_worker_alerts_once_while_the_sync_fails_and_clears_it_after(wholesaler: Wholesaler) -> None:
    sync_catalog()
    wholesaler.fail("GET /catalogue", "html", times=None)
    sync_catalog_task(timestamp=0)
    sync_catalog_task(timestamp=0)
    alert = Alert.objects.get()
    assert (alert.cause, alert.cleared_at) == ("catalogue", None)
    assert Plan.objects.on_sale().count() == 10

    wholesaler.sandbox.faults.clear()
    sync_catalog_task(timestamp=0)
    alert.refresh_from_db()
    assert alert.cleared_at is not None


def test_the_worker_reads_the_balance_and_survives_a_failure(wholesaler: Wholesaler) -> None:
    wholesaler.tell("settings", balance_usd=7)
    refresh_account_task(timestamp=0)
    wholesaler.fail("GET /organisation", "status", status=503, times=None)
    refresh_account_task(timestamp=0)
    assert WholesalerAccount.objects.get().balance_usd == Decimal(7)
