"""The client over trio's own streams: `AsyncMeshAPI`.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ContextManager, Optional

from meshapi_core import Failure, Request, Timeout

from ._async import AsyncItems as AsyncItems
from ._async import AsyncStream as AsyncStream
from ._content_coding import ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import IDLE_SECONDS, FailureTable, headers_of
from ._faces._async.client import AsyncMeshAPI as _AsyncMeshAPI
from ._public import missing, public_type

try:
    import trio

    from ._trio_pool import ConnectError, ConnectionLost, ConnectTimeout, Exchange, ReadTimeout
    from ._trio_pool import ConnectionPool as ConnectionPool
except ImportError as error:
    raise missing("trio") from error

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from meshapi_core import *

_FAILURES: FailureTable = {
    ConnectError: Failure.CONNECT,
    ConnectTimeout: Failure.CONNECT_TIMEOUT,
    ReadTimeout: Failure.TIMEOUT,
    ConnectionLost: Failure.CONNECTION_LOST,
    ContentCodingError: Failure.CONNECTION_LOST,
    trio.TooSlowError: Failure.TIMEOUT,
}


# Of those that a crowd of calls leaves behind, enough for the next crowd: a new one costs more than a request.
_IDLE_CONNECTIONS = 1000


class AsyncMeshAPI(_AsyncMeshAPI):
    """A client for trio.

    Args:
        pool: a `ConnectionPool` to send with, for a proxy, a CA or limits of your own; it stays open when this client
            is closed.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`, `max_answer_size`, `max_event_size`, `observers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``await client.chat.completions.create(params)``.  Close the client with ``await client.aclose()``, or use it
    in an ``async with`` statement.
    """

    def __init__(self, *, pool: Optional[ConnectionPool] = None, **options: Unpack[ClientOptions]) -> None:
        super().__init__(_Transport(pool), options)


class _Transport:
    """Calls over a `ConnectionPool`."""

    failures = _FAILURES
    sleep = staticmethod(trio.sleep)
    current_time = staticmethod(trio.current_time)

    def __init__(self, pool: Optional[ConnectionPool]) -> None:
        self._is_own = pool is None
        self._pool = (
            ConnectionPool(max_idle_connections=_IDLE_CONNECTIONS, idle_expiry=IDLE_SECONDS) if pool is None else pool
        )
        self._core_headers: object = None
        self._headers: tuple[tuple[str, str], ...] = ()

    async def send(self, request: Request, timeout: Timeout) -> _Answer:
        # Most requests of the core have one and the same tuple.
        if request.headers is not self._core_headers:
            self._core_headers = request.headers
            self._headers = tuple(headers_of(request))
        with _fail_after(timeout.total):
            exchange = await self._pool.send(
                request.method,
                request.url,
                self._headers,
                request.content or b"",
                connect_timeout=_seconds(timeout.connect),
                read_timeout=_seconds(timeout.idle),
            )
        return _Answer(exchange)

    async def aclose(self) -> None:
        if self._is_own:
            await self._pool.aclose()


class _Answer:
    """An exchange whose body is read as it comes."""

    def __init__(self, exchange: Exchange) -> None:
        self.status = exchange.status
        self.headers = exchange.headers
        self._exchange = exchange
        codings = [value.decode("latin-1") for name, value in exchange.headers if name == b"content-encoding"]
        self._decoder = ContentDecoder(", ".join(codings)) if codings else None

    async def read(self, timeout: Optional[float]) -> bytes:
        if self._decoder is None:
            # The pool keeps the limit itself; another scope would only cost time.
            return await self._exchange.read(_seconds(timeout))
        with _fail_after(timeout):
            while True:
                data = await self._exchange.read()
                if not data:
                    self._decoder.finish()
                    return b""
                data = self._decoder.decode(data)
                if data:
                    return data

    async def aclose(self) -> None:
        await self._exchange.aclose()

    def abort(self) -> None:
        self._exchange.abort()


def _seconds(limit: Optional[float]) -> float:
    return math.inf if limit is None else limit


def _fail_after(seconds: Optional[float]) -> ContextManager[Any]:
    return nullcontext() if seconds is None else trio.fail_after(seconds)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
