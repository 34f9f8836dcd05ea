"""The TLS context that clients share: made late, once, and as the environment says."""

from __future__ import annotations

import ssl
import threading
import time

import httpx
import pytest
import trustme

from meshapi_transports._tls import late_context, shared_context
from meshapi_transports.testing.raw import RawServer, answer, replies


class Maker:
    """Makes contexts that know `authority`, and counts them."""

    def __init__(self, authority=None, seconds=0.0):
        self.authority = authority
        self.seconds = seconds
        self.made = 0

    def __call__(self):
        self.made += 1
        time.sleep(self.seconds)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority is not None:
            self.authority.configure_trust(context)
        return context


def test_one_for_all():
    """Whoever asks gets the same context, as long as he asks for the same kind."""
    maker, other = Maker(), Maker()
    assert shared_context(maker) is shared_context(maker)
    assert shared_context(maker) is not shared_context(other)
    assert (maker.made, other.made) == (1, 1)


def test_the_default_is_the_systems():
    """Without a word of the library's, the authorities are those of the system."""
    assert shared_context() is shared_context(ssl.create_default_context)
    assert shared_context().verify_mode is ssl.CERT_REQUIRED
    assert shared_context().check_hostname


def test_threads_make_one():
    """Threads that ask at the same time wait for the one that is being made."""
    maker, contexts = Maker(seconds=0.05), []
    threads = [threading.Thread(target=lambda: contexts.append(shared_context(maker))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert maker.made == 1
    assert len(set(map(id, contexts))) == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_of_the_environment(variable, monkeypatch):
    """A process that changes its mind about the authorities gets another context."""
    maker = Maker()
    before = shared_context(maker)
    monkeypatch.setenv(variable, "/elsewhere")
    assert shared_context(maker) is not before
    monkeypatch.delenv(variable)
    assert shared_context(maker) is before


def test_late_context_makes_nothing():
    """What stands for the context costs nothing until it is connected with, and trusts nobody by itself."""
    maker = Maker()
    context = late_context(maker)
    assert context is late_context(maker)
    context.set_alpn_protocols(["h2"])
    assert maker.made == 0
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs() == []


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server(authority):
    """A server that says which protocol was agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(replies(answer(b"{}")), ssl_context=context) as server:
        yield server


def test_connecting_with_a_late_context(authority, server):
    """The shared context verifies what is connected to, and speaks HTTP/1.1, whatever its users would set."""
    maker = Maker(authority)
    for _ in range(2):
        with httpx.Client(verify=late_context(maker)) as client, client.stream("GET", server.url) as response:
            secured = response.extensions["network_stream"].get_extra_info("ssl_object")
            assert secured.selected_alpn_protocol() == "http/1.1"
    assert maker.made == 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_connecting_in_a_loop(authority, server, anyio_backend):
    """So it does in an event loop."""
    maker = Maker(authority)
    async with httpx.AsyncClient(verify=late_context(maker)) as client:
        assert (await client.get(server.url)).status_code == 200
    assert maker.made == 1


def test_late_context_refuses_strangers(server):
    """A server that nobody vouches for is refused."""
    with httpx.Client(verify=late_context(Maker())) as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        client.get(server.url)
