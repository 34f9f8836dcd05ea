"""A call to the gateway, from its first request to its value, as whoever drives it sees it; and the table of its moves.

The embedder asks `next_action`, does what it says, and reports what came of it; the machine decides.  Which report is
legal when is data, in `TRANSITIONS`.  Reports come in two kinds: what the embedder saw (``RESPONSE``, ``DATA``, ...)
and what the machine concluded from it (``EVENTS``, ``RETRY``, ...).  ``DECIDE`` is never seen from outside: a report
that leads there is followed by a conclusion at once.

A call that takes several requests goes through the table once for each of them.
"""

from __future__ import annotations

import abc
import enum
from typing import Any, Dict, Generic, Iterator, NoReturn, Optional, TypeVar

from typing_extensions import TypeVar as TypeVarWithDefault

from .actions import Action, Failure, HeadersLike, ResponseHead
from .config import Timeout
from .errors import LocalProtocolError, MeshAPIError

__all__ = ["TRANSITIONS", "AnyCall", "Call", "Input", "ItemsCall", "State", "StreamCall"]

T = TypeVar("T")
E = TypeVar("E")
R = TypeVarWithDefault("R", default=Any)


class State(enum.Enum):
    """Where a call stands."""

    SEND_REQUEST = "SEND_REQUEST"
    RECEIVE_RESPONSE = "RECEIVE_RESPONSE"
    RECEIVE_BODY = "RECEIVE_BODY"
    RECEIVE_EVENTS = "RECEIVE_EVENTS"
    DECIDE = "DECIDE"
    WAIT = "WAIT"
    DONE = "DONE"
    FAILED = "FAILED"

    # Members are unique, and the table is asked at each move: Enum's own hash is a call of Python code.
    __hash__ = object.__hash__


class Input(enum.Enum):
    """What moves a call on; the value says how it comes about: a method of the call, or the machine's conclusion."""

    REQUEST_SENT = "request_sent()"
    RESPONSE = "receive_response()"
    DATA = "receive_data()"
    EOF = "receive_eof()"
    FAILURE = "receive_failure()"
    WAIT_ELAPSED = "wait_elapsed()"

    EVENTS = "the body is an event stream"
    WHOLE = "the body is no event stream after all"
    END = "nothing more of the body matters"
    SUCCEED = "the value is there"
    RETRY = "try again"
    FAIL = "give up"

    __hash__ = object.__hash__


TRANSITIONS: Dict[State, Dict[Input, State]] = {
    State.SEND_REQUEST: {
        Input.REQUEST_SENT: State.RECEIVE_RESPONSE,
        Input.RESPONSE: State.RECEIVE_BODY,
        Input.FAILURE: State.DECIDE,
    },
    State.RECEIVE_RESPONSE: {
        Input.RESPONSE: State.RECEIVE_BODY,
        Input.FAILURE: State.DECIDE,
    },
    State.RECEIVE_BODY: {
        Input.EVENTS: State.RECEIVE_EVENTS,
        Input.DATA: State.RECEIVE_BODY,
        Input.EOF: State.DECIDE,
        Input.END: State.DECIDE,
        Input.FAILURE: State.DECIDE,
    },
    State.RECEIVE_EVENTS: {
        Input.DATA: State.RECEIVE_EVENTS,
        Input.WHOLE: State.RECEIVE_BODY,
        Input.EOF: State.DECIDE,
        Input.END: State.DECIDE,
        Input.FAILURE: State.DECIDE,
    },
    State.DECIDE: {
        Input.SUCCEED: State.DONE,
        Input.RETRY: State.WAIT,
        Input.FAIL: State.FAILED,
    },
    State.WAIT: {
        Input.WAIT_ELAPSED: State.SEND_REQUEST,
        Input.FAILURE: State.FAILED,
        # A parser may have more of the answer at hand, here and at the end.
        Input.DATA: State.WAIT,
        Input.EOF: State.WAIT,
    },
    State.DONE: {
        Input.DATA: State.DONE,
        Input.EOF: State.DONE,
        Input.FAILURE: State.DONE,
    },
    State.FAILED: {
        Input.DATA: State.FAILED,
        Input.EOF: State.FAILED,
        Input.FAILURE: State.FAILED,
    },
}
"""The legal moves: ``TRANSITIONS[state][input]`` is the next state; what is not there is a `LocalProtocolError`."""

ENDS = frozenset({State.DONE, State.FAILED})
"""Where a call is over."""

# What an embedder can do about each state, for the message of a wrong move.
_EMBEDDERS_INPUTS = (Input.REQUEST_SENT, Input.RESPONSE, Input.DATA, Input.EOF, Input.FAILURE, Input.WAIT_ELAPSED)


def next_state(state: State, move: Input) -> State:
    """The state that `move` leads to.

    Raises:
        LocalProtocolError: the move is not legal in `state`.
    """
    legal = TRANSITIONS[state]
    if move not in legal:
        expected = [option.value for option in _EMBEDDERS_INPUTS if option in legal]
        raise LocalProtocolError(
            f"{move.value} is not legal in state {state.name}; "
            f"expected {' or '.join(expected) if expected else 'nothing more'}"
        )
    return legal[move]


class AnyCall(abc.ABC):
    """What one loop can drive: a `Call`, an `ItemsCall` or a `StreamCall`."""

    @property
    @abc.abstractmethod
    def state(self) -> State:
        """Where the call stands."""

    @property
    @abc.abstractmethod
    def timeout(self) -> Timeout:
        """How patient the embedder should be; the core has no clock to see to it."""

    @property
    @abc.abstractmethod
    def response(self) -> Optional[ResponseHead]:
        """The head of the answer; ``None`` until it has come, and again while a retry is under way.

        Where a call takes several requests, it is that of the last answer that has come.
        """

    @property
    def request_id(self) -> str:
        """The gateway's name for the request; ``""`` until the answer's head has come, or if it gave none."""
        head = self.response
        return "" if head is None else head.request_id

    @property
    def is_over(self) -> bool:
        """Whether the call has come to its end, good or bad: there is nothing left to do for it."""
        return self.state in ENDS

    @property
    @abc.abstractmethod
    def error(self) -> Optional[MeshAPIError]:
        """What the call has failed with, and `next_action` raises; ``None`` while it has not."""

    @abc.abstractmethod
    def events(self) -> Iterator[Any]:
        """Take what has come piece by piece since this was last asked; nothing, always, if it is a `Call`."""

    @abc.abstractmethod
    def next_action(self) -> Action:
        """What to do next; asking twice changes nothing.

        Returns:
            `SendRequest`, `NEED_RESPONSE`, `NEED_DATA`, `Wait` or `Done`; each says what to call when it is done.

        Raises:
            MeshAPIError: the call has failed; a failed call stays failed.
        """

    @abc.abstractmethod
    def request_sent(self) -> None:
        """Report that the request is on its way, so that `next_action` asks for it no more.

        Not needed where sending returns with the head of the answer.

        Raises:
            LocalProtocolError: no request was to be sent.
        """

    @abc.abstractmethod
    def receive_response(self, status: int, headers: HeadersLike) -> None:
        """Report the head of the answer; next, do what `next_action` says.

        Args:
            status: the HTTP status code; interim answers (1xx) may be reported, and say that the request was sent.
            headers: the header fields, as a mapping or as pairs of text or bytes.

        Raises:
            LocalProtocolError: no request was under way.
        """

    @abc.abstractmethod
    def receive_data(self, data: bytes) -> None:
        """Report the next bytes of the answer's body, free of transfer and content codings, in pieces of any size.

        Raises:
            LocalProtocolError: no body was being received.
        """

    @abc.abstractmethod
    def receive_eof(self) -> None:
        """Report that the answer's body has come to its proper end, as its framing has it (RFC 9112, section 6).

        A connection that ends before that is ``receive_failure(Failure.CONNECTION_LOST)``.

        Raises:
            LocalProtocolError: no body was being received.
        """

    @abc.abstractmethod
    def receive_failure(self, failure: Failure, cause: Optional[BaseException] = None) -> None:
        """Report that the transport failed; the machine decides whether to try again.

        While the machine waits, this says that the embedder will not: the call then fails, with the error that it was
        about to retry if it was.

        Args:
            failure: what failed.
            cause: the transport's own exception, to be chained to the error.

        Raises:
            LocalProtocolError: nothing was under way.
        """

    @abc.abstractmethod
    def wait_elapsed(self) -> None:
        """Report that the time the machine asked for has passed; next, it asks for a request to be sent.

        Raises:
            LocalProtocolError: the machine was not waiting.
        """

    @abc.abstractmethod
    def abandon(self) -> None:
        """Say that nothing more will be done for the call; only observers learn of it.  Once it is over, nothing."""


class Call(AnyCall, Generic[T]):
    """A call whose value comes as a whole.

    Made by the methods of `MeshAPICore`; nothing is sent by making it.  Drive it until `Done`, then take `result`::

        while True:
            action = call.next_action()
            if isinstance(action, SendRequest):
                ...  # send action.request, then call.receive_response(status, headers)
            elif action is NEED_DATA:
                ...  # read, then call.receive_data(data) or call.receive_eof()
            elif isinstance(action, Wait):
                ...  # close the answer, wait action.seconds, then call.wait_elapsed()
            else:
                break
        value = call.result

    Whatever goes wrong on the way is ``call.receive_failure(Failure....)``.  Some calls take several requests: when one
    is to be sent, the answer before it has been read to its end.  To cancel a call, close its connection and forget it.
    """

    @property
    @abc.abstractmethod
    def result(self) -> T:
        """The value, once `next_action` has said `Done`.

        Raises:
            MeshAPIError: the call has failed.
            LocalProtocolError: the call is still under way.
        """

    def events(self) -> Iterator[NoReturn]:
        """Nothing, always: so that one loop can drive any call."""
        return iter(())


class ItemsCall(AnyCall, Generic[E]):
    """A call whose value is a row of items, such as the batches of all pages, or the lines of a file.

    Driven like a `Call`; after each step, take what has come: ``for item in call.events(): ...``.  Items that came
    before an error are in `events` while `next_action` already raises it, so take them first.  To cancel it, close its
    connection and forget it.
    """

    @abc.abstractmethod
    def events(self) -> Iterator[E]:
        """Take the items that have come, one by one; what is not taken comes the next time that this is asked."""


class StreamCall(ItemsCall[E], Generic[E, R]):
    """A call whose value comes piece by piece, as the events of a stream, and can be put together to a whole.

    Driven like an `ItemsCall`, whose items are the events.
    """

    @property
    @abc.abstractmethod
    def result(self) -> R:
        """What all events of the stream amount to, once `next_action` has said `Done`.

        Raises:
            MeshAPIError: the call has failed, or what came does not make up a value.
            LocalProtocolError: the call is still under way.
        """

    @abc.abstractmethod
    def text_of(self, event: E) -> str:
        """The text that `event` adds to what the model writes; ``""`` if it adds none.

        Raises:
            TypeError: the events of this stream have no text.
        """
