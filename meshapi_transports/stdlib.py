"""The client over the standard library alone: `MeshAPI`, for blocking code in places that have nothing else.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import http.client
import os
import selectors
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Deque, List, Optional, Tuple, Union
from urllib.parse import SplitResult, urlsplit

from meshapi_core import Request, Timeout

from ._core import ClientOptions as ClientOptions
from ._driver import IDLE_CONNECTIONS, IDLE_SECONDS, at_most, headers_of
from ._faces._sync.client import MeshAPI as _MeshAPI
from ._http_client import FAILURES, Body, ConnectError, ConnectTimeoutError, Response, TimedSocket, target_of
from ._public import public_type
from ._sync import Items as Items
from ._sync import Stream as Stream
from ._tls import shared_context

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from meshapi_core import *


_DEFAULT_PORTS = {"http": http.client.HTTP_PORT, "https": http.client.HTTPS_PORT}

_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class MeshAPI(_MeshAPI):
    """A client for blocking code, over http.client and ssl.

    Args:
        ssl_context: how to verify the gateway, for a CA of your own; by default what the system trusts.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`, `max_answer_size`, `max_event_size`, `observers`; see `ClientOptions`.

    Raises:
        ValueError: there is no token, or an argument cannot be used; the message says which and why.

    Next: ``client.chat.completions.create(params)``.  Close the client, or use it in a ``with`` statement.
    """

    def __init__(
        self,
        *,
        ssl_context: Optional[ssl.SSLContext] = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(_Transport(ssl_context), options)


class _Transport:
    """Calls over connections of ``http.client``, kept for reuse."""

    failures = FAILURES
    sleep = staticmethod(time.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, ssl_context: Optional[ssl.SSLContext]) -> None:
        self._ssl_context = ssl_context
        # Without a lock, which the garbage collector, or a fork, might find taken: each operation on it is one step.
        self._idle: Deque[_Connection] = deque()
        self._is_closed = False
        # Most requests of the core have one and the same head.
        self._head_of = lru_cache(maxsize=32)(_head_of)

    def send(self, request: Request, timeout: Timeout) -> _Answer:
        url = urlsplit(request.url)
        head = self._head_of(request.method, request.url, request.headers)
        deadline = None if timeout.total is None else time.monotonic() + timeout.total
        connection = self._take(url) or self._connect(url, at_most(timeout.connect, timeout.total))
        connection.socket.limit(timeout.idle, deadline)
        try:
            response = connection.ask(request.method, head, request.content)
        except BaseException:
            connection.close()
            raise
        return _Answer(self, connection, response)

    def keep(self, connection: _Connection) -> None:
        """Have `connection` serve another request, some time."""
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        # A stream may end after its client was closed.
        self._close_all_but(0 if self._is_closed else IDLE_CONNECTIONS)

    def close(self) -> None:
        self._is_closed = True
        self._close_all_but(0)

    def __del__(self) -> None:
        # The idle connections of a client that is dropped serve no one any more.
        self.close()

    def _close_all_but(self, number: int) -> None:
        while len(self._idle) > number:
            # Another thread may have been faster.
            with suppress(IndexError):
                self._idle.popleft().close()

    def _take(self, url: SplitResult) -> Optional[_Connection]:
        """The connection to the host of `url` that was used last, if there is one that is still good."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.serves(url):
                return connection
            connection.close()

    def _connect(self, url: SplitResult, timeout: Optional[float]) -> _Connection:
        try:
            return _Connection(url, self._ssl_context, timeout)
        except socket.timeout as error:
            raise ConnectTimeoutError(f"no connection to {url.netloc} within {timeout} seconds") from error
        # A UnicodeError is about a host name with a part that is empty or too long.
        except (OSError, UnicodeError) as error:
            raise ConnectError(f"no connection to {url.netloc}: {error}") from error


class _Connection:
    """A connection that stands, and how long each wait on it may take."""

    def __init__(self, url: SplitResult, context: Optional[ssl.SSLContext], timeout: Optional[float]) -> None:
        host, self.idle_since = url.hostname or "", 0.0
        self._origin = url[:2]
        self._process = os.getpid()
        if url.scheme == "https":
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, _port_of(url), timeout=timeout, context=context or shared_context()
            )
        else:
            self._http = http.client.HTTPConnection(host, _port_of(url), timeout=timeout)
        try:
            self._http.connect()
        except BaseException:
            # A handshake that failed leaves the socket to the connection.
            self._http.close()
            raise
        self.socket = TimedSocket(self._http.sock)

    def serves(self, url: SplitResult) -> bool:
        """Whether a request for `url` can be sent here."""
        # After a fork, this is still a connection of the parent process.
        if self._origin != url[:2] or self._process != os.getpid():
            return False
        if time.monotonic() - self.idle_since > IDLE_SECONDS:
            return False
        with _Selector() as selector:
            selector.register(self.socket.socket, selectors.EVENT_READ)
            # Nothing is due on an idle connection: what makes it readable is its end.
            return not selector.select(0)

    def ask(self, method: str, head: bytes, content: Optional[bytes]) -> Response:
        """Send a request, of whose `head` the end is missing, and return the answer once its head is in."""
        first, *others = self.socket.pieces_of(content or b"") or (b"",)
        length = b"" if content is None else b"Content-Length: %d\r\n" % len(content)
        # The first piece goes along with the head.
        pieces: List[Union[bytes, memoryview]] = [b"".join((head, length, b"\r\n", first)), *others]
        for piece in pieces:
            self.socket.start_wait()
            self.socket.socket.sendall(piece)
        response = Response(self.socket, method=method)
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        return response

    def close(self) -> None:
        """Close the socket."""
        self._http.close()


def _port_of(url: SplitResult) -> int:
    # Without one, http.client would look for it in the host, and find it in an address of IPv6.
    return url.port or _DEFAULT_PORTS[url.scheme]


class _HeadWriter(http.client.HTTPConnection):
    """Keeps what it should send."""

    written = b""

    def send(self, data: Any) -> None:
        self.written += data


def _head_of(method: str, url: str, headers: Tuple[Tuple[str, str], ...]) -> bytes:
    """The head of a request, but for its Content-Length and the blank line at its end."""
    parts = urlsplit(url)
    writer = _HeadWriter(parts.hostname or "", _port_of(parts))
    writer.default_port = _DEFAULT_PORTS[parts.scheme]
    writer.putrequest(method, target_of(parts), skip_accept_encoding=True)
    for name, value in headers_of(Request(method, url, headers)):
        writer.putheader(name, value)
    writer.endheaders()
    return writer.written[: -len(b"\r\n")]


class _Answer:
    """An answer whose body is read as it comes."""

    def __init__(self, transport: _Transport, connection: _Connection, response: Response) -> None:
        self.status = response.status
        self.headers = response.getheaders()
        self._transport = transport
        self._connection = connection
        self._is_open = True
        self._response = response
        self._body = Body(response)

    def read(self, timeout: Optional[float]) -> bytes:
        data = self._body.read(timeout)
        if not data and self._is_open and not self._response.will_close:
            self._is_open = False
            self._transport.keep(self._connection)
        return data

    def close(self) -> None:
        self._response.close()
        if self._is_open:
            self._is_open = False
            self._connection.close()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
