"""People as Telegram shows them to a bot, and the signed initData with which their Mini App opens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from urllib.parse import urlencode

from esimshop.sandbox.exchange import Json


def as_user(user: Json) -> Json:
    """Bot API User."""
    shown = {"id": user["id"], "is_bot": False, "first_name": user["first_name"]}
    for name in ("last_name", "username", "language_code"):
        if user[name]:
            shown[name] = user[name]
    return shown


def as_chat(user: Json) -> Json:
    """Bot API Chat of a private chat."""
    shown = {name: value for name, value in as_user(user).items() if name not in {"is_bot", "language_code"}}
    return {**shown, "type": "private"}


def sign_init_data(
    user: Json, *, token: str, start_param: str = "", age_seconds: int = 0, now: float | None = None
) -> str:
    """initData of a Mini App opened by this user, as a query string.

    The hash covers every field but itself, `signature` included. The signature's Ed25519 key is
    Telegram's own, so here it is random bytes of the right size.
    """
    shown = {
        "id": user["id"],
        "first_name": user["first_name"],
        "last_name": user["last_name"],
        **({"username": user["username"]} if user["username"] else {}),
        "language_code": user["language_code"],
        "allows_write_to_pm": user["started"] and not user["blocked_bot"],
    }
    fields = {
        "query_id": f"AAH{secrets.token_urlsafe(15)}",
        "user": json.dumps(shown, ensure_ascii=False, separators=(",", ":")),
        "auth_date": str(int(time.time() if now is None else now) - age_seconds),
        "signature": base64.urlsafe_b64encode(secrets.token_bytes(64)).decode().rstrip("="),
    }
    if start_param:
        fields["start_param"] = start_param
    checked = "\n".join(f"{name}={fields[name]}" for name in sorted(fields))
    secret = hmac.new(b"WebAppData", token.encode(), hashlib.sha256).digest()
    fields["hash"] = hmac.new(secret, checked.encode(), hashlib.sha256).hexdigest()
    return urlencode(fields)
