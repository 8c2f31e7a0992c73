"""Fields whose values lie encrypted in the database: see docs/decisions/0011-encrypted-at-rest.md.

Each value is a Fernet token (AES-128-CBC, HMAC-SHA256) under the first of settings.DATA_KEYS; any of them opens it. The
database cannot look inside, so it can be asked for nothing but what is empty.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.exceptions import FieldError
from django.db import models
from django.db.models.expressions import BaseExpression
from django.db.models.lookups import Exact

#: What every Fernet token begins with until the year 2106: its version, and the first bytes of its time.
TOKEN_START = "gAAAAA"  # noqa: S105  no secret


class UnknownDataKey(Exception):
    """A stored value opens with none of DATA_KEYS: put the key it was written with back, behind the others."""


def encrypt(text: str) -> str:
    """A token of `text` under the first key: about 20 µs."""
    return _ciphers(tuple(settings.DATA_KEYS))[0].encrypt(text.encode()).decode()


def decrypt(stored: str) -> str:
    """The text of a token. Whatever is no token comes back as it is: a row from before there was encryption.

    Raises: UnknownDataKey.
    """
    return open_token(stored)[1] if is_token(stored) else stored


def open_token(token: str) -> tuple[int, str]:
    """Which of DATA_KEYS opens a token, counted from 0, and its text.

    Raises: UnknownDataKey.
    """
    for number, cipher in enumerate(_ciphers(tuple(settings.DATA_KEYS))):
        try:
            return number, cipher.decrypt(token).decode()
        except InvalidToken:
            continue
    raise UnknownDataKey("A stored value opens with none of DATA_KEYS.")


def is_token(stored: object) -> bool:
    return isinstance(stored, str) and stored.startswith(TOKEN_START)


@cache
def _ciphers(keys: tuple[str, ...]) -> list[Fernet]:
    return [Fernet(key) for key in keys]


class EncryptedTextField(models.TextField):
    """Text. Nothing, the empty text, is stored as it is."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        return None if value is None else decrypt(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        value = super().get_db_prep_save(value, connection)
        return encrypt(value) if isinstance(value, str) and value else value

    def get_lookup(self, lookup_name: str) -> Any:
        return super().get_lookup(lookup_name) if lookup_name in {"exact", "isnull"} else None


@EncryptedTextField.register_lookup
class IsEmpty(Exact):
    """Every other text is another token each time, and would never be found."""

    def get_prep_lookup(self) -> Any:
        if self.rhs != "":
            raise FieldError("An encrypted field can be asked for nothing but the empty text.")
        return super().get_prep_lookup()


class EncryptedJSONField(models.JSONField):
    """A JSON object. Its token is stored as a JSON text, so that the column stays what it was."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        stored = super().from_db_value(value, expression, connection)
        return json.loads(decrypt(stored), cls=self.decoder) if is_token(stored) else stored

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value is None or isinstance(value, BaseExpression):
            return super().get_db_prep_save(value, connection)
        return super().get_db_prep_save(encrypt_json(value, encoder=self.encoder), connection)

    def get_lookup(self, lookup_name: str) -> Any:
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None

    def get_transform(self, lookup_name: str) -> Any:
        return None


def encrypt_json(value: Any, *, encoder: type[json.JSONEncoder] | None = None) -> str:
    """A token of JSON, as EncryptedJSONField keeps it: for statements that are written by hand."""
    return encrypt(json.dumps(value, cls=encoder))
