"""The catalogue said once per version: 304 to who has it, from memory to who asked for the same."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils import translation
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import get_language_from_request

from catalog.versions import catalogue_version
from esimshop.api import RateLimited, refuse
from esimshop.languages import language_of
from esimshop.rate_limits import count_use_of_address

PATHS = ("/api/areas", "/api/plans", "/api/currencies")
MAX_AGE_SECONDS = 60
#: Of one address, behind which may be a whole mobile network; what others asked before is not counted.
MISSES_PER_MINUTE = 600
_compress = GZipMiddleware(lambda request: HttpResponse())


class CatalogueCacheMiddleware:
    """Answers what it answered before, ahead of the middleware that only pages with a person behind them need."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in {"GET", "HEAD"} or not request.path_info.startswith(PATHS):
            return self.get_response(request)
        # Weak: the same answer may be compressed or not.
        language = language_of(get_language_from_request(request))
        etag = f'W/"{catalogue_version()}-{language}"'
        compressed = "gzip" if "gzip" in request.headers.get("Accept-Encoding", "") else ""
        asked = f"{etag} {request.headers.get('Accept')} {compressed} {request.build_absolute_uri()}"
        key = f"catalogue:{sha256(asked.encode()).hexdigest()}"
        response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
        if response is None or response.status_code != 304:
            # A condition for changing something (If-Match) means nothing here.
            response = self._remembered(key) or self._answer(request, key)
        if response.status_code in {200, 304}:
            response["ETag"] = etag
            response["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
            # What is said from memory passes no view that would say it.
            response["Content-Language"] = language
        patch_vary_headers(response, ["Accept-Language", "Accept-Encoding"])
        return response

    def _remembered(self, key: str) -> HttpResponse | None:
        remembered = cache.get(key)
        if remembered is None:
            return None
        content, headers = remembered
        return HttpResponse(content, content_type="application/json", headers=headers)

    def _answer(self, request: HttpRequest, key: str) -> HttpResponseBase:
        if wait := count_use_of_address(request, name="catalogue", limit=MISSES_PER_MINUTE, seconds=60):
            with translation.override(language_of(get_language_from_request(request))):
                return refuse(429, RateLimited, headers={"Retry-After": str(wait)})
        response = self.get_response(request)
        if isinstance(response, HttpResponse) and response.status_code == 200 and request.method == "GET":
            # Everybody gets the same answer: its size tells nothing.
            _compress.process_response(request, response)
            encoding = response.get("Content-Encoding")
            cache.set(key, (response.content, {"Content-Encoding": encoding} if encoding else {}))
        return response
