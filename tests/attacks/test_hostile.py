"""A server that is hostile, or broken: whatever it says, a right answer or a `MeshAPIError`, and a client that goes on.

What is about the core alone is done without sockets; everything else on all faces.  What takes memory or time without
end is done in a process of its own, with less of both than it would need if it were not bounded.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc
import typing
import zlib
from typing import Any, List, Literal, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import meshapi_core as core
from meshapi_core import (
    APIConnectionError,
    APIStatusError,
    MeshAPIConfig,
    MeshAPICore,
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
    replies,
    sse_event,
    stream_head,
)

from ..transports.conftest import only
from ..transports.faces import PARAMS, RecordingPolicy, ask, create, failure, read, read_to_failure, stream, until
from .tools import PATIENCE_SECONDS, safe_repr

FACES = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]
WAYS = pytest.mark.parametrize("way", ["create", "stream"])
# For what is no different from one face to the next but for how its bytes arrive.
TWO_FACES = only(lambda face: face.name in ("stdlib", "aiohttp"))

GOOD = json.dumps(chat_completion("Hi")).encode()


def on_faces(test):
    """A test over sockets, with what all of them need."""
    for mark in FACES:
        test = mark(test)
    return test


def first(reply):
    """Does what `reply` says with the first request, and answers all others well."""

    def hostile(connection, request):
        if isinstance(reply, bytes):
            connection.send(reply)
            connection.close()
        else:
            reply(connection, request)

    def good(connection, request):
        connection.send(chat_stream("Hi") if request.json().get("stream") else chat_answer("Hi"))

    return RawServer(replies(hostile, good))


async def outcome_of(call):
    """What a call gives, or the MeshAPIError that it fails with; no other exception will do."""
    try:
        return await call
    except MeshAPIError as error:
        # Whatever it holds can be shown, and written somewhere.
        for text in (str(error), repr(error), repr(error.details), safe_repr(error.provider_error)):
            assert isinstance(text, str)
        return error


# A server that closes its connection may be asked once more over it before that is known.
AGAIN = {"max_retries": 2, "retry": RetryPolicy(backoff_base=0.0, retry_on_network_error=True)}


async def goes_on(client, way="create"):
    """The client can be used as before."""
    assert await ask(client, way, timeout=5.0, **AGAIN) == "Hi"
    assert await ask(client, "create", timeout=5.0, **AGAIN) == "Hi"


async def attack(face, reply, way="create", allowed=(MeshAPIError,), **options):
    """Meet a hostile server once, and be answered well after it; returns the first outcome."""
    options.setdefault("max_retries", 0)
    options.setdefault("timeout", 5.0)
    with first(reply) as server:
        async with face.client(server, **options) as client:
            outcome = await outcome_of(ask(client, way))
            await goes_on(client, way)
    assert outcome in ("Hi", "") or isinstance(outcome, allowed), outcome
    return outcome


# What is no HTTP


@on_faces
@WAYS
async def test_random_bytes(face, way):
    """Bytes by chance instead of HTTP, instead of a head, and instead of a body."""
    chance = random.Random(1)
    for size in (0, 1, 2, 7, 100, 5000, 70000):
        noise = bytes(chance.randrange(256) for _ in range(size))
        for start in (b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n"):
            outcome = await attack(face, start + noise, way)
            assert isinstance(outcome, MeshAPIError)
        for start in (answer_head(200), stream_head(), answer_head(500), answer_head(200, f"Content-Length: {size}")):
            await attack(face, start + noise, way)


FRAMINGS = {
    "two lengths": ["Content-Length: {n}", "Content-Length: {m}"],
    "two lengths in one": ["Content-Length: {n}, {m}"],
    "the same length twice": ["Content-Length: {n}", "Content-Length: {n}"],
    "a length and chunks": ["Content-Length: {n}", "Transfer-Encoding: chunked"],
    "chunks and a length": ["Transfer-Encoding: chunked", "Content-Length: {n}"],
    "chunks twice": ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    "chunked, identity": ["Transfer-Encoding: chunked, identity"],
    "identity, chunked": ["Transfer-Encoding: identity, chunked"],
    "xchunked": ["Transfer-Encoding: xchunked"],
    "CHUNKED": ["Transfer-Encoding: CHUNKED"],
    "a space before the colon": ["Transfer-Encoding : chunked", "Content-Length: {n}"],
    "vertical tab": ["Transfer-Encoding: \x0bchunked", "Content-Length: {n}"],
    "folded": ["Transfer-Encoding:\r\n chunked"],
    "negative": ["Content-Length: -{n}"],
    "signed": ["Content-Length: +{n}"],
    "hexadecimal": ["Content-Length: 0x{n}"],
    "underscore": ["Content-Length: 1_{n}"],
    "other digits": ["Content-Length: \xb2\xb3"],
    "a fraction": ["Content-Length: {n}.0"],
    "empty": ["Content-Length:"],
    "word": ["Content-Length: many"],
    "huge": ["Content-Length: 1" + "0" * 30],
    "immense": ["Content-Length: 1" + "0" * 5000],
    "too long": ["Content-Length: {m}"],
    "too short": ["Content-Length: 3"],
    "zero": ["Content-Length: 0"],
}


@on_faces
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", FRAMINGS)
@WAYS
async def test_framings(face, name, chunked, way):
    """A body framed in a way that is wrong, or in two: its right content, or an error."""
    body = GOOD if way == "create" else b"".join(chat_events("Hi"))
    fields = [field.format(n=len(body), m=len(body) + 7) for field in FRAMINGS[name]]
    content_type = "application/json" if way == "create" else "text/event-stream"
    head = answer_head(200, f"Content-Type: {content_type}", *fields)
    await attack(face, head + (http_chunk(body) + LAST_CHUNK if chunked else body), way)


CHUNKS = {
    "no size": b"\r\n%b\r\n0\r\n\r\n",
    "negative": b"-1\r\n%b\r\n0\r\n\r\n",
    "signed": b"+5\r\n%b\r\n0\r\n\r\n",
    "hexadecimal": b"0x5\r\n%b\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n%b\r\n0\r\n\r\n",
    "huge": b"ffffffffffffffffffffffffffff\r\n%b",
    "immense": b"f" * 20000 + b"\r\n%b",
    "overflow": b"10000000000000005\r\n%b",
    "space": b"5 \r\n%b\r\n0\r\n\r\n",
    "no end of line": b"5%b\r\n0\r\n\r\n",
    "LF": b"5\n%b\n0\n\n",
    "letters": b"xyz\r\n%b\r\n0\r\n\r\n",
    "extension": b'5;a="\r\n"\r\n%b\r\n0\r\n\r\n',
    "nothing": b"",
    "end only": b"0\r\n\r\n",
}


@on_faces
@pytest.mark.parametrize("name", CHUNKS)
@WAYS
async def test_chunks(face, name, way):
    """Chunks whose sizes are none."""
    raw = CHUNKS[name].replace(b"%b", GOOD)
    await attack(face, stream_head() + raw, way)
    head = stream_head() + http_chunk(chat_events("Hi")[0])
    outcome = await attack(face, head + raw, "stream")
    assert isinstance(outcome, MeshAPIError)


STATUS_LINES = [
    "HTTP/1.1 099 Low",
    "HTTP/1.1 000 None",
    "HTTP/1.1 999 High",
    "HTTP/1.1 600 High",
    "HTTP/1.1 abc",
    "HTTP/1.1 1000 Long",
    "HTTP/1.1 20 Short",
    "HTTP/1.1 -200 Negative",
    "HTTP/1.1 200.5 OK",
    "HTTP/1.1 2e2 OK",
    "HTTP/1.1 \xb2\xb0\xb0 OK",
    "HTTP/1.1",
    "HTTP/1.1 ",
    "HTTP/1.1  200 OK",
    "HTTP/1.1\t200\tOK",
    "HTTP/0.9 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/1.2 200 OK",
    "HTTP/11.1 200 OK",
    "HTTP/1 200 OK",
    "http/1.1 200 OK",
    "ICY 200 OK",
    " HTTP/1.1 200 OK",
    "\r\n\r\nHTTP/1.1 200 OK",
    "HTTP/1.1 200 " + "x" * 20000,
    "HTTP/1.1 200 \x00\xff\x7f",
    "HTTP/1.1 200",
]


@on_faces
@pytest.mark.parametrize("line", STATUS_LINES, ids=lambda line: ascii(line)[:30])
async def test_status_lines(face, line):
    """A status that is none, and versions that there are not: an error, or what stands there anyway."""
    raw = line.encode("latin-1") + b"\r\n" + chat_answer("Hi").partition(b"\r\n")[2]
    outcome = await attack(face, raw)
    if "999" in line or "600" in line:
        assert outcome != "Hi"


HEADER_FIELDS = {
    "duplicates": ["Content-Type: text/html", "Content-Type: text/plain", "X-Request-Id: a", "X-Request-Id: b"],
    "folded": ["X-A: one\r\n two\r\n\tthree"],
    "folded first": [" X-A: one"],
    "no colon": ["nonsense"],
    "no name": [": value"],
    "spaces in the name": ["X A: b"],
    "a space before the colon": ["X-A : b"],
    "NUL": ["X-A: a\0b"],
    "CR": ["X-A: a\rb"],
    "LF alone": ["X-A: a\nX-B: b"],
    "latin-1": ["X-Request-Id: \xe4\xff", "\xe4: b"],
    "control characters": ["X-Request-Id: \x1b[31mred\x7f"],
    "many": [f"X-{number}: {number}" for number in range(90)],
    "too many": [f"X-{number}: {number}" for number in range(2000)],
    "long": ["X-A: " + "a" * 60000],
    "too long": ["X-A: " + "a" * 600000],
    "empty": ["X-A:", "X-Request-Id:", "Retry-After:"],
    "unknown coding": ["Content-Encoding: br"],
    "codings without end": ["Content-Encoding: " + "gzip, " * 5000],
    "strange charset": ["Content-Type: application/json; charset=utf-7"],
    "connection": ["Connection: close, keep-alive, upgrade", "Upgrade: h2c", "Keep-Alive: timeout=-1, max=x"],
    "cookies": ["Set-Cookie: a=b; Domain=evil; Max-Age=" + "9" * 400, "Set-Cookie: a=b; expires=never"],
}


@on_faces
# Python's own, of an age that is no number of seconds.
@pytest.mark.filterwarnings("ignore:http.cookiejar bug:UserWarning")
@pytest.mark.parametrize("name", HEADER_FIELDS)
@WAYS
async def test_headers(face, name, way):
    """Fields that are wrong, or too many, or meant to be taken for something else."""
    fields = HEADER_FIELDS[name]
    await attack(face, chat_answer("Hi", *fields) if way == "create" else chat_stream("Hi", fields=fields), way)
    # The same in a failure, where some of them are looked at.
    outcome = await attack(face, answer(b"{}", 404, *fields), way)
    assert isinstance(outcome, (APIStatusError, APIConnectionError))
    if name in ("duplicates", "empty", "cookies", "many"):
        assert outcome.status == 404


@on_faces
@pytest.mark.parametrize("status", [100, 102, 103, 199])
@pytest.mark.parametrize("count", [1, 40])
@WAYS
async def test_interim_answers(face, status, count, way):
    """Any number of 1xx before the answer changes nothing."""
    interim = (f"HTTP/1.1 {status} Wait\r\nLink: </a>\r\n\r\n" * count).encode()
    final = chat_answer("Hi") if way == "create" else chat_stream("Hi")

    def reply(connection, request):
        connection.send(interim, final)
        connection.close()

    assert await attack(face, reply, way) == "Hi"


@on_faces
async def test_upgrade_that_nobody_asked_for(face):
    """101 is an error, and its connection is not used again."""
    raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + chat_answer("Hi")
    assert isinstance(await attack(face, raw), APIConnectionError)


@on_faces
@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("body", [b"", GOOD])
@WAYS
async def test_nothing_where_a_body_is_due(face, status, body, way):
    """An answer without a body, or that may have none and has, is no answer."""
    raw = answer(body, status)
    outcome = await attack(face, raw, way)
    if status == 304:
        assert type(outcome) in (RedirectError, APIConnectionError)
    elif not body or status == 204:
        assert isinstance(outcome, MeshAPIError)


@on_faces
async def test_head_without_its_body(face):
    """What looks like the answer to a HEAD request is an answer that broke off."""
    outcome = await attack(face, answer_head(200, "Content-Type: application/json", f"Content-Length: {len(GOOD)}"))
    assert type(outcome) is APIConnectionError
    assert type(await attack(face, stream_head(), "stream")) in (APIConnectionError, StreamInterruptedError)


@on_faces
@pytest.mark.parametrize(
    "cut", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nX: y\r\n"]
)
@pytest.mark.parametrize("way", ["content", "results"])
async def test_head_that_is_cut(face, cut, way):
    """A connection that ends within the head of a file brought no file: neither an empty one nor one without lines."""

    def reply(connection, request):
        connection.send(cut)
        connection.close()

    with first(reply) as server:
        async with face.client(server, max_retries=0) as client:
            if way == "content":
                await failure(client.files.content("f"))
            else:
                batch = core.BatchObject(id="b", status="completed", output_file_id="f")
                await read_to_failure(client.batches.results(batch))


RETRY_AFTER = [
    "-1",
    "1e9",
    "soon",
    "1" + "0" * 400,
    "1" + "0" * 5000,
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "0x10",
    "",
    "99999, 5",
    "\xb2",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Thu, 99 Foo 99999 99:99:99 GMT",
    "Fri, 31 Dec 9999 23:59:59 +9999",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "01 Jan",
    "1970-01-01T00:00:00Z",
    "((((((",
]


@on_faces
@pytest.mark.parametrize("value", RETRY_AFTER, ids=lambda value: value[:30])
@pytest.mark.parametrize("place", ["header", "body"])
async def test_retry_after(face, value, place):
    """A wait that is none, or is endless, is waited for neither way: the call is tried again at once, or fails."""
    if place == "header":
        fields = [f"Retry-After: {value}", "Date: Thu, 01 Jan 1970 00:00:00 GMT"]
        limited = answer(b'{"error": {"code": "rate_limit_exceeded", "message": "m"}}', 429, *fields)
    else:
        given = value if value and value.lstrip("-").isdigit() and value.isascii() else json.dumps(value)
        limited = answer(f'{{"error": {{"message": "m", "retry_after_seconds": {given}}}}}'.encode(), 429)
    policy = RecordingPolicy(max_retries=1)
    with RawServer(replies(limited, chat_answer("Hi"))) as server:
        async with face.client(server, retry=policy) as client:
            outcome = await outcome_of(ask(client, "create"))
            assert await ask(client, "create") == "Hi"
    (wait,) = policy.waits
    if wait is None:
        assert isinstance(outcome, RateLimitError)
        assert outcome.retry_after_seconds > 30
    else:
        assert 0 <= wait < 1
        assert outcome == "Hi"


# One answer too many

EVIL = chat_answer("evil")


@on_faces
@pytest.mark.parametrize("first_answer", ["whole", "chunked", "stream", "empty", "204"])
@pytest.mark.parametrize("apart", [False, True])
async def test_answer_that_nobody_asked_for(face, first_answer, apart):
    """A second answer, sent along with the first or after it, is never taken for that to the next request."""
    answers = {
        "whole": chat_answer("Hi"),
        "chunked": stream_head(content_type="application/json") + http_chunk(GOOD) + LAST_CHUNK,
        "stream": chat_stream("Hi"),
        "empty": answer(b"", 404),
        "204": answer_head(204),
    }
    sent = threading.Event()

    def reply(connection, request):
        if apart:
            connection.send(answers[first_answer], EVIL)
        else:
            connection.send(answers[first_answer] + EVIL)
        sent.set()

    with first(reply) as server:
        async with face.client(server, max_retries=0) as client:
            if first_answer == "204":
                await outcome_of(client.files.delete("f"))
            else:
                await outcome_of(ask(client, "stream" if first_answer == "stream" else "create"))
            await until(sent)
            # A turn of the loop, for what has come to be heard.
            await until(sent)
            for _ in range(3):
                outcome = await outcome_of(ask(client, "create"))
                assert outcome == "Hi" or isinstance(outcome, MeshAPIError)


@on_faces
async def test_answer_that_comes_unasked_later(face):
    """An answer that comes while a connection is idle is not that to the next request."""
    told, sent = threading.Event(), threading.Event()

    def reply(connection, request):
        connection.send(chat_answer("Hi"))
        connection.wait(told)
        connection.send(EVIL)
        sent.set()

    with first(reply) as server:
        async with face.client(server, max_retries=0) as client:
            assert await ask(client, "create") == "Hi"
            told.set()
            # Some turns of the loop, for what has come to be heard.
            for _ in range(10):
                await until(sent)
            for _ in range(3):
                outcome = await outcome_of(ask(client, "create"))
                assert outcome == "Hi" or isinstance(outcome, MeshAPIError)


@on_faces
async def test_answer_in_the_body_of_none(face):
    """The body of an answer that can have none is not the next answer."""

    def reply(connection, request):
        connection.send(answer_head(204, f"Content-Length: {len(EVIL)}") + EVIL)

    with first(reply) as server:
        async with face.client(server, max_retries=0) as client:
            await outcome_of(client.files.delete("f"))
            for _ in range(3):
                outcome = await outcome_of(ask(client, "create"))
                assert outcome == "Hi" or isinstance(outcome, MeshAPIError)


@on_faces
async def test_server_that_speaks_first(face):
    """An answer that was there before the request: taken, or an error, and nothing else is spoilt."""

    def script(connection):
        if connection.number == 0:
            connection.send(chat_answer("Hi"))
        while True:
            connection.receive_request()
            connection.send(chat_answer("Hi"))

    with RawServer(script) as server:
        async with face.client(server, max_retries=0) as client:
            for _ in range(4):
                outcome = await outcome_of(ask(client, "create"))
                assert outcome == "Hi" or isinstance(outcome, MeshAPIError)
            await goes_on(client)


LARGE = core.ChatCompletionParams(messages=[{"role": "user", "content": "x" * (8 << 20)}])


@on_faces
@pytest.mark.parametrize("end", ["answers and closes", "answers and resets", "closes", "resets", "answers and reads"])
async def test_upload_that_is_not_read(face, end):
    """A server that answers before it has read the request, or goes away amid it: its answer, or a lost connection."""

    def script(connection):
        if connection.number:
            while True:
                connection.receive_request()
                connection.send(chat_answer("Hi"))
        connection._receive_more()
        if "answers" in end:
            connection.send(answer(b'{"error": {"code": "too_large", "message": "m"}}', 413, "Connection: close"))
        if end.endswith("reads"):
            connection.wait_closed()
        elif end.endswith("closes"):
            connection.close()
        else:
            connection.reset()

    with RawServer(script) as server:
        async with face.client(server, max_retries=0) as client:
            error = await failure(client.chat.completions.create(LARGE))
            assert error.status in (0, 413)
            assert isinstance(error, (APIStatusError, APIConnectionError))
            if error.status == 0:
                assert "nothing was sent" not in error.message
            if end.endswith("reads"):
                assert error.status == 413
            await goes_on(client)


# What has no end

PIECE = b"a" * 65536
ENDLESS = {
    "status line": (b"HTTP/1.1 200 ", PIECE),
    "header's name": (b"HTTP/1.1 200 OK\r\n", PIECE),
    "header's value": (b"HTTP/1.1 200 OK\r\nX-A: ", PIECE),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 8000),
    "folded header": (b"HTTP/1.1 200 OK\r\nX-A: b\r\n", b" b\r\n" * 16000),
    "interim answers": (b"", b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * 2000),
    "chunk's extension": (stream_head() + b"5;x=", PIECE),
    "chunk's size": (stream_head(), b"0" * 65536),
    "trailers": (stream_head() + http_chunk(b"{}") + b"0\r\n", b"X-A: b\r\n" * 8000),
    "trailer": (stream_head() + http_chunk(b"{}") + b"0\r\nX-A: ", PIECE),
    "tiny chunks": (stream_head(), http_chunk(b" ") * 10000),
    "answer": (answer_head(200), b" " * 65536),
    "error": (answer_head(500), b" " * 65536),
    "redirect": (answer_head(302, "Location: /"), b" " * 65536),
}


@on_faces
@pytest.mark.parametrize("name", ENDLESS)
async def test_what_has_no_end(face, name):
    """What goes on for ever is ended by its size, or by the time for the whole call, and the connection is closed."""
    start, piece = ENDLESS[name]
    outlasted = threading.Event()

    def reply(connection, request):
        deadline = time.monotonic() + PATIENCE_SECONDS
        connection.send(start)
        while time.monotonic() < deadline:
            connection.send(piece)
        outlasted.set()
        connection.reset()

    timeout = Timeout(connect=5.0, idle=5.0, total=0.5)
    with first(reply) as server:
        async with face.client(server, timeout=timeout, max_retries=0, max_answer_size=1 << 20) as client:
            error = await failure(create(client))
            assert not outlasted.is_set()
            if name in ("answer", "tiny chunks"):
                assert type(error) in (ResponseParseError, core.APITimeoutError)
            await goes_on(client)


@on_faces
@pytest.mark.parametrize("piece", [b": x\n" * 8000, b"data: " + b"x" * 65536, b"data\n" * 12000, b"id: 1\n" * 9000])
async def test_stream_that_has_no_end(face, piece):
    """A stream that goes on for ever without an event is ended by the time for the next event, or by its size."""
    outlasted = threading.Event()

    def reply(connection, request):
        deadline = time.monotonic() + PATIENCE_SECONDS
        connection.send(stream_head())
        while time.monotonic() < deadline:
            connection.send(http_chunk(piece))
        outlasted.set()
        connection.reset()

    with first(reply) as server:
        async with face.client(server, timeout=0.3, max_event_size=1 << 20) as client:
            error = await read_to_failure(stream(client))
            assert not outlasted.is_set()
            assert type(error) in (ResponseParseError, core.APITimeoutError)
            await goes_on(client)


# What is no JSON, or too much of it

DEEP = 100000
BODIES = {
    "deep lists": b"[" * DEEP,
    "deep lists, closed": b'{"x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep choices": b'{"choices": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep with half a character": b'{"x": ' + b"[" * DEEP + b'"\\ud800"' + b"]" * DEEP + b"}",
    "deep error": b'{"error": {"message": "m", "details": ' + b"[" * DEEP + b"]" * DEEP + b"}}",
    "less deep error": b'{"error": {"message": "m", "details": ' + b"[" * 500 + b"]" * 500 + b"}}",
    "not UTF-8": b'{"id": "\xff\xfe\xc3", "choices": []}',
    "only \xff": b"\xff" * 1000,
    "UTF-16": '{"choices": []}'.encode("utf-16"),
    "BOMs": b"\xef\xbb\xbf" * 3 + GOOD,
    "NaN": b'{"created": NaN, "choices": [], "usage": {"total_tokens": Infinity, "x": -Infinity}}',
    "huge number": b'{"created": 1e999, "usage": {"total_tokens": 1' + b"0" * 5000 + b"}}",
    "huge number in an error": b'{"error": {"message": "m", "code": 1' + b"0" * 5000 + b"}}",
    "half characters": b'{"id": "\\ud800", "choices": [], "model": "\\udc00\\ud800"}',
    "half characters in an error": b'{"error": {"message": "\\ud800", "code": "\\udfff", "details": ["\\ud8"]}}',
    "NUL": b'{"id": "\\u0000", "choices": []}\0',
    "two documents": GOOD + GOOD,
    "the same key twice": b'{"choices": 1, "choices": [], "choices": null, "choices": []}',
    "half": GOOD[:-5],
    "null": b"null",
    "true": b"true",
    "text": b'"text"',
    "number": b"1",
    "minus": b"-",
    "empty": b"",
    "blank": b" \r\n\t ",
    "list": b"[]",
    "object": b"{}",
    "comment": b"/* */ {}",
    "many keys": b"{" + b", ".join(b'"k%d": 1' % number for number in range(20000)) + b"}",
}


@on_faces
@pytest.mark.parametrize("name", BODIES)
async def test_bodies(face, name, request):
    """Whatever the body of an answer, of an error, or of an event: a value or an error."""
    body = BODIES[name]
    with RawServer(replies(lambda connection, request: connection.send(next(raws)))) as server:
        raws = iter(
            [
                answer(body),
                answer(body, 400),
                answer(body, 503, content_type="text/html"),
                stream_head() + http_chunk(b"data: " + body + b"\n\n") + LAST_CHUNK,
                stream_head() + http_chunk(b"event: error\ndata: " + body + b"\n\n") + LAST_CHUNK,
                answer(b"data: " + body + b"\n\n", 500, content_type="text/event-stream"),
                answer(body),
                answer(body),
                chat_answer("Hi"),
            ]
        )
        async with face.client(server, max_retries=0) as client:
            await outcome_of(create(client))
            assert isinstance(await outcome_of(create(client)), APIStatusError)
            assert isinstance(await outcome_of(create(client)), APIStatusError)
            # A completion whose marks are passed over is an event that ends its stream.
            assert isinstance(await outcome_of(read(stream(client))), MeshAPIError) or name == "BOMs"
            assert isinstance(await outcome_of(read(stream(client))), MeshAPIError)
            assert isinstance(await outcome_of(create(client)), APIStatusError)
            assert isinstance(await outcome_of(read(stream(client))), MeshAPIError)
            await outcome_of(client.models.list())
            assert await ask(client, "create") == "Hi"
            assert server.accepted <= 9


@on_faces
@WAYS
async def test_mutations_by_chance(face, way):
    """A good answer with bytes changed, lost, doubled and added by chance: the answer, or an error, fifty times."""
    chance = random.Random(face.name + way)
    whole = chat_answer("Hi") if way == "create" else chat_stream("Hi", " there")
    mutated: List[bytes] = []
    for _ in range(50):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(max(len(raw), 1))
            kind = chance.randrange(5)
            if kind == 0:
                raw[at : at + 1] = bytes([chance.randrange(256)])
            elif kind == 1:
                del raw[at : at + chance.randint(1, 20)]
            elif kind == 2:
                raw[at:at] = raw[at : at + chance.randint(1, 40)]
            elif kind == 3:
                raw[at:at] = chance.choice([b"\r\n", b"\0", b'"', b"{", b"]", b"\xff", b"0\r\n\r\n", b"\n\n", b": "])
            else:
                del raw[at:]
        mutated.append(bytes(raw))

    def script(connection):
        while True:
            connection.receive_request()
            if mutated:
                connection.send(mutated.pop())
                connection.close()
            connection.send(whole)

    with RawServer(script) as server:
        async with face.client(server, max_retries=0, timeout=5.0) as client:
            while mutated:
                await outcome_of(create(client) if way == "create" else read(stream(client)))
            # At last the good one, over a connection of its own.
            assert (await ask(client, way, **AGAIN)).startswith("Hi")


# Events that are too large, or too many


@on_faces
@TWO_FACES
async def test_large_event(face):
    """An event of 64 MB arrives whole, in time that grows with its size alone."""
    text = "x" * (64 << 20)
    with RawServer(replies(chat_stream(text))) as server:
        async with face.client(server, timeout=60.0) as client:
            assert await read(stream(client)) == text


@on_faces
async def test_event_that_is_larger_than_allowed(face):
    """An event beyond `max_event_size` is a clear error, long before the whole of it has come."""
    cap = 64 << 20
    sent = [0]

    def reply(connection, request):
        connection.send(stream_head(), http_chunk(b"data: "))
        while sent[0] < cap:
            connection.send(http_chunk(PIECE))
            sent[0] += len(PIECE)
        connection.wait_closed()

    with first(reply) as server:
        async with face.client(server, max_event_size=100000) as client:
            error = await read_to_failure(stream(client))
            assert type(error) is ResponseParseError
            assert "max_event_size" in error.message
            await goes_on(client, "stream")
    assert sent[0] < cap


@on_faces
async def test_many_events_at_once(face):
    """Twenty thousand tiny events in one chunk are twenty thousand events."""
    event = sse_event(chat_chunk("a"))
    body = event * 20000 + b"".join(chat_events())
    with RawServer(replies(stream_head() + http_chunk(body) + LAST_CHUNK)) as server:
        async with face.client(server, timeout=30.0) as client:
            assert await read(stream(client)) == "a" * 20000


# The core alone

CORE = MeshAPICore(MeshAPIConfig("https://host", token="rsk_0123456789"))
LIMITED = MeshAPICore(MeshAPIConfig("https://host", token="rsk_0123456789", max_event_size=1 << 16))


def drive(call, body, status=200, content_type="text/event-stream", piece=65536):
    """Feed a call its answer, in pieces; returns the items that came of it."""
    items: List[Any] = []
    call.next_action()
    call.receive_response(status, {"content-type": content_type})
    for start in range(0, len(body), piece):
        if call.is_over:
            break
        call.receive_data(body[start : start + piece])
        items += call.events() if hasattr(call, "events") else []
    if not call.is_over and call.state is not core.State.WAIT:
        call.receive_eof()
        items += call.events() if hasattr(call, "events") else []
    call.next_action()
    return items


def test_event_of_200_mb():
    """An event of 200 MB is read like any other; pieces do not make it slower."""
    text = b"x" * (200 << 20)
    body = b'data: {"choices": [{"delta": {"content": "' + text + b'"}, "finish_reason": "stop"}]}\n\n'
    call = CORE.chat.completions.stream(PARAMS)
    (chunk,) = drive(call, body)
    assert len(chunk.choices[0].delta.content) == len(text)
    assert len(call.result.choices[0].message.content) == len(text)


BEYOND = {
    "one line": b"data: " + b"x" * (8 << 20),
    "many lines": b"data: x\n" * (1 << 20),
    "many lines, then an end": b"data: x\n" * (1 << 20) + b"\n",
    "one field": b"event: " + b"x" * (8 << 20),
    "a comment": b": " + b"x" * (8 << 20),
}


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("piece", [1 << 12, 1 << 16])
def test_event_beyond_its_limit(name, piece):
    """What is larger than `max_event_size` is refused in memory that is not larger by much."""
    call = LIMITED.chat.completions.stream(PARAMS)
    body = BEYOND[name]
    tracemalloc.start()
    try:
        with pytest.raises(ResponseParseError, match="max_event_size"):
            drive(call, body, piece=piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_empty_lines_of_data_count():
    """Lines of data that are empty are part of an event's size too: each is a line's end in it."""
    call = LIMITED.chat.completions.stream(PARAMS)
    with pytest.raises(MeshAPIError) as caught:
        drive(call, b"data\n" * (1 << 18))
    assert type(caught.value) is ResponseParseError


def test_comments_are_not_kept():
    """Comments, which servers send for as long as they like, take no memory."""
    call = LIMITED.chat.completions.stream(PARAMS)
    call.next_action()
    call.receive_response(200, {"content-type": "text/event-stream"})
    tracemalloc.start()
    try:
        for _ in range(500):
            call.receive_data(b": keep-alive\n\n" * 2000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_100000_events_in_one_chunk():
    """A hundred thousand tiny events in one piece are all there, and add up."""
    body = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' * 100000 + b"data: [DONE]\n\n"
    call = CORE.chat.completions.stream(PARAMS)
    assert len(drive(call, body, piece=len(body))) == 100000
    assert call.result.choices[0].message.content == "a" * 100000


# In a process with an allowance


def run_with_allowance(code, *, seconds, megabytes, environment=None):
    """Run `code` in a process that is ended when it uses more processor time, or is refused more memory."""
    pytest.importorskip("resource")
    prelude = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({megabytes << 20}, {megabytes << 20}))\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        done = subprocess.run(
            [sys.executable, "-c", prelude + code],
            capture_output=True,
            text=True,
            cwd=root,
            env={**os.environ, **(environment or {})},
            check=False,
            # For one that was refused memory, and waits for a thread that this has ended.
            timeout=120.0,
        )
    except subprocess.TimeoutExpired:
        pytest.fail("it did not come to an end")
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-800:]}"
    return done.stdout


DRIVE = """
from meshapi_core import *
CORE = MeshAPICore(MeshAPIConfig("https://host", token="rsk_0123456789"))
LIMITED = MeshAPICore(MeshAPIConfig("https://host", token="rsk_0123456789", max_event_size=1000))
PARAMS = ChatCompletionParams(messages=[])
def drive(call, body, status=200, content_type="text/event-stream", piece=65536):
    call.next_action()
    call.receive_response(status, {"content-type": content_type})
    for start in range(0, len(body), piece):
        if call.is_over:
            break
        call.receive_data(body[start:start + piece])
    if not call.is_over:
        call.receive_eof()
    call.next_action()
    return getattr(call, "result", None)
def attempt(*arguments, **options):
    try:
        drive(*arguments, **options)
    except MeshAPIError as error:
        assert len(str(error)) < 2000
"""

COSTLY = {
    "text in many pieces": """
body = b'data: {"choices":[{"delta":{"content":"abcdefghij"}}]}\\n\\n' * 20000 + b"data: [DONE]\\n\\n"
assert len(drive(CORE.chat.completions.stream(PARAMS), body).choices[0].message.content) == 200000
""",
    "a byte at a time": """
body = b'data: {"choices":[{"delta":{"content":"' + b"x" * 300000 + b'"},"finish_reason":"stop"}]}\\n\\n'
drive(CORE.chat.completions.stream(PARAMS), body, piece=1)
drive(CORE.chat.completions.create(PARAMS), b'{"id":"' + b"x" * 300000 + b'"}', piece=1)
""",
    "half characters": """
attempt(CORE.chat.completions.create(PARAMS), b'{"id":"' + b"\\\\ud800" * 1000000 + b'"}')
""",
    "gzip members": """
import gzip
from meshapi_transports._content_coding import ContentDecoder
ContentDecoder("gzip").decode(gzip.compress(b"") * 50000)
""",
    "tool calls": """
calls = ",".join('{"index":0,"id":"x%d"}' % number for number in range(40000))
event = 'data: {"choices":[{"delta":{"tool_calls":[' + calls + ']},"finish_reason":"stop"}]}\\n\\n'
drive(CORE.chat.completions.stream(PARAMS), event.encode() + b"data: [DONE]\\n\\n")
""",
    "parts of a response": """
item = '{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[%s]}}'
body = b"data: " + (item % ",".join(['{"type":"x"}'] * 20000)).encode() + b"\\n\\n"
body += b'data: {"type":"response.output_text.delta","output_index":0,"content_index":1,"delta":"a"}\\n\\n' * 20000
drive(CORE.responses.stream(ResponsesParams(input="a")), body + b"data: [DONE]\\n\\n")
""",
    "empty lines of data": """
attempt(LIMITED.chat.completions.stream(PARAMS), b"data\\n" * 8000000, piece=1 << 14)
""",
    "blanks after a fence": """
import json
content = "```\\n" + " " * 2000000
body = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).encode()
attempt(CORE.chat.completions.parse(PARAMS, dict), body)
""",
    "wrong items": """
attempt(CORE.chat.completions.create(PARAMS), b'{"choices":[' + b"1," * 4000000 + b"1]}")
""",
    "wrong models": """
attempt(CORE.models.list(), b"[" + b"1," * 4000000 + b"1]")
""",
    "right items": """
attempt(CORE.responses.create(ResponsesParams(input="a")), b'{"output":[' + b"1," * 4000000 + b"1]}")
""",
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_answers(name):
    """What is meant to cost much more than its size in time or memory does not."""
    run_with_allowance(DRIVE + COSTLY[name], seconds=4, megabytes=1000)


BOMB = """
import gzip, os, sys
import anyio
from tests.transports.faces import FACES, ask, create, stream
from meshapi_core import MeshAPIError, Timeout
from meshapi_transports.testing.raw import RawServer, answer, chat_answer, http_chunk, replies, stream_head, LAST_CHUNK
face = next(face for face in FACES if face.name == os.environ["FACE"])
layers, way = int(os.environ["LAYERS"]), os.environ["WAY"]
bomb = gzip.compress(b"x" * (1 << 24), 9) * 64  # a gigabyte
for _ in range(layers - 1):
    bomb = gzip.compress(bomb, 9)
coding = "Content-Encoding: " + ", ".join(["gzip"] * layers)
if way == "create":
    raw = answer(bomb, 200, coding)
elif way == "error":
    raw = answer(bomb, 500, coding)
else:
    raw = stream_head(coding) + http_chunk(bomb) + LAST_CHUNK
async def main():
    with RawServer(replies(raw, chat_answer("Hi"))) as server:
        limits = {"max_answer_size": 1 << 20, "max_event_size": 1 << 20, "max_retries": 0, "timeout": 30.0}
        async with face.client(server, **limits) as client:
            try:
                await ask(client, "stream" if way == "stream" else "create")
            except MeshAPIError as error:
                print(type(error).__name__, error.status)
            assert await ask(client, "create") == "Hi"
anyio.run(main, backend=face.backend)
"""


@pytest.mark.parametrize(("way", "layers"), [("create", 1), ("create", 2), ("stream", 1), ("stream", 2), ("error", 1)])
@only(lambda face: face.name in ("stdlib", "aiohttp", "trio", "httpx"))
def test_bomb(face, way, layers):
    """A gigabyte in a megabyte, or in a few kilobytes, are given up in a fraction of that memory."""
    environment = {"FACE": face.name, "LAYERS": str(layers), "WAY": way}
    said = run_with_allowance(BOMB, seconds=8, megabytes=800, environment=environment).split()
    if way == "error":
        assert said == ["InternalServerError", "500"]
    else:
        # Too large for its limit, or refused before that is known.
        assert said[0] in ("ResponseParseError", "APIConnectionError", "StreamInterruptedError")
        assert said[1] == "200"


# Wrong types in every field of every answer

WRONG = [None, 0, -1, 1.5, 1e308, 10**25, "", "x", "5", [], [None], ["x"], [[]], [{}], {}, {"a": 1}, True, False]


def sample(annotation: Any, depth: int = 0) -> Any:
    """A value that an annotation allows, with each field of each model filled."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return sample(annotation.__origin__, depth)
    if origin is Literal:
        return arguments[0]
    if origin is Union:
        return sample(next(each for each in arguments if each is not type(None)), depth)
    if origin in (list, typing.List):
        return [sample(arguments[0], depth + 1) for _ in range(2)] if depth < 5 else []
    if origin in (dict, typing.Dict):
        return {"key": sample(arguments[1], depth + 1)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        hints = typing.get_type_hints(annotation, include_extras=True)
        fields = annotation.model_fields
        return {fields[name].alias or name: sample(hints[name], depth + 1) for name in fields}
    return {str: "text", int: 1, float: 1.5, bool: True, Any: {"any": ["thing"]}}[annotation]


def places(value: Any, path: tuple = ()) -> Any:
    """The path to each place in a JSON value."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def with_changes(value: Any) -> Any:
    """`value` with each of its places replaced by each wrong value, and with each left out."""
    for path in places(value):
        for wrong in WRONG:
            if not path:
                yield wrong
                continue
            changed = copy.deepcopy(value)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = wrong
            yield changed
        if path and isinstance(path[-1], str):
            changed = copy.deepcopy(value)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            del holder[path[-1]]
            yield changed


def look_at(error: MeshAPIError) -> None:
    """An error can be shown."""
    assert str(error) + repr(error)


def look_into(value: Any) -> None:
    """Ask a value for all that it can be asked for; a ValueError is what its helpers may say."""
    repr(value)
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, BaseModel):
            continue
        item.model_dump()
        item.model_dump_json()
        for name in dir(type(item)):
            member = getattr(type(item), name)
            if name.startswith(("_", "model_")) or hasattr(BaseModel, name):
                continue
            if isinstance(member, property) or (callable(member) and name not in ("parse_body",)):
                try:
                    found = getattr(item, name)
                    if callable(found):
                        found()
                except (ValueError, MeshAPIError):
                    pass
        for inner in vars(item).values():
            look_into(inner)


SAY = [{"role": "user", "content": "hi"}]
REQUEST = {"custom_id": "a", "body": {}}
BATCH = core.CreateBatchParams(requests=[REQUEST])
TEMPLATE = core.CreateTemplateParams(name="a", system="b")
WHOLES = {
    "chat.completions.create": (core.ChatCompletionResponse, PARAMS),
    "chat.completions.parse": (core.ChatCompletionResponse, PARAMS, dict),
    "responses.create": (core.ResponsesResponse, core.ResponsesParams(input="a")),
    "responses.list": (core.ResponsesListResponse,),
    "responses.get": (core.ResponsesResponse, "r"),
    "embeddings.create": (core.EmbeddingsResponse, core.EmbeddingsParams(input="a")),
    "images.generate": (core.ImageGenerationResponse, core.ImageGenerationParams(prompt="a")),
    "images.edit": (core.ImageGenerationResponse, core.ImageEditParams(model="a", image="b")),
    "compare.create": (core.CompareResponse, core.CompareParams(models=["a"], messages=SAY)),
    "files.upload": (core.FileObject, core.UploadBatchFileParams(requests=[REQUEST])),
    "files.get": (core.FileObject, "f"),
    "files.delete": (core.FileObject, "f"),
    "files.content": (core.FileObject, "f"),
    "batches.create": (core.BatchObject, BATCH),
    "batches.get": (core.BatchObject, "b"),
    "batches.list": (core.BatchListResponse,),
    "batches.cancel": (core.BatchObject, "b"),
    "batches.upload": (core.FileObject, [REQUEST]),
    "batches.wait": (core.BatchObject, "b"),
    "models.list": (List[core.ModelInfo],),
    "models.free": (List[core.ModelInfo],),
    "models.paid": (List[core.ModelInfo],),
    "models.search": (core.ModelsPage,),
    "models.get": (core.ModelInfo, "m"),
    "templates.create": (core.TemplateSummary, TEMPLATE),
    "templates.list": (List[core.TemplateSummary],),
    "templates.get": (core.TemplateSummary, "t"),
    "templates.update": (core.TemplateSummary, "t", core.UpdateTemplateParams(name="a")),
    "templates.delete": (core.TemplateSummary, "t"),
}
ROWS = {
    "responses.iterate": (core.ResponsesListResponse,),
    "batches.iterate": (core.BatchListResponse,),
    "models.iterate": (core.ModelsPage,),
}
STREAMS = {
    "chat.completions.stream": (core.ChatCompletionChunk, PARAMS),
    "chat.completions.parse_stream": (core.ChatCompletionChunk, PARAMS, dict),
    "responses.stream": (core.ResponsesStreamEvent, core.ResponsesParams(input="a")),
    "images.stream": (core.ImageGenerationChunk, core.ImageGenerationParams(prompt="a")),
    "compare.stream": (core.CompareStreamEvent, core.CompareParams(models=["a"], messages=SAY)),
}
LINES = {"batches.results": (core.BatchResult, core.BatchObject(id="b", output_file_id="f"))}


def method_of(name):
    """The method of that dotted name."""
    found: Any = CORE
    for step in name.split("."):
        found = getattr(found, step)
    return found


def outcome_in_core(call, body):
    """Feed a call its answer; whatever comes of it is looked into, and can be nothing but a value or a MeshAPIError."""
    try:
        items = drive(call, body, piece=1 << 20)
        look_into(items)
        if hasattr(type(call), "result"):
            look_into(call.result)
    except MeshAPIError as error:
        look_at(error)
        look_into(error.partial)
        return error
    return None


@pytest.mark.parametrize("name", WHOLES)
def test_wrong_types_in_an_answer(name):
    """Each field of an answer, replaced by each kind of value, and left out: a value or a MeshAPIError."""
    model, *arguments = WHOLES[name]
    good = sample(model)
    if name == "chat.completions.parse":
        good["choices"][0].update(message={"content": '{"a": 1}'}, finish_reason="stop")
    if name == "batches.wait":
        good["status"] = "completed"
    body = json.dumps(good).encode()
    assert outcome_in_core(method_of(name)(*arguments, max_retries=0), body) is None
    for changed in with_changes(good):
        call = method_of(name)(*arguments, max_retries=0)
        call.next_action()
        call.receive_response(200, {})
        call.receive_data(json.dumps(changed).encode())
        call.receive_eof()
        if call.state is core.State.WAIT:
            continue
        try:
            call.next_action()
            look_into(call.result)
        except MeshAPIError as error:
            look_at(error)


@pytest.mark.parametrize("name", ROWS)
def test_wrong_types_in_a_page(name):
    """The same in the pages of a list that is gone through."""
    model, *arguments = ROWS[name]
    good = {**sample(model), "has_more": False, "total": 1}
    for changed in with_changes(good):
        call = method_of(name)(*arguments, max_retries=0)
        for _ in range(4):
            try:
                call.next_action()
                if call.is_over:
                    break
                call.receive_response(200, {})
                call.receive_data(json.dumps(changed).encode())
                call.receive_eof()
                look_into(call.events())
            except MeshAPIError as error:
                look_at(error)
                break


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("event", ["", "event: error\n", "event: done\n", "event: response.completed\n"])
def test_wrong_types_in_an_event(name, event):
    """The same in the events of a stream, between good ones."""
    model, *arguments = STREAMS[name]
    good = sample(model)
    before = b"data: " + json.dumps(good).encode() + b"\n\n"
    for changed in with_changes(good):
        middle = f"{event}data: {json.dumps(changed)}\n\n".encode()
        outcome_in_core(method_of(name)(*arguments), before + middle + before + b"data: [DONE]\n\n")


TYPES_OF_EVENTS = [
    "response.output_item.added",
    "response.output_text.delta",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.completed",
    "error",
]


@pytest.mark.parametrize("kind", TYPES_OF_EVENTS)
def test_wrong_types_in_the_events_of_a_response(kind):
    """The same in what such an event holds beside the fields that all have."""
    part = {"type": "output_text", "text": "a", "refusal": "b"}
    item = {"id": "i", "type": "message", "role": "assistant", "arguments": "{", "content": [part]}
    good = {"type": kind, "delta": "a", "output_index": 0, "content_index": 0, "item_id": "i"}
    begin = {"type": "response.output_item.added", "output_index": 0, "item": item}
    if kind.endswith(("added", "completed", "error")):
        good.update(item=item, response={"id": "r", "output": [item]}, error={"message": "m", "code": "c"})
    for one in with_changes(begin):
        for other in (good, {**good, "content_index": 9}):
            body = b"".join(sse_event(each) for each in (one, other, good))
            outcome_in_core(CORE.responses.stream(core.ResponsesParams(input="a")), body + b"data: [DONE]\n\n")
    for changed in with_changes(good):
        body = b"".join(sse_event(each) for each in (begin, changed, good))
        outcome_in_core(CORE.responses.stream(core.ResponsesParams(input="a")), body + b"data: [DONE]\n\n")


@pytest.mark.parametrize("name", LINES)
def test_wrong_types_in_a_line(name):
    """The same in the lines of a file."""
    model, *arguments = LINES[name]
    good = sample(model)
    for changed in with_changes(good):
        outcome_in_core(method_of(name)(*arguments), json.dumps(changed).encode() + b"\n" + json.dumps(good).encode())


ENVELOPE = {
    "error": {
        "code": "x",
        "message": "m",
        "details": [{"loc": ["a"], "msg": "b", "type": "c"}],
        "provider_error": {"a": 1},
        "retry_after_seconds": 1,
        "type": "t",
        "param": "p",
    },
    "request_id": "r",
}


@pytest.mark.parametrize("status", [302, 400, 422, 429, 500])
def test_wrong_types_in_an_error(status):
    """The same in an error's envelope, as an answer, as an event stream, and as an event."""
    for changed in with_changes(ENVELOPE):
        text = json.dumps(changed)
        body = text.encode()
        error = outcome_in_core(CORE.chat.completions.create(PARAMS, max_retries=0), b"")
        for raw in (body, b"data: " + body + b"\n\n"):
            call = CORE.chat.completions.create(PARAMS, max_retries=0)
            with pytest.raises(MeshAPIError) as caught:
                drive(call, raw, status)
            error = caught.value
            assert error.status == status
            assert isinstance(error.details, list)
            assert isinstance(error.message, str)
            assert isinstance(error.error_code, str)
            assert isinstance(error.request_id, str)
            wait = error.retry_after_seconds
            assert wait is None or 0 <= wait < float("inf")
        for name, (_, *arguments) in STREAMS.items():
            for event in ("", "event: error\n"):
                outcome_in_core(method_of(name)(*arguments), f"{event}data: {text}\n\n".encode())


def test_every_method_is_attacked():
    """A method that is new has to be met by wrong types too."""
    found = set()

    def walk(thing: Any, prefix: str) -> None:
        for name in dir(type(thing)):
            if name.startswith("_"):
                continue
            member = getattr(thing, name)
            if callable(member):
                found.add(f"{prefix}{name}")
            elif type(member).__module__.startswith("meshapi_core.resources"):
                walk(member, f"{prefix}{name}.")

    walk(CORE, "")
    assert found == {*WHOLES, *ROWS, *STREAMS, *LINES}


@pytest.mark.parametrize(
    "field",
    [
        "message",
        "request_id",
        "code",
    ],
)
def test_errors_can_be_written(field):
    """What an error says is text that can be written somewhere, whatever the gateway put into it."""
    envelope = {"error": {"message": "m", "code": "c", field: "\ud800"}, "request_id": "\ud800"}
    with pytest.raises(MeshAPIError) as caught:
        drive(CORE.chat.completions.create(PARAMS, max_retries=0), json.dumps(envelope).encode(), 400)
    str(caught.value).encode("utf-8")


# Hypothesis

# However busy the machine is.
FUZZED = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
EDITS = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.integers(0, 12),
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from(
                [
                    b"\n\n",
                    b"\r",
                    b"data: ",
                    b"event: error\n",
                    b"null",
                    b"NaN",
                    b"[",
                    b"{",
                    b'"',
                    b"\\ud800",
                    b"1e999",
                    b"[DONE]",
                    b'{"error": {"code": 429}}',
                    b"\xef\xbb\xbf",
                    b"-",
                    b"0",
                    b"id: \0\n",
                    b"retry: 9\n",
                ]
            ),
        ),
    ),
    min_size=1,
    max_size=6,
)


def edited(body: bytes, edits: Any) -> bytes:
    """`body` with pieces cut out and others put in."""
    for at, length, new in edits:
        at %= len(body) + 1
        body = body[:at] + new + body[at + length :]
    return body


@pytest.mark.parametrize("name", [*STREAMS, *LINES])
@FUZZED
@given(edits=EDITS, piece=st.integers(1, 200))
def test_edited_streams(name, edits, piece):
    """A good stream that was tampered with gives the same however it is cut: values or a MeshAPIError."""
    model, *arguments = {**STREAMS, **LINES}[name]
    event = json.dumps(sample(model)).encode()
    body = event + b"\n" + event if name in LINES else (b"data: " + event + b"\n\n") * 2 + b"data: [DONE]\n\n"
    raw = edited(body, edits)
    outcomes = []
    for size in (len(raw) + 1, piece):
        call = method_of(name)(*arguments)
        try:
            items = drive(call, raw, piece=size)
            whole = call.result if hasattr(type(call), "result") else None
            outcomes.append((repr(items), repr(whole)))
            look_into(whole)
        except MeshAPIError as error:
            look_at(error)
            outcomes.append((type(error), error.error_code, error.status, repr(error.partial)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", WHOLES)
@settings(parent=FUZZED, max_examples=60)
@given(edits=EDITS, status=st.sampled_from([200, 200, 201, 302, 400, 429, 500, 503]))
def test_edited_answers(name, edits, status):
    """A good answer that was tampered with is a value or a MeshAPIError."""
    model, *arguments = WHOLES[name]
    raw = edited(json.dumps(sample(model)).encode(), edits)
    call = method_of(name)(*arguments, max_retries=0)
    try:
        call.next_action()
        call.receive_response(status, {"retry-after": "1"})
        call.receive_data(raw)
        if not call.is_over:
            call.receive_eof()
        if call.state is not core.State.WAIT:
            call.next_action()
            look_into(call.result)
    except MeshAPIError as error:
        look_at(error)


@FUZZED
@given(data=st.binary(max_size=300), cut=st.integers(1, 50))
def test_compressed_noise(data, cut):
    """Noise in a content coding is refused, or is nothing; never another exception than the one for it."""
    from meshapi_transports._content_coding import ContentCodingError, ContentDecoder

    for coding in ("gzip", "deflate", "gzip, deflate", "br", "identity", ",,gzip"):
        for raw in (data, gzip.compress(data)[:cut] + data, zlib.compress(data) + data):
            decoder = ContentDecoder(coding)
            try:
                for start in range(0, len(raw), cut):
                    decoder.decode(raw[start : start + cut])
                decoder.finish()
            except ContentCodingError:
                pass
