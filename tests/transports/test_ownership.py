"""Whose the library's object is: what was injected is used as it is and stays open, what is ours is closed."""

from __future__ import annotations

import threading

import anyio
import pytest

from meshapi_core import APITimeoutError, MeshAPIError, Timeout
from meshapi_transports.testing.raw import LAST_CHUNK, RawServer, chat_answer, chat_events, http_chunk, replies
from meshapi_transports.testing.raw import stream_head as head_of_stream

from .conftest import only
from .faces import TOKEN, ask, create, failure, read, stream, until

pytestmark = pytest.mark.anyio

SHORT = 0.5


@only(lambda face: face.shares_connections)
async def test_injected_object_stays_open(face):
    """Closing the client leaves the library's object as it was, for its owner to use and close."""
    with RawServer(replies(chat_answer())) as server:
        async with face.own() as own:
            async with face.injected(own, server, timeout=5.0) as client:
                await create(client)
            await client.aclose()
            assert not face.library.is_closed(own)
            async with face.injected(own, server, timeout=5.0) as client:
                await create(client)
        assert face.library.is_closed(own)
        assert server.accepted == 1


async def test_own_object_is_closed(face):
    """Closing the client closes the connections that it had opened; closing it twice does nothing."""
    with RawServer(replies(chat_answer())) as server:
        client = face.client(server)
        await create(client)
        assert server.open == 1
        await client.aclose()
        await until(server, lambda server: server.open == 0)
        await client.aclose()


async def test_client_that_was_never_used(face):
    """A client that was made and closed, or only made, leaves nothing behind."""
    face.client("http://127.0.0.1")
    await face.client("http://127.0.0.1").aclose()
    async with face.client("http://127.0.0.1"):
        pass


@pytest.mark.parametrize("kind", ["own", "injected"])
@pytest.mark.parametrize("way", ["create", "stream"])
async def test_closed_client(face, kind, way):
    """A call on a closed client is an error in the program that says so; nothing is sent."""
    with RawServer(replies(chat_answer())) as server:
        async with face.own() as own:
            client = face.client(server) if kind == "own" else face.injected(own, server, timeout=5.0)
            await create(client)
            await client.aclose()
            with pytest.raises(RuntimeError, match="the client is closed"):
                await ask(client, way)
        assert len(server.requests) == 1


@only(lambda face: not face.is_blocking)
async def test_client_closed_during_a_call(face):
    """A client that is closed in the middle of a call ends it, with an error of ours or of the program."""
    received = threading.Event()
    ended = []

    def stall(connection, request):
        received.set()
        connection.wait_closed()

    with RawServer(replies(stall)) as server:
        client = face.client(server)

        async def call():
            with pytest.raises((MeshAPIError, RuntimeError)) as caught:
                await create(client)
            ended.append(caught.type)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(received)
            await client.aclose()
        assert len(ended) == 1


async def test_end_of_a_with_block_closes_by_exception_too(face):
    """An exception inside the ``with`` block of a client passes through, and the client is closed."""
    with RawServer(replies(chat_answer())) as server:

        async def stumble():
            async with face.client(server) as client:
                await create(client)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await stumble()
        await until(server, lambda server: server.open == 0)


# Used as it is


@only(lambda face: face.has_defaults)
async def test_headers_of_an_injected_object(face):
    """The headers that were set on an injected object are sent; where ours say something else, ours stand."""
    with RawServer(replies(chat_answer())) as server:
        headers = {"X-Team": "a", "User-Agent": "mine/1", "X-Mesh-Version": "1999-01", "Accept-Encoding": "br"}
        async with face.own(headers=headers) as own, face.injected(own, server, timeout=5.0) as client:
            await create(client)
            await create(client, extra_headers={"x-team": "b"})
        first, second = server.requests
        assert (first.header("x-team"), second.header("x-team")) == ("a", "b")
        assert first.header("user-agent") == "mine/1"
        assert first.header("x-mesh-version") != "1999-01"
        assert first.header("authorization") == f"Bearer {TOKEN}"
        assert first.header("accept-encoding") == "gzip, deflate"


@only(lambda face: face.name in ("httpx", "httpx-asyncio", "requests"))
async def test_query_of_an_injected_object(face):
    """The query parameters that were set on an injected object are sent."""
    with RawServer(replies(chat_answer())) as server:
        async with face.own() as own, face.injected(own, server, timeout=5.0) as client:
            own.params = {"team": "a"}
            await create(client)
        assert server.requests[0].target == "/v1/chat/completions?team=a"


@only(lambda face: face.has_defaults and face.name != "requests")
async def test_timeout_of_an_injected_object(face):
    """A timeout that was set on an injected object stands, unless the client or the call has one."""
    with RawServer(replies(lambda connection, request: connection.wait_closed())) as server:
        async with face.own(timeout=SHORT) as own, face.injected(own, server) as client:
            assert type(await failure(create(client))) is APITimeoutError
        async with face.own(timeout=30.0) as own:
            async with face.injected(own, server, timeout=SHORT) as client:
                assert type(await failure(create(client))) is APITimeoutError
            async with face.injected(own, server) as client:
                assert type(await failure(create(client, timeout=SHORT))) is APITimeoutError


async def test_timeout_without_one_of_the_injected_object(face):
    """An injected object that has no timeout of its own leaves the client's default of a minute."""
    with RawServer(replies(chat_answer())) as server:
        async with face.own() as own, face.injected(own, server) as client:
            blocking = getattr(client, "_blocking", client)
            assert blocking._core.config.timeout == Timeout()
            await create(client)


async def test_injected_object_of_the_wrong_kind(face):
    """What was injected under another library's name is an error that lists the names."""
    with pytest.raises(TypeError, match="unknown argument 'client'"):
        face.client("http://127.0.0.1", client=object())


@only(lambda face: face.shares_connections)
async def test_two_clients_over_one_object(face):
    """One object can serve several clients, each with its own token and address."""
    with RawServer(replies(chat_answer("one"))) as one, RawServer(replies(chat_answer("two"))) as two:
        async with face.own() as own:
            first = face.injected(own, one, token="rsk_one", timeout=5.0)
            second = face.injected(own, two, token="rsk_two", timeout=5.0)
            assert await ask(first, "create") == "one"
            assert await ask(second, "create") == "two"
            await first.aclose()
            assert await ask(second, "create") == "two"
        assert {request.header("authorization") for request in one.requests} == {"Bearer rsk_one"}
        assert {request.header("authorization") for request in two.requests} == {"Bearer rsk_two"}


async def test_stream_over_an_injected_object(face):
    """A stream over an injected object gives its connection back like any other."""
    body = b"".join(map(http_chunk, chat_events("Hi"))) + LAST_CHUNK
    with RawServer(replies(head_of_stream() + body)) as server:
        async with face.own() as own, face.injected(own, server, timeout=5.0) as client:
            for _ in range(3):
                assert await read(stream(client)) == "Hi"
        assert server.accepted == 1
        await until(server, lambda server: server.open == 0)


async def test_repr_of_a_client(face):
    """What a client looks like in a log tells where it sends to, and not the token."""
    async with face.client("http://127.0.0.1:1", token="rsk_SECRETSECRET") as client:
        shown = repr(getattr(client, "_blocking", client)) + repr(stream(client).response)
        assert "http://127.0.0.1:1" in shown
        assert "SECRET" not in shown
