"""The client over requests: `MeshAPI`, for blocking code.

Every public type of `meshapi_core` can be imported from here too.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Dict, Optional

from meshapi_core import Failure, Request, Timeout

from ._content_coding import ContentCodingError, ContentDecoder
from ._core import ClientOptions as ClientOptions
from ._driver import IDLE_CONNECTIONS, FailureTable, at_most, headers_of
from ._faces._sync.client import MeshAPI as _MeshAPI
from ._public import missing, public_type
from ._sync import Items as Items
from ._sync import Stream as Stream

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
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

_READ_SIZE = 65536


class MeshAPI(_MeshAPI):
    """A client for blocking code, over requests.

    Args:
        session: a ``requests.Session`` to send with, for proxies, CAs, adapters and the like; it is used as it is, and
            stays open when this client is closed.
        **options: the arguments of every client: `base_url`, `token`, `timeout`, `max_retries`, `retry`,
            `api_version`, `default_headers`; see `ClientOptions`.

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

    def send(self, request: Request, timeout: Timeout) -> _Answer:
        message = self._message(request)
        # Proxies and CAs, from the session and the environment.
        settings: Dict[str, Any] = {
            **self._session.merge_environment_settings(request.url, {}, True, self._session.verify, None),
            "timeout": (at_most(timeout.connect, timeout.total), at_most(timeout.idle, timeout.total)),
        }
        try:
            if self._injected is None:
                # The session's own send looks after redirects, cookies and hooks, of which there are none.
                response = self._session.get_adapter(request.url).send(message, **settings)
            else:
                response = self._injected.send(message, allow_redirects=False, **settings)
        except (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout) as error:
            told = _told_apart(error)
            if told is None:
                raise
            raise told from error
        return _Answer(response)

    def close(self) -> None:
        if self._injected is None:
            self._session.close()

    def _message(self, request: Request) -> requests.PreparedRequest:
        unprepared = requests.Request(
            request.method,
            request.url,
            headers=dict(headers_of(request, is_own=self._injected is None)),
            data=request.content,
        )
        if self._injected is None:
            message = unprepared.prepare()
        else:
            message = self._injected.prepare_request(unprepared)
            # The session's auth, or that of .netrc, has had its say; ours stands.
            message.headers["Authorization"] = dict(request.headers)["Authorization"]
        if self._injected is None or not self._injected.params:
            # Percent-encoded already; requests would undo some of it, and so make another path of "%2E%2E".
            message.url = request.url
        return message


def _told_apart(error: requests.exceptions.RequestException) -> Optional[Exception]:
    """What `error` is, if requests has one class for several things and what it wraps tells which; else ``None``."""
    wrapped: Any = error.args[0] if error.args else None
    reason = getattr(wrapped, "reason", None)
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return reason
    if isinstance(wrapped, urllib3.exceptions.ProtocolError) and isinstance(wrapped.args[-1], socket.timeout):
        return requests.exceptions.ReadTimeout("the server did not take the request")
    # urllib3 says ReadTimeoutError of a TLS handshake, too; that nothing was sent yet only the words of ssl tell.
    if isinstance(wrapped, urllib3.exceptions.ReadTimeoutError) and "handshake" in str(wrapped.__cause__):
        return requests.exceptions.ConnectTimeout("the TLS handshake took too long")
    return None


def _new_session() -> requests.Session:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=IDLE_CONNECTIONS))
    return session


class _Answer:
    """A ``requests.Response`` whose body is read as it comes."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        self._socket = _socket_of(response)
        self._decoder = ContentDecoder(response.headers.get("Content-Encoding", ""))

    def read(self, timeout: Optional[float]) -> bytes:
        # Closed already, if all has come and the server said that it would close the connection.
        if self._socket is not None and self._socket.fileno() != -1:
            self._socket.settimeout(timeout)
        while True:
            # Not iter_content: that waits until a whole block is there.
            data: bytes = self._response.raw.read1(_READ_SIZE, decode_content=False)
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
        self._response.close()


def _socket_of(response: requests.Response) -> Optional[socket.socket]:
    """The socket below `response`, whose timeout says how long a read may wait; ``None`` if an adapter has none.

    The connection no longer knows it once the server has said ``Connection: close``.
    """
    buffered = getattr(getattr(response.raw, "_fp", None), "fp", None)
    return getattr(getattr(buffered, "raw", None), "_sock", None)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return public_type(__name__, name)
