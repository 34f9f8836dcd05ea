"""Secrets that are attacked: the token in all that can be seen, ids that climb, headers that break lines."""

from __future__ import annotations

import gc
import json
import pickle
import warnings
from operator import attrgetter
from urllib.parse import unquote

import pytest

from meshapi_core import (
    APIConnectionError,
    BatchObject,
    MeshAPIError,
    RedirectError,
    RetryPolicy,
    Timeout,
    UpdateTemplateParams,
)
from meshapi_transports.testing.raw import (
    RawServer,
    answer,
    chat_answer,
    chat_events,
    chat_stream,
    http_chunk,
    refusing_url,
    replies,
    stream_head,
)

from ..transports.conftest import only
from ..transports.faces import ask, create, failure, read, stream
from .tools import Certificates, Records, assert_absent, texts_of, texts_of_error

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_certificates")]

TOKEN = "rsk_01HV4RZJ0X8M6TQK3W9E5YB7NC"
OF_THE_CLIENT = "value-of-a-default-header-0123456789"
OF_THE_CALL = "value-of-an-extra-header-9876543210"
SECRETS = [TOKEN, OF_THE_CLIENT, OF_THE_CALL]
OPTIONS = {"token": TOKEN, "default_headers": {"X-Client-Secret": OF_THE_CLIENT}}
EXTRA = {"extra_headers": {"X-Call-Secret": OF_THE_CALL}}

WAYS = pytest.mark.parametrize("way", ["create", "stream"])


def cut(*pieces):
    """Sends `pieces` and closes."""

    def script(connection):
        connection.receive_request()
        connection.send(*pieces)
        connection.close()

    return script


def reset(*pieces):
    """Sends `pieces` and resets."""

    def script(connection):
        connection.receive_request()
        connection.send(*pieces)
        connection.reset()

    return script


def stall(*pieces):
    """Sends `pieces` and nothing else."""

    def script(connection):
        connection.receive_request()
        connection.send(*pieces)
        connection.wait_closed()

    return script


def echo(connection):
    """Answers 401 with all that it was sent, in the body and in each header that is looked at."""
    request = connection.receive_request()
    said = json.dumps([request.headers, request.header("authorization")])
    body = json.dumps({"error": {"code": TOKEN, "message": said, "details": [{"loc": [said]}], "provider_error": said}})
    connection.send(answer(body.encode(), 401))


TROUBLE = {
    "nonsense": cut(b"\x00\xff nonsense\r\n\r\n"),
    "bad status line": cut(b"HTTP/1.1 abc\r\n\r\n"),
    "bad status": cut(b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"),
    "bad header": cut(b"HTTP/1.1 200 OK\r\nno\0name: x\r\nContent-Length: x\r\n\r\n"),
    "two lengths": cut(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "nothing": cut(),
    "reset": reset(),
    "half a head": reset(b"HTTP/1.1 200 OK\r\nContent-"),
    "half an answer": reset(answer(b"{}")[:-1]),
    "half a stream": cut(stream_head(), http_chunk(chat_events("Hi")[0])),
    "bad chunk": cut(stream_head(), http_chunk(chat_events("Hi")[0]), b"zz\r\n"),
    "bad coding": cut(answer(b"this is no gzip", 200, "Content-Encoding: gzip")),
    "unknown coding": cut(answer(b"this is no brotli", 200, "Content-Encoding: br")),
    "silence": stall(),
    "silence in a head": stall(b"HTTP/1.1 200 OK\r\nContent-"),
    "silence in an answer": stall(stream_head(), http_chunk(chat_events("Hi")[0])),
    "no JSON": cut(answer(b"<html>no</html>", content_type="text/html")),
    "redirect": cut(answer(b"", 302, "Location: https://elsewhere.invalid/v1")),
    "redirect to nonsense": cut(answer(b"", 302, "Location: http://[::1")),
    "limited": cut(answer(b"", 429, "Retry-After: 99999")),
    "echo": echo,
    "upgrade": cut(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "long line": cut(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200000 + b"\r\n\r\n"),
}


@WAYS
@pytest.mark.parametrize("name", TROUBLE)
async def test_secrets_are_in_nothing_that_is_left_of_a_failure(face, name, way):
    """Not in the error, its pickle, its traceback with locals, nor in any error behind it, nor in a log record.

    Neither the token nor the values of the headers that were added.
    """
    records = Records()
    with RawServer(TROUBLE[name]) as server, records.listening():
        timeout = Timeout(connect=5.0, idle=0.1 if name.startswith("silence") else 5.0)
        async with face.client(server, timeout=timeout, max_retries=0, **OPTIONS) as client:
            error = await failure(ask(client, way, **EXTRA))
            shown = [*texts_of(client), *texts_of_error(error)]
    assert any(TOKEN in (request.header("authorization") or "") for request in server.requests)
    # What a server makes public of the caller's own headers is not the client's to hide; the token is.
    assert_absent([TOKEN] if name == "echo" else SECRETS, [*without_arguments(shown), *records.texts])


@pytest.mark.parametrize("name", ["refused", "no host", "no TLS", "unknown authority", "closed"])
async def test_secrets_are_in_nothing_that_is_left_of_a_connection(face, name, tmp_path):
    """As little, where none came about, or the client was closed."""
    records = Records()
    context = Certificates(tmp_path).good() if name == "unknown authority" else None

    def script(connection):
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        connection.wait_closed()

    with refusing_url() as refusing, RawServer(script, ssl_context=context) as server, records.listening():
        url = {
            "refused": refusing,
            "no host": "https://no-such-host.invalid",
            "no TLS": server.url.replace("http:", "https:"),
        }.get(name, server.url)
        async with face.client(url, max_retries=1, retry=RetryPolicy(backoff_base=0.0), **OPTIONS) as client:
            if name == "closed":
                await client.aclose()
                with pytest.raises(RuntimeError) as caught:
                    await create(client, **EXTRA)
                error = caught.value
            else:
                error = await failure(create(client, **EXTRA))
            shown = without_arguments([*texts_of(client), *texts_of_error(error)])
            assert_absent(SECRETS, [*shown, *records.texts])


async def test_token_as_the_name_of_a_request(face):
    """A server that names the request by its key does not get it into our own log."""
    records = Records()
    with RawServer(replies(answer(b"{}", 404, f"X-Request-Id: {TOKEN}"))) as server, records.listening():
        async with face.client(server, **OPTIONS) as client:
            await failure(create(client))
    assert_absent([TOKEN], [text for text in records.texts if text.startswith("meshapi")])


def without_arguments(texts):
    """`texts` without what the caller's own arguments are called in the frame of the method that he called."""
    return [text for text in texts if not ("/_faces/_" in text and "extra_headers = {" in text)]


@WAYS
async def test_secrets_are_in_no_log_of_a_success(face, way):
    """Nor in the log records, the reprs, or the URL of a call that went well; redirects and retries included."""
    records = Records()
    reply = chat_answer("Hi") if way == "create" else chat_stream("Hi")
    with RawServer(replies(answer(b"", 503), reply)) as server, records.listening():
        retry = RetryPolicy(backoff_base=0.0)
        async with face.client(server, retry=retry, **OPTIONS) as client:
            assert await ask(client, way, max_retries=2, **EXTRA) == "Hi"
            shown = [*texts_of(client), *texts_of(client.chat.completions)]
            if face.is_blocking:
                shown += [*texts_of(client._blocking), *texts_of(client._blocking.chat)]
        assert len(server.requests) == 2
    for sent in server.requests:
        assert TOKEN not in sent.target
        assert TOKEN.encode() not in sent.body
    assert records.texts
    assert_absent(SECRETS, [*shown, *records.texts])


async def test_secrets_are_in_no_stream(face):
    """Nor in the repr of a stream, at any time of its life, nor in its head."""
    with RawServer(replies(chat_stream("Hi"))) as server:
        async with face.client(server, **OPTIONS) as client:
            events = stream(client, **EXTRA)
            shown = [*texts_of(events)]
            shown += [*texts_of(getattr(events, "_items", events))]
            async for _ in events:
                shown += [*texts_of(getattr(events, "_items", events)), *texts_of(events.response)]
            shown += [*texts_of(getattr(events, "_items", events))]
    assert_absent(SECRETS, shown)


async def test_secrets_are_in_no_warning(face):
    """A stream that is dropped, and a client that is, warn of nothing that is secret."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with RawServer(replies(chat_stream("Hi"))) as server:
            async with face.client(server, **OPTIONS) as client:
                events = stream(client, **EXTRA)
                await events.__anext__()
                del events
                gc.collect()
        gc.collect()
    assert_absent(SECRETS, [repr(each.message) for each in caught])


@only(lambda face: face.name in ("stdlib", "trio"))
@pytest.mark.parametrize("base_url", ["http://gateway.invalid", "http://10.1.2.3", "http://localhost.evil.invalid"])
async def test_clear_text_is_warned_of_once(face, base_url):
    """A client that would send the key in clear over a network says so once, when it is made, without the key."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with face.client(base_url, **OPTIONS) as client:
            for _ in range(2):
                await failure(create(client, max_retries=0, timeout=Timeout(connect=0.05, total=0.05)))
    ours = [each for each in caught if "clear" in str(each.message)]
    assert len(ours) == 1
    assert base_url in str(ours[0].message)
    assert_absent(SECRETS, [repr(vars(ours[0]))])


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1.evil.invalid",
        "http://127.0.0.1.",
        "http://2130706433",
        "http://0.0.0.0",
        "http://[fe80::1]",
        "HTTP://gateway.invalid",
        "http://locaIhost",
    ],
)
@only(lambda face: face.name in ("stdlib", "aiohttp", "httpx", "requests", "trio"))
async def test_what_only_looks_like_this_machine(face, base_url):
    """What is no loopback address, however much it looks like one, is warned of."""
    with pytest.warns(UserWarning, match="in clear"):
        async with face.client(base_url, **OPTIONS):
            pass


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1", "http://127.9.9.9:8000", "http://[::1]:80", "http://localhost", "https://a.invalid"],
)
@only(lambda face: face.name in ("stdlib", "aiohttp", "httpx", "requests", "trio"))
async def test_this_machine_is_not_warned_of(face, base_url):
    """What stays on this machine, or is encrypted, is not; a warning would be an error here."""
    async with face.client(base_url, **OPTIONS):
        pass


# To other hosts


@WAYS
@pytest.mark.parametrize("location", ["{0}/v1/chat/completions", "//127.0.0.1:{1}/x", "http://user:pw@127.0.0.1:{1}/"])
async def test_token_does_not_follow_a_redirect(face, way, location):
    """Wherever a redirect leads, and however it is written, nothing is sent there, nor anywhere again."""
    with RawServer(replies(chat_answer())) as elsewhere:
        target = location.format(elsewhere.url, elsewhere.port)
        for status in (301, 307, 308):
            with RawServer(replies(answer(b"", status, f"Location: {target}", f"Refresh: 0;url={target}"))) as server:
                async with face.own() as own, face.injected(own, server, max_retries=3) as client:
                    error = await failure(ask(client, way))
                assert isinstance(error, (RedirectError, APIConnectionError))
                assert len(server.requests) == 1
        assert elsewhere.accepted == 0


async def test_alternative_service_is_not_used(face):
    """A server that recommends another for its own next requests is not believed."""
    with RawServer(replies(chat_answer("wrong"))) as elsewhere:
        fields = [f'Alt-Svc: h2="127.0.0.1:{elsewhere.port}"; ma=3600', f"Content-Location: {elsewhere.url}/"]
        with RawServer(replies(chat_answer("Hi", *fields))) as server:
            async with face.client(server) as client:
                for _ in range(2):
                    assert await ask(client, "create") == "Hi"
        assert elsewhere.accepted == 0


@pytest.mark.parametrize("kind", ["own", "injected"])
async def test_netrc_of_the_home_directory(face, kind, monkeypatch, tmp_path):
    """A .netrc in the home directory, and one that cannot be read, change nothing."""
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".netrc"
    for text in ("default\nlogin someone\npassword secret\n", "machine 127.0.0.1 login \0 broken ["):
        path.write_text(text)
        path.chmod(0o600)
        with RawServer(replies(chat_answer("Hi"))) as server:
            if kind == "own":
                async with face.client(server, token=TOKEN) as client:
                    await create(client)
            else:
                async with face.own(trust_env=True) as own, face.injected(own, server, token=TOKEN) as client:
                    await create(client)
            (request,) = server.requests
            assert [value for name, value in request.headers if name.lower() == "authorization"] == [f"Bearer {TOKEN}"]


# What becomes a header

BREAKING = ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "ä", "\u2028", "a\x7f", "a\x0bb", "\ud800", " a", "a "]


@pytest.mark.parametrize("value", BREAKING, ids=ascii)
async def test_headers_that_break_lines(face, value):
    """What would end a header's line, or is no ASCII, is refused by each client before anything is sent."""
    name = value.strip() if value.strip() != "a" else "a b"
    with RawServer(replies(chat_answer())) as server:
        for options in (
            {"token": f"rsk_{value}"},
            {"default_headers": {"X-A": value}},
            {"default_headers": {name: "a"}},
            {"api_version": f"2026{value}"},
        ):
            with pytest.raises(ValueError):
                face.client(server, **options)
        async with face.client(server) as client:
            for options in (
                {"extra_headers": {"X-A": value}},
                {"extra_headers": {name: "a"}},
                {"request_id": value},
            ):
                with pytest.raises(ValueError):
                    await create(client, **options)
                with pytest.raises(ValueError):
                    await read(stream(client, **options))
        assert server.accepted == 0


@pytest.mark.parametrize("name", ["Authorization", "HOST", "content-length", "Transfer-Encoding", "Connection"])
async def test_headers_that_are_not_the_caller_s(face, name):
    """What frames a request, or says who asks, cannot be replaced through any client."""
    with RawServer(replies(chat_answer())) as server:
        with pytest.raises(ValueError, match="set by the client"):
            face.client(server, default_headers={name: "1"})
        async with face.client(server) as client:
            with pytest.raises(ValueError, match="set by the client"):
                await create(client, extra_headers={name: "1"})
        assert server.accepted == 0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{}\r\nX: y", "http://127.0.0.1:{}/\t", "http://a@127.0.0.1:{}", "{}"]
)
async def test_addresses_that_are_none(face, url):
    """An address with a line's end, a blank or a login is refused by each client."""
    with RawServer(replies(chat_answer())) as server:
        with pytest.raises(ValueError):
            face.client(url.format(server.port))
        assert server.accepted == 0


async def test_query_that_breaks_lines(face):
    """What is put into a query is encoded, whatever it is."""
    evil = "a b\r\nX-Evil: 1\r\n\r\n&x=#?/../ä\0\\"
    with RawServer(replies(chat_answer("Hi"))) as server:
        async with face.client(server) as client:
            await create(client, extra_query={"q": evil, evil: ["1", "2"]})
        (request,) = server.requests
    path, _, query = request.target.partition("?")
    assert path == "/v1/chat/completions"
    assert request.header("x-evil") is None
    pairs = [tuple(unquote(part.replace("+", " ")) for part in pair.split("=")) for pair in query.split("&")]
    assert pairs == [("q", evil), (evil, "1"), (evil, "2")]


# What becomes a path

IDS = [
    "..",
    ".",
    "...",
    "../..",
    "../../etc/passwd",
    "..\\..",
    "%2e%2e",
    "%2e%2e%2f",
    "%252e%252e/x",
    "a/../../b",
    "/",
    "//evil.invalid/x",
    "http://evil.invalid/",
    "a?b=c",
    "a#b",
    "a;b=c",
    "a&b",
    "a\\b",
    " ",
    "a b ",
    "\t",
    "a\r\nHost: evil.invalid\r\n\r\n",
    "\0",
    "a\x7fb",
    "ä/ö",
    "\u2024\u2024/",
    "\uff0e\uff0e\uff0f",
    "a" * 3000,
    "@evil.invalid",
    ":80",
    "*",
    "a+b",
    "a%",
    "%00",
    "~",
]

# Method, arguments after the id, verb, and the path around the id.
METHODS = {
    "files.get": ((), "GET", "/v1/files/", ""),
    "files.delete": ((), "DELETE", "/v1/files/", ""),
    "files.content": ((), "GET", "/v1/files/", "/content"),
    "batches.get": ((), "GET", "/v1/batches/", ""),
    "batches.cancel": ((), "POST", "/v1/batches/", "/cancel"),
    "batches.wait": ((), "GET", "/v1/batches/", ""),
    "responses.get": ((), "GET", "/v1/responses/", ""),
    "templates.get": ((), "GET", "/v1/templates/", ""),
    "templates.update": ((UpdateTemplateParams(name="a"),), "PATCH", "/v1/templates/", ""),
    "templates.delete": ((), "DELETE", "/v1/templates/", ""),
    "models.get": ((), "GET", "/v1/models/", ""),
}


@pytest.mark.parametrize("method", METHODS)
async def test_ids_cannot_climb(face, method):
    """The server sees each id whole, in a segment of its own, in the path that it belongs to."""
    arguments, verb, before, after = METHODS[method]
    with RawServer(replies(answer(b'{"status": "completed"}'))) as server:
        async with face.client(f"{server.url}/base") as client:
            for each in IDS:
                await attrgetter(method)(client)(each, *arguments)
        requests = server.requests
    assert len(requests) == len(IDS)
    for each, request in zip(IDS, requests):
        assert (request.method, request.header("host")) == (verb, f"127.0.0.1:{server.port}")
        start, end = f"/base{before}", after
        assert request.target.startswith(start)
        assert request.target.endswith(end)
        sent = request.target[len(start) : len(request.target) - len(end)]
        # A model's id keeps the slash between provider and model.
        assert "/" not in sent.replace("/", "", each.count("/") if method == "models.get" else 0)
        assert not set(sent) & set('?#;\\ "<>^`{|}&+@:*'), sent
        assert sent.isascii()
        assert unquote(sent) == each
        segments = sent.split("/")
        assert "." not in segments
        assert ".." not in segments


@pytest.mark.parametrize("each", IDS, ids=ascii)
async def test_ids_of_the_gateway_cannot_climb(face, each):
    """Nor do the ids that the gateway itself gives, when they are used for the next request."""
    with RawServer(replies(answer(b""))) as server:
        async with face.client(server) as client:
            batch = BatchObject(id="b", status="completed", output_file_id=each)
            assert [result async for result in client.batches.results(batch)] == []
        (request,) = server.requests
    sent = request.target[len("/v1/files/") : -len("/content")]
    assert request.target == f"/v1/files/{sent}/content"
    assert "/" not in sent
    assert "?" not in sent
    assert unquote(sent) == each


async def test_pages_that_are_named_to_break_out(face):
    """The name of the next page, which the gateway gives, is a value in the query and nothing else."""
    evil = "x&limit=9999#/../\r\nX-Evil: 1"
    pages = [{"data": [{"id": "1"}], "has_more": True, "last_id": evil}, {"data": [], "has_more": False}]
    with RawServer(replies(*(answer(json.dumps(page).encode()) for page in pages))) as server:
        async with face.client(server) as client:
            assert [batch.id async for batch in client.batches.iterate()] == ["1"]
        second = server.requests[1]
    assert second.header("x-evil") is None
    name, _, value = second.target.partition("?")[2].partition("=")
    assert (name, unquote(value.replace("+", " "))) == ("after", evil)


@pytest.mark.parametrize("each", ["", None, 5, b"a", "\ud800", ["a"]], ids=repr)
async def test_ids_that_are_none(face, each):
    """What is no text, or empty, or half a character, is refused before anything is sent."""
    with RawServer(replies(answer(b"{}"))) as server:
        async with face.client(server) as client:
            for method, (arguments, *_) in METHODS.items():
                with pytest.raises(ValueError, match=r"must be a text|half a character"):
                    await attrgetter(method)(client)(each, *arguments)
        assert server.accepted == 0


# The check itself


def test_the_check_sees_what_there_is_to_be_seen():
    """A token in a local, an argument, an attribute, a cause, and half of one: each is found."""

    def fail(**fields):
        error = MeshAPIError("no", error_code="x")
        vars(error).update(fields)
        raise error

    for fields, cause in (
        ({"seen": TOKEN}, None),
        ({"seen": {"a": [TOKEN[:14]]}}, None),
        ({}, ValueError("a", {"Authorization": f"Bearer {TOKEN}"})),
        ({"inner": KeyError(TOKEN)}, None),
    ):
        with pytest.raises(MeshAPIError) as caught:
            fail(**fields)
        caught.value.__cause__ = cause
        with pytest.raises(AssertionError, match="is in"):
            assert_absent([TOKEN], texts_of_error(caught.value))
    assert_absent([TOKEN], texts_of_error(MeshAPIError("no", error_code="x")))


def test_the_check_sees_the_locals_of_libraries():
    """A token in a frame that is not of the tests is found."""
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(f'{{"key": "{TOKEN}", ')
    caught.value.doc = ""
    with pytest.raises(AssertionError, match="is in"):
        assert_absent([TOKEN], texts_of_error(caught.value))


def test_errors_are_pickled():
    """The pickle that is looked into is one: an error of ours always can be."""
    error = APIConnectionError("no", error_code="connection_error")
    assert type(pickle.loads(pickle.dumps(error))) is APIConnectionError
