"""The machine: one call to the gateway, from its first request to its value, without any I/O.

The embedder asks `next_action`, does what it says, and reports what came of it; the machine decides.  Which report is
legal when is data, in `TRANSITIONS`.  Reports come in two kinds: what the embedder saw (``RESPONSE``, ``DATA``, ...)
and what the machine concluded from it (``EVENTS``, ``RETRY``, ...).  ``DECIDE`` is never seen from outside: a report
that leads there is followed by a conclusion at once.
"""

from __future__ import annotations

import abc
import enum
from typing import Any, Callable, Dict, Generic, List, NamedTuple, NoReturn, Optional, Sequence, TypeVar, Union, cast

from ._json import json_object
from .actions import (
    NEED_DATA,
    NEED_RESPONSE,
    Action,
    Done,
    Failure,
    Headers,
    HeadersLike,
    Request,
    ResponseHead,
    SendRequest,
    Wait,
)
from .config import Timeout
from .errors import (
    LocalProtocolError,
    MeshAPIError,
    ResponseParseError,
    StreamInterruptedError,
    error_from_answer,
    error_from_failure,
    error_from_frame,
    redact,
)
from .retry import Outcome, RetryPolicy
from .sse import ServerSentEvent, SSEDecoder

__all__ = ["TRANSITIONS", "AnyCall", "Assembled", "Call", "Input", "State", "StreamCall"]

T = TypeVar("T")
E = TypeVar("E")

# An answer without success is read for its message alone; a server that never ends it is not followed further.
_MAX_ERROR_BODY = 1 << 20

# White space, and the bytes of a byte order mark, which may come one by one.
_BEFORE_A_DOCUMENT = b" \t\r\n\xef\xbb\xbf"


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

# What an embedder can do about each state, for the message of a wrong move.
_EMBEDDERS_INPUTS = (Input.REQUEST_SENT, Input.RESPONSE, Input.DATA, Input.EOF, Input.FAILURE, Input.WAIT_ELAPSED)


_DONE = Done()
_ENDS = frozenset({State.DONE, State.FAILED})
# Where it does not matter what else comes of the answer.
_UNCONCERNED = _ENDS | {State.WAIT}


class _Machine(abc.ABC, Generic[T]):
    """What `Call` and `StreamCall` share: sending, retrying, failing."""

    _is_stream = False
    _receiving = "receiving the answer"

    def __init__(
        self,
        request: Request,
        *,
        policy: RetryPolicy,
        timeout: Timeout,
        jitter: Callable[[], float],
        secret: str,
    ) -> None:
        self._state = State.SEND_REQUEST
        self._action: Optional[Action] = SendRequest(request)
        self._request = request
        self._policy = policy
        self._timeout = timeout
        self._jitter = jitter
        self._secret = secret
        self._attempt = 0
        self._head: Optional[ResponseHead] = None
        self._body: List[bytes] = []
        self._body_size = 0
        self._value: Optional[T] = None
        self._error: Optional[MeshAPIError] = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._request.method} {self._request.url} {self._state.name}>"

    @property
    def state(self) -> State:
        """Where the call stands."""
        return self._state

    @property
    def timeout(self) -> Timeout:
        """How patient the embedder should be; the core has no clock to see to it."""
        return self._timeout

    @property
    def response(self) -> Optional[ResponseHead]:
        """The head of the answer; ``None`` until it has come, and again while a retry is under way."""
        return self._head

    @property
    def request_id(self) -> str:
        """The gateway's name for the request; ``""`` until the answer's head has come, or if it gave none."""
        return "" if self._head is None else self._head.request_id

    @property
    def is_over(self) -> bool:
        """Whether the call has come to its end, good or bad: there is nothing left to do for it."""
        return self._state in _ENDS

    @property
    def error(self) -> Optional[MeshAPIError]:
        """What the call has failed with, and `next_action` raises; ``None`` while it has not."""
        return self._error if self._state is State.FAILED else None

    def next_action(self) -> Action:
        """What to do next; asking twice changes nothing.

        Returns:
            `SendRequest`, `NEED_RESPONSE`, `NEED_DATA`, `Wait` or `Done`; each says what to call when it is done.

        Raises:
            MeshAPIError: the call has failed; a failed call stays failed.
        """
        if self._action is None:
            self._raise_error()
        return self._action

    def request_sent(self) -> None:
        """Report that the request is on its way, so that `next_action` asks for it no more.

        Not needed where sending returns with the head of the answer.

        Raises:
            LocalProtocolError: no request was to be sent.
        """
        self._state = self._after(Input.REQUEST_SENT)
        self._action = NEED_RESPONSE

    def receive_response(self, status: int, headers: HeadersLike) -> None:
        """Report the head of the answer; next, do what `next_action` says.

        Args:
            status: the HTTP status code; interim answers (1xx) may be reported, and say that the request was sent.
            headers: the header fields, as a mapping or as pairs of text or bytes.

        Raises:
            LocalProtocolError: no request was under way.
        """
        state = self._after(Input.RESPONSE)
        if 100 <= status < 200:
            if self._state is State.SEND_REQUEST:
                self.request_sent()
            return
        self._state = state
        self._action = NEED_DATA
        self._head = ResponseHead(status, Headers(headers))

    def receive_data(self, data: bytes) -> None:
        """Report the next bytes of the answer's body, free of transfer and content codings, in pieces of any size.

        Raises:
            LocalProtocolError: no body was being received.
        """
        self._state = self._after(Input.DATA)
        if self._state not in _UNCONCERNED:
            self._collect(data)

    def receive_eof(self) -> None:
        """Report that the answer's body has come to its proper end, as its framing has it (RFC 9112, section 6).

        A connection that ends before that is ``receive_failure(Failure.CONNECTION_LOST)``.

        Raises:
            LocalProtocolError: no body was being received.
        """
        self._state = self._after(Input.EOF)
        if self._state not in _UNCONCERNED:
            self._decide(None)

    def receive_failure(self, failure: Failure, cause: Optional[BaseException] = None) -> None:
        """Report that the transport failed; the machine decides whether to try again.

        While the machine waits to try again, this says that the embedder will not wait: the call then fails with the
        error that it was about to retry.

        Args:
            failure: what failed.
            cause: the transport's own exception, to be chained to the error.

        Raises:
            LocalProtocolError: nothing was under way.
        """
        was_waiting = self._state is State.WAIT
        self._state = self._after(Input.FAILURE)
        if was_waiting:
            self._action = None
        elif not self.is_over:
            self._decide(failure, cause)

    def wait_elapsed(self) -> None:
        """Report that the time the machine asked for has passed; next, it asks for the request to be sent again.

        Raises:
            LocalProtocolError: the machine was not waiting.
        """
        self._state = self._after(Input.WAIT_ELAPSED)
        self._attempt += 1
        self._error = None
        self._head = None
        self._body.clear()
        self._body_size = 0
        self._action = SendRequest(self._request)

    def _after(self, move: Input) -> State:
        legal = TRANSITIONS[self._state]
        if move not in legal:
            expected = [option.value for option in _EMBEDDERS_INPUTS if option in legal]
            raise LocalProtocolError(
                f"{move.value} is not legal in state {self._state.name}; "
                f"expected {' or '.join(expected) if expected else 'nothing more'}"
            )
        return legal[move]

    def _conclude(self, conclusion: Input) -> None:
        self._state = TRANSITIONS[self._state][conclusion]

    def _collect(self, data: bytes) -> None:
        self._body.append(data)
        self._body_size += len(data)
        if self._body_size > _MAX_ERROR_BODY and self._head is not None and not _is_success(self._head):
            self._conclude(Input.END)
            self._decide(None)

    def _decide(self, failure: Optional[Failure], cause: Optional[BaseException] = None) -> None:
        """Conclude from the whole answer, or from what is there of it, what comes next."""
        try:
            self._value = self._evaluate(failure)
        except MeshAPIError as error:
            self._fail_or_retry(error, failure, cause)
        else:
            self._conclude(Input.SUCCEED)
            self._action = _DONE

    @property
    def _has_started(self) -> bool:
        """Whether anything has come that must not come twice."""
        return False

    @abc.abstractmethod
    def _evaluate(self, failure: Optional[Failure]) -> T:
        """The value that the answer stands for, or the MeshAPIError that it or the failure stands for."""

    def _checked_head(self, failure: Optional[Failure]) -> ResponseHead:
        head = self._head
        if head is not None and not _is_success(head):
            # The status alone says what happened, even if the connection broke before the whole body had come.
            raise error_from_answer(head, b"".join(self._body)[:_MAX_ERROR_BODY])
        if failure is not None:
            raise error_from_failure(failure, head, "waiting for the answer" if head is None else self._receiving)
        assert head is not None  # the table lets nothing but a failure come before the head
        return head

    def _fail_or_retry(self, error: MeshAPIError, failure: Optional[Failure], cause: Optional[BaseException]) -> None:
        redact(error, self._secret)
        # The frames that it came through hold the answer as it was, and tell the caller nothing.
        error.__context__ = error.__traceback__ = None
        error.__cause__ = cause
        head = self._head
        outcome = Outcome(
            method=self._request.method,
            status=None if head is None else head.status,
            failure=failure,
            retry_after=error.retry_after_seconds,
            stream=self._is_stream,
            started=self._has_started,
        )
        delay = self._policy.delay(self._attempt, outcome, self._jitter)
        self._error = error
        if delay is None:
            self._conclude(Input.FAIL)
            self._action = None
        else:
            self._conclude(Input.RETRY)
            self._action = Wait(delay)

    def _raise_error(self) -> NoReturn:
        assert self._error is not None  # without an action there is an error
        # Else each time that it is raised would add to the traceback of the time before.
        raise self._error.with_traceback(None)


class Call(_Machine[T]):
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

    Whatever goes wrong on the way is ``call.receive_failure(Failure....)``.  To cancel a call, close its connection and
    forget it.
    """

    def __init__(
        self,
        request: Request,
        *,
        read_answer: Callable[[ResponseHead, bytes], T],
        policy: RetryPolicy,
        timeout: Timeout,
        jitter: Callable[[], float],
        secret: str,
    ) -> None:
        super().__init__(request, policy=policy, timeout=timeout, jitter=jitter, secret=secret)
        self._read_answer = read_answer

    @property
    def result(self) -> T:
        """The value, once `next_action` has said `Done`.

        Raises:
            MeshAPIError: the call has failed.
            LocalProtocolError: the call is still under way.
        """
        if self._state is State.DONE:
            # Set on the way to DONE; None only if T allows it.
            return cast("T", self._value)
        if self._state is State.FAILED:
            self._raise_error()
        raise LocalProtocolError(f"the call has no result in state {self._state.name}; drive it until Done")

    def events(self) -> List[NoReturn]:
        """Nothing, always: so that one loop can drive a `Call` and a `StreamCall`."""
        return []

    def _evaluate(self, failure: Optional[Failure]) -> T:
        head = self._checked_head(failure)
        return self._read_answer(head, b"".join(self._body))


class Assembled(NamedTuple):
    """What the events of a stream amount to.

    Attributes:
        value: the events put together, as one answer; ``None`` if there is nothing to put together.
        is_complete: whether the stream could properly end after these events, without a ``[DONE]``.
    """

    value: Any
    is_complete: bool


class StreamCall(_Machine[None], Generic[E]):
    """A call whose value comes piece by piece.

    Driven like a `Call`; after each step, take what has come: ``for chunk in stream.events(): ...``.  Events that came
    before an error are in `events` while `next_action` already raises it, so take them first.  To cancel a stream,
    close its connection and forget it.
    """

    _is_stream = True
    _receiving = "waiting for the next event"

    def __init__(
        self,
        request: Request,
        *,
        read_event: Callable[[ResponseHead, ServerSentEvent], Optional[E]],
        assemble: Callable[[Sequence[E]], Assembled],
        read_whole: Callable[[ResponseHead, bytes], Any],
        policy: RetryPolicy,
        timeout: Timeout,
        jitter: Callable[[], float],
        secret: str,
    ) -> None:
        super().__init__(request, policy=policy, timeout=timeout, jitter=jitter, secret=secret)
        self._read_event = read_event
        self._assemble = assemble
        self._read_whole = read_whole
        self._decoder = SSEDecoder()
        self._events: List[E] = []
        # Kept as it came, and read again only when a stream breaks or ends without a word: most never need it.
        self._received: List[bytes] = []
        self._may_be_whole = True
        self._is_done = False

    def events(self) -> List[E]:
        """Take the events that have come since this was last asked; the list is the caller's."""
        events, self._events = self._events, []
        return events

    def receive_response(self, status: int, headers: HeadersLike) -> None:
        super().receive_response(status, headers)
        head = self._head
        if head is not None and _is_success(head) and _may_be_events(head):
            self._conclude(Input.EVENTS)

    def receive_data(self, data: bytes) -> None:
        self._state = self._after(Input.DATA)
        if self._state in _UNCONCERNED:
            return
        if self._state is State.RECEIVE_EVENTS and self._is_whole_answer(data):
            self._conclude(Input.WHOLE)
            data = data.lstrip(_BEFORE_A_DOCUMENT)
        if self._state is State.RECEIVE_BODY:
            self._collect(data)
            return
        self._received.append(data)
        self._receive_events(self._decoder.receive_data(data))

    def wait_elapsed(self) -> None:
        super().wait_elapsed()
        self._may_be_whole = True

    def _receive_events(self, events: List[ServerSentEvent]) -> None:
        head = self._head
        assert head is not None  # no data comes before the head
        for event in events:
            if event.data.strip() == "[DONE]":
                self._is_done = True
                self._conclude(Input.END)
                self._decide(None)
                return
            try:
                item = self._read_event(head, event)
            except MeshAPIError as error:
                self._conclude(Input.END)
                self._fail_or_retry(self._with_partial(error), None, None)
                return
            if item is not None:
                self._events.append(item)

    def _is_whole_answer(self, data: bytes) -> bool:
        if not self._may_be_whole:
            return False
        start = data.lstrip(_BEFORE_A_DOCUMENT)[:1]
        self._may_be_whole = not start
        # No field of an event stream starts like this; a JSON or HTML document does, whatever its Content-Type says.
        return start in (b"{", b"[", b"<")

    def _evaluate(self, failure: Optional[Failure]) -> None:
        try:
            head = self._checked_head(failure)
        except MeshAPIError as error:
            raise self._with_partial(self._as_interruption(error, failure)) from None
        if self._body:
            raise self._error_from_whole(head, b"".join(self._body))
        if not self._is_done and not self._assemble(self._events_so_far()).is_complete:
            raise self._with_partial(_interrupted(head, "the stream ended before its last event"))

    def _error_from_whole(self, head: ResponseHead, body: bytes) -> MeshAPIError:
        text = body.decode("utf-8-sig", "replace")
        content_type = head.headers.get("content-type", "no content type")
        answer = json_object(text)
        if answer is not None and answer.get("error"):
            return error_from_frame(answer, text, head)
        error = ResponseParseError(
            f"asked for an event stream, the gateway answered with {content_type}: {text[:500]}",
            status=head.status,
            error_code="parse_error",
            request_id=head.request_id,
        )
        if answer is not None:
            error.partial = self._read_whole(head, body)
            error.message = (
                f"asked for an event stream, the gateway answered with one whole answer ({content_type}); "
                "it is in the attribute partial of this error, and create() is the method for such answers"
            )
        return error

    def _as_interruption(self, error: MeshAPIError, failure: Optional[Failure]) -> MeshAPIError:
        head = self._head
        if head is None or not _is_success(head) or failure is not Failure.CONNECTION_LOST:
            return error
        return _interrupted(head, "the connection was lost before the stream's last event")

    def _with_partial(self, error: MeshAPIError) -> MeshAPIError:
        events = self._events_so_far()
        if events:
            error.partial = self._assemble(events).value
        return error

    @property
    def _has_started(self) -> bool:
        head = self._head
        # The body of an error is not yet anything of a stream.
        return head is not None and _is_success(head) and bool(self._received or self._body)

    def _events_so_far(self) -> List[E]:
        """All events of the stream once more, from the bytes that brought them."""
        items: List[E] = []
        head, decoder = self._head, SSEDecoder()
        for event in (event for data in self._received for event in decoder.receive_data(data)):
            try:
                item = None if head is None else self._read_event(head, event)
            except MeshAPIError:
                # The error that ended the stream.
                break
            if item is not None:
                items.append(item)
        return items


AnyCall = Union[Call[Any], StreamCall[Any]]
"""What a driver drives."""


def _is_success(head: ResponseHead) -> bool:
    return 200 <= head.status < 300


def _may_be_events(head: ResponseHead) -> bool:
    content_type = head.headers.get("content-type", "")
    # Real streams come as text/plain, and without any type, too.
    return not content_type or content_type.lower().startswith(("text/event-stream", "text/plain", "application/octet"))


def _interrupted(head: ResponseHead, message: str) -> StreamInterruptedError:
    return StreamInterruptedError(
        message, status=head.status, error_code="stream_interrupted", request_id=head.request_id
    )
