"""The client over requests: `MeshAPI`, for blocking code.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, Type, cast

from meshapi_core import Failure, Request, Timeout

from ._content_coding import ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import IDLE_CONNECTIONS, FailureTable, at_most, headers_of
from ._faces._sync.client import MeshAPI as _MeshAPI
from ._http_client import Response, TimedReader, TimedSocket
from ._public import missing, public_type
from ._sync import Items as Items
from ._sync import Stream as Stream

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from requests.structures import CaseInsensitiveDict
    from urllib3.connection import HTTPConnection, HTTPSConnection
except ImportError as error:
    raise missing("requests") from error

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from meshapi_core import *

_FAILURES: FailureTable = {
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

# What a connection fails with before anything is sent over it.
_UNMADE = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.SSLError,
    ssl.SSLError,
)

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
        super().__init__(_Transport(session), options)


class _Transport:
    """Calls over a ``requests.Session``."""

    failures = _FAILURES
    sleep = staticmethod(time.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, session: Optional[requests.Session]) -> None:
        self._injected = session
        self._session = _new_session() if session is None else session
        self._settings: Any = None

    def send(self, request: Request, timeout: Timeout) -> _Answer:
        limits = (at_most(timeout.connect, timeout.total), at_most(timeout.idle, timeout.total))
        try:
            if self._injected is None:
                _under_way.timeout = timeout
                response = self._send_own(request, limits)
            else:
                settings = self._injected.merge_environment_settings(request.url, {}, True, self._injected.verify, None)
                message = self._message(self._injected, request)
                response = self._injected.send(message, allow_redirects=False, timeout=limits, **settings)
        except (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout) as error:
            told = _told_apart(error)
            if told is None:
                raise
            raise told from error
        return _Answer(response)

    def close(self) -> None:
        if self._injected is None:
            self._session.close()

    def _send_own(self, request: Request, limits: Any) -> requests.Response:
        # The session's own way looks after redirects, cookies, hooks and .netrc, of which there are none.
        message = requests.PreparedRequest()
        message.method = request.method
        message.url = request.url
        message.headers = CaseInsensitiveDict(headers_of(request))
        message.hooks = {}
        if request.content is not None:
            message.body = request.content
            message.headers["Content-Length"] = str(len(request.content))
        if self._settings is None:
            # Proxies and CAs of the environment; looked up once, since all requests go to one gateway.
            self._settings = self._session.merge_environment_settings(request.url, {}, True, self._session.verify, None)
        return self._session.get_adapter(request.url).send(message, timeout=limits, **self._settings)

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


# The limits of the call that this thread makes: urllib3 has no place for them on their way to a connection.
_under_way = threading.local()


class _TimedConnection:
    """For urllib3's connections: each wait takes no longer than the limits of the call allow.

    urllib3 would use the time for connecting for sending as well, and give each read of a head the whole time anew.
    """

    _source: Optional[TimedSocket] = None

    def send(self: Any, data: bytes) -> None:
        if self.sock is None:
            self.connect()
        source = self._timed_socket()
        for piece in source.pieces_of(data):
            source.start_wait()
            cast("Any", super()).send(piece)

    def getresponse(self: Any) -> urllib3.BaseHTTPResponse:
        response = cast("Any", super()).getresponse()
        # http.client takes a head that breaks off for a whole one, and skips what is no field.
        if self._source.has_ended or response._original_response.msg.defects:
            response.close()
            raise urllib3.exceptions.ProtocolError("the head of the answer is not whole")
        return cast("urllib3.BaseHTTPResponse", response)

    def response_class(self: Any, sock: socket.socket, *args: Any, **options: Any) -> Response:
        return Response(self._timed_socket(), *args, **options)

    def putrequest(self: Any, *args: Any, **options: Any) -> None:
        # Each request has limits of its own.
        self._source = None
        cast("Any", super()).putrequest(*args, **options)

    def _timed_socket(self: Any) -> TimedSocket:
        if self._source is None or self._source.socket is not self.sock:
            timeout: Timeout = _under_way.timeout
            self._source = TimedSocket(self.sock)
            self._source.limit(timeout.idle, timeout.total)
        return cast("TimedSocket", self._source)


def _timed(pool: Type[urllib3.HTTPConnectionPool], connection: type) -> Any:
    """A class like `pool`, whose connections are like `connection`, but for the time that they take."""
    timed = type(f"Timed{connection.__name__}", (_TimedConnection, connection), {})
    return type(f"Timed{pool.__name__}", (pool,), {"ConnectionCls": timed})


_POOL_CLASSES = {
    "http": _timed(urllib3.HTTPConnectionPool, HTTPConnection),
    "https": _timed(urllib3.HTTPSConnectionPool, HTTPSConnection),
}


class _Adapter(HTTPAdapter):
    """The adapter of requests, over connections that keep to the limits."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOL_CLASSES

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        # A SOCKS proxy needs connections of its own kind.
        if type(manager) is urllib3.ProxyManager:
            manager.pool_classes_by_scheme = _POOL_CLASSES
        return manager

    def close(self) -> None:
        # urllib3 leaves that to the collector, which waits for every traceback that somebody keeps.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            # It can be iterated no other way.
            origins = manager.pools.keys()
            for origin in origins:
                manager.pools[origin].close()
        super().close()


def _new_session() -> requests.Session:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(pool_maxsize=IDLE_CONNECTIONS))
    return session


class _Answer:
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
    if isinstance(raw, TimedReader):
        source = raw.source
        return lambda seconds: source.limit(None, seconds)
    connected: Optional[socket.socket] = getattr(raw, "_sock", None)

    def limit(seconds: Optional[float]) -> None:
        # Closed already, if all has come and the server said that it would close the connection.
        if connected is not None and connected.fileno() != -1:
            connected.settimeout(seconds)

    return limit


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
