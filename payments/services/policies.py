"""Changing what the shop promises and allows."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.forms.models import model_to_dict

from payments.models import ServicePolicy


def set_service_policy(*, by: User | None, reason: str, **changes: Any) -> ServicePolicy:
    """Put a policy into force that differs from today's by `changes`. Orders keep the times they were promised.

    changes: fields of ServicePolicy, for example `promise_minutes=20`.
    Returns: the new row; the one before stays.
    Raises:  ValidationError (a value that makes no sense), TypeError (no such field).
    """
    with transaction.atomic():
        policy = ServicePolicy(**{**model_to_dict(ServicePolicy.in_force()), **changes})
        policy.pk, policy.created_by, policy.reason = None, by, reason
        policy.full_clean()
        policy.save()
    return policy
