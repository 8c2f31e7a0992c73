"""The page of the Mini App: its start view with everything to choose from, and the words of all views."""

from __future__ import annotations

from hashlib import sha256

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.cache import get_conditional_response
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from catalog.start_page import start_page
from catalog.titles import spoken_language
from catalog.versions import catalogue_version
from esimshop.languages import Language
from esimshop.mini_app_texts import mini_app_texts
from payments.models import ServicePolicy
from payments.services.bot_set_up import bot_username


@require_safe
@gzip_page  # the same page for everybody, so that its size tells nothing
@vary_on_headers("Accept-Language")
@xframe_options_exempt
def mini_app(request: HttpRequest) -> HttpResponseBase:
    """Readable before any script runs. Telegram's web clients frame it (see the content security policy)."""
    content = _page(spoken_language())
    # Of what it says, and so of the catalogue, the words, the policy and the release alike.
    etag = f'"{sha256(content.encode()).hexdigest()[:32]}"'
    response = get_conditional_response(request, etag=etag) or HttpResponse(content)
    response["ETag"] = etag
    response["Cache-Control"] = "no-cache"
    return response


def _page(language: Language) -> str:
    """The page, made anew once the catalogue, the policy or the bot has changed."""
    policy = ServicePolicy.in_force()
    bot = bot_username()
    key = f"mini-app:{catalogue_version()}:{policy.pk}:{bot}:{language}"
    # A developer's change of a template shows at once.
    content: str | None = None if settings.DEBUG else cache.get(key)
    if content is None:
        content = render_to_string(
            "miniapp/index.html",
            {
                "telegram_web_app_js_url": settings.TELEGRAM_WEB_APP_JS_URL,
                "language": language,
                "bot_username": bot,
                "texts": mini_app_texts(language),
                "promise_minutes": policy.promise_minutes,
                "start": start_page(language),
            },
        )
        cache.set(key, content)
    return content
