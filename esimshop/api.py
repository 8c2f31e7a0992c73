"""What every JSON endpoint of the shop has in common: errors, bodies, pages and the two kinds of view.

An error is `{"code": <one of the contract's codes>, "detail": <a sentence in the customer's language>}`.
Services raise exceptions of their own; a view turns each into one of the classes below.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Any, NoReturn, cast

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import translation
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext_lazy as _
from django.views.defaults import bad_request, page_not_found
from rest_framework import status
from rest_framework.exceptions import APIException, NotAuthenticated, NotFound, ParseError
from rest_framework.exceptions import PermissionDenied as Forbidden
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from esimshop.init_data import InitDataAuthentication, TelegramUser


class ApiError(APIException):
    """An answer of 4xx or 503 with a code of the contract.

    detail:      replaces the class's sentence.
    retry_after: seconds, sent as `Retry-After`.
    extra:       more fields of the answer, for example today's `amount_stars`.
    """

    status_code: int = status.HTTP_400_BAD_REQUEST
    default_code = "bad_request"
    default_detail = _("The shop could not understand this request.")

    def __init__(self, detail: Any = None, *, retry_after: float | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.wait = retry_after
        self.extra = extra


class BadRequest(ApiError):
    """400: the body, a field or a query parameter makes no sense."""


class InitDataInvalid(ApiError):
    """401: not opened from Telegram, or the signature is wrong."""

    status_code = status.HTTP_401_UNAUTHORIZED
    default_code = "init_data_invalid"
    default_detail = _("Please open the shop from Telegram.")


class InitDataStale(ApiError):
    """401: opened too long ago."""

    status_code = status.HTTP_401_UNAUTHORIZED
    default_code = "init_data_stale"
    default_detail = _("The shop has been open for too long. Please close it and open it again.")


class PlanNotFound(ApiError):
    """404: unknown, or not on sale."""

    status_code = status.HTTP_404_NOT_FOUND
    default_code = "plan_not_found"
    default_detail = _("This plan is not on sale. Please choose another one.")


class OrderNotFound(ApiError):
    """404: unknown, or somebody else's."""

    status_code = status.HTTP_404_NOT_FOUND
    default_code = "order_not_found"
    default_detail = _("There is no such order.")


class EsimNotFound(ApiError):
    """404: unknown, or somebody else's."""

    status_code = status.HTTP_404_NOT_FOUND
    default_code = "esim_not_found"
    default_detail = _("There is no such eSIM.")


class SalesPaused(ApiError):
    """409: the pricing policy has the sales switched off."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "sales_paused"
    default_detail = _("Sales are paused for a while. Please try again later.")


class PriceChanged(ApiError):
    """409: the price is no longer the `expected_stars` of the customer; give today's as `amount_stars`."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "price_changed"
    default_detail = _("The price has changed. Please look at the new price and pay again.")


class IdempotencyKeyReused(ApiError):
    """409: the key came before with another body."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "idempotency_key_reused"
    default_detail = _("This purchase was already started with other data. Please start a new one.")


class StillOnTheWay(ApiError):
    """409: the customer's data are not deleted while an order, Stars or a decision about them are on their way."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "still_on_the_way"
    default_detail = _(
        "An eSIM, Stars or an answer about them are still on their way to you. Once they have arrived, your data can "
        "be deleted."
    )


class PayloadTooLarge(ApiError):
    """413: the body is over DATA_UPLOAD_MAX_MEMORY_SIZE."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "payload_too_large"
    default_detail = _("The request is too large.")


class RateLimited(ApiError):
    """429: too often; give `retry_after`."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "rate_limited"
    default_detail = _("Too many requests. Please wait a little and try again.")


class TelegramUnreachable(ApiError):
    """503: Telegram gave no invoice link, or too many wait for one; the same call later goes on."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "telegram_unreachable"
    default_detail = _("Telegram does not answer at the moment. Nothing was charged. Please try again.")


ERRORS: dict[str, type[ApiError]] = {
    error.default_code: error
    for error in (
        BadRequest,
        InitDataInvalid,
        InitDataStale,
        PlanNotFound,
        OrderNotFound,
        EsimNotFound,
        SalesPaused,
        PriceChanged,
        IdempotencyKeyReused,
        StillOnTheWay,
        PayloadTooLarge,
        RateLimited,
        TelegramUnreachable,
    )
}
_BY_STATUS: dict[int, type[ApiError]] = {
    error.status_code: error for error in (InitDataInvalid, PayloadTooLarge, RateLimited)
}


def answer_error(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn an exception of a view into the JSON of the contract; None (a 500) for what nobody foresaw."""
    if isinstance(error, RequestDataTooBig):
        error = PayloadTooLarge()
    elif isinstance(error, UnreadablePostError):
        # Whoever sent the body hung up half way.
        error = BadRequest()
    elif isinstance(error, Http404):
        error = NotFound()
    elif isinstance(error, PermissionDenied):
        error = Forbidden()
    if not isinstance(error, APIException):
        return None

    code = error.get_codes()
    detail: Any = error.detail
    if not isinstance(error, ApiError):
        # The framework's own errors: some carry a code of the contract, the rest get one by their status.
        known = ERRORS.get(code) if isinstance(code, str) else None
        ours = known or _BY_STATUS.get(error.status_code, BadRequest)
        code = ours.default_code
        if ours is not BadRequest:
            detail = ours.default_detail
    headers = {"Cache-Control": "no-store"}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, -int(-wait // 1)))
    body = {"code": code, "detail": _first_sentence(detail), **getattr(error, "extra", {})}
    return Response(body, status=error.status_code, headers=headers)


def _first_sentence(detail: Any) -> str:
    """The first message of a serializer's nested errors, with the field that it is about."""
    if isinstance(detail, dict):
        field, inner = next(iter(detail.items()))
        sentence = _first_sentence(inner)
        return sentence if field == "non_field_errors" else f"{field}: {sentence}"
    if isinstance(detail, list):
        return _first_sentence(detail[0])
    return str(detail)


class StrictJSONParser(JSONParser):
    """JSON in UTF-8 whose top is an object; anything else is 400, never a 500."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:
        try:
            data = json.loads(stream.read().decode(), parse_constant=_refuse_constant)
            # A lone surrogate parses but can be neither stored nor sent back.
            json.dumps(data, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise ParseError(BadRequest.default_detail) from None
        if not isinstance(data, dict):
            raise ParseError(BadRequest.default_detail)
        return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Page(PageNumberPagination):
    """`?page=` from 1 and `?page_size=` of at most 100; a page that does not exist is 400."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 100
    last_page_strings = ()

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        try:
            return super().paginate_queryset(queryset, request, view) or []
        except NotFound:
            raise BadRequest(_("There is no such page.")) from None

    def get_page_size(self, request: Request) -> int:
        try:
            size = int(request.query_params.get("page_size") or self.page_size)
        except ValueError:
            size = 0
        if size < 1:
            raise BadRequest(_("page_size must be a number from 1 to 100."))
        return min(size, self.max_page_size)


class PublicView(APIView):
    """Open to everyone; the language is that of `Accept-Language`."""

    parser_classes = [StrictJSONParser]


class CacheableView(PublicView):
    """The same for everybody who speaks the language: kept by browsers, and asked again by its ETag."""

    max_age_seconds = 300

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code == status.HTTP_200_OK:
            content = json.dumps(response.data, ensure_ascii=False, default=str)
            etag = f'"{sha256(content.encode()).hexdigest()[:32]}"'
            condition = get_conditional_response(request._request, etag=etag)
            if condition is not None and condition.status_code == status.HTTP_304_NOT_MODIFIED:
                response.status_code, response.data = condition.status_code, None
            response["ETag"] = etag
            response["Cache-Control"] = f"public, max-age={self.max_age_seconds}"
        return response


class PrivateView(PublicView):
    """For the customer whose initData comes along: `request.user` is a TelegramUser, whose language is spoken."""

    authentication_classes = [InitDataAuthentication]

    @property
    def telegram_user(self) -> TelegramUser:
        """Whose initData came along."""
        return cast(TelegramUser, self.request.user)

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        user = cast("TelegramUser | None", request.user)
        if user is None:
            raise NotAuthenticated
        translation.activate(user.language)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response


def refuse(
    status: int, error: type[ApiError], detail: Any = None, *, headers: dict[str, str] | None = None
) -> JsonResponse:
    """The same error from a plain Django view, in a sentence of its own."""
    body = {"code": error.default_code, "detail": str(detail or error.default_detail)}
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store", **(headers or {})})


def post_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """405 for every other method, for plain Django views below /api/."""

    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return refuse(405, BadRequest, _("Only POST is answered here."), headers={"Allow": "POST"})
        return view(request)

    return answer


def answer_unknown_path(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: JSON below /api/, Django's page elsewhere."""
    if not request.path_info.startswith("/api/"):
        return page_not_found(request, exception)
    return refuse(404, BadRequest, _("There is no such address."))


def answer_bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 for what reaches no view, such as a host that is not ours: JSON below /api/, Django's page elsewhere."""
    if not request.path_info.startswith("/api/"):
        return bad_request(request, exception)
    return refuse(400, BadRequest)
