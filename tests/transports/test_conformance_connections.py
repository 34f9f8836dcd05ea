"""What becomes of connections: used again, closed at once, left by cancellation, on every face over real sockets."""

from __future__ import annotations

import asyncio
import gc
import threading

import anyio
import pytest

from meshapi_core import MeshAPIError, RetryPolicy
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    answer,
    chat_answer,
    chat_chunk,
    chat_events,
    chat_stream,
    http_chunk,
    replies,
    sse_event,
    stream_head,
)

from .conftest import only
from .faces import ask, create, failure, read, read_to_failure, stream, until

pytestmark = pytest.mark.anyio


async def until_open(server, number):
    """Wait until the server knows that all but `number` connections are closed."""
    await until(server, lambda server: server.open == number)


# Used again


def in_packets(connection, request):
    """A stream whose [DONE], and then whose end, come when everything before has been read."""
    *events, done = map(http_chunk, chat_events("Hi"))
    connection.send(stream_head(), *events)
    connection.send(done)
    connection.send(LAST_CHUNK)


@pytest.mark.parametrize(
    "first",
    [
        chat_answer("Hi"),
        chat_stream("Hi"),
        in_packets,
        stream_head() + http_chunk(b"".join(chat_events("Hi"))) + LAST_CHUNK,
        answer(b"".join(chat_events("Hi")), content_type="text/event-stream"),
        stream_head() + b"".join(map(http_chunk, chat_events("Hi"))) + http_chunk(b"data: ignored\n\n") + LAST_CHUNK,
    ],
    ids=["create", "stream", "packets", "one chunk", "sized", "after the end"],
)
async def test_connections_are_used_again(face, first):
    """After an answer, or a stream that was read to its end, the next calls use the same connection."""
    way = "create" if b"chunk" not in (first if isinstance(first, bytes) else b"chunk") else "stream"
    rest = chat_answer("Hi") if way == "create" else chat_stream("Hi")
    with RawServer(replies(first, rest)) as server:
        async with face.client(server) as client:
            for _ in range(6):
                assert await ask(client, way) == "Hi"
            assert server.accepted == 1
            assert len(server.requests) == 6


async def test_end_that_is_told_late(face):
    """The end of the framing may come a little after the last event; the caller has his events all the same."""
    told = threading.Event()

    def script(connection):
        while True:
            connection.receive_request()
            connection.send(stream_head(), *map(http_chunk, chat_events("Hi")))
            connection.wait(told)
            connection.send(LAST_CHUNK)

    with RawServer(script) as server:
        async with face.client(server) as client:
            async for chunk in stream(client):
                if chunk.choices[0].finish_reason:
                    told.set()
            assert await ask(client, "stream") == "Hi"
            assert server.accepted == 1


async def test_end_that_never_comes(face):
    """A server that sends [DONE] and then neither the end of the framing nor its own has its connection closed."""

    def script(connection):
        connection.receive_request()
        connection.send(stream_head(), *map(http_chunk, chat_events("Hi")))
        connection.wait_closed()

    with RawServer(script) as server:
        async with face.client(server) as client:
            assert await ask(client, "stream") == "Hi"
            await until_open(server, 0)


async def test_more_than_was_asked_for_after_the_end(face):
    """A server that goes on and on after [DONE] is not listened to for long."""

    def script(connection):
        connection.receive_request()
        connection.send(stream_head(), *map(http_chunk, chat_events("Hi")))
        while True:
            connection.send(http_chunk(b": more\n" * 2000))

    with RawServer(script) as server:
        async with face.client(server) as client:
            assert await ask(client, "stream") == "Hi"
            await until_open(server, 0)


async def test_broken_end(face):
    """What goes wrong after the last event is nobody's concern."""

    def script(connection):
        connection.receive_request()
        connection.send(stream_head() + b"".join(map(http_chunk, chat_events("Hi"))))
        connection.reset()

    with RawServer(script) as server:
        async with face.client(server) as client:
            assert await ask(client, "stream") == "Hi"
            assert await ask(client, "stream") == "Hi"


@pytest.mark.parametrize("way", ["create", "stream"])
async def test_connection_of_an_error_is_used_again(face, way):
    """An answer that is an error leaves its connection in good order."""
    with RawServer(replies(answer(b'{"error": {"code": "not_found"}}', 404), chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            with pytest.raises(MeshAPIError, match="404"):
                await ask(client, way)
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 1


async def test_connection_of_a_retry_is_used_again(face):
    """A call that is tried again does not open another connection for it."""
    with RawServer(replies(answer(b"{}", 503), answer(b"", 503), chat_answer("Hi"))) as server:
        async with face.client(server, retry=RetryPolicy(backoff_base=0.0)) as client:
            assert await ask(client, "create") == "Hi"
            assert (server.accepted, len(server.requests)) == (1, 3)


async def test_connection_that_is_closed_meanwhile(face):
    """A connection that the server closed while it was idle is replaced; the call does not fail."""
    closed = threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(chat_answer("Hi"))
        if connection.number == 0:
            connection.close()
            closed.set()
        else:
            connection.wait_closed()

    with RawServer(script) as server:
        async with face.client(server) as client:
            assert await ask(client, "create") == "Hi"
            await until(closed)
            # A turn of the loop, for it to hear of the end.
            await until(closed)
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2


async def test_connection_that_the_server_will_close(face):
    """`Connection: close` is obeyed."""
    with RawServer(replies(chat_answer("Hi", "Connection: close"))) as server:
        async with face.client(server) as client:
            assert await ask(client, "create") == "Hi"
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2


# Left early


def endless(connection, request):
    """A stream of one event, and then of nothing."""
    connection.send(stream_head(), http_chunk(sse_event(chat_chunk("Hi"))))
    connection.wait_closed()


async def by_break_and_close(client):
    events = stream(client)
    async for _ in events:
        break
    await events.aclose()
    await events.aclose()
    assert [chunk async for chunk in events] == []


async def by_with_block(client):
    async with stream(client) as events:
        async for _ in events:
            break
    assert [chunk async for chunk in events] == []


async def by_entering_only(client):
    async with stream(client):
        pass


async def by_exception(client):
    async def stumble():
        async with stream(client) as events:
            async for _ in events:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stumble()


async def by_dropping(client):
    async for _ in stream(client):
        break
    gc.collect()


@pytest.mark.parametrize("leave", [by_break_and_close, by_with_block, by_entering_only, by_exception, by_dropping])
async def test_stream_left_early(face, leave):
    """However a stream is left early, its connection is closed at once, and the client goes on working."""
    with RawServer(replies(endless, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            await leave(client)
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2


async def test_stream_that_was_never_begun(face):
    """A stream that is closed, or dropped, before anything was asked of it sends nothing."""
    with RawServer(replies(endless)) as server:
        async with face.client(server) as client:
            events = stream(client)
            await events.aclose()
            assert [chunk async for chunk in events] == []
            stream(client)
            gc.collect()
        assert server.accepted == 0


async def test_stream_dropped_after_its_client(face):
    """A stream that outlives its client, and is dropped after it, leaves nothing open."""
    with RawServer(replies(endless)) as server:
        client = face.client(server)
        events = stream(client)
        await events.__anext__()
        await client.aclose()
        del events
        gc.collect()
        await until_open(server, 0)


@only(lambda face: not face.is_blocking and face.name != "aiohttp")
def test_stream_dropped_after_its_loop(face):
    """A stream that is dropped when its event loop has ended makes no noise (aiohttp says so in a ResourceWarning)."""
    kept = []

    async def main():
        client = face.client(server)
        kept.extend([client, stream(client)])
        await kept[1].__anext__()
        await client.aclose()

    with RawServer(replies(endless)) as server:
        anyio.run(main, backend=face.backend)
        kept.clear()
        gc.collect()


async def test_connections_of_failures(face):
    """A call that fails in the middle of its answer has its connection closed."""

    def stall(connection, request):
        connection.send(answer(b"{}")[:-1])
        connection.wait_closed()

    with RawServer(replies(stall, endless, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            await failure(create(client, timeout=0.1))
            await until_open(server, 0)
            await read_to_failure(stream(client, timeout=0.1))
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"


# Cancelled


async_faces = only(lambda face: not face.is_blocking)


async def cancelled_by_scope(call, reached):
    """Run `call` and cancel it once `reached`, as trio and anyio do."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await until(reached)
        tasks.cancel_scope.cancel()


async def cancelled_by_task(call, reached):
    """Run `call` and cancel it once `reached`, as asyncio does."""
    task = asyncio.ensure_future(call())
    await until(reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_by_deadline(call, reached):
    """Run `call` and cancel it after a while, once `reached`."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(reached)
            scope.deadline = anyio.current_time()
    assert scope.cancelled_caught


CANCELS = pytest.mark.parametrize("cancel", [cancelled_by_scope, cancelled_by_deadline, cancelled_by_task])


def skip_foreign(face, cancel):
    if cancel is cancelled_by_task and face.backend != "asyncio":
        pytest.skip("trio has no tasks to cancel")


@async_faces
@CANCELS
@pytest.mark.parametrize("way", ["create", "stream"])
@pytest.mark.parametrize("sent", ["nothing", "half a head", "a head", "half an answer"])
async def test_cancelled_call(face, cancel, way, sent):
    """A call that is cancelled while it waits ends there; its connection is closed, and the client goes on working."""
    skip_foreign(face, cancel)
    reached = threading.Event()
    pieces = {
        "nothing": [],
        "half a head": [b"HTTP/1.1 200 OK\r\nContent-"],
        "a head": [stream_head()],
        "half an answer": [stream_head(), http_chunk(b'{"' if way == "create" else sse_event(chat_chunk("Hi")))],
    }

    def stall(connection, request):
        connection.send(*pieces[sent])
        reached.set()
        connection.wait_closed()

    with RawServer(replies(stall, chat_answer("Hi"))) as server:
        async with face.client(server) as client:

            async def call():
                await ask(client, way)
                pytest.fail("it went on")

            await cancel(call, reached)
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2


@async_faces
@CANCELS
async def test_cancelled_inside_a_stream(face, cancel):
    """A caller who is cancelled inside the ``async with`` of a stream leaves it like any other way."""
    skip_foreign(face, cancel)
    reached = threading.Event()
    with RawServer(replies(endless, chat_answer("Hi"))) as server:
        async with face.client(server) as client:

            async def call():
                async with stream(client) as events:
                    async for _ in events:
                        reached.set()
                        await anyio.sleep_forever()

            await cancel(call, reached)
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"


@async_faces
@CANCELS
async def test_cancelled_while_waiting_to_try_again(face, cancel):
    """A call that is cancelled in the wait before a retry ends there; nothing more is sent."""
    skip_foreign(face, cancel)
    reached = threading.Event()

    def limited(connection, request):
        connection.send(answer(b"", 503))
        reached.set()

    with RawServer(replies(limited, chat_answer("Hi"))) as server:
        async with face.client(server, retry=RetryPolicy(backoff_base=30.0)) as client:
            await cancel(lambda: create(client), reached)
            assert len(server.requests) == 1
            assert await ask(client, "create") == "Hi"


@async_faces
@CANCELS
async def test_cancelled_while_connecting(face, cancel):
    """A call that is cancelled in the middle of a TLS handshake leaves no connection behind."""
    skip_foreign(face, cancel)
    reached = threading.Event()

    def script(connection):
        # Only then does the client know that it is connected.
        connection.receive_data()
        reached.set()
        connection.wait_closed()

    with RawServer(script) as server:
        async with face.client(server.url.replace("http:", "https:")) as client:
            await cancel(lambda: create(client), reached)
            await until_open(server, 0)


@async_faces
async def test_cancelled_before_anything(face):
    """A call in a scope that is cancelled already is cancelled, and leaves the client in order."""
    with RawServer(replies(chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await create(client)
            assert scope.cancelled_caught
            assert await ask(client, "create") == "Hi"


@async_faces
async def test_closed_in_a_cancelled_scope(face):
    """A stream can be closed where everything is cancelled."""
    with RawServer(replies(endless, chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            events = stream(client)
            await events.__anext__()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await events.aclose()
            await until_open(server, 0)
            assert await ask(client, "create") == "Hi"


@async_faces
async def test_many_calls_at_once(face):
    """Fifty calls and streams at once, over one client, each get their own answer."""
    said = []

    def echo(connection, request):
        text = request.header("x-number")
        connection.send(chat_stream(text) if request.json()["stream"] else chat_answer(text))

    with RawServer(replies(echo)) as server:
        async with face.client(server) as client:

            async def call(number):
                text = await ask(client, ("create", "stream")[number % 2], extra_headers={"X-Number": str(number)})
                said.append((number, text))

            async with anyio.create_task_group() as tasks:
                for number in range(50):
                    tasks.start_soon(call, number)
    assert sorted(said) == [(number, str(number)) for number in range(50)]


@only(lambda face: face.is_blocking)
async def test_many_threads_at_once(face):
    """A blocking client can be used by many threads at once."""
    said = []

    def echo(connection, request):
        text = request.header("x-number")
        connection.send(chat_stream(text) if request.json()["stream"] else chat_answer(text))

    with RawServer(replies(echo)) as server:
        async with face.client(server) as client:

            def call(number):
                way = ("create", "stream")[number % 2]
                said.append((number, asyncio.run(ask(client, way, extra_headers={"X-Number": str(number)}))))

            threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert sorted(said) == [(number, str(number)) for number in range(20)]


async def test_reading_on_after_the_end_of_a_body(face):
    """A stream that ends without [DONE], by its last chunk alone, is complete, and its connection is used again."""
    body = b"".join(map(http_chunk, chat_events("Hi")[:-1])) + LAST_CHUNK
    with RawServer(replies(stream_head() + body)) as server:
        async with face.client(server) as client:
            assert await read(stream(client)) == "Hi"
            assert await read(stream(client)) == "Hi"
            assert server.accepted == 1
