"""The rules of `conformance`, one function each: what is written of it comes first, what to do about it below."""

from __future__ import annotations

import gc
import gzip
import json
import threading
import time
import zlib
from contextlib import suppress
from typing import Any, Callable, Coroutine, List, NamedTuple, Optional, Sequence, Tuple

from meshapi_core import (
    APIConnectionError,
    APITimeoutError,
    Failure,
    MeshAPIError,
    RedirectError,
    Request,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)

from .._content_coding import ACCEPT_ENCODING
from .._driver import headers_of
from ._bench import TOKEN, Bench, Client, Policy, Stream, Unmet, expect
from .raw import (
    LAST_CHUNK,
    RawConnection,
    RawRequest,
    RawServer,
    Reply,
    Script,
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

__all__ = ["WRITTEN", "Written"]

_Function = Callable[[Bench], Coroutine[Any, Any, None]]


class Written(NamedTuple):
    """A rule as it is written here.

    Attributes:
        matter: what it is about.
        needs_coroutines: whether it says nothing to blocking code.
        function: checks it.  The docstring has the text, and below that the remedy.
    """

    matter: str
    needs_coroutines: bool
    function: _Function


WRITTEN: List[Written] = []
"""All of them."""


def _rule(matter: str, *, needs_coroutines: bool = False) -> Callable[[_Function], _Function]:
    def write(function: _Function) -> _Function:
        WRITTEN.append(Written(matter, needs_coroutines, function))
        return function

    return write


# What the servers say

_SHORT = 0.1
_HELLO = "Hello there"
_BODY = json.dumps(chat_completion(_HELLO)).encode()
_EVENTS = chat_events("Hello ", "there")


def _endless(connection: RawConnection, request: Any = None) -> None:
    connection.send(stream_head(), http_chunk(_EVENTS[0]))
    connection.wait_closed()


def _silent(connection: RawConnection, request: Any = None) -> None:
    connection.wait_closed()


def _after_request(*pieces: bytes, then: Callable[[RawConnection], None] = RawConnection.wait_closed) -> Script:
    """A script that sends `pieces` after each request, and `then` does something else."""

    def script(connection: RawConnection) -> None:
        connection.receive_request()
        connection.send(*pieces)
        then(connection)

    return script


def _dripping(*pieces: bytes) -> Script:
    """A script that sends `pieces` after a request, and then the last of them again and again."""

    def drip(connection: RawConnection) -> None:
        while True:
            time.sleep(_SHORT / 5)
            connection.send(pieces[-1])

    return _after_request(*pieces, then=drip)


def _compressor(coding: str) -> Any:
    wbits = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS, "deflate without a header": -zlib.MAX_WBITS}
    return zlib.compressobj(wbits=wbits[coding])


def _compressed(coding: str, data: bytes) -> bytes:
    compressor = _compressor(coding)
    return bytes(compressor.compress(data) + compressor.flush())


_CODINGS = ("gzip", "deflate", "deflate without a header")


def _coding_field(coding: str) -> str:
    return f"Content-Encoding: {coding.partition(' ')[0]}"


# Redirects


@_rule("redirects")
async def redirects_are_not_followed(bench: Bench) -> None:
    """A redirect is never followed: the call fails with a `RedirectError` that names the Location.

    Turn the library's redirects off (allow_redirects, follow_redirects, redirect, CURLOPT_FOLLOWLOCATION ...), and see
    that an answer with such a status is returned like any other.
    """
    for status in (301, 302, 303, 307, 308):
        redirect = answer(b"gone", status, "Location: /elsewhere")
        with bench.server(replies(redirect, chat_answer())) as server:
            async with bench.client(server) as client:
                error = await bench.failure(client.create())
                _expect_error(error, RedirectError, status)
                expect("/elsewhere" in error.message, "the error to name the Location", f"it says {error.message!r}")
            _expect_requests(server, 1)


@_rule("credentials")
async def token_stays_with_its_host(bench: Bench) -> None:
    """The client's token goes to the host of `base_url` and to no other, wherever that host sends the client.

    Turn the library's redirects off; do not rely on it to take the Authorization out on the way.
    """
    with bench.server(replies(chat_answer())) as elsewhere:
        location = f"Location: http://localhost:{elsewhere.port}/v1/chat/completions"
        for reply in (answer(b"", 307, location), answer(b"", 503, location, "Refresh: 0; url=" + elsewhere.url)):
            with bench.server(replies(reply)) as server:
                async with bench.client(server) as client:
                    await bench.failure(client.create())
        expect(elsewhere.accepted == 0, "no connection to another host", "the client went where the Location led")


# Credentials


@_rule("credentials")
async def own_authorization_wins(bench: Bench) -> None:
    """Exactly one Authorization is sent, and it is the request's, whatever .netrc and the library's own auth say.

    Keep the library from adding credentials (trust_env, netrc, auth), or set the request's Authorization as the last
    thing before it is sent.
    """
    with bench.server(replies(chat_answer(), chat_stream("Hi"))) as server:
        async with bench.client(server) as client:
            await client.create()
            await client.read()
        for request in server.requests:
            sent = [value for name, value in request.headers if name.lower() == "authorization"]
            expect(sent == [f"Bearer {TOKEN}"], "the Authorization to be the client's token", f"it was {sent}")


@_rule("credentials")
async def no_authorization_is_added(bench: Bench) -> None:
    """A request that has no Authorization, such as one to a signed URL, is sent without any.

    Do not look the token up yourself, and keep the library from adding credentials (trust_env, netrc, auth).
    """
    with bench.server(replies(answer(b"{}"))) as server:
        async with bench.client(server) as client:
            request = Request("PUT", f"{server.url}/upload?signature=1", (("Content-Type", "text/plain"),), b"text")
            await client.send(request, Timeout())
        (sent,) = server.requests
        found = sent.header("authorization")
        expect(found is None, "no Authorization", f"{found!r} was sent")


# Cookies and retries


@_rule("cookies")
async def cookies_are_not_kept(bench: Bench) -> None:
    """A cookie that an answer sets is never sent back, unless the user's own object, injected, keeps cookies.

    Give the library an empty cookie jar that stays so, or send without the session that has one.
    """
    cookie = "Set-Cookie: session=abc; Path=/"
    with bench.server(replies(chat_answer("Hi", cookie), chat_stream("Hi", fields=[cookie]), chat_answer())) as server:
        async with bench.client(server) as client:
            await client.create()
            await client.read()
            await client.create()
        cookies = [request.header("cookie") for request in server.requests if request.header("cookie")]
        expect(not cookies, "no Cookie in any request", f"the client sent {cookies}")


@_rule("library retries")
async def library_does_not_retry(bench: Bench) -> None:
    """The library sends each request once: whether to try again is the core's to decide, for GET as well.

    Turn the library's retries off (retries, max_retries, Retry(0) ...), those of idle connections that broke too.
    """
    with bench.server(replies(answer(b"", 503, "Retry-After: 0"))) as server:
        async with bench.client(server) as client:
            await bench.failure(client.create())
        _expect_requests(server, 1)
    for method, content in (("GET", None), ("POST", b"{}")):
        with bench.server(replies(answer(b"{}"), lambda connection, _: connection.reset())) as server:
            async with bench.client(server) as client:
                request = Request(method, f"{server.url}/v1/models", (("Accept", "application/json"),), content)
                await client.send(request, Timeout())
                # How it fails is another rule's matter.
                with suppress(Exception):
                    await client.send(request, Timeout())
            expect(len(server.requests) == 2, f"one {method} for each `send`", f"{len(server.requests) - 1} for one")


# The request


_REQUESTS = (
    ("POST", b'{"messages":[]}', "application/json"),
    ("PUT", b"\x00\xff\r\n" * 10, "application/octet-stream"),
    ("PATCH", '{"name":"Gr\xfc\xdfe"}'.encode(), "application/json"),
    ("GET", None, None),
    ("DELETE", None, None),
)


@_rule("requests")
async def request_is_sent_as_it_is(bench: Bench) -> None:
    """Method, header fields and body go out as `headers_of(request)` and `request` have them, with nothing added.

    The library may add Host, Content-Length and Connection.  Take away its other defaults (Accept, Content-Type,
    Expect, Transfer-Encoding), and hand it the body as bytes, neither as text nor as something to encode.
    """
    for method, content, content_type in _REQUESTS:
        fields = (
            ("Authorization", "Bearer other"),
            *((("Content-Type", content_type),) if content_type else ()),
            ("Accept", "application/json"),
            ("X-Request-Id", "a b, c"),
        )
        with bench.server(replies(answer(b"{}"))) as server:
            async with bench.client(server) as client:
                request = Request(method, f"{server.url}/v1/models", fields, content)
                await client.send(request, Timeout())
            _expect_requests(server, 1)
            (sent,) = server.requests
        expect(sent.method == method, f"the method {method}", f"it was {sent.method}")
        expect(sent.body == (content or b""), f"the body {content!r}", f"it was {sent.body!r}")
        _expect_fields(sent, headers_of(request))


def _expect_fields(sent: RawRequest, expected: Sequence[Tuple[str, str]]) -> None:
    fields = [(name.lower(), value) for name, value in sent.headers]
    names = [name for name, _ in fields]
    twice = {name for name in names if names.count(name) > 1}
    expect(not twice, "each header field once", f"{', '.join(sorted(twice))} came twice")
    wanted = {name.lower(): value for name, value in expected}
    added = set(names) - wanted.keys() - {"host", "content-length", "connection"}
    expect(not added, "no header field that the request does not have", f"{', '.join(sorted(added))} was added")
    # The user's own object, injected, says itself who is asking.
    del wanted["user-agent"]
    for name, value in wanted.items():
        found = dict(fields).get(name)
        expect(found == value, f"the header field {name}: {value}", f"it was {found!r}")


@_rule("requests")
async def path_is_sent_as_it_is(bench: Bench) -> None:
    """Path and query go out as `request.url` has them, percent-encodings, dots and all.

    Find the library's way to take a URL as encoded already (yarl.URL(encoded=True), a prepared request's url, a raw
    path), or hand it `request.target`.
    """
    for target in ("/a%2Fb%20c", "/%7Euser/%2E%2E/%C3%A4", "/a;b=c,d/@:!$&'()*+", "/v1?a=1&a=%C3%A4&b=%2F&c=a+b&d="):
        with bench.server(replies(answer(b"{}"))) as server:
            async with bench.client(server) as client:
                await client.send(Request("GET", server.url + target, (("Accept", "text/plain"),)), Timeout())
            (sent,) = server.requests
        expect(sent.target == target, f"the target {target}", f"it was {sent.target}")


@_rule("requests")
async def large_body_arrives_whole(bench: Bench) -> None:
    """A request of some megabytes arrives whole, in one body of which Content-Length tells the size.

    Send until all is sent: one `send` of a socket takes what fits.  Do not let the library chunk the body or ask first
    (Expect: 100-continue).
    """
    content = bytes(range(256)) * 12_000
    fields = (("Content-Type", "application/octet-stream"), ("Accept", "application/json"))
    with bench.server(replies(answer(b"{}"))) as server:
        async with bench.client(server) as client:
            request = Request("PUT", f"{server.url}/upload", fields, content)
            await client.send(request, Timeout(idle=bench.patience))
        (sent,) = server.requests
        expect(sent.body == content, f"{len(content)} bytes as they were given", f"{len(sent.body)} came, or others")
        _expect_fields(sent, headers_of(request))


# Answers


@_rule("answers")
async def status_is_no_exception(bench: Bench) -> None:
    """An answer of any status is returned with its head and its body, and never raised.

    Turn the library's raise_for_status, or what it is called, off.
    """
    body = json.dumps({"error": {"code": "a_code", "message": "because"}}).encode()
    for status in (400, 401, 404, 407, 418, 429, 500, 503):
        with bench.server(replies(answer(body, status, "X-Request-Id: req-1"))) as server:
            async with bench.client(server) as client:
                error = await bench.failure(client.create())
                _expect_error(error, type(error), status)
                facts = (error.error_code, error.message, error.request_id)
                expected = ("a_code", "because", "req-1")
                expect(facts == expected, f"the error of the body: {expected}", f"it was {facts}")


@_rule("answers")
async def head_comes_first(bench: Bench) -> None:
    """`send` returns when the head of the answer has come, without a byte of its body.

    Ask the library for a streamed answer (stream=True, preload_content=False ...).
    """
    told = threading.Event()

    def script(connection: RawConnection, _: RawRequest) -> None:
        connection.send(stream_head("X-Request-Id: req-1"))
        connection.wait(told)
        connection.send(b"".join(map(http_chunk, _EVENTS)), LAST_CHUNK)

    with bench.server(replies(script)) as server:
        async with bench.client(server, timeout=bench.patience) as client:
            try:
                async with client.stream() as stream:
                    expect(stream.request_id == "req-1", "the answer's header fields", "they were not there")
                    told.set()
                    await _expect_text(stream)
            except APITimeoutError as error:
                raise Unmet("the head of the answer", "the transport waited for the body") from error


@_rule("answers")
async def large_answer_comes_whole(bench: Bench) -> None:
    """An answer of some megabytes comes whole and in order, framed by length, in chunks, or by the connection's end.

    Read until `b""` would be returned, and return it only at the end of the body.
    """
    text = "".join(f"{number} " for number in range(200_000))
    body = json.dumps(chat_completion(text)).encode()
    chunks = b"".join(http_chunk(body[start : start + 5000]) for start in range(0, len(body), 5000)) + LAST_CHUNK
    framings = {
        "by its length": answer(body),
        "in chunks": stream_head(content_type="application/json") + chunks,
        "by the connection's end": answer_head(200, "Connection: close") + body,
    }
    for framing, reply in framings.items():
        with bench.server(_after_request(reply, then=RawConnection.close)) as server:
            async with bench.client(server) as client:
                said = await client.create()
        expect(said == text, f"an answer of {len(body)} bytes, framed {framing}", "another one")


@_rule("answers")
async def interim_answer_is_none(bench: Bench) -> None:
    """What comes before the answer (100 Continue) is not the answer.

    Go on reading heads until there is one with a status of 200 or more.
    """
    with bench.server(replies(b"HTTP/1.1 100 Continue\r\n\r\n" + chat_answer(_HELLO))) as server:
        async with bench.client(server) as client:
            _expect_said(await client.create())


# Streams


def _told(framing: str, told: Sequence[threading.Event], coding: str = "") -> Reply:
    """A stream of which each event is sent when the reader says so."""
    compressor = _compressor(coding) if coding else None

    def coded(data: bytes) -> bytes:
        return bytes(compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)) if compressor else data

    def script(connection: RawConnection, _: RawRequest) -> None:
        events = [sse_event(chat_chunk(str(number))) for number in range(len(told))]
        done = sse_event("[DONE]")
        fields = ["Content-Type: text/event-stream", *([_coding_field(coding)] if coding else [])]
        fields.append(
            {
                "in chunks": "Transfer-Encoding: chunked",
                "by its length": f"Content-Length: {len(b''.join(events) + done)}",
                "by the connection's end": "Connection: close",
            }[framing]
        )
        connection.send(answer_head(200, *fields))
        for number, event in enumerate(events):
            connection.wait(told[number])
            connection.send(http_chunk(coded(event)) if framing == "in chunks" else coded(event))
        rest = coded(done) + (compressor.flush() if compressor else b"")
        connection.send(http_chunk(rest) + LAST_CHUNK if framing == "in chunks" else rest)
        if framing == "by the connection's end":
            connection.close()

    return script


async def _expect_events_as_they_come(bench: Bench, framing: str, coding: str = "") -> None:
    told = [threading.Event() for _ in range(3)]
    with bench.server(replies(_told(framing, told, coding))) as server:
        async with bench.client(server, timeout=bench.patience) as client:
            stream = client.stream()
            for number, event in enumerate(told):
                event.set()
                try:
                    said = await stream.next()
                except APITimeoutError as error:
                    expected = f"event {number} of a stream framed {framing}, before the next is sent"
                    raise Unmet(expected, "the transport waited for more") from error
                expect(said == str(number), f"the event {number}", f"{said!r}")
            expect(await stream.next() is None, "the end of the stream", "another event")


@_rule("streams")
async def events_come_as_they_arrive(bench: Bench) -> None:
    """Bytes are handed over as they arrive: an event is delivered before the server sends the next one.

    Read with what returns whatever is there (read1, iter_any, recv), and never until a buffer is full.
    """
    for framing in ("in chunks", "by its length", "by the connection's end"):
        await _expect_events_as_they_come(bench, framing)


@_rule("compression")
async def compressed_events_come_as_they_arrive(bench: Bench) -> None:
    """An event of a compressed stream, too, is delivered before the server sends the next one.

    Decode piece by piece: have the library leave the coding alone, and use `ContentDecoder`.
    """
    for coding in ("gzip", "deflate"):
        await _expect_events_as_they_come(bench, "in chunks", coding)


# Compression


@_rule("compression")
async def compression_is_asked_for(bench: Bench) -> None:
    """Every request says `Accept-Encoding: gzip, deflate`, the codings that every transport undoes, and no other.

    Send the fields of `headers_of(request)`, and keep the library from saying for itself what it can undo.
    """
    with bench.server(replies(chat_answer(_HELLO))) as server:
        async with bench.client(server) as client:
            await client.create()
        found = server.requests[0].header("accept-encoding")
        expect(found == ACCEPT_ENCODING, f"Accept-Encoding: {ACCEPT_ENCODING}", f"it was {found!r}")


@_rule("compression")
async def compression_is_undone(bench: Bench) -> None:
    """A body in gzip or deflate is handed over without its coding, be it an answer, an error or a stream.

    Have the library leave the coding alone (decode_content=False, auto_decompress=False), make a `ContentDecoder` of
    the answer's Content-Encoding, and put the bytes through it.
    """
    missing = json.dumps({"error": {"code": "a_code", "message": "because"}}).encode()
    for coding in _CODINGS:
        told = _coding_field(coding)
        error_answer = answer(_compressed(coding, missing), 404, told)
        stream = stream_head(told) + http_chunk(_compressed(coding, b"".join(_EVENTS))) + LAST_CHUNK
        with bench.server(replies(answer(_compressed(coding, _BODY), 200, told), error_answer, stream)) as server:
            async with bench.client(server) as client:
                try:
                    said = await client.create()
                    error = await bench.failure(client.create())
                    read = await client.read()
                except APIConnectionError as unread:
                    raise Unmet(f"a body in {coding} to be read", f"the call failed: {unread}") from unread
        _expect_said(said, f" of an answer in {coding}")
        expect(error.error_code == "a_code", f"the error of a body in {coding}", f"{error!r}")
        _expect_said(read, f" of a stream in {coding}")


@_rule("compression")
async def truncated_compression_is_a_failure(bench: Bench) -> None:
    """A compressed body that breaks off, or is none, is a failure, even where its HTTP framing ends in order.

    Call `ContentDecoder.finish()` at the end of the body, and list `ContentCodingError` among the `failures` as
    CONNECTION_LOST.
    """
    whole = gzip.compress(_BODY)
    # All of the text is there, and only the checksum behind it is missing.
    for what, body in (("breaks off", whole[:-6]), ("is none", _BODY)):
        with bench.server(replies(answer(body, 200, "Content-Encoding: gzip"))) as server:
            async with bench.client(server, retry=(policy := Policy())) as client:
                error = await bench.failure(client.create())
                _expect_error(error, APIConnectionError, 200, f" of a body whose gzip {what}")
                _expect_failures(policy, Failure.CONNECTION_LOST)


# Time


@_rule("time")
async def connect_limits_the_connection(bench: Bench) -> None:
    """`timeout.connect` ends the wait for a connection, as CONNECT_TIMEOUT: nothing was sent.

    Give the limit to the library's own setting, or put one around what connects, and list the exception among the
    `failures`.
    """
    with bench.full_url() as url:
        policy = Policy()
        wait = bench.lasting(_SHORT, "the end of the wait for a connection")
        async with bench.client(url, timeout=Timeout(connect=_SHORT), retry=policy) as client, wait:
            error = await bench.failure(client.create())
        _expect_error(error, APITimeoutError, 0)
        _expect_failures(policy, Failure.CONNECT_TIMEOUT)


@_rule("time")
async def idle_limits_the_wait_for_the_head(bench: Bench) -> None:
    """`timeout.idle` ends the wait for the head of the answer, as TIMEOUT.

    Give the limit to the library's own setting (read timeout), or put one around `send`; list the exception.
    """
    policy = Policy()
    with bench.server(replies(_silent)) as server:
        async with bench.client(server, timeout=_SHORT, retry=policy) as client:
            async with bench.lasting(_SHORT, "the end of the wait for the head"):
                error = await bench.failure(client.create())
            _expect_error(error, APITimeoutError, 0)
            _expect_failures(policy, Failure.TIMEOUT)


@_rule("time")
async def idle_limits_the_wait_for_the_body(bench: Bench) -> None:
    """The `timeout` that `read` is given ends the wait for more of the body, after the events that had come.

    The limit differs from one `read` to the next: set it for each, on the socket if need be.
    """
    with bench.server(replies(lambda connection, _: _after_head(connection))) as server:
        async with bench.client(server, timeout=2 * _SHORT) as client:
            async with bench.lasting(2 * _SHORT, "the end of the wait for the body"):
                error = await bench.failure(client.create())
            _expect_error(error, APITimeoutError, 200)
    with bench.server(replies(_endless)) as server:
        async with bench.client(server, timeout=2 * _SHORT) as client:
            said: List[str] = []
            async with bench.lasting(2 * _SHORT, "the end of the wait for an event"):
                error = await bench.failure(client.stream().read(said))
            _expect_error(error, APITimeoutError, 200)
            expect(said == ["Hello "], "the event that had come", f"there was {said}")


def _after_head(connection: RawConnection) -> None:
    connection.send(answer(_BODY)[:-5])
    connection.wait_closed()


@_rule("time")
async def comments_do_not_count(bench: Bench) -> None:
    """`idle` counts from event to event: comments that keep a stream's connection alive do not keep the stream alive.

    Heed the `timeout` of each `read`, also where it is shorter than the last one's: the driver counts.
    """
    with bench.server(_dripping(stream_head(), http_chunk(_EVENTS[0]), http_chunk(b": alive\n\n"))) as server:
        async with bench.client(server) as client:
            said: List[str] = []
            async with bench.lasting(3 * _SHORT, "the end of the wait for an event"):
                error = await bench.failure(client.stream(timeout=3 * _SHORT).read(said))
            _expect_error(error, APITimeoutError, 200)
            expect(said == ["Hello "], "the event that had come", f"there was {said}")


@_rule("time")
async def slow_stream_is_not_idle(bench: Bench) -> None:
    """A stream may take many times `idle`, as long as each of its events comes within it.

    Use `timeout.idle` for single waits only, never for `send` and the whole of the body.
    """

    def script(connection: RawConnection, _: RawRequest) -> None:
        connection.send(stream_head())
        for text in "abcdefghijklmn":
            time.sleep(_SHORT / 2)
            connection.send(http_chunk(sse_event(chat_chunk(text))))
        connection.send(http_chunk(sse_event("[DONE]")), LAST_CHUNK)

    with bench.server(replies(script)) as server:
        async with bench.client(server, timeout=5 * _SHORT) as client:
            try:
                said = await client.read()
            except APITimeoutError as error:
                raise Unmet("the stream to be read to its end", f"it was given up: {error}") from error
        expect(said == "abcdefghijklmn", "the events of the stream", f"there was {said!r}")


@_rule("time")
async def upload_that_nobody_takes_times_out(bench: Bench) -> None:
    """`timeout.idle` also ends the wait for a server that does not take the request, as TIMEOUT.

    Set the library's limit for writing, or put one around it; a limit around all of `send` would end slow uploads.
    """
    never = threading.Event()
    policy = Policy()
    with bench.server(lambda connection: connection.wait(never)) as server:
        timeout = Timeout(connect=10 * bench.patience, idle=2 * _SHORT)
        async with bench.client(server, timeout=timeout, retry=policy) as client:
            error = await bench.failure(client.create(extra_body={"user": "x" * 20_000_000}))
            _expect_error(error, APITimeoutError, 0)
            _expect_failures(policy, Failure.TIMEOUT)


async def _expect_total(bench: Bench, url: str, expected: str) -> None:
    long = 10 * bench.patience
    async with bench.client(url, timeout=Timeout(connect=long, idle=long, total=3 * _SHORT)) as client:
        async with bench.lasting(3 * _SHORT, expected):
            error = await bench.failure(client.create())
        expect("whole call" in error.message, "the error to name the limit for the whole call", f"{error}")


@_rule("time")
async def total_limits_the_connection(bench: Bench) -> None:
    """`timeout.total` ends the wait for a connection, too.

    Give the library the shorter of the two: `at_most(timeout.connect, timeout.total)`.
    """
    with bench.full_url() as url:
        await _expect_total(bench, url, "the end of the wait for a connection")


@_rule("time")
async def total_limits_a_silent_call(bench: Bench) -> None:
    """`timeout.total` ends a call that waits for the head of its answer.

    Give the library the shorter of the two: `at_most(timeout.idle, timeout.total)`, or put a limit around `send`.
    """
    with bench.server(replies(_silent)) as server:
        await _expect_total(bench, server.url, "the end of the call")


@_rule("time")
async def total_limits_a_dripping_head(bench: Bench) -> None:
    """`timeout.total` ends a call whose head comes a byte at a time.

    Put a limit around `send`.  A library for blocking code may have no way to; then go without this rule, and say so.
    """
    with bench.server(_dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")) as server:
        await _expect_total(bench, server.url, "the end of the call")


@_rule("time")
async def total_limits_a_dripping_body(bench: Bench) -> None:
    """`timeout.total` ends a call whose body comes in small pieces, without end.

    Heed the `timeout` of each `read`, also where it is shorter than the last one's: the driver counts.
    """
    with bench.server(_dripping(stream_head(content_type="application/json"), http_chunk(b" "))) as server:
        await _expect_total(bench, server.url, "the end of the call")


# Sleeping


@_rule("sleeping")
async def sleep_lasts(bench: Bench) -> None:
    """`sleep` lets as many seconds pass as it is told, by the clock of `current_time`, which counts seconds.

    Use the loop's own sleep, and a clock that never goes back: time.monotonic, loop.time, trio.current_time.
    """
    with bench.server(replies(chat_answer())) as server:
        async with bench.client(server) as client:
            async with bench.lasting(_SHORT, "the end of `sleep`"):
                measured = await client.sleep(_SHORT)
            expected = f"`current_time` to be {_SHORT:g} s later"
            expect(_SHORT * 0.9 - 0.02 < measured < _SHORT + bench.patience, expected, f"it was {measured:g} s later")


@_rule("sleeping")
async def retry_waits_as_it_was_asked_to(bench: Bench) -> None:
    """A call that is tried again waits as long as Retry-After asks for, and then uses the same connection.

    `sleep` must take as long as it is told.  Close the answer of an error like any other, so that its connection can
    be used again.
    """
    when: List[float] = []

    def remember(reply: bytes) -> Reply:
        def script(connection: RawConnection, _: RawRequest) -> None:
            when.append(time.monotonic())
            connection.send(reply)

        return script

    limited = answer(b"{}", 429, f"Retry-After: {2 * _SHORT}")
    with bench.server(replies(remember(limited), remember(chat_answer(_HELLO)))) as server:
        async with bench.client(server, retry=RetryPolicy(max_retries=1, backoff_base=0.0)) as client:
            _expect_said(await client.create())
        # The core adds a little of its own, so that clients do not come back all at once.
        expect(when[1] - when[0] > 1.9 * _SHORT, f"a wait of {2 * _SHORT:g} s", f"it was {when[1] - when[0]:.3f} s")
        expect(server.accepted == 1, "the retry on the same connection", "it was made on another one")


@_rule("sleeping", needs_coroutines=True)
async def loop_goes_on_meanwhile(bench: Bench) -> None:
    """While a call waits for the server, or sleeps, the loop runs the other tasks.

    Await all that waits, names that are looked up and TLS handshakes included; `sleep` is the loop's, not time.sleep.
    """

    def slow(connection: RawConnection, _: RawRequest) -> None:
        time.sleep(_SHORT)
        connection.send(chat_answer(_HELLO))

    with bench.server(replies(slow)) as server:
        async with bench.client(server) as client:
            turns = await bench.turns_during(client.create())
            expect(turns >= 3, "other tasks to run while a call waits for its answer", "the transport blocked the loop")
            turns = await bench.turns_during(client.sleep(_SHORT))
            expect(turns >= 3, "other tasks to run during `sleep`", "the transport blocked the loop")


# Cancelling


async def _expect_cancellable(bench: Bench, reply: Callable[[threading.Event], Reply], where: str, way: str) -> None:
    cancels = [bench.cancelled] if bench.backend == "trio" else [bench.cancelled, bench.cancelled_by_task]
    for cancel in cancels:
        reached = threading.Event()
        with bench.server(replies(reply(reached), chat_answer(_HELLO))) as server:
            async with bench.client(server, retry=Policy(max_retries=3, wait=60.0)) as client:
                await cancel(getattr(client, way), reached.is_set, where)
                _expect_requests(server, 1)
                await bench.until_closed(server, "when its call is cancelled")
                _expect_said(await client.create())


@_rule("cancelling", needs_coroutines=True)
async def cancelled_before_the_head(bench: Bench) -> None:
    """A call that is cancelled while it waits for the head ends there, and leaves no connection open.

    Catch no BaseException but to clean up and raise it again, and close the connection on the way out, without a
    further wait, or in a shielded one.
    """

    def reply(reached: threading.Event) -> Reply:
        def script(connection: RawConnection, _: RawRequest) -> None:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-")
            reached.set()
            connection.wait_closed()

        return script

    await _expect_cancellable(bench, reply, "for the head", "create")


@_rule("cancelling", needs_coroutines=True)
async def cancelled_in_the_body(bench: Bench) -> None:
    """A call that is cancelled while it waits for the body ends there, and leaves no connection open.

    `aclose` is called in the task that is being cancelled: what it has to await there, it must shield.
    """

    def reply(reached: threading.Event) -> Reply:
        def script(connection: RawConnection, _: RawRequest) -> None:
            connection.send(stream_head(), http_chunk(_EVENTS[0]))
            reached.set()
            connection.wait_closed()

        return script

    for way in ("create", "read"):
        await _expect_cancellable(bench, reply, "for the body", way)


@_rule("cancelling", needs_coroutines=True)
async def cancelled_between_events(bench: Bench) -> None:
    """A caller who is cancelled inside the block of a stream, busy with an event, leaves no connection open.

    `aclose` is then called in a task that is being cancelled, with no `read` under way: shield what it awaits.
    """
    for cancel in [bench.cancelled] if bench.backend == "trio" else [bench.cancelled, bench.cancelled_by_task]:
        reached = threading.Event()
        with bench.server(replies(_endless, chat_answer(_HELLO))) as server:
            async with bench.client(server) as client:

                async def call(client: Client = client, reached: threading.Event = reached) -> None:
                    async with client.stream() as stream:
                        await stream.next()
                        reached.set()
                        await bench.pause(60.0)

                await cancel(call, reached.is_set, "inside the block")
                await bench.until_closed(server, "when its caller is cancelled")
                _expect_said(await client.create())


@_rule("cancelling", needs_coroutines=True)
async def cancelled_in_its_sleep(bench: Bench) -> None:
    """A call that is cancelled while it waits to be tried again ends there, and nothing more is sent.

    `sleep` must be the loop's own, and let the cancellation through.
    """
    for cancel in [bench.cancelled] if bench.backend == "trio" else [bench.cancelled, bench.cancelled_by_task]:
        asked = threading.Event()

        def limited(connection: RawConnection, _: RawRequest, asked: threading.Event = asked) -> None:
            connection.send(answer(b"", 503))
            asked.set()

        with bench.server(replies(limited, chat_answer(_HELLO))) as server:
            async with bench.client(server, retry=Policy(max_retries=3, wait=60.0)) as client:
                await cancel(client.create, asked.is_set, "to be tried again")
                _expect_requests(server, 1)
                _expect_said(await client.create())


# Connections


@_rule("connections")
async def connection_is_used_again(bench: Bench) -> None:
    """An answer that was read to its end gives its connection back, whatever its status: the next call uses it.

    `close` after the end of the body must return the connection to the pool, not close it, and a pool is needed.
    """
    error = answer(b'{"error": {"code": "a_code"}}', 404)
    with bench.server(replies(chat_answer(_HELLO), error, answer(b"", 302), chat_answer(_HELLO))) as server:
        async with bench.client(server) as client:
            await client.create()
            await bench.failure(client.create())
            await bench.failure(client.create())
            await client.create()
            await client.create()
        expect(server.accepted == 1, "five calls on one connection", f"there were {server.accepted} connections")


@_rule("connections")
async def connection_of_a_stream_is_used_again(bench: Bench) -> None:
    """A stream that was read to its end gives its connection back, also where the end of its framing comes late.

    After the last event the driver reads on, until `read` returns `b""`; only then is the body at its end.
    """

    def late(connection: RawConnection, _: RawRequest) -> None:
        connection.send(stream_head() + b"".join(map(http_chunk, _EVENTS)))
        time.sleep(0.02)
        connection.send(LAST_CHUNK)

    sized = answer(b"".join(_EVENTS), content_type="text/event-stream")
    with bench.server(replies(late, chat_stream("Hello ", "there"), sized, chat_answer(_HELLO))) as server:
        async with bench.client(server) as client:
            for _ in range(3):
                _expect_said(await client.read())
            await client.create()
        expect(server.accepted == 1, "four calls on one connection", f"there were {server.accepted} connections")


@_rule("connections")
async def stream_left_early_is_closed(bench: Bench) -> None:
    """A stream that is left before its end has its connection closed at once.

    `close` before the end of the body closes the connection; it neither reads the rest nor returns it to the pool.
    """

    async def by_close(client: Client) -> None:
        stream = client.stream()
        await stream.next()
        await stream.close()
        await stream.close()

    async def by_block(client: Client) -> None:
        async with client.stream() as stream:
            await stream.next()

    for leave in (by_close, by_block):
        with bench.server(replies(_endless, chat_answer(_HELLO))) as server:
            async with bench.client(server) as client:
                await leave(client)
                await bench.until_closed(server, "when its stream is left")
                _expect_said(await client.create())


@_rule("connections")
async def dropped_stream_is_closed(bench: Bench) -> None:
    """A stream that is dropped, without being closed, has its connection closed soon.

    For coroutines that is `abort`, from where nothing can be awaited: close the socket there, or have a `Finalizer` run
    `aclose`.  Nothing else may keep the answer alive.
    """
    with bench.server(replies(_endless, chat_answer(_HELLO))) as server:
        async with bench.client(server) as client:
            stream: Optional[Stream] = client.stream()
            assert stream is not None
            await stream.next()
            stream = None
            gc.collect()
            await bench.until_closed(server, "when its stream is dropped")
            _expect_said(await client.create())


@_rule("connections")
async def failed_call_is_closed(bench: Bench) -> None:
    """A call that fails on the way has its connection closed: it is of no use to the next one.

    An exception from `send` must leave nothing open, and `close` before the end of the body must close the connection.
    """
    with bench.server(replies(_silent, _endless, chat_answer(_HELLO))) as server:
        async with bench.client(server) as client:
            await bench.failure(client.create(timeout=_SHORT))
            await bench.until_closed(server, "when the wait for the head has taken too long")
            await bench.failure(client.read(timeout=_SHORT))
            await bench.until_closed(server, "when the wait for an event has taken too long")
            _expect_said(await client.create())


@_rule("connections")
async def closed_connection_is_replaced(bench: Bench) -> None:
    """A connection that the server has closed, in silence or having said so, is not used again; no call fails of it.

    Look whether an idle connection is readable before it is used: then it has ended.  Heed `Connection: close`.
    """

    def script(connection: RawConnection) -> None:
        connection.receive_request()
        connection.send(chat_answer(_HELLO, *(["Connection: close"] if connection.number % 2 else [])))
        connection.close()

    with bench.server(script) as server:
        async with bench.client(server) as client:
            for number in range(4):
                _expect_said(await client.create())
                await bench.until_closed(server, "by the server")
                # For the client to hear of it.
                await bench.pause(0.03)
                expect(server.accepted == number + 1, f"{number + 1} connections", f"there were {server.accepted}")


@_rule("connections")
async def streams_do_not_block_calls(bench: Bench) -> None:
    """However many streams are open, another one, or a call, does not wait for one of them to end.

    Streams live long, so take the limit off the number of connections of the library's pool.
    """
    many = 101

    def reply(connection: RawConnection, request: RawRequest) -> None:
        if request.json()["stream"]:
            _endless(connection)
        else:
            connection.send(chat_answer(_HELLO))

    with bench.server(replies(reply)) as server:
        async with bench.client(server) as client:
            streams = [client.stream() for _ in range(many)]
            try:
                for number, stream in enumerate(streams):
                    try:
                        await stream.next()
                    except APITimeoutError as error:
                        raise Unmet(f"{many} open streams", f"after {number}, the next did not begin") from error
                _expect_said(await client.create())
            finally:
                for stream in streams:
                    await stream.close()


@_rule("connections")
async def closing_closes_everything(bench: Bench) -> None:
    """Closing the client closes its idle connections; closing it twice does nothing.

    Close the library's object in the transport's `close`, if it is your own, and let it be said twice.
    """
    with bench.server(replies(chat_answer(_HELLO))) as server:
        async with bench.client(server) as client:
            await client.create()
            await client.close()
            await bench.until_closed(server, "when the client is closed")
            await client.close()


# The end of a body


@_rule("framing")
async def cut_answer_is_a_failure(bench: Bench) -> None:
    """A body that ends before its framing says so is a failure, CONNECTION_LOST, and never a proper end.

    See that the library tells such an end from a proper one, by an exception in `failures`.  Some read a short body
    without a word (http.client's read1): then count the bytes against Content-Length yourself.
    """
    cuts = {
        "before the last chunk": stream_head(content_type="application/json") + http_chunk(_BODY),
        "in a chunk": stream_head(content_type="application/json") + http_chunk(_BODY + b" " * 100)[:-50],
        "before its Content-Length": answer(_BODY + b" " * 100)[:-50],
    }
    for cut, reply in cuts.items():
        for end in (RawConnection.close, RawConnection.reset):
            policy = Policy()
            with bench.server(_after_request(reply, then=end)) as server:
                async with bench.client(server, retry=policy) as client:
                    error = await bench.failure(client.create())
            _expect_error(error, APIConnectionError, None, f" of an answer that is cut {cut}")
            _expect_failures(policy, Failure.CONNECTION_LOST)


@_rule("framing")
async def cut_stream_delivers_what_had_come(bench: Bench) -> None:
    """A stream that is cut delivers every event that had arrived, and then fails as interrupted.

    Return what is there before you raise: bytes that came before the end, or before a reset, must not be lost.
    """
    stream = stream_head() + b"".join(map(http_chunk, _EVENTS))
    for cut, expected in ((b"there", ["Hello "]), (b"data: [DONE]", ["Hello ", "there", ""])):
        with bench.server(_after_request(stream.partition(cut)[0], then=RawConnection.close)) as server:
            async with bench.client(server) as client:
                said: List[str] = []
                error = await bench.failure(client.stream().read(said))
        _expect_error(error, StreamInterruptedError, 200)
        expect(said == expected, f"the events {expected}", f"there were {said}")


@_rule("framing")
async def connection_may_end_a_body(bench: Bench) -> None:
    """A body without a length and without chunks ends with its connection, in order.

    Return `b""` when the connection has ended, if neither Content-Length nor Transfer-Encoding was there.
    """
    for body, way in ((_BODY, "create"), (b"".join(_EVENTS), "read")):
        head = answer_head(200, "Content-Type: text/plain")
        with bench.server(_after_request(head, body, then=RawConnection.close)) as server:
            async with bench.client(server) as client:
                _expect_said(await getattr(client, way)())


# Failures


@_rule("failures")
async def refused_connection_is_tried_again(bench: Bench) -> None:
    """A connection that is refused is the failure CONNECT, after which even a POST is tried again.

    List the library's exception for it among the `failures`; where one class stands for several things, look into it
    in `send`, and raise another.
    """
    policy = Policy(max_retries=1)
    with refusing_url() as url:
        async with bench.client(url, retry=policy) as client:
            error = await bench.failure(client.create())
    _expect_error(error, APIConnectionError, 0)
    _expect_failures(policy, Failure.CONNECT, Failure.CONNECT)
    expect(error.__cause__ is not None, "the library's exception as the cause", "there was no cause")


@_rule("failures")
async def unknown_host_is_no_connection(bench: Bench) -> None:
    """A host that does not exist, or has a name that can be none, is the failure CONNECT.

    List the exceptions of looking up names, too: UnicodeError is one, for a name with a part that is too long.
    """
    for host in (f"{'a' * 64}.invalid", "a..invalid"):
        policy = Policy()
        async with bench.client(f"https://{host}", retry=policy) as client:
            error = await bench.failure(client.create())
        _expect_error(error, APIConnectionError, 0)
        _expect_failures(policy, Failure.CONNECT)


@_rule("failures")
async def lost_request_is_not_sent_again(bench: Bench) -> None:
    """A connection that is lost once the request was sent is CONNECTION_LOST; a POST is then not sent again.

    Not CONNECT: the server may have carried the request out.  See that neither the library nor its pool tries again.
    """
    for end in (RawConnection.close, RawConnection.reset):
        policy = Policy(max_retries=3)
        with bench.server(_after_request(then=end)) as server:
            async with bench.client(server, retry=policy) as client:
                error = await bench.failure(client.create())
            _expect_error(error, APIConnectionError, 0)
            _expect_failures(policy, Failure.CONNECTION_LOST)
            _expect_requests(server, 1)


@_rule("failures")
async def nonsense_is_a_failure(bench: Bench) -> None:
    """What is no HTTP is a failure like any other: only errors of `meshapi_core` reach the caller.

    List every exception of the library's parser among the `failures`, by its base class: CONNECTION_LOST.
    """
    heads = (b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\xff" * 100 + b"\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 20")
    chunks = (b"zz\r\n{}\r\n", b"\xff\xff\r\n", b"-5\r\nhello\r\n")
    for nonsense in (*heads, *(stream_head() + http_chunk(_EVENTS[0]) + chunk for chunk in chunks)):
        with bench.server(_after_request(nonsense, then=RawConnection.close)) as server:
            async with bench.client(server) as client:
                await bench.failure(client.read())


# TLS


@_rule("https")
async def unknown_certificate_is_refused(bench: Bench) -> None:
    """A certificate that nobody vouches for is the failure CONNECT, and nothing is sent.

    Leave the library's verification on, and list its exception among the `failures`, apart from the one of a connection
    that is lost later.
    """
    policy = Policy()
    with bench.server(replies(chat_answer()), is_tls=True) as server:
        async with bench.client(server, retry=policy) as client:
            error = await bench.failure(client.create())
        _expect_requests(server, 0)
    _expect_error(error, APIConnectionError, 0)
    _expect_failures(policy, Failure.CONNECT)


@_rule("https")
async def plain_server_is_no_connection(bench: Bench) -> None:
    """A server that does not speak TLS where https is asked for is the failure CONNECT.

    List the library's exception for a handshake that fails, apart from the one of a connection that is lost later.
    """

    def script(connection: RawConnection) -> None:
        connection.send(answer(b"", 400))
        connection.wait_closed()

    policy = Policy()
    with bench.server(script) as server:
        async with bench.client(server.url.replace("http:", "https:"), retry=policy) as client:
            error = await bench.failure(client.create())
    _expect_error(error, APIConnectionError, 0)
    _expect_failures(policy, Failure.CONNECT)


@_rule("https")
async def connect_limits_the_handshake(bench: Bench) -> None:
    """`timeout.connect` ends the wait for a TLS handshake, too, as CONNECT_TIMEOUT.

    The connection stands when the handshake is over.  Where the library has another limit or another exception for it,
    tell them apart in `send`.
    """
    policy = Policy()
    with bench.server(RawConnection.wait_closed) as server:
        url = server.url.replace("http:", "https:")
        async with bench.client(url, timeout=Timeout(connect=_SHORT), retry=policy) as client:
            async with bench.lasting(_SHORT, "the end of the wait for the handshake"):
                error = await bench.failure(client.create())
            await bench.until_closed(server, "when its handshake has taken too long")
    _expect_error(error, APITimeoutError, 0)
    _expect_failures(policy, Failure.CONNECT_TIMEOUT)


@_rule("https", needs_coroutines=True)
async def cancelled_in_the_handshake(bench: Bench) -> None:
    """A call that is cancelled in the middle of a TLS handshake leaves no connection open.

    Some libraries leave that socket to the garbage collector: keep hold of it, and close it on the way out.
    """
    for cancel in [bench.cancelled] if bench.backend == "trio" else [bench.cancelled, bench.cancelled_by_task]:
        reached = threading.Event()

        def script(connection: RawConnection, reached: threading.Event = reached) -> None:
            reached.set()
            connection.wait_closed()

        with bench.server(script) as server:
            async with bench.client(server.url.replace("http:", "https:")) as client:
                await cancel(client.create, reached.is_set, "for the handshake")
                await bench.until_closed(server, "when its handshake is cancelled")


# What is expected again and again


def _expect_error(error: MeshAPIError, error_class: type, status: Optional[int], of: str = "") -> None:
    expected = f"the error{of} to be {error_class.__name__}" + ("" if status is None else f" with status {status}")
    is_as_expected = type(error) is error_class and status in (None, error.status)
    expect(is_as_expected, expected, f"it was {type(error).__name__} with status {error.status}: {error}")


def _expect_failures(policy: Policy, *expected: Failure) -> None:
    found = [failure.name if failure else "an answer" for failure in policy.failures]
    names = [failure.name for failure in expected]
    expect(found == names, f"the failure to be told as {', '.join(names)}", f"it was told as {', '.join(found)}")


def _expect_requests(server: RawServer, number: int) -> None:
    found = len(server.requests)
    expect(found == number, f"{number} request(s) to be sent", f"{found} were sent")


def _expect_said(said: str, of: str = "") -> None:
    expect(said == _HELLO, f"the text{of}", f"it was {said!r}")


async def _expect_text(stream: Stream) -> None:
    said: List[str] = []
    await stream.read(said)
    _expect_said("".join(said))
