"""What a call tells of itself while it is under way, to whoever wants to log, count or trace it.

Give `MeshAPICore`, or a client, an observer: a callable that is told each of these events as it happens.  No event
holds the token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Union

from ._json import json_object
from .actions import ResponseHead
from .errors import MeshAPIError

if TYPE_CHECKING:
    from .call import AnyCall

__all__ = [
    "CallAbandoned",
    "CallEvent",
    "CallFailed",
    "CallSucceeded",
    "Observer",
    "RequestStarted",
    "ResponseStarted",
    "RetryScheduled",
    "StreamStarted",
]


@dataclass(frozen=True)
class RequestStarted:
    """A request is about to be sent.

    Attributes:
        call: whose request it is; the same object in all events of one call.
        method: the HTTP method.
        url: the URL without its query, which may hold what is nobody's business.
        attempt: how many times it has been tried before; 0 at first.
        content: the JSON body; ``None`` where there is none.
    """

    call: AnyCall = field(repr=False)
    method: str
    url: str
    attempt: int
    content: Optional[bytes] = field(repr=False)

    @property
    def params(self) -> Dict[str, Any]:
        """The fields of the JSON body, read anew each time; empty where there is none."""
        return json_object((self.content or b"").decode("utf-8", "replace")) or {}


@dataclass(frozen=True)
class ResponseStarted:
    """The head of an answer has come.

    Attributes:
        call: whose answer it is.
        response: the status and the header fields.
    """

    call: AnyCall = field(repr=False)
    response: ResponseHead

    @property
    def served_provider(self) -> Optional[str]:
        """Who served the request (``X-Mesh-Served-Provider``)."""
        return self.response.headers.get("x-mesh-served-provider")

    @property
    def routing_attempts(self) -> Optional[int]:
        """How many providers the gateway has tried (``X-Mesh-Routing-Attempts``)."""
        attempts = self.response.headers.get("x-mesh-routing-attempts", "")
        return int(attempts) if attempts.isdecimal() and attempts.isascii() else None

    @property
    def is_fallback(self) -> bool:
        """Whether another than the first choice has served it (``X-Mesh-Routing-Fallback``)."""
        return self.response.headers.get("x-mesh-routing-fallback", "").strip().lower() == "true"


@dataclass(frozen=True)
class StreamStarted:
    """The first event of a stream has come."""

    call: AnyCall = field(repr=False)


@dataclass(frozen=True)
class RetryScheduled:
    """A request has failed, and will be sent again.

    Attributes:
        call: whose request it is.
        delay: how long it waits before that, in seconds.
        error: why: what the call would have failed with.
    """

    call: AnyCall = field(repr=False)
    delay: float
    error: MeshAPIError


@dataclass(frozen=True)
class CallSucceeded:
    """A call is done; its `result` is what it gave."""

    call: AnyCall = field(repr=False)


@dataclass(frozen=True)
class CallFailed:
    """A call has failed for good.

    Attributes:
        call: which one.
        error: what its caller sees.
    """

    call: AnyCall = field(repr=False)
    error: MeshAPIError


@dataclass(frozen=True)
class CallAbandoned:
    """Whoever drove a call has left it before its end: a stream that was left early, or a cancellation."""

    call: AnyCall = field(repr=False)


CallEvent = Union[
    RequestStarted, ResponseStarted, StreamStarted, RetryScheduled, CallSucceeded, CallFailed, CallAbandoned
]
"""All that an observer can be told."""

Observer = Callable[[CallEvent], None]
"""Is told what happens; it must not raise.  While it is false (``__bool__``), it is told nothing."""
