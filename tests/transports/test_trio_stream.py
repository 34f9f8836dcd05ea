"""The TCP stream below the client over trio, against sockets that are driven by hand."""

from __future__ import annotations

import socket
import struct

import pytest

pytest.importorskip("trio")

import trio
from trio.testing import wait_all_tasks_blocked

from meshapi_transports._trio_stream import SocketStream, open_stream

pytestmark = pytest.mark.anyio

# More than the buffers of both sides take.
MUCH = bytes(range(256)) * 80_000


@pytest.fixture
def anyio_backend():
    return "trio"


@pytest.fixture
def ends():
    """A stream, and the socket at its other end."""
    ours, theirs = connected()
    with ours, theirs:
        yield SocketStream(ours), theirs


def connected():
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


def reset(end):
    """Close a socket in a way that its peer takes for a fault."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


async def test_what_is_sent_comes_and_then_the_end(ends):
    """Both ways, and the end as often as it is asked for."""
    stream, theirs = ends
    await stream.send_all(b"hello")
    assert theirs.recv(9) == b"hello"
    theirs.sendall(b"there")
    assert await stream.receive_some() == b"there"
    theirs.close()
    assert [await stream.receive_some(), await stream.receive_some(9)] == [b"", b""]


async def test_no_more_than_is_asked_for(ends):
    """What is left of it comes next."""
    stream, theirs = ends
    theirs.sendall(b"abcdef")
    assert [await stream.receive_some(size) for size in (2, 3, 4)] == [b"ab", b"cde", b"f"]


async def test_a_full_read_may_have_taken_all(ends):
    """After it, the next one waits like any other."""
    stream, theirs = ends
    theirs.sendall(b"ab")
    assert await stream.receive_some(2) == b"ab"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, stream.receive_some, b"cd")
        await wait_all_tasks_blocked()
        theirs.sendall(b"cd")


async def expect(receive, data):
    assert await receive() == data


async def test_more_than_the_system_takes_at_once(ends):
    """Sending waits for the peer, as often as it has to."""
    stream, theirs = ends
    received = bytearray()

    def receive_all():
        while len(received) < len(MUCH):
            received.extend(theirs.recv(65536))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, MUCH)
        await wait_all_tasks_blocked()
        nursery.start_soon(trio.to_thread.run_sync, receive_all)
    assert received == MUCH
    await stream.wait_send_all_might_not_block()


async def test_others_have_their_turn_while_there_is_always_more(ends):
    """A read that need not wait is a checkpoint all the same."""
    stream, theirs = ends
    theirs.sendall(b"x" * 1000)
    turns = 0

    async def take_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        for _ in range(100):
            assert await stream.receive_some(1) == b"x"
        nursery.cancel_scope.cancel()
    assert turns >= 95


@pytest.mark.parametrize("left", [b"", b"left"])
async def test_a_cancelled_read_takes_nothing(ends, left):
    """What has come is there for the next one, whether that waits for the socket or only for its turn."""
    stream, theirs = ends
    theirs.sendall(b"x" + left)
    assert await stream.receive_some(9 if left == b"" else 1) == b"x"
    theirs.sendall(b"y")
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some()
    assert scope.cancelled_caught
    data = b""
    while not data.endswith(b"y"):
        data += await stream.receive_some()
    assert data == left + b"y"


async def test_nothing_is_sent_by_who_is_cancelled(ends):
    """A request that nobody waits for any more does not go out."""
    stream, theirs = ends
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.send_all(b"hello")
    assert scope.cancelled_caught
    await stream.aclose()
    assert theirs.recv(9) == b""


async def test_a_connection_that_breaks(ends):
    """It is trio's error that says so, of either kind of use."""
    stream, theirs = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_error, trio.BrokenResourceError, stream.receive_some)
        await wait_all_tasks_blocked()
        reset(theirs)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(MUCH)


async def expect_error(kind, use):
    with pytest.raises(kind):
        await use()


async def test_closing_wakes_who_waits(ends):
    """Both who receives and who sends; and whoever comes later is told, too."""
    stream, _ = ends

    async def send():
        await stream.send_all(MUCH)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_error, trio.ClosedResourceError, stream.receive_some)
        nursery.start_soon(expect_error, trio.ClosedResourceError, send)
        await wait_all_tasks_blocked()
        stream.close()
    for use in (stream.receive_some, send, stream.wait_send_all_might_not_block):
        await expect_error(trio.ClosedResourceError, use)
    stream.close()
    await stream.aclose()


async def test_closing_just_as_it_is_used():
    """Whoever closes between two steps of a read is not taken for a broken connection."""
    # Which of two tasks is first is left to chance by trio.
    for _ in range(20):
        ours, theirs = connected()
        stream = SocketStream(ours)
        theirs.sendall(b"xx")
        assert await stream.receive_some(1) == b"x"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_error, trio.ClosedResourceError, stream.receive_some)
            nursery.start_soon(close_at_once, stream)
        theirs.close()


async def close_at_once(stream):
    stream.close()


async def test_whether_something_has_come():
    """Bytes, the end and a fault count alike: none of them is due on an idle connection."""
    for happen in (lambda end: end.sendall(b"x"), lambda end: end.close(), reset):
        ours, theirs = connected()
        stream = SocketStream(ours)
        assert not stream.is_readable()
        happen(theirs)
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(ours)
        assert stream.is_readable()
        stream.close()
        theirs.close()


async def test_opening_a_connection():
    """The stream is that of the address; where there is nobody, the system's error says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        stream = await open_stream(host, port)
        theirs, _ = server.accept()
        with theirs:
            await stream.send_all(b"hello")
            assert theirs.recv(9) == b"hello"
        await stream.aclose()
    with pytest.raises(OSError):
        await open_stream(host, port)
