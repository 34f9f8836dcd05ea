"""What the adapters for httpx and for httpx2 share: everything but the name of the library.

httpx2 continues httpx, with the same interface; so each function here takes the library that it is to work with.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, AsyncIterator, ContextManager, Generator, Iterator, List, Mapping, Optional, cast

import anyio
import h11

from meshapi_core import Failure, HeadersLike, Request, Timeout

from ._content_coding import ContentCodingError, ContentDecoder
from ._driver import IDLE_CONNECTIONS, IDLE_SECONDS, FailureTable, at_most, headers_of
from ._finalizer import Finalizer

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["AsyncTransport", "SyncTransport", "timeout_of"]


def _failures(library: Any) -> FailureTable:
    return {
        library.ConnectError: Failure.CONNECT,
        library.ProxyError: Failure.CONNECT,
        library.UnsupportedProtocol: Failure.CONNECT,
        library.ConnectTimeout: Failure.CONNECT_TIMEOUT,
        library.PoolTimeout: Failure.CONNECT_TIMEOUT,
        library.TimeoutException: Failure.TIMEOUT,
        library.RequestError: Failure.CONNECTION_LOST,
        ContentCodingError: Failure.CONNECTION_LOST,
        # It is looked where a redirect leads, though it is not to be followed.
        library.InvalidURL: Failure.CONNECTION_LOST,
        # A host name with a part that is empty or too long.
        UnicodeError: Failure.CONNECT,
        # asyncio's streams tell what breaks TLS by an exception that httpcore does not know.
        ssl.SSLError: Failure.CONNECTION_LOST,
        # From the limits that are set here around the library's own.
        TimeoutError: Failure.TIMEOUT,
    }


def _limits(library: Any) -> Any:
    return library.Limits(
        max_connections=None, max_keepalive_connections=IDLE_CONNECTIONS, keepalive_expiry=IDLE_SECONDS
    )


def timeout_of(library: Any, client: Any) -> Optional[Timeout]:
    """The limits that the user set on `client`; ``None`` if they are the usual five seconds, too short for a model."""
    if client is None or client.timeout == library.Timeout(5.0):
        return None
    return Timeout(connect=client.timeout.connect or None, idle=client.timeout.read or None)


def _message(library: Any, injected: Any, request: Request, timeout: Timeout) -> Any:
    """`request` for the library; with the headers, cookies and query of the client, if one was injected."""
    connect, idle = (at_most(seconds, timeout.total) for seconds in (timeout.connect, timeout.idle))
    # A request of our own client would be merged from defaults that are known to be empty.
    build = library.Request if injected is None else injected.build_request
    message = build(
        request.method,
        request.url,
        headers=headers_of(request, is_own=injected is None),
        content=request.content,
        extensions={"timeout": {"connect": connect, "pool": connect, "read": idle, "write": idle}},
    )
    message.stream = _body_class(library)(request.content or b"")
    return message


@cache
def _body_class(library: ModuleType) -> Any:
    # The library looks for its own base classes.
    return type("Body", (_Body, library.SyncByteStream, library.AsyncByteStream), {})


_PIECE = 65536


class _Body:
    """A body.  The library's own is a generator, which trio warns of when the sending breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        return iter(_pieces_of(self._content))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self._content)


def _pieces_of(content: bytes) -> List[bytes]:
    # A timeout counts for the whole of what is sent at once.
    return [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)] or [content]


class _Pieces:
    """Yields `content` piece by piece."""

    def __init__(self, content: bytes) -> None:
        self._left = _pieces_of(content)[::-1]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class SyncTransport:
    """Blocking calls over a ``Client``.

    Args:
        library: httpx, or what has its interface.
        client: the user's; ``None`` makes one, which is closed with the transport.
    """

    sleep = staticmethod(time.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, library: ModuleType, client: Any) -> None:
        self.failures = _failures(library)
        self._library = library
        self._injected = client
        self._client: Any = library.Client(limits=_limits(library)) if client is None else client

    def send(self, request: Request, timeout: Timeout) -> _Answer:
        message = _message(self._library, self._injected, request, timeout)
        if timeout.total is not None:
            message.extensions["trace"] = _limit_new_connection
        with _deadline.within(timeout.total):
            # No auth of the client's own: ours stands in the headers.
            response = self._client.send(message, stream=True, auth=None, follow_redirects=False)
        return _Answer(response)

    def close(self) -> None:
        if self._injected is None:
            self._client.close()


class _Answer:
    """A ``Response`` whose body is read as it comes."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: HeadersLike = response.headers
        self._response = response
        # Not response.iter_bytes(): its layers cost as much as all of ours, and decode what we decode ourselves.
        self._chunks: Iterator[bytes] = iter(response.stream)
        self._decoder = ContentDecoder(response.headers.get("content-encoding", ""))
        _limit_waits(response.extensions.get("network_stream"))

    def read(self, timeout: Optional[float]) -> bytes:
        with _deadline.within(timeout):
            for chunk in self._chunks:
                data = self._decoder.decode(chunk)
                if data:
                    return data
        self._decoder.finish()
        return b""

    def close(self) -> None:
        _refuse_surplus(self._response)
        self._response.close()


class _Deadline(threading.local):
    """When the wait of this thread must end."""

    _at: Optional[float] = None

    @contextmanager
    def within(self, seconds: Optional[float]) -> Generator[None, None, None]:
        """Let the waits in this block end after `seconds`; ``None`` leaves them as they are."""
        if seconds is None:
            yield
            return
        self._at = time.monotonic() + seconds
        try:
            yield
        finally:
            self._at = None

    def limit(self, timeout: Optional[float]) -> Optional[float]:
        """How long a wait may take that would take `timeout` seconds."""
        # Zero would mean not to wait for what is on its way, and less than zero is refused.
        return timeout if self._at is None else at_most(timeout, max(self._at - time.monotonic(), 0.001))


_deadline = _Deadline()


def _limit_waits(network_stream: Any) -> None:
    """Make the reads and writes of httpcore's `network_stream` heed this thread's deadline.

    httpcore takes its read timeout when a body begins and applies it to each read, whatever that brings.  A total time,
    the idle time between events, or the end of a stream that should be at hand need shorter waits from one to the next.
    """
    if network_stream is None or "read" in vars(network_stream):
        return
    read, write = network_stream.read, network_stream.write

    def read_in_time(max_bytes: int, timeout: Optional[float] = None) -> bytes:
        data: bytes = read(max_bytes, timeout=_deadline.limit(timeout))
        return data

    def write_in_time(buffer: bytes, timeout: Optional[float] = None) -> None:
        write(buffer, timeout=_deadline.limit(timeout))

    network_stream.read, network_stream.write = read_in_time, write_in_time


def _limit_new_connection(event: str, info: Mapping[str, Any]) -> None:
    # httpcore's trace: a connection made for a call with a total time must heed it from the head on.
    if event.endswith(("connect_tcp.complete", "start_tls.complete", "connect_unix_socket.complete")):
        _limit_waits(info["return_value"])


class _ReadLimit:
    """When the reads of one network stream must end; ``None`` leaves them as they are."""

    deadline: Optional[float] = None

    def start(self, seconds: Optional[float]) -> None:
        """From now on, let all reads together take `seconds`."""
        self.deadline = math.inf if seconds is None else time.monotonic() + seconds


def _limit_reads(network_stream: Any) -> Optional[_ReadLimit]:
    """Make the reads of httpcore's asynchronous `network_stream` heed a limit, which is returned.

    The timer that httpcore sets for each read gets what is left until the deadline.
    """
    if network_stream is None:
        return None
    if "read" in vars(network_stream):
        return cast("_ReadLimit", network_stream.read.limit)
    limit, read = _ReadLimit(), network_stream.read

    async def read_in_time(max_bytes: int, timeout: Optional[float] = None) -> bytes:
        if limit.deadline is not None:
            timeout = None if limit.deadline == math.inf else max(limit.deadline - time.monotonic(), 0.001)
        data: bytes = await read(max_bytes, timeout=timeout)
        return data

    read_in_time.limit = limit  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    network_stream.read = read_in_time
    return limit


class AsyncTransport:
    """Calls over an ``AsyncClient``, in whatever loop runs.

    Args:
        library: httpx, or what has its interface.
        client: the user's; ``None`` makes one, which is closed with the transport.
    """

    sleep = staticmethod(anyio.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, library: ModuleType, client: Any) -> None:
        self.failures = _failures(library)
        self._library = library
        self._injected = client
        self._client: Any = library.AsyncClient(limits=_limits(library)) if client is None else client

    async def send(self, request: Request, timeout: Timeout) -> _AsyncAnswer:
        message = _message(self._library, self._injected, request, timeout)
        handshake = _Handshake()
        if message.url.scheme == "https":
            message.extensions["trace"] = handshake.trace
        try:
            with _fail_after(timeout.total):
                response = await self._client.send(message, stream=True, auth=None, follow_redirects=False)
        except BaseException:
            await handshake.aclose()
            raise
        return _AsyncAnswer(response)

    async def aclose(self) -> None:
        if self._injected is None:
            await self._client.aclose()


class _Handshake:
    """A connection whose TLS handshake is under way; httpcore leaves it open if that is cancelled or takes too long."""

    _stream: Any = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Hear from httpcore what it does."""
        if event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
        elif event.endswith("start_tls.complete"):
            self._stream = None

    async def aclose(self) -> None:
        """Close the connection if the handshake did not come to its end."""
        if self._stream is not None:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()


class _AsyncAnswer:
    """A ``Response`` of an ``AsyncClient`` whose body is read as it comes."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: HeadersLike = response.headers
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.stream.__aiter__()
        self._decoder = ContentDecoder(response.headers.get("content-encoding", ""))
        self._finalizer = Finalizer()
        self._limit = _limit_reads(response.extensions.get("network_stream"))

    async def read(self, timeout: Optional[float]) -> bytes:
        if self._limit is None:
            with _fail_after(timeout):
                return await self._read()
        # The library sets a timer for each read of the socket as it is; a scope around it would double the cost.
        self._limit.start(timeout)
        try:
            return await self._read()
        finally:
            self._limit.deadline = None

    async def _read(self) -> bytes:
        async for chunk in self._chunks:
            data = self._decoder.decode(chunk)
            if data:
                return data
        self._decoder.finish()
        return b""

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            _refuse_surplus(self._response)
            await self._response.aclose()
            await self._exhaust()

    def abort(self) -> None:
        self._finalizer.run(self.aclose)

    async def _exhaust(self) -> None:
        # The library reads through generators within generators.  Dropped half-way, each would be left to the loop's
        # finaliser, which under trio is a warning; on a closed connection they all end at once.
        with suppress(Exception):
            async for _ in self._chunks:
                pass


def _refuse_surplus(response: Any) -> None:
    """Have the connection closed if more than the answer has come: httpcore would take it for the next answer."""
    http: Any = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        http = getattr(http, name, None)
    if http is not None and http.trailing_data[0] and http.our_state is h11.DONE:
        http.send(h11.ConnectionClosed())


def _fail_after(seconds: Optional[float]) -> ContextManager[Any]:
    return nullcontext() if seconds is None else anyio.fail_after(seconds)
