"""The same failure, the same error: what goes wrong on the way, on every face over real sockets."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager

import pytest

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    Failure,
    InternalServerError,
    MeshAPIError,
    RateLimitError,
    RedirectError,
    ResponseParseError,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
    answer,
    answer_head,
    chat_answer,
    chat_chunk,
    chat_completion,
    chat_events,
    chat_stream,
    http_chunk,
    refusing_url,
    replies,
    sse_event,
    stream_head,
)

from .conftest import only
from .faces import (
    PARAMS,
    RecordingPolicy,
    ask,
    create,
    failure,
    read,
    read_to_failure,
    stream,
    text_of,
    until,
)

pytestmark = pytest.mark.anyio

SHORT = 0.5
BOTH_WAYS = pytest.mark.parametrize("way", ["create", "stream"])


async def failure_of(client, way, **options):
    """The MeshAPIError that a call ends with, whichever way it is made."""
    if way == "create":
        return await failure(create(client, **options))
    return await read_to_failure(stream(client, **options))


# Streams that are cut

TEXTS = ("Grüße ", "an 🌍", "!")
EVENTS = chat_events(*TEXTS)
CHUNKED = stream_head("X-Request-Id: req-cut") + b"".join(map(http_chunk, EVENTS)) + LAST_CHUNK
# By length: the end is told beforehand.
SIZED = answer(b"".join(EVENTS), 200, "X-Request-Id: req-cut", content_type="text/event-stream")


def whole_events(sent):
    """The texts of the events that `sent`, the beginning of an answer, holds whole, with the line after them."""
    return [text for text, event in zip(TEXTS, EVENTS) if event in sent]


def cut_points(whole):
    """Where to cut: in the head, at its end, and in and around each part of the body up to the last event."""
    head = whole.index(b"\r\n\r\n") + 4
    character = whole.index("🌍".encode())
    done = whole.index(b"data: [DONE]")
    points = {0, 1, 12, 20, head - 2, head, head + 1, head + 3, character + 1, character + 3, done, done + 9}
    for event in EVENTS[:2]:
        end = whole.index(event) + len(event)
        points |= {end - 2, end - 1, end, end + 1, end + 2, end + 4}
    return sorted(points)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("whole", [CHUNKED, SIZED], ids=["chunked", "sized"])
async def test_stream_cut_anywhere(face, whole, end):
    """Wherever a stream is cut, what had arrived is delivered, then it fails as interrupted, again and again."""
    sent = []
    head = whole.index(b"\r\n\r\n") + 4

    def script(connection):
        connection.receive_request()
        connection.send(sent[-1])
        getattr(connection, end)()

    with RawServer(script) as server:
        async with face.client(server) as client:
            for point in cut_points(whole):
                sent.append(whole[:point])
                chunks = []
                events = stream(client)
                error = await read_to_failure(events, chunks)
                assert [text_of([chunk]) for chunk in chunks if text_of([chunk])] == whole_events(sent[-1]), point
                if point >= head:
                    assert facts(error)[:4] == (StreamInterruptedError, 200, "stream_interrupted", "req-cut"), point
                    assert (events.request_id, events.response.status) == ("req-cut", 200)
                elif face.name == "requests" and error.status == 200:
                    # http.client takes a head that breaks off in order for a whole one.
                    assert type(error) is StreamInterruptedError
                else:
                    assert facts(error)[:4] == (APIConnectionError, 0, "connection_error", ""), point
                said = "".join(whole_events(sent[-1]))
                assert (error.partial.choices[0].message.content if said else error.partial) == (said or None)
                assert await read_to_failure(events) is error
                await events.aclose()
                assert await read_to_failure(events) is error
    assert server.accepted == len(cut_points(whole))


async def test_stream_cut_within_its_compression(face):
    """A compressed stream that breaks off is interrupted, even if its HTTP framing ends in order."""
    body = gzip.compress(b"".join(EVENTS))[:-20]
    with RawServer(replies(stream_head("Content-Encoding: gzip") + http_chunk(body) + LAST_CHUNK)) as server:
        async with face.client(server) as client:
            assert type(await read_to_failure(stream(client))) is StreamInterruptedError


async def test_answer_cut_within_its_compression(face):
    """A compressed answer whose last bytes are missing cannot be trusted, even if what came is whole."""
    body = gzip.compress(json.dumps(chat_completion()).encode())[:-4]
    with RawServer(replies(answer(body, 200, "Content-Encoding: gzip"))) as server:
        async with face.client(server) as client:
            assert type(await failure(create(client))) is APIConnectionError


async def test_stream_that_ends_in_order_before_its_last_event(face):
    """A stream whose framing ends properly, but without a last event, was interrupted all the same."""
    body = b"".join(EVENTS[:2])
    with RawServer(replies(stream_head() + http_chunk(body) + LAST_CHUNK)) as server:
        async with face.client(server) as client:
            error = await read_to_failure(stream(client))
    assert type(error) is StreamInterruptedError
    assert error.partial.choices[0].message.content == "Grüße an 🌍"


@pytest.mark.parametrize("framing", [b"zz\r\ndata: [DONE]\n\n\r\n", b"5\r\ndata: too long\r\n", b"\xff\xff\r\n"])
async def test_stream_with_broken_framing(face, framing):
    """A chunk length that is none interrupts a stream, after the events before it.

    The event is taken before the nonsense is sent: aiohttp would lose it if both came in one packet.
    """
    told = threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(stream_head() + http_chunk(EVENTS[0]))
        connection.wait(told)
        connection.send(framing)
        connection.wait_closed()

    with RawServer(script) as server:
        async with face.client(server) as client:
            events = stream(client)
            chunks = [await events.__anext__()]
            told.set()
            error = await read_to_failure(events, chunks)
    assert type(error) is StreamInterruptedError
    assert text_of(chunks) == TEXTS[0]


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_what_arrived_while_the_caller_was_busy(face, end):
    """Events that came in while the caller did something else are delivered, even if the connection broke since."""
    told, done = threading.Event(), threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(stream_head(), http_chunk(EVENTS[0]))
        connection.wait(told)
        connection.send(http_chunk(EVENTS[1]), http_chunk(EVENTS[2]))
        getattr(connection, end)()
        done.set()

    with RawServer(script) as server:
        async with face.client(server) as client:
            events = stream(client)
            chunks = [await events.__anext__()]
            told.set()
            await until(done)
            # Some turns of the loop, for what it has heard to sink in.
            for _ in range(10):
                await until(done)
            assert type(await read_to_failure(events, chunks)) is StreamInterruptedError
    assert text_of(chunks) == "".join(TEXTS)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
async def test_answer_cut(face, framing, end):
    """A JSON answer that is cut, by its length or in its chunks, is a lost connection, not half an answer."""
    body = json.dumps(chat_completion()).encode()
    start = answer(body)[:-10] if framing == "sized" else stream_head() + http_chunk(body)[:-20]

    def script(connection):
        connection.receive_request()
        connection.send(start)
        getattr(connection, end)()

    with RawServer(script) as server:
        async with face.client(server) as client:
            error = await failure(create(client))
    assert (type(error), error.error_code, error.status) == (APIConnectionError, "connection_error", 200)
    assert error.__cause__ is not None
    assert server.accepted == 1


@BOTH_WAYS
@pytest.mark.parametrize(
    "nonsense",
    [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 999999\r\n\r\n", b"\x00\xff" * 100, b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"],
)
async def test_server_that_does_not_speak_http(face, way, nonsense):
    """What is no HTTP answer is a connection error of ours, or at worst another MeshAPIError."""

    def script(connection):
        connection.receive_request()
        connection.send(nonsense)
        connection.close()

    with RawServer(script) as server:
        async with face.client(server) as client:
            error = await failure_of(client, way)
    # http.client shrugs at a header line without a colon.
    assert type(error) is APIConnectionError or (face.name == "requests" and b"200 OK" in nonsense)
    assert server.accepted == 1


# No connection


@BOTH_WAYS
async def test_refused_connection(face, way):
    """A refused connection is a connection error that says that nothing was sent, with the cause chained."""
    with refusing_url() as url:
        async with face.client(url, max_retries=0) as client:
            error = await failure_of(client, way)
    assert (type(error), error.error_code, error.status) == (APIConnectionError, "connection_error", 0)
    assert "nothing was sent" in error.message
    assert error.__cause__ is not None


@BOTH_WAYS
@pytest.mark.parametrize("host", ["no-such-host.invalid", f"{'a' * 64}.invalid", "a..invalid"])
async def test_host_that_does_not_exist(face, way, host):
    """A host name that cannot be resolved, or is none, is a connection error."""
    async with face.client(f"https://{host}", max_retries=0) as client:
        error = await failure_of(client, way)
    assert type(error) is APIConnectionError
    assert "nothing was sent" in error.message


@contextmanager
def full_listener():
    """The URL of a port where connections are neither accepted nor refused."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@BOTH_WAYS
async def test_connection_that_does_not_come_about(face, way):
    """`connect` ends the wait for a connection, and the error says that nothing was sent."""
    policy = RecordingPolicy(max_retries=0)
    with full_listener() as url:
        async with face.client(url, timeout=Timeout(connect=SHORT), retry=policy) as client:
            error = await failure_of(client, way)
    assert (type(error), error.error_code, error.status) == (APITimeoutError, "timeout", 0)
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT_TIMEOUT]


async def test_handshake_that_does_not_come_about(face):
    """`connect` also ends the wait for a TLS handshake."""
    policy = RecordingPolicy(max_retries=0)
    with RawServer(lambda connection: connection.wait_closed()) as server:
        url = server.url.replace("http:", "https:")
        async with face.client(url, timeout=Timeout(connect=SHORT), retry=policy) as client:
            error = await failure(create(client))
    assert (type(error), error.error_code, error.status) == (APITimeoutError, "timeout", 0)
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT_TIMEOUT]


# Silence


def stalling(*pieces):
    """A script that sends `pieces` after a request and then nothing, until the client leaves."""

    def script(connection):
        connection.receive_request()
        connection.send(*pieces)
        connection.wait_closed()

    return script


@pytest.mark.parametrize(
    ("way", "pieces"),
    [
        ("create", []),
        ("create", [b"HTTP/1.1 200 OK\r\nContent-"]),
        ("create", [answer(b"{}")[:-1]]),
        ("create", [answer(b"not found", 404)[:-1]]),
        ("stream", [stream_head()]),
        ("stream", [stream_head(), *map(http_chunk, EVENTS[:2])]),
        ("stream", [stream_head(), http_chunk(EVENTS[0])[:-8]]),
    ],
)
async def test_silence(face, way, pieces):
    """A server that falls silent is left after `timeout`, wherever it was, and the connection is closed."""
    with RawServer(stalling(*pieces)) as server:
        async with face.client(server, timeout=SHORT) as client:
            chunks = []
            error = await failure(create(client)) if way == "create" else await read_to_failure(stream(client), chunks)
            await until(server, lambda server: server.open == 0)
    said = b"".join(pieces)
    assert text_of(chunks) == "".join(whole_events(said))
    if b" 404 " in said:
        assert error.status == 404
    else:
        assert (type(error), error.error_code) == (APITimeoutError, "timeout")
        assert error.status == (200 if b"\r\n\r\n" in said else 0)
    assert server.accepted == 1


async def test_comments_keep_no_stream_alive(face):
    """A stream that brings nothing but comments is as silent as one that brings nothing: events count."""
    gone = threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(stream_head(), http_chunk(EVENTS[0]))
        while not gone.wait(SHORT / 5):
            connection.send(http_chunk(b": keep-alive\n\n"))

    with RawServer(script) as server:
        async with face.client(server) as client:
            chunks = []
            error = await read_to_failure(stream(client, timeout=SHORT), chunks)
        gone.set()
    assert type(error) is APITimeoutError
    assert text_of(chunks) == TEXTS[0]
    assert error.partial.choices[0].message.content == TEXTS[0]


async def test_events_keep_a_stream_alive(face):
    """A stream may take many times the timeout, as long as its events come within it."""
    pause = threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(stream_head())
        for text in "abcd":
            pause.wait(0.4)
            connection.send(http_chunk(sse_event(chat_chunk(text))))
        connection.send(http_chunk(sse_event("[DONE]")), LAST_CHUNK)

    with RawServer(script) as server:
        async with face.client(server, timeout=1.2) as client:
            assert await read(stream(client)) == "abcd"


async def test_timeout_of_a_call_wins(face):
    """`timeout` given with a call stands for that call only."""
    told = threading.Event()

    def patient(connection, request):
        told.wait(SHORT * 2)
        connection.send(chat_answer())

    with RawServer(replies(lambda connection, request: connection.wait_closed(), patient)) as server:
        async with face.client(server, timeout=30.0) as client:
            assert type(await failure(create(client, timeout=SHORT))) is APITimeoutError
            assert await ask(client, "create") == "Hello there"


async def test_server_that_takes_no_request(face):
    """A server that does not read a large request is left after `timeout`, too."""
    if sys.version_info < (3, 10) and face.name == "aiohttp":
        pytest.skip("aiohttp 3.13, the last for Python 3.9, then logs an exception that it has forgotten")
    params = PARAMS.model_copy(update={"user": "x" * 20_000_000})
    gone = threading.Event()
    with RawServer(lambda connection: connection.wait(gone)) as server:
        async with face.client(server, timeout=SHORT) as client:
            error = await failure(client.chat.completions.create(params))
        gone.set()
    assert (type(error), error.error_code) == (APITimeoutError, "timeout")


# Time for the whole call


def dripping(head, piece):
    """A script that answers with `head`, then with one `piece` after the other without end."""

    def script(connection):
        connection.receive_request()
        connection.send(head)
        pause = threading.Event()
        while not pause.wait(0.02):
            connection.send(piece)

    return script


@pytest.mark.parametrize(
    ("way", "script"),
    [
        ("create", stalling()),
        ("create", stalling(stream_head())),
        ("create", dripping(stream_head(), http_chunk(b" "))),
        ("create", dripping(stream_head(content_type="application/json"), http_chunk(b" "))),
        ("create", dripping(answer(b" " * 1000)[:-1000], b" ")),
        ("stream", dripping(stream_head(), http_chunk(EVENTS[0]))),
        ("stream", dripping(stream_head(), http_chunk(b": nothing\n\n"))),
        ("stream", stalling(stream_head(), http_chunk(EVENTS[0]))),
    ],
)
async def test_total(face, way, script):
    """`total` ends a call whatever the server does meanwhile: nothing, or a little again and again."""
    with RawServer(script) as server:
        async with face.client(server, timeout=Timeout(connect=5.0, idle=5.0, total=SHORT)) as client:
            error = await failure_of(client, way)
            await until(server, lambda server: server.open == 0)
    assert (type(error), error.error_code) == (APITimeoutError, "timeout")
    assert "whole call" in error.message


@pytest.mark.parametrize("reused", [False, True])
@only(lambda face: face.name != "requests")
async def test_total_of_a_dripping_head(face, reused):
    """`total` ends a call whose head comes a byte at a time, on a new connection and on one used before.

    requests is known not to: it can set no other limit for a head than one for each of its bytes.
    """
    drip = dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")

    def script(connection):
        if reused:
            connection.receive_request()
            connection.send(chat_answer())
        drip(connection)

    with RawServer(script) as server:
        async with face.client(server) as client:
            if reused:
                await create(client)
            error = await failure(create(client, timeout=Timeout(total=SHORT)))
    assert (type(error), error.error_code) == (APITimeoutError, "timeout")
    assert server.accepted == 1


async def test_total_while_connecting(face):
    """`total` is a limit for the connection, too."""
    with full_listener() as url:
        async with face.client(url, timeout=Timeout(total=SHORT)) as client:
            error = await failure(create(client))
    assert (type(error), error.error_code) == (APITimeoutError, "timeout")


async def test_total_does_not_let_a_retry_wait(face):
    """A wait that would take longer than what is left of `total` is not begun: the error is raised instead."""
    with RawServer(replies(answer(b"", 503, "Retry-After: 20"))) as server:
        async with face.client(server, timeout=Timeout(total=5.0)) as client:
            error = await failure(create(client))
        assert (type(error), error.retry_after_seconds) == (InternalServerError, 20)
        assert len(server.requests) == 1


async def test_total_counts_all_attempts(face):
    """`total` goes on counting through retries."""
    with RawServer(replies(answer(b"", 503), lambda connection, request: connection.wait_closed())) as server:
        async with face.client(server, timeout=Timeout(total=1.5), retry=RecordingPolicy()) as client:
            error = await failure(create(client))
        assert type(error) is APITimeoutError
        assert len(server.requests) == 2


# Answers without success


def envelope(code, message="no", **fields):
    return json.dumps({"error": {"code": code, "message": message, **fields}, "request_id": "req-body"}).encode()


ANSWERS = {
    "401": (
        answer(envelope("unauthorized"), 401, "X-Request-Id: req-head"),
        (AuthenticationError, 401, "unauthorized", "req-body", "no", None),
    ),
    "400 in German": (
        answer('{"detail": "schön"}'.encode(), 400, "X-Request-Id: req-head"),
        (BadRequestError, 400, "invalid_request", "req-head", '{"detail": "schön"}', None),
    ),
    "429 beyond the cap": (
        answer(envelope("rate_limit_exceeded"), 429, "Retry-After: 86400"),
        (RateLimitError, 429, "rate_limit_exceeded", "req-body", "no", 86400),
    ),
    "429 in the body": (
        answer(envelope("rate_limit_exceeded", retry_after_seconds=3600), 429, "Retry-After: 1"),
        (RateLimitError, 429, "rate_limit_exceeded", "req-body", "no", 3600),
    ),
    "429 until a date": (
        answer(
            envelope("rate_limit_exceeded"),
            429,
            "Date: Wed, 21 Oct 2015 07:28:00 GMT",
            "Retry-After: Wed, 21 Oct 2015 08:28:00 GMT",
        ),
        (RateLimitError, 429, "rate_limit_exceeded", "req-body", "no", 3600),
    ),
    "HTML for 500": (
        answer(b"<html>oops</html>", 500, content_type="text/html"),
        (InternalServerError, 500, "parse_error", "", "<html>oops</html>", None),
    ),
    "500 as an event stream": (
        answer(
            b"data: " + envelope("upstream_error", "model crashed") + b"\n\n", 500, content_type="text/event-stream"
        ),
        (InternalServerError, 500, "upstream_error", "req-body", "model crashed", None),
    ),
    "500 without anything": (
        answer_head(500, "Content-Length: 0", "X-Request-Id: req-head"),
        (InternalServerError, 500, "parse_error", "req-head", "HTTP status 500, without a body", None),
    ),
    "500 compressed": (
        answer(gzip.compress(envelope("upstream_error")), 500, "Content-Encoding: gzip"),
        (InternalServerError, 500, "upstream_error", "req-body", "no", None),
    ),
    **{
        f"{status}": (
            answer(b"gone", status, "Location: https://elsewhere.invalid/v1", "X-Request-Id: req-head"),
            (
                RedirectError,
                status,
                "redirect",
                "req-head",
                f"redirects are not followed (HTTP status {status} to https://elsewhere.invalid/v1); check base_url",
                None,
            ),
        )
        for status in (301, 302, 303, 307, 308)
    },
    "304": (
        answer_head(304, "X-Request-Id: req-head"),
        (
            RedirectError,
            304,
            "redirect",
            "req-head",
            "redirects are not followed (HTTP status 304 to nowhere); check base_url",
            None,
        ),
    ),
}


def facts(error):
    return (
        type(error),
        error.status,
        error.error_code,
        error.request_id,
        error.message,
        error.retry_after_seconds,
    )


@BOTH_WAYS
@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_without_success(face, way, name):
    """An answer without success is the same MeshAPIError on every face, and is raised at once."""
    raw, expected = ANSWERS[name]
    with RawServer(replies(raw)) as server:
        async with face.client(server) as client:
            assert facts(await failure_of(client, way)) == expected
        assert len(server.requests) == 1


@BOTH_WAYS
async def test_html_for_a_success(face, way):
    """An HTML page with status 200 is a parse error that quotes it."""
    page = answer(b"<html>log in first</html>", 200, "X-Request-Id: req-head", content_type="text/html")
    with RawServer(replies(page)) as server:
        async with face.client(server) as client:
            error = await failure_of(client, way)
    assert (type(error), error.status, error.error_code, error.request_id) == (
        ResponseParseError,
        200,
        "parse_error",
        "req-head",
    )
    assert "log in first" in error.message


async def test_error_in_the_middle_of_a_stream(face):
    """An error frame is the error that the same envelope would have been, after the events before it."""
    frame = http_chunk(b"data: " + envelope("rate_limit_exceeded", retry_after_seconds=7) + b"\n\n")
    with RawServer(replies(stream_head() + http_chunk(EVENTS[0]) + frame + LAST_CHUNK)) as server:
        async with face.client(server) as client:
            chunks = []
            events = stream(client)
            error = await read_to_failure(events, chunks)
            assert await read_to_failure(events) is error
    assert facts(error) == (RateLimitError, 429, "rate_limit_exceeded", "req-body", "no", 7)
    assert text_of(chunks) == error.partial.choices[0].message.content == TEXTS[0]


async def test_whole_answer_for_a_stream(face):
    """A whole completion instead of a stream is an error that says so, with the completion in it."""
    with RawServer(replies(chat_answer("all at once"))) as server:
        async with face.client(server) as client:
            error = await read_to_failure(stream(client))
    assert type(error) is ResponseParseError
    assert error.partial.choices[0].message.content == "all at once"


async def test_errors_of_a_stream_that_is_entered(face):
    """Entering a stream that is answered without success raises its error, and closes everything."""
    with RawServer(replies(answer(envelope("unauthorized"), 401))) as server:
        async with face.client(server) as client:
            events = stream(client)
            with pytest.raises(AuthenticationError):
                async with events:
                    pytest.fail("it was entered")
            assert events.request_id == ""
            assert events.response.status == 401


@pytest.mark.parametrize("location", ["http://[::1", "http://host:port/", "//", "\\", "x:" + "y" * 9000, "ftp://a/"])
async def test_location_that_is_no_url(face, location):
    """A redirect to nonsense is a redirect like any other; httpx, which looks where it leads, loses the answer."""
    with RawServer(replies(answer(b"", 302, f"Location: {location}"))) as server:
        async with face.client(server) as client:
            error = await failure(create(client))
    if "httpx" in face.library.module:
        assert type(error) in (RedirectError, APIConnectionError)
    else:
        assert (type(error), error.status) == (RedirectError, 302)
        assert location in error.message


# Retries


@BOTH_WAYS
async def test_retry_after(face, way):
    """A call is sent again after 429, not earlier than the server said; a stream only if it may be."""
    policy = RecordingPolicy(max_retries=2)
    reply = chat_answer("at last") if way == "create" else chat_stream("at last")
    limited = answer(envelope("rate_limit_exceeded"), 429, "Retry-After: 0.02")
    with RawServer(replies(limited, limited, reply)) as server:
        async with face.client(server, retry=policy) as client:
            assert await ask(client, way, max_retries=2) == "at last"
        first, second, third = server.requests
        assert first == second == third
        assert server.accepted == 1
    assert [wait >= 0.02 for wait in policy.waits] == [True, True]


async def test_retries_are_used_up(face):
    """After the last retry the last error is raised."""
    policy = RecordingPolicy(max_retries=3)
    with RawServer(replies(answer(b"", 502), answer(b"", 503), answer(b"", 504))) as server:
        async with face.client(server, retry=policy) as client:
            assert (await failure(create(client))).status == 504
        assert len(server.requests) == 4


async def test_streams_are_not_retried_by_default(face):
    """A stream fails at once where a whole answer would be tried again."""
    with RawServer(replies(answer(b"", 503))) as server:
        async with face.client(server, retry=RecordingPolicy()) as client:
            assert (await read_to_failure(stream(client))).status == 503
        assert len(server.requests) == 1


@BOTH_WAYS
async def test_connection_lost_is_not_retried(face, way):
    """Once the request was sent, it may have been carried out: a lost connection is an error, after one request."""

    def lose(connection, request):
        connection.reset()

    with RawServer(replies(lose)) as server:
        async with face.client(server, retry=RecordingPolicy()) as client:
            error = await failure_of(client, way, max_retries=3)
        assert type(error) is APIConnectionError
        assert (len(server.requests), server.accepted) == (1, 1)


@pytest.mark.parametrize("lost", ["reset", "close", "wait_closed"])
@BOTH_WAYS
async def test_connection_lost_is_retried_with_consent(face, way, lost):
    """With `retry_on_network_error`, a request whose connection was lost, or timed out, is sent again."""
    reply = chat_answer("at last") if way == "create" else chat_stream("at last")
    policy = RecordingPolicy(retry_on_network_error=True)
    with RawServer(replies(lambda connection, request: getattr(connection, lost)(), reply)) as server:
        async with face.client(server, retry=policy, timeout=SHORT) as client:
            assert await ask(client, way, max_retries=1) == "at last"
        assert (len(server.requests), server.accepted) == (2, 2)


async def test_stream_is_not_retried_once_it_has_begun(face):
    """After its first byte a stream is never sent again, whatever was consented to."""

    def begin(connection, request):
        connection.send(stream_head(), http_chunk(b":"))
        connection.reset()

    policy = RecordingPolicy(retry_on_network_error=True)
    with RawServer(replies(begin)) as server:
        async with face.client(server, retry=policy) as client:
            assert type(await read_to_failure(stream(client, max_retries=3))) is StreamInterruptedError
        assert len(server.requests) == 1


@BOTH_WAYS
async def test_connection_that_cannot_be_made_is_retried(face, way):
    """As long as nothing was sent, a POST may be tried again."""
    policy = RecordingPolicy(max_retries=2)
    with refusing_url() as url:
        async with face.client(url, retry=policy) as client:
            error = await failure_of(client, way, max_retries=2)
    assert type(error) is APIConnectionError
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT] * 3


async def test_retries_of_the_client_are_a_default(face):
    """`max_retries` of the client holds unless a call says otherwise."""
    with RawServer(replies(answer(b"", 503))) as server:
        async with face.client(server, max_retries=1, retry=RetryPolicy(backoff_base=0.0)) as client:
            await failure(create(client))
            assert len(server.requests) == 2
            await failure(create(client, max_retries=0))
            assert len(server.requests) == 3


async def test_errors_hold_no_secret(face):
    """The token is in no part of an error, nor in what it was chained to."""

    def lose(connection, request):
        connection.reset()

    with RawServer(replies(lose)) as server:
        async with face.client(server, token="rsk_SECRETSECRET") as client:
            error = await failure(create(client))
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        traceback = error.__traceback__
        while traceback is not None:
            if not traceback.tb_frame.f_code.co_filename.startswith(__file__.rpartition("/")[0]):
                for name, value in traceback.tb_frame.f_locals.items():
                    assert "SECRETSECRET" not in repr(value), (traceback.tb_frame, name)
            traceback = traceback.tb_next
        assert "SECRETSECRET" not in repr(vars(error)) + str(error)
        error = error.__cause__ or error.__context__


async def test_every_failure_is_a_meshapi_error():
    """What the tests above caught is the one root of all errors."""
    assert issubclass(StreamInterruptedError, MeshAPIError)
