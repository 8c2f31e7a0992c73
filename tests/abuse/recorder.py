"""The shop in process, every answer of which is judged."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from esimshop.api import ERRORS
from esimshop.wsgi import application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CODES = frozenset(ERRORS)


class Recorder:
    """The shop as a WSGI application that counts what it is asked and judges whatever it answers."""

    def __init__(self) -> None:
        self.sent = 0
        self.answers: Counter[int] = Counter()
        self.secrets: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        said: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            said[:] = [int(status[:3]), headers]
            return start_response(status, headers, exc_info)

        self.sent += 1
        answer = application(environ, start)
        content = b"".join(answer)
        if close := getattr(answer, "close", None):
            close()
        status, headers = said
        self.answers[status] += 1
        self._judge(environ, status, dict(headers), content)
        return [content]

    def _judge(self, environ: dict[str, Any], status: int, headers: dict[str, str], content: bytes) -> None:
        asked = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'][:200]!r}"
        # That no worker runs is what /readyz is for.
        assert status < 500 or environ["PATH_INFO"] == "/readyz", f"{status} to {asked}: {content[:300]!r}"
        said = content.decode("utf-8", "replace") + json.dumps(headers)
        leaked = [name for name, secret in self.secrets.items() if secret in said]
        assert not leaked, f"{leaked} in the answer to {asked}: {content[:300]!r}"
        if environ["PATH_INFO"].startswith("/api/") and status >= 400 and environ["REQUEST_METHOD"] != "HEAD":
            assert headers["Content-Type"] == "application/json", f"{status} to {asked}: {headers}"
            body = json.loads(content)
            assert body["code"] in CODES, f"{status} to {asked}: {body}"
            assert isinstance(body["detail"], str), f"{status} to {asked}: {body}"
            assert body["detail"], f"{status} to {asked}: {body}"


RECORDER = Recorder()
