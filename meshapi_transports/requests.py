"""The client over requests: `MeshAPI`, for blocking code.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import http.client
import os
import queue
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, NamedTuple, Optional, Tuple, Union, cast
from urllib.parse import SplitResult, urlsplit

from meshapi_core import Failure, Request, Timeout

from ._content_coding import ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import IDLE_CONNECTIONS, FailureTable, at_most, headers_of
from ._faces._sync.client import MeshAPI as _MeshAPI
from ._http_client import FAILURES, Body, ConnectError, ConnectTimeoutError, Response, TimedSocket, target_of
from ._public import missing, public_type
from ._sync import Items as Items
from ._sync import Stream as Stream
from ._tls import shared_context

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from requests.utils import DEFAULT_CA_BUNDLE_PATH
    from urllib3.util.ssl_ import create_urllib3_context
except ImportError as error:
    raise missing("requests") from error

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from meshapi_core import *

_READ_SIZE = 65536


class MeshAPI(_MeshAPI):
    """A client for blocking code, over requests.

    Args:
        session: a ``requests.Session`` to send with, for proxies, CAs, adapters and the like; it is used as it is, and
            stays open when this client is closed.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`, `max_answer_size`, `max_event_size`, `observers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``client.chat.completions.create(params)``.  Close the client, or use it in a ``with`` statement.
    """

    def __init__(self, *, session: Optional[requests.Session] = None, **options: Unpack[ClientOptions]) -> None:
        super().__init__(_Transport() if session is None else _SessionTransport(session), options)


class _Transport:
    """Calls over connections of urllib3, made the way that requests makes its own."""

    # urllib3 wraps what goes wrong with an answer's head.
    failures: FailureTable = {
        **FAILURES,
        requests.exceptions.RequestException: Failure.CONNECT,
        # A host name with a part that is empty or too long.
        urllib3.exceptions.LocationParseError: Failure.CONNECT,
        urllib3.exceptions.TimeoutError: Failure.TIMEOUT,
        urllib3.exceptions.HTTPError: Failure.CONNECTION_LOST,
    }
    sleep = staticmethod(time.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._adapter = _Adapter(pool_maxsize=IDLE_CONNECTIONS)
        self._routes: Dict[Tuple[str, str], _Route] = {}

    def send(self, request: Request, timeout: Timeout) -> _Answer:
        url = urlsplit(request.url)
        deadline = None if timeout.total is None else time.monotonic() + timeout.total
        pool, is_forwarded = self._routes.get(url[:2]) or self._route_to(url)
        _under_way.limits = timeout.idle, deadline
        # What a session and its adapter would do besides is done already, or not wanted.
        response = pool.urlopen(
            request.method,
            request.url if is_forwarded else target_of(url),
            request.content,
            dict(headers_of(request)),
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=at_most(timeout.connect, timeout.total)),
            preload_content=False,
            decode_content=False,
        )
        return _Answer(response)

    def close(self) -> None:
        for route in list(self._routes.values()):
            # Else that is left to the collector, which waits for every traceback that somebody keeps.
            route.pool.close()
        self._adapter.close()

    def _route_to(self, url: SplitResult) -> _Route:
        message = requests.PreparedRequest()
        message.method, message.url = "GET", url.geturl()
        # Proxies and CAs of the environment; looked up once, since most requests go to one gateway.
        settings = requests.Session().merge_environment_settings(message.url, {}, None, None, None)
        pool: Any = self._adapter.get_connection_with_tls_context(message, settings["verify"], settings["proxies"])
        route = _Route(pool, is_forwarded=pool.proxy is not None and url.scheme == "http")
        return self._routes.setdefault(url[:2], route)


class _Route(NamedTuple):
    """How requests get to a host."""

    pool: urllib3.HTTPConnectionPool
    is_forwarded: bool


class _Answer:
    """An answer whose body is read as it comes."""

    def __init__(self, response: Any) -> None:
        original: Response = response._original_response
        self.status = original.status
        self.headers = original.getheaders()
        self._response = response
        self._body = Body(original)

    def read(self, timeout: Optional[float]) -> bytes:
        data = self._body.read(timeout)
        if not data:
            self._response.release_conn()
        return data

    def close(self) -> None:
        self._response.close()


# The idle time and the deadline of the call that this thread makes: urllib3 has no place for them on their way to a
# connection.
_under_way = threading.local()

_TIMEOUTS = (socket.timeout, urllib3.exceptions.TimeoutError)


class _TimedConnection:
    """For urllib3's connections: each wait takes no longer than the limits of the call allow.

    urllib3 would use the time for connecting for sending as well, and give each read of a head the whole time anew.
    """

    _source: Optional[TimedSocket] = None
    _process = 0

    def connect(self: Any) -> None:
        self._process = os.getpid()
        try:
            cast("Any", super()).connect()
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            # urllib3 counts a connection that was refused among its timeouts.
            is_late = isinstance(error, _TIMEOUTS) and not isinstance(error, urllib3.exceptions.NewConnectionError)
            # It does not know ours, and so lets them through.
            raise (ConnectTimeoutError if is_late else ConnectError)(f"no connection: {error}") from error

    @property
    def is_connected(self: Any) -> bool:
        # After a fork, this is still a connection of the parent process.
        return self._process == os.getpid() and bool(cast("Any", super()).is_connected)

    def send(self: Any, data: bytes) -> None:
        if self.sock is None:
            self.connect()
        source = self._timed_socket()
        try:
            for piece in source.pieces_of(data):
                source.start_wait()
                cast("Any", super()).send(piece)
        except socket.timeout as error:
            # urllib3 would call it a connection that was lost.
            raise urllib3.exceptions.TimeoutError("the server did not take the request") from error

    def response_class(self: Any, sock: socket.socket, *args: Any, **options: Any) -> Response:
        return Response(self._timed_socket(), *args, **options)

    def putrequest(self: Any, *args: Any, **options: Any) -> None:
        # Each request has limits of its own.
        self._source = None
        cast("Any", super()).putrequest(*args, **options)

    def _timed_socket(self: Any) -> TimedSocket:
        if self._source is None or self._source.socket is not self.sock:
            self._source = TimedSocket(self.sock)
            self._source.limit(*_under_way.limits)
        return cast("TimedSocket", self._source)


class _IdleConnections:
    """What urllib3 keeps idle connections in, without a lock, which the garbage collector, or a fork, might find taken.

    Args:
        maxsize: how many; beyond that, the oldest are closed.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self.connections: Deque[Any] = deque()

    def get(self, block: bool = False, timeout: Optional[float] = None) -> Any:
        try:
            return self.connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:
        # Without one, urllib3 puts a place for it.
        if connection is not None:
            self.connections.append(connection)
        while len(self.connections) > self._maxsize:
            # Another thread may have been faster.
            with suppress(IndexError):
                self.connections.popleft().close()


@cache
def _timed(pool_class: Any) -> Any:
    """A class like `pool_class`, which keeps ours of its connections."""
    connection_class = type("_Connection", (_TimedConnection, pool_class.ConnectionCls), {})
    return type("_Pool", (pool_class,), {"ConnectionCls": connection_class, "QueueCls": _IdleConnections})


class _Adapter(HTTPAdapter):
    """The adapter of requests, with pools of our connections."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _use_timed(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if not is_known:
            _use_timed(manager)
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        # requests has each connection read the CAs anew.
        return host, {"ssl_context": _context_of(verify)} if host["scheme"] == "https" else {}


def _use_timed(manager: Any) -> None:
    manager.pool_classes_by_scheme = {
        scheme: _timed(pool_class) for scheme, pool_class in manager.pool_classes_by_scheme.items()
    }


def _context_of(authorities: Union[bool, str]) -> ssl.SSLContext:
    # A file or a folder, if the environment names one.
    return shared_context(_default_context) if authorities is True else _context_with(str(authorities))


def _default_context() -> ssl.SSLContext:
    return _context_with(DEFAULT_CA_BUNDLE_PATH)


def _context_with(authorities: str) -> ssl.SSLContext:
    context = create_urllib3_context()
    try:
        if os.path.isdir(authorities):
            context.load_verify_locations(capath=authorities)
        else:
            context.load_verify_locations(authorities)
    except OSError as error:
        raise ConnectError(f"the authorities in {authorities} cannot be read: {error}") from error
    return context


class _SessionTransport:
    """Calls over a ``requests.Session`` that was injected."""

    failures: FailureTable = {
        requests.exceptions.ConnectTimeout: Failure.CONNECT_TIMEOUT,
        requests.exceptions.ProxyError: Failure.CONNECT,
        requests.exceptions.SSLError: Failure.CONNECT,
        # A host name with a part that is empty or too long.
        urllib3.exceptions.LocationParseError: Failure.CONNECT,
        requests.exceptions.ReadTimeout: Failure.TIMEOUT,
        requests.exceptions.RequestException: Failure.CONNECTION_LOST,
        # requests wraps the exceptions of sending, but not those of reading a body as it comes.
        urllib3.exceptions.NewConnectionError: Failure.CONNECT,
        urllib3.exceptions.ReadTimeoutError: Failure.TIMEOUT,
        urllib3.exceptions.HTTPError: Failure.CONNECTION_LOST,
        ContentCodingError: Failure.CONNECTION_LOST,
    }
    sleep = staticmethod(time.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def send(self, request: Request, timeout: Timeout) -> _SessionAnswer:
        session = self._session
        limits = (at_most(timeout.connect, timeout.total), at_most(timeout.idle, timeout.total))
        try:
            settings = session.merge_environment_settings(request.url, {}, True, session.verify, None)
            message = self._message(session, request)
            response = session.send(message, allow_redirects=False, timeout=limits, **settings)
        except (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout) as error:
            told = _told_apart(error)
            if told is None:
                raise
            raise told from error
        return _SessionAnswer(response)

    def close(self) -> None:
        """Leave the session as it is."""

    def _message(self, session: requests.Session, request: Request) -> requests.PreparedRequest:
        message = session.prepare_request(
            requests.Request(
                request.method,
                request.url,
                headers=dict(headers_of(request, is_own=False)),
                data=request.content,
            )
        )
        # The session's auth, or that of .netrc, has had its say; ours stands.
        message.headers["Authorization"] = dict(request.headers)["Authorization"]
        if not session.params:
            # Percent-encoded already; requests would undo some of it, and so make another path of "%2E%2E".
            message.url = request.url
        return message


# What a connection fails with before anything is sent over it.
_UNMADE = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.SSLError,
    ssl.SSLError,
)


def _told_apart(error: requests.exceptions.RequestException) -> Optional[Exception]:
    """What `error` is, if requests has one class for several things and what it wraps tells which; else ``None``."""
    wrapped: Any = error.args[0] if error.args else None
    reason = getattr(wrapped, "reason", None)
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return reason
    if isinstance(reason, urllib3.exceptions.ProxyError):
        original = reason.original_error
        is_unmade = isinstance(original, _UNMADE) or "Tunnel connection failed" in str(original)
        # requests says the same of a connection that was lost once the request had gone through the proxy.
        return None if is_unmade else requests.exceptions.ConnectionError(f"lost by way of a proxy: {original}")
    if isinstance(wrapped, urllib3.exceptions.ProtocolError) and isinstance(wrapped.args[-1], socket.timeout):
        return requests.exceptions.ReadTimeout("the server did not take the request")
    # urllib3 says ReadTimeoutError of a TLS handshake, too; that nothing was sent yet only the words of ssl tell.
    if isinstance(wrapped, urllib3.exceptions.ReadTimeoutError) and "handshake" in str(wrapped.__cause__):
        return requests.exceptions.ConnectTimeout("the TLS handshake took too long")
    return None


class _SessionAnswer:
    """A ``requests.Response`` whose body is read as it comes."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        self._limit = _limiter_of(response)
        self._decoder = ContentDecoder(response.headers.get("Content-Encoding", ""))

    def read(self, timeout: Optional[float]) -> bytes:
        if self._limit is not None:
            self._limit(timeout)
        while True:
            # Not iter_content: that waits until a whole block is there.
            data: bytes = self._response.raw.read1(_READ_SIZE, decode_content=False)
            if not data:
                # The connection is back in the pool, and its socket may serve another thread.
                self._limit = None
                self._decoder.finish()
                return b""
            data = self._decoder.decode(data)
            if data:
                return data

    def close(self) -> None:
        self._limit = None
        self._response.close()


def _limiter_of(response: requests.Response) -> Optional[Callable[[Optional[float]], None]]:
    """What sets how long a read of `response` may wait; ``None`` if an adapter has no socket below it."""
    # The connection no longer knows its socket once the server has said ``Connection: close``.
    raw = getattr(getattr(getattr(response.raw, "_fp", None), "fp", None), "raw", None)
    connected: Optional[socket.socket] = getattr(raw, "_sock", None)

    def limit(seconds: Optional[float]) -> None:
        # Closed already, if all has come and the server said that it would close the connection.
        if connected is not None and connected.fileno() != -1:
            connected.settimeout(seconds)

    return limit


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
