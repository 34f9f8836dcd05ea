"""MeshAPI in a Tornado IOLoop: Tornado's IOStream moves the bytes, h11 frames them, and the core decides the rest.

Run it with the address of a gateway in MESHAPI_BASE_URL and a key in MESHAPI_API_KEY.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import closing, contextmanager
from typing import AsyncGenerator, Iterator, Optional, TypeVar

import h11
from tornado import gen
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from meshapi_core import (
    Action,
    AnyCall,
    Call,
    ChatCompletionChunk,
    ChatCompletionParams,
    ChatMessage,
    Done,
    Failure,
    ItemsCall,
    MeshAPIConfig,
    MeshAPICore,
    Patience,
    Request,
    SendRequest,
    Timeout,
    Wait,
)

T = TypeVar("T")
E = TypeVar("E")


# The loop


async def perform(call: Call[T]) -> T:
    """Drive `call` to its end, and return its value."""
    with closing(Exchange(call.timeout)) as exchange:
        while not isinstance(action := call.next_action(), Done):
            await step(call, action, exchange)
            exchange.start_waiting()
    return call.result


async def stream(call: ItemsCall[E]) -> AsyncGenerator[E, None]:
    """Drive `call` as far as its events are asked for; closing the generator closes the connection."""
    with closing(Exchange(call.timeout)) as exchange:
        while not isinstance(action := call.next_action(), Done):
            await step(call, action, exchange)
            for event in call.events():
                yield event
                exchange.start_waiting()


async def step(call: AnyCall, action: Action, exchange: Exchange) -> None:
    """Do what `call` asks for, and report what came of it."""
    with exchange.reporting_failures(call):
        if isinstance(action, SendRequest):
            report(call, await exchange.send(action.request))
        elif isinstance(action, Wait):
            await exchange.wait(action.seconds)
            call.wait_elapsed()
        else:
            report(call, await exchange.next_event())


# HTTP, and time


def report(call: AnyCall, event: h11.Event) -> None:
    """Tell `call` in its own words what h11 has found in the answer."""
    if isinstance(event, (h11.InformationalResponse, h11.Response)):
        call.receive_response(event.status_code, event.headers)
    elif isinstance(event, h11.Data):
        call.receive_data(bytes(event.data))
    elif isinstance(event, h11.EndOfMessage):
        call.receive_eof()


class Exchange:
    """The requests of one call and their answers, each on a connection of its own, in the time that the call has."""

    def __init__(self, timeout: Timeout) -> None:
        self._patience = Patience(timeout, time.monotonic())
        self._stream: Optional[IOStream] = None
        self._http = h11.Connection(h11.CLIENT)

    def start_waiting(self) -> None:
        """Begin the wait for whatever comes next."""
        self._patience.start_waiting(time.monotonic())

    async def send(self, request: Request) -> h11.Event:
        """Send `request` over a new connection, and wait for the first event of its answer."""
        self._patience.start_connecting(time.monotonic())
        tls = ssl.create_default_context() if request.scheme == "https" else None
        self._stream = await TCPClient().connect(
            request.host, request.port, ssl_options=tls, timeout=self._seconds_left()
        )
        self._http = h11.Connection(h11.CLIENT)
        self.start_waiting()
        # Not awaited: an answer may come before the whole request is sent, and it is read in the same idle time.
        self._stream.write(bytes_of(request, self._http))
        return await self.next_event()

    async def next_event(self) -> h11.Event:
        """Wait for the next event of the answer."""
        assert self._stream is not None  # set by send
        while not isinstance(event := self._http.next_event(), h11.Event):
            seconds = self._seconds_left()
            try:
                data = await asyncio.wait_for(self._stream.read_bytes(65536, partial=True), seconds)
            except StreamClosedError as closed:
                if closed.real_error is not None:
                    raise
                # Whether the answer may end here is for its framing, and so for h11, to say.
                data = b""
            self._http.receive_data(data)
        if isinstance(event, h11.Response):
            self.start_waiting()
        return event

    async def wait(self, seconds: float) -> None:
        """Close the answer and let `seconds` pass, or raise at once if the call has not that much time left."""
        self.close()
        if not self._patience.allows(seconds, time.monotonic()):
            raise asyncio.TimeoutError
        await gen.sleep(seconds)

    @contextmanager
    def reporting_failures(self, call: AnyCall) -> Iterator[None]:
        """Tell `call` in its own words what goes wrong within."""
        try:
            yield
        except asyncio.TimeoutError as error:
            call.receive_failure(self._patience.failure, error)
        except (OSError, h11.RemoteProtocolError) as error:
            call.receive_failure(Failure.CONNECT if self._stream is None else Failure.CONNECTION_LOST, error)

    def close(self) -> None:
        """Close the connection, whatever is still on its way; closing twice does nothing."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _seconds_left(self) -> Optional[float]:
        left = self._patience.seconds_left(time.monotonic())
        # Bytes that are there already beat a timer that is due, and keep-alive comments may come without end.
        if left == 0:
            raise asyncio.TimeoutError
        return left


def bytes_of(request: Request, http: h11.Connection) -> bytes:
    """The whole of `request`, as it goes over a connection of its own."""
    headers = [*request.http1_headers(), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
    head = h11.Request(method=request.method, target=request.target, headers=headers)
    parts = (head, h11.Data(request.content or b""), h11.EndOfMessage())
    return b"".join(http.send(part) or b"" for part in parts)


# The program


async def main() -> None:
    """Make a call, read a stream to its end, and leave another half-way."""
    core = MeshAPICore(MeshAPIConfig.from_environment(os.environ))
    params = ChatCompletionParams(messages=[ChatMessage(role="user", content="one two three")])

    answer = await perform(core.chat.completions.create(params))
    print("call:", *(choice.message.content for choice in answer.choices if choice.message))

    print("stream:", end="")
    async for chunk in stream(core.chat.completions.stream(params)):
        print(text_of(chunk).replace(" ", "|"), end="", flush=True)
    print()

    chunks = stream(core.chat.completions.stream(params))
    async for chunk in chunks:
        if text_of(chunk):
            print("cancelled after:", text_of(chunk))
            break
    await chunks.aclose()


def text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


if __name__ == "__main__":
    IOLoop.current().run_sync(main)
