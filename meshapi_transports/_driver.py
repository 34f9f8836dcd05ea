"""What driving a call is, whatever the colour of the code that does it."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import Any, Callable, Generic, Iterator, List, Mapping, Optional, Set, Tuple, Type, TypeVar

from typing_extensions import TypeVar as TypeVarWithDefault

from meshapi_core import (
    AnyCall,
    Failure,
    HeadersLike,
    ItemsCall,
    Patience,
    Request,
    ResponseHead,
    State,
    Timeout,
    __version__,
)

from ._content_coding import ACCEPT_ENCODING

__all__ = [
    "DRAIN_BYTES",
    "DRAIN_SECONDS",
    "IDLE_CONNECTIONS",
    "IDLE_SECONDS",
    "BaseItems",
    "BaseRun",
    "BaseStream",
    "FailureTable",
    "at_most",
    "headers_of",
]

E = TypeVar("E")
R = TypeVarWithDefault("R", default=Any)

_USER_AGENT = f"meshapi-transports/{__version__}"

# After the last event of a stream only the end of its framing is due: it comes at once, or is not worth waiting for.
DRAIN_SECONDS = 0.5
DRAIN_BYTES = 65536

# Of connections that are kept for reuse: how many, and for how many seconds.  How many are open at once has no limit:
# streams live long, and a pool that counted them would block the calls beside them.
IDLE_CONNECTIONS = 100
IDLE_SECONDS = 15.0

# Less than this is nothing: a clock's last digit, or the slack of a timer that fired.
_NO_TIME = 0.001

FailureTable = Mapping[Type[Exception], Failure]
"""Which exceptions an adapter can raise, and what each means; a class not listed counts as its nearest listed base."""


def headers_of(request: Request, *, is_own: bool = True) -> List[Tuple[str, str]]:
    """The header fields of `request`, and those that every adapter adds where they are not among them.

    Args:
        request: the core's request.
        is_own: whether the library's object is ours; one that was injected says itself who is asking.
    """
    fields = list(request.headers)
    names = {name.lower() for name, _ in fields}
    if "accept-encoding" not in names:
        fields.append(("Accept-Encoding", ACCEPT_ENCODING))
    if is_own and "user-agent" not in names:
        fields.append(("User-Agent", _USER_AGENT))
    return fields


def at_most(seconds: Optional[float], limit: Optional[float]) -> Optional[float]:
    """The shorter of two times, of which ``None`` is without end."""
    if seconds is None or limit is None:
        return limit if seconds is None else seconds
    return min(seconds, limit)


class BaseRun:
    """One call under way: its machine, its time, and what its transport's exceptions mean."""

    def __init__(self, call: AnyCall, failures: FailureTable, current_time: Callable[[], float]) -> None:
        self._call = call
        self._failures = failures
        self._exceptions = tuple(failures)
        self._current_time = current_time
        # Counted from the first request: before that, there need not even be a loop that could tell the time.
        self._begun: Optional[Patience] = None
        self._is_waiting = False

    @property
    def _patience(self) -> Patience:
        if self._begun is None:
            self._begun = Patience(self._call.timeout, self._current_time())
        return self._begun

    def received(self) -> None:
        """What the caller waits for has come."""
        self._is_waiting = False

    def _limits_for_sending(self) -> Timeout:
        self._is_waiting = False
        left = self._patience.total_left(self._current_time())
        return self._call.timeout if left is None else replace(self._call.timeout, total=max(left, _NO_TIME))

    def _limit_for_reading(self) -> Optional[float]:
        now, patience = self._current_time(), self._patience
        if not self._is_waiting:
            # From now, and not from the last event: the time that the caller took for that is not the server's.
            patience.start_waiting(now)
            self._is_waiting = True
        return patience.seconds_left(now)

    def _allows(self, seconds: float) -> bool:
        return self._patience.allows(seconds, self._current_time())

    def _receive_head(self, status: int, headers: HeadersLike) -> None:
        if status < 200:
            # An interim answer, from a library that shows no other after it: the answer will never come.
            self._fail_with(Failure.CONNECTION_LOST)
        else:
            self._call.receive_response(status, headers)

    def _receive(self, data: bytes) -> None:
        if data:
            self._call.receive_data(data)
        else:
            self._call.receive_eof()

    def _fail(self, error: Exception) -> None:
        failure = next(self._failures[cls] for cls in type(error).__mro__ if cls in self._failures)
        _forget_locals(error)
        self._fail_with(failure, error)

    def _fail_with(self, failure: Failure, cause: Optional[Exception] = None) -> None:
        # Once the time for the whole call is used up, nothing else matters.
        left = self._patience.total_left(self._current_time())
        is_late = left is not None and left < _NO_TIME
        self._call.receive_failure(Failure.DEADLINE if is_late else failure, cause)


def _forget_locals(error: BaseException) -> None:
    # The library's frames hold the request with its Authorization, and the error is chained to the one that the caller
    # sees: whoever prints tracebacks with their locals, as error trackers do, would print the token.
    chain: Optional[BaseException] = error
    seen: Set[int] = set()
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


class BaseItems(Generic[E]):
    """What a row of items can tell of itself without any I/O."""

    # What the caller waits for: events, however many bytes come between them, or anything at all.
    _waits_for_events = False
    # Until __init__ is through, there is nothing to close.
    _is_closed = True
    # Whether it was closed before its end.
    _was_left = False

    def __init__(self, call: ItemsCall[E]) -> None:
        self._call = call
        self._events: Iterator[E] = iter(())
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._call!r}>"

    @property
    def response(self) -> Optional[ResponseHead]:
        """The status and the header fields of the answer; ``None`` until they have come."""
        return self._call.response

    @property
    def request_id(self) -> str:
        """The gateway's name for the request; ``""`` until the answer's head has come, or if it gave none."""
        return self._call.request_id

    def _raise_if_failed(self) -> None:
        # A stream that has failed never looks as if it had ended, however often it is asked.
        if self._call.state is State.FAILED:
            self._call.next_action()


class BaseStream(BaseItems[E], Generic[E, R]):
    """What a stream can tell of itself without any I/O."""

    _waits_for_events = True

    @property
    def _can_be_entered(self) -> bool:
        # The head is there, or nothing is to come any more.
        return self._call.state is State.RECEIVE_EVENTS or self._is_closed
