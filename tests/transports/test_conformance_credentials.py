"""Who gets the token, and over what: redirects, cookies, password files, proxies and TLS, on every face."""

from __future__ import annotations

import contextlib
import ssl

import pytest
import trustme

from meshapi_core import APIConnectionError, Failure, RedirectError
from meshapi_transports.testing.raw import RawServer, answer, chat_answer, chat_stream, refusing_url, replies

from .conftest import only
from .faces import TOKEN, RecordingPolicy, ask, create, failure, read, stream

pytestmark = pytest.mark.anyio

AUTHORIZATION = f"Bearer {TOKEN}"


@contextlib.asynccontextmanager
async def client_of(face, server, kind, **settings):
    """A client of `server`: of its own, or over an injected object with `settings`."""
    if kind == "own":
        async with face.client(server) as client:
            yield client
    else:
        async with face.own(**settings) as own, face.injected(own, server, timeout=5.0) as client:
            yield client


BOTH_KINDS = pytest.mark.parametrize("kind", ["own", "injected"])


# Redirects


@BOTH_KINDS
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(face, kind, status):
    """A redirect, to another host or the same, is an error that names where it leads; nothing is sent there."""
    with RawServer(replies(chat_answer())) as elsewhere:
        location = f"Location: {elsewhere.url}/v1/chat/completions"
        with RawServer(replies(answer(b"gone", status, location))) as server:
            async with client_of(face, server, kind) as client:
                error = await failure(create(client))
            assert (type(error), error.status) == (RedirectError, status)
            assert elsewhere.url in error.message
            assert len(server.requests) == 1
        assert elsewhere.accepted == 0


# Cookies

COOKIE = "Set-Cookie: session=abc; Path=/"


async def test_cookies_are_not_kept(face):
    """A client of its own never sends a cookie back."""
    with RawServer(replies(chat_answer("Hi", COOKIE), chat_stream("Hi", fields=[COOKIE]), chat_answer())) as server:
        async with face.client(server) as client:
            await create(client)
            await read(stream(client))
            await create(client)
        assert [request.header("cookie") for request in server.requests] == [None] * 3


@only(lambda face: face.has_defaults)
async def test_cookies_of_an_injected_object(face):
    """An injected object keeps its cookies as it always does."""
    with RawServer(replies(chat_answer("Hi", COOKIE), chat_answer())) as server:
        async with client_of(face, server, "injected") as client:
            await create(client)
            await create(client)
        assert [request.header("cookie") for request in server.requests] == [None, "session=abc"]


# Password files and the library's own credentials


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    """A password file that knows every host."""
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1\nlogin someone\npassword secret\ndefault\nlogin someone\npassword secret\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("own", {}),
        ("injected", {"trust_env": True}),
        ("injected", {"login": ("someone", "secret")}),
        ("injected", {"login": ("someone", "secret"), "trust_env": True}),
        ("injected", {"headers": {"Authorization": "Basic c29tZW9uZQ=="}}),
    ],
    ids=["own", "netrc", "login", "login and netrc", "header"],
)
async def test_our_authorization_wins(face, kind, settings):
    """Exactly one Authorization is sent, and it is ours, whatever .netrc or an injected object say."""
    with RawServer(replies(chat_answer(), chat_stream("Hi"))) as server:
        async with client_of(face, server, kind, **settings) as client:
            await create(client)
            await read(stream(client))
        for request in server.requests:
            fields = [value for name, value in request.headers if name.lower() == "authorization"]
            assert fields == [AUTHORIZATION]


# Proxies


async def test_proxies_from_the_environment(face, monkeypatch):
    """Httpx and requests take HTTP_PROXY from the environment, aiohttp and trio do not: as the libraries do."""
    with RawServer(replies(chat_answer("by proxy"))) as proxy, RawServer(replies(chat_answer("direct"))) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        async with face.client(server) as client:
            said = await ask(client, "create")
        if face.library.takes_proxies_from_environment:
            assert said == "by proxy"
            (request,) = proxy.requests
            assert request.target == f"{server.url}/v1/chat/completions"
            assert request.header("authorization") == AUTHORIZATION
            assert server.accepted == 0
        else:
            assert said == "direct"
            assert proxy.accepted == 0


@only(lambda face: face.library.takes_proxies_from_environment)
async def test_proxy_that_refuses(face, monkeypatch):
    """A proxy that cannot be reached is a connection that could not be made."""
    policy = RecordingPolicy(max_retries=0)
    with refusing_url() as url, RawServer(replies(chat_answer())) as server:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        async with face.client(server, retry=policy) as client:
            error = await failure(create(client))
        assert server.accepted == 0
    assert type(error) is APIConnectionError
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT]


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority that nobody knows, and the file to make it known by."""
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, str(path)


def tls_server(authority, host="127.0.0.1"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert(host).configure_cert(context)
    return RawServer(replies(chat_answer("secretly"), chat_stream("secret", "ly")), ssl_context=context)


async def test_tls(face, authority):
    """Https works with a CA that was made known in the library's own way, and its connection is used again."""
    with tls_server(authority) as server:
        assert server.url.startswith("https:")
        async with face.own(ca=authority[1]) as own, face.injected(own, server) as client:
            assert await ask(client, "create") == "secretly"
            assert await ask(client, "stream") == "secretly"
            assert await ask(client, "stream") == "secretly"
        assert server.accepted == 1


async def test_authority_beside_that_of_the_environment(face, authority, monkeypatch, tmp_path):
    """The CA that was set on an injected object stands, whatever CA the environment names."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(other))
    with tls_server(authority) as server:
        async with face.own(ca=authority[1]) as own, face.injected(own, server) as client:
            assert await ask(client, "create") == "secretly"


async def test_unknown_authority(face, authority):
    """A certificate of an unknown CA is refused before anything is sent."""
    policy = RecordingPolicy(max_retries=0)
    with tls_server(authority) as server:
        async with face.client(server, retry=policy) as client:
            error = await failure(create(client))
        assert server.requests == []
    assert type(error) is APIConnectionError
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT]


async def test_certificate_of_another_host(face, authority):
    """A certificate of a known CA for another host is refused, too."""
    policy = RecordingPolicy(max_retries=0)
    with tls_server(authority, "elsewhere.invalid") as server:
        async with face.own(ca=authority[1]) as own, face.injected(own, server, retry=policy) as client:
            error = await failure(create(client))
        assert server.requests == []
    assert type(error) is APIConnectionError
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT]


async def test_plain_http_where_tls_is_expected(face):
    """A server that does not speak TLS is a connection that could not be made."""
    policy = RecordingPolicy(max_retries=0)

    def script(connection):
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        connection.wait_closed()

    with RawServer(script) as server:
        async with face.client(server.url.replace("http:", "https:"), retry=policy) as client:
            error = await failure(create(client))
    assert type(error) is APIConnectionError
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT]
