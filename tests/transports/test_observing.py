"""What the clients tell: the same events and lines on each face, the token to nobody, a warning where it is heard."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings

import anyio
import pytest

from meshapi_core import (
    CallAbandoned,
    CallFailed,
    CallSucceeded,
    RequestStarted,
    ResponseStarted,
    RetryPolicy,
    RetryScheduled,
    StreamInterruptedError,
    StreamStarted,
)
from meshapi_core.actions import Headers, ResponseHead
from meshapi_transports._observing import Announcer
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    answer,
    chat_answer,
    chat_events,
    http_chunk,
    replies,
    stream_head,
)

from .conftest import only
from .faces import TOKEN, create, failure, read, read_to_failure, stream

pytestmark = pytest.mark.anyio

AT_ONCE = RetryPolicy(backoff_base=0.0)
ROUTED = ("X-Request-Id: req-1", "X-Mesh-Served-Provider: openai", "X-Mesh-Routing-Attempts: 2")
FIRST, *REST = map(http_chunk, chat_events("Hello", " there"))


class Recorder:
    """An observer that remembers what it was told, and lets a server wait for the first event."""

    def __init__(self):
        self.events = []
        self.has_first_event = threading.Event()

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, StreamStarted):
            self.has_first_event.set()

    @property
    def kinds(self):
        return [type(event) for event in self.events]

    def streaming(self, then):
        """A reply whose first event comes alone; what follows is up to `then`."""

        def reply(connection, request):
            connection.send(stream_head("X-Request-Id: req-1") + FIRST)
            connection.wait(self.has_first_event)
            then(connection)

        return reply


@pytest.fixture
def told():
    return Recorder()


@pytest.fixture
def log(caplog):
    """The lines of our log."""
    caplog.set_level(logging.DEBUG, logger="meshapi")

    class Log:
        @property
        def lines(self):
            return [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "meshapi"]

        @property
        def records(self):
            return [each for each in caplog.records if each.name == "meshapi"]

    return Log()


# What is told


async def test_success(face, told, log):
    """A call that works: the request, the answer with its routing, the end; and the same in words."""
    with RawServer(replies(chat_answer("Hi", *ROUTED, "X-Mesh-Routing-Fallback: true"))) as server:
        async with face.client(server, observers=[told]) as client:
            await create(client)
    assert told.kinds == [RequestStarted, ResponseStarted, CallSucceeded]
    assert told.events[0].params["messages"] == [{"role": "user", "content": "Say hello"}]
    assert (told.events[1].served_provider, told.events[1].routing_attempts, told.events[1].is_fallback) == (
        "openai",
        2,
        True,
    )
    assert log.lines == [
        ("DEBUG", f"request: POST {server.url}/v1/chat/completions"),
        (
            "DEBUG",
            "response: status 200, request id req-1, served by openai, routing attempts: 2, as a fallback",
        ),
        ("DEBUG", "done: request id req-1"),
    ]


async def test_retry(face, told, log):
    """A call that is tried again: why, and after how long; that is worth the level INFO."""
    refusal = answer(b'{"error": {"code": "upstream_error", "message": "busy"}}', 503, "X-Request-Id: req-0")
    with RawServer(replies(refusal, chat_answer("Hi", "X-Request-Id: req-1"))) as server:
        async with face.client(server, observers=[told], retry=AT_ONCE) as client:
            await create(client)
    once = [RequestStarted, ResponseStarted]
    assert told.kinds == [*once, RetryScheduled, *once, CallSucceeded]
    assert len({id(event.call) for event in told.events}) == 1
    assert log.lines == [
        ("DEBUG", f"request: POST {server.url}/v1/chat/completions"),
        ("DEBUG", "response: status 503, request id req-0"),
        ("INFO", "retry: in 0.000 s, after [503 upstream_error] busy (request id req-0)"),
        ("DEBUG", f"request: POST {server.url}/v1/chat/completions, retry 1"),
        ("DEBUG", "response: status 200, request id req-1"),
        ("DEBUG", "done: request id req-1"),
    ]


async def test_a_stream_to_its_end(face, told, log):
    """A stream tells of its first event, too."""
    reply = told.streaming(lambda connection: connection.send(*REST, LAST_CHUNK))
    with RawServer(replies(reply)) as server:
        async with face.client(server, observers=[told]) as client:
            assert await read(stream(client)) == "Hello there"
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallSucceeded]
    assert log.lines[2:] == [
        ("DEBUG", "stream: the first event has come: request id req-1"),
        ("DEBUG", "done: request id req-1"),
    ]


async def test_a_broken_stream(face, told, log):
    """A stream that breaks off fails, and says with what."""
    with RawServer(replies(told.streaming(lambda connection: connection.close()))) as server:
        async with face.client(server, observers=[told]) as client:
            error = await read_to_failure(stream(client))
    assert isinstance(error, StreamInterruptedError)
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallFailed]
    assert told.events[-1].error is error
    assert log.lines[-1] == ("DEBUG", f"failed: {error}")


async def test_an_abandoned_stream(face, told, log):
    """A stream that is left early is abandoned, once, however often it is closed."""
    with RawServer(replies(told.streaming(lambda connection: connection.wait_closed()))) as server:
        async with face.client(server, observers=[told]) as client:
            async with stream(client) as chunks:
                await chunks.__anext__()
            await chunks.aclose()
    assert told.kinds == [RequestStarted, ResponseStarted, StreamStarted, CallAbandoned]
    assert log.lines[-1] == ("DEBUG", "abandoned: request id req-1")


@only(lambda face: not face.is_blocking)
async def test_a_cancelled_call(face, told, log):
    """A call that is cancelled while it waits for its answer is abandoned."""
    arrived = threading.Event()

    def reply(connection, request):
        arrived.set()
        connection.wait_closed()

    with RawServer(replies(reply)) as server:
        async with face.client(server, observers=[told]) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(create, client)
            assert await anyio.to_thread.run_sync(arrived.wait, 5.0)
            tasks.cancel_scope.cancel()
    assert told.kinds == [RequestStarted, CallAbandoned]
    assert log.lines[-1] == ("DEBUG", "abandoned")


async def test_the_log_alone(face, log):
    """The log is told without any observer."""
    with RawServer(replies(chat_answer())) as server:
        async with face.client(server) as client:
            await create(client)
    assert [line.partition(":")[0] for _, line in log.lines] == ["request", "response", "done"]


async def test_the_log_at_info(face, caplog):
    """At the level INFO, only retries are logged."""
    caplog.set_level(logging.INFO, logger="meshapi")
    with RawServer(replies(answer(b"{}", 503), chat_answer())) as server:
        async with face.client(server, retry=AT_ONCE) as client:
            await create(client)
    assert [each.levelname for each in caplog.records if each.name == "meshapi"] == ["INFO"]


# To whom


async def test_an_observer_that_raises(face, told, log):
    """An observer that raises is logged with its traceback, and keeps neither the others nor the call from going on."""

    def broken(event):
        raise ZeroDivisionError

    with RawServer(replies(chat_answer("Hi"))) as server:
        async with face.client(server, observers=[broken, told]) as client:
            assert (await create(client)).choices[0].message.content == "Hi"
    assert told.kinds == [RequestStarted, ResponseStarted, CallSucceeded]
    complaints = [record for record in log.records if record.levelno == logging.ERROR]
    assert [record.exc_info[0] for record in complaints] == [ZeroDivisionError] * 3
    assert {record.getMessage() for record in complaints} == {"an observer raised an exception; the call goes on"}
    for record in complaints:
        # The frames of the call hold urllib3's pool, which closes its sockets only when it goes.
        record.exc_info = None


async def test_observers_are_callables(face):
    """Anything else is refused when the client is made, and named."""
    with pytest.raises(ValueError, match="observers must be callables that take an event, not 'print'"):
        face.client("http://localhost", observers=[print, "print"])


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
async def test_no_logger_shows_the_token(face, caplog):
    """At the level DEBUG, nobody's log holds the token: not ours, and not that of the library below."""
    caplog.set_level(logging.DEBUG)
    quoted = answer(f'{{"error": {{"message": "bad key {TOKEN}", "code": "{TOKEN}"}}}}'.encode(), 401)
    told = Recorder()
    reply = told.streaming(lambda connection: connection.send(*REST, LAST_CHUNK))
    with RawServer(replies(chat_answer(), quoted, answer(TOKEN.encode(), 503), chat_answer(), reply)) as server:
        async with face.client(server, observers=[told], retry=AT_ONCE) as client:
            await create(client)
            await failure(create(client))
            await create(client)
            await read(stream(client))
    assert {"request", "response", "retry", "failed", "done"} < {
        record.getMessage().partition(":")[0] for record in caplog.records if record.name == "meshapi"
    }
    for record in caplog.records:
        texts = [record.getMessage(), repr(record.args), str(record.exc_text)]
        assert not any(TOKEN in text or "Bearer" in text for text in texts), record.name


# A key that travels in clear


@contextlib.asynccontextmanager
async def closing(face, client):
    """The client, which may be of either colour, closed in the end."""
    yield
    if face.is_blocking:
        client.close()
    else:
        await client.aclose()


@pytest.mark.usefixtures("no_certificates")
@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "[2001:db8::1]:8080"])
async def test_a_key_in_clear(face, host):
    """A client of a host elsewhere warns once, at the line that makes it, that http:// hides nothing."""
    make = getattr(face.module, face.library.client_class)
    with pytest.warns(UserWarning, match=r"the key travels in clear to http://.*: use https://") as caught:
        client = make(token=TOKEN, base_url=f"http://{host}/path")
    (warning,) = caught
    assert warning.category is UserWarning
    assert warning.filename == __file__
    assert host in str(warning.message)
    assert TOKEN not in str(warning.message)
    async with closing(face, client):
        pass


@pytest.mark.usefixtures("no_certificates")
@pytest.mark.parametrize(
    "base_url",
    [
        "https://example.com",
        "https://10.0.0.1",
        "http://localhost:8000",
        "http://LOCALHOST",
        "http://gateway.localhost",
        "http://127.0.0.1:8000",
        "http://127.8.8.8",
        "http://[::1]:8000",
    ],
)
async def test_a_key_that_nobody_hears(face, base_url):
    """No warning where the key is encrypted, or stays on this machine."""
    make = getattr(face.module, face.library.client_class)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = make(token=TOKEN, base_url=base_url)
    async with closing(face, client):
        pass


def test_the_log_does_not_repeat_the_secret(caplog):
    """What a server says is logged without the key, should it quote that; a short stand-in for one is any word."""
    caplog.set_level(logging.DEBUG, "meshapi")
    head = ResponseHead(404, Headers({"X-Request-Id": "rsk_0123456789", "X-Mesh-Served-Provider": "rsk_0123456789"}))
    for secret in ("rsk_0123456789", "st"):
        Announcer((), secret)(ResponseStarted(call=None, response=head))
    redacted, as_it_came = caplog.messages
    assert redacted == "response: status 404, request id [redacted], served by [redacted]"
    assert as_it_came == "response: status 404, request id rsk_0123456789, served by rsk_0123456789"
