"""A client over urllib3 alone: `MeshAPI`, for blocking code.

The worked example of docs/write-a-transport.md for a library that has a pool of its own.  Run it with an address in
MESHAPI_BASE_URL and a key in MESHAPI_API_KEY: it asks a question, and streams the answer to another.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Optional, cast

import urllib3

from meshapi_core import ChatCompletionParams, ChatMessage, Failure, Request, Timeout
from meshapi_transports import protocol

if TYPE_CHECKING:
    from typing_extensions import Unpack

_READ_SIZE = 65536
# Threads that call at once each keep a connection.
_POOL_SIZE = 100


# How long this thread waits for the server to take what is sent.
_sending = threading.local()


class ConnectTimeout(Exception):
    """The TLS handshake took too long, which urllib3 tells in words only."""


class WriteTimeout(Exception):
    """The server did not take the request, which urllib3 takes for a lost connection."""


_FAILURES: protocol.FailureTable = {
    ConnectTimeout: Failure.CONNECT_TIMEOUT,
    WriteTimeout: Failure.TIMEOUT,
    urllib3.exceptions.ConnectTimeoutError: Failure.CONNECT_TIMEOUT,
    # A subclass of ConnectTimeoutError, for history's sake.
    urllib3.exceptions.NewConnectionError: Failure.CONNECT,
    urllib3.exceptions.ProxyError: Failure.CONNECT,
    urllib3.exceptions.SSLError: Failure.CONNECT,
    urllib3.exceptions.LocationParseError: Failure.CONNECT,
    urllib3.exceptions.ReadTimeoutError: Failure.TIMEOUT,
    urllib3.exceptions.HTTPError: Failure.CONNECTION_LOST,
    protocol.ContentCodingError: Failure.CONNECTION_LOST,
    # What a read says of a socket that was closed beneath it.
    OSError: Failure.CONNECTION_LOST,
}


class MeshAPI(protocol.MeshAPI):
    """A client for blocking code, over urllib3.

    Args:
        pool_manager: a ``urllib3.PoolManager`` to send with, for proxies, CAs and the like; it stays open when this
            client is closed.
        **options: the arguments of every client.
    """

    def __init__(
        self, *, pool_manager: Optional[urllib3.PoolManager] = None, **options: Unpack[protocol.ClientOptions]
    ) -> None:
        super().__init__(_Transport(pool_manager), options)


class _LimitedSending:
    """For connections: each has the idle time for sending, where urllib3 would use the time for connecting."""

    def send(self: Any, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_sending.limit)
        cast(Any, super()).send(data)


class _Connection(_LimitedSending, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_LimitedSending, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _new_pool_manager() -> urllib3.PoolManager:
    pool_manager = urllib3.PoolManager(maxsize=_POOL_SIZE)
    pool_manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return pool_manager


class _Transport:
    """Calls over a ``urllib3.PoolManager``."""

    failures = _FAILURES
    sleep = staticmethod(time.sleep)
    current_time = staticmethod(time.monotonic)

    def __init__(self, injected: Optional[urllib3.PoolManager]) -> None:
        self._is_own = injected is None
        self._pool_manager = _new_pool_manager() if injected is None else injected

    def send(self, request: Request, timeout: Timeout) -> _Answer:
        # The manager's own way would write the URL anew; the pool takes the target as it is.
        pool = self._pool_manager.connection_from_host(request.host, request.port, request.scheme)
        _sending.limit = idle = protocol.at_most(timeout.idle, timeout.total)
        try:
            response = pool.urlopen(
                request.method,
                request.target,
                body=request.content,
                headers=dict(protocol.headers_of(request, is_own=self._is_own)),
                timeout=urllib3.Timeout(connect=protocol.at_most(timeout.connect, timeout.total), read=idle),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.ReadTimeoutError as error:
            if "handshake" in str(error.__cause__):
                raise ConnectTimeout from error
            raise
        except urllib3.exceptions.ProtocolError as error:
            if isinstance(error.args[-1], socket.timeout):
                raise WriteTimeout from error
            raise
        return _Answer(response)

    def close(self) -> None:
        if self._is_own:
            self._pool_manager.clear()


class _Answer:
    """A ``urllib3.HTTPResponse`` whose body is read as it comes."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status
        self.headers = response.headers
        self._response = response
        self._socket = _socket_of(response)
        self._decoder = protocol.ContentDecoder(response.headers.get("Content-Encoding", ""))

    def read(self, timeout: Optional[float]) -> bytes:
        # Closed already, if all has come and the server said that it would close the connection.
        if self._socket is not None and self._socket.fileno() != -1:
            self._socket.settimeout(timeout)
        while True:
            # Not stream(): that waits until a whole block is there.
            data: bytes = self._response.read1(_READ_SIZE, decode_content=False)
            if not data:
                # The connection is back in the pool, and its socket may serve another thread.
                self._socket = None
                self._decoder.finish()
                return b""
            data = self._decoder.decode(data)
            if data:
                return data

    def close(self) -> None:
        self._socket = None
        # At the end of the body the pool has the connection already, and this closes nothing more.
        self._response.close()


def _socket_of(response: Any) -> Optional[socket.socket]:
    """The socket below `response`, whose timeout says how long a read may wait."""
    # The connection forgets it once the server has said that it will close; the reader of the body still has it.
    buffered = getattr(getattr(response, "_fp", None), "fp", None)
    return getattr(getattr(buffered, "raw", None), "_sock", None)


def main() -> None:
    """Ask one question for a whole answer and one for a stream."""
    with MeshAPI() as client:
        params = ChatCompletionParams(messages=[ChatMessage(role="user", content="Who are you?")])
        message = client.chat.completions.create(params).choices[0].message
        print(message and message.content)
        with client.chat.completions.stream(params) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    print((choice.delta and choice.delta.content) or "", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
