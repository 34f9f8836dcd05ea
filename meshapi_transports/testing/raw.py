"""A server that says exactly the bytes that a script tells it to, over real sockets: for tests of HTTP clients.

A script is a function that is called with each connection, in a thread of its own::

    def script(connection: RawConnection) -> None:
        request = connection.receive_request()
        connection.send(stream_head(), http_chunk(sse_event({"n": 1})))
        connection.wait(told)  # a threading.Event of the test
        connection.reset()

    with RawServer(script) as server:
        ...  # a client of server.url

Where every request has its one answer, ``RawServer(replies(first, second))`` is enough.  The functions at the end of
this module make the bytes of usual answers.  Nothing here needs more than the standard library.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import threading
import time
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Generator, NamedTuple, Sequence, Union

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "LAST_CHUNK",
    "Disconnected",
    "RawConnection",
    "RawRequest",
    "RawServer",
    "Reply",
    "Script",
    "answer",
    "answer_head",
    "chat_answer",
    "chat_chunk",
    "chat_completion",
    "chat_events",
    "chat_stream",
    "http_chunk",
    "refusing_url",
    "replies",
    "sse_event",
    "stream_head",
]

_READ_SIZE = 65536
# How often a script that waits for the test looks whether the server is to stop.
_LOOK_UP_SECONDS = 0.01
_JOIN_SECONDS = 10.0
# Windows declares the two fields of its linger structure as short.
_LINGER_FOR_NO_TIME = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Disconnected(Exception):
    """The connection has ended, or the server is being stopped.  A script may let it pass: it ends there, quietly."""


class RawRequest(NamedTuple):
    """A request as it came over the wire.

    Attributes:
        method: the method.
        target: the request target: path and query, or a whole URL if the client takes the server for a proxy.
        headers: the fields as they came, in their order and case.
        body: the bytes that ``Content-Length`` announced.
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the field `name`, in whatever case; several are joined with ``", "``; ``None`` without any."""
        values = [value for each, value in self.headers if each.lower() == name.lower()]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Reply = Union[bytes, Callable[["RawConnection", RawRequest], None]]
"""What `replies` answers a request with: these bytes, or whatever this function does with the connection."""


class _Ledger:
    """What a server and its connections know together; `changed` guards it, and is notified of every change."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.is_stopping = False
        self.accepted = 0
        self.open: dict[int, socket.socket] = {}
        self.requests: list[RawRequest] = []

    def enter(self, accepted: socket.socket) -> int:
        """Add a connection; returns its number."""
        with self.changed:
            number = self.accepted
            self.accepted += 1
            self.open[number] = accepted
            self.changed.notify_all()
            return number

    def remember(self, request: RawRequest) -> None:
        """Add a request."""
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()

    def strike(self, number: int) -> None:
        """Take a connection out that has been closed."""
        with self.changed:
            self.open.pop(number, None)
            self.changed.notify_all()


class RawConnection:
    """The server's end of one connection; made by `RawServer`, used by its script.

    Attributes:
        number: 0 for the first connection that the server accepted, and so on.
    """

    def __init__(self, ledger: _Ledger, number: int, accepted: socket.socket) -> None:
        self.number = number
        self._ledger = ledger
        self._socket = accepted
        self._received = bytearray()

    def receive_request(self) -> RawRequest:
        """Wait for the next request and return it, with its whole body; the server remembers it too.

        Raises:
            Disconnected: the client has closed the connection instead, or the server is being stopped.
            ValueError: what came is no HTTP/1.1 request, or its body is not framed by ``Content-Length``.
        """
        end = b"\r\n\r\n"
        while end not in self._received:
            self._receive_more()
        head = self._take(self._received.index(end) + len(end)).decode("latin-1")
        request_line, *lines = head[: -len(end)].split("\r\n")
        method, _, rest = request_line.partition(" ")
        target, _, version = rest.partition(" ")
        if not version:
            raise ValueError(f"this is no HTTP request: {request_line!r}")
        if version != "HTTP/1.1":
            raise ValueError(f"the client does not speak HTTP/1.1: {request_line!r}")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        request = RawRequest(method, target, headers, b"")
        if request.header("transfer-encoding") is not None:
            raise ValueError("the request's body is chunked; it has to come with a Content-Length")
        length = int(request.header("content-length") or 0)
        while len(self._received) < length:
            self._receive_more()
        request = request._replace(body=self._take(length))
        self._ledger.remember(request)
        return request

    def receive_data(self) -> bytes:
        """Wait for the next bytes and return all that are there, whatever they are.

        Raises:
            Disconnected: the client has closed the connection instead, or the server is being stopped.
        """
        if not self._received:
            self._receive_more()
        return self._take(len(self._received))

    def send(self, *pieces: bytes) -> None:
        """Send each of `pieces` at once, in a packet of its own as far as that is up to the sender.

        Raises:
            Disconnected: the connection has ended, or the server is being stopped.
        """
        for piece in pieces:
            try:
                self._socket.sendall(piece)
            except OSError as error:
                raise Disconnected from error

    def wait(self, event: threading.Event) -> None:
        """Do nothing until `event` is set.

        Raises:
            Disconnected: the server is being stopped.
        """
        while not event.wait(_LOOK_UP_SECONDS):
            if self._ledger.is_stopping:
                raise Disconnected

    def wait_closed(self) -> None:
        """Do nothing until the client has closed the connection; what it sends meanwhile is thrown away.

        Raises:
            Disconnected: the server is being stopped.
        """
        with suppress(Disconnected):
            while True:
                self._receive_more()
                self._received.clear()
        if self._ledger.is_stopping:
            raise Disconnected

    def close(self) -> None:
        """Close the connection in order (FIN); what was sent before still arrives.  Closing twice does nothing."""
        # A socket that is closed with unread bytes in it would send a reset.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NO_TIME)
        self._close()

    def _close(self) -> None:
        self._socket.close()
        self._ledger.strike(self.number)

    def _receive_more(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
        except OSError as error:
            raise Disconnected from error
        if not data:
            raise Disconnected
        self._received += data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


Script = Callable[[RawConnection], None]
"""What a `RawServer` does with a connection; when it returns, the connection is closed in order."""


class RawServer:
    """A server on 127.0.0.1, on a free port, whose every byte is the script's.

    Use it as a context manager.  Leaving it ends every script that waits or receives, closes every connection and
    joins the threads; an exception that a script raised, other than `Disconnected`, is raised there.

    Args:
        script: called with each connection, in a thread of its own.
        ssl_context: speak TLS with this; a connection whose handshake fails is closed without the script.
    """

    def __init__(self, script: Script, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._ssl_context = ssl_context
        self._ledger = _Ledger()
        self._errors: list[Exception] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, or the same with ``https``."""
        return f"{'http' if self._ssl_context is None else 'https'}://127.0.0.1:{self._port}"

    @property
    def accepted(self) -> int:
        """How many connections were made so far."""
        with self._ledger.changed:
            return self._ledger.accepted

    @property
    def open(self) -> int:
        """How many connections neither the client, as far as a script has looked, nor the server has closed."""
        with self._ledger.changed:
            return len(self._ledger.open)

    @property
    def requests(self) -> list[RawRequest]:
        """The requests that were received so far, in their order."""
        with self._ledger.changed:
            return list(self._ledger.requests)

    def wait_until(self, condition: Callable[[RawServer], bool], seconds: float = 5.0) -> bool:
        """Block until `condition`, asked whenever something above has changed, is true of this server.

        Returns:
            Whether it came true within `seconds`.
        """
        with self._ledger.changed:
            return self._ledger.changed.wait_for(lambda: condition(self), seconds)

    def start(self) -> None:
        """Begin to accept connections.  Call `stop` when done."""
        self._start_thread("raw server", self._accept)

    def stop(self) -> None:
        """Close everything, and return when all threads have ended.  Stopping twice does nothing.

        Raises:
            RuntimeError: a script did not end, because it waits for something else than its connection.
        """
        with self._ledger.changed:
            self._ledger.is_stopping = True
        # Not every system ends a wait for a connection when the listener is closed.
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
        with self._ledger.changed:
            connections = list(self._ledger.open.values())
            threads = list(self._threads)
        for connection in connections:
            # Nor does closing a socket end another thread's wait for it.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        self._listener.close()
        if any(thread.is_alive() for thread in threads):
            raise RuntimeError(f"a script of the server did not end within {_JOIN_SECONDS} seconds")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if exc is None and self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            with self._ledger.changed:
                if self._ledger.is_stopping:
                    accepted.close()
                    return
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                number = self._ledger.enter(accepted)
                self._start_thread(f"raw server's connection {number}", self._serve, number, accepted)

    def _start_thread(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, number: int, accepted: socket.socket) -> None:
        try:
            if self._ssl_context is not None:
                accepted = self._secured(number, accepted, self._ssl_context)
        except OSError:
            accepted.close()
            self._ledger.strike(number)
            return
        connection = RawConnection(self._ledger, number, accepted)
        try:
            self._script(connection)
        except Disconnected:
            pass
        except Exception as error:
            self._errors.append(error)
        finally:
            connection.close()

    def _secured(self, number: int, accepted: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        secured = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        try:
            with self._ledger.changed:
                self._ledger.open[number] = secured
                if self._ledger.is_stopping:
                    raise OSError("the server is being stopped")
            secured.do_handshake()
        except OSError:
            secured.close()
            raise
        return secured


def replies(*answers: Reply) -> Script:
    """A script that answers the n-th request, on whatever connection it comes, with the n-th of `answers`.

    The last answer is given again and again.  Connections are kept open for more requests, unless an answer closes its
    own.
    """
    lock = threading.Lock()
    left = list(answers)

    def script(connection: RawConnection) -> None:
        while True:
            request = connection.receive_request()
            with lock:
                reply = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(reply, bytes):
                connection.send(reply)
            else:
                reply(connection, request)

    return script


@contextmanager
def refusing_url() -> Generator[str, None, None]:
    """The URL of a port of this machine that refuses connections, for as long as the ``with`` block lasts."""
    with socket.socket() as held:
        # Bound, so that nobody else gets the port, and not listening.
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


# The bytes of HTTP


def answer_head(status: int = 200, *fields: str) -> bytes:
    """The head of an answer with the header `fields`, each as ``"Name: value"``."""
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} Status", *fields, "")).encode("latin-1")


def answer(body: bytes = b"", status: int = 200, *fields: str, content_type: str = "application/json") -> bytes:
    """A whole answer, framed by ``Content-Length``."""
    own_fields = (f"Content-Type: {content_type}", f"Content-Length: {len(body)}")
    return answer_head(status, *own_fields, *fields) + body


def stream_head(*fields: str, content_type: str = "text/event-stream") -> bytes:
    """The head of a stream whose body comes in HTTP chunks."""
    return answer_head(200, f"Content-Type: {content_type}", "Transfer-Encoding: chunked", *fields)


def http_chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body."""


def sse_event(data: Any, line_ending: bytes = b"\n") -> bytes:
    """A Server-Sent Event whose data is `data`: text as it is, anything else as JSON."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return b"data: " + text.encode("utf-8") + line_ending * 2


# The bytes of chat completions


def chat_completion(text: str = "Hello there") -> dict[str, Any]:
    """A chat completion in which the model says `text`."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "a/model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def chat_chunk(text: str | None = None, finish_reason: str | None = None) -> dict[str, Any]:
    """A chunk of a streamed chat completion, in which the model says `text`."""
    delta = {} if text is None else {"content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "a/model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def chat_answer(text: str = "Hello there", *fields: str) -> bytes:
    """The whole answer to a chat completion that is not streamed."""
    return answer(json.dumps(chat_completion(text), ensure_ascii=False).encode("utf-8"), 200, *fields)


def chat_events(*texts: str, line_ending: bytes = b"\n") -> list[bytes]:
    """The events of a whole chat stream: one for each of `texts`, one with the finish reason, and ``[DONE]``."""
    data = [*(chat_chunk(text) for text in texts), chat_chunk(finish_reason="stop"), "[DONE]"]
    return [sse_event(each, line_ending) for each in data]


def chat_stream(*texts: str, fields: Sequence[str] = ()) -> bytes:
    """The whole answer to a streamed chat completion, each event in an HTTP chunk of its own."""
    return stream_head(*fields) + b"".join(map(http_chunk, chat_events(*texts))) + LAST_CHUNK
