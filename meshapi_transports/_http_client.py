"""What the adapters over http.client share, be it their own or that below another library."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any, Optional, Tuple, cast

from ._driver import at_most

__all__ = ["Response", "TimedReader", "TimedSocket"]

_PIECE = 65536
# A socket takes 0 for "do not block".
_LEAST_SECONDS = 0.001


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

    def limit(self, idle: Optional[float], total: Optional[float]) -> None:
        """From now on, let each wait take `idle` seconds, and all of them together `total`."""
        self._idle = idle
        self._deadline = None if total is None else time.monotonic() + total

    def start_wait(self) -> None:
        """Let the socket's next operation take what the limits leave."""
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), _LEAST_SECONDS)
        self.socket.settimeout(at_most(self._idle, left))

    def pieces_of(self, content: bytes) -> Tuple[memoryview, ...]:
        """`content` in pieces to be sent one by one: a timeout counts for the whole of what is sent at once."""
        view = memoryview(content)
        return tuple(view[start : start + _PIECE] for start in range(0, len(view), _PIECE))

    def makefile(self, mode: str) -> io.BufferedReader:
        """The file that an answer is read from."""
        return io.BufferedReader(TimedReader(self))


class TimedReader(io.RawIOBase):
    """Reads from a `TimedSocket`."""

    def __init__(self, source: TimedSocket) -> None:
        self.source = source
        self._raw = source.socket.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        self.source.start_wait()
        size = self._raw.readinto(buffer)
        if size == 0:
            self.source.has_ended = True
        return size

    def close(self) -> None:
        # This, too, holds the socket open: http.client closes its own end early, when no further answer will come.
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """The answer after any interim ones; http.client skips 100 alone, and takes another 1xx for the answer."""

    def __init__(self, source: TimedSocket, *args: Any, **options: Any) -> None:
        super().__init__(cast("socket.socket", source), *args, **options)

    def _read_status(self) -> Tuple[str, int, str]:
        version, status, reason = cast("Any", super())._read_status()
        is_interim = 100 < status < 200 and status != http.client.SWITCHING_PROTOCOLS
        return version, http.client.CONTINUE if is_interim else status, reason
