"""What the adapter for aiohttp does with aiohttp's connections, below what every adapter does alike."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
from functools import partial

import pytest

pytest.importorskip("aiohttp")

import aiohttp
import trustme

from meshapi_core import APIConnectionError, APITimeoutError, ChatCompletionParams, Request, Timeout
from meshapi_transports.aiohttp import AsyncMeshAPI, _Connection, _prepare, _Transport
from meshapi_transports.testing.raw import RawServer, answer_head, chat_answer, chat_stream, replies

from .faces import TOKEN, ask, create, failure, in_short_time, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def client_of(server, **options):
    return AsyncMeshAPI(base_url=server.url, token=TOKEN, max_retries=0, **options)


@pytest.mark.parametrize("version", ["3.15.0", "4.0.0"])
async def test_over_an_aiohttp_that_is_not_known_requests_go_through_the_session(monkeypatch, version):
    """Its connections may work in another way; what is sent and received is the same."""
    monkeypatch.setattr(aiohttp, "__version__", version)
    monkeypatch.setattr(_Transport, "_send_directly", None)
    with RawServer(replies(chat_answer("Hi"), chat_stream("Good", " day"))) as server:
        async with client_of(server) as client:
            assert await ask(client, "create") == "Hi"
            assert await ask(client, "stream") == "Good day"
        first, second = server.requests
    assert first.header("authorization") == second.header("authorization") == f"Bearer {TOKEN}"
    assert server.accepted == 1


async def test_interim_answers_are_skipped():
    """What a server says before its answer is not the answer."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
    with RawServer(replies(interim + chat_answer("Hi"))) as server:
        async with client_of(server) as client:
            assert await ask(client, "create") == "Hi"
            assert await ask(client, "create") == "Hi"
        assert server.accepted == 1


async def test_switching_protocols_is_no_answer():
    """A server that wants to speak another protocol is not spoken to."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    with RawServer(replies(switch)) as server:
        async with client_of(server) as client:
            assert type(await failure(create(client))) is APIConnectionError
            await until(server, lambda server: server.open == 0)


@pytest.mark.parametrize("total", [None, 5.0])
async def test_silence_before_and_after_the_head(total):
    """Each wait has the idle time: that for the head, and that for the body."""
    told = threading.Event()

    def script(connection):
        connection.receive_request()
        if server.accepted == 2:
            connection.send(answer_head(200, "Content-Length: 9"))
        connection.wait(told)

    with RawServer(script) as server:
        async with client_of(server, timeout=Timeout(idle=0.2, total=total)) as client:
            for _ in range(2):
                assert type(await failure(create(client))) is APITimeoutError
            told.set()
            await until(server, lambda server: server.open == 0)


async def test_length_of_requests_without_a_body():
    """A GET says nothing of a body; what could have one says that it has none."""
    with RawServer(replies(chat_answer(), chat_answer())) as server:
        transport = _Transport(None)
        for method in ("GET", "DELETE"):
            answer = await transport.send(Request(method, server.url + "/x?y=%2F", ()), Timeout())
            assert answer.status == 200
            await answer.aclose()
        await transport.aclose()
    get, delete = server.requests
    assert (get.target, get.header("content-length")) == ("/x?y=%2F", None)
    assert (delete.target, delete.header("content-length")) == ("/x?y=%2F", "0")


async def test_what_is_kept_of_a_request_holds_no_secret():
    """A connector is told where to connect to, and no header."""
    prepared, head = _prepare("GET", "http://127.0.0.1/", (("Authorization", f"Bearer {TOKEN}"),))
    assert TOKEN in head.decode()
    assert not prepared.headers


async def test_header_that_breaks_its_line():
    """A header that would be two is refused where the core has not done so."""
    with pytest.raises(ValueError):
        _prepare("GET", "http://127.0.0.1/", (("X-A", "b\r\nX-C: d"),))


async def test_connection_on_which_something_came_is_not_used_again():
    """What comes while a connection is idle, which answers nothing, makes it unfit for the next request."""
    told, sent = threading.Event(), threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(chat_answer("Hi"))
        if server.accepted == 1:
            connection.wait(told)
            connection.send(chat_answer("Bye"))
            sent.set()
        connection.wait_closed()

    with RawServer(script) as server:
        async with client_of(server) as client:
            assert await ask(client, "create") == "Hi"
            told.set()
            for _ in range(10):
                await until(sent)
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2
            await until(server, lambda server: server.open == 1)


# Large requests

LARGE = ChatCompletionParams(messages=[{"role": "user", "content": "x" * 20_000_000}])


@pytest.fixture(params=["http", "https"])
def server_of(request, monkeypatch):
    """Makes servers that the client trusts: over TLS, asyncio holds what is sent in another place."""
    if request.param == "http":
        return RawServer
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    # Made when aiohttp is imported.
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return partial(RawServer, ssl_context=context)


@pytest.mark.parametrize("idle", [None, 60.0])
async def test_an_answer_before_all_of_the_request_is_taken(server_of, idle):
    """It is heard at once, and the connection, on which the rest of the request is still due, is not used again."""
    told = threading.Event()

    def script(connection):
        if server.accepted == 1:
            connection.send(chat_answer("Enough"))
            connection.wait(told)
        else:
            connection.receive_request()
            connection.send(chat_answer("Hi"))

    with server_of(script) as server:
        async with client_of(server, timeout=Timeout(connect=5.0, idle=idle)) as client:
            answer = await client.chat.completions.create(LARGE)
            assert answer.choices[0].message.content == "Enough"
            assert await ask(client, "create") == "Hi"
            assert server.accepted == 2
        told.set()


@in_short_time
async def test_a_request_that_is_taken_slowly(server_of, seconds):
    """It may take longer than the idle time, as long as some of it is taken again and again."""
    idle, pause = 5 * seconds, threading.Event()

    def script(connection):
        size = 0
        for part in range(1, 5):
            while size < part * 3_000_000:
                size += len(connection.receive_data())
            pause.wait(0.5 * idle)
        while size < 20_000_000:
            size += len(connection.receive_data())
        connection.send(chat_answer("Taken"))

    with server_of(script) as server:
        async with client_of(server, timeout=Timeout(connect=5.0, idle=idle)) as client:
            answer = await client.chat.completions.create(LARGE)
            assert answer.choices[0].message.content == "Taken"


async def test_a_large_request_that_is_given_up(server_of, monkeypatch):
    """Its connection is closed at once, though the server takes nothing of what was sent."""
    lost, begun, told = asyncio.Event(), threading.Event(), threading.Event()
    connection_lost = _Connection.connection_lost

    def record(self, error):
        connection_lost(self, error)
        lost.set()

    def script(connection):
        connection.receive_data()
        begun.set()
        connection.wait(told)

    monkeypatch.setattr(_Connection, "connection_lost", record)
    with server_of(script) as server:
        async with client_of(server) as client:
            task = asyncio.ensure_future(client.chat.completions.create(LARGE))
            await until(begun)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(lost.wait(), 5.0)
        told.set()


@pytest.mark.parametrize("content", ["x", "x" * 5_000_000], ids=["small", "large"])
async def test_silence_after_an_interim_answer(content):
    """The idle time begins anew with it, and ends."""
    told = threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        connection.wait(told)

    params = ChatCompletionParams(messages=[{"role": "user", "content": content}])
    with RawServer(script) as server:
        async with client_of(server, timeout=Timeout(connect=5.0, idle=0.3)) as client:
            assert type(await failure(client.chat.completions.create(params))) is APITimeoutError
        told.set()


# Who does not close a client in its loop is told so by asyncio.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_session_of_another_loop():
    """An injected session that belongs to another loop is an error that says so; the client's own need not be."""

    async def use(client):
        try:
            return await ask(client, "create")
        except RuntimeError as error:
            return str(error)

    with RawServer(replies(*[chat_answer("Hi")] * 9)) as server:
        async with aiohttp.ClientSession() as session, client_of(server) as own:
            injected = client_of(server, session=session)
            assert await use(own) == await use(injected) == "Hi"
            for _ in range(2):
                assert await asyncio.to_thread(asyncio.run, use(own)) == "Hi"
            assert "another event loop" in await asyncio.to_thread(asyncio.run, use(injected))
            assert await use(own) == await use(injected) == "Hi"
        gc.collect()
