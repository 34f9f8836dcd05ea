"""The same program, the same answer: what goes over the wire and what comes back, on every face over real sockets."""

from __future__ import annotations

import json
import threading
import zlib

import pytest

from meshapi_core import MeshAPIConfig, Timeout, __version__
from meshapi_transports.testing import Fault, LocalGateway
from meshapi_transports.testing.raw import (
    LAST_CHUNK,
    RawServer,
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

from .faces import PARAMS, TOKEN, ask, create, failure, read, stream, text_of

pytestmark = pytest.mark.anyio

TEXTS = ("Grüße, ", "世界", " 🌍\u2028", "!")
TEXT = "".join(TEXTS)


@pytest.fixture(scope="module")
def running_gateway():
    with LocalGateway() as gateway:
        yield gateway


@pytest.fixture
def gateway(running_gateway):
    running_gateway.reset()
    return running_gateway


def name_of(fault):
    usual = vars(Fault())
    return ",".join(f"{name}={value!r}" for name, value in vars(fault).items() if value != usual[name]) or "plain"


# Answers


async def test_create_over_the_gateway(face, gateway):
    """The same program prints the same answer on every face."""
    async with face.client(gateway.base_url, token=gateway.token) as client:
        answer = await create(client)
    assert answer.choices[0].message.content == "You said: Say hello"
    assert answer.request_id
    assert answer.usage.total_tokens == 6


async def test_stream_over_the_gateway(face, gateway):
    """The same program prints the same chunks on every face."""
    async with face.client(gateway.base_url, token=gateway.token) as client, stream(client) as events:
        assert events.response.status == 200
        assert events.request_id
        assert await read(events) == "You said: Say hello"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(),
        Fault(line_ending="\r\n"),
        Fault(line_ending="\r"),
        Fault(space=False),
        Fault(bom=True),
        Fault(split=1),
        Fault(split=1, line_ending="\r\n", bom=True),
        Fault(multiline=True),
        Fault(comments=2),
        Fault(content_type="text/plain; charset=iso-8859-1"),
        Fault(encoding="gzip"),
        Fault(encoding="deflate"),
        Fault(encoding="gzip", split=3),
        Fault(done=False),
    ],
    ids=name_of,
)
async def test_forms_of_a_stream(face, gateway, fault):
    """However a stream is written down and cut into pieces, its text is the same."""
    gateway.inject(fault)
    async with face.client(gateway.base_url, token=gateway.token) as client:
        assert await read(stream(client)) == "You said: Say hello"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_answer(face, gateway, encoding):
    """A compressed JSON answer is read as if it were none."""
    gateway.inject(Fault(encoding=encoding))
    async with face.client(gateway.base_url, token=gateway.token) as client:
        assert await ask(client, "create") == "You said: Say hello"


@pytest.mark.parametrize("size", [1, 2, 7, 10000])
async def test_stream_of_characters_of_several_bytes(face, size):
    """Characters of up to four bytes come whole, wherever chunks and packets are cut."""
    body = b"".join(chat_events(*TEXTS))
    pieces = [http_chunk(body[start : start + size]) for start in range(0, len(body), size)]

    def script(connection):
        connection.receive_request()
        connection.send(stream_head(), *pieces, LAST_CHUNK)

    with RawServer(script) as server:
        async with face.client(server) as client:
            assert await read(stream(client)) == TEXT


async def test_stream_packet_by_packet(face):
    """The bytes of the HTTP framing may come one at a time, those of the head too."""

    def script(connection):
        connection.receive_request()
        connection.send(*(bytes([byte]) for byte in chat_stream(*TEXTS)))

    with RawServer(script) as server:
        async with face.client(server) as client:
            assert await read(stream(client)) == TEXT


@pytest.mark.parametrize("way", ["create", "stream"])
async def test_body_until_the_connection_closes(face, way):
    """A body without a length ends where the connection does, in order."""
    body = json.dumps(chat_completion(TEXT)).encode() if way == "create" else b"".join(chat_events(*TEXTS))

    def script(connection):
        connection.receive_request()
        connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body)

    with RawServer(script) as server:
        async with face.client(server) as client:
            assert await ask(client, way) == TEXT


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
@pytest.mark.parametrize("way", ["create", "stream"])
async def test_interim_answers(face, way, status):
    """What comes before the answer is not the answer; it is never a reason to send the request twice."""
    interim = f"HTTP/1.1 {status}\r\nLink: </a>\r\n\r\n".encode()
    final = chat_answer(TEXT) if way == "create" else chat_stream(*TEXTS)
    with RawServer(replies(interim + final)) as server:
        async with face.client(server) as client:
            assert await ask(client, way) == TEXT
        assert len(server.requests) == 1


async def test_head_with_a_long_field(face):
    """A header field of 20 kB, such as a proxy's cookie or policy, breaks nothing."""
    with RawServer(replies(chat_answer(TEXT, f"X-Long: {'x' * 20000}"))) as server:
        async with face.client(server) as client:
            answer = await create(client)
    assert answer.choices[0].message.content == TEXT


async def test_large_stream(face):
    """A stream of 20 000 events, sent as fast as it goes, comes whole and in order."""
    texts = [f"{number} " for number in range(20000)]
    events = b"".join(sse_event(chat_chunk(text)) for text in texts)
    with RawServer(replies(stream_head() + http_chunk(events + sse_event("[DONE]")) + LAST_CHUNK)) as server:
        async with face.client(server) as client:
            assert await read(stream(client)) == "".join(texts)


@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_events_are_delivered_before_the_next_is_sent(face, encoding):
    """An event is in the caller's hands while the server still waits to be told to send the next one."""
    told = [threading.Event() for _ in range(3)]
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)

    def coded(data):
        return data if encoding is None else compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)

    def script(connection):
        connection.receive_request()
        connection.send(stream_head(*([f"Content-Encoding: {encoding}"] if encoding else [])))
        for number, event in enumerate(told):
            connection.wait(event)
            connection.send(http_chunk(coded(sse_event(chat_chunk(f"{number}")))))
        rest = coded(sse_event("[DONE]")) + (compressor.flush() if encoding else b"")
        connection.send(http_chunk(rest) + LAST_CHUNK)

    with RawServer(script) as server:
        async with face.client(server) as client, stream(client) as events:
            for number, event in enumerate(told):
                event.set()
                assert text_of([await events.__anext__()]) == str(number)
            assert [chunk async for chunk in events] == []


async def test_events_that_share_a_packet(face):
    """Several events in one packet come one by one, each once."""
    with RawServer(replies(stream_head() + http_chunk(b"".join(chat_events(*TEXTS))) + LAST_CHUNK)) as server:
        async with face.client(server) as client:
            chunks = [chunk async for chunk in stream(client)]
    assert [text_of([chunk]) for chunk in chunks] == [*TEXTS, ""]


async def test_nothing_is_sent_before_it_is_asked_for(face):
    """Making a stream sends nothing; entering it, or asking for its first event, does."""
    with RawServer(replies(chat_stream(*TEXTS))) as server:
        async with face.client(server) as client:
            events = stream(client)
            entered = stream(client)
            assert (events.response, events.request_id) == (None, "")
            assert server.accepted == 0
            async with entered:
                assert len(server.requests) == 1
                await read(entered)
            assert await read(events) == TEXT
            assert len(server.requests) == 2


async def test_head_of_a_stream_is_there_when_it_is_entered(face):
    """Status, headers and request id can be read before the first event has come."""
    told = threading.Event()

    def script(connection):
        connection.receive_request()
        connection.send(stream_head("X-Request-Id: req-1", "X-Mesh-Served-Provider: someone"))
        connection.wait(told)
        connection.send(b"".join(map(http_chunk, chat_events(*TEXTS))) + LAST_CHUNK)

    with RawServer(script) as server:
        async with face.client(server) as client:
            async with stream(client) as events:
                assert events.response.status == 200
                assert events.response.headers["x-mesh-served-provider"] == "someone"
                assert events.request_id == "req-1"
                told.set()
                assert await read(events) == TEXT
            assert events.request_id == "req-1"


async def test_finished_stream_stays_finished(face):
    """A stream that was read to its end has no more events, however often it is asked."""
    with RawServer(replies(chat_stream(*TEXTS))) as server:
        async with face.client(server) as client:
            events = stream(client)
            assert await read(events) == TEXT
            assert await read(events) == ""
            await events.aclose()
            assert await read(events) == ""
            assert len(server.requests) == 1


async def test_calls_beside_a_stream(face):
    """A stream stays open, and undisturbed, while other calls are made on the same client."""
    told = threading.Event()

    def slow(connection, request):
        connection.send(stream_head(), *map(http_chunk, chat_events(*TEXTS)[:2]))
        connection.wait(told)
        connection.send(*map(http_chunk, chat_events(*TEXTS)[2:]), LAST_CHUNK)

    with RawServer(replies(slow, chat_answer("beside it"))) as server:
        async with face.client(server) as client:
            async with stream(client) as events:
                first = text_of([await events.__anext__()])
                assert await ask(client, "create") == "beside it"
                assert await ask(client, "create") == "beside it"
                told.set()
                assert first + await read(events) == TEXT
            assert server.accepted == 2


# The request


USUAL_NAMES = {"host", "connection", "accept-encoding", "user-agent", "content-length"}


@pytest.mark.parametrize("way", ["create", "stream"])
async def test_request_on_the_wire(face, way):
    """Method, path, body and headers are the core's, to the byte; the library adds nothing but the framing."""
    reply = chat_answer() if way == "create" else chat_stream("Hello there")
    with RawServer(replies(reply)) as server:
        async with face.client(server) as client:
            await ask(client, way, request_id="my-id", extra_headers={"X-Own": "one"}, extra_query={"a": ["1", "ä"]})
        (request,) = server.requests
        port = server.port
    assert (request.method, request.target) == ("POST", "/v1/chat/completions?a=1&a=%C3%A4")
    flag = b"false" if way == "create" else b"true"
    assert request.body == b'{"stream":%b,"messages":[{"role":"user","content":"Say hello"}]}' % flag
    names = [name.lower() for name, _ in request.headers]
    assert len(names) == len(set(names))
    assert set(names) - USUAL_NAMES == {
        "accept",
        "authorization",
        "content-type",
        "x-mesh-version",
        "x-meshapi-sdk",
        "x-own",
        "x-request-id",
    }
    assert request.header("host") == f"127.0.0.1:{port}"
    assert request.header("authorization") == f"Bearer {TOKEN}"
    assert request.header("accept") == ("application/json" if way == "create" else "text/event-stream")
    assert request.header("content-type") == "application/json"
    assert request.header("x-request-id") == "my-id"
    assert request.header("accept-encoding") == "gzip, deflate"
    assert request.header("user-agent") == f"meshapi-transports/{__version__}"
    assert request.header("connection") in ("keep-alive", None)


@pytest.mark.parametrize("timeout", [5.0, None, Timeout(total=5.0), Timeout(idle=None, total=5.0)])
async def test_large_body(face, timeout):
    """A body of 2 MB arrives whole, whatever limits there are."""
    params = PARAMS.model_copy(update={"user": "🌍" * 500_000})
    with RawServer(replies(chat_answer(TEXT))) as server:
        async with face.client(server, timeout=timeout) as client:
            await client.chat.completions.create(params)
        assert server.requests[0].header("content-length") == str(len(server.requests[0].body))
        assert server.requests[0].json()["user"] == params.user


@pytest.mark.parametrize("path", ["/prefix", "/a%2Fb%20c", "/%7Euser/%2E%2E/%C3%A4", "/a;b=c,d/@:!$&'()*+"])
async def test_base_path(face, path):
    """The path of the base URL goes out as it was given, percent-encodings and all."""
    with RawServer(replies(chat_answer())) as server:
        async with face.client(f"{server.url}{path}/") as client:
            await create(client)
        assert server.requests[0].target == f"{path}/v1/chat/completions"


@pytest.mark.parametrize("variable", ["MESHAPI_API_KEY", "MESHAPI_TOKEN"])
async def test_environment(face, monkeypatch, variable):
    """Without arguments, address and key come from the environment."""
    with RawServer(replies(chat_answer())) as server:
        monkeypatch.setenv("MESHAPI_BASE_URL", server.url + "/")
        monkeypatch.setenv(variable, "rsk_from_the_environment")
        async with face.bare_client() as client:
            await create(client)
        assert server.requests[0].header("authorization") == "Bearer rsk_from_the_environment"


async def test_default_headers(face):
    """The headers that a client was given go with each of its requests; a single call's win."""
    with RawServer(replies(chat_answer())) as server:
        async with face.client(server, default_headers={"X-Team": "a", "User-Agent": "mine"}) as client:
            await create(client)
            await create(client, extra_headers={"x-team": "b", "accept-encoding": "identity"})
        assert [request.header("accept-encoding") for request in server.requests] == ["gzip, deflate", "identity"]
        assert [request.header("x-team") for request in server.requests] == ["a", "b"]
        assert [request.header("user-agent") for request in server.requests] == ["mine", "mine"]


# Nothing is sent if it cannot be right


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"token": ""}, "token"),
        ({"token": "rsk_\r\nX-Evil: 1"}, "token"),
        ({"base_url": "127.0.0.1:80"}, "base_url"),
        ({"base_url": "ftp://127.0.0.1"}, "base_url"),
        ({"base_url": "http://127.0.0.1:port"}, "base_url"),
        ({"default_headers": {"X-A": "1\r\nX-Evil: 1"}}, "default_headers"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
async def test_wrong_arguments_of_a_client(face, options, word):
    """A client that could not work is not made; the message names the argument."""
    with pytest.raises(ValueError, match=word):
        face.client(**{"base_url": "http://127.0.0.1", **options})


async def test_unknown_argument_of_a_client(face):
    """A misspelt argument is an error that names it."""
    with pytest.raises(TypeError, match="time_out"):
        face.client("http://127.0.0.1", time_out=1)


async def begin(way, client, params, **options):
    """Make a call: send it if it is one that sends, and only make the stream if not."""
    made = getattr(client.chat.completions, way)(params, **options)
    if way == "create":
        await made


@pytest.mark.parametrize("way", ["create", "stream"])
@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"request_id": "a b"}, ValueError, "request_id"),
        ({"extra_headers": {"X-A": "1\nX-Evil: 1"}}, ValueError, "extra_headers"),
        ({"extra_headers": {"Authorization": "Bearer other"}}, ValueError, "extra_headers"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"time_out": 1}, TypeError, "time_out"),
        ({"extra_body": {"stream": True}}, ValueError, "stream"),
    ],
)
async def test_wrong_options_of_a_call(face, way, options, error, word):
    """What is wrong with a call is said at the call, for streams too, and nothing is sent."""
    with RawServer(replies(chat_answer())) as server:
        async with face.client(server) as client:
            with pytest.raises(error, match=word):
                await begin(way, client, PARAMS, **options)
            assert server.accepted == 0


@pytest.mark.parametrize("way", ["create", "stream"])
async def test_wrong_type_of_params(face, way):
    """A dict instead of the params is refused, with a hint, and nothing is sent."""
    with RawServer(replies(chat_answer())) as server:
        async with face.client(server) as client:
            with pytest.raises(TypeError, match="ChatCompletionParams"):
                await begin(way, client, {"model": "a/model", "messages": []})
            assert server.accepted == 0


def test_header_values_beyond_ascii():
    """A header value that is not ASCII is refused by the core, since the libraries disagree on how to send it."""
    with pytest.raises(ValueError):
        MeshAPIConfig(token=TOKEN, default_headers={"X-Name": "caf\xe9"})


async def test_answer_without_a_body(face):
    """An answer of success with nothing in it (204) is an error that says so, and its connection is used again."""
    with RawServer(replies(answer_head(204), chat_answer(TEXT))) as server:
        async with face.client(server) as client:
            assert "it is empty" in (await failure(create(client))).message
            assert await ask(client, "create") == TEXT
            assert server.accepted == 1
