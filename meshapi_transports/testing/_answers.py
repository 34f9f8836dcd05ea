"""The answers that endpoints return, and the errors that they raise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ._checks import Location, Problem, problem
from ._delivery import Connection, ServerEvent, compressed, encode_json, encode_text, framed, resized
from ._faults import Fault

_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    402: "spend_limit_exceeded",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    422: "validation_error",
    429: "rate_limit_exceeded",
    500: "internal_error",
    504: "gateway_timeout",
}
_ROUTING_HEADERS = {
    "x-mesh-routing-attempts": "1",
    "x-mesh-routing-fallback": "false",
    "x-mesh-served-provider": "local",
}


class Answer(Response):
    """An answer with a body of bytes; it brings the headers that every answer has, and suffers the request's fault."""

    def pieces(self, fault: Fault) -> Iterable[bytes]:
        return [bytes(self.body)] if self.body else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        fault: Fault = state["fault"]
        self._complete_headers(state["request_id"])
        pieces = self._spoilt(self.pieces(fault), fault)
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await Connection(state["transport"], receive, send).deliver(head, pieces, fault)

    def _complete_headers(self, request_id: str) -> None:
        self.headers["x-request-id"] = request_id
        if self.status_code < 300:
            for name, value in _ROUTING_HEADERS.items():
                self.headers.setdefault(name, value)

    def _spoilt(self, pieces: Iterable[bytes], fault: Fault) -> Iterable[bytes]:
        if fault.body is not None:
            pieces = [fault.body]
            if self.status_code == 204:
                self.status_code = 200
            self.headers["content-length"] = str(len(fault.body))
        if fault.content_type is not None:
            self.headers["content-type"] = fault.content_type
        if fault.encoding is not None and self.status_code != 204:
            pieces = compressed(pieces, fault.encoding)
            self.headers["content-encoding"] = fault.encoding
            del self.headers["content-length"]
        if fault.split is not None:
            pieces = resized(pieces, fault.split)
            del self.headers["content-length"]
        if fault.retry_after is not None:
            seconds_or_text = fault.retry_after
            self.headers["retry-after"] = (
                seconds_or_text if isinstance(seconds_or_text, str) else f"{seconds_or_text:g}"
            )
        self.headers.update(fault.headers)
        return pieces


class JSONAnswer(Answer):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encode_text(encode_json(content))


class EventStream(Answer):
    """An answer of Server-Sent Events.

    Args:
        events: the events in their order.
        headers: further headers.
        done: whether ``[DONE]`` follows them.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: Iterable[ServerEvent], headers: Mapping[str, str] | None = None, done: bool = True
    ) -> None:
        # Like Starlette's own streams this leaves out Response.__init__, which wants the whole body for its length.
        self.status_code = 200
        self.background = None
        self._events = events
        self._done = done
        self.init_headers({"cache-control": "no-cache", **(headers or {})})

    def pieces(self, fault: Fault) -> Iterable[bytes]:
        return framed(self._events, fault, self._done)


class GatewayError(Exception):
    """An error that the client is to see.

    Args:
        status: the HTTP status.
        message: a sentence for a person.
        code: the envelope's code; by default the usual one of the status.
        details: what is wrong with the body, for a ``validation_error``, or with each of several parts.
        retry_after: whole seconds, for ``Retry-After`` and the envelope.
        headers: further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        details: list[Problem] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _CODES.get(status) or ("upstream_error" if status >= 500 else "invalid_request")
        self.details = details
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    def envelope(self, request_id: str) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        if self.retry_after is not None:
            error["retry_after_seconds"] = self.retry_after
        return {"error": error, "request_id": request_id}

    def answer(self, request_id: str) -> Answer:
        retry_after = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return JSONAnswer(self.envelope(request_id), self.status, {**self.headers, **retry_after})


def invalid_field(location: Location, message: str) -> GatewayError:
    """The error for a field that has the right type and yet cannot be used."""
    details = [problem(location, message, "value_error")]
    return GatewayError(422, f"{'.'.join(map(str, location))}: {message}", details=details)


def not_emulated(what: str) -> GatewayError:
    """The error for something that the real gateway does and this one does not."""
    return GatewayError(422, f"{what} is not emulated by the local gateway", code="unprocessable_entity")


def faulty_answer(fault: Fault, status: int, request_id: str) -> Answer:
    """The answer with the status that a fault asks for: the envelope for an error, otherwise an empty body."""
    if status < 400:
        return Answer(status_code=status)
    seconds = fault.retry_after if isinstance(fault.retry_after, int) else None
    return GatewayError(status, "an injected fault", retry_after=seconds).answer(request_id)
