"""Calls that take several requests: a generator says which, each a call of its own.

The generator yields

- a call, and is sent what that results in, or is thrown the `MeshAPIError` that it failed with: to let it pass, or to
  go on all the same,
- a `Wait`, and goes on when that has elapsed,
- items, for whoever drives the call to take,

and returns the value of the whole.  It does no I/O either: it is told what happened, and says what is next.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Generator, Generic, Iterator, Optional, Sequence, TypeVar, Union, cast

from .actions import Action, Done, Failure, HeadersLike, ResponseHead, Wait
from .call import AnyCall, Call, Input, ItemsCall, State, next_state
from .config import Timeout
from .errors import LocalProtocolError, MeshAPIError, error_from_failure

__all__ = ["CallOfSteps", "ItemsOfSteps", "Steps"]

T = TypeVar("T")
E = TypeVar("E")

Steps = Generator[Union[Call[Any], ItemsCall[Any], Wait, Sequence[Any]], Any, T]
"""What comes next, time after time, and in the end the value."""

_DONE = Done()


class _Steps(AnyCall, Generic[T]):
    """One step after another."""

    _kind: str

    def __init__(
        self, steps: Steps[T], timeout: Timeout, clean: Callable[[MeshAPIError], None] = lambda error: None
    ) -> None:
        self._steps = steps
        self._timeout = timeout
        # Takes out of an error what it must not tell; no frame of this file holds what that is.
        self._clean = clean
        self._items: Deque[Any] = deque()
        self._call: Union[Call[Any], ItemsCall[Any], None] = None
        self._head: Optional[ResponseHead] = None
        # Where the whole stands while no call is under way.
        self._state: Optional[State] = None
        self._wait: Optional[Wait] = None
        self._value: Optional[T] = None
        self._error: Optional[BaseException] = None
        self._go_on(lambda: next(steps))

    def __repr__(self) -> str:
        return f"<{self._kind} {self.state.name}, {self._call!r}>"

    @property
    def state(self) -> State:
        return self._current.state if self._state is None else self._state

    @property
    def timeout(self) -> Timeout:
        return self._timeout

    @property
    def response(self) -> Optional[ResponseHead]:
        # What has come is known until there is more.
        return self._head if self._call is None else self._call.response or self._head

    @property
    def error(self) -> Optional[MeshAPIError]:
        return self._error if isinstance(self._error, MeshAPIError) else None

    def next_action(self) -> Action:
        if self._state is State.DONE:
            return _DONE
        if self._state is State.WAIT:
            assert self._wait is not None  # set on the way to this state
            return self._wait
        self._raise_if_failed()
        return self._current.next_action()

    def request_sent(self) -> None:
        if self._is_under_way(Input.REQUEST_SENT):
            self._current.request_sent()

    def receive_response(self, status: int, headers: HeadersLike) -> None:
        if self._is_under_way(Input.RESPONSE):
            self._current.receive_response(status, headers)
            self._settle()

    def receive_data(self, data: bytes) -> None:
        if self._is_under_way(Input.DATA):
            self._current.receive_data(data)
            self._settle()

    def receive_eof(self) -> None:
        if self._is_under_way(Input.EOF):
            self._current.receive_eof()
            self._settle()

    def receive_failure(self, failure: Failure, cause: Optional[BaseException] = None) -> None:
        # Whoever drives the call has no more time for it: neither for another try nor for another step.
        is_last = failure is Failure.DEADLINE or self.state is State.WAIT
        if self._is_under_way(Input.FAILURE):
            self._current.receive_failure(failure, cause)
            self._settle(is_last)
        elif self._state is State.WAIT:
            error = error_from_failure(failure, None, "waiting")
            error.__cause__ = cause
            self._fail(error, is_last=True)

    def wait_elapsed(self) -> None:
        if self._is_under_way(Input.WAIT_ELAPSED):
            self._current.wait_elapsed()
        else:
            self._go_on(lambda: next(self._steps))

    def abandon(self) -> None:
        if not self.is_over and self._call is not None:
            self._call.abandon()

    @property
    def _current(self) -> Union[Call[Any], ItemsCall[Any]]:
        assert self._call is not None  # the first step is a call
        return self._call

    def _is_under_way(self, move: Input) -> bool:
        """Whether a call is, which will then see for itself whether the move is legal."""
        if self._state is None:
            return True
        next_state(self._state, move)
        return False

    def _settle(self, is_last: bool = False) -> None:
        """Take what the call has brought, and once it is over, the next step."""
        call = self._current
        self._head = call.response or self._head
        if isinstance(call, ItemsCall):
            self._items += call.events()
        if call.error is not None:
            self._fail(call.error, is_last)
        elif call.is_over:
            value = call.result if isinstance(call, Call) else None
            self._go_on(lambda: self._steps.send(value))

    def _fail(self, error: MeshAPIError, is_last: bool) -> None:
        self._go_on(lambda: self._steps.throw(error))
        if is_last and not self.is_over:
            self._steps.close()
            self._state, self._error = State.FAILED, error

    def _go_on(self, step: Callable[[], Any]) -> None:
        try:
            following = step()
            while not isinstance(following, (Call, ItemsCall, Wait)):
                self._items += following
                following = next(self._steps)
        except StopIteration as end:
            self._state, self._value = State.DONE, end.value
        except BaseException as error:
            self._state, self._error = State.FAILED, error
            if not isinstance(error, MeshAPIError):
                # Not ours: what was to be told of the progress went wrong.
                raise
            self._clean(error)
            error.__context__ = error.__traceback__ = None
        else:
            if isinstance(following, Wait):
                self._state, self._wait = State.WAIT, following
            else:
                self._state, self._call = None, following

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            # Else each time that it is raised would add to the traceback of the time before.
            raise self._error.with_traceback(None)


class CallOfSteps(_Steps[T], Call[T]):
    """A call whose value comes of several requests."""

    _kind = "Call"

    @property
    def result(self) -> T:
        self._raise_if_failed()
        if self._state is not State.DONE:
            raise LocalProtocolError(f"the call has no result in state {self.state.name}; drive it until Done")
        return cast("T", self._value)


class ItemsOfSteps(_Steps[None], ItemsCall[E]):
    """A call whose items come of several requests."""

    _kind = "ItemsCall"

    def events(self) -> Iterator[E]:
        while self._items:
            yield self._items.popleft()
