"""The machine of one request and its answer, without any I/O: sent, retried, read, understood."""

from __future__ import annotations

import abc
from collections import deque
from contextlib import suppress
from itertools import chain
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    NoReturn,
    Optional,
    Protocol,
    Sequence,
    TypeVar,
    cast,
)

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
from .call import ENDS, TRANSITIONS, AnyCall, Call, Input, ItemsCall, State, StreamCall, next_state
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
from .observing import (
    CallAbandoned,
    CallFailed,
    CallSucceeded,
    Observer,
    RequestStarted,
    ResponseStarted,
    RetryScheduled,
    StreamStarted,
)
from .retry import Outcome, RetryPolicy
from .sse import RawEvent, SSEDecoder

__all__ = ["Assembled", "EndOfReading", "EventStream", "EventsReader", "LineStream", "Terms", "WholeAnswer"]

T = TypeVar("T")
E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
R = TypeVar("R")

# An answer without success is read for its message alone; a server that never ends it is not followed further.
_MAX_ERROR_BODY = 1 << 20

# White space, and the bytes of a byte order mark, which may come one by one.
_BEFORE_A_DOCUMENT = b" \t\r\n\xef\xbb\xbf"

_DONE = Done()
# Where it does not matter what else comes of the answer.
_UNCONCERNED = ENDS | {State.WAIT}

# Members that each call and each piece of a stream need.  Before Python 3.12, to ask their class for one takes ten
# times as long as to compare it.
_SEND_REQUEST, _RECEIVE_BODY, _RECEIVE_EVENTS = State.SEND_REQUEST, State.RECEIVE_BODY, State.RECEIVE_EVENTS
_RESPONSE, _EVENTS, _DATA, _EOF, _SUCCEED = Input.RESPONSE, Input.EVENTS, Input.DATA, Input.EOF, Input.SUCCEED


class Terms:
    """On what terms a request is made.

    Args:
        policy: what is retried, and when.
        timeout: how patient the embedder should be.
        jitter: gives the factor for each wait between retries.
        secret: what no error may tell.
        observer: is told what happens.
        max_answer_size: bytes of an answer that is read as a whole, or of a line; ``None`` without limit.
        max_event_size: bytes of an event; ``None`` without limit.
    """

    # No dataclass: it would show the secret in its repr.
    __slots__ = ("jitter", "max_answer_size", "max_event_size", "observer", "policy", "secret", "timeout")

    def __init__(
        self,
        policy: RetryPolicy,
        timeout: Timeout,
        jitter: Callable[[], float],
        secret: str,
        observer: Optional[Observer] = None,
        max_answer_size: Optional[int] = None,
        max_event_size: Optional[int] = None,
    ) -> None:
        self.policy = policy
        self.timeout = timeout
        self.jitter = jitter
        self.secret = secret
        self.observer = observer
        self.max_answer_size = max_answer_size
        self.max_event_size = max_event_size


class _Exchange(AnyCall, Generic[T]):
    """One request and its answer: sending, retrying, failing."""

    _kind = "Call"
    _is_stream = False
    _receiving = "receiving the answer"

    def __init__(self, request: Request, terms: Terms) -> None:
        self._state = _SEND_REQUEST
        # None until the request is asked for the first time, and once the call has failed.
        self._action: Optional[Action] = None
        self._request = request
        self._terms = terms
        self._attempt = 0
        self._head: Optional[ResponseHead] = None
        self._body: List[bytes] = []
        self._body_size = 0
        self._value: Optional[T] = None
        self._error: Optional[MeshAPIError] = None
        self._is_abandoned = False
        self._max_size = terms.max_answer_size

    def __repr__(self) -> str:
        return f"<{self._kind} {self._request.method} {self._request.url} {self._state.name}>"

    @property
    def state(self) -> State:
        return self._state

    @property
    def timeout(self) -> Timeout:
        return self._terms.timeout

    @property
    def response(self) -> Optional[ResponseHead]:
        return self._head

    @property
    def error(self) -> Optional[MeshAPIError]:
        return self._error if self.state is State.FAILED else None

    def next_action(self) -> Action:
        if self._action is None:
            if self._state is not _SEND_REQUEST:
                self._raise_error()
            self._action = SendRequest(self._request)
            self._announce()
        return self._action

    def request_sent(self) -> None:
        self._state = next_state(self._state, Input.REQUEST_SENT)
        self._action = NEED_RESPONSE

    def receive_response(self, status: int, headers: HeadersLike) -> None:
        state = next_state(self._state, _RESPONSE)
        if 100 <= status < 200:
            if self._state is _SEND_REQUEST:
                self.request_sent()
            return
        self._state = state
        self._action = NEED_DATA
        self._head = ResponseHead(status, Headers(headers))
        if self._terms.observer:
            self._terms.observer(ResponseStarted(self, self._head))

    def receive_data(self, data: bytes) -> None:
        self._state = next_state(self._state, _DATA)
        if self._state not in _UNCONCERNED:
            self._collect(data)

    def receive_eof(self) -> None:
        self._state = next_state(self._state, _EOF)
        if self._state not in _UNCONCERNED:
            self._decide(None)

    def receive_failure(self, failure: Failure, cause: Optional[BaseException] = None) -> None:
        was_waiting = self._state is State.WAIT
        self._state = next_state(self._state, Input.FAILURE)
        if was_waiting:
            self._end_in_failure()
        elif not self.is_over:
            self._decide(failure, cause)

    def wait_elapsed(self) -> None:
        self._state = next_state(self._state, Input.WAIT_ELAPSED)
        self._attempt += 1
        self._error = None
        self._head = None
        self._body.clear()
        self._body_size = 0
        self._action = None

    def abandon(self) -> None:
        # What was never begun is not left.
        is_begun = self._action is not None or self._attempt > 0
        if self._terms.observer and is_begun and not self.is_over and not self._is_abandoned:
            self._is_abandoned = True
            self._terms.observer(CallAbandoned(self))

    def _conclude(self, conclusion: Input) -> None:
        self._state = TRANSITIONS[self._state][conclusion]

    def _collect(self, data: bytes) -> None:
        self._body.append(data)
        self._body_size += len(data)
        limit = self._max_size
        if self._head is None or _is_success(self._head):
            if limit is not None and self._body_size > limit:
                self._refuse_size("the answer", "max_answer_size", limit)
        elif self._body_size > _MAX_ERROR_BODY:
            self._conclude(Input.END)
            self._decide(None)

    def _refuse_size(self, what: str, limit: str, size: Optional[int]) -> None:
        head = self._head
        assert head is not None  # no data comes before the head
        # What has come of it is of no use to anyone.
        self._body.clear()
        error = ResponseParseError(
            f"{what} is larger than the {size} bytes that {limit} allows",
            status=head.status,
            error_code="parse_error",
            request_id=head.request_id,
        )
        self._conclude(Input.END)
        self._fail_or_retry(self._with_partial(error), None, None)

    def _with_partial(self, error: MeshAPIError) -> MeshAPIError:
        """`error`, which from now on knows what had come before it, where that can be put together."""
        return error

    def _decide(self, failure: Optional[Failure], cause: Optional[BaseException] = None) -> None:
        """Conclude from the whole answer, or from what is there of it, what comes next."""
        try:
            self._value = self._evaluate(failure)
        except MeshAPIError as error:
            self._fail_or_retry(error, failure, cause)
        else:
            self._conclude(_SUCCEED)
            self._action = _DONE
            if self._terms.observer:
                self._terms.observer(CallSucceeded(self))

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
        redact(error, self._terms.secret)
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
        # Whatever a policy of the caller's own says, what has begun does not begin again.
        delay = None if outcome.started else self._terms.policy.delay(self._attempt, outcome, self._terms.jitter)
        self._error = error
        if delay is None:
            self._conclude(Input.FAIL)
            self._end_in_failure()
        else:
            self._conclude(Input.RETRY)
            self._action = Wait(delay)
            if self._terms.observer:
                self._terms.observer(RetryScheduled(self, delay, error))

    def _announce(self) -> None:
        if self._terms.observer:
            request = self._request
            url = request.url.partition("?")[0]
            self._terms.observer(RequestStarted(self, request.method, url, self._attempt, request.content))

    def _end_in_failure(self) -> None:
        self._action = None
        if self._terms.observer and self._error is not None:
            self._terms.observer(CallFailed(self, self._error))

    def _check_done(self) -> None:
        if self._state not in ENDS:
            raise LocalProtocolError(f"the call has no result in state {self._state.name}; drive it until Done")
        if self._error is not None:
            self._raise_error()

    def _raise_error(self) -> NoReturn:
        assert self._error is not None  # without an action there is an error
        # Else each time that it is raised would add to the traceback of the time before.
        raise self._error.with_traceback(None)


class WholeAnswer(_Exchange[T], Call[T]):
    """A call whose answer is read as a whole."""

    def __init__(
        self,
        request: Request,
        terms: Terms,
        *,
        read_answer: Callable[[ResponseHead, bytes], T],
        is_bounded: bool = True,
    ) -> None:
        super().__init__(request, terms)
        self._read_answer = read_answer
        if not is_bounded:
            self._max_size = None

    @property
    def result(self) -> T:
        self._check_done()
        # Set on the way to DONE; None only if T allows it.
        return cast("T", self._value)

    def _evaluate(self, failure: Optional[Failure]) -> T:
        head = self._checked_head(failure)
        return self._read_answer(head, b"".join(self._body))


class Assembled(NamedTuple):
    """What the events of a stream amount to.

    Attributes:
        fields: the events put together, as the fields of one answer.
        is_complete: whether the stream could properly end after these events, without a ``[DONE]``.
    """

    fields: Dict[str, Any]
    is_complete: bool


class EndOfReading(Protocol):
    """Is told how the reading of events has ended."""

    def __call__(
        self, unread: Iterator[RawEvent], is_done: bool, error: Optional[MeshAPIError] = None, /
    ) -> Iterable[Any]:
        """What shall be given out yet.

        Args:
            unread: the events, all of which have been read.
            is_done: whether the last was a ``[DONE]``.
            error: what the last reported, or what was wrong with it.
        """
        ...


class EventsReader(Protocol[E_co]):
    """Reads raw events as they are asked for."""

    def __call__(
        self,
        head: ResponseHead,
        unread: Iterator[RawEvent],
        end: EndOfReading,
        /,
    ) -> Iterator[E_co]:
        """What `unread` stands for, up to a ``[DONE]`` or an error; nothing is left in it then.

        Args:
            head: that of the answer.
            unread: the events.
            end: called in the end; gives what shall come after all.
        """
        ...


class _Items(_Exchange[None], ItemsCall[E]):
    """A call that hands out what the body brings before the whole of it has come."""

    _end: str

    def __init__(self, request: Request, terms: Terms) -> None:
        super().__init__(request, terms)
        # Made when there is something to be put away: most streams have nothing, and empty it takes as much as two
        # chunks.
        self._events: Optional[Deque[E]] = None

    def events(self) -> Iterator[E]:
        while self._events:
            yield self._events.popleft()

    def _checked_head(self, failure: Optional[Failure]) -> ResponseHead:
        head = self._head
        if failure is Failure.CONNECTION_LOST and head is not None and _is_success(head):
            raise _interrupted(head, f"the connection was lost before the {self._end}")
        return super()._checked_head(failure)


class LineStream(_Items[E]):
    """A call whose answer is a row of lines, each of which is an item."""

    _kind = "ItemsCall"
    _end = "file's end"

    def __init__(
        self,
        request: Request,
        terms: Terms,
        *,
        read_line: Callable[[ResponseHead, str], E],
    ) -> None:
        super().__init__(request, terms)
        self._read_line = read_line
        self._has_lines = False
        # The beginning of a line whose end has not come.
        self._pieces: List[bytes] = []
        self._line_size = 0

    @property
    def _has_started(self) -> bool:
        return self._has_lines

    # The request for a file is like any other until something of it has come.
    _is_stream = _has_started

    def _collect(self, data: bytes) -> None:
        head = self._head
        assert head is not None  # no data comes before the head
        if not _is_success(head):
            super()._collect(data)
            return
        self._has_lines = self._has_lines or bool(data)
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._pieces, lines[0]])
            self._pieces.clear()
            self._line_size = 0
        self._pieces.append(rest)
        self._line_size += len(rest)
        limit = self._max_size
        try:
            for line in lines:
                if limit is not None and len(line) > limit:
                    self._refuse_size("a line", "max_answer_size", limit)
                    return
                self._receive_line(head, line)
        except MeshAPIError as error:
            self._conclude(Input.END)
            self._fail_or_retry(error, None, None)
            return
        if limit is not None and self._line_size > limit:
            self._refuse_size("a line", "max_answer_size", limit)

    def _evaluate(self, failure: Optional[Failure]) -> None:
        # The last line need not be ended.
        self._receive_line(self._checked_head(failure), b"".join(self._pieces))

    def _receive_line(self, head: ResponseHead, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip("\ufeff \t\r")
        if text:
            self._events = self._events or deque()
            self._events.append(self._read_line(head, text))


class EventStream(_Items[E], StreamCall[E, R]):
    """A call whose answer is a stream of Server-Sent Events."""

    _kind = "StreamCall"
    _is_stream = True
    _receiving = "waiting for the next event"
    _end = "stream's last event"

    def __init__(
        self,
        request: Request,
        terms: Terms,
        *,
        read_events: EventsReader[E],
        assemble: Callable[[Sequence[E]], Assembled],
        read_assembled: Callable[[ResponseHead, Dict[str, Any]], R],
        text_of: Optional[Callable[[E], str]],
        read_whole: Callable[[ResponseHead, bytes], Any],
    ) -> None:
        super().__init__(request, terms)
        self._read = read_events
        self._assemble = assemble
        self._read_assembled = read_assembled
        self._text_of = text_of
        self._read_whole = read_whole
        self._decoder = SSEDecoder(terms.max_event_size)
        # What came last, until all of it has been read.
        self._unread: Optional[Iterator[RawEvent]] = None
        # Kept unread, and read again only for the whole, or when a stream ends without a word: most never need it.
        self._received: List[RawEvent] = []
        self._may_be_whole = True
        # The body of an error is not yet anything of a stream.
        self._has_begun = False
        self._has_events = False
        self._is_done = False

    @property
    def result(self) -> R:
        self._read_ahead()
        self._check_done()
        head = self._head
        assert head is not None  # without an answer, no call is done
        try:
            return self._read_assembled(head, self._assemble(self._events_so_far()).fields)
        except MeshAPIError as error:
            redact(error, self._terms.secret)
            raise

    def text_of(self, event: E) -> str:
        if self._text_of is None:
            raise TypeError(f"a {type(event).__name__} has no text")
        return self._text_of(event)

    def receive_response(self, status: int, headers: HeadersLike) -> None:
        super().receive_response(status, headers)
        head = self._head
        if head is not None and _is_success(head) and _may_be_events(head):
            self._conclude(_EVENTS)

    def receive_data(self, data: bytes) -> None:
        if type(data) is not bytes:
            # h11 has bytearrays, of which a slice is another.
            data = bytes(data)
        if self._unread is not None or self._may_be_whole or self._state is not _RECEIVE_EVENTS:
            data = self._check_data(data)
            if self._state is not _RECEIVE_EVENTS:
                return
        events = self._decoder.receive_raw(data)
        if events or self._decoder.is_overfull:
            self._received += events
            self._unread = iter(events)

    def receive_eof(self) -> None:
        self._read_ahead()
        super().receive_eof()

    def receive_failure(self, failure: Failure, cause: Optional[BaseException] = None) -> None:
        self._read_ahead()
        super().receive_failure(failure, cause)

    @property
    def state(self) -> State:
        self._read_ahead()
        return self._state

    def next_action(self) -> Action:
        self._read_ahead()
        return super().next_action()

    def events(self) -> Iterator[E]:
        if self._unread is None or self._head is None:
            return super().events()
        # Objects that are let go before the next is made cost half of what a list of them does: no garbage collector
        # ever sees them, and each is made where the one before it was.
        events = self._read(self._head, self._unread, self._end_reading)
        if self._terms.observer and not self._has_events:
            events = self._announced(self._terms.observer, events)
        return chain(super().events(), events) if self._events else events

    def _read_ahead(self) -> None:
        """Read what has come before anything is decided that depends on it."""
        if self._unread is not None:
            # Put away, since whoever reads is given them in the end.
            events, self._events = self._events or deque(), None
            try:
                events.extend(self.events())
            finally:
                self._events = events

    def _announced(self, observer: Observer, events: Iterator[E]) -> Iterator[E]:
        for event in events:
            self._has_events = True
            observer(StreamStarted(self))
            yield event
            break
        yield from events

    def _end_reading(
        self, unread: Iterator[RawEvent], is_done: bool, error: Optional[MeshAPIError] = None
    ) -> Iterable[E]:
        """Conclude from how the reading ended; the events that were read ahead of whoever has been reading."""
        if self._unread is unread:
            self._unread = None
            if error is not None:
                self._conclude(Input.END)
                self._fail_or_retry(self._with_partial(error), None, None)
            elif is_done:
                self._conclude(Input.END)
                self._is_done = True
                self._decide(None)
            elif self._decoder.is_overfull:
                self._refuse_size("an event", "max_event_size", self._terms.max_event_size)
        return super().events() if self._events else ()

    def _check_data(self, data: bytes) -> bytes:
        """What of `data` belongs to the events, now that all before it has been read."""
        self._read_ahead()
        self._state = next_state(self._state, _DATA)
        if data and not self._has_begun and self._head is not None and _is_success(self._head):
            self._has_begun = True
            # Never to be sent again; a conversation can be much longer than what is kept of the answer to it.
            self._request = Request(self._request.method, self._request.url, self._request.headers)
        if self._state is _RECEIVE_EVENTS and self._is_whole_answer(data):
            self._conclude(Input.WHOLE)
            data = data.lstrip(_BEFORE_A_DOCUMENT)
        if self._state is _RECEIVE_BODY:
            self._collect(data)
        return data

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
            raise self._with_partial(error) from None
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

    def _with_partial(self, error: MeshAPIError) -> MeshAPIError:
        events = self._events_so_far()
        if self._head is not None and events:
            # What does not fit together is no part of the whole.
            with suppress(MeshAPIError):
                error.partial = self._read_assembled(self._head, self._assemble(events).fields)
        return error

    @property
    def _has_started(self) -> bool:
        return self._has_begun

    def _events_so_far(self) -> List[E]:
        """All events of the stream once more."""
        if self._head is None:
            return []
        # What ends the stream is no part of it, be it an error or the [DONE].
        return list(self._read(self._head, iter(self._received), lambda unread, is_done, error=None: ()))


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
