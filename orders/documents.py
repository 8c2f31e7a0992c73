"""An eSIM as its customer sees it over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext

from catalog.models import Plan
from catalog.titles import amount_text, describe_plan
from esimshop.activation_codes import android_install_url, apple_install_url, qr_svg
from esimshop.languages import Language
from orders.models import Esim, EsimBundle, Order
from orders.usage import MB, State, Usage, esim_state, state_of, sum_up


def describe_installation(esim: Esim) -> dict[str, Any]:
    """The eSIM in an order, in the shape of EsimSerializer: for its owner only, it holds the activation code.

    Without queries where `bundles` are loaded.
    """
    usage = _describe_usage(_usage_of(esim))
    return {"iccid": esim.iccid, **_install_data(esim), "installed": esim.was_installed, "usage": usage}


def describe_esim(esim: Esim, language: Language) -> dict[str, Any]:
    """The eSIM in a list, in the shape of OwnEsimSerializer.

    Without queries where `order` and `bundles` with their `order` are loaded.
    """
    usage = _usage_of(esim)
    return {
        "iccid": esim.iccid,
        "order_id": str(esim.order_id),
        "plan": esim.order.bought_plan[language],
        "state": esim_state(esim, usage),
        "installed": esim.was_installed,
        "usage": _describe_usage(usage),
        "bundles": [_describe_bundle(bundle, esim, language) for bundle in esim.bundles.all()],
        "updated_at": rfc3339(esim.usage_read_at),
    }


def describe_esim_in_full(esim: Esim, language: Language, *, top_up_plans: list[Plan] | None) -> dict[str, Any]:
    """The eSIM by itself, in the shape of EsimDetailSerializer: with its activation code, history and top-ups."""
    return {
        **describe_esim(esim, language),
        **_install_data(esim),
        "history": _history(esim, language),
        "top_up_plans": None
        if top_up_plans is None
        else [describe_plan(plan, language=language) for plan in top_up_plans],
    }


def rfc3339(at: datetime | None) -> str | None:
    """A moment as the API tells it, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def _install_data(esim: Esim) -> dict[str, str]:
    code = esim.activation_code
    return {
        "smdp_address": esim.smdp_address,
        "matching_id": esim.matching_id,
        "activation_code": code,
        "qr_svg": qr_svg(code),
        "apple_install_url": apple_install_url(code),
        "android_install_url": android_install_url(code),
    }


def _usage_of(esim: Esim) -> Usage | None:
    return sum_up(esim.bundles.all(), now=timezone.now())


def _describe_usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "initial_mb": _mb(usage.initial_bytes),
        "remaining_mb": _mb(usage.remaining_bytes),
        "unlimited": usage.is_unlimited,
        "starts_at": rfc3339(usage.starts_at),
        "ends_at": rfc3339(usage.ends_at),
        "state": usage.state,
    }


def _describe_bundle(bundle: EsimBundle, esim: Esim, language: Language) -> dict[str, Any]:
    return {
        "bundle": bundle.bundle_name,
        "title": _bundle_title(bundle, esim, language),
        "state": state_of(bundle, timezone.now()),
        "initial_mb": _mb(bundle.initial_bytes),
        "remaining_mb": _mb(bundle.remaining_bytes),
        "unlimited": bundle.is_unlimited,
        "starts_at": rfc3339(bundle.starts_at),
        "ends_at": rfc3339(bundle.ends_at),
        "order_id": str(bundle.order_id) if bundle.order_id else None,
    }


def _bundle_title(bundle: EsimBundle, esim: Esim, language: Language) -> str:
    """What was bought, for example "10 GB, 30 days"; eSIM Go's name where no order of ours put it there."""
    order = bundle.order or (esim.order if bundle.bundle_name == esim.order.bought_plan["en"]["bundle"] else None)
    if order is None:
        return bundle.bundle_name
    plan = order.bought_plan[language]
    return amount_text(data_mb=plan["data_mb"], days=plan["days"], language=language)


def _mb(amount: int | None) -> int | None:
    """Whole megabytes, rounded up: 0 says that nothing is left."""
    return None if amount is None else -(-amount // MB)


def _history(esim: Esim, language: Language) -> list[dict[str, Any]]:
    """What happened to the eSIM, newest first."""
    lines: list[tuple[datetime | None, str, str]] = []
    for order in [esim.order, *esim.top_up_orders.all()]:
        title = order.bought_plan[language]["title"]
        kind, text = (
            ("bought", gettext("Bought: %(plan)s"))
            if order.pk == esim.order_id
            else ("topped_up", gettext("Topped up: %(plan)s"))
        )
        if order.status in {Order.Status.COMPLETED, Order.Status.REFUNDING, Order.Status.REFUNDED}:
            lines.append((order.completed_at, kind, text % {"plan": title}))
    for bundle in esim.bundles.all():
        title = {"bundle": _bundle_title(bundle, esim, language)}
        lines.append((bundle.starts_at, "started", gettext("First use: %(bundle)s") % title))
        match state_of(bundle, timezone.now()):
            case State.DEPLETED:
                lines.append((bundle.ended_at, "used_up", gettext("Data used up: %(bundle)s") % title))
            case State.EXPIRED:
                ended_at = bundle.ends_at or bundle.ended_at
                lines.append((ended_at, "ended", gettext("Days are over: %(bundle)s") % title))
            case State.LAPSED:
                lines.append((bundle.ended_at, "ended", gettext("Never used in time: %(bundle)s") % title))
            case State.REVOKED:
                lines.append((bundle.ended_at, "taken_back", gettext("Taken back: %(bundle)s") % title))
    dated = sorted(((at, kind, text) for at, kind, text in lines if at), reverse=True)
    return [{"at": rfc3339(at), "kind": kind, "text": text} for at, kind, text in dated]
