"""What the services of the sandbox exchange with its server: requests, responses and routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

Json = dict[str, Any]


def encode(value: Any) -> bytes:
    """JSON as UTF-8; a Decimal becomes the shortest decimal number that equals it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain).encode()


def decode(body: bytes) -> Any:
    """The value of a JSON text; decimal numbers stay exact. Raises ValueError."""
    return json.loads(body, parse_float=Decimal)


def _plain(value: Any) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes
    client_address: str

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[-1]

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        """A number from the query, forced into its limits; nonsense counts as left out."""
        text = self.one(name)
        return min(max(int(text), least), most) if re.fullmatch(r"-?\d{1,15}", text) else default

    def json_object(self) -> Json:
        """The body as a JSON object, {} for an empty one. Raises ValueError."""
        value = decode(self.body) if self.body.strip() else {}
        if not isinstance(value, dict):
            raise ValueError("a JSON object is expected")
        return value


@dataclass(frozen=True)
class Response:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        return cls(status, encode(value), headers=headers or {})


Handler = Callable[..., Response]


class Routes:
    """Handlers by method and path; {name} in a path takes one segment and becomes a keyword argument."""

    def __init__(self, routes: list[tuple[str, str, Handler]]) -> None:
        self._routes = [
            (method, template, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)), handler)
            for method, template, handler in routes
        ]

    def find(self, method: str, path: str) -> tuple[str, Handler, dict[str, str]] | None:
        """("POST /orders/{reference}", handler, arguments) of the first route that fits."""
        for its_method, template, pattern, handler in self._routes:
            if its_method == method and (match := pattern.fullmatch(path)):
                arguments = {name: unquote(value) for name, value in match.groupdict().items()}
                return f"{method} {template}", handler, arguments
        return None
