"""Bringing all encrypted values under the first of DATA_KEYS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, models

from esimshop.encrypted_fields import (
    EncryptedJSONField,
    EncryptedTextField,
    UnknownDataKey,
    encrypt,
    is_token,
    open_token,
)

#: Rows read, and written in one statement, at a time: a lock on them lasts some milliseconds.
BATCH = 200

ModelType = type[models.Model]


@dataclass
class Rotation:
    """What was found and done.

    values:     encrypted values and those that should be.
    first_key:  of them, under the first key already.
    plain:      of them, not encrypted yet.
    other_keys: of them, under another of DATA_KEYS.
    unknown:    those that none of DATA_KEYS opens, as "orders.Esim 17 matching_id". They are left as they are.
    rewritten:  plain ones and those under other keys that are under the first key now.
    overtaken:  those that somebody wrote anew meanwhile, which they did with the key they knew.
    """

    dry_run: bool
    values: int = 0
    first_key: int = 0
    plain: int = 0
    other_keys: int = 0
    rewritten: int = 0
    overtaken: int = 0
    unknown: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Nothing was found that is not under the first key: the others are needed no more, but by old backups."""
        return self.values == self.first_key


def rotate_data_keys(
    all_models: Iterable[ModelType], *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
) -> Rotation:
    """Encrypt every value of the models' encrypted fields with the first key, unless it is so already.

    It can be stopped anywhere and run again. A value that somebody else writes meanwhile is left as they wrote it.
    Call outside transactions: each batch is one statement.
    progress: called with values done and values in all.
    """
    rotation = Rotation(dry_run=dry_run)
    columns = list(_encrypted_columns(all_models))
    total = sum(_count(*column) for column in columns)
    for model, column in columns:
        for rows in _batches(model, column):
            changes = [(pk, old, _under_first_key(pk, old, model, column, rotation)) for pk, old in rows]
            changed = [(pk, old, new) for pk, old, new in changes if new is not None]
            if not dry_run:
                written = _write(model, column, changed)
                rotation.rewritten += written
                rotation.overtaken += len(changed) - written
            if progress:
                progress(min(rotation.values, total), total)
    return rotation


def _encrypted_columns(all_models: Iterable[ModelType]) -> Iterator[tuple[ModelType, models.Field[Any, Any]]]:
    for model in all_models:
        for column in model._meta.concrete_fields:
            if isinstance(column, EncryptedTextField | EncryptedJSONField):
                yield model, column


def _under_first_key(
    pk: Any, stored: str, model: ModelType, column: models.Field[Any, Any], rotation: Rotation
) -> str | None:
    """The value as it is to be stored; None where it stays as it is."""
    rotation.values += 1
    text = _text(stored, column)
    if not is_token(text):
        rotation.plain += 1
    else:
        try:
            number, text = open_token(text)
        except UnknownDataKey:
            rotation.unknown.append(f"{model._meta.label} {pk} {column.name}")
            return None
        if number == 0:
            rotation.first_key += 1
            return None
        rotation.other_keys += 1
    token = encrypt(text)
    return json.dumps(token) if isinstance(column, EncryptedJSONField) else token


def _text(stored: str, column: models.Field[Any, Any]) -> str:
    """The token, or the plain text; of JSON that is not encrypted yet, the JSON."""
    if not isinstance(column, EncryptedJSONField):
        return stored
    value = json.loads(stored)
    return value if is_token(value) else stored


# The values as they are stored, past the fields. The names are those of our own models.


def _filled(model: ModelType, column: models.Field[Any, Any]) -> str:
    empty = "" if isinstance(column, EncryptedJSONField) else f"""AND "{column.column}" <> ''"""
    return f'FROM "{model._meta.db_table}" WHERE "{column.column}" IS NOT NULL {empty}'


def _count(model: ModelType, column: models.Field[Any, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {_filled(model, column)}")
        return int(cursor.fetchone()[0])


def _batches(model: ModelType, column: models.Field[Any, Any]) -> Iterator[list[tuple[int, str]]]:
    """Keys and stored values of what there is at this moment. What comes later is written with the first key."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COALESCE(max(id), 0) {_filled(model, column)}")
        newest, last = cursor.fetchone()[0], 0
        while True:
            cursor.execute(
                f'SELECT id, "{column.column}"::text {_filled(model, column)}'
                " AND id > %s AND id <= %s ORDER BY id LIMIT %s",
                [last, newest, BATCH],
            )
            rows = cursor.fetchall()
            if not rows:
                return
            yield rows
            last = rows[-1][0]


def _write(model: ModelType, column: models.Field[Any, Any], rows: list[tuple[int, str, str]]) -> int:
    """Set values where they are still what was read. Returns how many were."""
    if not rows:
        return 0
    kind = column.db_type(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f'UPDATE "{model._meta.db_table}" t SET "{column.column}" = v.new::{kind}'  # noqa: S608
            " FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS v(id, old, new)"
            f' WHERE t.id = v.id AND t."{column.column}" = v.old::{kind}',
            list(map(list, zip(*rows, strict=True))),
        )
        return int(cursor.rowcount)
