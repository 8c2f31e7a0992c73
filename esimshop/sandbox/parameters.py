"""Parameters of a Bot API call, in any of the forms in which Telegram takes them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from esimshop.sandbox.exchange import Json, Request


class ParameterError(ValueError):
    """The body could not be read, or a value has the wrong type; the text is for the caller."""


@dataclass(frozen=True)
class Parameters:
    """values: strings from forms and query, any JSON value from a JSON body; files: uploads by field name."""

    values: Json
    files: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> Parameters:
        """Read query and body: form-urlencoded, multipart or JSON. Raises ParameterError."""
        values: Json = {name: given[-1] for name, given in request.query.items()}
        files: dict[str, bytes] = {}
        header = Message()
        header["content-type"] = request.headers.get("content-type", "")
        kind = header.get_content_type() if request.headers.get("content-type") else ""
        try:
            if not request.body:
                pass
            elif kind == "application/json":
                values |= request.json_object()
            elif kind == "application/x-www-form-urlencoded":
                values |= dict(parse_qsl(request.body.decode(), keep_blank_values=True))
            elif kind == "multipart/form-data":
                boundary = str(header.get_param("boundary", "")).encode()
                fields, files = _multipart(request.body, boundary)
                values |= fields
        except ValueError:
            raise ParameterError("can't parse the request body") from None
        return cls(values, files)

    def has(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        return value if isinstance(value, str) else json.dumps(value)

    def integer(self, name: str, default: int | None = None) -> int:
        """Raises ParameterError when missing without a default, or not a whole number."""
        value = self.values.get(name, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value.strip()):
            return int(value)
        raise ParameterError(f"invalid {name} specified")

    def boolean(self, name: str) -> bool:
        return str(self.values.get(name, "")).lower() in {"true", "yes", "1"}

    def structure(self, name: str) -> Any:
        """A nested value, which forms carry as JSON text; None when missing. Raises ParameterError."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        if not value:
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise ParameterError(f"can't parse {name.replace('_', ' ')} JSON object") from None


def _multipart(body: bytes, boundary: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    if not boundary:
        raise ValueError("no boundary")
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, separator, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not separator:
            raise ValueError("a part without a head")
        header = Message()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(":")
            header[name] = value.strip()
        field_name = str(header.get_param("name", "", header="content-disposition"))
        content = content.removesuffix(b"\r\n")
        if header.get_param("filename", header="content-disposition") is None:
            fields[field_name] = content.decode()
        else:
            files[field_name] = content
    return fields, files
