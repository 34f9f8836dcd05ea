"""What driving a call is, whatever the colour of the code that does it."""

from __future__ import annotations

import traceback
from collections import deque
from typing import Any, Callable, Deque, Generic, Mapping, Optional, Type, TypeVar, Union

from meshapi_core import Call, Failure, ResponseHead, State, StreamCall, __version__

from ._time import Budget

__all__ = ["DRAIN_BYTES", "DRAIN_SECONDS", "USER_AGENT", "BaseRun", "BaseStream", "FailureTable"]

E = TypeVar("E")

USER_AGENT = f"meshapi-transports/{__version__}"

# After the last event of a stream only the end of its framing is due: it comes at once, or is not worth waiting for.
DRAIN_SECONDS = 0.5
DRAIN_BYTES = 65536

FailureTable = Mapping[Type[Exception], Failure]
"""Which exceptions an adapter can raise, and what each means; a class not listed counts as its nearest listed base."""


class BaseRun:
    """One call under way: its machine, its time, and what its transport's exceptions mean."""

    def __init__(
        self, call: Union[Call[Any], StreamCall[Any]], failures: FailureTable, current_time: Callable[[], float]
    ) -> None:
        self._call = call
        self._failures = failures
        self._exceptions = tuple(failures)
        self._budget = Budget(call.timeout, current_time)

    def received(self) -> None:
        """What the caller waits for has come."""
        self._budget.received()

    def _receive(self, data: bytes) -> None:
        if data:
            self._call.receive_data(data)
        else:
            self._call.receive_eof()

    def _fail(self, error: Exception) -> None:
        failure = next(self._failures[cls] for cls in type(error).__mro__ if cls in self._failures)
        _forget_locals(error)
        self._call.receive_failure(self._budget.failure(failure), error)


def _forget_locals(error: BaseException) -> None:
    # The library's frames hold the request with its Authorization, and the error is chained to the one that the caller
    # sees: whoever prints tracebacks with their locals, as error trackers do, would print the token.
    chain: Optional[BaseException] = error
    seen = set()
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


class BaseStream(Generic[E]):
    """What a stream can tell of itself without any I/O."""

    # Until __init__ is through, there is nothing to close.
    _is_closed = True

    def __init__(self, call: StreamCall[E]) -> None:
        self._call = call
        self._events: Deque[E] = deque()
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

    @property
    def _is_open(self) -> bool:
        return self._call.state is State.RECEIVE_EVENTS or self._is_closed

    def _raise_if_failed(self) -> None:
        # A stream that has failed never looks as if it had ended, however often it is asked.
        if self._call.state is State.FAILED:
            self._call.next_action()
