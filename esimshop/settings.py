"""Settings, read from the environment (every name is in `.env.example`) and from a `.env` file beside manage.py."""

import logging
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy

from esimshop.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
if env.bool("READ_DOT_ENV", default=True):
    env.read_env(BASE_DIR / ".env")

# Core. In production (DEBUG off) nothing here has a default.

DEBUG = env.bool("DEBUG", default=False)
# The checks of esimshop/checks.py ask for the rest, and for sense; without these there are no settings to check.
_INDISPENSABLE = ("SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DATABASE_URL")
_REQUIRED = (*_INDISPENSABLE, "DATA_KEYS", "TELEGRAM_BOT_TOKEN", "TELEGRAM_WEBHOOK_SECRET", "ESIMGO_API_KEY")
if not DEBUG and not all(env.str(name, default="") for name in _INDISPENSABLE):
    _missing = ", ".join(name for name in _REQUIRED if not env.str(name, default=""))
    raise ImproperlyConfigured(
        f"The project is not ready to start. Without DEBUG it is in production, and needs {_missing}: see .env.example."
    )
SECRET_KEY = env.str("SECRET_KEY", default="development-only") if DEBUG else env.str("SECRET_KEY")
# Keys before this one, which still verify: see docs/security.md.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000").rstrip("/")
_public = urlsplit(PUBLIC_URL)
IS_LOOPBACK = _public.hostname in {"127.0.0.1", "localhost", "::1"}
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"] if DEBUG else environ.Env.NOTSET)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[PUBLIC_URL] if DEBUG else environ.Env.NOTSET)

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "esimshop.apps.BackOfficeConfig",  # django.contrib.admin, with our site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "procrastinate.contrib.django",
    "rest_framework",
    "drf_spectacular",
    "django_structlog",
    "django_prometheus",
    "csp",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    # Ours last: their admin pages may replace those above.
    "esimshop",
    "catalog",
    "orders",
    "payments",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "esimshop.content_security.ContentSecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "catalog.middleware.CatalogueCacheMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "esimshop.time_zones.TimeZoneMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Both wait until somebody asks for the user: no query on pages that know none.
    "django_otp.middleware.OTPMiddleware",
    "axes.middleware.AxesMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "esimshop.urls"
WSGI_APPLICATION = "esimshop.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Database: PostgreSQL everywhere. See docs/decisions/0001-embedded-postgresql.md.

if env.str("DATABASE_URL", default=""):
    DATABASES = {"default": env.db_url("DATABASE_URL")}
else:
    DATABASES = {"default": {"ENGINE": "esimshop.embedded_postgres", "NAME": "esimshop"}}
DATABASES["default"] |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
# Lets esimshop.prepared prepare its statements; Django's own cursors never do.
DATABASES["default"].setdefault("OPTIONS", {}).setdefault("prepare_threshold", 5)
EMBEDDED_POSTGRES_DIR = BASE_DIR / "var" / "postgres"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# How old, in seconds, the knowledge may be that the catalogue has not changed.
CATALOGUE_VERSION_SECONDS = 0.25

# What the encrypted fields are encrypted with, see esimshop/encrypted_fields.py: the first key encrypts, all decrypt.

DEVELOPMENT_DATA_KEY = "development-development-development-develop="
DATA_KEYS = [key.strip() for key in env.list("DATA_KEYS", default=[])] or [DEVELOPMENT_DATA_KEY] * DEBUG

# Tasks: see orders/tasks.py and payments/tasks.py for what runs.

PROCRASTINATE_ON_APP_READY = "esimshop.prepared.use_prepared_statements"
PROCRASTINATE_WORKER_DEFAULTS = {
    "fetch_job_polling_interval": 1.0,
    "shutdown_graceful_timeout": 20.0,
    "delete_jobs": "successful",
}

# Telegram

TELEGRAM_BOT_TOKEN = env.str("TELEGRAM_BOT_TOKEN", default="")
TELEGRAM_API_BASE_URL = env.str("TELEGRAM_API_BASE_URL", default="https://api.telegram.org/bot")
TELEGRAM_WEBHOOK_SECRET = env.str("TELEGRAM_WEBHOOK_SECRET", default="")
TELEGRAM_WEB_APP_JS_URL = env.str("TELEGRAM_WEB_APP_JS_URL", default="https://telegram.org/js/telegram-web-app.js")
INIT_DATA_MAX_AGE = env.int("INIT_DATA_MAX_AGE", default=86400)

# eSIM Go

ESIMGO_API_KEY = env.str("ESIMGO_API_KEY", default="")
ESIMGO_API_KEY_OLD = env.str("ESIMGO_API_KEY_OLD", default="")
ESIMGO_BASE_URL = env.str("ESIMGO_BASE_URL", default="https://api.esim-go.com/v2.5").rstrip("/")
ESIMGO_TIMEOUT = env.int("ESIMGO_TIMEOUT", default=30)
ESIMGO_ORDER_INTERVAL = env.float("ESIMGO_ORDER_INTERVAL", default=0)
# How long after its deadline a purchase whose outcome is not known may still appear at eSIM Go.
ESIMGO_LOOK_UP_MINUTES = 10

# Operators

ALERT_CHAT_ID = env.str("ALERT_CHAT_ID", default="")
SENTRY_DSN = env.str("SENTRY_DSN", default="")
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# HTTP

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # 1 MiB: the largest body that any endpoint reads
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = not DEBUG and not IS_LOOPBACK
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 86400 if SECURE_SSL_REDIRECT else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_SSL_REDIRECT
SECURE_HSTS_PRELOAD = SECURE_SSL_REDIRECT
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
# W002 asks for X-Frame-Options: Telegram's web clients must frame the Mini App, so frame-ancestors says who may.
SILENCED_SYSTEM_CHECKS = ["security.W002"]
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PAGINATION_CLASS": "esimshop.api.Page",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "esimshop.api.answer_error",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "esimshop",
    "DESCRIPTION": "eSIM data plans, sold inside a Telegram Mini App for Telegram Stars.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    # Fields of one name with other words: else their enumerations get numbers for names.
    "ENUM_NAME_OVERRIDES": {
        "LanguageEnum": "esimshop.languages.LANGUAGES",
        "AreaKindEnum": "catalog.models.Area.Kind",
        "BundleStateEnum": "orders.models.EsimBundle.State",
        "EsimStateEnum": "orders.serializers.ESIM_STATES",
        "HistoryKindEnum": "orders.serializers.HISTORY_KINDS",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "esimshop.openapi.describe_errors",
    ],
}

# What the pages may load. The Mini App needs Telegram's script and to be framed by Telegram's web clients.

_script = urlsplit(TELEGRAM_WEB_APP_JS_URL)
_script_origin = f"{_script.scheme}://{_script.netloc}"
TELEGRAM_WEB_ORIGINS = ["https://web.telegram.org", "https://*.web.telegram.org"]
SANDBOX_ORIGINS = [_script_origin] if _script.hostname in {"127.0.0.1", "localhost"} else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'", TELEGRAM_WEB_APP_JS_URL],
        # The hash is that of nothing: Telegram's script adds a style element of its own, empty.
        "style-src": ["'self'", "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"],
        "img-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "font-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": [*TELEGRAM_WEB_ORIGINS, *SANDBOX_ORIGINS],
    },
}

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "django.contrib.staticfiles.storage.StaticFilesStorage"
            if DEBUG
            else "esimshop.static_files.ModuleManifestStorage"
        )
    },
}

# Staff login: see esimshop/staff_login.py and esimshop/second_factor.py.

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# A working day. Lax, because alerts link to pages of the back office.
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# Whose X-Forwarded-For is believed; gunicorn's own name for the same.
TRUSTED_PROXIES = frozenset(env.list("FORWARDED_ALLOW_IPS", default=["127.0.0.1", "::1"]))
AXES_CLIENT_IP_CALLABLE = "esimshop.addresses.address_of"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
# Who goes on trying does not make the lock longer for whoever has the password.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "esimshop.staff_login.answer_locked"
AXES_ENABLE_ADMIN = False  # esimshop/admin.py shows its rows
AXES_VERBOSE = False
OTP_TOTP_ISSUER = "esimshop"
STAFF_SECOND_FACTOR = env.str("STAFF_SECOND_FACTOR", default="optional" if DEBUG else "required")
if STAFF_SECOND_FACTOR not in {"required", "optional"}:
    raise ImproperlyConfigured("STAFF_SECOND_FACTOR is required or optional.")
STAFF_SECOND_FACTOR_REQUIRED = STAFF_SECOND_FACTOR == "required"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Languages and time

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ru", "Русский")]
LOCALE_PATHS = [BASE_DIR / "esimshop" / "locale"]
FORMAT_MODULE_PATH = ["esimshop.formats"]
TIME_ZONE = "UTC"
USE_TZ = True

# Logs and metrics

LOGGING = logging_config(debug=DEBUG)
# One line a request, when it ends, and no address in it: fast, and nothing personal.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# Who it was would be read from the session at every request; what staff did is in the rows' own events.
DJANGO_STRUCTLOG_USER_ID_FIELD = None
PROMETHEUS_EXPORT_MIGRATIONS = False

if SENTRY_DSN:
    from esimshop.sentry import start_sentry

    start_sentry(SENTRY_DSN)

UNFOLD = {
    "SITE_TITLE": "esimshop",
    "SITE_HEADER": "esimshop",
    "SITE_SUBHEADER": "Back office",
    "SITE_SYMBOL": "sim_card",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("miniapp/icon.svg")}],
    "BORDER_RADIUS": "8px",
    "ACCOUNT": {
        "navigation": [
            {"title": "Second factor", "link": reverse_lazy("admin:second-factor")},
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
        ]
    },
    "DASHBOARD_CALLBACK": "payments.dashboard_page.fill_dashboard",
    "STYLES": [
        lambda request: static("backoffice/desk.css"),
        lambda request: static("backoffice/time_zone.css"),
    ],
    "SCRIPTS": [lambda request: static("backoffice/time_zone.js")],
    "SIDEBAR": {"show_search": False, "navigation": "esimshop.back_office.sidebar"},
}
