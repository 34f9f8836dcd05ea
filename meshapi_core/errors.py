"""The errors that a caller can see, and how an answer, a stream's error frame or a transport failure becomes one.

One tree::

    MeshAPIError
    ├── APIStatusError            the gateway answered, and the answer was no success
    │   ├── RedirectError           3xx: never followed
    │   ├── BadRequestError         400
    │   ├── AuthenticationError     401
    │   ├── PaymentRequiredError    402
    │   ├── PermissionDeniedError   403
    │   ├── NotFoundError           404
    │   ├── ConflictError           409
    │   ├── UnprocessableEntityError 422
    │   ├── RateLimitError          429
    │   └── InternalServerError     5xx
    ├── APIConnectionError        no answer, or not a whole one
    │   └── APITimeoutError         it did not come in time
    ├── StreamInterruptedError    a stream broke off before its end
    └── ResponseParseError        an answer of success that could not be understood
        └── StructuredOutputError   a model's answer that has not the shape that was asked for
"""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union, cast

from ._json import as_object, json_object, json_value
from .actions import Failure, Headers, ResponseHead

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "InternalServerError",
    "LocalProtocolError",
    "MeshAPIError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "RedirectError",
    "ResponseParseError",
    "StreamInterruptedError",
    "StructuredOutputError",
    "UnprocessableEntityError",
]

_MESSAGE_LENGTH = 500
# What is shorter is no key but a stand-in for one, such as "test", and part of many a word.
_SHORTEST_SECRET = 8
# So much of a secret, and no less, is treated as one.
_TELLING_LENGTH = 8


class LocalProtocolError(RuntimeError):
    """The embedder made a move that the call's state does not allow: a mistake in the code that drives the call."""


class MeshAPIError(Exception):
    """Anything that went wrong between the caller and the gateway.

    Args:
        message: what happened, for people.

    Attributes:
        message: what happened, for people.
        status: the HTTP status code; 0 without an answer.
        error_code: the gateway's name for the error, such as ``"rate_limit_exceeded"``, or one of ours:
            ``"connection_error"``, ``"timeout"``, ``"stream_interrupted"``, ``"parse_error"``.
        request_id: the gateway's name for the request, to be quoted to its support; ``""`` if it gave none.
        details: what was wrong with which field (``{"loc", "msg", "type"}`` each); empty if the gateway sent none.
        provider_error: the model provider's own error, as the gateway passed it on; else ``None``.
        retry_after_seconds: how long the gateway asked to wait before the next try, in seconds; else ``None``.
        partial: what a stream had brought before it failed, put together (for a chat a `ChatCompletionResponse`);
            ``None`` for other calls and where nothing had come.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        error_code: str,
        request_id: str = "",
        details: Optional[List[Any]] = None,
        provider_error: Any = None,
        retry_after_seconds: Optional[float] = None,
        partial: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.error_code = error_code
        self.request_id = request_id
        self.details: List[Any] = [] if details is None else details
        self.provider_error = provider_error
        self.retry_after_seconds = retry_after_seconds
        self.partial = partial

    def __str__(self) -> str:
        where = f"{self.status} {self.error_code}" if self.status else self.error_code
        request = f" (request id {self.request_id})" if self.request_id else ""
        return f"[{where}] {self.message}{request}"

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.message!r}, status={self.status}, error_code={self.error_code!r}, "
            f"request_id={self.request_id!r})"
        )

    def __reduce__(self) -> Tuple[Any, ...]:
        # Exceptions are pickled by calling the class with ``args``, which would miss the keyword-only arguments.
        return _restore_error, (type(self), self.message, {**self.__dict__})


def _restore_error(cls: Type[MeshAPIError], message: str, attributes: Dict[str, Any]) -> MeshAPIError:
    error = cls(message, error_code=attributes["error_code"])
    error.__dict__.update(attributes)
    return error


class APIStatusError(MeshAPIError):
    """The gateway answered with a status that is no success, or said the like in the middle of a stream."""


class RedirectError(APIStatusError):
    """3xx.  Redirects are never followed, so that the token goes to no other host; the message names the Location."""


class BadRequestError(APIStatusError):
    """400: the request was malformed."""


class AuthenticationError(APIStatusError):
    """401: the key is missing or wrong."""


class PaymentRequiredError(APIStatusError):
    """402: the account's balance is at zero."""


class PermissionDeniedError(APIStatusError):
    """403: the key is suspended, or may not do this."""


class NotFoundError(APIStatusError):
    """404: no such model, or no such object."""


class ConflictError(APIStatusError):
    """409: the object is not in a state that allows this."""


class UnprocessableEntityError(APIStatusError):
    """422: the body was refused; `details` says which field and why."""


class RateLimitError(APIStatusError):
    """429: too many requests in this minute or day; `retry_after_seconds` says when to try again."""


class InternalServerError(APIStatusError):
    """5xx: the gateway or the model's provider failed."""


class APIConnectionError(MeshAPIError):
    """The connection could not be made, or was lost before the whole answer had come."""


class APITimeoutError(APIConnectionError):
    """The connection, the next bytes, a stream's next event or the whole call took longer than the timeout allows."""


class StreamInterruptedError(MeshAPIError):
    """A stream broke off before its end; what had come is in `partial`."""


class ResponseParseError(MeshAPIError):
    """The gateway reported success, but the answer could not be read as what it should be."""


class StructuredOutputError(ResponseParseError):
    """The model answered, but not in the shape that was asked for.

    `details` says what is wrong with which field, `partial` is the whole completion.

    Attributes:
        text: what the model wrote, as it is.
        is_correctable: whether the model could be told what is wrong, and asked again.
    """

    def __init__(self, message: str, *, text: str = "", is_correctable: bool = False, **about: Any) -> None:
        super().__init__(message, **about)
        self.text = text
        self.is_correctable = is_correctable

    def correction(self) -> str:
        """What to tell the model that answered so, to have it answer once more."""
        problems = "\n".join(f"- {_problem(detail)}" for detail in self.details)
        return (
            f"That answer does not have the shape that was asked for:\n{problems}\n"
            "Answer once more: with JSON that fits the schema, and with nothing beside it."
        )


def _problem(detail: Any) -> str:
    where = ".".join(str(step) for step in detail["loc"])
    return f"{where}: {detail['msg']}" if where else str(detail["msg"])


_CODE_OF_STATUS = {
    400: "invalid_request",
    401: "unauthorized",
    402: "spend_limit_exceeded",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "validation_error",
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "upstream_error",
    503: "upstream_error",
    504: "gateway_timeout",
}

# A stream's error frame has a code but no status of its own.
_STATUS_OF_CODE = {
    "invalid_request": 400,
    "invalid_api_version": 400,
    "unauthorized": 401,
    "spend_limit_exceeded": 402,
    "forbidden": 403,
    "not_found": 404,
    "model_not_found": 404,
    "conflict": 409,
    "validation_error": 422,
    "unprocessable_entity": 422,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
    "upstream_error": 502,
    "gateway_timeout": 504,
}

_CLASS_OF_STATUS: Dict[int, Type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def _class_of_status(status: int) -> Type[APIStatusError]:
    if 300 <= status < 400:
        return RedirectError
    if status >= 500:
        return InternalServerError
    return _CLASS_OF_STATUS.get(status, APIStatusError)


def _code_of_status(status: int) -> str:
    if 300 <= status < 400:
        return "redirect"
    return _CODE_OF_STATUS.get(status, "internal_error" if status >= 500 else "invalid_request")


def error_from_answer(head: ResponseHead, body: bytes) -> APIStatusError:
    """The error that an answer without success stands for.

    Args:
        head: the answer's head; its status is not 2xx.
        body: the answer's body, as far as it came: the gateway's envelope, some other JSON, an event stream whose
            event carries the envelope, text, HTML or nothing.

    Returns:
        The error of the class that belongs to the status (gateway API reference, "Errors").
    """
    text = body.decode("utf-8-sig", "replace")
    value = json_value(text)
    is_json = value is not None
    envelope = (as_object(value) if is_json else _first_frame(text)) or {}
    if envelope.get("error"):
        return _error_from_envelope(envelope, head, head.status, text)
    code = "parse_error" if head.status >= 500 and not is_json else _code_of_status(head.status)
    message = text[:_MESSAGE_LENGTH] or f"HTTP status {head.status}, without a body"
    if 300 <= head.status < 400:
        location = head.headers.get("location", "nowhere")
        message = f"redirects are not followed (HTTP status {head.status} to {location}); check base_url"
    return _class_of_status(head.status)(
        message,
        status=head.status,
        error_code=code,
        request_id=_string(envelope.get("request_id")) or head.request_id,
        retry_after_seconds=_retry_after(None, head.headers),
    )


def error_from_frame(frame: Mapping[str, Any], text: str, head: ResponseHead) -> APIStatusError:
    """The error that an event of a stream stands for: the one that the same envelope would be as an HTTP answer.

    Args:
        frame: the event's JSON object, with ``error`` as an object or a string, or with ``message`` at its top level.
        text: the same as it came.
        head: the head of the stream that it came on.
    """
    code = _reported_code(_reported_error(frame)) or "upstream_error"
    is_status = isinstance(code, int) and 400 <= code <= 599
    status = int(code) if is_status else _STATUS_OF_CODE.get(str(code), head.status)
    return _error_from_envelope(frame, head, status, text)


def error_from_failure(failure: Failure, head: Optional[ResponseHead], during: str) -> APIConnectionError:
    """The error that a transport's failure stands for, once it is not retried.

    Args:
        failure: what the transport reported.
        head: the head of the answer, if it had come.
        during: what was under way, to complete the sentence "... while <during>".
    """
    about_answer: Dict[str, Any] = {} if head is None else {"status": head.status, "request_id": head.request_id}
    if failure is Failure.CONNECT:
        return APIConnectionError("no connection could be made; nothing was sent", error_code="connection_error")
    if failure is Failure.CONNECT_TIMEOUT:
        return APITimeoutError("no connection was made in time; nothing was sent", error_code="timeout")
    if failure is Failure.CONNECTION_LOST:
        return APIConnectionError(
            f"the connection was lost while {during}", error_code="connection_error", **about_answer
        )
    what = "the time for the whole call was used up" if failure is Failure.DEADLINE else "nothing came in time"
    return APITimeoutError(f"{what} while {during}", error_code="timeout", **about_answer)


def redact(error: MeshAPIError, secret: str) -> None:
    """Take `secret` out of all that `error` tells: a server may quote the key that it refuses."""
    if len(secret) < _SHORTEST_SECRET:
        return
    error.message = _without_beginning(_without(error.message, secret), secret)
    error.args = (error.message,)
    error.error_code = _without(error.error_code, secret)
    error.request_id = _without(error.request_id, secret)
    try:
        error.details = _without(error.details, secret)
        error.provider_error = _without(error.provider_error, secret)
    except RecursionError:
        # What cannot be searched to its depths cannot be shown.
        error.details, error.provider_error = [], "[nested too deeply]"


def _without(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return value.replace(secret, "[redacted]")
    if isinstance(value, list):
        return [_without(item, secret) for item in cast("Sequence[Any]", value)]
    fields = as_object(value)
    if fields is not None:
        return {_without(name, secret): _without(item, secret) for name, item in fields.items()}
    return value


def _without_beginning(message: str, secret: str) -> str:
    """`message` without a piece of `secret` at its end: what it quotes may have been cut in the middle of one."""
    for length in range(len(secret) - 1, _TELLING_LENGTH - 1, -1):
        if message.endswith(secret[:length]):
            return f"{message[:-length]}[redacted]"
    return message


def _reported_error(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of the error that `envelope` reports, wherever it has them."""
    error = envelope.get("error")
    # Some servers send ``{"error": "text"}``, with the other fields beside it, or nothing but the other fields.
    return as_object(error) or (envelope if not isinstance(error, str) else {**envelope, "message": error})


def _reported_code(error: Mapping[str, Any]) -> Union[str, int, None]:
    code = error.get("code")
    return code if isinstance(code, (str, int)) and not isinstance(code, bool) and code else None


def _error_from_envelope(envelope: Mapping[str, Any], head: ResponseHead, status: int, text: str) -> APIStatusError:
    error = _reported_error(envelope)
    code = _reported_code(error)
    if code is None or code == status:
        # An integer is the status once more, or else a number of the provider's that has no name here.
        code = _code_of_status(status)
    details: Any = error.get("details") or []
    return _class_of_status(status)(
        _string(error.get("message")) or _string(envelope.get("message")) or text[:_MESSAGE_LENGTH],
        status=status,
        error_code=_string(str(code)),
        request_id=_string(envelope.get("request_id")) or head.request_id,
        details=list(cast("Sequence[Any]", details)) if isinstance(details, list) else [details],
        provider_error=error.get("provider_error"),
        retry_after_seconds=_retry_after(error.get("retry_after_seconds"), head.headers),
    )


def _string(value: Any) -> str:
    # Half a character, as JSON can have it, could not be printed.
    return _HALF_CHARACTER.sub("\ufffd", value) if isinstance(value, str) else ""


def _first_frame(text: str) -> Optional[Dict[str, Any]]:
    """The JSON of the first event, for an answer without success whose body is an event stream all the same."""
    from .sse import SSEDecoder

    for event in SSEDecoder().receive_data(text.encode("utf-8") + b"\n\n"):
        frame = json_object(event.data)
        if frame is not None:
            return frame
    return None


def _retry_after(in_body: Any, headers: Headers) -> Optional[float]:
    """The wait in seconds that the gateway asked for: the body's figure, else the header's (RFC 9110, 10.2.3)."""
    seconds = _seconds(in_body)
    if seconds is None and "retry-after" in headers:
        value = headers["retry-after"].strip()
        seconds = _seconds(value)
        if seconds is None:
            seconds = _seconds_until(value, headers.get("date"))
    return seconds


def _seconds(value: Any) -> Optional[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    if not 0 <= seconds < math.inf:
        return None
    return int(seconds) if seconds == int(seconds) else seconds


def _seconds_until(http_date: str, now: Optional[str]) -> Optional[float]:
    # Measured against the answer's own Date: the core has no clock, and the two machines' clocks may disagree.
    from email.utils import parsedate_to_datetime

    try:
        seconds = (parsedate_to_datetime(http_date) - parsedate_to_datetime(now or "")).total_seconds()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return max(seconds, 0.0)
