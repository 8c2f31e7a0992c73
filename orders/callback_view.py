"""Where eSIM Go calls back. Plain Django: the signature is over the raw bytes, which nothing may have read before."""

import json

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt

from esimshop.api import BadRequest, PayloadTooLarge, post_only, refuse
from esimshop.clients.esimgo import is_signed
from orders.services.callbacks import NotACallback, note_refusal, receive_callback

log = structlog.get_logger(__name__)


@csrf_exempt
@post_only
def esimgo_callback(request: HttpRequest) -> HttpResponse:
    """Keep and handle one callback (version 3).

    Answers: 200 once it is kept; 403 for a wrong or missing signature; 400 for what is no callback; 413 over 1 MiB.
    Source: https://docs.esim-go.com/guides/webhooks/
    """
    try:
        content = request.body
    except RequestDataTooBig:
        return refuse(413, PayloadTooLarge)
    except UnreadablePostError:
        return refuse(400, BadRequest, gettext("This is not a callback."))
    api_keys = (settings.ESIMGO_API_KEY, settings.ESIMGO_API_KEY_OLD)
    signature = request.headers.get("X-Signature-SHA256", "")
    if not is_signed(content, signature, api_keys=api_keys):
        # Version 2 is not signed: whoever left it chosen in the portal is told by `doctor` why nothing comes.
        has_signature = bool(signature.strip())
        log.warning("callback_not_signed", has_signature=has_signature)
        note_refusal(content, has_signature=has_signature)
        return refuse(403, BadRequest, gettext("The callback's signature is wrong or missing."))
    try:
        # Amounts with a point stay texts: nothing is rounded.
        receive_callback(content, json.loads(content.decode(), parse_float=str))
    except (ValueError, RecursionError, NotACallback):
        return refuse(400, BadRequest, gettext("This is not a callback."))
    return HttpResponse(status=200, content_type="text/plain")
