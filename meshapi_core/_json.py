"""Reading JSON that somebody else wrote: it may be anything, or no JSON at all."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, cast

__all__ = ["as_object", "json_object", "json_value"]


def json_value(text: str) -> Any:
    """What `text` stands for, or ``None`` if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_object(value: Any) -> Optional[Dict[str, Any]]:
    """`value`, if it is a JSON object, else ``None``."""
    return cast("Dict[str, Any]", value) if isinstance(value, dict) else None


def json_object(text: str) -> Optional[Dict[str, Any]]:
    """The JSON object that `text` stands for, or ``None`` if it is none."""
    return as_object(json_value(text))
