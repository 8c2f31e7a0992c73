"""Where a request comes from, as far as that can be believed."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def address_of(request: HttpRequest) -> str | None:
    """The caller's IP address: whoever opened the connection, or, where that is a proxy of ours, its last word.

    A proxy appends the address that it sees to X-Forwarded-For, so that all but the last entry is what the caller
    claims. Ours are those in TRUSTED_PROXIES. None for what is no address (a connection by a socket file whose proxy
    says nothing).
    """
    peer = request.META.get("REMOTE_ADDR", "")
    if not peer or peer in settings.TRUSTED_PROXIES:
        said = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        return _as_address(said) or _as_address(peer)
    return _as_address(peer)


def _as_address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # One and the same caller on a socket that takes both kinds.
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
