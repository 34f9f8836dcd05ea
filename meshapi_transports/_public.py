"""What every adapter's module does for its users: it says what to install, and it offers the core's types."""

from __future__ import annotations

import sys
from typing import Any

import meshapi_core

__all__ = ["missing", "public_type"]


def missing(extra: str) -> ImportError:
    """The error for an adapter whose library is not there."""
    return ImportError(f"this needs a library that is not there: pip install 'meshapi-transports[{extra}]'")


def public_type(module: str, name: str) -> Any:
    """The core's public object `name`, asked for as an attribute of `module`, which has it from now on."""
    # Type checkers are shown no list of the names.
    if name in vars(meshapi_core)["__all__"]:
        value = vars(sys.modules[module])[name] = getattr(meshapi_core, name)
        return value
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
