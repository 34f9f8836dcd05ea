"""What the adapters over http.client share: the framing of chunks, and the time that waits may take."""

from __future__ import annotations

import gc
import http.client
import socket
import ssl
import time
import warnings

import pytest

from meshapi_core import ChatCompletionParams
from meshapi_transports import requests as over_requests
from meshapi_transports import stdlib as over_stdlib
from meshapi_transports._http_client import TimedSocket, _Chunks
from meshapi_transports.testing.raw import RawServer, chat_answer, replies

PARAMS = ChatCompletionParams(messages=[{"role": "user", "content": "Hi"}])
CLIENTS = pytest.mark.parametrize("adapter", [over_requests, over_stdlib], ids=["requests", "stdlib"])

CHUNKED = b'5\r\nHello\r\n00A;name="value"\r\n, you all\n\r\n1 \r\n!\r\n0\r\nX-Trailer: x\r\n\r\n'


def test_chunks_in_two_pieces():
    """Wherever the framing is divided, the content is the same, and its end is known."""
    for at in range(len(CHUNKED) + 1):
        chunks = _Chunks()
        content = chunks.take(CHUNKED[:at])
        assert chunks.are_over is (at == len(CHUNKED))
        assert content + chunks.take(CHUNKED[at:]) == b"Hello, you all\n!"
        assert chunks.are_over


def test_chunks_byte_by_byte():
    """What has come of a chunk is there before the rest of it is."""
    chunks = _Chunks()
    content = [chunks.take(CHUNKED[at : at + 1]) for at in range(len(CHUNKED))]
    assert b"".join(content) == b"Hello, you all\n!"
    assert max(map(len, content)) == 1
    assert chunks.are_over


def test_what_follows_the_chunks():
    """What comes after the end is no content."""
    chunks = _Chunks()
    assert chunks.take(CHUNKED + b"HTTP/1.1 200 OK\r\n\r\n") == b"Hello, you all\n!"


@pytest.mark.parametrize(
    "framing",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1_0\r\n", b"1\nx", b"1" * 17 + b"\r\n", b"1\r\nxy\r\n"],
)
def test_chunks_that_are_none(framing):
    """A length that is none, and a chunk that does not end where it says, are refused."""
    with pytest.raises(http.client.HTTPException):
        _Chunks().take(framing + b"1\r\nx\r\n")


@pytest.mark.parametrize("start", [b"5;", b"0\r\nX-Trailer: "])
def test_lines_without_end(start):
    """A line of the framing that does not end is given up."""
    chunks = _Chunks()
    chunks.take(start)
    for _ in range(60):
        chunks.take(b"x" * 1000)
    with pytest.raises(http.client.LineTooLong):
        chunks.take(b"x" * 10000)


def test_time_that_is_over():
    """Once the deadline has passed, no wait begins, not even one that would find something there."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"there")
        timed = TimedSocket(ours)
        timed.limit(5.0, time.monotonic())
        with pytest.raises(socket.timeout):
            timed.makefile("rb").read1(5)


@CLIENTS
def test_a_client_makes_no_tls_context(adapter, monkeypatch):
    """The certificates of authorities, which take long to read, are read for the first connection that needs them."""

    def none(*args, **options):
        raise AssertionError("nobody has asked for TLS")

    monkeypatch.setattr(ssl.SSLContext, "__new__", none)
    with RawServer(replies(chat_answer("Hi"))) as server, adapter.MeshAPI(base_url=server.url, token="rsk_x") as client:
        assert client.chat.completions.create(PARAMS).choices[0].message.content == "Hi"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://host/a", b"host"),
        ("http://host:443/a", b"host:443"),
        ("https://host:443/a", b"host"),
        ("https://[::1]/a", b"[::1]"),
        ("http://[::1]:8080/a", b"[::1]:8080"),
    ],
)
def test_heads_of_the_standard_library(url, host):
    """A port is named where it is not the usual one, and an address of IPv6 is not taken for one with a port."""
    head = over_stdlib._head_of("GET", url, ())
    assert head.startswith(b"GET /a HTTP/1.1\r\nHost: " + host + b"\r\n")
    assert head.endswith(b"\r\n")


def test_a_client_that_is_dropped_closes_its_connections():
    """Those that are idle: nobody would ever close them."""
    with RawServer(replies(chat_answer("Hi"))) as server:
        client = over_stdlib.MeshAPI(base_url=server.url, token="rsk_x")
        client.chat.completions.create(PARAMS)
        del client
        gc.collect()
        assert server.wait_until(lambda server: server.open == 0)


@CLIENTS
def test_cookies_are_not_read(adapter):
    """A cookie that cannot be read is none of ours: there is no warning of it, and none goes back."""
    cookie = f"Set-Cookie: a=b; Max-Age={10**30}; Expires=never"
    reply = chat_answer("Hi").replace(b"\r\n", f"\r\n{cookie}\r\n".encode(), 1)
    with RawServer(replies(reply)) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        with adapter.MeshAPI(base_url=server.url, token="rsk_x") as client:
            for _ in range(2):
                client.chat.completions.create(PARAMS)
        assert [request.header("cookie") for request in server.requests] == [None, None]


def test_no_more_idle_connections_than_are_allowed():
    """Of too many idle connections, the oldest are closed."""

    class Connection:
        is_closed = False

        def close(self):
            self.is_closed = True

    idle, connections = over_requests._IdleConnections(2), [Connection() for _ in range(5)]
    for connection in (None, *connections):
        idle.put(connection)
    assert [connection.is_closed for connection in connections] == [True, True, True, False, False]
    assert idle.get() is connections[-1]
