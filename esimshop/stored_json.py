"""JSON from outside, made fit for a database."""

import math
from typing import Any


def storable(value: Any) -> Any:
    """JSON as PostgreSQL can keep it: JSONB has no NUL character, no half of a surrogate pair, no endless number."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
