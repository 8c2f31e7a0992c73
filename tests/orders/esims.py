"""eSIMs in use: bought at the sandbox, used on a phone, and called back about."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.test import Client
from django.utils import timezone

from orders.models import Esim
from orders.services.fulfilment import provision_order
from orders.services.usage import read_usage
from tests.orders.conftest import paid_order

if TYPE_CHECKING:
    from catalog.models import Plan
    from tests.outside import Json, SandboxControl

GB = 1_000_000_000
CALLBACK = "/api/esimgo/callback"


def bought_esim(sandbox: SandboxControl, plan: Plan, **order: Any) -> Esim:
    """An eSIM that a customer just bought."""
    paid = paid_order(sandbox, plan=plan, **order)
    provision_order(str(paid.pk))
    return Esim.objects.get(order=paid)


def use(sandbox: SandboxControl, esim: Esim, **changes: Any) -> None:
    """What happens at the customer's phone: remaining_mb, bundle_state, profile_status, state."""
    sandbox.post(f"/sandbox/esims/{esim.iccid}", changes)


def read(esim: Esim) -> Esim:
    """The eSIM after the worker has asked about it."""
    Esim.objects.filter(pk=esim.pk).update(usage_due_at=timezone.now())
    read_usage(esim.pk)
    esim.refresh_from_db()
    return esim


def bundle_body(esim: Esim, *, kind: str = "Utilisation", **changes: Any) -> Json:
    """A callback about the newest bundle of an eSIM: 200 MB of 1 GB left, for three and a half more days."""
    now = timezone.now()
    told = {
        "id": "41000001",
        "reference": f"{esim.order.attempts.get(status='placed').reference}-0",
        "name": esim.order.plan.bundle_name,
        "description": "eSIM, 1GB, 7 Days, France, V2",
        "initialQuantity": GB,
        "remainingQuantity": GB // 5,
        "startTime": (now - timedelta(days=3, hours=12)).isoformat(),
        "endTime": (now + timedelta(days=3, hours=12)).isoformat(),
        "unlimited": False,
        **changes,
    }
    return {"iccid": esim.iccid, "alertType": kind, "bundle": told}


def sign(content: bytes, *, key: str | None = None, form: str = "base64") -> str:
    digest = hmac.new((key or settings.ESIMGO_API_KEY).encode(), content, hashlib.sha256).digest()
    return base64.b64encode(digest).decode() if form == "base64" else digest.hex()


def call_back(body: Any, *, signature: str | None = None, **signing: Any) -> Any:
    """Post a callback as eSIM Go does. body: JSON, or the very bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"X-Signature-SHA256": sign(content, **signing) if signature is None else signature}
    return Client(raise_request_exception=False).post(
        CALLBACK, content, content_type="application/json", headers=headers
    )
