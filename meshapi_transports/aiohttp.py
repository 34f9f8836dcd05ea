"""The client over aiohttp: `AsyncMeshAPI`, under asyncio.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from typing import TYPE_CHECKING, Any, AsyncIterator, Optional

from meshapi_core import Failure, Request, Timeout

from ._async import AsyncItems as AsyncItems
from ._async import AsyncStream as AsyncStream
from ._content_coding import ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import IDLE_SECONDS, FailureTable, headers_of
from ._faces._async.client import AsyncMeshAPI as _AsyncMeshAPI
from ._finalizer import Finalizer
from ._public import missing, public_type

try:
    import aiohttp
    import yarl
    from aiohttp.http_exceptions import HttpProcessingError
    from multidict import CIMultiDict, CIMultiDictProxy
except ImportError as error:
    raise missing("aiohttp") from error

if sys.version_info >= (3, 11):
    from asyncio import timeout as _fail_after

    def _put_off(scope: asyncio.Timeout, when: float, task: Any) -> None:
        scope.reschedule(when)
else:
    # Comes with aiohttp where asyncio has none.
    from async_timeout import Timeout as _Timeout
    from async_timeout import timeout as _fail_after

    def _put_off(scope: _Timeout, when: float, task: Any) -> None:
        scope.update(when)
        # It takes whoever asks for the one that is to be stopped.
        scope._task = task  # pyright: ignore[reportPrivateUsage]


if TYPE_CHECKING:
    from typing_extensions import Unpack

    from meshapi_core import *

_FAILURES: FailureTable = {
    aiohttp.ClientConnectorError: Failure.CONNECT,
    aiohttp.ClientProxyConnectionError: Failure.CONNECT,
    aiohttp.ClientHttpProxyError: Failure.CONNECT,
    aiohttp.ServerFingerprintMismatch: Failure.CONNECT,
    aiohttp.ConnectionTimeoutError: Failure.CONNECT_TIMEOUT,
    aiohttp.ServerTimeoutError: Failure.TIMEOUT,
    aiohttp.ClientError: Failure.CONNECTION_LOST,
    # What aiohttp's parser in Python lets through, where the one in C says ClientPayloadError.
    HttpProcessingError: Failure.CONNECTION_LOST,
    ContentCodingError: Failure.CONNECTION_LOST,
    # From the limits that the adapter sets around aiohttp's own.
    asyncio.TimeoutError: Failure.TIMEOUT,
    # A host name with a part that is empty or too long.
    UnicodeError: Failure.CONNECT,
    # What the socket says now and then comes through bare.
    OSError: Failure.CONNECTION_LOST,
}

# As much as asyncio takes before it makes a sender wait; aiohttp sets no limit to that wait.
_LARGE = 1 << 15

_MAX_FIELD_SIZE = 65536


class AsyncMeshAPI(_AsyncMeshAPI):
    """A client for asyncio, over aiohttp.

    Args:
        session: an ``aiohttp.ClientSession`` to send with, for proxies, CAs, limits and the like; it is used as it is,
            and stays open when this client is closed.  A timeout that was set on it stands unless `timeout` is given.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`, `max_answer_size`, `max_event_size`, `observers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``await client.chat.completions.create(params)``.  Close the client with ``await client.aclose()``, or use it
    in an ``async with`` statement.
    """

    def __init__(self, *, session: Optional[aiohttp.ClientSession] = None, **options: Unpack[ClientOptions]) -> None:
        super().__init__(_Transport(session), options, _timeout_of(session))


def _timeout_of(session: Optional[aiohttp.ClientSession]) -> Optional[Timeout]:
    """The limits that the user set on `session`; ``None`` if they are aiohttp's own."""
    if session is None or session.timeout == aiohttp.client.DEFAULT_TIMEOUT:
        return None
    limits = session.timeout
    return Timeout(
        connect=limits.connect or limits.sock_connect or None, idle=limits.sock_read or None, total=limits.total or None
    )


class _Transport:
    """Calls over an ``aiohttp.ClientSession``."""

    failures = _FAILURES
    sleep = staticmethod(asyncio.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, session: Optional[aiohttp.ClientSession]) -> None:
        self._is_own = session is None
        self._session = session

    async def send(self, request: Request, timeout: Timeout) -> _Answer:
        session = self._session_here()
        headers = dict(headers_of(request, is_own=self._is_own))
        middlewares = None
        if not self._is_own and (session.auth is not None or session.trust_env):
            # aiohttp refuses our header beside the session's auth or that of .netrc, so it is set in the end.
            middlewares = (*session._middlewares, _authorizing(headers.pop("Authorization")))  # pyright: ignore[reportPrivateUsage]
        upload = _Upload(request.content or b"", timeout)
        if upload.is_large:
            headers["Content-Length"] = str(len(upload.content))
        try:
            async with _fail_after(timeout.total) as upload.scope:
                response = await session.request(
                    request.method,
                    # Percent-encoded already, and so to be left alone.
                    yarl.URL(request.url, encoded=True),
                    headers=headers,
                    middlewares=middlewares,
                    data=upload if upload.is_large else request.content,
                    timeout=aiohttp.ClientTimeout(connect=timeout.connect, sock_read=timeout.idle),
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                )
        except aiohttp.ClientResponseError as error:
            _forget_request(error)
            raise
        return _Answer(response, timeout.idle)

    async def aclose(self) -> None:
        if self._is_own and self._session is not None:
            await self._session.close()

    def _session_here(self) -> aiohttp.ClientSession:
        # Made at the first call, since a session belongs to the loop in which it is made.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=0, keepalive_timeout=IDLE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                # What the other libraries take at least; a gateway behind a few proxies can send such fields.
                max_line_size=_MAX_FIELD_SIZE,
                max_field_size=_MAX_FIELD_SIZE,
            )
            # Trying again is for the core to decide; for GET, aiohttp would on its own.
            self._session._retry_connection = False  # pyright: ignore[reportPrivateUsage]
        return self._session


def _forget_request(error: aiohttp.ClientResponseError) -> None:
    """Take out of `error` the headers of the request, which hold the key, and a proxy's address, with its password."""
    told = error.request_info
    no_headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
    error.request_info = aiohttp.RequestInfo(told.real_url, told.method, no_headers, told.real_url)
    error.args = (error.request_info, ())
    error.history = ()


def _authorizing(header: str) -> aiohttp.ClientMiddlewareType:
    """Has `header` sent as the Authorization, whatever stands there."""

    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = header
        return await handler(request)

    return authorize


class _Connector(aiohttp.TCPConnector):
    """Uses no connection again on which something came while it was idle."""

    async def _get(self, key: Any, traces: Any) -> Any:
        for protocol, _ in self._conns.get(key, ()):
            if protocol.should_close:
                protocol.close()
        return await super()._get(key, traces)


class _Upload:
    """A large body in pieces, each of which has the whole idle time to itself.

    Attributes:
        content: the body.
        scope: the limit for sending it and receiving the head of the answer.
    """

    scope: Any

    def __init__(self, content: bytes, timeout: Timeout) -> None:
        self.content = content
        self._task = asyncio.current_task()
        self._idle = timeout.idle
        self._deadline = None if timeout.total is None else asyncio.get_running_loop().time() + timeout.total

    @property
    def is_large(self) -> bool:
        """Whether sending it may have to wait for the server."""
        return len(self.content) > _LARGE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), _LARGE):
            self._wait_for(1)
            yield self.content[start : start + _LARGE]
        # From when the last piece is sent, aiohttp keeps the limit for the head itself.
        self._wait_for(2)

    def _wait_for(self, times: int) -> None:
        if self._idle is not None:
            deadline = asyncio.get_running_loop().time() + times * self._idle
            # Called by aiohttp, in a task of its own.
            _put_off(self.scope, deadline if self._deadline is None else min(deadline, self._deadline), self._task)


class _Answer:
    """An ``aiohttp.ClientResponse`` whose body is read as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, read_timeout: Optional[float]) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._read_timeout = read_timeout
        self._decoder = ContentDecoder(response.headers.get("Content-Encoding", ""))
        self._finalizer = Finalizer()
        self._deadline = math.inf
        self._timer: Optional[asyncio.TimerHandle] = None
        if response.connection is not None:
            _tell_of_loss(response.connection.protocol)

    async def read(self, timeout: Optional[float]) -> bytes:
        if timeout is None or timeout != self._read_timeout:
            async with _fail_after(timeout):
                return await self._read()
        # A scope around each read would double its cost; and aiohttp's own limit is that of each read of the socket,
        # whatever it brings.
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + timeout
        if self._timer is None:
            self._timer = loop.call_at(self._deadline, self._look_at_the_clock, loop)
        try:
            return await self._read()
        finally:
            self._deadline = math.inf

    def _look_at_the_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if loop.time() >= self._deadline:
            self._response.content.set_exception(aiohttp.SocketTimeoutError("nothing came in time"))
        elif self._deadline != math.inf:
            self._timer = loop.call_at(self._deadline, self._look_at_the_clock, loop)

    async def _read(self) -> bytes:
        content = self._response.content
        while True:
            # Once the connection has broken, aiohttp forgets what had arrived before.
            data = b"" if content.exception() is None else content._read_nowait(-1)  # pyright: ignore[reportPrivateUsage]
            if not data:
                data = await content.readany()
            if not data:
                self._decoder.finish()
                return b""
            data = self._decoder.decode(data)
            if data:
                return data

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # At the end of the body aiohttp has given the connection back already, and there is nothing left to close.
        self._response.close()

    def abort(self) -> None:
        self._finalizer.run(self.aclose)


def _tell_of_loss(protocol: Any) -> None:
    """Make the end of the connection below `protocol` end the body that is being read from it.

    aiohttp closes the connection where a body's framing makes no sense, but its parser in C then leaves the reader
    waiting, without any limit.
    """
    if "connection_lost" in vars(protocol):
        return
    connection_lost = protocol.connection_lost

    def tell(error: Optional[BaseException]) -> None:
        del protocol.connection_lost
        body = protocol._payload
        connection_lost(error)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the body broke off"))

    protocol.connection_lost = tell


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
