"""Until when the certificate of an address is good: a TLS handshake that trusts whom this machine trusts."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from esimshop.clients.calls import OutsideCallError, recorded_call


class CertificateError(OutsideCallError):
    """No certificate was read."""


class CertificateRefused(CertificateError):
    """The certificate is over, for another name, or of nobody who is trusted; Telegram would refuse it as well."""

    outcome = "rejected"


class CertificateUnread(CertificateError):
    """Nobody answered there, or not in TLS."""

    outcome = "unreachable"


def read_certificate_end(url: str, *, deadline_seconds: float = 10.0) -> datetime:
    """When the certificate of an https address ends.

    Connecting to each of its addresses, and the handshake, have half of deadline_seconds each.
    Raises: CertificateRefused, CertificateUnread.
    """
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 443
    context = ssl.create_default_context()
    with recorded_call("public_url", "read_certificate"):
        try:
            with (
                socket.create_connection((host, port), timeout=deadline_seconds / 2) as plain,
                context.wrap_socket(plain, server_hostname=host) as encrypted,
            ):
                certificate = encrypted.getpeercert() or {}
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(error.verify_message) from None
        # ValueError: a name that no certificate can have.
        except (OSError, ValueError) as error:
            raise CertificateUnread(f"{host}:{port}: {error}") from None
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), tz=UTC)
