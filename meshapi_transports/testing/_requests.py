"""How an endpoint reads its request, and how lists are answered page by page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from . import _checks as checks
from ._answers import GatewayError
from ._checks import Check
from ._state import GatewayState

_DEFAULT_PAGE = 20
_PAGE_PARAMS = checks.record(optional={"after": checks.text, "limit": checks.digits(at_least=1, at_most=100)})


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


async def read_json(request: Request) -> Any:
    """Return the request's JSON body.

    Raises:
        GatewayError: 400, it is not JSON.
    """
    try:
        return parse_json(await request.body())
    except (ValueError, RecursionError) as error:
        raise GatewayError(400, f"the body is not valid JSON: {error}") from error


async def read_params(request: Request, check: Check) -> dict[str, Any]:
    """Return the request's JSON body, checked.

    Raises:
        GatewayError: 400 if it is not JSON, 422 if it does not pass the check.
    """
    return validated(await read_json(request), check, "body")


def parse_json(source: bytes) -> Any:
    """Read JSON as strictly as the standard has it.

    Raises:
        RecursionError: it is nested too deeply.
        ValueError: it is not JSON.
    """
    return json.loads(source, parse_constant=_no_constant, parse_float=_finite)


def page_of(request: Request, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the page that the query's ``after`` and ``limit`` ask for.

    Args:
        request: the request for the list.
        items: everything, the oldest first, each with its ``id``; the page begins with the newest.

    Raises:
        GatewayError: 404 if ``after`` names none of them, 422 if the query does not pass its check.
    """
    query = validated(dict(request.query_params), _PAGE_PARAMS, "query")
    newest_first = items[::-1]
    start = 0
    if "after" in query:
        ids = [item["id"] for item in newest_first]
        if query["after"] not in ids:
            raise GatewayError(404, f"there is no {query['after']!r} to come after")
        start = ids.index(query["after"]) + 1
    stop = start + int(query.get("limit", _DEFAULT_PAGE))
    page = newest_first[start:stop]
    return {
        "object": "list",
        "data": page,
        "has_more": stop < len(newest_first),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(source: str) -> float:
    value = float(source)
    if math.isinf(value):
        raise ValueError(f"{source} is too large a number")
    return value
