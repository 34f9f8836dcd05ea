"""The trio connection pool, against scripted servers on the loopback interface.

All tests run on a clock that keeps real time but can be jumped ahead, so that none of them sleeps.
"""

from __future__ import annotations

import base64
import math
import os
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from functools import partial

import pytest

pytest.importorskip("trio")
pytest.importorskip("h11")

import trio
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from meshapi_transports import _trio_pool
from meshapi_transports._trio_pool import (
    ConnectError,
    ConnectionLost,
    ConnectionPool,
    ConnectTimeout,
    PoolClosed,
    PoolError,
    ReadTimeout,
)

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "sk-do-not-show"


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": MockClock(rate=1)}


def jump(seconds):
    trio.lowlevel.current_clock().jump(seconds)


# --- The servers -----------------------------------------------------------------------------------------------------


class Peer:
    """The server's side of one connection."""

    def __init__(self, stream, number):
        self.stream = stream
        self.number = number
        self._received = bytearray()

    async def send(self, data):
        await self.stream.send_all(data)

    async def request(self):
        """Return the next request, head and body; None when the client has closed the connection."""
        head = await self._receive_until(lambda: self._received.find(b"\r\n\r\n") + 4, at_least=4)
        if head is None:
            return None
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        body = await self._receive_until(lambda: length, at_least=0)
        return None if body is None else head + body

    async def _receive_until(self, wanted, at_least):
        while not at_least <= wanted() <= len(self._received):
            data = await receive(self.stream)
            if not data:
                return None
            self._received += data
        size = wanted()
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    async def until_closed(self):
        while await receive(self.stream):
            pass

    def reset(self):
        raw = getattr(self.stream, "transport_stream", self.stream).socket
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()


async def receive(stream):
    try:
        return await stream.receive_some()
    except trio.BrokenResourceError:
        return b""


class Server:
    def __init__(self, port, scheme):
        self.port = port
        self.authority = f"127.0.0.1:{port}"
        self.url = f"{scheme}://{self.authority}"
        self.accepted = 0
        self.open = 0
        self.requests = []
        self._changed = trio.Event()

    async def until(self, condition):
        while not condition():
            await self._changed.wait()

    async def until_all_closed(self):
        await self.until(lambda: self.open == 0)

    def change(self, by):
        self.accepted += max(by, 0)
        self.open += by
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def serving(script, ssl_context=None):
    """Run a server that plays the script, an async function of a Peer, on each connection."""
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listener.socket.getsockname()[1], "http" if ssl_context is None else "https")

        async def handle(stream):
            server.change(+1)
            if ssl_context is not None:
                stream = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
            peer = Peer(stream, server.accepted)
            try:
                await script(server, peer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                server.change(-1)
                await trio.aclose_forcefully(stream)

        nursery.start_soon(trio.serve_listeners, handle, [listener])
        with trio.fail_after(100):
            yield server
        nursery.cancel_scope.cancel()


async def answering(server, peer, response=OK):
    while True:
        request = await peer.request()
        if request is None:
            return
        server.requests.append((peer.number, request))
        await peer.send(response)


def once(response, then=Peer.until_closed):
    """Make a script that answers the first request on each connection, and then waits for the client to close."""

    async def script(server, peer):
        request = await peer.request()
        if request is not None:
            server.requests.append((peer.number, request))
            await peer.send(response)
            if then is not None:
                await then(peer)

    return script


async def silent(server, peer):
    await peer.until_closed()


@asynccontextmanager
async def pooling(**options):
    pool = ConnectionPool(**options)
    try:
        yield pool
    finally:
        await pool.aclose()


async def read_all(exchange, timeout=math.inf):
    pieces = []
    while True:
        piece = await exchange.read(timeout)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


async def fetch(pool, url, **options):
    exchange = await pool.send("GET", url, [], **options)
    try:
        return await read_all(exchange)
    finally:
        await exchange.aclose()


# --- Requests and responses ------------------------------------------------------------------------------------------


async def test_request_is_sent_whole_with_host_and_length():
    """The request goes out with its own headers, in order, and with Host and Content-Length added."""
    async with serving(answering) as server, pooling() as pool:
        exchange = await pool.send("POST", server.url + "/a%20b?c=d#e", [("X-One", "1"), ("x-two", "2")], b"hello")
        assert exchange.status == 200
        assert exchange.headers == [(b"content-length", b"2")]
        assert await read_all(exchange) == b"ok"
        await exchange.aclose()
    [(_, request)] = server.requests
    head = f"POST /a%20b?c=d HTTP/1.1\r\nHost: {server.authority}\r\nX-One: 1\r\nx-two: 2\r\nContent-Length: 5\r\n\r\n"
    assert request == head.encode() + b"hello"


async def test_given_host_and_length_are_kept():
    """Host and Content-Length are not added where the caller gave them, however they are spelled."""
    async with serving(answering) as server, pooling() as pool:
        exchange = await pool.send("POST", server.url, [("HOST", "elsewhere"), ("content-length", "2")], b"hi")
        await exchange.aclose()
    [(_, request)] = server.requests
    assert request == b"POST / HTTP/1.1\r\nHOST: elsewhere\r\ncontent-length: 2\r\n\r\nhi"


async def test_content_length_only_where_it_means_something():
    """An empty POST says so, an empty GET need not."""
    async with serving(answering) as server, pooling() as pool:
        for method in ("GET", "POST"):
            exchange = await pool.send(method, server.url, [])
            assert await read_all(exchange) == b"ok"
            await exchange.aclose()
    (_, get), (_, post) = server.requests
    assert b"Content-Length" not in get
    assert b"Content-Length: 0\r\n" in post


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.com/", "example.com"),
        ("http://example.com:80", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://[::1]/", "[::1]"),
    ],
)
def test_host_header(url, host):
    """The Host header names the port only where it is not the scheme's own, and brackets IPv6 addresses."""
    assert _trio_pool._parse_url(url)[1] == host


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304])
async def test_responses_without_a_body(method, status):
    """Responses to HEAD, and 204 and 304, have no body whatever their length header says, and need not be read."""
    length = b"Content-Length: 5\r\n" if method == "HEAD" or status == 304 else b""
    body = b"hello" if (method, status) == ("GET", 200) else b""
    framing = b"Content-Length: 5\r\n" if body else length
    response = b"HTTP/1.1 %d X\r\n%s\r\n%s" % (status, framing, body)
    async with serving(partial(answering, response=response)) as server, pooling() as pool:
        for _ in range(2):
            exchange = await pool.send(method, server.url, [])
            assert await read_all(exchange) == body
            await exchange.aclose()
        exchange = await pool.send(method, server.url, [])
        await exchange.aclose()
        exchange = await pool.send(method, server.url, [])
        await exchange.aclose()
        assert server.accepted == 1


async def test_every_byte_in_a_packet_of_its_own():
    """A response that comes byte by byte, head and all, is read like any other."""
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"

    async def script(server, peer):
        while await peer.request() is not None:
            for byte in response:
                await peer.send(bytes([byte]))

    async with serving(script) as server, pooling() as pool:
        for _ in range(2):
            assert await fetch(pool, server.url) == b"hello"
        assert server.accepted == 1


async def test_every_byte_in_a_chunk_of_its_own_is_joined():
    """Chunks that arrived together are returned together."""
    body = bytes(range(256)) * 40
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    async with serving(partial(answering, response=response)) as server, pooling() as pool:
        exchange = await pool.send("GET", server.url, [])
        pieces = []
        while True:
            piece = await exchange.read()
            if not piece:
                break
            pieces.append(piece)
        await exchange.aclose()
        assert b"".join(pieces) == body
        assert len(pieces) <= 50


async def test_read_returns_bytes_as_soon_as_they_come():
    """A piece of the body is returned before the next is sent, and the end of the body is b"" for good."""
    asked = trio.Event()

    async def script(server, peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await asked.wait()
        await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
        await peer.until_closed()

    async with serving(script) as server, pooling() as pool:
        exchange = await pool.send("GET", server.url, [])
        assert await exchange.read() == b"one"
        asked.set()
        assert [await exchange.read(), await exchange.read(), await exchange.read()] == [b"two", b"", b""]
        await exchange.aclose()


async def test_large_bodies_both_ways():
    """Bodies far larger than any buffer arrive whole."""
    body = bytes(range(256)) * 4096 * 8

    async def script(server, peer):
        request = await peer.request()
        content = request.partition(b"\r\n\r\n")[2]
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        await peer.until_closed()

    async with serving(script) as server, pooling() as pool:
        exchange = await pool.send("POST", server.url, [], body, read_timeout=50)
        assert await read_all(exchange, 50) == body
        await exchange.aclose()


async def test_interim_responses_are_skipped():
    """Any number of 1xx responses may come before the final one."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    async def script(server, peer):
        while await peer.request() is not None:
            await peer.send(interim)
            await wait_all_tasks_blocked()
            await peer.send(interim + OK)

    async with serving(script) as server, pooling() as pool:
        assert await fetch(pool, server.url) == b"ok"
        assert await fetch(pool, server.url) == b"ok"
        assert server.accepted == 1


@pytest.mark.parametrize("headers", [[], [("Upgrade", "x"), ("Connection", "upgrade")]])
async def test_switching_protocols_is_a_lost_connection(headers):
    """There is no HTTP after a 101, asked for or not."""
    response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    async with serving(once(response)) as server, pooling() as pool:
        with pytest.raises(ConnectionLost):
            await pool.send("GET", server.url, headers)
        await server.until_all_closed()


async def test_body_until_the_connection_ends():
    """An HTTP/1.0 response without a length ends with its connection, which is not used again."""
    script = once(b"HTTP/1.0 200 OK\r\n\r\nall of it", then=None)
    async with serving(script) as server, pooling() as pool:
        assert await fetch(pool, server.url) == b"all of it"
        assert await fetch(pool, server.url) == b"all of it"
        assert server.accepted == 2


async def test_answer_to_a_request_that_was_not_taken_whole():
    """The response of a server that stops reading, answers and closes is returned, not the failure to write."""

    async def script(server, peer):
        await peer.stream.receive_some(10)
        await peer.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")

    async with serving(script) as server, pooling() as pool:
        exchange = await pool.send("POST", server.url, [], bytes(50_000_000))
        assert (exchange.status, await read_all(exchange)) == (413, b"no")
        await exchange.aclose()


# --- Reuse -----------------------------------------------------------------------------------------------------------


async def test_connection_is_reused():
    """One connection serves one request after the other."""
    async with serving(answering) as server, pooling() as pool:
        for _ in range(5):
            assert await fetch(pool, server.url) == b"ok"
        assert server.accepted == 1


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["connection-close", "http-1.0", "more-than-the-response"],
)
async def test_connection_that_is_not_reused(response):
    """A connection is closed at once where the server says so, and where it sent more than was asked for."""
    async with serving(once(response)) as server, pooling() as pool:
        assert await fetch(pool, server.url) == b"ok"
        await server.until_all_closed()
        assert await fetch(pool, server.url) == b"ok"
        assert server.accepted == 2


async def test_request_that_asks_to_close():
    """A connection is not reused after a request with `Connection: close`, and its origin is forgotten."""
    async with serving(answering) as server, pooling() as pool:
        assert await fetch(pool, server.url) == b"ok"
        exchange = await pool.send("GET", server.url, [("Connection", "close")])
        assert await read_all(exchange) == b"ok"
        await exchange.aclose()
        await server.until_all_closed()
        assert server.accepted == 1
        assert pool._idle_by_origin == {}


async def test_newest_idle_connection_is_used_first():
    """Of several idle connections the one used last is taken."""
    async with serving(answering) as server, pooling() as pool:
        exchanges = [await pool.send("GET", server.url, []) for _ in range(3)]
        for exchange in (exchanges[1], exchanges[2], exchanges[0]):
            await read_all(exchange)
            await exchange.aclose()
        again = [await pool.send("GET", server.url, []) for _ in range(3)]
        assert [number for number, _ in server.requests[3:]] == [1, 3, 2]
        for exchange in again:
            await exchange.aclose()


async def test_idle_connection_expires():
    """A connection that was idle for idle_expiry seconds is closed and not used."""
    async with serving(answering) as server, pooling(idle_expiry=15) as pool:
        await fetch(pool, server.url)
        jump(14)
        await fetch(pool, server.url)
        jump(14)
        await fetch(pool, server.url)
        assert server.accepted == 1
        jump(15)
        await fetch(pool, server.url)
        assert server.accepted == 2
        await server.until(lambda: server.open == 1)


async def test_expired_connections_to_other_origins_are_closed():
    """An expired connection is closed, and its origin forgotten, when the pool is used for any other origin."""
    async with serving(answering) as one, serving(answering) as other, pooling(idle_expiry=15) as pool:
        await fetch(pool, one.url)
        jump(15)
        await fetch(pool, other.url)
        await one.until_all_closed()
        assert list(pool._idle_by_origin) == [_trio_pool._parse_url(other.url)[0]]


async def test_connection_expires_while_another_is_in_use():
    """An expired connection is closed when another is given back."""
    async with serving(answering) as server, pooling(idle_expiry=15) as pool:
        busy = await pool.send("GET", server.url, [])
        await fetch(pool, server.url)
        jump(15)
        await read_all(busy)
        await busy.aclose()
        await server.until(lambda: server.open == 1)


async def test_no_more_idle_connections_than_allowed():
    """The connection that was idle for longest is closed where there are too many."""
    async with serving(answering) as server, pooling(max_idle_connections=2) as pool:
        exchanges = [await pool.send("GET", server.url, []) for _ in range(3)]
        for exchange in exchanges:
            await read_all(exchange)
            await exchange.aclose()
        await server.until(lambda: server.open == 2)
        exchanges = [await pool.send("GET", server.url, []) for _ in range(2)]
        assert [number for number, _ in server.requests[3:]] == [3, 2]
        for exchange in exchanges:
            await exchange.aclose()


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Timeout\r\n\r\n"])
async def test_connection_that_ended_while_idle_is_skipped(farewell):
    """A connection that the server closed, or said something on, while it was idle is not used."""
    leave = trio.Event()

    async def script(server, peer):
        if peer.number == 1:
            await peer.request()
            await peer.send(OK)
            await leave.wait()
            await peer.send(farewell)
        else:
            await answering(server, peer)

    async with serving(script) as server, pooling() as pool:
        assert await fetch(pool, server.url) == b"ok"
        leave.set()
        await server.until_all_closed()
        assert await fetch(pool, server.url) == b"ok"
        assert server.accepted == 2


async def test_connection_that_dies_on_reuse_is_lost():
    """A request on a connection that the server drops just then is not sent again."""

    async def script(server, peer):
        await peer.request()
        await peer.send(OK)
        await peer.request()

    async with serving(script) as server, pooling() as pool:
        assert await fetch(pool, server.url) == b"ok"
        with pytest.raises(ConnectionLost):
            await fetch(pool, server.url)
        assert server.accepted == 1


async def test_unread_body_closes_the_connection():
    """An exchange that is closed before the end of its body closes its socket at once, and closing again is fine."""
    script = once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
    async with serving(script) as server, pooling() as pool:
        exchange = await pool.send("GET", server.url, [])
        assert await exchange.read() == b"some"
        await exchange.aclose()
        await exchange.aclose()
        await server.until_all_closed()
        with pytest.raises(trio.ClosedResourceError):
            await exchange.read()


async def test_closing_an_exchange_twice_gives_its_connection_back_once():
    """A second aclose does not touch the connection, which may be in use by another exchange by then."""
    async with serving(answering) as server, pooling(max_connections=1) as pool:
        first = await pool.send("GET", server.url, [])
        await read_all(first)
        await first.aclose()
        second = await pool.send("GET", server.url, [])
        await first.aclose()
        assert await read_all(second) == b"ok"
        await second.aclose()
        assert server.accepted == 1


async def test_closing_works_in_a_cancelled_scope():
    """An exchange can be closed where every await would be cancelled, with either outcome."""
    async with serving(answering) as server, pooling() as pool:
        for read in (True, False):
            exchange = await pool.send("GET", server.url, [])
            if read:
                await read_all(exchange)
            with trio.CancelScope() as scope:
                scope.cancel()
                await exchange.aclose()
            assert not scope.cancelled_caught
        assert server.accepted == 1


async def test_closing_an_exchange_that_another_task_reads():
    """The read of an exchange that is closed meanwhile ends with ClosedResourceError."""
    script = once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    async with serving(script) as server, pooling() as pool, trio.open_nursery() as nursery:
        exchange = await pool.send("GET", server.url, [])

        async def read():
            with pytest.raises(trio.ClosedResourceError):
                await exchange.read()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await exchange.aclose()


# --- Limits ----------------------------------------------------------------------------------------------------------


async def test_slots_go_to_those_who_came_first():
    """Waiting tasks get the connection in the order in which they came, and cancelled ones are passed over."""
    served = []
    async with serving(answering) as server, pooling(max_connections=1) as pool, trio.open_nursery() as nursery:
        held = await pool.send("GET", server.url, [])
        scopes = []

        async def wait(number):
            with scopes[number]:
                await fetch(pool, server.url)
                served.append(number)

        for number in range(6):
            scopes.append(trio.CancelScope())
            nursery.start_soon(wait, number)
            await wait_all_tasks_blocked()
        for number in (0, 3, 5):
            scopes[number].cancel()
        await read_all(held)
        await held.aclose()
    assert served == [1, 2, 4]
    assert server.accepted == 1


@pytest.mark.parametrize("release_first", [True, False])
@pytest.mark.parametrize("read", [True, False])
async def test_waiter_cancelled_as_its_turn_comes(release_first, read):
    """A slot that is handed to a task in the moment in which it is cancelled goes on to the next one."""
    async with serving(answering) as server, pooling(max_connections=1) as pool, trio.open_nursery() as nursery:
        held = await pool.send("GET", server.url, [])
        if read:
            await read_all(held)
        scope = trio.CancelScope()
        bodies = []

        async def wait_until_cancelled():
            with scope:
                bodies.append(await fetch(pool, server.url))

        async def wait():
            bodies.append(await fetch(pool, server.url))

        nursery.start_soon(wait_until_cancelled)
        await wait_all_tasks_blocked()
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        if release_first:
            await held.aclose()
            scope.cancel()
        else:
            scope.cancel()
            await held.aclose()
    assert bodies == [b"ok"]


async def test_waiting_for_a_slot_times_out():
    """The connect timeout holds for the wait for a slot, and the others keep their places."""
    async with serving(answering) as server, pooling(max_connections=1) as pool, trio.open_nursery() as nursery:
        held = await pool.send("GET", server.url, [])
        bodies = []

        async def impatient():
            with pytest.raises(ConnectTimeout):
                await fetch(pool, server.url, connect_timeout=5)
            await read_all(held)
            await held.aclose()

        async def patient():
            bodies.append(await fetch(pool, server.url, connect_timeout=50))

        nursery.start_soon(impatient)
        await wait_all_tasks_blocked()
        nursery.start_soon(patient)
        await wait_all_tasks_blocked()
        jump(5)
    assert bodies == [b"ok"]
    assert server.accepted == 1


async def test_idle_connection_makes_room_for_another_origin():
    """At the limit an idle connection to another origin is closed."""
    async with serving(answering) as one, serving(answering) as other, pooling(max_connections=1) as pool:
        for _ in range(2):
            assert await fetch(pool, one.url) == b"ok"
            await other.until_all_closed()
            assert await fetch(pool, other.url) == b"ok"
            await one.until_all_closed()


async def test_slot_is_handed_to_a_waiter_for_another_origin():
    """A connection given back is closed where the first in line wants another origin, and keeps the others waiting."""
    async with serving(answering) as one, serving(answering) as other, pooling(max_connections=1) as pool:
        served = []

        async def wait(server):
            await fetch(pool, server.url)
            served.append(server)

        held = await pool.send("GET", one.url, [])
        await read_all(held)
        async with trio.open_nursery() as nursery:
            for server in (other, one):
                nursery.start_soon(wait, server)
                await wait_all_tasks_blocked()
            await held.aclose()
        assert served == [other, one]
        assert (one.accepted, other.accepted) == (2, 1)


async def test_handed_over_connection_that_ended_is_replaced():
    """A waiter that is handed a connection which the server has closed opens another in its slot."""
    script = once(OK, then=None)
    async with serving(script) as server, pooling(max_connections=1) as pool, trio.open_nursery() as nursery:
        held = await pool.send("GET", server.url, [])
        nursery.start_soon(fetch, pool, server.url)
        await wait_all_tasks_blocked()
        await server.until_all_closed()
        await read_all(held)
        await held.aclose()
    assert server.accepted == 2


async def test_failed_connects_pass_their_slot_on():
    """Tasks that wait for a slot each get their turn when connecting fails, and the slot is free in the end."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}"
        errors = []
        async with serving(answering) as server, pooling(max_connections=1) as pool:

            async def fail():
                with pytest.raises(ConnectError) as caught:
                    await fetch(pool, refusing)
                errors.append(caught.value)

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(fail)
            assert await fetch(pool, server.url) == b"ok"
    assert len(errors) == 5
    assert isinstance(errors[0].__cause__, OSError)


def identity_of(number):
    try:
        return os.fstat(number).st_ino
    except OSError:
        return None


class CountingConnects:
    """Stands in for trio.open_tcp_stream, and counts the sockets that are open."""

    def __init__(self):
        self.real = trio.open_tcp_stream
        self.sockets = []
        self.most = 0

    def open(self):
        # By what the system has: the socket goes from one object to another.
        self.sockets = [(number, identity) for number, identity in self.sockets if identity_of(number) == identity]
        return len(self.sockets)

    async def __call__(self, host, port):
        stream = await self.real(host, port)
        number = stream.socket.fileno()
        self.sockets.append((number, identity_of(number)))
        self.most = max(self.most, self.open())
        return stream


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    limit=st.integers(1, 5),
    tasks=st.lists(
        st.lists(st.tuples(st.booleans(), st.sampled_from(["read", "leave", "cancel"])), max_size=4), max_size=20
    ),
)
async def test_limit_is_never_exceeded(limit, tasks):
    """Whatever tasks do, no more connections are open than allowed, all get served, and no slot is lost."""
    connects = CountingConnects()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "open_tcp_stream", connects)
        async with serving(answering) as one, serving(answering) as other, pooling(max_connections=limit) as pool:

            async def work(steps):
                for first_origin, end in steps:
                    with trio.CancelScope() as scope:
                        exchange = await pool.send("GET", (one if first_origin else other).url, [])
                        if end == "cancel":
                            scope.cancel()
                        try:
                            if end != "leave":
                                assert await read_all(exchange) == b"ok"
                        finally:
                            await exchange.aclose()

            async with trio.open_nursery() as nursery:
                for steps in tasks:
                    nursery.start_soon(work, steps)
            exchanges = [await pool.send("GET", one.url, []) for _ in range(limit)]
            assert connects.open() == limit
            for exchange in exchanges:
                await exchange.aclose()
        assert connects.open() == 0
    assert connects.most <= limit


# --- Lost connections ------------------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "then"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome", None),
        (CHUNKED + b"4\r\nsome\r\n", None),
        (CHUNKED + b"4\r\nsome\r\n5\r\nth", None),
        (CHUNKED + b"4\r\nsome\r\nnot hex\r\n", Peer.until_closed),
        (CHUNKED + b"4\r\nsomeXX", Peer.until_closed),
        (CHUNKED + b"4\r\nsome\r\n0\r\nX: " + b"x" * 200_000, Peer.until_closed),
    ],
    ids=["short-length", "eof-between-chunks", "eof-in-chunk", "bad-length", "bad-chunk-end", "huge-trailer"],
)
async def test_truncated_body(response, then):
    """What came of a body is returned, its untimely end is an error with a cause, and the connection is closed."""
    async with serving(once(response, then)) as server, pooling(max_connections=1) as pool:
        for _ in range(2):
            exchange = await pool.send("GET", server.url, [])
            assert (await exchange.read()).startswith(b"some")
            with pytest.raises(ConnectionLost) as caught:
                await read_all(exchange)
            assert caught.value.__cause__ is not None
            await server.until_all_closed()
            await exchange.aclose()


async def test_bytes_before_an_error_come_first():
    """What came of a body along with an error is returned, and the error is raised next, without any more waiting."""
    response = CHUNKED + b"4\r\nsome\r\n"

    async def script(server, peer):
        await peer.request()
        await peer.send(response)
        await first_read.wait()
        await peer.send(b"4\r\nmore\r\nnot hex\r\n")
        await peer.until_closed()

    first_read = trio.Event()
    async with serving(script) as server, pooling() as pool:
        exchange = await pool.send("GET", server.url, [])
        assert await exchange.read() == b"some"
        first_read.set()
        assert await exchange.read() == b"more"
        with pytest.raises(ConnectionLost) as caught:
            await exchange.read()
        assert "hex" in repr(caught.value.__cause__)
        await server.until_all_closed()
        await exchange.aclose()


async def test_reset_amid_a_body():
    """A reset is a lost connection."""

    async def script(server, peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome")
        await read.wait()
        peer.reset()

    read = trio.Event()
    async with serving(script) as server, pooling() as pool:
        exchange = await pool.send("GET", server.url, [])
        assert await exchange.read() == b"some"
        read.set()
        with pytest.raises(ConnectionLost) as caught:
            await exchange.read()
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
        await exchange.aclose()


async def test_reset_before_the_head():
    """A reset instead of an answer is a lost connection."""

    async def script(server, peer):
        await peer.request()
        peer.reset()

    async with serving(script) as server, pooling() as pool:
        with pytest.raises(ConnectionLost):
            await pool.send("GET", server.url, [])


async def test_reset_amid_a_request():
    """A reset while the request is being written is a lost connection."""

    async def script(server, peer):
        await peer.stream.receive_some(10)
        peer.reset()

    async with serving(script) as server, pooling() as pool:
        with pytest.raises(ConnectionLost):
            await pool.send("POST", server.url, [], bytes(50_000_000))


@pytest.mark.parametrize(
    ("response", "then"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Peer.until_closed),
        (b"\x15\x03\x01\x00\x02\x02\x50" * 3, None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", Peer.until_closed),
        (b"HTTP/1.1 200 OK\r\n no header\r\n\r\n", Peer.until_closed),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 0123456789\r\n" * 10_000, Peer.until_closed),
    ],
    ids=["nothing", "part-of-a-head", "ssh", "tls", "bad-length", "bad-header", "huge-headers"],
)
async def test_no_http_response(response, then):
    """Whatever is not the head of a response is a lost connection, and the socket is closed."""
    async with serving(once(response, then)) as server, pooling(max_connections=1) as pool:
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                await pool.send("GET", server.url, [])
            assert caught.value.__cause__ is not None
            await server.until_all_closed()


# --- Timeouts --------------------------------------------------------------------------------------------------------


async def jump_when_blocked(seconds):
    await wait_all_tasks_blocked(0.01)
    jump(seconds)


async def test_no_head_in_time():
    """A server that says nothing is a ReadTimeout, and the connection is closed."""
    async with serving(silent) as server, pooling(max_connections=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(jump_when_blocked, 5)
        with pytest.raises(ReadTimeout):
            await pool.send("GET", server.url, [], read_timeout=5)
        await server.until_all_closed()


async def test_no_body_in_time():
    """A body that stops coming is a ReadTimeout, and the connection is closed."""
    script = once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
    async with serving(script) as server, pooling() as pool, trio.open_nursery() as nursery:
        exchange = await pool.send("GET", server.url, [])
        assert await exchange.read(5) == b"some"
        nursery.start_soon(jump_when_blocked, 5)
        with pytest.raises(ReadTimeout):
            await exchange.read(5)
        await server.until_all_closed()
        await exchange.aclose()


async def test_request_not_taken_in_time():
    """A server that stops taking the request is a ReadTimeout."""

    async def script(server, peer):
        await peer.stream.receive_some(10)
        await stop.wait()

    stop = trio.Event()
    async with serving(script) as server, pooling() as pool, trio.open_nursery() as nursery:
        nursery.start_soon(jump_when_blocked, 5)
        with pytest.raises(ReadTimeout):
            await pool.send("POST", server.url, [], bytes(50_000_000), read_timeout=5)
        stop.set()


async def test_slow_progress_is_no_timeout():
    """The read timeout starts anew with whatever is taken or sent, so a slow but live exchange may take longer."""

    async def script(server, peer):
        taken = 0
        for part in range(3):
            await wait_all_tasks_blocked(0.01)
            jump(4)
            while taken < 10_000_000 * (part + 1):
                taken += len(await peer.stream.receive_some(1_000_000))
        for byte in OK[:5]:
            await wait_all_tasks_blocked(0.01)
            jump(4)
            await peer.send(bytes([byte]))
        await peer.send(OK[5:])

    async with serving(script) as server, pooling() as pool:
        exchange = await pool.send("POST", server.url, [], bytes(30_000_000), read_timeout=5)
        assert await read_all(exchange, 5) == b"ok"
        await exchange.aclose()


async def test_connection_that_takes_too_long():
    """A TLS handshake that stalls is a ConnectTimeout, closes the socket and frees the slot."""
    async with serving(silent) as server, serving(answering) as good, pooling(max_connections=1) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(jump_when_blocked, 5)
            with pytest.raises(ConnectTimeout):
                await pool.send("GET", server.url.replace("http:", "https:"), [], connect_timeout=5)
        await server.until_all_closed()
        assert await fetch(pool, good.url) == b"ok"


# --- Cancellation ----------------------------------------------------------------------------------------------------


class CancelAfterSteps(trio.abc.Instrument):
    """Cancels a scope once the current task has been suspended a number of times."""

    def __init__(self, scope, steps):
        self.scope = scope
        self.steps = steps
        self.task = trio.lowlevel.current_task()

    def after_task_step(self, task):
        if task is self.task:
            self.steps -= 1
            if self.steps == 0:
                self.scope.cancel()


async def cancel_everywhere(server, pool, content):
    """Cancel a request, sent through a pool of one, at each point at which it is suspended."""
    for steps in range(1, 10_000):
        await server.until_all_closed()
        scope = trio.CancelScope()
        instrument = CancelAfterSteps(scope, steps)
        trio.lowlevel.add_instrument(instrument)
        try:
            with scope:
                exchange = await pool.send("POST", server.url, [], content)
                try:
                    assert await read_all(exchange) == b"ok"
                finally:
                    await exchange.aclose()
        finally:
            trio.lowlevel.remove_instrument(instrument)
        if not scope.cancelled_caught:
            return steps
        await server.until_all_closed()
    raise AssertionError("the request never came through")


async def answering_slowly(server, peer):
    while await peer.request() is not None:
        await wait_all_tasks_blocked()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        await wait_all_tasks_blocked()
        await peer.send(b"Content-Length: 2\r\n\r\no")
        await wait_all_tasks_blocked()
        await peer.send(b"k")


@pytest.mark.parametrize("size", [0, 5_000_000])
async def test_cancelled_at_every_point(size):
    """Wherever a request is cancelled, its socket is closed and the only slot is free."""
    async with serving(answering_slowly) as server, pooling(max_connections=1) as pool:
        assert await cancel_everywhere(server, pool, bytes(size)) > 5


async def test_cancelled_at_every_point_with_tls(certificates):
    """Wherever a request over TLS is cancelled, its socket is closed and the only slot is free."""
    options = {"max_connections": 1, "ssl_context": certificates.client()}
    async with serving(answering_slowly, certificates.server) as server, pooling(**options) as pool:
        assert await cancel_everywhere(server, pool, b"") > 8


async def test_cancelled_at_every_point_with_tls_through_a_proxy(certificates):
    """Wherever a request through a tunnel is cancelled, its socket is closed and the only slot is free."""
    async with serving(answering_slowly, certificates.server) as server, serving(tunneling) as proxy:
        options = {"max_connections": 1, "ssl_context": certificates.client(), "proxy": proxy.url}
        async with pooling(**options) as pool:
            assert await cancel_everywhere(server, pool, b"") > 9
            await proxy.until(lambda: proxy.open <= 1)


class Unresolving(trio.abc.HostnameResolver):
    """Never finds an address."""

    def __init__(self):
        self.asked = trio.Event()

    async def getaddrinfo(self, *args, **kwargs):
        self.asked.set()
        await trio.sleep_forever()

    async def getnameinfo(self, *args):
        raise NotImplementedError


@pytest.fixture
async def unresolving():
    resolver = Unresolving()
    previous = trio.socket.set_custom_hostname_resolver(resolver)
    yield resolver
    trio.socket.set_custom_hostname_resolver(previous)


async def test_cancelled_while_a_name_is_looked_up(unresolving):
    """A request that is cancelled while its host is looked up frees its slot."""
    async with serving(answering) as server, pooling(max_connections=1) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.send, "GET", "http://nowhere.test/", [])
            await unresolving.asked.wait()
            nursery.cancel_scope.cancel()
        assert await fetch(pool, server.url) == b"ok"


# --- Closing the pool ------------------------------------------------------------------------------------------------


async def test_closed_pool_sends_nothing():
    """A closed pool refuses requests, has closed its idle connections, and may be closed again."""
    async with serving(answering) as server:
        pool = ConnectionPool()
        await fetch(pool, server.url)
        with trio.CancelScope() as scope:
            scope.cancel()
            await pool.aclose()
        await pool.aclose()
        await server.until_all_closed()
        with pytest.raises(PoolClosed):
            await pool.send("GET", server.url, [])
        assert issubclass(PoolClosed, RuntimeError)


async def expect_closed(step, *args):
    with pytest.raises(PoolClosed):
        await step(*args)


async def test_closing_ends_what_is_under_way(unresolving):
    """Requests that look up a host, shake hands, wait for a head, read a body or wait for a slot raise PoolClosed."""
    body = once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    async with serving(silent) as mute, serving(body) as server, pooling(max_connections=4) as pool:
        exchange = await pool.send("GET", server.url, [])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, exchange.read)
            nursery.start_soon(expect_closed, pool.send, "GET", "http://nowhere.test/", [])
            nursery.start_soon(expect_closed, pool.send, "GET", f"https://{mute.authority}", [])
            nursery.start_soon(expect_closed, pool.send, "GET", mute.url, [])
            await mute.until(lambda: mute.open == 2)
            nursery.start_soon(expect_closed, pool.send, "GET", mute.url, [])
            await wait_all_tasks_blocked(0.01)
            await pool.aclose()
        await exchange.aclose()
        await mute.until_all_closed()
        await server.until_all_closed()


async def test_closing_ends_a_read_over_tls(certificates):
    """A task that reads over TLS raises PoolClosed, and its socket is closed without any more words."""
    script = once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    async with serving(script, certificates.server) as server, pooling(ssl_context=certificates.client()) as pool:
        exchange = await pool.send("GET", server.url, [])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, exchange.read)
            await wait_all_tasks_blocked()
            await pool.aclose()
        await server.until_all_closed()


async def test_closing_just_as_a_connection_is_made(monkeypatch):
    """A connection that is made in the moment in which the pool is closed is closed, too."""
    connects = CountingConnects()

    async def connect_and_close(host, port):
        stream = await connects(host, port)
        await pool.aclose()
        return stream

    monkeypatch.setattr(trio, "open_tcp_stream", connect_and_close)
    async with serving(silent) as server, pooling() as pool:
        with pytest.raises(PoolClosed):
            await pool.send("GET", server.url, [])
        assert connects.open() == 0


async def test_closing_just_as_a_connection_is_handed_over():
    """A waiter whose turn comes in the moment in which the pool is closed raises PoolClosed."""
    async with serving(answering) as server, pooling(max_connections=1) as pool, trio.open_nursery() as nursery:
        exchange = await pool.send("GET", server.url, [])
        await read_all(exchange)
        nursery.start_soon(expect_closed, pool.send, "GET", server.url, [])
        await wait_all_tasks_blocked()
        await exchange.aclose()
        await pool.aclose()


async def test_exchange_aborted_from_another_thread():
    """An exchange can be aborted where nothing can be awaited; its connection is closed soon, and once."""
    script = once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    async with serving(script) as server, pooling(max_connections=1) as pool:
        exchange = await pool.send("GET", server.url, [])
        await trio.to_thread.run_sync(exchange.abort)
        await server.until_all_closed()
        assert pool._slots_taken == 0
        await exchange.aclose()
        assert pool._slots_taken == 0


def in_a_run_of_its_own(main, *args):
    """Run an async function to its end in another thread, by a `trio.run` of its own."""
    return trio.to_thread.run_sync(partial(trio.run, main, *args))


async def test_pool_in_one_run_after_the_other():
    """A pool that was used in a run that has ended works in the next one, over new connections."""

    async def use(url):
        assert await fetch(pool, url) == b"ok"
        # Left open when its run ends, and told to close after that.
        left.append(await pool.send("GET", url, []))

    left = []
    async with serving(answering) as server, pooling(max_connections=2) as pool:
        for number in (1, 2, 3):
            await in_a_run_of_its_own(use, server.url)
            assert server.accepted == number
        for exchange in left:
            exchange.abort()
        assert await fetch(pool, server.url) == b"ok"
        assert len(pool._connections) == pool._slots_taken == 1


async def test_pool_in_two_runs_at_once():
    """A pool that another run uses says so, and goes on working there."""

    async def use(url):
        with pytest.raises(RuntimeError, match="in use in another event loop"):
            await pool.send("GET", url, [])

    async with serving(answering) as server, pooling() as pool:
        assert await fetch(pool, server.url) == b"ok"
        await in_a_run_of_its_own(use, server.url)
        assert await fetch(pool, server.url) == b"ok"
        assert server.accepted == 1


async def test_exchange_given_back_to_a_closed_pool():
    """An exchange that is closed after its pool does nothing more."""
    async with serving(answering) as server, pooling() as pool:
        exchange = await pool.send("GET", server.url, [])
        await read_all(exchange)
        await pool.aclose()
        await exchange.aclose()
        await server.until_all_closed()


# --- TLS -------------------------------------------------------------------------------------------------------------


class Certificates:
    def __init__(self):
        self._authority = trustme.CA()
        self.server = self.issued_to("127.0.0.1")

    def issued_to(self, name):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(name).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def client(self):
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def certificates():
    return Certificates()


async def test_tls_with_a_context_of_the_callers(certificates):
    """Requests go over TLS, with http/1.1 agreed on, and the connection is reused."""
    agreed = []

    async def script(server, peer):
        await answering(server, peer)
        agreed.append(peer.stream.selected_alpn_protocol())

    async with serving(script, certificates.server) as server:
        async with pooling(ssl_context=certificates.client()) as pool:
            for _ in range(3):
                assert await fetch(pool, server.url) == b"ok"
            assert server.accepted == 1
        await server.until_all_closed()
    assert agreed == ["http/1.1"]


async def test_tls_names_the_server(certificates):
    """The server is told which host the client wants."""
    names = []
    context = certificates.issued_to("localhost")
    context.sni_callback = lambda _, name, __: names.append(name)
    async with serving(answering, context) as server, pooling(ssl_context=certificates.client()) as pool:
        assert await fetch(pool, f"https://localhost:{server.port}/") == b"ok"
    assert names == ["localhost"]


async def test_large_bodies_over_tls(certificates):
    """Bodies of many TLS records arrive whole."""
    body = bytes(range(256)) * 4096 * 4
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    script = partial(answering, response=response)
    async with serving(script, certificates.server) as server, pooling(ssl_context=certificates.client()) as pool:
        exchange = await pool.send("POST", server.url, [], body)
        assert await read_all(exchange) == body
        await exchange.aclose()
    assert server.requests[0][1].endswith(b"\r\n\r\n" + body)


async def test_wrong_host_name_is_refused(certificates):
    """A certificate for another host is a ConnectError, and nothing is sent."""
    options = {"max_connections": 1, "ssl_context": certificates.client()}
    async with serving(answering, certificates.issued_to("other.example")) as server, pooling(**options) as pool:
        for _ in range(2):
            with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await pool.send("GET", server.url, [])
        await server.until_all_closed()
    assert server.requests == []


async def test_unknown_authority_is_refused(certificates):
    """A certificate that no one the system trusts has signed is a ConnectError."""
    async with serving(answering, certificates.server) as server, pooling() as pool:
        with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await pool.send("GET", server.url, [])
    assert server.requests == []


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_server_without_tls(response, certificates):
    """A server that does not speak TLS, or hangs up, is a ConnectError."""

    async def script(server, peer):
        await peer.stream.receive_some()
        await peer.send(response)

    async with serving(script) as server, pooling(ssl_context=certificates.client()) as pool:
        with pytest.raises(ConnectError):
            await pool.send("GET", f"https://{server.authority}", [])


async def test_body_over_tls_ends_with_its_connection(certificates):
    """The end of a TLS connection ends a body of unknown length."""

    async def say_goodbye(peer):
        await peer.stream.unwrap()

    script = once(b"HTTP/1.0 200 OK\r\n\r\nall of it", then=say_goodbye)
    async with serving(script, certificates.server) as server, pooling(ssl_context=certificates.client()) as pool:
        assert await fetch(pool, server.url) == b"all of it"


@pytest.mark.skipif(
    ssl.create_default_context().options & getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0),
    reason="this Python has OpenSSL overlook it",
)
async def test_body_over_tls_does_not_end_with_tcp(certificates):
    """The end of TCP alone, which anyone on the line can forge, ends no body of unknown length."""
    script = once(b"HTTP/1.0 200 OK\r\n\r\nhalf of it", then=None)
    async with serving(script, certificates.server) as server, pooling(ssl_context=certificates.client()) as pool:
        exchange = await pool.send("GET", server.url, [])
        assert await exchange.read() == b"half of it"
        with pytest.raises(ConnectionLost):
            await exchange.read()


async def test_truncated_body_over_tls(certificates):
    """The end of a TLS connection amid a body is a lost connection."""
    script = once(CHUNKED + b"5\r\nabc", then=None)
    async with serving(script, certificates.server) as server, pooling(ssl_context=certificates.client()) as pool:
        with pytest.raises(ConnectionLost):
            await fetch(pool, server.url)


async def test_default_context_is_made_late(certificates, monkeypatch):
    """The TLS context that all share is asked for at the first https connection, and no earlier."""
    made = []

    def make():
        made.append(trusting)
        return trusting

    trusting = certificates.client()
    monkeypatch.setattr(_trio_pool, "shared_context", make)
    async with serving(answering, certificates.server) as server, serving(answering) as plain, pooling() as pool:
        await fetch(pool, plain.url)
        assert made == []
        exchanges = [await pool.send("GET", server.url, []) for _ in range(3)]
        assert (len(made), server.accepted) == (3, 3)
        for exchange in exchanges:
            await exchange.aclose()


async def test_host_name_that_tls_cannot_take(monkeypatch, certificates):
    """A host that resolves but is no name for TLS is a ConnectError."""
    async with serving(silent) as server, pooling(ssl_context=certificates.client()) as pool:
        real = trio.open_tcp_stream
        monkeypatch.setattr(trio, "open_tcp_stream", lambda host, port: real("127.0.0.1", port))
        with pytest.raises(ConnectError):
            await pool.send("GET", f"https://.example:{server.port}/", [])
        await server.until_all_closed()


# --- Proxies ---------------------------------------------------------------------------------------------------------


async def tunneling(server, peer):
    request = await peer.request()
    if request is None:
        return
    server.requests.append((peer.number, request))
    host, _, port = request.split()[1].decode().rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as target:
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source, sink):
            try:
                while True:
                    data = await receive(source)
                    if not data:
                        break
                    await sink.send_all(data)
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, peer.stream, target)
            nursery.start_soon(pump, target, peer.stream)


def with_login(server):
    return f"http://some%40one:{SECRET}%3A@{server.authority}"


LOGIN = base64.b64encode(f"some@one:{SECRET}:".encode())


async def test_proxy_forwards_plain_requests():
    """Plain requests to all hosts go to the proxy, over one connection, in absolute form and with its login."""
    async with serving(answering) as proxy, pooling(proxy=with_login(proxy)) as pool:
        assert await fetch(pool, "http://one.test/a?b") == b"ok"
        assert await fetch(pool, "http://two.test:81") == b"ok"
        assert proxy.accepted == 1
    first, second = (request for _, request in proxy.requests)
    login = b"\r\nProxy-Authorization: Basic " + LOGIN + b"\r\n"
    assert first == b"GET http://one.test/a?b HTTP/1.1\r\nHost: one.test" + login + b"\r\n"
    assert second == b"GET http://two.test:81/ HTTP/1.1\r\nHost: two.test:81" + login + b"\r\n"


async def test_proxy_without_login():
    """A proxy without a user is sent no login."""
    async with serving(answering) as proxy, pooling(proxy=proxy.url) as pool:
        assert await fetch(pool, "http://one.test/") == b"ok"
    assert b"Proxy-Authorization" not in proxy.requests[0][1]


async def test_proxy_tunnels_tls(certificates):
    """An https request goes through a tunnel: the proxy sees its own login, the server the request's, and only that."""
    async with serving(answering, certificates.server) as server, serving(tunneling) as proxy:
        options = {"proxy": with_login(proxy), "ssl_context": certificates.client()}
        async with pooling(**options) as pool:
            for _ in range(2):
                exchange = await pool.send("GET", server.url + "/a", [("Authorization", "Bearer abc")])
                assert await read_all(exchange) == b"ok"
                await exchange.aclose()
        assert (server.accepted, proxy.accepted) == (1, 1)
    [(_, connect)] = proxy.requests
    authority = server.authority.encode()
    assert connect == (
        b"CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n" % (authority, authority, LOGIN)
    )
    host = b"Host: " + authority
    assert server.requests[0][1] == b"GET /a HTTP/1.1\r\n" + host + b"\r\nAuthorization: Bearer abc\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"nonsense\r\n\r\n", "did not answer"),
        (b"", "did not answer"),
    ],
)
async def test_proxy_that_refuses(response, message):
    """A proxy that refuses CONNECT, or breaks down over it, is a ConnectError."""
    async with serving(once(response, then=None)) as proxy:
        async with pooling(proxy=with_login(proxy), max_connections=1) as pool:
            for _ in range(2):
                with pytest.raises(ConnectError, match=message) as caught:
                    await pool.send("GET", "https://one.test/", [])
                assert SECRET not in repr(caught.value)
        await proxy.until_all_closed()


@pytest.mark.parametrize("url", ["https://proxy.test", "socks5://proxy.test", "proxy.test:80", f"http://a:{SECRET}"])
def test_proxy_url_that_will_not_do(url):
    """A proxy's URL that is not one is refused, without saying what it was."""
    with pytest.raises(ValueError, match="proxy's URL") as caught:
        ConnectionPool(proxy=url)
    assert SECRET not in everything_about(caught.value)


# --- Errors and secrets ----------------------------------------------------------------------------------------------


def everything_about(error):
    shown = []
    while error is not None:
        shown.append(repr(error))
        error = error.__cause__ or error.__context__
    return " ".join(shown)


@pytest.mark.parametrize(
    ("method", "url", "headers", "content"),
    [
        ("GET", "/relative", [], b""),
        ("GET", "ftp://example.com/", [], b""),
        ("GET", "http:///path", [], b""),
        ("GET", f"http://user:{SECRET}@example.com/", [], b""),
        ("GET", f"http://user:{SECRET}/", [], b""),
        ("GET", "http://example.com:0/", [], b""),
        ("GET", f"http://example.com/é?key={SECRET}", [], b""),
        ("GET", f"http://example.com/ ?key={SECRET}", [], b""),
        ("GET", "http://127.0.0.1/", [("Authorization", f"Bearer {SECRET}\r\nX: y")], b""),
        ("GET", "http://127.0.0.1/", [("Authorization", f"Bearer {SECRET}é")], b""),
        ("GET", "http://127.0.0.1/", [(f"Bad name {SECRET}", "")], b""),
        ("GET", "http://127.0.0.1/", [("Transfer-Encoding", "chunked")], b""),
        ("G T", "http://127.0.0.1/", [], b""),
        ("CONNECT", "http://127.0.0.1/", [], b""),
    ],
)
async def test_request_that_cannot_be_sent(method, url, headers, content):
    """A request that is none is a ValueError before any connection is made, and shows nothing of what it holds."""
    async with pooling() as pool:
        with pytest.raises(ValueError) as caught:
            await pool.send(method, url, headers, content)
    assert SECRET not in everything_about(caught.value)


@pytest.mark.parametrize(("length", "content"), [("3", b"four"), ("5", b"four")])
async def test_content_that_is_not_of_its_length(length, content):
    """A Content-Length that contradicts the content is a ValueError, and the slot is free."""
    async with serving(answering) as server, pooling(max_connections=1) as pool:
        for _ in range(2):
            with pytest.raises(ValueError, match="Content-Length"):
                await pool.send("POST", server.url, [("Content-Length", length)], content)
    assert server.requests == []


@pytest.mark.parametrize("options", [{"max_connections": 0}, {"max_idle_connections": -1}, {"idle_expiry": math.nan}])
def test_options_out_of_range(options):
    """Numbers that make no sense are refused."""
    with pytest.raises(ValueError, match="at least"):
        ConnectionPool(**options)


async def test_no_secret_is_shown():
    """Neither reprs nor errors show a header of the request or the proxy's password."""
    headers = [("Authorization", f"Bearer {SECRET}")]
    async with serving(once(OK, then=None)) as proxy, pooling(proxy=with_login(proxy)) as pool:
        exchange = await pool.send("GET", "http://one.test/", headers)
        shown = [repr(exchange), repr(pool), repr(list(vars(exchange).values())), repr(list(vars(pool).values()))]
        await exchange.aclose()
    async with serving(once(b"", then=None)) as server, pooling() as pool:
        with pytest.raises(ConnectionLost) as caught:
            await pool.send("GET", server.url, headers)
        shown.append(everything_about(caught.value))
    assert SECRET not in " ".join(shown)
    assert LOGIN.decode() not in " ".join(shown)


async def test_unknown_host_is_a_connect_error(monkeypatch):
    """A host that cannot be looked up is a ConnectError with its cause."""

    async def fail(*_):
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    monkeypatch.setattr(trio, "open_tcp_stream", fail)
    async with pooling() as pool:
        with pytest.raises(ConnectError) as caught:
            await pool.send("GET", "http://nowhere.test/", [])
    assert isinstance(caught.value.__cause__, socket.gaierror)


def test_errors_have_a_common_base():
    """All errors of the pool can be caught at once."""
    for error in (ConnectError, ConnectTimeout, ReadTimeout, ConnectionLost, PoolClosed):
        assert issubclass(error, PoolError)
