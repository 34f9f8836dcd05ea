"""The core in a loop around `selectors`: one thread, several calls at once, and h11 for the grammar of HTTP.

Run it with the address of a gateway in MESHAPI_BASE_URL and a key in MESHAPI_API_KEY.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import time
from typing import Any, Callable, List, Optional

import h11

from meshapi_core import (
    AnyCall,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatMessage,
    Failure,
    MeshAPIConfig,
    MeshAPICore,
    MeshAPIError,
    Patience,
    Request,
    SendRequest,
    State,
    Wait,
)

# The loop


def run(exchanges: List[Exchange]) -> None:
    """Drive all of `exchanges` at once, until each has ended."""
    with selectors.DefaultSelector() as selector:
        for exchange in exchanges:
            exchange.start(selector)
        while running := [exchange for exchange in exchanges if not exchange.is_over]:
            wakes_at = min(exchange.wakes_at for exchange in running)
            seconds = None if wakes_at == math.inf else max(wakes_at - time.monotonic(), 0.0)
            for key, _ in selector.select(seconds):
                on_ready: Callable[[], None] = key.data
                on_ready()
            for exchange in running:
                exchange.wake_if_time_is_up()


# One call


class Exchange:
    """One call under way; the loop says when its socket is ready or its time is up.

    Args:
        call: what to drive; it is a stream's events that `on_event` gets.
        on_end: called once, unless the exchange is cancelled, with what the call failed with, or ``None``.
        on_event: called with each event of a stream.
    """

    def __init__(
        self,
        call: AnyCall,
        on_end: Callable[[Optional[MeshAPIError]], None],
        on_event: Callable[[Any], None] = lambda event: None,
    ) -> None:
        self.is_over = False
        self._call = call
        self._on_end = on_end
        self._on_event = on_event
        self._connection: Optional[Connection] = None
        self._pause_ends = math.inf

    def start(self, selector: selectors.BaseSelector) -> None:
        """Begin; nothing is sent before."""
        self._selector = selector
        self._patience = Patience(self._call.timeout, time.monotonic())
        if not self.is_over:
            self.advance()

    def cancel(self) -> None:
        """Stop, and close the connection at once; may be called at any time, also by `on_event`."""
        self.is_over = True
        self._close()

    @property
    def wakes_at(self) -> float:
        """When something is to be done, whatever the socket says."""
        return self._pause_ends if self._call.state is State.WAIT else self._patience.expires_at

    def wake_if_time_is_up(self) -> None:
        """Do what is to be done if `wakes_at` has come."""
        now = time.monotonic()
        if self.is_over or now < self.wakes_at:
            return
        if self._call.state is State.WAIT:
            self._call.wait_elapsed()
            self.advance()
        else:
            self._fail(self._patience.failure)

    def advance(self) -> None:
        """Do what the call asks for, until only the connection or the clock can bring it on."""
        while not self._call.is_over:
            action = self._call.next_action()
            if isinstance(action, SendRequest):
                return self._connect(action.request)
            if isinstance(action, Wait):
                return self._pause(action.seconds)
            is_event_awaited = self._call.state is State.RECEIVE_EVENTS
            if self._connection is None or not self._connection.report_next(self._call):
                return
            events = list(self._call.events())
            # The patience for a stream is counted from event to event: comments that keep it alive do not count.
            if events or not is_event_awaited:
                self._start_waiting()
            for event in events:
                self._on_event(event)
                if self.is_over:
                    return
        self.cancel()
        self._on_end(self._call.error)

    def _connect(self, request: Request) -> None:
        # A call of several requests is done with the answer to the one before.
        self._close()
        self._patience.start_connecting(time.monotonic())
        try:
            self._connection = Connection(request)
        except OSError as error:
            return self._fail(Failure.CONNECT, error)
        self._selector.register(self._connection.socket, selectors.EVENT_WRITE, self._on_ready)

    def _on_ready(self) -> None:
        connection = self._connection
        if connection is None:
            # A callback of another exchange has cancelled this one, in the same round of the loop.
            return
        was_sending = connection.is_sending
        try:
            connection.move_bytes()
        except OSError as error:
            return self._fail(Failure.CONNECTION_LOST if connection.is_connected else Failure.CONNECT, error)
        if not was_sending:
            return self.advance()
        self._start_waiting()
        if not connection.is_sending:
            self._call.request_sent()
            self._selector.modify(connection.socket, selectors.EVENT_READ, self._on_ready)

    def _start_waiting(self) -> None:
        self._patience.start_waiting(time.monotonic())

    def _pause(self, seconds: float) -> None:
        self._close()
        now = time.monotonic()
        if not self._patience.allows(seconds, now):
            return self._fail(Failure.DEADLINE)
        self._pause_ends = now + seconds

    def _fail(self, failure: Failure, cause: Optional[Exception] = None) -> None:
        self._call.receive_failure(failure, cause)
        self.advance()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._selector.unregister(connection.socket)
            connection.socket.close()


# HTTP


class Connection:
    """A connection for one request: bytes on the one side, what they tell a call on the other."""

    def __init__(self, request: Request) -> None:
        if request.scheme != "http":
            raise ValueError(f"this example does not speak TLS: {request.url}")
        self.is_connected = False
        self._http = h11.Connection(h11.CLIENT)
        self._unsent = memoryview(_bytes_of(request, self._http))
        found = socket.getaddrinfo(request.host, request.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        self.socket = socket.socket(family, kind, protocol)
        self.socket.setblocking(False)
        # What goes wrong at once is told by move_bytes all the same.
        self.socket.connect_ex(address)

    @property
    def is_sending(self) -> bool:
        """Whether the socket has to become writable next, rather than readable."""
        return bool(self._unsent)

    def move_bytes(self) -> None:
        """Send or read what can be, once the socket is ready."""
        if not self.is_connected:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            self.is_connected = True
        if self.is_sending:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        else:
            self._http.receive_data(self.socket.recv(65536))

    def report_next(self, call: AnyCall) -> bool:
        """Tell `call` in its own words what h11 finds next in the answer; False if it finds nothing yet."""
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            call.receive_failure(Failure.CONNECTION_LOST, error)
            return True
        if isinstance(event, (h11.InformationalResponse, h11.Response)):
            call.receive_response(event.status_code, event.headers)
        elif isinstance(event, h11.Data):
            call.receive_data(event.data)
        elif isinstance(event, h11.EndOfMessage):
            call.receive_eof()
        return event is not h11.NEED_DATA


def _bytes_of(request: Request, http: h11.Connection) -> bytes:
    headers = [*request.http1_headers(), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
    head = h11.Request(method=request.method, target=request.target, headers=headers)
    body = h11.Data(data=request.content or b"")
    return b"".join(http.send(event) or b"" for event in (head, body, h11.EndOfMessage()))


# The program


def main() -> None:
    core = MeshAPICore(MeshAPIConfig.from_environment(os.environ))
    params = ChatCompletionParams(messages=[ChatMessage(role="user", content="one two three")])
    call = core.chat.completions.create(params)
    words: List[str] = []

    def print_answer(error: Optional[MeshAPIError]) -> None:
        print("call:", error or [choice.message.content for choice in call.result.choices if choice.message])

    def print_words(error: Optional[MeshAPIError]) -> None:
        print("stream:", error or "|".join(words))

    def cancel_at_first_word(chunk: ChatCompletionChunk) -> None:
        if text_of(chunk):
            cancelled.cancel()
            print("cancelled after:", text_of(chunk))

    def print_failure(error: Optional[MeshAPIError]) -> None:
        print("not cancelled:", error)

    whole_stream = core.chat.completions.stream(params, max_retries=3)
    half_a_stream = core.chat.completions.stream(params, max_retries=3)
    cancelled = Exchange(half_a_stream, print_failure, cancel_at_first_word)
    run(
        [
            Exchange(call, print_answer),
            Exchange(whole_stream, print_words, lambda chunk: words.append(text_of(chunk))),
            cancelled,
        ]
    )


def text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


if __name__ == "__main__":
    main()
