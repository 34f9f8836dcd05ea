"""What the attacks are made with: certificates, a proxy that remembers, and a look into all that an error holds."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import logging
import os
import pickle
import pprint
import select
import socket
import socketserver
import ssl
import threading
import traceback
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# How long a server goes on with what has no end, before it gives up on a client that does not.
PATIENCE_SECONDS = 8.0

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# Certificates


class Certificates:
    """An authority that nobody knows, and certificates of it and of none."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.file)
        self.client_file = str(folder / "client.pem")
        self.authority.issue_cert("someone@example.invalid").private_key_and_cert_chain_pem.write_to_path(
            self.client_file
        )

    def good(self) -> ssl.SSLContext:
        """For this machine."""
        return _server_context(self.authority.issue_cert("127.0.0.1"))

    def of_another_host(self) -> ssl.SSLContext:
        """For another name."""
        return _server_context(self.authority.issue_cert("elsewhere.invalid"))

    def of_a_wildcard(self) -> ssl.SSLContext:
        """For any name that has a dot, but for no address."""
        return _server_context(self.authority.issue_cert("*.0.0.1"))

    def expired(self) -> ssl.SSLContext:
        """Good until long ago."""
        then = datetime.datetime(2001, 1, 1)
        return _server_context(
            self.authority.issue_cert("127.0.0.1", not_before=then, not_after=then.replace(year=2002))
        )

    def of_the_future(self) -> ssl.SSLContext:
        """Good one day."""
        then = datetime.datetime(2090, 1, 1)
        return _server_context(
            self.authority.issue_cert("127.0.0.1", not_before=then, not_after=then.replace(year=2091))
        )

    def of_an_unknown_authority(self) -> ssl.SSLContext:
        """Like the good one, but of somebody else."""
        return _server_context(trustme.CA().issue_cert("127.0.0.1"))

    def issued_by_a_leaf(self) -> ssl.SSLContext:
        """Signed with a good certificate, which is no authority's."""
        signer = self.authority.issue_cert("127.0.0.1")
        return self._own_context(
            "127.0.0.1",
            serialization.load_pem_private_key(signer.private_key_pem.bytes(), None),
            x509.load_pem_x509_certificate(signer.cert_chain_pems[0].bytes()).subject,
            signer.cert_chain_pems[0].bytes(),
        )

    def self_signed(self) -> ssl.SSLContext:
        """Signed with its own key."""
        return self._own_context("127.0.0.1", None, None)

    def without_a_name(self) -> ssl.SSLContext:
        """Of the authority, with the address where names stood twenty years ago, and nowhere else."""
        return _server_context(self.authority.issue_cert("elsewhere.invalid", common_name="127.0.0.1"))

    def of_an_old_protocol(self) -> ssl.SSLContext:
        """Good, but TLS 1.1 at most."""
        context = self.good()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.options |= ssl.OP_NO_TLSv1_3 | ssl.OP_NO_TLSv1_2
        return context

    def for_known_clients(self) -> ssl.SSLContext:
        """Good, and wants to see a certificate of the same authority."""
        context = self.good()
        context.verify_mode = ssl.CERT_REQUIRED
        self.authority.configure_trust(context)
        return context

    def client_context(self, *, with_certificate: bool = False) -> ssl.SSLContext:
        """What a client is to trust, and show."""
        context = ssl.create_default_context(cafile=self.file)
        if with_certificate:
            context.load_cert_chain(self.client_file)
        return context

    def _own_context(self, host: str, signer: Any, issuer: Any, chain: bytes = b"") -> ssl.SSLContext:
        import ipaddress

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer or name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime(2020, 1, 1))
            .not_valid_after(datetime.datetime(2090, 1, 1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
            .sign(signer or key, hashes.SHA256())
        )
        path = self.folder / f"{certificate.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
            + chain
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(path))
        return context


def _server_context(certificate: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


# Proxies


@dataclasses.dataclass
class Passed:
    """A request that a proxy was given."""

    method: str
    target: str
    headers: List[Tuple[str, str]]
    tunnelled: bytearray = dataclasses.field(default_factory=bytearray)

    def header(self, name: str) -> Optional[str]:
        """The field `name`, if there is one."""
        return next((value for each, value in self.headers if each.lower() == name.lower()), None)


class Proxy:
    """An HTTP proxy: forwards, tunnels, and remembers what passed.

    Args:
        login: ``user:password`` that it wants to see.
        answer: what it answers instead, whatever it is asked.
        closes: closes the connection instead of an answer.
    """

    def __init__(self, *, login: Optional[str] = None, answer: Optional[bytes] = None, closes: bool = False) -> None:
        self.passed: List[Passed] = []
        self._login = login
        self._answer = answer
        self._closes = closes
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                proxy._handle(self)

        class Server(socketserver.ThreadingTCPServer):
            # Joined at the end, so that nothing is left open.
            daemon_threads = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where it listens, without any login."""
        return f"http://127.0.0.1:{self.port}"

    def url_with(self, login: str) -> str:
        """Where it listens, with a login."""
        return f"http://{login}@127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, handler: Any) -> None:
        with contextlib.suppress(OSError):
            passed = self._read_head(handler)
            if passed is None or self._closes:
                return
            if self._answer is not None:
                handler.wfile.write(self._answer)
                return
            if self._login is not None:
                expected = "Basic " + base64.b64encode(self._login.encode()).decode()
                if passed.header("Proxy-Authorization") != expected:
                    handler.wfile.write(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                        b'Proxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
                    )
                    return
            if passed.method == "CONNECT":
                self._tunnel(handler, passed)
            else:
                self._forward(handler, passed)

    def _read_head(self, handler: Any) -> Optional[Passed]:
        line = handler.rfile.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = []
        for raw in iter(handler.rfile.readline, b"\r\n"):
            if not raw:
                return None
            name, _, value = raw.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        passed = Passed(line[0], line[1], headers)
        self.passed.append(passed)
        return passed

    def _tunnel(self, handler: Any, passed: Passed) -> None:
        host, _, port = passed.target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5.0) as upstream:
            handler.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._relay(handler.connection, upstream, passed)

    def _forward(self, handler: Any, passed: Passed) -> None:
        assert passed.target.startswith("http://"), passed.target
        authority, _, path = passed.target[len("http://") :].partition("/")
        host, _, port = authority.rpartition(":")
        own = {"proxy-authorization", "proxy-connection", "connection"}
        lines = [f"{name}: {value}" for name, value in passed.headers if name.lower() not in own]
        head = "\r\n".join([f"{passed.method} /{path} HTTP/1.1", *lines, "Connection: close", "", ""])
        with socket.create_connection((host, int(port)), timeout=5.0) as upstream:
            body = handler.rfile.read(int(passed.header("Content-Length") or 0))
            upstream.sendall(head.encode("latin-1") + body)
            # The server keeps its connection; what it has answered is told from its framing by the client.
            self._relay(handler.connection, upstream, passed)

    @staticmethod
    def _relay(client: socket.socket, upstream: socket.socket, passed: Passed) -> None:
        other = {client: upstream, upstream: client}
        while True:
            for readable in select.select(list(other), [], [])[0]:
                data = readable.recv(65536)
                if not data:
                    return
                if readable is client:
                    passed.tunnelled += data
                other[readable].sendall(data)


# Secrets


def texts_of(value: Any) -> Iterator[str]:
    """The ways in which a value gets into a log."""
    yield from (repr(value), str(value), f"{value}", pprint.pformat(value))


def texts_of_error(error: BaseException) -> Iterator[str]:
    """All that can be seen of an error, and of every error behind it, by one who has it in hand.

    Its text, what it holds, its pickle, the traceback with locals that an error tracker takes, and each local of each
    frame.  The frames of the tests are left out: they hold the token because they gave it.
    """
    seen: List[BaseException] = []
    waiting: List[Optional[BaseException]] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        waiting += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
        waiting += [arg for arg in each.args if isinstance(arg, BaseException)]
        waiting += [value for value in vars(each).values() if isinstance(value, BaseException)]
        yield from texts_of(each)
        yield from map(repr, each.args)
        yield repr(vars(each))
        yield from map(repr, getattr(each, "__notes__", ()))
        yield from _locals_of(each.__traceback__)
        outer = each.__traceback__
        while outer is not None and outer.tb_frame.f_code.co_filename.startswith(HERE):
            outer = outer.tb_next
        report = traceback.TracebackException(type(each), each, outer, capture_locals=True)
        # Followed here one by one, each without the frames of the tests.
        report.__cause__ = report.__context__ = None
        yield from report.format()
    with contextlib.suppress(Exception):
        yield pickle.dumps(error).decode("latin-1")


def _locals_of(step: Any) -> Iterator[str]:
    while step is not None:
        frame = step.tb_frame
        if not frame.f_code.co_filename.startswith(HERE):
            for name, value in list(frame.f_locals.items()):
                yield f"{frame.f_code.co_filename}:{step.tb_lineno} {name} = {safe_repr(value)}"
                for inner in vars(value).values() if isinstance(value, BaseException) else ():
                    yield safe_repr(inner)
        step = step.tb_next


def safe_repr(value: Any) -> str:
    """The repr, if it has one."""
    try:
        return repr(value)
    except Exception as error:
        return f"<no repr: {type(error).__name__}>"


class Records(logging.Handler):
    """Every record of every logger, in words and with all that it holds."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.texts: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(f"{record.name}: {record.getMessage()}")
        self.texts.append(safe_repr(vars(record)))

    @contextlib.contextmanager
    def listening(self) -> Iterator[Records]:
        """With all loggers at their most talkative."""
        root = logging.getLogger()
        loggers = [root, *(logging.getLogger(name) for name in list(root.manager.loggerDict))]
        before: Dict[logging.Logger, Any] = {each: (each.level, each.disabled) for each in loggers}
        for each in loggers:
            each.setLevel(1)
            each.disabled = False
        root.addHandler(self)
        try:
            yield self
        finally:
            root.removeHandler(self)
            for each, (level, disabled) in before.items():
                each.setLevel(level)
                each.disabled = disabled


def assert_absent(secrets: Sequence[str], texts: Iterator[str]) -> None:
    """None of `secrets`, nor its base64, nor a telling beginning of it, is in any of `texts`."""
    needles = [*secrets, *(base64.b64encode(secret.encode()).decode().rstrip("=")[:-1] for secret in secrets)]
    needles += [secret[:12] for secret in secrets if len(secret) > 12]
    for text in texts:
        for needle in needles:
            assert needle not in text, f"{needle!r} is in {text[:2000]}"
