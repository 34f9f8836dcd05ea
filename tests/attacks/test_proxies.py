"""A real forwarding proxy between client and gateway: what it sees, what it does not, and what it may do."""

from __future__ import annotations

import base64
import contextlib
import sys

import aiohttp
import pytest

from meshapi_core import APIConnectionError, APIStatusError, Failure, InternalServerError
from meshapi_transports import trio as trio_adapter
from meshapi_transports.testing.raw import RawServer, chat_answer, chat_stream, refusing_url, replies

from ..transports.conftest import only
from ..transports.faces import TOKEN, RecordingPolicy, ask, create, failure
from .tools import Certificates, Proxy, assert_absent, texts_of, texts_of_error

pytestmark = pytest.mark.anyio

AUTHORIZATION = f"Bearer {TOKEN}"
LOGIN = "some%20one:pass-word-of-the-proxy"
PLAIN_LOGIN = "some one:pass-word-of-the-proxy"
PASSWORD = "pass-word-of-the-proxy"

SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])
WAYS = pytest.mark.parametrize("way", ["create", "stream"])
# The stdlib adapter speaks to no proxy.
through_proxies = only(lambda face: face.name != "stdlib")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Of an authority that nobody knows."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def gateway(scheme, certificates):
    """Answers with "Hi"."""

    def reply(connection, request):
        connection.send(chat_stream("Hi") if request.json()["stream"] else chat_answer("Hi"))

    return RawServer(replies(reply), ssl_context=certificates.good() if scheme == "https" else None)


def settings_for(monkeypatch, proxy_url, certificates):
    """The environment of a user behind a proxy who has an authority of his own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy_url)
        monkeypatch.setenv(name.lower(), proxy_url)
    monkeypatch.setenv("SSL_CERT_FILE", certificates.file)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates.file)


@contextlib.asynccontextmanager
async def client_through(face, how, server, proxy_url, monkeypatch, certificates, **options):
    """A client behind a proxy, set the way its users would: by the environment, or on the library's own object."""
    if how == "environment":
        settings_for(monkeypatch, proxy_url, certificates)
        if face.name != "aiohttp":
            async with face.client(server, **options) as client:
                yield client
            return
        # aiohttp reads the environment when told to, and the authorities when it is imported.
        connector = aiohttp.TCPConnector(ssl=certificates.client_context())
        own = aiohttp.ClientSession(trust_env=True, connector=connector)
    elif "httpx" in face.library.module:
        own = face.library.make(proxy=proxy_url, verify=certificates.client_context())
    elif face.name == "requests":
        own = face.library.own(ca=certificates.file)
        own.proxies = {"http": proxy_url, "https": proxy_url}
    elif face.name == "aiohttp":
        own = aiohttp.ClientSession(proxy=proxy_url, connector=aiohttp.TCPConnector(ssl=certificates.client_context()))
    else:
        own = trio_adapter.ConnectionPool(proxy=proxy_url, ssl_context=certificates.client_context())
    try:
        async with face.injected(own, server, timeout=5.0, **options) as client:
            yield client
    finally:
        await face.library.close(own)


@pytest.fixture(params=["environment", "object"])
def how(face, request):
    """By the environment, where the library reads it, or on its own object."""
    if request.param == "environment" and face.name == "trio":
        pytest.skip("trio's pool does not read the environment")
    return request.param


def check_what_passed(proxy, server, scheme):
    """A tunnel tells the proxy where to, and nothing else; a forwarded request is forwarded whole."""
    assert proxy.passed
    for passed in proxy.passed:
        if scheme == "http":
            assert (passed.method, passed.target) == ("POST", f"{server.url}/v1/chat/completions")
            assert passed.header("Authorization") == AUTHORIZATION
        else:
            assert (passed.method, passed.target) == ("CONNECT", f"127.0.0.1:{server.port}")
            names = {name.lower() for name, _ in passed.headers}
            of_a_proxy = {"host", "user-agent", "proxy-authorization", "proxy-connection", "connection"}
            assert names <= of_a_proxy | {"accept", "accept-encoding"}
            assert TOKEN not in repr(passed.headers)
            # And inside the tunnel there is nothing to be read.
            assert passed.tunnelled
            assert TOKEN.encode() not in passed.tunnelled
            assert b"Say hello" not in passed.tunnelled
    for request in server.requests:
        fields = [value for name, value in request.headers if name.lower() == "authorization"]
        assert fields == [AUTHORIZATION]
        assert request.header("proxy-authorization") is None
        assert PASSWORD not in repr(request)


@through_proxies
@SCHEMES
@WAYS
async def test_proxy(face, how, scheme, way, monkeypatch, certificates):
    """Calls and streams go through a proxy, http and https; no CONNECT holds the Authorization of the gateway."""
    with Proxy() as proxy, gateway(scheme, certificates) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates) as client:
            assert await ask(client, way) == "Hi"
            assert await ask(client, way) == "Hi"
        assert len(server.requests) == 2
        check_what_passed(proxy, server, scheme)
        assert all(passed.header("Proxy-Authorization") is None for passed in proxy.passed)


@through_proxies
@SCHEMES
@WAYS
async def test_proxy_with_a_login(face, how, scheme, way, monkeypatch, certificates):
    """The proxy's login goes to the proxy, decoded, and not to the gateway; that of the gateway stays with it."""
    with Proxy(login=PLAIN_LOGIN) as proxy, gateway(scheme, certificates) as server:
        url = proxy.url_with(LOGIN)
        async with client_through(face, how, server, url, monkeypatch, certificates) as client:
            assert await ask(client, way) == "Hi"
        check_what_passed(proxy, server, scheme)
        expected = "Basic " + base64.b64encode(PLAIN_LOGIN.encode()).decode()
        assert {passed.header("Proxy-Authorization") for passed in proxy.passed} == {expected}


@through_proxies
@SCHEMES
async def test_proxy_that_wants_a_login(face, how, scheme, monkeypatch, certificates):
    """407 to a CONNECT is a connection that could not be made; to a forwarded request it is an answer."""
    policy = RecordingPolicy(max_retries=0)
    with Proxy(login=PLAIN_LOGIN) as proxy, gateway(scheme, certificates) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates, retry=policy) as client:
            error = await failure(create(client))
        assert server.accepted == 0
        if scheme == "https":
            assert type(error) is APIConnectionError
            assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT]
            assert TOKEN not in repr(proxy.passed)
        else:
            assert (type(error), error.status) == (APIStatusError, 407)


ANSWERS = {
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "502 with a body": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 13\r\n\r\n<html>no</htm",
    "403 till the end": b"HTTP/1.1 403 Forbidden\r\n\r\nno",
    "302": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0\r\n\r\n",
    "nonsense": b"SSH-2.0-OpenSSH\r\n\r\n",
    "half a head": b"HTTP/1.1 200 Connection",
    "200 and nonsense": b"HTTP/1.1 200 OK\r\n\r\nthis is no TLS" + b"." * 100,
    "200 and an answer": b"HTTP/1.1 200 OK\r\n\r\n" + chat_answer("from the proxy"),
}


@through_proxies
@pytest.mark.parametrize("name", ANSWERS)
async def test_proxy_that_does_not_tunnel(face, how, name, monkeypatch, certificates):
    """What a proxy says instead of making a tunnel is an error of the connection, and never taken for the gateway's."""
    policy = RecordingPolicy(max_retries=0)
    with Proxy(answer=ANSWERS[name]) as proxy, gateway("https", certificates) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates, retry=policy) as client:
            error = await failure(create(client))
        assert server.accepted == 0
        assert {passed.method for passed in proxy.passed} == {"CONNECT"}
        assert TOKEN not in repr(proxy.passed)
    assert type(error) is APIConnectionError
    # Where the proxy does not even speak HTTP, most libraries do not tell that nothing was sent.
    told = {Failure.CONNECT} if name[:3].isdigit() else {Failure.CONNECT, Failure.CONNECTION_LOST}
    assert {outcome.failure for outcome in policy.outcomes} <= told


@through_proxies
async def test_proxy_that_does_not_forward(face, how, monkeypatch, certificates):
    """To a forwarded request, a proxy's answer is the answer."""
    with Proxy(answer=ANSWERS["502"]) as proxy, gateway("http", certificates) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates, max_retries=0) as client:
            error = await failure(create(client))
        assert server.accepted == 0
    assert (type(error), error.status) == (InternalServerError, 502)


@through_proxies
async def test_proxy_that_closes(face, how, monkeypatch, certificates):
    """A proxy that hangs up instead of making a tunnel is a connection error, and nothing was sent."""
    with Proxy(closes=True) as proxy, gateway("https", certificates) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates, max_retries=0) as client:
            error = await failure(create(client))
        assert server.accepted == 0
        assert TOKEN not in repr(proxy.passed)
    assert type(error) is APIConnectionError


# What the asyncio of Python 3.9 says of TLS in a tunnel that its server has ended, though it is closed.
NOISE = ["ignore:unclosed transport <asyncio.sslproto:ResourceWarning"] if sys.version_info < (3, 10) else []


@through_proxies
@SCHEMES
@pytest.mark.parametrize("end", ["close", "reset", "proxy"])
@pytest.mark.filterwarnings(*NOISE)
async def test_connection_lost_behind_a_proxy(face, how, scheme, end, monkeypatch, certificates):
    """A request that went through a proxy, and whose answer did not come, may have been carried out: sent once."""
    if end == "proxy" and scheme == "https":
        pytest.skip("a tunnel's end is the server's")
    policy = RecordingPolicy(max_retries=3)
    context = certificates.good() if scheme == "https" else None

    def lose(connection, request):
        getattr(connection, end)()

    with Proxy(closes=end == "proxy") as proxy, RawServer(replies(lose), ssl_context=context) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates, retry=policy) as client:
            error = await failure(create(client))
        assert len(proxy.passed) == 1
        assert len(server.requests) == (end != "proxy")
    assert type(error) is APIConnectionError
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECTION_LOST]
    assert "nothing was sent" not in error.message


@through_proxies
@SCHEMES
async def test_proxy_that_is_not_there(face, how, scheme, monkeypatch, certificates):
    """A proxy that cannot be reached is a connection that could not be made; the gateway is not asked directly."""
    policy = RecordingPolicy(max_retries=0)
    with refusing_url() as url, gateway(scheme, certificates) as server:
        async with client_through(face, how, server, url, monkeypatch, certificates, retry=policy) as client:
            error = await failure(create(client))
        assert server.accepted == 0
    assert type(error) is APIConnectionError
    assert [outcome.failure for outcome in policy.outcomes] == [Failure.CONNECT]


@through_proxies
async def test_certificates_are_verified_through_a_tunnel(face, how, monkeypatch, certificates):
    """A tunnel that leads to a server with another's certificate is not used."""
    with Proxy() as proxy, RawServer(replies(chat_answer("Hi")), ssl_context=certificates.of_another_host()) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates, max_retries=0) as client:
            error = await failure(create(client))
        assert server.requests == []
        assert [passed.method for passed in proxy.passed] == ["CONNECT"]
    assert type(error) is APIConnectionError


@through_proxies
@pytest.mark.parametrize("name", ["502", "nonsense", "200 and nonsense", None])
async def test_secrets_of_a_proxy_are_in_no_error(face, how, name, monkeypatch, certificates):
    """Neither the proxy's password nor the token is in an error that came of the proxy, nor in what is behind it."""
    answer = None if name is None else ANSWERS[name]
    login = PLAIN_LOGIN + "not" if name is None else None
    with Proxy(answer=answer, login=login) as proxy, gateway("https", certificates) as server:
        url = proxy.url_with(LOGIN)
        async with client_through(face, how, server, url, monkeypatch, certificates, max_retries=0) as client:
            error = await failure(create(client))
            shown = list(texts_of(client))
    assert_absent([TOKEN, PASSWORD], [*shown, *texts_of_error(error)])


@through_proxies
async def test_no_proxy(face, how, monkeypatch, certificates):
    """NO_PROXY keeps a host from the proxy of the environment."""
    if how == "object":
        pytest.skip("about the environment")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Proxy() as proxy, gateway("http", certificates) as server:
        async with client_through(face, how, server, proxy.url, monkeypatch, certificates) as client:
            assert await ask(client, "create") == "Hi"
        assert proxy.passed == []


@only(lambda face: face.name in ("stdlib", "trio", "aiohttp"))
@SCHEMES
async def test_no_proxy_of_the_environment(face, scheme, monkeypatch, certificates):
    """Clients of libraries that do not read the environment never go through its proxy."""
    with Proxy() as proxy, gateway(scheme, certificates) as server:
        settings_for(monkeypatch, proxy.url, certificates)
        async with face.own(ca=certificates.file) as own, face.injected(own, server) as client:
            assert await ask(client, "create") == "Hi"
        assert proxy.passed == []


@only(lambda face: face.name == "trio")
@pytest.mark.parametrize(
    "url", [f"http://user:{PASSWORD}@host:x", f"socks5://user:{PASSWORD}@host", f"user:{PASSWORD}"]
)
async def test_url_of_a_proxy_that_is_wrong(face, url):
    """A proxy's URL that cannot be used is refused without being repeated."""
    with pytest.raises(ValueError, match="proxy") as caught:
        trio_adapter.ConnectionPool(proxy=url)
    assert_absent([PASSWORD], [repr(caught.value), str(caught.value), repr(caught.value.__cause__)])
