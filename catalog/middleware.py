"""The catalogue said once per version: 304 to who has it, from memory to who asked for the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import get_language_from_request

from esimshop.languages import language_of

PATHS = ("/api/areas", "/api/plans", "/api/currencies")
MAX_AGE_SECONDS = 60


class CatalogueCacheMiddleware:
    """Answers what it answered before, ahead of the middleware that only pages with a person behind them need."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._version = ""
        self._asked_at = float("-inf")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in {"GET", "HEAD"} or not request.path_info.startswith(PATHS):
            return self.get_response(request)
        etag = f'"{self._catalogue_version()}-{language_of(get_language_from_request(request))}"'
        asked = f"{etag} {request.headers.get('Accept')} {request.build_absolute_uri()}"
        key = f"catalogue:{sha256(asked.encode()).hexdigest()}"
        response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
        if response is None:
            response = self._remembered(key) or self._answer(request, key)
        if response.status_code in {200, 304}:
            response["ETag"] = etag
            response["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
        patch_vary_headers(response, ["Accept-Language"])
        return response

    def _remembered(self, key: str) -> HttpResponse | None:
        content = cache.get(key)
        return None if content is None else HttpResponse(content, content_type="application/json")

    def _answer(self, request: HttpRequest, key: str) -> HttpResponseBase:
        response = self.get_response(request)
        if isinstance(response, HttpResponse) and response.status_code == 200 and request.method == "GET":
            cache.set(key, response.content)
        return response

    def _catalogue_version(self) -> str:
        """Another one after each change of what is told here; looked up at most every CATALOGUE_VERSION_SECONDS."""
        now = time.monotonic()
        if now - self._asked_at >= settings.CATALOGUE_VERSION_SECONDS:
            with connection.cursor() as cursor:
                cursor.execute("SELECT version FROM catalog_catalogueversion")
                (version,) = cursor.fetchone() or ("none",)
            self._version, self._asked_at = str(version), now
        return self._version
