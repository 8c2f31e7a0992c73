"""The audit of dependencies: a hole fails it, and silence is not taken for a good word."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import django
import pytest

from tests import dependency_audit
from tests.dependency_audit import Audit, ask, main, read_report

if TYPE_CHECKING:
    from collections.abc import Iterator

ADVISORY = {
    "id": "PYSEC-2099-1",
    "summary": "planted",
    "published": "2099-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "django"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


class PlantedAdvisories(BaseHTTPRequestHandler):
    """A service in the shape of OSV that knows of one hole, in Django."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = {"vulns": [ADVISORY]} if asked["package"]["name"] == "django" else {}
        content = json.dumps(known).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def advisories() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), PlantedAdvisories) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def test_a_hole_in_what_is_installed_is_found(advisories: str) -> None:
    audit = ask("osv", "--osv-url", advisories)

    assert audit.found == [f"django {django.__version__}: PYSEC-2099-1 (mended in 99.0)"]
    assert audit.answered > 50


def test_a_service_that_cannot_be_reached_says_nothing() -> None:
    assert ask("osv", "--osv-url", "http://127.0.0.1:9/v1/query") == Audit()


def test_packages_of_which_nothing_is_known_count_as_unknown_not_as_good() -> None:
    report = {"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}]}

    assert read_report(json.dumps(report)) == Audit(answered=1, unknown=["b"])
    assert read_report("Traceback") == Audit()


@pytest.mark.parametrize(
    ("audits", "wish", "code", "word"),
    [
        ([Audit(answered=9, found=["django 5.2: X"])], "", 1, "django 5.2: X"),
        ([Audit(answered=9)], "", 0, "no hole in 9 packages"),
        ([Audit(answered=9, unknown=["b"])], "", 0, "WARNING: it said nothing of 1: b"),
        ([Audit(unknown=["b"]), Audit(answered=9, found=["django 5.2: X"])], "", 1, "django 5.2: X"),
        ([Audit(unknown=["b"]), Audit()], "", 0, "NOTHING IS KNOWN"),
        ([Audit(unknown=["b"]), Audit()], "required", 1, "NOTHING IS KNOWN"),
    ],
)
def test_what_it_says_and_whether_it_fails(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    audits: list[Audit],
    wish: str,
    code: int,
    word: str,
) -> None:
    answers = iter(audits)
    monkeypatch.setattr(dependency_audit, "ask", lambda service: next(answers))
    monkeypatch.setenv("AUDIT", wish)

    assert main() == code
    assert word in capsys.readouterr().out
