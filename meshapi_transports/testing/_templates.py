"""``/v1/templates``, and what a call's ``template`` and ``variables`` make of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import _checks as checks
from ._answers import Answer, GatewayError, JSONAnswer
from ._checks import is_list, is_object
from ._requests import gateway_state, read_params
from ._state import GatewayState

Template = dict[str, Any]

_OWNER = "local"
_SLOT = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)
_OPTIONAL = {
    "description": checks.text,
    "system": checks.text,
    "messages": checks.array(checks.mapping()),
    "model": checks.text,
    "params": checks.mapping(),
    "variables": checks.array(checks.text),
}
CREATE_TEMPLATE_PARAMS = checks.record(
    required={"name": checks.nonempty_text}, optional={**_OPTIONAL, "team_id": checks.text}
)
UPDATE_TEMPLATE_PARAMS = checks.record(optional={"name": checks.nonempty_text, **_OPTIONAL})


def applied_template(gateway: GatewayState, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the template that a call names adds to it: defaults for its parameters, and messages to begin with.

    A call without a template gets nothing.

    Raises:
        GatewayError: 404 if there is no such template, 422 if a variable is missing that it has a slot for.
    """
    if "template" not in params:
        return {}, []
    template = _find(gateway, params["template"])
    system = template["system"]
    messages = [] if system is None else [{"role": "system", "content": system}]
    missing: list[str] = []
    filled = _filled([*messages, *(template["messages"] or [])], params.get("variables", {}), missing)
    if missing:
        details = [checks.problem(("body", "variables", name), "is required", "missing") for name in missing]
        names = ", ".join(map(repr, missing))
        raise GatewayError(422, f"the template {template['name']!r} needs the variables {names}", details=details)
    model = {} if template["model"] is None else {"model": template["model"]}
    return {**model, **(template["params"] or {})}, filled


def _filled(value: Any, variables: Mapping[str, str], missing: list[str]) -> Any:
    """Return the value with every slot in its texts filled; the names for which there is no value go to `missing`."""

    def fill(slot: re.Match[str]) -> str:
        name = slot[1]
        if name not in variables and name not in missing:
            missing.append(name)
        return variables.get(name, "")

    if isinstance(value, str):
        return _SLOT.sub(fill, value)
    if is_list(value):
        return [_filled(element, variables, missing) for element in value]
    if is_object(value):
        return {key: _filled(field, variables, missing) for key, field in value.items()}
    return value


def _find(gateway: GatewayState, name_or_id: str) -> Template:
    for template_id, template in gateway.templates.all():
        if name_or_id in (template_id, template["name"]):
            return template
    raise _unknown_template(name_or_id)


def _unknown_template(name_or_id: str) -> GatewayError:
    return GatewayError(404, f"there is no template {name_or_id!r}")


async def create_template(request: Request) -> Response:
    gateway = gateway_state(request)
    params = await read_params(request, CREATE_TEMPLATE_PARAMS)
    _refuse_taken_name(gateway, params["name"])
    now = _timestamp()
    template: Template = {
        "id": gateway.next_id("tmpl_"),
        "name": params["name"],
        "owner": _OWNER,
        "is_global": False,
        **{field: params.get(field) for field in _OPTIONAL},
        "created_at": now,
        "updated_at": now,
    }
    gateway.templates.put(template["id"], template)
    return JSONAnswer(template, 201)


async def list_templates(request: Request) -> Response:
    return JSONAnswer([template for _, template in gateway_state(request).templates.all()])


async def get_template(request: Request) -> Response:
    return JSONAnswer(_requested(request))


async def update_template(request: Request) -> Response:
    gateway = gateway_state(request)
    template = _requested(request)
    params = await read_params(request, UPDATE_TEMPLATE_PARAMS)
    if params.get("name", template["name"]) != template["name"]:
        _refuse_taken_name(gateway, params["name"])
    changed = {field: params[field] for field in ("name", *_OPTIONAL) if field in params}
    updated = {**template, **changed, "updated_at": _timestamp()}
    gateway.templates.put(updated["id"], updated)
    return JSONAnswer(updated)


async def delete_template(request: Request) -> Response:
    template = _requested(request)
    gateway_state(request).templates.remove(template["id"])
    return Answer(status_code=204)


def _requested(request: Request) -> Template:
    template_id = request.path_params["template_id"]
    template = gateway_state(request).templates.get(template_id)
    if template is None:
        raise _unknown_template(template_id)
    return template


def _refuse_taken_name(gateway: GatewayState, name: str) -> None:
    if any(template["name"] == name for _, template in gateway.templates.all()):
        raise GatewayError(409, f"there is a template {name!r} already")


def _timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


routes = [
    Route("/v1/templates", create_template, methods=["POST"]),
    Route("/v1/templates", list_templates, methods=["GET"]),
    Route("/v1/templates/{template_id}", get_template, methods=["GET"]),
    Route("/v1/templates/{template_id}", update_template, methods=["PATCH"]),
    Route("/v1/templates/{template_id}", delete_template, methods=["DELETE"]),
]
