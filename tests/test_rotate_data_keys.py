"""Changing the key under which things lie encrypted, while the shop runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.conf import settings as shop_settings
from django.core.management import CommandError, call_command
from django.db import connection, connections

from esimshop import data_keys
from esimshop.data_keys import rotate_data_keys
from esimshop.encrypted_fields import open_token
from esimshop.models import Alert
from esimshop.tasks import rotate_data_keys_task
from orders.models import Esim, Order
from payments.models import TelegramUpdate
from tests.factories import EsimFactory, OrderFactory
from tests.outside import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, NEW, LOST = (Fernet.generate_key().decode() for _ in range(3))
CODE = "K2-SECRET-CODE-17"


@pytest.fixture
def keys(settings: Any) -> Any:
    settings.DATA_KEYS = [OLD]
    return settings


def fill(esims: int = 3, updates: int = 3, *, first_id: int = 1) -> None:
    if esims:
        EsimFactory.create_batch(esims, order=OrderFactory(status=Order.Status.COMPLETED), matching_id=CODE)
    for number in range(first_id, first_id + updates):
        TelegramUpdate.objects.store(
            update_id=number, kind="message", body={"update_id": number}, status="handled", next_try_at=None
        )


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("rotate_data_keys", *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


def keys_in_use() -> dict[int, int]:
    """How many values each key opens, by its place."""
    used: dict[int, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT matching_id FROM orders_esim WHERE matching_id <> ''"
            " UNION ALL SELECT body #>> '{}' FROM payments_telegramupdate"
        )
        for (token,) in cursor.fetchall():
            number = open_token(token)[0]
            used[number] = used.get(number, 0) + 1
    return used


@pytest.mark.django_db
def test_all_goes_under_the_new_key_and_then_the_old_one_may_be_dropped(keys: Any) -> None:
    fill()
    EsimFactory(order=Order.objects.get(), matching_id="")
    keys.DATA_KEYS = [NEW, OLD]
    assert "Keep the other keys for now" in run()
    assert keys_in_use() == {0: 6}
    said = run()
    assert "6 values: 6 under the first key already" in said
    assert "the others may be dropped" in said
    keys.DATA_KEYS = [NEW]
    assert set(Esim.objects.values_list("matching_id", flat=True)) == {CODE, ""}
    assert [update.body for update in TelegramUpdate.objects.order_by("pk")] == [{"update_id": n} for n in (1, 2, 3)]


@pytest.mark.django_db
def test_plain_values_of_the_release_before_are_encrypted(keys: Any) -> None:
    fill()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders_esim SET matching_id = %s", [CODE])
        cursor.execute("""UPDATE payments_telegramupdate SET body = '{"update_id": 7, "text": "gAAAAAB"}'""")
    report = json.loads(run("--json"))
    assert (report["plain"], report["rewritten"], report["is_complete"]) == (6, 6, False)
    assert keys_in_use() == {0: 6}
    assert set(Esim.objects.values_list("matching_id", flat=True)) == {CODE}
    assert TelegramUpdate.objects.earliest("pk").body == {"update_id": 7, "text": "gAAAAAB"}


@pytest.mark.django_db
def test_a_dry_run_counts_and_changes_nothing(keys: Any) -> None:
    fill()
    keys.DATA_KEYS = [NEW, OLD]
    report = json.loads(run("--dry-run", "--json"))
    assert (report["values"], report["other_keys"], report["rewritten"]) == (6, 6, 0)
    assert keys_in_use() == {1: 6}
    assert "Nothing was changed" in run("--dry-run")


@pytest.mark.django_db
def test_a_value_under_a_lost_key_is_reported_and_kept(keys: Any) -> None:
    fill(esims=1, updates=1)
    keys.DATA_KEYS = [LOST]
    lost = EsimFactory(order=Order.objects.get(), matching_id="kept")
    keys.DATA_KEYS = [NEW, OLD]
    output = StringIO()
    with pytest.raises(CommandError, match="1 values open with none of DATA_KEYS"):
        call_command("rotate_data_keys", stdout=output)
    assert f"orders.Esim {lost.pk} matching_id" in output.getvalue()
    assert "may be dropped" not in output.getvalue()
    rotate_data_keys_task(timestamp=0)
    assert Alert.objects.get(cause="data_keys", cleared_at=None)
    keys.DATA_KEYS = [NEW, LOST]
    assert Esim.objects.get(pk=lost.pk).matching_id == "kept"
    rotate_data_keys_task(timestamp=0)
    assert not Alert.objects.filter(cause="data_keys", cleared_at=None).exists()
    assert keys_in_use() == {0: 3}


@pytest.mark.django_db
def test_what_somebody_writes_meanwhile_stays_as_they_wrote_it(keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(esims=2, updates=0)
    keys.DATA_KEYS = [NEW, OLD]
    written = data_keys._write

    def write_after_somebody(model: Any, column: Any, rows: Any) -> int:
        if rows:
            Esim.objects.filter(pk=rows[0][0]).update(matching_id="theirs")
        return written(model, column, rows)

    monkeypatch.setattr(data_keys, "_write", write_after_somebody)
    rotation = rotate_data_keys([Esim])
    assert (rotation.rewritten, rotation.overtaken) == (1, 1)
    assert sorted(Esim.objects.values_list("matching_id", flat=True)) == [CODE, "theirs"]


@pytest.fixture
def command_environment() -> dict[str, str]:
    params = connection.get_connection_params()
    server = {name: params[name] for name in ("host", "port", "user", "password") if params.get(name)}
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "READ_DOT_ENV", "DEBUG") if name in os.environ},
        "DATABASE_URL": f"postgres://{server.pop('user')}@/{params['dbname']}?{urlencode(server, safe='/')}",
        "DATA_KEYS": f"{NEW},{OLD}",
    }


@contextmanager
def webhook_under_load() -> Iterator[list[int]]:
    """Updates are stored meanwhile, by a process that knows the new key. Yields their ids."""
    stored: list[int] = []
    stop = threading.Event()

    def store() -> None:
        for number in range(100_000, 200_000):
            if stop.is_set():
                break
            fill(esims=0, updates=1, first_id=number)
            stored.append(number)
        connections.close_all()

    thread = threading.Thread(target=store)
    thread.start()
    try:
        yield stored
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_it_is_killed_in_the_middle_and_goes_on_under_load(keys: Any, command_environment: dict[str, str]) -> None:
    fill(esims=10, updates=6000)
    command = [sys.executable, "manage.py", "rotate_data_keys", "--json"]
    process = subprocess.Popen(command, cwd=shop_settings.BASE_DIR, env=command_environment, stdout=subprocess.DEVNULL)
    keys.DATA_KEYS = [NEW, OLD]
    try:
        wait_until(lambda: keys_in_use().get(0, 0) >= 500, seconds=60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "it was too fast to be killed in the middle"
    assert set(keys_in_use()) == {0, 1}

    with webhook_under_load() as stored:
        finished = subprocess.run(
            command, cwd=shop_settings.BASE_DIR, env=command_environment, capture_output=True, text=True, timeout=120
        )
    assert finished.returncode == 0, finished.stderr
    assert stored, "nothing was stored meanwhile"
    assert keys_in_use() == {0: 6010 + len(stored)}
    assert rotate_data_keys(apps.get_models()).is_complete
    assert set(TelegramUpdate.objects.values_list("update_id", flat=True)) == {*range(1, 6001), *stored}
    assert all(update.body["update_id"] == update.update_id for update in TelegramUpdate.objects.iterator())
