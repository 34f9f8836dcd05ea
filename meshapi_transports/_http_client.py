"""What the adapters over http.client share, be it their own or that below another library."""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from typing import Any, List, Optional, Tuple, cast
from urllib.parse import SplitResult

from meshapi_core import Failure

from ._content_coding import ContentCodingError, ContentDecoder
from ._driver import FailureTable, at_most

__all__ = ["FAILURES", "Body", "ConnectError", "ConnectTimeoutError", "Response", "TimedSocket", "target_of"]


class ConnectError(Exception):
    """No connection could be made."""


class ConnectTimeoutError(Exception):
    """No connection stood in time."""


FAILURES: FailureTable = {
    ConnectError: Failure.CONNECT,
    ConnectTimeoutError: Failure.CONNECT_TIMEOUT,
    # Up to Python 3.9 this is an OSError and no TimeoutError.
    socket.timeout: Failure.TIMEOUT,
    OSError: Failure.CONNECTION_LOST,
    http.client.HTTPException: Failure.CONNECTION_LOST,
    ContentCodingError: Failure.CONNECTION_LOST,
}

_PIECE = 65536

# The line before a chunk, with the end of the chunk before it.
_CHUNK_HEAD = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_LONGEST_LINE = 65536


def target_of(url: SplitResult) -> str:
    """What the first line of a request names of `url`."""
    return f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"


class TimedSocket:
    """A socket of which each wait takes no longer than it may; http.client knows but one time for all of them.

    Args:
        connected: the socket, on which TLS has been set up where it is used.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.has_ended = False
        self._idle: Optional[float] = None
        self._deadline: Optional[float] = None
        if isinstance(connected, ssl.SSLSocket):
            # Else the end of TCP, which anyone on the line can forge, looks like the end of TLS.
            cast("Any", connected).suppress_ragged_eofs = False

    def limit(self, idle: Optional[float], deadline: Optional[float]) -> None:
        """From now on, let each wait take `idle` seconds, and none last beyond the time `deadline`."""
        self._idle = idle
        self._deadline = deadline

    def start_wait(self) -> None:
        """Let the socket's next operation take what the limits leave.

        Raises:
            socket.timeout: nothing is left; so it ends, too, what never has to wait.
        """
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise socket.timeout("the time for it is over")
        self.socket.settimeout(at_most(self._idle, left))

    def pieces_of(self, content: bytes) -> Tuple[memoryview, ...]:
        """`content` in pieces to be sent one by one: a timeout counts for the whole of what is sent at once."""
        view = memoryview(content)
        return tuple(view[start : start + _PIECE] for start in range(0, len(view), _PIECE))

    def makefile(self, mode: str) -> io.BufferedReader:
        """The file that an answer is read from."""
        return io.BufferedReader(_TimedReader(self))


class _TimedReader(io.RawIOBase):
    """Reads from a `TimedSocket`."""

    def __init__(self, source: TimedSocket) -> None:
        self._source = source
        self._raw = source.socket.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        self._source.start_wait()
        size = self._raw.readinto(buffer)
        if size == 0:
            self._source.has_ended = True
        return size

    def close(self) -> None:
        # This, too, holds the socket open: http.client closes its own end early, when no further answer will come.
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """The answer after any interim ones; http.client skips 100 alone, and takes another 1xx for the answer."""

    def __init__(self, source: TimedSocket, *args: Any, **options: Any) -> None:
        super().__init__(cast("socket.socket", source), *args, **options)
        self.source = source
        self._chunks = _Chunks()

    def begin(self) -> None:
        super().begin()
        # http.client takes a head that breaks off for a whole one, and skips what is no field.
        if self.source.has_ended or self.msg.defects:
            raise http.client.HTTPException("the head of the answer is not whole")

    def read1(self, n: int = -1) -> bytes:
        """All that is there of the body, after a wait if that is nothing; ``b""`` at its end.

        Raises:
            http.client.HTTPException: it has no end, or is framed in a way that is none.
        """
        if self.chunked:
            return self._read_chunks()
        data = super().read1(n)
        if not data and self.length:
            # http.client calls this an end.
            raise http.client.IncompleteRead(b"", self.length)
        return data

    def _read_chunks(self) -> bytes:
        # http.client returns but one chunk at a time, which costs more than all else that is done with a small one.
        while not self.isclosed():
            raw = self.fp.read1(_PIECE)
            if not raw:
                raise http.client.IncompleteRead(b"")
            data = self._chunks.take(raw)
            if self._chunks.are_over:
                self.close()
            if data:
                return data
        return b""

    def _read_status(self) -> Tuple[str, int, str]:
        version, status, reason = cast("Any", super())._read_status()
        is_interim = 100 < status < 200 and status != http.client.SWITCHING_PROTOCOLS
        return version, http.client.CONTINUE if is_interim else status, reason


class _Chunks:
    """Takes the framing off a body that comes in chunks (RFC 9112, section 7.1).

    Attributes:
        are_over: whether the last one has come, and the trailer after it.
    """

    def __init__(self) -> None:
        self.are_over = False
        # As if there had been one before, so that each begins with the end of the last.
        self._unread = b"\r\n"
        self._left = 0
        self._is_trailer = False

    def take(self, data: bytes) -> bytes:
        """What `data`, the next bytes of the body, holds beside the framing.

        Raises:
            http.client.HTTPException: it is framed in a way that is none.
        """
        data, at = self._unread + data, 0
        pieces: List[bytes] = []
        while not self.are_over:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            after_line = self._read_trailer(data, at) if self._is_trailer else self._read_head(data, at)
            if after_line == at:
                if len(data) - at > _LONGEST_LINE:
                    raise http.client.LineTooLong("chunk")
                break
            at = after_line
        self._unread = data[at:]
        return b"".join(pieces)

    def _read_head(self, data: bytes, at: int) -> int:
        head = _CHUNK_HEAD.match(data, at)
        if head is not None:
            self._left = int(head[1], 16)
            self._is_trailer = not self._left
            return head.end()
        if data.find(b"\n", at + 2) >= 0:
            raise http.client.HTTPException("the body comes in chunks that are none")
        return at

    def _read_trailer(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if end < 0:
            return at
        self.are_over = end == at
        return end + 2


class Body:
    """The content of an answer, as it comes.

    Args:
        response: the answer, of which nothing has been read.
    """

    def __init__(self, response: Response) -> None:
        self._response = response
        self._decoder = ContentDecoder(response.getheader("Content-Encoding", ""))

    def read(self, timeout: Optional[float]) -> bytes:
        """The next bytes, as `meshapi_transports.protocol.Answer` has it."""
        response = self._response
        # Past its end, the socket may serve another thread.
        if not response.isclosed():
            response.source.limit(None, None if timeout is None else time.monotonic() + timeout)
        while True:
            data = response.read1(_PIECE)
            if not data:
                self._decoder.finish()
                # Before its connection is used again, or that would think that it is still being read.
                response.close()
                return b""
            data = self._decoder.decode(data)
            if data:
                return data
