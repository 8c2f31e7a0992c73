"""What eSIM Go calls back about: data used, the first use, an eSIM deleted, our balance.

They promise neither that a callback comes, nor that it comes once or in order, so each is only a hint that comes early:
its figures are taken where they use data up, and the truth is read soon afterwards.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from catalog.tasks import refresh_account_task
from esimshop.clients.esimgo import Callback, read_callback
from esimshop.stored_json import storable
from esimshop.tasks import defer_once
from orders.models import Esim, RefusedCallback, WholesalerCallback
from orders.services.usage import have_usage_read, note_told_bundle, owe_notices

log = structlog.get_logger(__name__)

ABOUT_OUR_BALANCE = frozenset({"LowBalance", "InsufficientBalance", "Topup"})


class NotACallback(Exception):
    """The body is JSON, but names no alert and no event."""


def receive_callback(content: bytes, body: Any) -> None:
    """Keep a callback whose signature was right, and do what it asks for; one that came before changes nothing.

    content: the very bytes that were signed. body: the same, decoded.
    Raises:  NotACallback; database errors, after which nothing is kept.
    """
    if not isinstance(body, dict):
        raise NotACallback
    body = storable(body)
    try:
        callback = read_callback(body)
    except ValueError:
        raise NotACallback from None
    digest = hashlib.sha256(content).hexdigest()
    try:
        with transaction.atomic():
            _keep_and_handle(callback, digest, body)
    except IntegrityError:
        if not WholesalerCallback.objects.filter(digest=digest).exists():
            raise
        log.info("callback_repeated", kind=callback.kind)


def note_refusal(content: bytes, *, has_signature: bool) -> None:
    """Count a callback whose signature is missing or wrong, if it names an eSIM of ours; nothing of it is kept.

    Only eSIM Go and the eSIM's owner know the number, so a stranger can neither fill the table nor cause a finding.
    """
    try:
        body = json.loads(content.decode(), parse_float=str)
    except (ValueError, RecursionError):
        return
    iccid = str(body.get("iccid", "")) if isinstance(body, dict) else ""
    if not re.fullmatch(r"[0-9]{10,22}", iccid) or not Esim.objects.filter(iccid=iccid).exists():
        return
    reason = RefusedCallback.Reason.WRONG_SIGNATURE if has_signature else RefusedCallback.Reason.UNSIGNED
    RefusedCallback.objects.get_or_create(reason=reason)
    RefusedCallback.objects.filter(reason=reason).update(count=F("count") + 1, last_at=timezone.now())


def _keep_and_handle(callback: Callback, digest: str, body: dict[str, Any]) -> None:
    esim = None
    if callback.iccid:
        esim = (
            Esim.objects.select_for_update(of=("self",))
            .select_related("customer", "order")
            .filter(iccid=callback.iccid)
            .first()
        )
    WholesalerCallback.objects.create(digest=digest, kind=callback.kind, esim=esim, body=body)
    if callback.kind in ABOUT_OUR_BALANCE:
        defer_once(refresh_account_task)
    if esim is None:
        return
    if callback.kind == "esim.deleted":
        Esim.objects.filter(pk=esim.pk).update(is_deleted=True, usage_due_at=None, usage_read_at=timezone.now())
        return
    if callback.bundle is not None:
        note_told_bundle(esim, callback.bundle)
        owe_notices(esim)
    have_usage_read(esim)
