"""Settings in which `manage.py lintmigrations` is there: a tool of development, unknown to a shop.

What it refuses, and which migrations are older than any shop, is in pyproject.toml.
"""

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "django_migration_linter"]  # noqa: F405
LOGGING["loggers"]["django_migration_linter"] = {"level": "WARNING"}  # noqa: F405
