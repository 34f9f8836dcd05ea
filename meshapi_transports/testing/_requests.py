"""How an endpoint reads its request."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.requests import Request

from ._answers import GatewayError
from ._checks import Check
from ._state import GatewayState


def gateway_state(request: Request) -> GatewayState:
    state: GatewayState = request.app.state.gateway
    return state


def validated(value: Any, check: Check, place: str) -> dict[str, Any]:
    """Return the object without its null fields if it passes the check.

    Args:
        value: what came.
        check: what it must pass.
        place: where the object stood in the request, ``"body"`` or ``"query"``.

    Raises:
        GatewayError: 422, with every problem found.
    """
    problems = list(check(value, (place,)))
    if problems:
        first = problems[0]
        location = ".".join(map(str, first["loc"]))
        raise GatewayError(422, f"{location} {first['msg']}", details=problems)
    return {name: field for name, field in value.items() if field is not None}


async def read_params(request: Request, check: Check) -> dict[str, Any]:
    """Return the request's JSON body, checked.

    Raises:
        GatewayError: 400 if it is not JSON, 422 if it does not pass the check.
    """
    try:
        body = json.loads(await request.body(), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise GatewayError(400, f"the body is not valid JSON: {error}") from error
    return validated(body, check, "body")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(source: str) -> float:
    value = float(source)
    if math.isinf(value):
        raise ValueError(f"{source} is too large a number")
    return value
