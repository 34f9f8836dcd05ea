"""Calls driven by coroutines, in any event loop: the protocol of a transport, the driver, and `AsyncStream`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Awaitable, Generic, Optional, Protocol, Type, TypeVar

from typing_extensions import TypeVar as TypeVarWithDefault

from meshapi_core import (
    NEED_DATA,
    AnyCall,
    Call,
    Failure,
    HeadersLike,
    ItemsCall,
    LocalProtocolError,
    Request,
    SendRequest,
    StreamCall,
    Timeout,
    Wait,
)

from ._core import ClientOptions, make_core
from ._driver import DRAIN_BYTES, DRAIN_SECONDS, BaseItems, BaseRun, BaseStream, FailureTable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BaseAsyncMeshAPI", "AsyncAnswer", "AsyncItems", "AsyncStream", "AsyncTransport", "perform"]

T = TypeVar("T")
E = TypeVar("E")
R = TypeVarWithDefault("R", default=Any)


class AsyncAnswer(Protocol):
    """An HTTP answer whose head has come, and whose body is read as it comes."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> HeadersLike:
        """The header fields."""
        ...

    async def read(self, timeout: Optional[float]) -> bytes:
        """Wait for the next bytes of the body, and return those that are there, 64 KiB of them at most.

        To return more is no mistake, but what is then made of it at once takes longer than in pieces.

        Args:
            timeout: how long to wait, in seconds; ``None`` without limit.

        Returns:
            Bytes free of transfer and content codings; ``b""`` at the end of the body, once its framing says so.
        """
        ...

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, else close it.  Closing twice does nothing.

        Must do its work also in a task that is being cancelled.
        """
        ...

    def abort(self) -> None:
        """Close the connection from where nothing can be awaited, a finaliser for one, as soon as may be."""
        ...


class AsyncTransport(Protocol):
    """What the driver needs of an HTTP library: send, read, close, sleep, and which failure is which."""

    @property
    def failures(self) -> FailureTable:
        """Every exception that `send` and `read` raise for a reason outside the program, and what it means."""
        ...

    async def send(self, request: Request, timeout: Timeout) -> AsyncAnswer:
        """Send `request` and wait for the head of its answer.

        Args:
            request: to be sent as it is: no redirects, no cookies, no retries, no other Authorization.
            timeout: `connect` until the connection stands, `idle` for the longest wait after that, `total` for both.
        """
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Let `seconds` pass."""
        ...

    def current_time(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def aclose(self) -> None:
        """Close what the transport itself has opened.  Closing twice does nothing."""
        ...


class _Run(BaseRun):
    """One call under way over one transport."""

    def __init__(self, transport: AsyncTransport, call: AnyCall) -> None:
        super().__init__(call, transport.failures, transport.current_time)
        self._transport = transport
        self._answer: Optional[AsyncAnswer] = None

    def step(self) -> Optional[Awaitable[None]]:
        """What the machine asks for next, to be awaited; ``None`` if there is nothing more to do.

        Raises:
            MeshAPIError: the call has failed.
        """
        action = self._call.next_action()
        if action is NEED_DATA:
            return self._read()
        if isinstance(action, SendRequest):
            return self._send(action.request)
        if isinstance(action, Wait):
            return self._wait(action.seconds)
        return None

    async def drain(self) -> None:
        """Read what is left of the framing, so that the connection can serve another call; then let go of it."""
        answer = self._answer
        if answer is None:
            return
        deadline = self._transport.current_time() + DRAIN_SECONDS
        unread = DRAIN_BYTES
        try:
            while unread > 0:
                left = deadline - self._transport.current_time()
                data = await answer.read(left) if left > 0 else b""
                if not data:
                    break
                unread -= len(data)
        except self._exceptions:
            pass
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection.  Closing twice does nothing."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.aclose()

    def abort(self) -> None:
        """Let go of the connection without awaiting."""
        if self._answer is not None:
            self._answer.abort()

    async def _send(self, request: Request) -> None:
        try:
            answer = await self._transport.send(request, self._limits_for_sending())
        except self._exceptions as error:
            self._fail(error)
            return
        self._answer = answer
        self._receive_head(answer.status, answer.headers)

    async def _read(self) -> None:
        assert self._answer is not None  # the machine asks for data of an answer that it was told of
        timeout = self._limit_for_reading()
        if timeout == 0:
            self._fail_with(Failure.TIMEOUT)
            return
        try:
            data = await self._answer.read(timeout)
        except self._exceptions as error:
            await self.aclose()
            self._fail(error)
            return
        if not data:
            # Its connection may serve others, while the caller hears of it.
            await self.aclose()
        self._receive(data)

    async def _wait(self, seconds: float) -> None:
        await self.aclose()
        if self._allows(seconds):
            await self._transport.sleep(seconds)
            self._call.wait_elapsed()
        else:
            self._call.receive_failure(Failure.DEADLINE)


async def perform(transport: AsyncTransport, call: Call[T]) -> T:
    """Drive `call` over `transport` to its end.

    Returns:
        The call's value.

    Raises:
        MeshAPIError: the call has failed.
    """
    run = _Run(transport, call)
    try:
        while (step := run.step()) is not None:
            await step
            run.received()
    finally:
        # After its end, this says nothing.
        call.abandon()
        await run.aclose()
    return call.result


class AsyncItems(BaseItems[E]):
    """Items that may take several requests: an iterator, and a context manager that frees its connection in the end.

    Made by methods such as ``client.batches.iterate``.  Nothing is sent before the first item is asked for, nor the
    next request before its first item is.  Whoever stops early closes it, or uses it in a ``async with`` statement::

        async with client.batches.iterate() as batches:
            async for batch in batches:
                ...

    Iterating raises `MeshAPIError` once a request has failed, after every item that had arrived.
    """

    def __init__(self, transport: AsyncTransport, call: ItemsCall[E]) -> None:
        self._run = _Run(transport, call)
        super().__init__(call)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        for event in self._events:
            return event
        # The time until now was the caller's own.
        self._run.received()
        while not self._is_closed:
            await self._advance()
            for event in self._events:
                return event
        self._raise_if_failed()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # Nothing can be awaited here; who breaks out of a loop and drops the stream still gets his connection closed.
        if not self._is_closed:
            self._call.abandon()
            self._run.abort()

    async def aclose(self) -> None:
        """Stop, and close the connection unless all was read to its end.  Closing twice does nothing."""
        if not self._is_closed:
            self._is_closed = self._was_left = True
            self._events = iter(())
            self._call.abandon()
            await self._run.aclose()

    async def _advance(self) -> None:
        try:
            step = self._run.step()
            if step is not None:
                await step
            self._events = self._call.events()
            if step is None:
                await self._run.drain()
                self._is_closed = True
            if not self._waits_for_events:
                self._run.received()
        except BaseException:
            await self.aclose()
            raise


class AsyncStream(BaseStream[E, R], AsyncItems[E], Generic[E, R]):
    """The events of a stream: an iterator, and a context manager that frees the connection when it is left.

    Made by the ``stream`` methods of a client.  Nothing is sent before the first event is asked for or the stream is
    entered.  A stream that is left early, closed or dropped closes its connection at once; one that is read to its end
    gives it back to the pool::

        async with client.chat.completions.stream(params) as stream:
            print(stream.request_id)
            async for chunk in stream:
                ...

    ``stream.text`` iterates the text alone; ``await stream.collect()`` reads all and puts it together.  Iterating
    raises `MeshAPIError` once the stream has failed, after every event that had arrived.
    """

    def __init__(self, transport: AsyncTransport, call: StreamCall[E, R]) -> None:
        super().__init__(transport, call)
        self._call: StreamCall[E, R] = call

    async def __aenter__(self) -> Self:
        while not self._can_be_entered:
            await self._advance()
        return self

    @property
    def text(self) -> AsyncIterator[str]:
        """The text alone, piece by piece as it comes; what the events hold beside it is passed over.

        Raises:
            TypeError: at the first event, if the events of this stream have no text.
        """
        return _Texts(self, self._call)

    async def collect(self) -> R:
        """Read the stream to its end, and put its events together, those included that were taken before.

        Returns:
            What the method without streaming would have given: for a chat a `ChatCompletionResponse`.

        Raises:
            MeshAPIError: the stream has failed; what had come is in the error's `partial`.
            LocalProtocolError: the stream was closed before its end.
        """
        async for _ in self:
            pass
        if self._was_left:
            raise LocalProtocolError("the stream was closed before its end, so there is no whole to be had")
        return self._call.result


class _Texts:
    """The text of a stream's events."""

    def __init__(self, events: AsyncIterator[E], call: StreamCall[E, Any]) -> None:
        self._events = events
        self._text_of = call.text_of

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            text = self._text_of(await self._events.__anext__())
            if text:
                return text


class _Gate:
    """A transport for as long as its client is not closed."""

    def __init__(self, transport: AsyncTransport) -> None:
        self.failures = transport.failures
        self.sleep = transport.sleep
        self.current_time = transport.current_time
        self._transport = transport
        self._is_closed = False

    async def send(self, request: Request, timeout: Timeout) -> AsyncAnswer:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        return await self._transport.send(request, timeout)

    async def aclose(self) -> None:
        self._is_closed = True
        await self._transport.aclose()


class BaseAsyncMeshAPI:
    """What a client is beside its methods: a core, a transport, and their end."""

    def __init__(
        self, transport: AsyncTransport, options: ClientOptions, injected_timeout: Optional[Timeout] = None
    ) -> None:
        self._core = make_core(options, injected_timeout)
        self._transport = _Gate(transport)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._core.config!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that this client has opened; what was injected stays as it is.

        Closing twice does nothing.
        """
        await self._transport.aclose()
