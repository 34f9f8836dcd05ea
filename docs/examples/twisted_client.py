"""MeshAPI under Twisted's reactor: twisted.web's Agent speaks HTTP, and the core decides the rest.

Run it with the address of a gateway in MESHAPI_BASE_URL and a key in MESHAPI_API_KEY.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from io import BytesIO
from math import inf
from typing import Any, AsyncGenerator, Iterator, List, Optional, Tuple, TypeVar

from twisted.internet import defer, error
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure as TwistedFailure
from twisted.web.client import Agent, FileBodyProducer, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

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


async def perform(reactor: Any, call: Call[T]) -> T:
    """Drive `call` to its end, and return its value."""
    with closing(Exchange(reactor, call.timeout)) as exchange:
        while not isinstance(action := call.next_action(), Done):
            await step(call, action, exchange)
            exchange.start_waiting()
    return call.result


async def stream(reactor: Any, call: ItemsCall[E]) -> AsyncGenerator[E, None]:
    """Drive `call` as far as its events are asked for; closing the generator closes the connection."""
    with closing(Exchange(reactor, call.timeout)) as exchange:
        while not isinstance(action := call.next_action(), Done):
            await step(call, action, exchange)
            for event in call.events():
                yield event
                exchange.start_waiting()


async def step(call: AnyCall, action: Action, exchange: Exchange) -> None:
    """Do what `call` asks for, and report what came of it."""
    with exchange.reporting_failures(call):
        if isinstance(action, SendRequest):
            call.receive_response(*await exchange.send(action.request))
        elif isinstance(action, Wait):
            await exchange.wait(action.seconds)
            call.wait_elapsed()
        else:
            report(call, await exchange.read())


# HTTP, and time


def report(call: AnyCall, data: bytes) -> None:
    """Tell `call` what was read of its answer."""
    if data:
        call.receive_data(data)
    else:
        call.receive_eof()


class Exchange:
    """The requests of one call and their answers, each on a connection of its own, in the time that the call has."""

    def __init__(self, reactor: Any, timeout: Timeout) -> None:
        self._reactor = reactor
        self._connect_seconds = timeout.connect or inf
        self._patience = Patience(timeout, reactor.seconds())
        self._inbox: defer.DeferredQueue[Any] = defer.DeferredQueue()
        self._asking: Optional[defer.Deferred[Any]] = None
        self._body: Optional[Body] = None

    def start_waiting(self) -> None:
        """Begin the wait for whatever comes next."""
        self._patience.start_waiting(self._reactor.seconds())

    async def send(self, request: Request) -> Tuple[int, List[Tuple[bytes, bytes]]]:
        """Send `request` over a new connection; the status and the header fields of its answer."""
        self._inbox = defer.DeferredQueue()
        self._body = Body(self._inbox)
        headers = Headers({"Accept-Encoding": ["identity"]})
        for name, value in request.headers:
            headers.addRawHeader(name, value)
        producer: Any = None if request.content is None else FileBodyProducer(BytesIO(request.content))
        agent = Agent(self._reactor, connectTimeout=self._connect_seconds)
        self._asking = agent.request(request.method.encode(), request.url.encode(), headers, producer)
        # Not awaited itself: what it makes of a cancellation is an error like any other.
        self._asking.addBoth(self._inbox.put)
        # The Agent does not say when its connection stands, so that the answer has the time for both.
        self._patience.start_waiting(self._reactor.seconds() + self._connect_seconds)
        response = await self._next()
        response.deliverBody(self._body)
        self.start_waiting()
        fields = response.headers.getAllRawHeaders()
        return response.code, [(name, value) for name, values in fields for value in values]

    async def read(self) -> bytes:
        """The next bytes of the answer's body, or ``b""`` at its end."""
        data: bytes = await self._next()
        return data

    async def wait(self, seconds: float) -> None:
        """Close the answer and let `seconds` pass, or raise at once if the call has not that much time left."""
        self.close()
        if not self._patience.allows(seconds, self._reactor.seconds()):
            raise defer.TimeoutError
        await deferLater(self._reactor, seconds)

    @contextmanager
    def reporting_failures(self, call: AnyCall) -> Iterator[None]:
        """Tell `call` in its own words what goes wrong within."""
        try:
            yield
        except defer.TimeoutError as reason:
            call.receive_failure(self._patience.failure, reason)
        except error.TimeoutError as reason:
            call.receive_failure(Failure.CONNECT_TIMEOUT, reason)
        except (error.ConnectError, error.DNSLookupError) as reason:
            call.receive_failure(Failure.CONNECT, reason)
        except (error.ConnectionClosed, RequestTransmissionFailed, ResponseFailed) as reason:
            call.receive_failure(Failure.CONNECTION_LOST, reason)

    def close(self) -> None:
        """Close the connection, whatever is still on its way; closing twice does nothing."""
        if self._asking is not None:
            self._asking.cancel()
        if self._body is not None and self._body.transport is not None:
            self._body.transport.loseConnection()

    async def _next(self) -> Any:
        left = self._patience.expires_at - self._reactor.seconds()
        # What has come already beats a timer that is due, and keep-alive comments may come without end.
        if left <= 0:
            raise defer.TimeoutError
        coming = self._inbox.get()
        if left < inf:
            coming.addTimeout(left, self._reactor)
        return await coming


class Body(Protocol):
    """Puts what comes of an answer's body into a queue: its pieces, then ``b""`` or the failure that cut it."""

    transport: Any = None

    def __init__(self, inbox: defer.DeferredQueue[Any]) -> None:
        self._inbox = inbox

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._inbox.put(data)

    def connectionLost(self, reason: TwistedFailure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        # A body without a length, PotentialDataLoss, may end with its connection; the core sees whether it is whole.
        self._inbox.put(b"" if reason.check(ResponseDone, PotentialDataLoss) else reason)


# The program


async def main(reactor: Any) -> None:
    """Make a call, read a stream to its end, and leave another half-way."""
    core = MeshAPICore(MeshAPIConfig.from_environment(os.environ))
    params = ChatCompletionParams(messages=[ChatMessage(role="user", content="one two three")])

    answer = await perform(reactor, core.chat.completions.create(params))
    print("call:", *(choice.message.content for choice in answer.choices if choice.message))

    print("stream:", end="")
    async for chunk in stream(reactor, core.chat.completions.stream(params)):
        print(text_of(chunk).replace(" ", "|"), end="", flush=True)
    print()

    chunks = stream(reactor, core.chat.completions.stream(params))
    async for chunk in chunks:
        if text_of(chunk):
            print("cancelled after:", text_of(chunk))
            break
    await chunks.aclose()


def text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


if __name__ == "__main__":
    react(main)
