"""The page of the Mini App."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from esimshop.languages import LANGUAGES, language_of


@require_safe
@vary_on_headers("Accept-Language")
@xframe_options_exempt
def mini_app(request: HttpRequest) -> HttpResponse:
    """The shell of the Mini App; its modules fill it from the API. Telegram's web clients frame it (see the CSP)."""
    context = {
        "telegram_web_app_js_url": settings.TELEGRAM_WEB_APP_JS_URL,
        "language": language_of(get_language()),
        "LANGUAGES": LANGUAGES,
    }
    return render(request, "miniapp/index.html", context)
