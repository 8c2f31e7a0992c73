"""Whether the catalogue is still the one that something was made from."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import connection

_version, _asked_at = "", float("-inf")


def catalogue_version() -> str:
    """Another one after each change of what the API tells of it; looked up at most every CATALOGUE_VERSION_SECONDS."""
    global _version, _asked_at
    now = time.monotonic()
    if now - _asked_at >= settings.CATALOGUE_VERSION_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute("SELECT version FROM catalog_catalogueversion")
            (version,) = cursor.fetchone() or ("none",)
        _version, _asked_at = str(version), now
    return _version
