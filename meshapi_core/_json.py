"""Reading JSON that somebody else wrote: it may be anything, or no JSON at all."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, NoReturn, Optional, cast

__all__ = ["as_object", "json_object", "json_value", "refuse_constant", "without_lone_surrogates"]


def json_value(text: str) -> Any:
    """What `text` stands for, or ``None`` if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def refuse_constant(constant: str) -> NoReturn:
    """For ``json.loads(parse_constant=...)``, which else takes what no other parser would."""
    raise ValueError(f"JSON has no {constant}")


def as_object(value: Any) -> Optional[Dict[str, Any]]:
    """`value`, if it is a JSON object, else ``None``."""
    return cast("Dict[str, Any]", value) if isinstance(value, dict) else None


def json_object(text: str) -> Optional[Dict[str, Any]]:
    """The JSON object that `text` stands for, or ``None`` if it is none."""
    return as_object(json_value(text))


def without_lone_surrogates(text: str) -> Optional[str]:
    """The JSON of `text` with U+FFFD for each half of a surrogate pair that stands alone; ``None`` if none does.

    JSON can write such a half, and servers that cut text between the halves do, but no character is meant by it (RFC
    8259, section 8.2), and pydantic refuses the whole.
    """
    value = json_value(text) if re.search(r"\\u[dD]", text) else None
    if value is None:
        return None
    rewritten = json.dumps(value, ensure_ascii=False)
    mended = re.sub("[\ud800-\udfff]", "\ufffd", rewritten)
    return None if mended == rewritten else mended
