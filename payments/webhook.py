"""Where Telegram sends updates. Plain Django, since every millisecond before a pre-checkout's answer counts."""

import hmac
import json

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt

from esimshop.api import BadRequest, PayloadTooLarge, post_only, refuse
from payments.services.updates import NotAnUpdate, receive_update


@csrf_exempt
@post_only
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
        return refuse(403, BadRequest, gettext("The webhook secret is wrong or missing."))
    try:
        body = json.loads(request.body.decode())
        answer = receive_update(body)
    except RequestDataTooBig:
        return refuse(413, PayloadTooLarge)
    except (ValueError, RecursionError, UnreadablePostError, NotAnUpdate):
        return refuse(400, BadRequest, gettext("This is not an update."))
    return JsonResponse(answer) if answer else HttpResponse(status=200, content_type="text/plain")
