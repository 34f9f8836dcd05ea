"""The client over httpx: `MeshAPI`, and `AsyncMeshAPI` under asyncio and trio.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Iterator, Mapping, Optional, Union, cast

from meshapi_core import Failure, Request, Timeout

from ._async import AsyncStream as AsyncStream
from ._content_coding import ACCEPT_ENCODING, ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import USER_AGENT, FailureTable
from ._faces._async.client import AsyncMeshAPI as _AsyncMeshAPI
from ._faces._sync.client import MeshAPI as _MeshAPI
from ._finalizer import Finalizer
from ._public import missing, public_type
from ._sync import Stream as Stream
from ._time import at_most

try:
    import anyio
    import httpx
except ImportError as error:
    raise missing("httpx") from error

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from meshapi_core import *

_FAILURES: FailureTable = {
    httpx.ConnectError: Failure.CONNECT,
    httpx.ProxyError: Failure.CONNECT,
    httpx.UnsupportedProtocol: Failure.CONNECT,
    httpx.ConnectTimeout: Failure.CONNECT_TIMEOUT,
    httpx.PoolTimeout: Failure.CONNECT_TIMEOUT,
    httpx.TimeoutException: Failure.TIMEOUT,
    httpx.RequestError: Failure.CONNECTION_LOST,
    ContentCodingError: Failure.CONNECTION_LOST,
    # From the limits that the adapter sets around httpx's own.
    TimeoutError: Failure.TIMEOUT,
}

# Streams live long, so a pool that counts them would block the calls beside them.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=15.0)


class MeshAPI(_MeshAPI):
    """A client for blocking code, over httpx.

    Args:
        httpx_client: an ``httpx.Client`` to send with, for proxies, CAs, limits and the like; it is used as it is,
            and stays open when this client is closed.  A timeout that was set on it stands unless `timeout` is given.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``client.chat.completions.create(params)``.  Close the client, or use it in a ``with`` statement.
    """

    def __init__(self, *, httpx_client: Optional[httpx.Client] = None, **options: Unpack[ClientOptions]) -> None:
        super().__init__(_Transport(httpx_client), options, _timeout_of(httpx_client))


class AsyncMeshAPI(_AsyncMeshAPI):
    """A client for coroutines, over httpx, under asyncio and trio.

    Args:
        async_httpx_client: an ``httpx.AsyncClient`` to send with, for proxies, CAs, limits and the like; it is used
            as it is, and stays open when this client is closed.  A timeout that was set on it stands unless `timeout`
            is given.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``await client.chat.completions.create(params)``.  Close the client with ``await client.aclose()``, or use it
    in an ``async with`` statement.
    """

    def __init__(
        self, *, async_httpx_client: Optional[httpx.AsyncClient] = None, **options: Unpack[ClientOptions]
    ) -> None:
        super().__init__(_AsyncTransport(async_httpx_client), options, _timeout_of(async_httpx_client))


def _timeout_of(client: Union[httpx.Client, httpx.AsyncClient, None]) -> Optional[Timeout]:
    """The limits that the user set on `client`; ``None`` if they are httpx's five seconds, too short for a model."""
    if client is None or client.timeout == httpx.Timeout(5.0):
        return None
    return Timeout(connect=client.timeout.connect or None, idle=client.timeout.read or None)


def _message(client: Union[httpx.Client, httpx.AsyncClient, None], request: Request, timeout: Timeout) -> httpx.Request:
    """`request` for httpx; with the headers, cookies and query of `client`, if that is the user's."""
    connect, idle = (at_most(seconds, timeout.total) for seconds in (timeout.connect, timeout.idle))
    limits = {"connect": connect, "pool": connect, "read": idle, "write": idle}
    headers = [*request.headers, ("Accept-Encoding", ACCEPT_ENCODING)]
    if client is None:
        # A client's own request would be merged from defaults that are known to be empty.
        headers.append(("User-Agent", USER_AGENT))
        build: Callable[..., httpx.Request] = httpx.Request
    else:
        build = client.build_request
    return build(request.method, request.url, headers=headers, content=request.content, extensions={"timeout": limits})


class _Transport:
    """Blocking calls over an ``httpx.Client``."""

    failures = _FAILURES
    sleep = staticmethod(time.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, client: Optional[httpx.Client]) -> None:
        self._injected = client
        self._client = httpx.Client(limits=_LIMITS) if client is None else client

    def send(self, request: Request, timeout: Timeout) -> _Answer:
        message = _message(self._injected, request, timeout)
        if timeout.total is not None:
            message.extensions["trace"] = _limit_new_connection
        with _deadline.within(timeout.total):
            # No auth of the client's own: ours stands in the headers.
            response = self._client.send(message, stream=True, auth=None, follow_redirects=False)
        return _Answer(response, message.extensions["timeout"]["read"])

    def close(self) -> None:
        if self._injected is None:
            self._client.close()


class _Answer:
    """An ``httpx.Response`` whose body is read as it comes."""

    def __init__(self, response: httpx.Response, read_timeout: Optional[float]) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        self._read_timeout = read_timeout
        # Not response.iter_bytes(): its layers cost as much as all of ours, and decode what we decode ourselves.
        self._chunks = iter(cast(httpx.SyncByteStream, response.stream))
        self._decoder = ContentDecoder(response.headers.get("content-encoding", ""))
        _limit_waits(response.extensions.get("network_stream"))

    def read(self, timeout: Optional[float]) -> bytes:
        with _deadline.within(None if timeout == self._read_timeout else timeout):
            for chunk in self._chunks:
                data = self._decoder.decode(chunk)
                if data:
                    return data
        self._decoder.finish()
        return b""

    def close(self) -> None:
        self._response.close()


class _Deadline(threading.local):
    """When the wait of this thread must end."""

    _at: Optional[float] = None

    @contextmanager
    def within(self, seconds: Optional[float]) -> Iterator[None]:
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
    """Make the reads of httpcore's `network_stream` heed this thread's deadline.

    httpcore takes its read timeout when a body begins and applies it to each read.  A total time, the idle time
    between events, or the end of a stream that should be at hand need shorter waits from one read to the next.
    """
    if network_stream is None or "read" in vars(network_stream):
        return
    read = network_stream.read

    def read_in_time(max_bytes: int, timeout: Optional[float] = None) -> bytes:
        data: bytes = read(max_bytes, timeout=_deadline.limit(timeout))
        return data

    network_stream.read = read_in_time


def _limit_new_connection(event: str, info: Mapping[str, Any]) -> None:
    # httpcore's trace: a connection made for a call with a total time must heed it from the head on.
    if event.endswith(("connect_tcp.complete", "start_tls.complete", "connect_unix_socket.complete")):
        _limit_waits(info["return_value"])


class _AsyncTransport:
    """Calls over an ``httpx.AsyncClient``, in whatever loop runs."""

    failures = _FAILURES
    sleep = staticmethod(anyio.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, client: Optional[httpx.AsyncClient]) -> None:
        self._injected = client
        self._client = httpx.AsyncClient(limits=_LIMITS) if client is None else client

    async def send(self, request: Request, timeout: Timeout) -> _AsyncAnswer:
        message = _message(self._injected, request, timeout)
        with _fail_after(timeout.total):
            response = await self._client.send(message, stream=True, auth=None, follow_redirects=False)
        return _AsyncAnswer(response, message.extensions["timeout"]["read"])

    async def aclose(self) -> None:
        if self._injected is None:
            await self._client.aclose()


class _AsyncAnswer:
    """An ``httpx.Response`` of an ``httpx.AsyncClient`` whose body is read as it comes."""

    def __init__(self, response: httpx.Response, read_timeout: Optional[float]) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        self._read_timeout = read_timeout
        self._chunks = cast(httpx.AsyncByteStream, response.stream).__aiter__()
        self._decoder = ContentDecoder(response.headers.get("content-encoding", ""))
        self._finalizer = Finalizer()
        self._is_at_end = False

    async def read(self, timeout: Optional[float]) -> bytes:
        # httpx keeps the usual limit itself; a scope around each read would double its cost.
        with _fail_after(None if timeout == self._read_timeout else timeout):
            async for chunk in self._chunks:
                data = self._decoder.decode(chunk)
                if data:
                    return data
        self._is_at_end = True
        self._decoder.finish()
        return b""

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
            await self._exhaust()

    def abort(self) -> None:
        self._finalizer.run(self.aclose)

    async def _exhaust(self) -> None:
        # httpx and httpcore read through generators within generators.  Dropped half-way, each would be left to the
        # loop's finaliser, which under trio is a warning; on a closed connection they all end at once.
        with suppress(Exception):
            async for _ in self._chunks:
                pass


def _fail_after(seconds: Optional[float]) -> ContextManager[Any]:
    return nullcontext() if seconds is None else anyio.fail_after(seconds)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
