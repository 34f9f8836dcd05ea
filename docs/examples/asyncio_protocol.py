"""The core under asyncio without a coroutine: a Protocol, call_later, and h11 for the grammar of HTTP.

Run it with the address of a gateway in MESHAPI_BASE_URL and a key in MESHAPI_API_KEY.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import Any, Callable, List, Optional, cast

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

# One call


class Exchange:
    """One call under way; its connection and the loop's timers call it back.

    Args:
        loop: what it runs in.
        call: what to drive; it is a stream's events that `on_event` gets.
        on_end: called once, unless the exchange is cancelled, with what the call failed with, or ``None``.
        on_event: called with each event of a stream.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        call: AnyCall,
        on_end: Callable[[Optional[MeshAPIError]], None],
        on_event: Callable[[Any], None] = lambda event: None,
    ) -> None:
        self.is_over = False
        self._loop = loop
        self._call = call
        self._on_end = on_end
        self._on_event = on_event
        self._connection: Optional[Connection] = None
        self._timer: Optional[asyncio.TimerHandle] = None

    def start(self) -> None:
        """Begin; nothing is sent before."""
        self._patience = Patience(self._call.timeout, self._loop.time())
        if not self.is_over:
            self.advance()

    def cancel(self) -> None:
        """Stop, and close the connection at once; may be called at any time, also by `on_event`."""
        self.is_over = True
        self._close()
        self._set_timer(math.inf, self._time_out)

    def request_sent(self) -> None:
        """The connection stands, and the request is on its way."""
        self._call.request_sent()
        self._start_waiting()

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

    def fail(self, failure: Failure, cause: Optional[BaseException] = None) -> None:
        """Tell the call that the transport has failed, and do what it then asks for."""
        self._call.receive_failure(failure, cause)
        self.advance()

    def _connect(self, request: Request) -> None:
        # A call of several requests is done with the answer to the one before.
        self._close()
        self._patience.start_connecting(self._loop.time())
        self._set_timer(self._patience.expires_at, self._time_out)
        self._connection = Connection(self, request)
        self._connection.open(self._loop)

    def _start_waiting(self) -> None:
        self._patience.start_waiting(self._loop.time())
        self._set_timer(self._patience.expires_at, self._time_out)

    def _time_out(self) -> None:
        self.fail(self._patience.failure)

    def _pause(self, seconds: float) -> None:
        self._close()
        now = self._loop.time()
        if not self._patience.allows(seconds, now):
            return self.fail(Failure.DEADLINE)
        self._set_timer(now + seconds, self._end_pause)

    def _end_pause(self) -> None:
        self._call.wait_elapsed()
        self.advance()

    def _set_timer(self, when: float, on_time: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when == math.inf else self._loop.call_at(when, on_time)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# HTTP


class Connection(asyncio.Protocol):
    """A connection for one request: bytes on the one side, what they tell a call on the other."""

    def __init__(self, exchange: Exchange, request: Request) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._exchange = exchange
        self._request = request
        self._is_closed = False
        self._opening: Optional[asyncio.Task[Any]] = None
        self._transport: Optional[asyncio.Transport] = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to connect."""
        is_secure = self._request.scheme == "https"
        # A coroutine, but asyncio's own: its loops open connections in no other way.
        opening = loop.create_connection(lambda: self, self._request.host, self._request.port, ssl=is_secure or None)
        self._opening = loop.create_task(opening)
        self._opening.add_done_callback(self._opened)

    def close(self) -> None:
        """Close at once; the exchange hears nothing more."""
        self._is_closed = True
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()

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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._is_closed:
            return self._transport.abort()
        self._transport.write(_bytes_of(self._request, self._http))
        self._exchange.request_sent()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._exchange.advance()

    def eof_received(self) -> None:
        # In h11's words: the end of the connection, which is the end of the answer or comes too early.
        self._http.receive_data(b"")
        self._exchange.advance()

    def connection_lost(self, error: Optional[Exception]) -> None:
        if not self._is_closed:
            self._exchange.fail(Failure.CONNECTION_LOST, error)

    def _opened(self, opening: asyncio.Task[Any]) -> None:
        error = None if opening.cancelled() else opening.exception()
        if error is not None and not self._is_closed:
            self._exchange.fail(Failure.CONNECT, error)


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
        stop_if_all_are_over()

    def print_words(error: Optional[MeshAPIError]) -> None:
        print("stream:", error or "|".join(words))
        stop_if_all_are_over()

    def cancel_at_first_word(chunk: ChatCompletionChunk) -> None:
        if text_of(chunk):
            cancelled.cancel()
            print("cancelled after:", text_of(chunk))
            stop_if_all_are_over()

    def print_failure(error: Optional[MeshAPIError]) -> None:
        print("not cancelled:", error)
        stop_if_all_are_over()

    def stop_if_all_are_over() -> None:
        if all(exchange.is_over for exchange in exchanges):
            # After this round of the loop, in which the transports are closed.
            loop.call_soon(loop.stop)

    loop = asyncio.new_event_loop()
    whole_stream = core.chat.completions.stream(params, max_retries=3)
    half_a_stream = core.chat.completions.stream(params, max_retries=3)
    cancelled = Exchange(loop, half_a_stream, print_failure, cancel_at_first_word)
    exchanges = [
        Exchange(loop, call, print_answer),
        Exchange(loop, whole_stream, print_words, lambda chunk: words.append(text_of(chunk))),
        cancelled,
    ]
    for exchange in exchanges:
        exchange.start()
    loop.run_forever()
    loop.close()


def text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


if __name__ == "__main__":
    main()
