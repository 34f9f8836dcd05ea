"""What the adapters for httpx and httpx2 do beneath their library, and around it."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import ssl
import subprocess
import sys
import threading
import time
import zlib
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import h11
import httpx
import httpx2
import pytest
import trustme

from meshapi_core import APITimeoutError, Request, ResponseParseError, StreamInterruptedError, Timeout
from meshapi_transports import _httpx_family as family
from meshapi_transports._content_coding import ContentCodingError
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    answer,
    chat_answer,
    chat_chunk,
    chat_completion,
    chat_events,
    http_chunk,
    replies,
    sse_event,
    stream_head,
)

from .conftest import only
from .faces import PARAMS, ask, create, failure, read, read_to_failure, stream, text_of, until

over_httpx = only(lambda face: "httpx" in face.name)
async_httpx = only(lambda face: "httpx" in face.name and not face.is_blocking)
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)


# Making a client


@LIBRARIES
def test_clients_cost_nothing_before_they_are_used(library):
    """Neither the rest of the library is loaded for a client, nor a TLS context made, before its first request."""
    program = f"""
import ssl, sys
ssl.SSLContext.load_verify_locations = ssl.SSLContext.load_default_certs = None
from meshapi_transports.{library.__name__} import AsyncMeshAPI, MeshAPI
for client_class in (MeshAPI, AsyncMeshAPI):
    client_class(base_url="https://gateway.example", token="t")
MeshAPI(base_url="https://gateway.example", token="t").close()
print("{library.__name__.replace("httpx", "httpcore")}" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


@over_httpx
@pytest.mark.anyio
async def test_cookies_are_not_kept(face):
    """A client of ours keeps no cookies, which it would never send."""
    with RawServer(replies(chat_answer("Hi", "Set-Cookie: a=b"))) as server:
        async with face.client(server) as client:
            for _ in range(2):
                assert await ask(client, "create") == "Hi"
            (pools,) = getattr(client, "_blocking", client)._transport._transport._own_by_process.values()
            assert [len(pool.client.cookies) for pool in pools.close()] == [0]
    assert all(request.header("Cookie") is None for request in server.requests)


@over_httpx
@pytest.mark.anyio
async def test_a_crowd_has_several_pools(face, monkeypatch):
    """A hundred of their connections serve the next crowd, too; what nothing has used for a while is closed."""
    # Blocking calls have forty threads here.
    number = 25 if face.is_blocking else 120
    kept = min(number, 100)
    crowd, is_crowd = threading.Barrier(number), True

    def script(connection):
        while True:
            connection.receive_request()
            if is_crowd:
                crowd.wait(5)
            connection.send(chat_answer("Hi"))

    with RawServer(script) as server:
        async with face.client(server) as client:
            ask_once = partial(ask, client, "create")
            if face.is_blocking:
                ask_once = partial(anyio.to_thread.run_sync, partial(client._blocking.chat.completions.create, PARAMS))
            for accepted in (number, 2 * number - kept):
                async with anyio.create_task_group() as group:
                    for _ in range(number):
                        group.start_soon(ask_once)
                await until(server, lambda server: server.open == kept)
                assert server.accepted == accepted
            is_crowd = False
            assert await ask(client, "create") == "Hi"
            assert server.open == kept
            monkeypatch.setattr(family, "IDLE_SECONDS", 0)
            assert await ask(client, "create") == "Hi"
            await until(server, lambda server: server.open == 10)
            assert server.accepted == accepted
        await until(server, lambda server: server.open == 0)


@LIBRARIES
def test_pools_in_the_midst_of_others_are_closed(library, monkeypatch):
    """However long something stays in a later one; the first stays, too."""
    pools = family._Pools(library, library.Client)
    places = [pools.enter()[0] for _ in range(25)]
    for place in places[:-1]:
        place.leave()
    assert pools.enter()[1] == []
    monkeypatch.setattr(family, "IDLE_SECONDS", 0)
    _, unused = pools.enter()
    assert [pool.client for pool in unused] == [places[10].client]
    assert [pool.client for pool in pools.close()] == [places[0].client, places[-1].client]


@LIBRARIES
def test_pools_closed_by_the_thread_that_makes_one(library, monkeypatch):
    """As a signal handler may do, which runs in the midst of anything."""
    pools = family._Pools(library, library.Client)
    monkeypatch.setattr(family, "_own_client", lambda *_: pools.close())
    thread = threading.Thread(target=pools.enter, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


@LIBRARIES
def test_answers_that_know_no_request(library):
    """Those of a client of the user's that answers by itself."""

    class Client(library.Client):
        def send(self, *_, **__):
            return library.Response(200, json=chat_completion("Hi"))

    module = importlib.import_module(f"meshapi_transports.{library.__name__}")
    with module.MeshAPI(base_url="https://gateway.example", token="t", httpx_client=Client()) as client:
        assert client.chat.completions.create(PARAMS).choices[0].message.content == "Hi"


# Bodies, without a socket


def body_of(data, content_encoding=""):
    """A body whose connection has received `data`."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    http.send(h11.EndOfMessage())
    http.receive_data(stream_head() + data)
    assert isinstance(http.next_event(), h11.Response)
    return family._Http11Body(httpx, http, content_encoding), http


def test_all_that_has_come_is_taken_at_once():
    """However many chunks have come, they are taken together but for the first; then more has to be received."""
    body, _ = body_of(http_chunk(b"-") + http_chunk(b"a") + http_chunk(b"b") + b"3\r\nc")
    assert (body.take(), body.take()) == (b"-", b"abc")
    assert body.take() is None
    body.receive(b"de\r\n" + LAST_CHUNK)
    assert body.take() == b"de"
    assert body.take() == body.take() == b""


def test_compressed_nothing_is_not_the_end():
    """Bytes that stand for nothing, as yet, are no end of the body."""
    packer = zlib.compressobj(wbits=31)
    body, _ = body_of(http_chunk(packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)), "gzip")
    assert body.take() is None
    body.receive(http_chunk(packer.compress(b"x") + packer.flush()) + LAST_CHUNK)
    assert body.take() == b"x"
    assert body.take() == b""


def test_what_is_unpacked_is_not_taken_all_at_once():
    """However much a read may become when it is unpacked, it is handed out in pieces whose size can be looked at."""
    body, _ = body_of(http_chunk(gzip.compress(bytes(50_000))) * 20 + LAST_CHUNK, "gzip")
    sizes = []
    while not sizes or sizes[-1]:
        sizes.append(len(body.take()))
    assert sum(sizes) == 1_000_000
    assert max(sizes) == 100_000


@pytest.mark.parametrize(
    ("data", "coding", "error"),
    [
        (http_chunk(b"a") + b"no chunk\r\n", "", h11.RemoteProtocolError),
        (http_chunk(gzip.compress(b"a")) + http_chunk(b"no gzip"), "gzip", ContentCodingError),
        (http_chunk(gzip.compress(b"a" * 99)[:-4]) + LAST_CHUNK, "gzip", ContentCodingError),
    ],
    ids=["framing", "coding", "coding breaks off"],
)
def test_what_comes_before_an_error_is_taken_first(data, coding, error):
    """What has come before the body goes wrong is handed out; then, again and again, it is wrong."""
    body, _ = body_of(data, coding)
    assert set(body.take()) == set(b"a")
    for _ in range(2):
        with pytest.raises(error):
            body.take()


def test_errors_go_by_the_library_s_names():
    """Errors from beneath the library are told as the library would have told them."""
    body, _ = body_of(b"")
    for error in body.errors:
        assert type(body.named(error("it broke"))) is getattr(httpx, error.__name__)
        assert str(body.named(error("it broke"))) == "it broke"


@pytest.mark.parametrize(
    ("data", "reads", "state"),
    [
        (LAST_CHUNK, 2, h11.DONE),
        (LAST_CHUNK, 1, h11.ERROR),
        (b"", 2, h11.ERROR),
        (LAST_CHUNK + chat_answer(), 2, h11.ERROR),
    ],
    ids=["read", "not read to its end", "without an end", "with another answer"],
)
def test_connections_that_are_used_again(data, reads, state):
    """Only a connection whose body was read to its end, and on which nothing has come since, is used again."""
    body, http = body_of(http_chunk(b"a") + data)
    for _ in range(reads):
        body.take()
    body.leave()
    assert http.our_state is state


# Bodies, over a socket


@over_httpx
@pytest.mark.anyio
async def test_many_chunks_are_one_read(face):
    """The chunks that come together are read together, so that each costs no more than itself."""
    with RawServer(replies(stream_head() + http_chunk(b"x") * 50 + LAST_CHUNK)) as server:
        async with face.client(server) as client:
            transport = getattr(client, "_blocking", client)._transport._transport
            result = await sent(face, transport, server)
            pieces = await content(face, result)
            await close(face, result)
    assert b"".join(pieces) == b"x" * 50
    assert len(pieces) < 10


@over_httpx
@pytest.mark.anyio
async def test_events_before_broken_framing(face):
    """Events that come along with broken framing are delivered, before the error."""
    script = (
        stream_head() + http_chunk(sse_event(chat_chunk("Hel"))) + http_chunk(sse_event(chat_chunk("lo"))) + b"?\r\n"
    )
    with RawServer(replies(script)) as server:
        async with face.client(server) as client:
            chunks = []
            error = await read_to_failure(stream(client), chunks)
    assert text_of(chunks) == "Hello"
    assert type(error) is StreamInterruptedError


@over_httpx
@pytest.mark.anyio
async def test_closing_an_answer_twice(face):
    """An answer that is closed again does nothing to whoever uses its connection by then."""
    with RawServer(replies(chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            transport = getattr(client, "_blocking", client)._transport._transport
            first = await sent(face, transport, server)
            assert await content(face, first)
            await close(face, first)
            second = await sent(face, transport, server)
            await close(face, first)
            assert await content(face, second)
            await close(face, second)
            assert await ask(client, "create") == "Hi"
        assert server.accepted == 1


async def sent(face, transport, server):
    request, timeout = Request("GET", f"{server.url}/v1/models", ()), Timeout(5.0, 5.0)
    return transport.send(request, timeout) if face.is_blocking else await transport.send(request, timeout)


async def content(face, answer):
    """All of an answer's body, in as many reads as it takes."""
    pieces = [b"..."]
    while pieces[-1]:
        pieces.append(answer.read(5.0) if face.is_blocking else await answer.read(5.0))
    return pieces[1:]


async def close(face, answer):
    if face.is_blocking:
        answer.close()
    else:
        await answer.aclose()


@over_httpx
@pytest.mark.anyio
async def test_a_time_for_the_whole_call_over_tls(face, monkeypatch, tmp_path):
    """Over TLS too, an answer that comes in time comes, and a head that drips for longer is given up."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def drip(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nX-A: ")
        # Raised when the client has left.
        while True:
            connection.send(b"x")
            time.sleep(0.01)

    with RawServer(replies(chat_answer("Hi"), drip), ssl_context=context) as server:
        async with face.client(server, max_retries=0) as client:
            assert await ask(client, "create", timeout=Timeout(total=5.0)) == "Hi"
            assert isinstance(await failure(create(client, timeout=Timeout(total=0.2))), APITimeoutError)


# Other transports than the library's own


class Events:
    """The body of a stream, in both colours, that may stall at its end."""

    def __init__(self, pieces, stalls=False):
        self.pieces = pieces
        self.stalls = stalls
        self.is_closed = False

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        self.is_closed = True

    async def __aiter__(self):
        for piece in self.pieces:
            yield piece
        if self.stalls:
            await anyio.sleep_forever()

    async def aclose(self):
        self.is_closed = True


def mocked(face, pieces, *fields, **options):
    """The library's own object, over no network at all, and the body that it answers a stream with."""
    library = httpx2 if "httpx2" in face.name else httpx
    body = type("Body", (Events, library.SyncByteStream, library.AsyncByteStream), {})(pieces, **options)

    def reply(request):
        if json.loads(request.content)["stream"]:
            return library.Response(200, headers=list(fields), stream=body)
        return library.Response(200, json=chat_completion("Hi"))

    return face.library.make(transport=library.MockTransport(reply)), body


@over_httpx
@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_transport_of_the_users(face, coding):
    """Over an object whose transport is no network, calls and streams work all the same."""
    pieces = chat_events("Hel", "lo")
    if coding == "gzip":
        packed = gzip.compress(b"".join(pieces))
        pieces = [packed[:40], packed[40:]]
    own, body = mocked(face, pieces, ("Content-Type", "text/event-stream"), ("Content-Encoding", coding))
    async with face.injected(own, "https://gateway.example", timeout=5.0) as client:
        assert await ask(client, "create") == "Hi"
        assert await read(stream(client)) == "Hello"
    await face.library.close(own)
    assert body.is_closed


@async_httpx
@pytest.mark.anyio
async def test_idle_over_a_transport_of_the_users(face):
    """There too, a stream that stalls is given up in time, and closed."""
    own, body = mocked(face, chat_events("Hel")[:1], stalls=True)
    async with face.injected(own, "https://gateway.example", timeout=Timeout(idle=0.05)) as client:
        chunks = []
        error = await read_to_failure(stream(client), chunks)
    assert isinstance(error.__cause__, TimeoutError)
    assert text_of(chunks) == "Hel"
    assert body.is_closed
    await face.library.close(own)


# Threads


def test_what_is_dropped_within_the_library_is_closed_outside():
    """What the garbage collector closes while its thread is in the library waits until the thread is out of it."""
    closed = []
    within = family._InLibrary()
    with within:
        with within:
            within.leave_with(lambda: closed.append("first"))
        within.leave_with(lambda: closed.append(1 / 0))
        assert closed == []
    assert closed == ["first"]
    within.leave_with(lambda: closed.append("second"))
    assert closed == ["first", "second"]


# Loops


def test_turns_for_nothing_are_left_out():
    """A coroutine that waits for nothing is through without a turn of the loop."""
    turns = []

    async def work():
        for _ in range(5):
            await asyncio.sleep(0)
        turns.append("of its own")
        return "done"

    async def main():
        asyncio.get_running_loop().call_soon(turns.append, "of the loop")
        assert await family._without_idle_turns(work()) == "done"
        assert turns == ["of its own"]

    asyncio.run(main())


def test_turns_that_are_waited_for_come():
    """Who waits for something turn by turn gets it."""
    happened = []

    async def work():
        for _ in range(2 * family._IDLE_TURNS):
            await asyncio.sleep(0)
        return happened

    async def main():
        asyncio.get_running_loop().call_soon(happened.append, "it")
        return await family._without_idle_turns(work())

    assert asyncio.run(main()) == ["it"]


def test_cancelled_while_it_waits():
    """A cancellation reaches the coroutine where it really waits, and may be handled there."""
    seen = []

    async def work():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0.001)
            seen.append("cleaned up")
            raise

    async def main():
        async def call():
            await family._without_idle_turns(work())

        task = asyncio.ensure_future(call())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["cancelled", "cleaned up"]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.anyio
async def test_a_cancelled_scope_is_noticed(anyio_backend):
    """A scope that is cancelled, for which a coroutine may wait in turns, ends it."""

    async def work():
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint_if_cancelled()
        raise AssertionError("it was not cancelled")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await family._without_idle_turns(work())
    assert scope.cancelled_caught


@only(lambda face: face.name in ("httpx-asyncio", "httpx2-asyncio", "httpx-trio", "httpx2-trio"))
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_another_loop(face):
    """A client of ours that was used in one loop says in another that it is not for two; an injected one is used."""
    with RawServer(replies(chat_answer("Hi"))) as server:
        client = face.client(server)
        in_loop = partial(anyio.run, backend=face.backend)
        assert in_loop(ask, client, "create") == "Hi"
        with pytest.raises(RuntimeError, match="another event loop"):
            in_loop(ask, client, "create")
        in_loop(client.aclose)

        own, _ = mocked(face, [])
        client = face.injected(own, server, timeout=5.0)
        for _ in range(2):
            assert in_loop(ask, client, "create") == "Hi"


@over_httpx
@pytest.mark.anyio
async def test_answers_that_are_wrong_are_no_library_errors(face):
    """What h11 does not take, in a body, ends in an error of ours whose cause is the library's."""
    with RawServer(replies(stream_head(content_type="application/json") + b"no chunk\r\n")) as server:
        async with face.client(server, max_retries=0) as client:
            error = await failure(create(client))
    assert not isinstance(error, ResponseParseError)
    assert type(error.__cause__).__name__ == "RemoteProtocolError"
    assert type(error.__cause__).__module__ in ("httpx", "httpx2")


@over_httpx
@pytest.mark.anyio
async def test_fields_that_the_library_adds(face):
    """The fields that are the library's to add are there: Host always, Content-Length with a body."""
    batch = answer(b'{"id": "b", "object": "batch", "status": "cancelled"}')
    with RawServer(replies(batch)) as server:
        async with face.client(server) as client:
            await client.batches.cancel("b")
            await client.batches.get("b")
    assert [request.header("Content-Length") for request in server.requests] == ["2", None]
    assert all(request.header("Host") == server.url.partition("//")[2] for request in server.requests)
