"""Servers that take their time, anywhere: `idle` ends the wait for an event, and `total` ends whatever goes on."""

from __future__ import annotations

import json
import sys
import threading
import time
import zlib

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from meshapi_core import (
    APITimeoutError,
    BatchObject,
    InternalServerError,
    RetryPolicy,
    Timeout,
)
from meshapi_transports import trio as trio_adapter
from meshapi_transports.testing.raw import (
    Disconnected,
    RawServer,
    answer,
    answer_head,
    chat_answer,
    chat_chunk,
    chat_completion,
    chat_events,
    http_chunk,
    replies,
    sse_event,
    stream_head,
)

from ..transports.conftest import only, open_sockets
from ..transports.faces import (
    PARAMS,
    Aiohttp,
    Requests,
    Stdlib,
    Trio,
    create,
    failure,
    in_short_time,
    read,
    read_to_failure,
    stream,
    text_of,
    until,
)
from ..transports.test_conformance_failures import failure_of, full_listener

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]

BRIEF = 0.3
# After so long a server says that its client should have left; longer than any time that a client is given.
PATIENCE = 6.0
PATIENT = 30.0
EVENT = sse_event(chat_chunk("Hel"))


def keep_on(connection, piece, every):
    """Send `piece` again and again until the client leaves, which has to happen in time."""
    pause, ends = threading.Event(), time.monotonic() + PATIENCE
    while not pause.wait(every):
        connection.send(piece)
        # Raised when the server is left.
        assert time.monotonic() < ends, "the client did not leave"


def dripping(piece, *start):
    """A script that sends `start`, then a little `piece` again and again."""

    def script(connection):
        connection.receive_request()
        connection.send(*start)
        keep_on(connection, piece, 0.02)

    return script


def pouring(piece, *start):
    """A script that sends `start`, then `piece` again and again, as fast as it can."""

    def script(connection):
        connection.receive_request()
        connection.send(*start)
        keep_on(connection, piece, 0.0)

    return script


def silent(*start):
    """A script that sends `start`, and then nothing."""

    def script(connection):
        connection.receive_request()
        connection.send(*start)
        connection.wait_closed()

    return script


async def until_left(server):
    """Wait until the client has closed all its connections."""
    await until(server, lambda server: server.open == 0)


# Idle


def packed_event():
    """An event that is compressed, and pieces that go on without end and stand for nothing."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(EVENT) + packer.flush(zlib.Z_SYNC_FLUSH), b"\x00\x00\x00\xff\xff"


PACKED, NOTHING = packed_event()
STARTED = stream_head() + http_chunk(EVENT)
STARTED_PLAIN = answer_head(200, "Content-Type: text/event-stream", "Connection: close") + EVENT
DRIPS = {
    "comments": (http_chunk(b": keep-alive\n\n"), STARTED),
    "half a comment": (http_chunk(b":"), STARTED),
    "blank lines": (http_chunk(b"\r\n"), STARTED),
    "fields without data": (http_chunk(b"id: 1\nevent: ping\nretry: 1\n\n"), STARTED),
    "half an event": (http_chunk(b"x"), STARTED, http_chunk(b"data: ")),
    "lines of half an event": (http_chunk(b"data: x\n"), STARTED),
    "no chunks": (b"\n", STARTED_PLAIN),
    "a chunk's extension": (b"x", STARTED, b"5;x="),
    "a chunk's length": (b"0", STARTED),
    "compressed nothing": (
        http_chunk(NOTHING),
        stream_head("Content-Encoding: gzip") + http_chunk(PACKED),
    ),
}


@pytest.mark.parametrize("what", DRIPS)
@in_short_time
async def test_idle_ends_what_is_no_event(face, what, seconds):
    """Whatever a stream brings, if no event is among it, it is as silent as one that brings nothing."""
    with RawServer(dripping(*DRIPS[what])) as server:
        async with face.client(server) as client:
            chunks = []
            error = await read_to_failure(stream(client, timeout=Timeout(connect=PATIENT, idle=seconds)), chunks)
            await until_left(server)
    assert type(error) is APITimeoutError
    assert "whole call" not in error.message
    assert text_of(chunks) == error.partial.choices[0].message.content == "Hel"


@in_short_time
async def test_events_that_come_in_time(face, seconds):
    """A stream may go on for longer than `idle`, as long as the next event comes within it, in however many pieces."""
    idle = 5 * seconds

    def script(connection):
        connection.receive_request()
        connection.send(stream_head())
        pause = threading.Event()
        first, *others = chat_events("ab")
        for event in (first, b"".join(others)):
            pause.wait(0.4 * idle)
            connection.send(http_chunk(b": keep-alive\n\n" + event[:20]))
            pause.wait(0.4 * idle)
            connection.send(http_chunk(event[20:]))

    with RawServer(script) as server:
        async with face.client(server, timeout=Timeout(connect=PATIENT, idle=idle)) as client:
            assert await read(stream(client)) == "ab"


ENDED = stream_head() + b"".join(map(http_chunk, chat_events("Hello")))
LEFTOVERS = {
    "silence": silent(ENDED),
    "comments": dripping(http_chunk(b": bye\n\n"), ENDED),
    "trailers": dripping(b"x", ENDED + b"0\r\nX-Trailer: "),
    "a chunk's extension": dripping(b"x", ENDED + b"5;x="),
    "more and more": pouring(http_chunk(b": bye\n\n" * 100), ENDED),
}


@pytest.mark.parametrize("what", LEFTOVERS)
async def test_what_follows_the_end_is_not_waited_for(face, what):
    """A stream has ended with its last event; a server that then goes on for long is left."""
    with RawServer(LEFTOVERS[what]) as server:
        async with face.client(server, timeout=PATIENT) as client:
            assert await read(stream(client)) == "Hello"
            await until_left(server)


# Total

JSON = json.dumps(chat_completion()).encode()
JSON_STREAM = stream_head(content_type="application/json")
ENDLESS = {
    # The head.
    "silence": silent(),
    "a dripping status line": dripping(b"x", b"HTTP/1.1 200 "),
    "a dripping field": dripping(b"x", b"HTTP/1.1 200 OK\r\nX-Long: "),
    "interim answers": dripping(b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n"),
    # The body.
    "a body that stalls": silent(answer(JSON)[:-1]),
    "a dripping sized body": dripping(b" ", answer(b" " * 10000)[:-10000]),
    "a dripping chunked body": dripping(http_chunk(b" "), JSON_STREAM),
    "a dripping body until close": dripping(b" ", answer_head(200, "Content-Type: application/json")),
    "a dripping extension": dripping(b"x", JSON_STREAM + b"5;x="),
    "dripping trailers": dripping(b"x", JSON_STREAM + http_chunk(JSON) + b"0\r\nX-Trailer: "),
    "compressed nothing": dripping(
        http_chunk(NOTHING), stream_head("Content-Encoding: gzip", content_type="application/json") + http_chunk(PACKED)
    ),
    "a body that pours": pouring(http_chunk(b" " * 1000), JSON_STREAM),
    "a dripping error": dripping(b" ", answer(b" " * 10000, 400)[:-10000]),
}
ENDLESS_STREAMS = {
    "silence": silent(),
    "a dripping field": dripping(b"x", b"HTTP/1.1 200 OK\r\nX-Long: "),
    "comments": dripping(http_chunk(b": keep-alive\n\n"), STARTED),
    "events": dripping(http_chunk(EVENT), STARTED),
    "events that pour": pouring(http_chunk(EVENT), STARTED),
    "comments that pour": pouring(http_chunk(b": keep-alive\n\n" * 100), STARTED),
    "one event that pours": pouring(http_chunk(b"x" * 1000), STARTED + http_chunk(b"data: ")),
    "a dripping extension": dripping(b"x", STARTED + b"5;x="),
}
EVERYTHING = [("create", each) for each in ENDLESS] + [("stream", each) for each in ENDLESS_STREAMS]
TOTAL = Timeout(connect=PATIENT, idle=PATIENT, total=BRIEF)


def is_about_total(error):
    """Whether the error says that the time for the whole call was used up."""
    return isinstance(error, APITimeoutError) and "whole call" in error.message


@pytest.mark.parametrize(("way", "what"), EVERYTHING)
async def test_total_ends_everything(face, way, what):
    """Whatever the server does, and wherever it is, `total` ends the call, and the connection is closed."""
    with RawServer((ENDLESS if way == "create" else ENDLESS_STREAMS)[what]) as server:
        async with face.client(server) as client:
            error = await failure_of(client, way, timeout=TOTAL)
            await until_left(server)
    # The status tells enough, if it came in time.
    assert is_about_total(error) or (what == "a dripping error" and error.status == 400)


@pytest.mark.parametrize("way", ["create", "stream"])
async def test_total_ends_a_dripping_head_on_a_used_connection(face, way):
    """A connection that was used before keeps to the limits of the call that uses it now."""
    drip = ENDLESS["a dripping field"]

    def script(connection):
        connection.receive_request()
        connection.send(chat_answer())
        drip(connection)

    with RawServer(script) as server:
        async with face.client(server, timeout=PATIENT) as client:
            await create(client)
            assert is_about_total(await failure_of(client, way, timeout=TOTAL))
            await until_left(server)
            assert server.accepted == 1


# An upload

UPLOAD = 40_000_000


def large_upload(client, **options):
    """A request that is more than the system takes off one's hands."""
    return client.chat.completions.create(PARAMS.model_copy(update={"user": "x" * UPLOAD}), **options)


def not_reading(connection):
    """Never reads what is sent."""
    connection.wait(threading.Event())


def reading_steadily(connection):
    """Takes what is sent bit by bit; all of it would take a few seconds."""
    pause, size = threading.Event(), 0
    try:
        while True:
            connection._receive_more()
            size += len(connection._received)
            connection._received.clear()
            pause.wait(0.004)
    except Disconnected:
        # What the system held when the client left comes in any case.
        assert size < UPLOAD, "the client did not leave"


@pytest.mark.parametrize(
    ("script", "timeout"),
    [
        pytest.param(not_reading, TOTAL, id="total-silent"),
        pytest.param(reading_steadily, TOTAL, id="total-steady"),
        pytest.param(not_reading, Timeout(connect=PATIENT, idle=BRIEF), id="idle-silent"),
    ],
)
async def test_uploads_that_are_not_taken(face, script, timeout):
    """`total` ends an upload, however little of it the server takes; `idle` one of which it takes nothing at all."""
    if sys.version_info < (3, 10) and face.library is Aiohttp:
        pytest.skip("aiohttp 3.13, the last for Python 3.9, then logs an exception that it has forgotten")
    with RawServer(script) as server:
        async with face.client(server) as client:
            error = await failure(large_upload(client, timeout=timeout))
            if script is reading_steadily:
                await until_left(server)
    assert type(error) is APITimeoutError
    assert is_about_total(error) == (timeout.total is not None)


async def test_upload_that_was_given_up_is_closed(face):
    """The connection of an upload that was given up is closed, even if the server never takes what was sent."""
    if sys.version_info < (3, 10) and face.library is Aiohttp:
        pytest.skip("aiohttp 3.13, the last for Python 3.9, then logs an exception that it has forgotten")
    with RawServer(not_reading) as server:
        before = open_sockets()
        async with face.client(server) as client:
            await failure(large_upload(client, timeout=TOTAL))
            # Some turns of the loop, for it to close what it was told to.
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            # The server's end.
            left = len(open_sockets() - before)
    assert left == 1


@in_short_time
async def test_upload_that_is_taken_slowly(face, seconds):
    """An upload may take longer than `idle`, as long as some of it is taken again and again."""
    idle = 5 * seconds

    def script(connection):
        pause, size = threading.Event(), 0
        head = b""
        while b"\r\n\r\n" not in head:
            connection._receive_more()
            head = bytes(connection._received)
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        size = len(head) - head.index(b"\r\n\r\n") - 4
        while size < length:
            connection._received.clear()
            connection._receive_more()
            before, size = size, size + len(connection._received)
            # Some pauses, which together are longer than the idle time; none while the system holds the rest.
            if size * 10 // length > before * 10 // length and size * 2 < length:
                pause.wait(0.5 * idle)
        connection.send(chat_answer("taken"))

    with RawServer(script) as server:
        async with face.client(server, timeout=Timeout(connect=PATIENT, idle=idle)) as client:
            assert (await large_upload(client)).choices[0].message.content == "taken"


# Connecting


@pytest.mark.parametrize("way", ["create", "stream"])
async def test_total_ends_the_wait_for_a_connection(face, way):
    """A server that accepts no connection is waited for no longer than `total`."""
    with full_listener() as url:
        async with face.client(url) as client:
            error = await failure_of(client, way, timeout=TOTAL, max_retries=3)
    assert is_about_total(error)


async def test_total_ends_a_handshake(face):
    """A server that does not take part in a TLS handshake is waited for no longer than `total`."""
    with RawServer(lambda connection: connection.wait_closed()) as server:
        async with face.client(server.url.replace("http:", "https:")) as client:
            error = await failure(create(client, timeout=TOTAL))
            await until_left(server)
    assert is_about_total(error)


def own_of_one_connection(face):
    """The library's own object, with room for no more than one connection at a time."""
    if face.library is Trio:
        return trio_adapter.ConnectionPool(max_connections=1)
    if face.library is Aiohttp:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    library = sys.modules[face.library.make.__module__.partition(".")[0]]
    return face.library.make(limits=library.Limits(max_connections=1))


@only(lambda face: face.library not in (Requests, Stdlib))
async def test_total_ends_the_wait_for_a_place(face):
    """A call that waits for another one to leave its connection waits no longer than `total`."""
    with RawServer(silent(STARTED)) as server:
        own = own_of_one_connection(face)
        async with face.injected(own, server, timeout=PATIENT) as client, stream(client) as chunks:
            await chunks.__anext__()
            error = await failure(create(client, timeout=TOTAL))
        await face.library.close(own)
        assert is_about_total(error)
        assert server.accepted == 1


# Retries, and rows of items

POLICY = RetryPolicy(max_retries=10_000, backoff_base=0.05, backoff_max=0.05, retry_on_network_error=True)


@pytest.mark.parametrize("what", ["503", "lost", "retry-after"])
async def test_total_ends_retries(face, what):
    """A call that would be tried again for ever ends with `total`, with the error of the last try."""

    def lose(connection, request):
        connection.reset()

    reply = {"503": answer(b"", 503), "lost": lose, "retry-after": answer(b"", 503, "Retry-After: 20")}[what]
    with RawServer(replies(reply)) as server:
        async with face.client(server, retry=POLICY) as client:
            error = await failure(create(client, timeout=TOTAL))
            assert isinstance(error, APITimeoutError) or what == "lost" or type(error) is InternalServerError
            assert len(server.requests) < 100


def page(number):
    """A page of batches, of which there is no last."""
    data = [{"id": f"batch_{number}", "status": "completed"}]
    return json.dumps({"object": "list", "data": data, "has_more": True, "last_id": f"batch_{number}"}).encode()


def many_pages(connection):
    """A row of pages without end, as fast as they are asked for."""
    number, ends = 0, time.monotonic() + PATIENCE
    while True:
        connection.receive_request()
        number += 1
        connection.send(answer(page(number)))
        assert time.monotonic() < ends, "the client did not leave"


LINE = b'{"custom_id": "a", "response": {"status_code": 200, "body": {}}}\n'
ROWS = {
    "pages": ("batches", many_pages),
    "a dripping page": ("batches", dripping(b" ", answer(page(1) + b" " * 10000)[:-10000])),
    "lines": ("results", dripping(http_chunk(LINE), stream_head(content_type="application/x-ndjson"))),
    "lines that pour": ("results", pouring(http_chunk(LINE * 10), stream_head(content_type="application/x-ndjson"))),
    "half a line": ("results", dripping(http_chunk(b"x"), stream_head(content_type="application/x-ndjson"))),
}


@pytest.mark.parametrize("what", ROWS)
async def test_total_ends_a_row_of_items(face, what):
    """Items that come without end, or do not come, end with `total`, whatever number of requests they take."""
    kind, script = ROWS[what]
    with RawServer(script) as server:
        async with face.client(server) as client:
            if kind == "batches":
                items = client.batches.iterate(timeout=TOTAL)
            else:
                items = client.batches.results(
                    BatchObject(id="batch_1", status="completed", output_file_id="file-1"), timeout=TOTAL
                )
            error = await read_to_failure(items)
            if what != "pages":
                # A page that came whole leaves its connection to others.
                await until_left(server)
    assert is_about_total(error)


# Over objects that were injected


@pytest.mark.parametrize(
    "what", ["a dripping field", "interim answers", "a dripping chunked body", "dripping trailers"]
)
async def test_total_over_what_was_injected(face, what, request):
    """`total` ends everything over the library's own object as well."""
    if face.library is Requests and what != "a dripping chunked body":
        reason = "the connections of an injected session have one limit for each read, and none for all"
        request.applymarker(pytest.mark.xfail(reason=reason))
    with RawServer(ENDLESS[what]) as server:
        async with face.own() as own, face.injected(own, server, timeout=TOTAL) as client:
            error = await failure(create(client))
    assert is_about_total(error)
