"""The backend: Django's own for PostgreSQL, with a server that is there as soon as it is needed."""

import os
import sys
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base
from django.db.utils import OperationalError

from esimshop.embedded_postgres.server import EmbeddedServer, EmbeddedServerError


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL in settings.EMBEDDED_POSTGRES_DIR, started by the first connection of the first process."""

    def get_connection_params(self) -> dict[str, Any]:
        """The parameters of Django's backend, with the address of a running server.

        Raises: ImproperlyConfigured where DEBUG is off, OperationalError where the server cannot be started.
        """
        if not _is_debug():
            raise ImproperlyConfigured(
                "The embedded PostgreSQL is not for production: with DEBUG off, set DATABASE_URL."
            )
        try:
            address = EmbeddedServer.of(settings.EMBEDDED_POSTGRES_DIR).attach()
        except EmbeddedServerError as error:
            raise OperationalError(str(error)) from error
        params: dict[str, Any] = super().get_connection_params()
        return {**params, "host": str(address.socket_folder), "port": address.port, "user": address.user}


def _is_debug() -> bool:
    # Test runners set settings.DEBUG to False; what was configured stays in the settings module.
    module = sys.modules.get(os.environ.get(ENVIRONMENT_VARIABLE, ""))
    return bool(getattr(module, "DEBUG", settings.DEBUG))
