"""Rows with states: making one, and moving it from state to state, each with its event and in one statement.

By hand, since every payment passes here several times: one statement takes the place of two and a savepoint, and both
rows are written or neither, also outside a transaction.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.db import connections
from django.db.models import Field, Model

from esimshop.prepared import fetch_prepared


def make_row(row: Model, *, unless_known: str, event: Model, link: str) -> bool:
    """Insert a row and its event, unless there is a row with the same value of the unique field `unless_known`.

    link: the event's foreign key to the row. Sets the row's primary key.
    Returns: False where there was one; then nothing changed, and `row.pk` stays empty.
    """
    [link_column] = [field.column for field in _fields(type(event)) if field.name == link]
    values = _values(row, _fields(type(row)))
    noted = [field for field in _fields(type(event)) if field.name != link]
    made = fetch_prepared(
        f'WITH made AS (INSERT INTO "{row._meta.db_table}" ({_names(_fields(type(row)))})'  # noqa: S608  names of our own models
        f" VALUES ({', '.join(['%s'] * len(values))}) ON CONFLICT ({unless_known}) DO NOTHING RETURNING id)"
        f' INSERT INTO "{event._meta.db_table}" ("{link_column}", {_names(noted)})'
        f' SELECT id, {_casts(noted)} FROM made RETURNING "{link_column}"',
        [*values, *_values(event, noted)],
    )
    row.pk = made[0] if made else None
    return made is not None


def move_row(row: Model, *, status: str, to: str, changes: Mapping[str, Any], event: Model) -> bool:
    """Move a row that still has `status` to the status `to`, set `changes`, and insert the event of it.

    Returns: False where somebody moved the row first; then nothing changed.
    """
    fields = {field.name: field for field in row._meta.concrete_fields}
    database = connections["default"]
    noted = _fields(type(event))
    assignments = {"status": to, **changes}
    settings = ", ".join(f'"{fields[name].column}" = %s' for name in assignments)
    moved = fetch_prepared(
        f'WITH moved AS (UPDATE "{row._meta.db_table}" SET {settings}'  # noqa: S608  names of our own models
        f" WHERE id = %s AND status = %s RETURNING id)"
        f' INSERT INTO "{event._meta.db_table}" ({_names(noted)}) SELECT {_casts(noted)} FROM moved'
        " RETURNING 1",
        [
            *(fields[name].get_db_prep_save(value, database) for name, value in assignments.items()),
            row.pk,
            status,
            *_values(event, noted),
        ],
    )
    return moved is not None


@cache
def _fields(model: type[Model]) -> list["Field[Any, Any]"]:
    return [field for field in model._meta.concrete_fields if not field.primary_key]


def _names(fields: list["Field[Any, Any]"]) -> str:
    return ", ".join(f'"{field.column}"' for field in fields)


def _casts(fields: list["Field[Any, Any]"]) -> str:
    return ", ".join(f"%s::{_type(field)}" for field in fields)


@cache
def _type(field: "Field[Any, Any]") -> str | None:
    return field.db_type(connections["default"])


def _values(row: Model, fields: list["Field[Any, Any]"]) -> list[Any]:
    # Found once: behind django.db.connection every access looks it up anew, and a field asks many times.
    database = connections["default"]
    return [field.get_db_prep_save(getattr(row, field.attname), database) for field in fields]
