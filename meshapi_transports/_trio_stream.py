"""A TCP stream for trio that passes a checkpoint where it waits, and once more only where it could take without end.

Trio's own passes one at each call, which is a turn of its loop.  A request makes a call to send, which hardly ever has
to wait, and one to receive, which nearly always has.
"""

from __future__ import annotations

import socket
from typing import NoReturn

import trio

__all__ = ["SocketStream", "open_stream"]

_READ_SIZE = 65536


class SocketStream(trio.abc.Stream):
    """A connection that stands; used by one task at a time, and closed from any.

    Args:
        connected: the socket, which is this stream's from now on.
    """

    __slots__ = ("_is_emptied", "_socket")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        # Whether the last look at the socket has taken all that was there.
        self._is_emptied = True

    def is_readable(self) -> bool:
        """Whether something has come, be it the end."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the socket; whoever waits for it gets `trio.ClosedResourceError`.  This never waits."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._refuse_if_closed()
        unsent = memoryview(data)
        while unsent:
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                self._fail(error)

    async def wait_send_all_might_not_block(self) -> None:
        self._refuse_if_closed()
        await trio.lowlevel.wait_writable(self._socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = max_bytes or _READ_SIZE
        self._refuse_if_closed()
        while True:
            if self._is_emptied:
                await trio.lowlevel.wait_readable(self._socket)
            else:
                await trio.lowlevel.checkpoint()
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                self._is_emptied = True
            except OSError as error:
                self._fail(error)
            else:
                self._is_emptied = len(data) < size
                return data

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def _refuse_if_closed(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this stream was closed")

    def _fail(self, error: OSError) -> NoReturn:
        # Closed by another task, just as it was to be used.
        self._refuse_if_closed()
        raise trio.BrokenResourceError(f"the connection broke: {error}") from error


async def open_stream(host: str, port: int) -> SocketStream:
    """Connect to `host`, whichever of its addresses answers first.

    Raises:
        OSError: there is no connection.
        UnicodeError: the host's name has a part that is empty or too long.
    """
    stream = await trio.open_tcp_stream(host, port)
    return SocketStream(socket.socket(fileno=stream.socket.detach()))
