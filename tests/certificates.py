"""A TLS server on loopback with a certificate of our own making, as a proxy in front of the shop has one."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def tls_server(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    ends_in: timedelta,
    is_trusted: bool = True,
    name: str = "localhost",
) -> Iterator[str]:
    """Serve handshakes at the address given; this process trusts its authority, or only others."""
    authority, stranger = trustme.CA(), trustme.CA()
    (folder / "authority.pem").write_bytes((authority if is_trusted else stranger).cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    now = datetime.now(UTC)
    certificate = authority.issue_cert(name, not_before=now - timedelta(days=90), not_after=now + ends_in)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_shake_hands, args=(listener, context), daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        # close() alone does not wake who waits in accept().
        listener.shutdown(socket.SHUT_RDWR)


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        try:
            context.wrap_socket(plain, server_side=True).close()
        # Whoever does not trust us hangs up.
        except OSError:
            plain.close()
