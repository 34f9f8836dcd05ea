"""A small HTTP/1.1 client connection pool for trio, of trio's own streams and h11.

`ConnectionPool.send` sends one request and returns an `Exchange` once the head of the final response is in; the
exchange is read with `Exchange.read` and given back with `Exchange.aclose`.  The pool starts no task of its own: all
it does happens within the calls of its users.

Whatever ends a step early (an error, a timeout, `trio.Cancelled`) closes the connection and frees its slot before it
is raised.  Header values and the proxy's password are in no message and no repr of this module.
"""

from __future__ import annotations

import base64
import math
import ssl
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import h11
import trio

from ._tls import shared_context
from ._trio_stream import SocketStream, open_stream

__all__ = [
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "ConnectionPool",
    "Exchange",
    "PoolClosed",
    "PoolError",
    "ReadTimeout",
]

_READ_SIZE = 64 * 1024
_MAX_HEAD_SIZE = 64 * 1024
# A stream does not tell how far a long send_all has come, so a long request goes out in pieces of this size; each has
# the whole read timeout to itself.
_WRITE_SIZE = 64 * 1024

_DEFAULT_PORTS = {"http": 80, "https": 443}
_METHODS_WITH_CONTENT = frozenset({"PATCH", "POST", "PUT"})
# All that h11 looks at to understand the response.
_TELLING_FIELDS = frozenset({b"connection", b"host", b"upgrade"})
_END_OF_REQUEST = h11.EndOfMessage()


class PoolError(Exception):
    """What the errors of this module have in common."""


class ConnectError(PoolError):
    """There is no connection, and nothing was sent: name resolution, TCP, the proxy or the TLS handshake failed."""


class ConnectTimeout(PoolError):
    """There was no free slot, or no connection, within the connect timeout; nothing was sent."""


class ReadTimeout(PoolError):
    """The server took, or sent, no bytes for as long as the read timeout."""


class ConnectionLost(PoolError):
    """The connection broke, or what came was not HTTP/1.1, after the request was (perhaps in part) sent."""


class PoolClosed(PoolError, RuntimeError):
    """The pool was closed, before this call or while it was under way."""


class _Origin(NamedTuple):
    """What connections have to have in common to stand in for each other."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class _Request:
    """A request but for its content; as good for the next one with the same head.

    Attributes:
        origin: where to connect to.
        event: what h11 has to know of it, which is no secret.
    """

    __slots__ = ("_head", "_length", "_tells_length", "event", "origin")

    def __init__(self, origin: _Origin, request: h11.Request) -> None:
        self.origin = origin
        telling_fields = [field for field in request.headers if field[0] in _TELLING_FIELDS]
        self.event = h11.Request(method=request.method, target=request.target, headers=telling_fields)
        self._length = next((int(value) for name, value in request.headers if name == b"content-length"), None)
        self._tells_length = request.method.decode() in _METHODS_WITH_CONTENT
        self._head = h11.Connection(h11.CLIENT).send(request)[: -len(b"\r\n")]

    def with_content(self, content: bytes) -> bytes:
        """The bytes of the whole request."""
        length = b""
        if self._length is None:
            if content or self._tells_length:
                length = b"Content-Length: %d\r\n" % len(content)
        elif self._length != len(content):
            raise ValueError("the Content-Length header does not fit the content")
        return b"".join((self._head, length, b"\r\n", content))


class _Connection:
    """One stream, with the state of its HTTP/1.1; it serves one request at a time and knows nothing of the pool."""

    def __init__(self, origin: _Origin, socket_stream: SocketStream, stream: trio.abc.Stream) -> None:
        self.origin = origin
        self.idle_since = math.inf
        self.body_ended = False
        self._body_begun = False
        # Whether h11 has nothing more to parse, so that the rest of the body has to come from the network.
        self._drained = False
        # What was wrong with the body, after some good bytes that had to be returned first.
        self._body_error: h11.RemoteProtocolError | None = None
        self._socket_stream = socket_stream
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_SIZE)

    def close(self) -> None:
        # The socket below any TLS: this never waits, and a task that is blocked on the stream gets ClosedResourceError.
        self._socket_stream.close()

    def is_stale(self) -> bool:
        # Nothing is due on an idle connection: what makes it readable is its end, or bytes that answer no request.
        return self._socket_stream.is_readable()

    async def ask(self, event: h11.Request, request: bytes, timeout: float) -> h11.Response:
        """Send a whole request, of which `event` tells h11, and return the head of its final response."""
        data = memoryview(request)
        is_broken = False
        with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:
            try:
                for start in range(0, len(data), _WRITE_SIZE):
                    await self._stream.send_all(data[start : start + _WRITE_SIZE])
                    # A small request goes straight into the system's buffer, and takes nothing of the limit.
                    if len(data) > _WRITE_SIZE:
                        scope.deadline = trio.current_time() + timeout
            except trio.BrokenResourceError:
                # A server may answer (say 413) and close before it has taken the whole request: its answer, if it
                # came, can still be read, and if it did not, reading says why.
                is_broken = True
            # While the server is at work, and not while it waits for it.
            self._http.send(event)
            self._http.send(_END_OF_REQUEST)
            if is_broken:
                self._http.send_failed()
            while True:
                await self._receive()
                response = self._take_head()
                if response is not None:
                    return response
                scope.deadline = trio.current_time() + timeout
        raise ReadTimeout(f"the server took, or sent, nothing for {timeout} seconds")

    async def read_body(self, timeout: float) -> bytes:
        """Return the body bytes that are in, or the next to come; b"" at the end of the body."""
        data = b"" if self._drained or self.body_ended else self._take_body()
        if data or self.body_ended:
            return data
        # One limit for all that has to come before there are bytes to return: framing can be spun out, too.
        with trio.CancelScope(deadline=trio.current_time() + timeout):
            while not (data or self.body_ended):
                await self._receive()
                data = self._take_body()
            return data
        raise ReadTimeout(f"the server sent nothing for {timeout} seconds")

    def start_over(self) -> bool:
        """Make ready for the next request; return False where there can be none."""
        if not self.body_ended:
            # No one may have asked for the end of an empty body, or for the rest of one that came along with the head.
            self._body_begun = True
            with suppress(ConnectionLost):
                self._take_body()
        unasked_for, _ = self._http.trailing_data
        if unasked_for or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.body_ended = self._body_begun = self._drained = False
        return True

    async def _receive(self) -> None:
        try:
            self._http.receive_data(bytes(await self._stream.receive_some(_READ_SIZE)))
        except trio.BrokenResourceError as exc:
            raise ConnectionLost("the connection broke") from exc

    def _take_head(self) -> h11.Response | None:
        try:
            event = self._http.next_event()
            while type(event) is h11.InformationalResponse:
                event = self._http.next_event()
        except h11.RemoteProtocolError as exc:
            raise ConnectionLost("the connection ended, or sent what is not HTTP/1.1, before a response") from exc
        if event is h11.PAUSED:
            raise ConnectionLost("the server switched to another protocol")
        return event if isinstance(event, h11.Response) else None

    def _take_body(self) -> bytes:
        self._drained = False
        pieces: list[bytes] = []
        try:
            if self._body_error is not None:
                raise self._body_error
            event = self._http.next_event()
            while isinstance(event, h11.Data):
                pieces.append(event.data)
                if not self._body_begun:
                    # The first piece is awaited most, and does not wait for h11 to look through those behind it.
                    self._body_begun = True
                    break
                event = self._http.next_event()
            self._drained = event is h11.NEED_DATA
            self.body_ended = type(event) is h11.EndOfMessage
        except h11.RemoteProtocolError as exc:
            if not pieces:
                raise ConnectionLost("the connection ended, or sent what is not HTTP/1.1, amid a body") from exc
            self._body_error = exc
        return b"".join(pieces)


class _Proxy:
    """Where the proxy is, and what it wants to see."""

    def __init__(self, url: str) -> None:
        parts = _split_url(url, "the proxy's URL")
        self.origin = _origin_of(parts)
        if self.origin.scheme != "http":
            raise ValueError("the proxy's URL has to start with http://")
        self.headers: list[tuple[str, str]] = []
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            token = base64.b64encode(login.encode()).decode("ascii")
            self.headers.append(("Proxy-Authorization", f"Basic {token}"))

    async def open_tunnel(self, stream: trio.abc.Stream, origin: _Origin) -> None:
        """Have the proxy connect the stream to the origin; raise ConnectError if it does not."""
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_SIZE)
        headers = [("Host", origin.authority), *self.headers]
        request = h11.Request(method="CONNECT", target=origin.authority, headers=headers)
        event: object = h11.NEED_DATA
        try:
            await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
            while not isinstance(event, h11.Response):
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await stream.receive_some(_READ_SIZE)))
                event = http.next_event()
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as exc:
            raise ConnectError(f"the proxy at {self.origin.authority} did not answer CONNECT") from exc
        if not 200 <= event.status_code < 300:
            raise ConnectError(f"the proxy at {self.origin.authority} refused CONNECT with status {event.status_code}")


class _Waiter:
    """A task that waits for a slot, and the connection (if any) that it got along with it."""

    def __init__(self, origin: _Origin, task: trio.lowlevel.Task) -> None:
        self.origin = origin
        self.task = task
        self.connection: _Connection | None = None


class ConnectionPool:
    """HTTP/1.1 connections over TCP, TLS or a proxy, kept for reuse; call `send` next, and `aclose` in the end.

    A pool belongs to one `trio.run` at a time; any number of its tasks may use it at once.

    Args:
        ssl_context: for https; its ALPN protocols are set to http/1.1.  By default it is the one that all clients of
            this process share, made at the first https connection.
        proxy: ``http://[user:password@]host:port``, user and password percent-encoded.  Plain http requests are
            forwarded by it, https ones go through a CONNECT tunnel.
        max_connections: how many connections may be open at once, idle ones included; None for no limit.  At the limit
            `send` waits for its turn, first come, first served.
        max_idle_connections: how many idle connections are kept; beyond it the one idle for longest is closed.
        idle_expiry: seconds after which an idle connection is no longer used.

    Raises:
        ValueError: the proxy's URL is not of that form, or a number is out of range.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        max_connections: int | None = None,
        max_idle_connections: int = 100,
        idle_expiry: float = 15.0,
    ) -> None:
        if max_connections is not None and max_connections < 1:
            raise ValueError("max_connections has to be at least 1, or None")
        if max_idle_connections < 0 or not idle_expiry >= 0:
            raise ValueError("max_idle_connections and idle_expiry have to be at least 0")
        if ssl_context is not None:
            ssl_context.set_alpn_protocols(["http/1.1"])
        self._ssl_context = ssl_context
        self._proxy = None if proxy is None else _Proxy(proxy)
        # An API client sends requests with the same few heads again and again.
        self._prepared = lru_cache(maxsize=64)(partial(_prepare, self._proxy))
        self._max_connections = math.inf if max_connections is None else max_connections
        self._max_idle_connections = max_idle_connections
        self._idle_expiry = idle_expiry
        self._closed = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._start_afresh()

    def _start_afresh(self) -> None:
        # A slot is taken by each open connection and by each attempt to open one.  While anyone waits for a slot, all
        # are taken and no connection is idle: what gets free goes straight to the first in line.
        self._slots_taken = 0
        self._connections: set[_Connection] = set()
        self._connecting: set[trio.CancelScope] = set()
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()
        # Both in the order in which the connections got idle.
        self._idle: OrderedDict[_Connection, None] = OrderedDict()
        self._idle_by_origin: dict[_Origin, deque[_Connection]] = {}

    async def send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        content: bytes = b"",
        *,
        connect_timeout: float = math.inf,
        read_timeout: float = math.inf,
    ) -> Exchange:
        """Send a request and wait for the head of its final response; read the `Exchange`, and close it, next.

        Args:
            method: any but CONNECT, in the case in which it is to be sent.
            url: absolute, http or https, ASCII (percent-encoded, punycode), without user and password.
            headers: (name, value) pairs of ASCII text.  Host and Content-Length are added where they are missing.
            content: the whole body.
            connect_timeout: seconds for a free slot, TCP, the proxy and the TLS handshake together.
            read_timeout: seconds without progress, either way, from then to the head.

        Returns:
            The exchange.  Its connection is taken until `Exchange.aclose` is called.

        Raises:
            ConnectError: there is no connection; nothing was sent.
            ConnectTimeout: there was none in time; nothing was sent.
            ReadTimeout: no progress for read_timeout seconds.
            ConnectionLost: the connection broke, or the answer is not HTTP/1.1.  Nothing is sent twice here, so this is
                also how a connection shows that the server closed it just as it was taken up again.
            PoolClosed: the pool is closed, or was closed meanwhile.
            ValueError: the request is not one that HTTP/1.1 can carry.
        """
        if self._closed:
            raise PoolClosed("the connection pool is closed")
        token = trio.lowlevel.current_trio_token()
        if token is not self._token:
            self._move_to(token)
        prepared = self._prepared(method, url, tuple(headers))
        request = prepared.with_content(content)
        self._close_expired_connections(trio.current_time())
        connection = self._pop_idle_connection(prepared.origin)
        if connection is None:
            connection = await self._take_connection(prepared.origin, connect_timeout)
        try:
            response = await connection.ask(prepared.event, request, read_timeout)
        except BaseException as exc:
            self._give_up(connection, exc)
            raise
        return Exchange(self, token, connection, response)

    async def aclose(self) -> None:
        """Close all connections, busy ones too; whatever is under way, and any later `send`, raises PoolClosed.

        This never waits, works in a cancelled scope, and may be called again.
        """
        self._closed = True
        for scope in self._connecting:
            scope.cancel()
        self._close_all_connections()

    def _close_all_connections(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._idle.clear()
        self._idle_by_origin.clear()

    def _move_to(self, token: trio.lowlevel.TrioToken) -> None:
        """Forget what is left of an earlier `trio.run`: its clock, its tasks and so its connections."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(_nothing)
                raise RuntimeError("the connection pool is in use in another event loop, by another trio.run")
            self._close_all_connections()
            self._start_afresh()
        self._token = token

    def _give_up(self, connection: _Connection, error: BaseException) -> None:
        self._close_connection(connection)
        if self._closed and isinstance(error, trio.ClosedResourceError):
            raise PoolClosed("the connection pool was closed while a request was under way") from error

    async def _take_connection(self, origin: _Origin, timeout: float) -> _Connection:
        with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:
            self._connecting.add(scope)
            try:
                connection = await self._take_slot(origin)
                return connection or await self._fill_slot(origin)
            finally:
                self._connecting.discard(scope)
        if self._closed:
            raise PoolClosed("the connection pool was closed while a request was waiting for a connection")
        raise ConnectTimeout(f"no connection to {origin.authority} within {timeout} seconds")

    async def _take_slot(self, origin: _Origin) -> _Connection | None:
        """Wait for a free slot; return the connection that it already holds, if that is a good one to the origin."""
        if self._slots_taken >= self._max_connections and self._idle:
            self._close_longest_idle_connection()
        if self._slots_taken < self._max_connections:
            self._slots_taken += 1
            return None
        waiter = _Waiter(origin, trio.lowlevel.current_task())
        self._waiters[waiter] = None

        def give_up(_: object) -> trio.lowlevel.Abort:
            # Trio calls this only while the task was not rescheduled, so a slot that was handed over is never lost.
            del self._waiters[waiter]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)
        connection = waiter.connection
        if connection is None or connection not in self._connections:
            return None
        if connection.is_stale():
            self._connections.remove(connection)
            connection.close()
            return None
        return connection

    async def _fill_slot(self, origin: _Origin) -> _Connection:
        """Open a connection in a slot that is already taken."""
        try:
            connection = await self._connect(origin)
        except BaseException:
            self._free_slot()
            raise
        self._connections.add(connection)
        if self._closed:
            self._close_connection(connection)
            raise PoolClosed("the connection pool was closed while a request was waiting for a connection")
        return connection

    def _free_slot(self) -> None:
        if self._waiters:
            self._hand_over_slot(None)
        else:
            self._slots_taken -= 1

    def _hand_over_slot(self, connection: _Connection | None) -> None:
        waiter, _ = self._waiters.popitem(last=False)
        waiter.connection = connection
        trio.lowlevel.reschedule(waiter.task)

    async def _connect(self, origin: _Origin) -> _Connection:
        peer = origin if self._proxy is None else self._proxy.origin
        try:
            socket_stream = await open_stream(peer.host, peer.port)
        except (OSError, UnicodeError) as exc:
            raise ConnectError(f"no TCP connection to {peer.authority}") from exc
        try:
            stream: trio.abc.Stream = socket_stream
            if origin.scheme == "https":
                if self._proxy is not None:
                    await self._proxy.open_tunnel(socket_stream, origin)
                stream = await self._start_tls(socket_stream, origin)
            return _Connection(origin, socket_stream, stream)
        except BaseException:
            socket_stream.close()
            raise

    async def _start_tls(self, socket_stream: SocketStream, origin: _Origin) -> trio.abc.Stream:
        context = self._ssl_context or shared_context()
        try:
            # An end of TCP that TLS does not confirm ends nothing, also where the length of a body is not known
            # (RFC 9112, section 9.8).
            stream = trio.SSLStream(socket_stream, context, server_hostname=origin.host, https_compatible=False)
            await stream.do_handshake()
        except (trio.BrokenResourceError, ValueError) as exc:
            raise ConnectError(f"the TLS handshake with {origin.authority} failed: {exc.__cause__ or exc}") from exc
        return stream

    def _give_back(self, connection: _Connection) -> None:
        if connection not in self._connections:
            return
        now = trio.current_time()
        self._close_expired_connections(now)
        if not connection.start_over():
            self._close_connection(connection)
        elif not self._waiters:
            self._keep(connection, now)
        elif next(iter(self._waiters)).origin == connection.origin:
            self._hand_over_slot(connection)
        else:
            self._close_connection(connection)

    def _keep(self, connection: _Connection, now: float) -> None:
        connection.idle_since = now
        self._idle[connection] = None
        self._idle_by_origin.setdefault(connection.origin, deque()).append(connection)
        if len(self._idle) > self._max_idle_connections:
            self._close_longest_idle_connection()

    def _pop_idle_connection(self, origin: _Origin) -> _Connection | None:
        idle = self._idle_by_origin.get(origin)
        while idle:
            connection = idle.pop()
            if not idle:
                del self._idle_by_origin[origin]
            del self._idle[connection]
            if not connection.is_stale():
                return connection
            self._close_connection(connection)
        return None

    def _close_expired_connections(self, now: float) -> None:
        while self._idle and next(iter(self._idle)).idle_since + self._idle_expiry <= now:
            self._close_longest_idle_connection()

    def _close_longest_idle_connection(self) -> None:
        connection, _ = self._idle.popitem(last=False)
        idle = self._idle_by_origin[connection.origin]
        idle.popleft()
        if not idle:
            del self._idle_by_origin[connection.origin]
        self._close_connection(connection)

    def _close_connection(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            connection.close()
            self._free_slot()


class Exchange:
    """A response whose head is in, and its connection; call `read` until the end of the body, then `aclose`.

    Attributes:
        status: the status code of the final response.
        headers: the (name, value) pairs of its head, names in lower case, in the order in which they came.
    """

    status: int
    headers: list[tuple[bytes, bytes]]

    def __init__(
        self,
        pool: ConnectionPool,
        token: trio.lowlevel.TrioToken,
        connection: _Connection,
        response: h11.Response,
    ) -> None:
        self.status = response.status_code
        # To iterate over h11's own object takes ten times as long.
        self.headers = [(name.lower(), value) for name, value in response.headers.raw_items()]
        self._pool = pool
        self._token = token
        self._connection = connection
        self._closed = False

    async def read(self, timeout: float = math.inf) -> bytes:
        """Return the next bytes of the body as soon as there are any: all that are in, joined.

        The transfer coding is undone, a content coding is not.

        Args:
            timeout: seconds in which any bytes at all have to come.

        Returns:
            Bytes, or b"" at the end of the body, as often as it is asked for.  Call `aclose` after that.

        Raises:
            ReadTimeout: nothing came in time.
            ConnectionLost: the connection ended before the body did, or broke, or sent what is not HTTP/1.1.
            PoolClosed: the pool was closed meanwhile.
            trio.ClosedResourceError: this exchange was closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("the exchange is closed")
        try:
            return await self._connection.read_body(timeout)
        except BaseException as exc:
            self._pool._give_up(self._connection, exc)  # pyright: ignore[reportPrivateUsage]
            raise

    async def aclose(self) -> None:
        """Give the connection back for reuse if the body was read to its end, and close it at once if it was not.

        This never waits, works in a cancelled scope, and may be called again.
        """
        self._close()

    def abort(self) -> None:
        """Have done what `aclose` does, as soon as may be; from any thread, and from where nothing can be awaited."""
        # After the run there is nothing left to close.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._close)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pool._give_back(self._connection)  # pyright: ignore[reportPrivateUsage]


def _nothing() -> None:
    """Do nothing."""


def _prepare(proxy: _Proxy | None, method: str, url: str, headers: tuple[tuple[str, str], ...]) -> _Request:
    origin, host, target = _parse_url(url)
    fields = list(headers)
    if proxy is not None and origin.scheme == "http":
        target = f"http://{host}{target}"
        origin = proxy.origin
        fields += proxy.headers
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("Host", host))
    with suppress(h11.LocalProtocolError, UnicodeEncodeError):
        request = h11.Request(method=method, target=target, headers=fields)
        if request.method != b"CONNECT" and "transfer-encoding" not in names:
            return _Request(origin, request)
    raise ValueError("the method, URL, or name or value of a header is not one that HTTP/1.1 can carry")


def _parse_url(url: str) -> tuple[_Origin, str, str]:
    """Return a URL's origin, its Host header and its target in origin-form."""
    parts = _split_url(url, "the URL")
    if parts.username is not None:
        raise ValueError("the URL must not hold a user or password")
    origin = _origin_of(parts)
    default_port = origin.port == _DEFAULT_PORTS[origin.scheme]
    host = origin.authority.rpartition(":")[0] if default_port else origin.authority
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return origin, host, target


def _split_url(url: str, what: str) -> SplitResult:
    # Here and below: the errors of urllib and h11 quote what they complain about, which may be a secret, so they are
    # not even left as a context.
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.port != 0:
            return parts
    raise ValueError(f"{what} is not a valid http or https one")


def _origin_of(parts: SplitResult) -> _Origin:
    return _Origin(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])
