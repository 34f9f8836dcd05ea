"""The gateway as an ASGI application: the front door, and behind it the routes of the resources."""

from __future__ import annotations

import re

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meshapi_core._version import MESH_API_VERSION

from . import _batches, _chat, _compare, _embeddings, _files, _images, _models, _responses, _templates
from ._answers import GatewayError, faulty_answer
from ._faults import NO_FAULT, Fault, fault_from_json
from ._state import REFUSED_TOKENS, GatewayState, ReceivedHeaders, ReceivedRequest

FAULT_HEADER = "x-local-gateway-fault"
_API_PREFIX = "/v1/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_RESOURCES = (_chat, _responses, _embeddings, _images, _compare, _files, _batches, _models, _templates)
_REFUSALS = {
    "spend_limit_exceeded": (402, "the account's balance is at zero"),
    "forbidden": (403, "this key is suspended"),
}


def create_app(gateway: GatewayState) -> ASGIApp:
    """Return the application of one gateway.

    A new resource is a module with a list ``routes``, added to ``_RESOURCES``.
    """
    app = Starlette(
        routes=[route for resource in _RESOURCES for route in resource.routes],
        exception_handlers={
            GatewayError: _answer_gateway_error,
            HTTPException: _answer_http_exception,
            Exception: _answer_bug,
        },
    )
    app.router.redirect_slashes = False
    app.state.gateway = gateway
    return FrontDoor(app, gateway)


class FrontDoor:
    """Every request passes here: it is remembered, gets its id and its fault, and is let in or turned away.

    What the rest needs is left in ``scope["state"]``: ``request_id``, ``fault``, and from the server ``transport``.
    """

    def __init__(self, app: ASGIApp, gateway: GatewayState) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        self._gateway.remember(_received(request, body))
        request.state.request_id = self._gateway.next_id("req_")
        request.state.fault = NO_FAULT
        await self._destination(request)(scope, _replay(body, receive), send)

    def _destination(self, request: Request) -> ASGIApp:
        try:
            self._identify(request)
            if request.scope["path"].startswith(_API_PREFIX):
                fault = request.state.fault = self._fault(request)
                if fault.status is not None:
                    return faulty_answer(fault, fault.status, request.state.request_id)
                self._admit(request)
        except GatewayError as error:
            return error.answer(request.state.request_id)
        return self._app

    def _identify(self, request: Request) -> None:
        own_id = request.headers.get("x-request-id")
        if own_id is None:
            return
        if not _REQUEST_ID.fullmatch(own_id):
            raise GatewayError(400, f"X-Request-Id must match {_REQUEST_ID.pattern}")
        request.state.request_id = own_id

    def _fault(self, request: Request) -> Fault:
        source = request.headers.get(FAULT_HEADER)
        if source is None:
            return self._gateway.next_fault()
        try:
            return fault_from_json(source)
        except (ValueError, RecursionError) as error:
            raise GatewayError(400, f"{FAULT_HEADER}: {error}") from error

    def _admit(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise GatewayError(401, "the header Authorization: Bearer <key> is missing")
        for code, refused_token in REFUSED_TOKENS.items():
            if token == refused_token:
                raise GatewayError(*_REFUSALS[code])
        if token != self._gateway.token:
            raise GatewayError(401, "the key is not valid")
        version = request.headers.get("x-mesh-version", MESH_API_VERSION)
        if version != MESH_API_VERSION:
            raise GatewayError(400, f"there is no API version {version!r}", code="invalid_api_version")
        seconds = self._gateway.seconds_to_wait(token)
        if seconds is not None:
            raise GatewayError(429, "too many requests in a minute", retry_after=seconds)


def _received(request: Request, body: bytes) -> ReceivedRequest:
    return ReceivedRequest(
        method=request.method,
        path=request.scope["path"],
        query=request.query_params,
        headers=ReceivedHeaders(scope=request.scope),
        body=body,
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand the body out once more, then whatever comes after it."""
    unread = True

    async def replayed() -> Message:
        nonlocal unread
        if unread:
            unread = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed


async def _answer_gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return error.answer(request.state.request_id)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return GatewayError(error.status_code, message, headers=error.headers).answer(request.state.request_id)


async def _answer_bug(request: Request, error: Exception) -> Response:
    return GatewayError(500, f"a bug in the local gateway: {error!r}").answer(request.state.request_id)
