"""Texts that come in pieces, joined once: to add each piece to a text before it would copy the text each time."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, cast

__all__ = ["add_text", "joined"]


class _Pieces(List[str]):
    """A text, as far as it has come."""


def add_text(fields: Dict[str, Any], name: str, text: str) -> None:
    """Add `text` to what the field `name` says; what is no text is replaced, but by no empty one."""
    before = fields.get(name)
    if isinstance(before, _Pieces):
        before.append(text)
    elif isinstance(before, str):
        fields[name] = _Pieces([before, text])
    elif text or before is None:
        fields[name] = text


def joined(value: Any) -> Any:
    """`value`, with all texts in it in one piece."""
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: joined(item) for name, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [joined(item) for item in cast("Sequence[Any]", value)]
    return value
