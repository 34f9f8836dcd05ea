"""The scripted server itself, spoken to by plain sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading

import pytest
import trustme

from meshapi_transports.testing import raw
from meshapi_transports.testing.raw import RawServer, answer, chat_answer, refusing_url, replies

REQUEST = b"POST /path?a=b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\n{}"


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=5.0)


def read_to_end(connection):
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_request_and_answer():
    """A request is taken apart and remembered, also if it comes byte by byte; the answer goes out as it is."""

    def script(connection):
        request = connection.receive_request()
        assert (connection.number, request.json()) == (0, {})
        connection.send(b"an", b"swer")

    with RawServer(script) as server, connect(server) as connection:
        for byte in REQUEST:
            connection.sendall(bytes([byte]))
        assert read_to_end(connection) == b"answer"
        (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/path?a=b", b"{}")
    assert request.header("x-A") == "1, 2"
    assert request.header("x-b") is None


def test_replies_go_on():
    """Each request has the next answer, on whatever connection, and the last one is given again."""
    with RawServer(replies(b"1", lambda connection, request: connection.send(b"2"), b"3")) as server:
        with connect(server) as one, connect(server) as other:
            said = []
            for connection in (one, other, one, other):
                connection.sendall(REQUEST)
                said.append(connection.recv(10))
            assert said == [b"1", b"2", b"3", b"3"]
            assert (server.accepted, server.open) == (2, 2)
        assert server.wait_until(lambda server: server.open == 0)


def test_close_and_reset():
    """A connection can be closed in order and broken; closing again does nothing."""

    def script(connection):
        connection.receive_request()
        connection.send(b"bye")
        if connection.number:
            connection.reset()
        connection.close()

    with RawServer(script) as server:
        with connect(server) as connection:
            connection.sendall(REQUEST)
            assert read_to_end(connection) == b"bye"
        with connect(server) as connection:
            connection.sendall(REQUEST)
            with pytest.raises(ConnectionResetError):
                read_to_end(connection)
        assert server.wait_until(lambda server: server.open == 0)


def test_waiting_for_the_test():
    """A script does nothing until it is told to."""
    told = threading.Event()

    def script(connection):
        connection.wait(told)
        connection.send(b"told")

    with RawServer(script) as server, connect(server) as connection:
        connection.settimeout(0.05)
        with pytest.raises(socket.timeout):
            connection.recv(1)
        told.set()
        connection.settimeout(5.0)
        assert read_to_end(connection) == b"told"


def test_waiting_for_the_client():
    """A script learns that the client has left; what it sent before is thrown away."""
    left = threading.Event()

    def script(connection):
        connection.wait_closed()
        left.set()

    with RawServer(script) as server:
        with connect(server) as connection:
            connection.sendall(b"anything")
        assert left.wait(5.0)


def test_sending_to_nobody():
    """A script that sends to a client that has left ends quietly."""
    told, ended = threading.Event(), threading.Event()

    def script(connection):
        connection.wait(told)
        try:
            while True:
                connection.send(b"x" * 65536)
        finally:
            ended.set()

    with RawServer(script) as server:
        with connect(server) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        told.set()
        assert ended.wait(5.0)


@pytest.mark.parametrize(
    "script",
    [
        lambda connection: connection.receive_request(),
        lambda connection: connection.wait(threading.Event()),
        lambda connection: connection.wait_closed(),
        lambda connection: connection.send(b"x" * 50_000_000),
    ],
    ids=["receives", "waits", "waits for the end", "sends"],
)
def test_stopping_ends_every_script(script):
    """Leaving the ``with`` block ends whatever a script is doing with its connection; stopping twice does nothing."""
    with RawServer(script) as server, connect(server):
        server.wait_until(lambda server: server.accepted == 1)
        threads = list(server._threads)
        server.stop()
        assert not any(thread.is_alive() for thread in threads)


def test_script_that_waits_for_something_else(monkeypatch):
    """A script that cannot be ended is an error, rather than a test run that hangs."""
    monkeypatch.setattr(raw, "_JOIN_SECONDS", 0.05)
    forever = threading.Event()
    server = RawServer(lambda connection: forever.wait(10.0))
    server.start()
    with connect(server):
        server.wait_until(lambda server: server.accepted == 1)
        with pytest.raises(RuntimeError, match="did not end"):
            server.stop()
        forever.set()
        server.stop()


@pytest.mark.parametrize(
    ("request_head", "words"),
    [
        (b"POST / HTTP/1.0\r\n\r\n", "does not speak HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
        (b"POST\r\n\r\n", "no HTTP request"),
    ],
)
def test_wrong_requests(request_head, words):
    """A request that it does not understand is an error that leaving the ``with`` block raises."""
    server = RawServer(replies(answer()))

    def ask():
        with server, connect(server) as connection:
            connection.sendall(request_head)
            assert read_to_end(connection) == b""

    with pytest.raises(ValueError, match=words):
        ask()


def test_error_of_the_test_comes_first():
    """An exception inside the ``with`` block is not hidden by one of a script."""
    server = RawServer(lambda connection: 1 / 0)

    def stumble():
        with server, connect(server) as connection:
            read_to_end(connection)
            raise KeyError

    with pytest.raises(KeyError):
        stumble()


def test_tls():
    """With a context it speaks TLS; a client that does not is let go without the script."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    with RawServer(replies(chat_answer()), ssl_context=context) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        with connect(server) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                connection.recv(100)
        with client_context.wrap_socket(connect(server), server_hostname="127.0.0.1") as connection:
            connection.sendall(REQUEST)
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert server.wait_until(lambda server: server.open == 0)
        assert len(server.requests) == 1


def test_stopping_during_a_handshake():
    """A connection that never begins its handshake is closed, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with RawServer(replies(b""), ssl_context=context) as server, connect(server):
        server.wait_until(lambda server: server.accepted == 1)
        server.stop()
        assert server.open == 0


def test_refusing_url():
    """The port refuses connections."""
    with refusing_url() as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5.0)
