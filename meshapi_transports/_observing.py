"""What calls tell of themselves, handed on to ``logging.getLogger("meshapi")`` and to a client's observers."""

from __future__ import annotations

import logging
from typing import Iterable, Tuple

from meshapi_core import (
    CallEvent,
    CallFailed,
    CallSucceeded,
    Observer,
    RequestStarted,
    ResponseStarted,
    RetryScheduled,
    StreamStarted,
)

__all__ = ["Announcer"]

_LOGGER = logging.getLogger("meshapi")

# What is shorter is no key but a stand-in for one, such as "test", and part of many a word.
_SHORTEST_SECRET = 8


class Announcer:
    """An observer that tells all others, and the log; it is false while nobody wants to know.

    Args:
        observers: the client's; what one of them raises is logged, and stops neither the others nor the call.
        secret: what the log must not hold, though a server may put it into the name of a request.
    """

    def __init__(self, observers: Iterable[Observer], secret: str = "") -> None:
        self._observers = tuple(observers)
        self._secret = secret if len(secret) >= _SHORTEST_SECRET else ""
        for observer in self._observers:
            if not callable(observer):
                raise ValueError(f"observers must be callables that take an event, not {observer!r}")

    def __bool__(self) -> bool:
        return bool(self._observers) or _LOGGER.isEnabledFor(logging.INFO)

    def __call__(self, event: CallEvent) -> None:
        level, message = _told(event)
        if _LOGGER.isEnabledFor(level):
            _LOGGER.log(level, "%s", message.replace(self._secret, "[redacted]") if self._secret else message)
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                _LOGGER.exception("an observer raised an exception; the call goes on")


def _told(event: CallEvent) -> Tuple[int, str]:
    """How important an event is, and what it says, for people."""
    if isinstance(event, RequestStarted):
        again = f", retry {event.attempt}" if event.attempt else ""
        return logging.DEBUG, f"request: {event.method} {event.url}{again}"
    if isinstance(event, ResponseStarted):
        request = f", request id {event.response.request_id}" if event.response.request_id else ""
        provider = f", served by {event.served_provider}" if event.served_provider else ""
        attempts = f", routing attempts: {event.routing_attempts}" if event.routing_attempts else ""
        fallback = ", as a fallback" if event.is_fallback else ""
        return logging.DEBUG, f"response: status {event.response.status}{request}{provider}{attempts}{fallback}"
    if isinstance(event, RetryScheduled):
        return logging.INFO, f"retry: in {event.delay:.3f} s, after {event.error}"
    if isinstance(event, StreamStarted):
        return logging.DEBUG, f"stream: the first event has come{_request_of(event)}"
    if isinstance(event, CallSucceeded):
        return logging.DEBUG, f"done{_request_of(event)}"
    if isinstance(event, CallFailed):
        return logging.DEBUG, f"failed: {event.error}"
    return logging.DEBUG, f"abandoned{_request_of(event)}"


def _request_of(event: CallEvent) -> str:
    return f": request id {event.call.request_id}" if event.call.request_id else ""
