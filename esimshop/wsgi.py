"""The WSGI application, which refuses to start half configured."""

import gc
import os
import sys
from typing import NoReturn

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

#: By this exit code gunicorn knows that trying again is of no use.
NOT_READY = 4


def _refuse(why: str) -> NoReturn:
    """End with words for an operator, who has no use for a traceback."""
    sys.stderr.write(f"{why}\n")
    sys.exit(NOT_READY)


def _load() -> WSGIHandler:
    try:
        loaded = get_wsgi_application()
    except ImproperlyConfigured as error:
        _refuse(str(error))
    # Management commands run the checks by themselves; an application server does not.
    faults = [found for found in checks.run_checks() if found.is_serious() and not found.is_silenced()]
    if faults:
        _refuse("\n".join(["The project is not ready to start:", *map(str, faults)]))
    return loaded


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "esimshop.settings")
application = _load()

# What is loaded by now stays: the garbage collector need not look at it again and again while it serves.
gc.collect()
gc.freeze()
