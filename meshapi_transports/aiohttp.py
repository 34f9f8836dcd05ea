"""The client over aiohttp: `AsyncMeshAPI`, under asyncio.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from typing import TYPE_CHECKING, Any, Optional, cast

from meshapi_core import Failure, Request, Timeout

from ._async import AsyncStream as AsyncStream
from ._content_coding import ACCEPT_ENCODING, ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import USER_AGENT, FailureTable
from ._faces._async.client import AsyncMeshAPI as _AsyncMeshAPI
from ._finalizer import Finalizer
from ._public import missing, public_type

try:
    import aiohttp
    import yarl
except ImportError as error:
    raise missing("aiohttp") from error

if sys.version_info >= (3, 11):
    from asyncio import timeout as _fail_after
else:
    # Comes with aiohttp where asyncio has none.
    from async_timeout import timeout as _fail_after

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from meshapi_core import *

_FAILURES: FailureTable = {
    aiohttp.ClientConnectorError: Failure.CONNECT,
    aiohttp.ClientProxyConnectionError: Failure.CONNECT,
    aiohttp.ClientHttpProxyError: Failure.CONNECT,
    aiohttp.ServerFingerprintMismatch: Failure.CONNECT,
    aiohttp.ConnectionTimeoutError: Failure.CONNECT_TIMEOUT,
    aiohttp.ServerTimeoutError: Failure.TIMEOUT,
    aiohttp.ClientError: Failure.CONNECTION_LOST,
    ContentCodingError: Failure.CONNECTION_LOST,
    # From the limits that the adapter sets around aiohttp's own.
    asyncio.TimeoutError: Failure.TIMEOUT,
    # What the socket says now and then comes through bare.
    OSError: Failure.CONNECTION_LOST,
}

# aiohttp warns of larger bodies that are given as bytes.
_LARGE = 1 << 20


class AsyncMeshAPI(_AsyncMeshAPI):
    """A client for asyncio, over aiohttp.

    Args:
        session: an ``aiohttp.ClientSession`` to send with, for proxies, CAs, limits and the like; it is used as it is,
            and stays open when this client is closed.  A timeout that was set on it stands unless `timeout` is given.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`; see `ClientOptions`.

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
        headers = {**dict(request.headers), "Accept-Encoding": ACCEPT_ENCODING}
        auth = None
        if self._is_own:
            headers["User-Agent"] = USER_AGENT
        elif session.auth is not None or session.trust_env:
            auth = _OurAuth(headers.pop("Authorization"))
        content = request.content
        async with _fail_after(timeout.total):
            response = await session.request(
                request.method,
                # Percent-encoded already, and so to be left alone.
                yarl.URL(request.url, encoded=True),
                headers=headers,
                auth=auth,
                data=io.BytesIO(content) if content is not None and len(content) >= _LARGE else content,
                timeout=aiohttp.ClientTimeout(connect=timeout.connect, sock_read=timeout.idle),
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=False,
            )
        return _Answer(response, timeout.idle)

    async def aclose(self) -> None:
        if self._is_own and self._session is not None:
            await self._session.close()

    def _session_here(self) -> aiohttp.ClientSession:
        # Made at the first call, since a session belongs to the loop in which it is made.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Streams live long, so a pool that counts them would block the calls beside them.
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            # Trying again is for the core to decide; for GET, aiohttp would on its own.
            self._session._retry_connection = False
        return self._session


class _OurAuth(aiohttp.BasicAuth):
    """Our Authorization, where aiohttp would put the session's or that of .netrc; beside those it refuses a header."""

    def __new__(cls, header: str) -> Self:
        return cast("Self", super().__new__(cls, ""))

    def __init__(self, header: str) -> None:
        self._header = header

    def encode(self) -> str:
        return self._header


class _Answer:
    """An ``aiohttp.ClientResponse`` whose body is read as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, read_timeout: Optional[float]) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._read_timeout = read_timeout
        self._decoder = ContentDecoder(response.headers.get("Content-Encoding", ""))
        self._finalizer = Finalizer()

    async def read(self, timeout: Optional[float]) -> bytes:
        if timeout == self._read_timeout:
            # aiohttp keeps this limit itself; a scope around each read would double its cost.
            return await self._read()
        async with _fail_after(timeout):
            return await self._read()

    async def _read(self) -> bytes:
        while True:
            data = await self._response.content.readany()
            if not data:
                self._decoder.finish()
                return b""
            data = self._decoder.decode(data)
            if data:
                return data

    async def aclose(self) -> None:
        # At the end of the body aiohttp has given the connection back already, and there is nothing left to close.
        self._response.close()

    def abort(self) -> None:
        self._finalizer.run(self.aclose)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
