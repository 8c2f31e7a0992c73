"""The project's settings in an environment of the tests' own: no `.env` of this machine changes a result."""

import os

os.environ["READ_DOT_ENV"] = "off"
os.environ["DEBUG"] = "on"
os.environ["TELEGRAM_BOT_TOKEN"] = "424242:sandbox-token"
os.environ["TELEGRAM_WEBHOOK_SECRET"] = "webhook-secret-of-the-tests"
os.environ["ESIMGO_API_KEY"] = "sandbox-key"
# Nothing listens there: a test that means the sandbox points these at its own.
os.environ["TELEGRAM_API_BASE_URL"] = "http://127.0.0.1:9/bot"
os.environ["ESIMGO_BASE_URL"] = "http://127.0.0.1:9/esimgo/v2.5"
os.environ["PUBLIC_URL"] = "http://127.0.0.1:8000"
# Playwright's own event loop runs beside the test, which may still use the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "on"
for _name in ("SECRET_KEY", "DATA_KEYS", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SENTRY_DSN", "ALERT_CHAT_ID"):
    os.environ.pop(_name, None)

from esimshop.settings import *  # noqa: E402, F403

# The server of a live test keeps no connection open at the end of the run, when the database is dropped.
DATABASES["default"]["CONN_MAX_AGE"] = 0  # noqa: F405

# Logins in tests need speed, not strength.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A test sees what it has just changed.
CATALOGUE_VERSION_SECONDS = 0
