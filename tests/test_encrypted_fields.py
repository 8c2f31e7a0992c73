"""What lies encrypted in the database, and what the fields that do it let through."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError
from django.db import connection
from django.db.models import Value

from esimshop.embedded_postgres.server import program_folder
from esimshop.encrypted_fields import UnknownDataKey, decrypt, encrypt
from orders.models import Delivery, Esim, Order, WholesalerCallback
from payments.models import Case, CaseMessage, TelegramUpdate
from tests.factories import EsimFactory
from tests.outside import BEN, SandboxControl, message_update, payment_update, run_tasks, send_update
from tests.payments.conftest import invoiced_order

pytestmark = pytest.mark.django_db
CODE = "K2-SECRET-CODE-17"


def stored(model: Any, column: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "{column}"::text FROM "{model._meta.db_table}" ORDER BY id')
        return [row[0] for row in cursor.fetchall()]


def keep_plain(esim: Esim) -> None:
    """As the release before encryption wrote it."""
    Esim.objects.filter(pk=esim.pk).update(matching_id="")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders_esim SET matching_id = %s WHERE id = %s", [CODE, esim.pk])


def test_a_value_is_a_token_in_the_table_and_itself_in_the_shop() -> None:
    first = EsimFactory(matching_id=CODE)
    second = EsimFactory(order=first.order, matching_id=CODE)
    tokens = stored(Esim, "matching_id")
    assert all(token.startswith("gAAAAA") and CODE not in token for token in tokens)
    assert tokens[0] != tokens[1]
    assert Esim.objects.get(pk=first.pk).matching_id == CODE
    assert set(Esim.objects.values_list("matching_id", flat=True)) == {CODE}
    assert Esim.objects.get(pk=second.pk).activation_code.endswith(CODE)


@pytest.mark.parametrize("way", ["save", "update", "bulk_update", "bulk_create"])
def test_every_way_of_writing_encrypts(way: str) -> None:
    esim = EsimFactory(matching_id="before")
    if way == "save":
        esim.matching_id = CODE
        esim.save()
    elif way == "update":
        Esim.objects.update(matching_id=CODE)
    elif way == "bulk_update":
        esim.matching_id = CODE
        Esim.objects.bulk_update([esim], ["matching_id"])
    else:
        Esim.objects.all().delete()
        copy = EsimFactory.build(order=esim.order, customer=esim.customer, matching_id=CODE)
        Esim.objects.bulk_create([copy])
    [token] = stored(Esim, "matching_id")
    assert CODE not in token
    assert Esim.objects.get().matching_id == CODE


@pytest.mark.parametrize("body", [{"update_id": 1, "text": "Ж😀\n"}, {}, {"a": [1, None, {"b": 1.5}]}])
def test_json_comes_back_as_it_was(body: Any) -> None:
    WholesalerCallback.objects.create(digest="1", kind="k", body=body)
    [token] = stored(WholesalerCallback, "body")
    assert token.startswith('"gAAAAA')
    assert WholesalerCallback.objects.get().body == body


def test_what_is_not_encrypted_yet_is_read_as_it_is() -> None:
    keep_plain(EsimFactory())
    WholesalerCallback.objects.create(digest="1", kind="k", body={})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders_wholesalercallback SET body = %s::jsonb", [json.dumps({"old": CODE})])
    assert Esim.objects.get().matching_id == CODE
    assert WholesalerCallback.objects.get().body == {"old": CODE}


def test_an_encrypted_field_can_be_asked_only_whether_it_is_empty() -> None:
    esim = EsimFactory(matching_id=CODE)
    EsimFactory(order=esim.order, matching_id="")
    assert Esim.objects.filter(matching_id="").count() == 1
    assert Esim.objects.exclude(matching_id="").count() == 1
    for lookup in ({"matching_id": CODE}, {"matching_id__startswith": "K2"}, {"matching_id__in": [CODE]}):
        with pytest.raises(FieldError):
            list(Esim.objects.filter(**lookup))
    for lookup in ({"body__update_id": 1}, {"body": {}}, {"body__contains": {"a": 1}}):
        with pytest.raises(FieldError):
            list(TelegramUpdate.objects.filter(**lookup))


def test_any_of_the_keys_opens_and_the_first_one_encrypts(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.DATA_KEYS = [old]
    by_old = encrypt("text")
    settings.DATA_KEYS = [new, old]
    by_new = encrypt("text")
    assert decrypt(by_old) == decrypt(by_new) == "text"
    settings.DATA_KEYS = [new]
    assert decrypt(by_new) == "text"
    with pytest.raises(UnknownDataKey, match="DATA_KEYS"):
        decrypt(by_old)


def test_a_changed_token_is_not_read() -> None:
    token = encrypt("text")
    with pytest.raises(UnknownDataKey):
        decrypt(token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:])


def test_an_expression_is_left_to_the_database() -> None:
    EsimFactory(matching_id=CODE)
    Esim.objects.update(matching_id=Value(""))
    assert stored(Esim, "matching_id") == [""]


@pytest.mark.django_db(transaction=True)
def test_no_table_and_no_dump_holds_an_activation_code_or_an_update(sandbox: SandboxControl) -> None:
    order = invoiced_order(plan__bundle_name="esim_1GB_7D_FR_V2")
    assert send_update(payment_update(order)).status_code == 200
    run_tasks()
    order.refresh_from_db()
    assert order.status == Order.Status.COMPLETED
    esim = Esim.objects.get()

    # What a customer writes, and what the shop answers, may hold the code too.
    words = f"Nothing works, my code is {esim.activation_code}"
    case = Case.objects.create(customer=order.customer, reason=Case.Reason.OTHER, wish=Case.Wish.HELP)
    CaseMessage.objects.create(case=case, author="customer", actor="customer", text=words)
    Delivery.objects.create(customer=order.customer, kind=Delivery.Kind.ANSWER, text=words)
    send_update(message_update(words, user_id=BEN))
    WholesalerCallback.objects.create(digest="2", kind="k", esim=esim, body={"matchingId": esim.matching_id})
    run_tasks()

    assert TelegramUpdate.objects.count() == 2
    traces = {
        "activation code": esim.matching_id,
        "update": "provider_payment_charge_id",
        "the same of a message": "Nothing works",
        "Telegram's name of a sender": '"is_bot"',
    }
    dump = dump_database()
    assert "CREATE TABLE public.orders_esim" in dump
    assert esim.iccid in dump
    assert not [name for name, trace in traces.items() if trace in dump]

    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows = "\n".join(row[0] for row in cursor.fetchall())
            assert not [(table, name) for name, trace in traces.items() if trace in rows]


def dump_database() -> str:
    params = connection.get_connection_params()
    server = [
        f"--{option}={params[name]}" for option, name in (("host", "host"), ("port", "port"), ("username", "user"))
    ]
    command = [program_folder() / "pg_dump", *server, params["dbname"]]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
