"""The client over aiohttp: `AsyncMeshAPI`, under asyncio.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Dict, Optional, Tuple, cast

from meshapi_core import Failure, Request, Timeout

from ._async import AsyncItems as AsyncItems
from ._async import AsyncStream as AsyncStream
from ._content_coding import ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import IDLE_SECONDS, FailureTable, headers_of
from ._faces._async.client import AsyncMeshAPI as _AsyncMeshAPI
from ._public import missing, public_type

try:
    import aiohttp
    import yarl
    from aiohttp import http_writer
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_exceptions import HttpProcessingError
    from multidict import CIMultiDict, CIMultiDictProxy
except ImportError as error:
    raise missing("aiohttp") from error

_untyped_writer: Any = http_writer

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

# How much is sent, and received, at once.  asyncio receives up to four times as much; what is made of that is more than
# malloc keeps at hand, and each time the system would be asked for it anew: an eighth of what a chunk costs.
_PIECE = 65536

# The versions whose inner parts `_send_directly` is known to fit; over others, requests go the long way.
_KNOWN_VERSIONS = ("3.12.", "3.13.", "3.14.")


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
    """Calls over an ``aiohttp.ClientSession``, or straight over its connections where the session is ours."""

    failures = _FAILURES
    sleep = staticmethod(asyncio.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, session: Optional[aiohttp.ClientSession]) -> None:
        self._injected = session
        # A session belongs to the loop in which it is made.
        self._own: Dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._may_send_directly = session is None and aiohttp.__version__.startswith(_KNOWN_VERSIONS)
        # Most requests of the core have one and the same head.
        self._prepared = lru_cache(maxsize=32)(_prepare)

    async def send(self, request: Request, timeout: Timeout) -> _Answer:
        loop = asyncio.get_running_loop()
        session = self._injected or self._own.get(loop) or await self._open_session(loop)
        if session._loop is not loop:  # pyright: ignore[reportPrivateUsage]
            raise RuntimeError("the client's session belongs to another event loop than the one that runs")
        if not self._may_send_directly:
            return await self._send_by(session, request, timeout)
        if timeout.total is None:
            return await self._send_directly(session, request, timeout)
        async with _fail_after(timeout.total):
            return await self._send_directly(session, request, timeout)

    async def _send_by(self, session: aiohttp.ClientSession, request: Request, timeout: Timeout) -> _Answer:
        headers = dict(headers_of(request, is_own=self._injected is None))
        middlewares = None
        if session is self._injected and (session.auth is not None or session.trust_env):
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
                    timeout=_limits(timeout.connect, timeout.idle),
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                )
        except aiohttp.ClientError as error:
            _forget_secrets(error)
            raise
        return _Answer(response.status, response.headers, response.content, response.connection, response.close)

    async def _send_directly(self, session: aiohttp.ClientSession, request: Request, timeout: Timeout) -> _Answer:
        """Send a request over a connection of our own session, but without the session.

        What that does for others (cookies, redirects, traces, a task that writes) is a third of what a request costs.
        """
        prepared, head = self._prepared(request.method, request.url, request.headers)
        connector: Any = session.connector
        try:
            connection = await connector.connect(prepared, [], _limits(timeout.connect, timeout.idle))
        except asyncio.TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("there was no connection in time") from error
        protocol = connection.protocol
        try:
            protocol.set_response_params(
                skip_payload=request.method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=timeout.idle,
                max_line_size=_MAX_FIELD_SIZE,
                max_field_size=_MAX_FIELD_SIZE,
            )
            if not protocol.is_connected():
                raise aiohttp.ServerDisconnectedError
            content = request.content or b""
            length = b"Content-Length: %d\r\n" % len(content) if content or request.method != "GET" else b""
            protocol.send(b"".join((head, length, b"\r\n")), content)
            message, body = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                # With the answer that this is for it, aiohttp has let go of the limit.
                protocol.start_timeout()
                message, body = await protocol.read()
        except BaseException:
            connection.close()
            raise
        body.on_eof(connection.release)
        return _Answer(message.code, message.headers, body, connection, connection.close)

    async def aclose(self) -> None:
        sessions, self._own = self._own, {}
        for loop, session in sessions.items():
            if loop is asyncio.get_running_loop() or loop.is_closed():
                await session.close()
            else:
                asyncio.run_coroutine_threadsafe(session.close(), loop)

    async def _open_session(self, loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
        session = self._own[loop] = _own_session(loop)
        for ended in [each for each in self._own if each.is_closed()]:
            # Its sockets, which only their loop could have closed, are closed as they are collected.
            await self._own.pop(ended).close()
        return session


def _own_session(loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)
    make_connection: Any = partial(_Connection, loop)
    connector._factory = make_connection  # pyright: ignore[reportPrivateUsage]
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        # What the other libraries take at least; a gateway behind a few proxies can send such fields.
        max_line_size=_MAX_FIELD_SIZE,
        max_field_size=_MAX_FIELD_SIZE,
    )
    # Trying again is for the core to decide; for GET, aiohttp would on its own.
    session._retry_connection = False  # pyright: ignore[reportPrivateUsage]
    return session


def _prepare(method: str, url: str, headers: Tuple[Tuple[str, str], ...]) -> Tuple[aiohttp.ClientRequest, bytes]:
    """What a connector has to know of a request, which is no secret, and its head but for the Content-Length."""
    fields = headers_of(Request(method, url, headers))
    prepared = aiohttp.ClientRequest(
        method, yarl.URL(url, encoded=True), headers=fields, loop=asyncio.get_running_loop()
    )
    prepared.headers.popall("Content-Length", None)
    first_line = f"{method} {prepared.url.raw_path_qs} HTTP/1.1"
    head: bytes = _untyped_writer._serialize_headers(first_line, prepared.headers)
    prepared.headers.clear()
    return prepared, head[: -len(b"\r\n")]


@lru_cache(maxsize=8)
def _limits(connect: Optional[float], idle: Optional[float]) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=connect, sock_read=idle)


def _forget_secrets(error: BaseException) -> None:
    """Take out of `error` the headers of the request, which hold the key, and a proxy's address, with its password."""
    told: Any = error
    if isinstance(error, aiohttp.ClientResponseError):
        # What asked a proxy for a tunnel has the proxy's address, too.
        url = told.request_info.real_url.with_user(None)
        no_headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
        told.request_info = aiohttp.RequestInfo(url, told.request_info.method, no_headers, url)
        told.args = (told.request_info, ())
        told.history = ()
    elif isinstance(error, aiohttp.ClientConnectorError):
        told._conn_key = told._conn_key._replace(proxy=None, proxy_auth=None)
        told.args = (told._conn_key, told.os_error)


def _authorizing(header: str) -> aiohttp.ClientMiddlewareType:
    """Has `header` sent as the Authorization, whatever stands there."""

    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = header
        return await handler(request)

    return authorize


class _Connection(ResponseHandler):
    """A connection of our own session."""

    # What asyncio was not yet given of the request.
    _unsent = memoryview(b"")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # For TLS, asyncio would wait until half a megabyte is taken before it tells of any.
        cast("asyncio.Transport", transport).set_write_buffer_limits(_PIECE)

    def send(self, head: bytes, content: bytes) -> None:
        """Send a request, of whose content asyncio gets no more than the server takes.

        Each part that the server takes has the read timeout to itself; the last one shares it with the answer's head.
        """
        transport: Any = self.transport
        self._unsent = memoryview(content)[_PIECE:]
        transport.write(head + content[:_PIECE])
        self._send_more()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unsent:
            self._send_more()

    def _send_more(self) -> None:
        transport: Any = self.transport
        while self._unsent and not self.writing_paused and not transport.is_closing():
            piece, self._unsent = self._unsent[:_PIECE], self._unsent[_PIECE:]
            transport.write(piece)
        self.start_timeout()

    @property
    def should_close(self) -> bool:
        # The server may have answered without taking all of the request.
        return bool(self._unsent) or super().should_close

    def is_connected(self) -> bool:
        # Not to be used again, either, if something came on it while it was idle.
        return super().is_connected() and not self.should_close

    def close(self) -> None:
        # What the server has not taken yet would keep the connection open until it does.
        transport: Any = self.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        self._unsent = memoryview(b"")
        super().close()


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
    """An answer whose body is read as it comes.

    Args:
        status: the status code.
        headers: the header fields.
        content: the body.
        connection: what it comes over; ``None`` if all of it is in.
        close: closes that connection.
    """

    def __init__(
        self,
        status: int,
        headers: CIMultiDictProxy[str],
        content: aiohttp.StreamReader,
        connection: Any,
        close: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = headers
        codings = headers.getall("Content-Encoding", ())
        self._decoder = ContentDecoder(", ".join(codings)) if codings else None
        self._content = content
        self._connection = connection
        self._close_connection = close
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf
        self._timer: Optional[asyncio.TimerHandle] = None
        if self._is_connected:
            protocol = connection.protocol
            # aiohttp's own limit is that of each read of the socket, whatever it brings; from here on `read` has one.
            protocol.read_timeout = None
            protocol.start_timeout()
            _tell_of_loss(protocol)

    @property
    def _is_connected(self) -> bool:
        # At the end of the body the connection goes back to the pool, and knows no protocol any more.
        return self._connection is not None and self._connection.protocol is not None

    async def read(self, timeout: Optional[float]) -> bytes:
        content = self._content
        try:
            while not content.at_eof():
                # Also what had arrived before the connection broke, which aiohttp would forget.
                data = content._read_nowait(_PIECE)  # pyright: ignore[reportPrivateUsage]
                if not data:
                    self._expect_data_within(timeout)
                    data = await content.read(_PIECE)
                if self._decoder is not None:
                    data = self._decoder.decode(data)
                if data:
                    return data
        finally:
            self._deadline = math.inf
        if self._decoder is not None:
            self._decoder.finish()
        return b""

    def _expect_data_within(self, seconds: Optional[float]) -> None:
        # A scope around each read would double its cost; this timer is set once for many of them.
        if seconds is None or self._deadline != math.inf:
            return
        self._deadline = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)
        elif self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)
        elif not self._content._buffer:  # pyright: ignore[reportPrivateUsage]
            self._content.set_exception(aiohttp.SocketTimeoutError("nothing came in time"))
        else:
            # What has come is read first; decoded, it may be nothing at all.
            self._timer = self._loop.call_later(0, self._look_at_the_clock)

    async def aclose(self) -> None:
        self._close()

    def abort(self) -> None:
        # After the loop there is nothing left to close.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_connected:
            self._close_connection()


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
