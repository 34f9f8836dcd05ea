"""What the adapters for httpx and for httpx2 share: everything but the name of the library.

httpx2 continues httpx, with the same interface; so each function here takes the library that it is to work with.

An HTTP/1.1 body is read beneath the library, from the h11 that its connections are made of: all that has come at once,
with a limit for each wait.  The library would hand each HTTP chunk up through five generators.  Whatever else it may
read from, HTTP/2 or a transport of the user's, is read the library's way.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import threading
import time
from contextlib import nullcontext, suppress
from functools import cache, lru_cache, partial
from importlib import import_module
from types import coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    ContextManager,
    Coroutine,
    Dict,
    Generator,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
    Tuple,
    TypeVar,
    cast,
)

import anyio
import anyio.lowlevel

from meshapi_core import Failure, HeadersLike, Request, Timeout

from ._content_coding import ContentCodingError, ContentDecoder
from ._driver import IDLE_CONNECTIONS, IDLE_SECONDS, FailureTable, at_most, headers_of
from ._finalizer import Finalizer
from ._tls import late_context

if TYPE_CHECKING:
    from types import ModuleType

    from typing_extensions import Self

    from ._async import AsyncAnswer
    from ._sync import Answer

__all__ = ["AsyncTransport", "SyncTransport", "timeout_of"]

T = TypeVar("T")

_PIECE = 65536
# Of larger ones fewer are needed, but each connection more makes all requests of its pool slower.
_POOL_SIZE = 10


@cache
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


def timeout_of(library: Any, client: Any) -> Optional[Timeout]:
    """The limits that the user set on `client`; ``None`` if they are the usual five seconds, too short for a model."""
    if client is None or client.timeout == library.Timeout(5.0):
        return None
    return Timeout(connect=client.timeout.connect or None, idle=client.timeout.read or None)


class _Transport:
    """What both colours of transport share."""

    current_time = staticmethod(time.monotonic)

    def __init__(self, library: Any, client_class: Any, injected: Any) -> None:
        self.failures = _failures(library)
        self.library = library
        self._injected = injected
        self._is_own = injected is None
        self._client_class = client_class
        self._own_by_process: Dict[int, _Pools] = {}
        self._url = lru_cache(maxsize=64)(library.URL)

    def _enter(self) -> Tuple[_Place, List[_Pool]]:
        """Where to send a request, and the pools to be closed before, which nothing uses any more."""
        if not self._is_own:
            return _Place(self.library, _Pool(self._injected)), []
        # Made when it is first needed, since it loads the rest of the library; and again after a fork, since the
        # connections are the parent's.
        own, process = self._own_by_process, os.getpid()
        pools = own.get(process) or own.setdefault(process, _Pools(self.library, self._client_class))
        return pools.enter()

    def _pools_to_close(self) -> List[_Pool]:
        pools = self._own_by_process.get(os.getpid())
        return [] if pools is None else pools.close()

    def _message(self, request: Request, timeout: Timeout) -> Any:
        """`request` for the library; with the headers, cookies and query of the client, if one was injected."""
        connect, idle = at_most(timeout.connect, timeout.total), at_most(timeout.idle, timeout.total)
        extensions = {"timeout": {"connect": connect, "pool": connect, "read": idle, "write": idle}}
        headers = headers_of(request, is_own=self._is_own)
        body = _body_class(self.library)(request.content or b"")
        if self._is_own:
            # There is nothing to be merged, on which the library would spend a quarter of the whole call.
            url = self._url(request.url)
            headers.append(("Host", url.netloc.decode("ascii")))
            if request.content is not None:
                headers.append(("Content-Length", str(len(request.content))))
            return self.library.Request(request.method, url, headers=headers, stream=body, extensions=extensions)
        message = self._injected.build_request(
            request.method, request.url, headers=headers, content=request.content, extensions=extensions
        )
        message.stream = body
        return message


class _Pool:
    """A client with its connections, and the requests that are under way over it.

    Attributes:
        client: the library's.
        is_closed: whether that is being closed, or was.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.is_closed = False
        self._places: Set[_Place] = set()
        self._used_until = 0.0

    @property
    def has_room(self) -> bool:
        return len(self._places) < _POOL_SIZE

    @property
    def is_stale(self) -> bool:
        return not self._places and time.monotonic() - self._used_until > IDLE_SECONDS

    def add(self, place: _Place) -> None:
        self._places.add(place)

    def discard(self, place: _Place) -> None:
        # No lock, which the garbage collector could find its own thread holding.
        self._places.discard(place)
        self._used_until = time.monotonic()


class _Place:
    """The place that a request has in a pool until it has been answered."""

    def __init__(self, library: Any, pool: _Pool) -> None:
        self.library = library
        self.client = pool.client
        self._pool = pool
        pool.add(self)

    @property
    def is_closed(self) -> bool:
        return self._pool.is_closed

    def leave(self) -> None:
        """The request has been answered, or will not be.  To say so twice does no harm."""
        self._pool.discard(self)


class _Pools:
    """As many pools as it takes, the first of them first.

    httpcore looks through the connections of a pool at each request, and its version 1 for each of them once more.
    """

    def __init__(self, library: Any, client_class: Any) -> None:
        self._library = library
        self._client_class = client_class
        # A signal handler may close a client whose thread is in here.
        self._lock = threading.RLock()
        self._pools: List[_Pool] = []
        self._is_closed = False

    def enter(self) -> Tuple[_Place, List[_Pool]]:
        """A place for a request, and the pools that nothing uses any more."""
        with self._lock:
            unused = [pool for pool in self._pools[1:] if pool.is_stale]
            self._pools = [pool for pool in self._pools if pool not in unused]
            pool = next((pool for pool in self._pools if pool.has_room or self._is_closed), None)
            if pool is None:
                # The limit is for all of them.
                left = IDLE_CONNECTIONS - _POOL_SIZE * len(self._pools)
                pool = _Pool(_own_client(self._library, self._client_class, max(0, min(left, _POOL_SIZE))))
                self._pools.append(pool)
            return _Place(self._library, pool), unused

    def close(self) -> List[_Pool]:
        """The pools to be closed; none is made any more."""
        with self._lock:
            self._is_closed = True
            return self._pools


def _own_client(library: Any, client_class: Any, idle_connections: int) -> Any:
    limits = library.Limits(
        max_connections=None, max_keepalive_connections=idle_connections, keepalive_expiry=IDLE_SECONDS
    )
    client = client_class(limits=limits, verify=late_context(library.create_ssl_context))
    # None is ever sent, so none need be kept.
    client.cookies.extract_cookies = _ignore
    return client


def _ignore(_: object) -> None:
    pass


@cache
def _body_class(library: ModuleType) -> Any:
    # The library looks for its own base classes.
    return type("Body", (_Body, library.SyncByteStream, library.AsyncByteStream), {})


class _Body:
    """A body.  The library's own is a generator, which trio warns of when the sending breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        # A timeout counts for the whole of what is sent at once.
        content = self._content
        return (content[start : start + _PIECE] for start in range(0, len(content), _PIECE))

    def forget(self) -> None:
        """Let go of the content, which has been sent: the library keeps this for as long as the answer."""
        self._content = b""


class _Pieces:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._left = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._left:
            return piece
        raise StopAsyncIteration


@cache
def _beneath(library: ModuleType) -> Tuple[Any, Any]:
    """What `library` is made of: its httpcore, and h11; both are loaded with the first client."""
    return import_module(library.__name__.replace("httpx", "httpcore")), import_module("h11")


class _Http11Body:
    """The body that an HTTP/1.1 connection of httpcore's receives, read from its h11.

    Args:
        library: httpx, or what has its interface.
        http: the h11 connection.
        content_encoding: the field of the head, or ``""``.
    """

    _has_ended = False
    _is_read = False
    _error: Optional[Exception] = None
    # The first piece is awaited most, and does not wait for h11 to look through those behind it.
    _enough = 1

    def __init__(self, library: Any, http: Any, content_encoding: str) -> None:
        core, h11 = _beneath(library)
        self._library = library
        self._http = http
        self._need_data, self._data_type = h11.NEED_DATA, h11.Data
        self._decoder = ContentDecoder(content_encoding)
        self.errors = (core.NetworkError, core.TimeoutException, h11.RemoteProtocolError)
        self.receive: Callable[[bytes], None] = http.receive_data

    def take(self) -> Optional[bytes]:
        """What has come and was not taken; ``b""`` at the end of the body, ``None`` if more has to be received."""
        pieces: List[bytes] = []
        try:
            self._take_into(pieces)
        except (*self.errors, ContentCodingError) as error:
            # What came before is handed out first.
            self._error = error
        data = b"".join(pieces)
        if data:
            # What is unpacked may be large; how large, has to be looked at before there is more of it.
            self._enough = _PIECE
        elif self._error is not None:
            raise self._error
        self._is_read = self._has_ended and not data
        return data if data or self._has_ended else None

    def leave(self) -> None:
        """Have httpcore close the connection, unless all has been read and another answer may follow."""
        # What has come beyond the answer, httpcore would take for the next one.
        if not self._is_read or self._http.trailing_data[0]:
            self._http.send_failed()

    def named(self, error: Exception) -> Exception:
        """One of `errors`, as the library would raise it: its own go by the same names."""
        name: str = type(error).__name__
        return cast("Exception", getattr(self._library, name)(str(error)))

    def _take_into(self, pieces: List[bytes]) -> None:
        size = 0
        while size < self._enough and not self._has_ended and self._error is None:
            event = self._http.next_event()
            if event is self._need_data:
                break
            if isinstance(event, self._data_type):
                pieces.append(self._decoder.decode(event.data))
                size += len(pieces[-1])
            else:
                self._has_ended = True
                self._decoder.finish()


def _http11_under(response: Any) -> Any:
    """The h11 connection that `response` is read from; ``None`` if it is read from something else."""
    inner = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        inner = getattr(inner, name, None)
    return inner


def _end_after(seconds: Optional[float]) -> float:
    return math.inf if seconds is None else time.monotonic() + seconds


def _seconds_until(end: float) -> Optional[float]:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return None if left == math.inf else left


def _content_encoding(response: Any) -> str:
    return cast("str", response.headers.get("content-encoding", ""))


# Blocking


class SyncTransport(_Transport):
    """Blocking calls over a ``Client``.

    Args:
        library: httpx, or what has its interface.
        client: the user's; ``None`` makes one, which is closed with the transport.
    """

    sleep = staticmethod(time.sleep)

    def __init__(self, library: ModuleType, client: Any) -> None:
        super().__init__(library, library.Client, client)

    def send(self, request: Request, timeout: Timeout) -> Answer:
        message = self._message(request, timeout)
        if timeout.total is not None:
            message.extensions["trace"] = _limit_new_connection
        place, unused = self._enter()
        try:
            with _in_library.until(_end_after(timeout.total)):
                _close_all(unused)
                # No auth of the client's own: ours stands in the headers.
                response = place.client.send(message, stream=True, auth=None, follow_redirects=False)
        except BaseException:
            place.leave()
            raise
        message.stream.forget()
        http = _http11_under(response)
        return _AnyAnswer(response, place) if http is None else _Http11Answer(response, place, http)

    def close(self) -> None:
        with _in_library:
            _close_all(self._pools_to_close())


def _close_all(pools: List[_Pool]) -> None:
    for pool in pools:
        pool.is_closed = True
        pool.client.close()


class _Answer:
    """A ``Response``, but for the reading of its body."""

    def __init__(self, response: Any, place: _Place) -> None:
        self.status: int = response.status_code
        self.headers: HeadersLike = response.headers
        self._response = response
        self._place = place
        self._stream = response.extensions.get("network_stream")
        _limit_waits(self._stream)

    def close(self) -> None:
        try:
            _in_library.leave_with(self._response.close)
        finally:
            self._place.leave()
        if self._place.is_closed:
            # The pool has been closed, and forgets what was then being connected.
            self._stream.close()


class _Http11Answer(_Answer):
    """An answer in HTTP/1.1."""

    def __init__(self, response: Any, place: _Place, http: Any) -> None:
        super().__init__(response, place)
        self._body = _Http11Body(place.library, http, _content_encoding(response))

    def read(self, timeout: Optional[float]) -> bytes:
        body, end = self._body, _end_after(timeout)
        try:
            while True:
                data = body.take()
                if data is not None:
                    return data
                body.receive(self._stream.read(_PIECE, timeout=_seconds_until(end)))
        except body.errors as error:
            raise body.named(error) from error

    def close(self) -> None:
        if not self._response.is_closed:
            self._body.leave()
        super().close()


class _AnyAnswer(_Answer):
    """An answer in whatever the library speaks."""

    def __init__(self, response: Any, place: _Place) -> None:
        super().__init__(response, place)
        self._chunks: Iterator[bytes] = iter(response.stream)
        self._decoder = ContentDecoder(_content_encoding(response))

    def read(self, timeout: Optional[float]) -> bytes:
        with _in_library.until(_end_after(timeout)):
            for chunk in self._chunks:
                data = self._decoder.decode(chunk)
                if data:
                    return data
        self._decoder.finish()
        return b""


class _InLibrary(threading.local):
    """Entered by a thread that is at work inside of the library."""

    _depth = 0
    _end = math.inf

    def __init__(self) -> None:
        self._left_to_do: List[Callable[[], None]] = []

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._end = math.inf
        while self._left_to_do and not self._depth:
            with suppress(Exception):
                self._left_to_do.pop()()

    def until(self, end: float) -> Self:
        """To be entered; the thread's waits on network streams shall be over at `end`."""
        self._end = end
        return self

    def seconds_left(self, timeout: Optional[float]) -> Optional[float]:
        """How long a wait may take that would take `timeout` seconds."""
        return at_most(timeout, _seconds_until(self._end))

    def leave_with(self, close: Callable[[], None]) -> None:
        """Close something of the library's, once this thread is out of it.

        The garbage collector may come upon a dropped stream anywhere, also while this very thread holds the lock of
        the library's pool, for which the closing of that stream would wait for ever.
        """
        if self._depth:
            self._left_to_do.append(close)
        else:
            with self:
                close()


_in_library = _InLibrary()


def _limit_waits(network_stream: Any) -> None:
    """Make the reads and writes of httpcore's `network_stream` end when those of their thread shall.

    httpcore has one limit for each read of a head, whatever that brings, and for each piece that a write sends.
    """
    if network_stream is None or "read" in vars(network_stream):
        return
    read, write = network_stream.read, network_stream.write

    def read_in_time(max_bytes: int, timeout: Optional[float] = None) -> bytes:
        data: bytes = read(max_bytes, timeout=_in_library.seconds_left(timeout))
        return data

    def write_in_time(buffer: bytes, timeout: Optional[float] = None) -> None:
        write(buffer, timeout=_in_library.seconds_left(timeout))

    network_stream.read, network_stream.write = read_in_time, write_in_time


def _limit_new_connection(event: str, info: Mapping[str, Any]) -> None:
    # httpcore's trace: a connection made for a call with a total time must heed it from the head on.
    if event.endswith(("connect_tcp.complete", "start_tls.complete", "connect_unix_socket.complete")):
        _limit_waits(info["return_value"])


# In an event loop


class AsyncTransport(_Transport):
    """Calls over an ``AsyncClient``, in whatever loop runs.

    Args:
        library: httpx, or what has its interface.
        client: the user's; ``None`` makes one, which is closed with the transport.
    """

    sleep = staticmethod(anyio.sleep)
    _loop: object = None

    def __init__(self, library: ModuleType, client: Any) -> None:
        super().__init__(library, library.AsyncClient, client)

    async def send(self, request: Request, timeout: Timeout) -> AsyncAnswer:
        if self._is_own:
            running = _running_loop()
            self._loop = self._loop or running
            if self._loop is not running:
                raise RuntimeError("the client is in use in another event loop; each loop needs a client of its own")
        message = self._message(request, timeout)
        connecting = _Connecting()
        if message.url.scheme == "https":
            message.extensions["trace"] = connecting.trace
        place, unused = self._enter()
        try:
            if unused:
                await _aclose_all(unused)
            with _fail_after(timeout.total):
                sending = place.client.send(message, stream=True, auth=None, follow_redirects=False)
                response = await _without_idle_turns(sending)
        except BaseException:
            place.leave()
            await connecting.aclose()
            raise
        message.stream.forget()
        http = _http11_under(response)
        return _AnyAsyncAnswer(response, place) if http is None else _AsyncHttp11Answer(response, place, http)

    async def aclose(self) -> None:
        pools = self._pools_to_close()
        # The connections of another loop can only be dropped.
        if pools and self._loop is _running_loop():
            await _aclose_all(pools)


async def _aclose_all(pools: List[_Pool]) -> None:
    with anyio.CancelScope(shield=True):
        for pool in pools:
            pool.is_closed = True
            await _without_idle_turns(pool.client.aclose())
        # In which asyncio closes the sockets.
        await anyio.lowlevel.checkpoint()


class _Connecting:
    """A connection over TLS that httpcore has not yet made sure to close when its task is cancelled."""

    _stream: Any = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Hear from httpcore what it does."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = info["return_value"]
            # Who is cancelled a little later leaves httpcore's pool with a connection that it never uses or closes.
            await anyio.lowlevel.checkpoint_if_cancelled()
        elif event.endswith("send_request_headers.started"):
            self._stream = None

    async def aclose(self) -> None:
        """Close the connection if no request has begun on it."""
        if self._stream is not None:
            with anyio.CancelScope(shield=True):
                await _without_idle_turns(self._stream.aclose())


class _AsyncAnswer:
    """A ``Response`` of an ``AsyncClient``, but for the reading of its body."""

    def __init__(self, response: Any, place: _Place) -> None:
        self.status: int = response.status_code
        self.headers: HeadersLike = response.headers
        self._response = response
        self._place = place
        self._stream = response.extensions.get("network_stream")
        self._finalizer = Finalizer()

    async def aclose(self) -> None:
        # httpcore itself lets nothing of its closing be cancelled.
        await _without_idle_turns(self._close())

    def abort(self) -> None:
        self._finalizer.run(self.aclose)

    async def _close(self) -> None:
        try:
            await self._response.aclose()
        except ValueError:
            # httpcore looks whether its other connections are readable, whose sockets are closed with the client.
            if not self._place.is_closed:
                raise
        finally:
            self._place.leave()
        if self._place.is_closed:
            with anyio.CancelScope(shield=True):
                # The pool has been closed, and forgets what was then being connected.
                await self._stream.aclose()


class _AsyncHttp11Answer(_AsyncAnswer):
    """An answer in HTTP/1.1."""

    def __init__(self, response: Any, place: _Place, http: Any) -> None:
        super().__init__(response, place)
        self._body = _Http11Body(place.library, http, _content_encoding(response))

    async def read(self, timeout: Optional[float]) -> bytes:
        body, end = self._body, _end_after(timeout)
        try:
            while True:
                data = body.take()
                if data is not None:
                    return data
                body.receive(await self._stream.read(_PIECE, timeout=_seconds_until(end)))
        except body.errors as error:
            raise body.named(error) from error

    async def _close(self) -> None:
        if not self._response.is_closed:
            self._body.leave()
        await super()._close()


class _AnyAsyncAnswer(_AsyncAnswer):
    """An answer in whatever the library speaks."""

    def __init__(self, response: Any, place: _Place) -> None:
        super().__init__(response, place)
        self._chunks: AsyncIterator[bytes] = response.stream.__aiter__()
        self._decoder = ContentDecoder(_content_encoding(response))

    async def read(self, timeout: Optional[float]) -> bytes:
        with _fail_after(timeout):
            async for chunk in self._chunks:
                data = self._decoder.decode(chunk)
                if data:
                    return data
        self._decoder.finish()
        return b""

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await super().aclose()

    async def _close(self) -> None:
        await super()._close()
        # The library reads through generators within generators.  Dropped half-way, each would be left to the loop's
        # finaliser, which under trio is a warning; on a closed connection they all end at once.
        with suppress(Exception):
            async for _ in self._chunks:
                pass


# So many turns may be left out, one after the other: who is cancelled may wait in turns until he is told.
_IDLE_TURNS = 10


@coroutine
def _without_idle_turns(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `work` without the turns of asyncio's loop in which it waits for nothing.

    anyio takes them for fairness, at each lock and at each closing; but a task that is cancelled in one leaves its
    connection to httpcore's pool, which neither uses nor closes it any more.
    """
    step, idle = partial(work.send, None), 0
    while True:
        try:
            waits_for = step()
        except StopIteration as done:
            return cast("T", done.value)
        idle = idle + 1 if waits_for is None else 0
        if 0 < idle <= _IDLE_TURNS:
            step = partial(work.send, None)
            continue
        try:
            answer = yield waits_for
        except BaseException as error:
            step = partial(work.throw, error)
        else:
            step = partial(work.send, answer)


def _running_loop() -> object:
    """What no two loops have in common."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token()


def _fail_after(seconds: Optional[float]) -> ContextManager[Any]:
    return nullcontext() if seconds is None else anyio.fail_after(seconds)
