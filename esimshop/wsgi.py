"""The WSGI application, which refuses to start half configured."""

import gc
import os

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "esimshop.settings")
application = get_wsgi_application()

# Management commands run the checks by themselves; an application server does not.
_faults = [found for found in checks.run_checks() if found.is_serious() and not found.is_silenced()]
if _faults:
    raise ImproperlyConfigured("\n".join(["The project is not ready to start:", *map(str, _faults)]))

# What is loaded by now stays: the garbage collector need not look at it again and again while it serves.
gc.collect()
gc.freeze()
