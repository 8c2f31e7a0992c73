"""The end of a certificate, from a real handshake."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from esimshop.clients.certificates import CertificateRefused, CertificateUnread, read_certificate_end
from tests.certificates import tls_server

if TYPE_CHECKING:
    from pathlib import Path


def test_the_end_of_a_good_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(tmp_path, monkeypatch, ends_in=timedelta(days=30)) as url:
        left = read_certificate_end(url) - timezone.now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


@pytest.mark.parametrize(
    ("days", "is_trusted", "name", "words"),
    [
        (-1, True, "localhost", "expired"),
        (30, False, "localhost", "unable to get local issuer certificate"),
        (30, True, "other.example", "not valid for 'localhost'"),
    ],
)
def test_one_that_telegram_would_not_take_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, is_trusted: bool, name: str, words: str
) -> None:
    with (
        tls_server(tmp_path, monkeypatch, ends_in=timedelta(days=days), is_trusted=is_trusted, name=name) as url,
        pytest.raises(CertificateRefused, match=words),
    ):
        read_certificate_end(url)


@pytest.mark.parametrize("url", ["https://127.0.0.1:9", "https://no-such-name.invalid", "https://"])
def test_where_nobody_answers(url: str) -> None:
    with pytest.raises(CertificateUnread):
        read_certificate_end(url)


def test_a_server_that_says_nothing_does_not_hold_us_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(CertificateUnread):
            read_certificate_end(f"https://127.0.0.1:{listener.getsockname()[1]}", deadline_seconds=0.4)
    assert time.monotonic() - started < 2
