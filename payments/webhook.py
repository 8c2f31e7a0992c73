"""Where Telegram sends updates. Plain Django, since every millisecond before a pre-checkout's answer counts."""

import hmac
import json

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from payments.services.updates import NotAnUpdate, receive_update


@csrf_exempt
@require_POST
def telegram_webhook(request: HttpRequest) -> HttpResponse:
    """Store and handle one update.

    Answers: 200 once it is stored (with a Bot API call in the body where it is a pre-checkout); 403 for a wrong or
    missing secret, looked at before the body; 400 for what is no update; 413 over 1 MiB; 500 where it could not be
    stored, so that Telegram sends it again.
    Source: Bot API setWebhook, "Making requests when getting updates".
    """
    given = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
    expected = settings.TELEGRAM_WEBHOOK_SECRET
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        return _refuse(403, "bad_request", gettext("The webhook secret is wrong or missing."))
    try:
        body = json.loads(request.body.decode())
        answer = receive_update(body)
    except RequestDataTooBig:
        return _refuse(413, "payload_too_large", gettext("The request is too large."))
    except (ValueError, RecursionError, UnreadablePostError, NotAnUpdate):
        return _refuse(400, "bad_request", gettext("This is not an update."))
    return JsonResponse(answer) if answer else HttpResponse(status=200, content_type="text/plain")


def _refuse(status: int, code: str, detail: str) -> JsonResponse:
    return JsonResponse({"code": code, "detail": detail}, status=status)
