"""What the rules of `conformance` are checked on: servers, and a client that can be awaited whatever its colour."""

from __future__ import annotations

import asyncio
import base64
import inspect
import os
import socket
import ssl
import tempfile
import threading
import time
import unittest
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncGenerator,
    Awaitable,
    Callable,
    Dict,
    Generator,
    List,
    Mapping,
    Optional,
    Union,
)

from meshapi_core import ChatCompletionParams, ChatMessage, Failure, MeshAPIError, Request, RetryPolicy, Timeout

from .raw import RawConnection, RawServer, Script

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "TOKEN",
    "Bench",
    "Client",
    "Policy",
    "Stream",
    "Unmet",
    "clean_environment",
    "expect",
    "text_of",
]

TOKEN = "rsk_01CONFORMANCE"  # noqa: S105 - opens nothing
_PARAMS = ChatCompletionParams(messages=[ChatMessage(role="user", content="Say hello")])
_TICK = 0.003
# For the client to hear of what the server has done.
_A_MOMENT = 0.03


class Unmet(Exception):
    """A rule is not kept.

    Args:
        expected: what should have happened.
        happened: what did.
    """

    def __init__(self, expected: str, happened: str) -> None:
        super().__init__(expected, happened)
        self.expected = expected
        self.happened = happened


def expect(is_met: bool, expected: str, happened: str) -> None:
    """Raise `Unmet` unless `is_met`."""
    if not is_met:
        raise Unmet(expected, happened)


def _no_failures() -> List[Optional[Failure]]:
    return []


@dataclass(frozen=True)
class Policy(RetryPolicy):
    """A `RetryPolicy` that waits `wait` seconds each time, and remembers which failures it was told of."""

    max_retries: int = 0
    wait: float = 0.0
    failures: List[Optional[Failure]] = field(default_factory=_no_failures)

    def delay(self, attempt: int, outcome: Any, jitter: Callable[[], float]) -> Optional[float]:
        self.failures.append(outcome.failure)
        delay = super().delay(attempt, outcome, lambda: 1.0)
        return None if delay is None else self.wait


class Client:
    """The client under test."""

    def __init__(self, face: Any) -> None:
        self.face = face

    async def create(self, **options: Any) -> str:
        """``chat.completions.create``; returns what the model said."""
        answer = await _result(self.face.chat.completions.create(_PARAMS, **options))
        return answer.choices[0].message.content or ""

    def stream(self, **options: Any) -> Stream:
        """``chat.completions.stream``."""
        return Stream(self.face.chat.completions.stream(_PARAMS, **options))

    async def read(self, **options: Any) -> str:
        """Read a stream to its end; returns what the model said."""
        stream = self.stream(**options)
        said: List[str] = []
        await stream.read(said)
        return "".join(said)

    async def send(self, request: Request, timeout: Timeout) -> bytes:
        """Have the transport send `request`, past the core; returns the body of its answer."""
        answer = await _result(self._transport.send(request, timeout))
        pieces: List[bytes] = []
        try:
            while not pieces or pieces[-1]:
                pieces.append(await _result(answer.read(timeout.idle)))
        finally:
            await _close(answer)
            await _close(answer)
        return b"".join(pieces)

    async def sleep(self, seconds: float) -> float:
        """Have the transport sleep; returns how long that took by its own clock."""
        began: float = self._transport.current_time()
        await _result(self._transport.sleep(seconds))
        ended: float = self._transport.current_time()
        return ended - began

    async def close(self) -> None:
        """Close the client."""
        await _close(self.face)

    @property
    def _transport(self) -> Any:
        return self.face._transport


class Stream:
    """A stream of the client under test."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_async = hasattr(stream, "__anext__")

    @property
    def request_id(self) -> str:
        """The gateway's name for the request."""
        name: str = self._stream.request_id
        return name

    async def next(self) -> Optional[str]:
        """Wait for an event; returns what the model says in it, or ``None`` at the end."""
        try:
            return text_of(await self._stream.__anext__() if self._is_async else next(self._stream))
        except (StopIteration, StopAsyncIteration):
            return None

    async def read(self, said: List[str]) -> None:
        """Read to the end, and put what the model says into `said`, event by event."""
        while True:
            text = await self.next()
            if text is None:
                return
            said.append(text)

    async def close(self) -> None:
        """Close the stream."""
        await _close(self._stream)

    async def __aenter__(self) -> Self:
        await (self._stream.__aenter__() if self._is_async else _result(self._stream.__enter__()))
        return self

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        leave = self._stream.__aexit__ if self._is_async else self._stream.__exit__
        await _result(leave(exc_type, exc, traceback))


def text_of(chunk: Any) -> str:
    """What the model says in a chunk of its answer."""
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _close(closable: Any) -> None:
    await _result(closable.aclose() if hasattr(closable, "aclose") else closable.close())


class Bench:
    """Where one rule is checked, once.

    Args:
        make: makes the client under test.
        backend: the loop that the rule is run in; ``"blocking"`` for none.
        patience: seconds to wait for what should come at once.
    """

    def __init__(self, make: Callable[..., Any], backend: str, patience: float) -> None:
        self.backend = backend
        self.patience = patience
        self._make = make
        self._servers: List[RawServer] = []
        self._listeners: List[socket.socket] = []
        self._errors: List[str] = []

    # The two ends of a connection

    @contextmanager
    def server(self, script: Script, *, is_tls: bool = False) -> Generator[RawServer, None, None]:
        """A `RawServer` that is stopped if the rule hangs, and whose complaints are told with the rule's."""

        def heeded(connection: RawConnection) -> None:
            try:
                script(connection)
            except ValueError as error:
                self._errors.append(str(error))

        with RawServer(heeded, ssl_context=_tls_context() if is_tls else None) as server:
            self._servers.append(server)
            yield server

    @contextmanager
    def full_url(self) -> Generator[str, None, None]:
        """The URL of a port where connections are neither accepted nor refused.

        Raises:
            unittest.SkipTest: this system knows no such thing.
        """
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            for _ in range(3):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            self._listeners.append(listener)
            probe = stack.enter_context(socket.socket())
            probe.settimeout(0.05)
            with suppress(socket.timeout):
                probe.connect(address)
                raise unittest.SkipTest("this system accepts every connection at once")
            yield f"http://127.0.0.1:{address[1]}"

    @asynccontextmanager
    async def client(self, server: Union[RawServer, str], **options: Any) -> AsyncGenerator[Client, None]:
        """The client under test, over to `server`; unless `options` say so it is patient, and does not retry."""
        base_url = server if isinstance(server, str) else server.url
        usual: Dict[str, Any] = {"token": TOKEN, "timeout": 10 * self.patience, "retry": Policy()}
        client = Client(self._make(base_url=base_url, **{**usual, **options}))
        try:
            yield client
        finally:
            await client.close()

    # Time

    async def pause(self, seconds: float) -> None:
        """Let `seconds` pass."""
        if self.backend == "blocking":
            time.sleep(seconds)  # noqa: ASYNC251 - here is no loop to block
        else:
            import anyio

            await anyio.sleep(seconds)

    async def until(self, condition: Callable[[], bool], expected: str, happened: str) -> None:
        """Wait for `condition`, which should come true at once."""
        expect(await self._comes(condition), expected, happened)

    async def until_closed(self, server: RawServer, when: str, number: int = 0) -> None:
        """Wait until all connections to `server` but `number` are closed."""
        await self.until(
            lambda: server.open == number,
            f"the connection to be closed {when}",
            f"after {self.patience:g} s it was still open",
        )

    async def _comes(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                return False
            await self.pause(_TICK)
        return True

    @asynccontextmanager
    async def lasting(self, least: float, what: str) -> AsyncGenerator[None, None]:
        """Expect the block to take `least` seconds, and not much more."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        expected = f"{what} after {least:g} s"
        # Clocks are coarse, and machines are busy.
        expect(took > least * 0.9 - 0.02, expected, f"it came after {took:.3f} s")
        expect(took < least + self.patience, expected, f"it took {took:.3f} s")

    # Failures

    async def failure(self, call: Awaitable[Any]) -> MeshAPIError:
        """Await a call that should fail with a MeshAPIError, which is returned."""
        try:
            result = await call
        except MeshAPIError as error:
            return error
        raise Unmet("the call to fail with a MeshAPIError", f"it succeeded, and returned {result!r}")

    # Coroutines

    async def cancelled(self, call: Callable[[], Awaitable[Any]], once: Callable[[], bool], when: str) -> None:
        """Begin `call` and cancel it `once` something is true, as trio and anyio do: again and again until it ends."""
        import anyio

        ended: List[str] = []

        async def run() -> None:
            try:
                ended.append(f"the call went on, and returned {await call()!r}")
            except Exception as error:
                ended.append(f"the cancellation became {error!r}")

        is_reached, early = False, ended
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            is_reached = await self._comes(lambda: once() or bool(ended))
            await self.pause(_A_MOMENT)
            early = list(ended)
            tasks.cancel_scope.cancel()
        self._judge_cancellation(is_reached, early, ended, when)

    async def cancelled_by_task(self, call: Callable[[], Awaitable[Any]], once: Callable[[], bool], when: str) -> None:
        """The same as `cancelled`, by ``Task.cancel`` of asyncio, which says it only once."""
        ended: List[str] = []
        task = asyncio.ensure_future(call())
        is_reached = await self._comes(lambda: once() or task.done())
        await self.pause(_A_MOMENT)
        early = ["the call ended by itself"] if task.done() else []
        task.cancel()
        try:
            ended.append(f"the call went on, and returned {await task!r}")
        except asyncio.CancelledError:
            pass
        except Exception as error:
            ended.append(f"the cancellation became {error!r}")
        self._judge_cancellation(is_reached, early, ended, when)

    def _judge_cancellation(self, is_reached: bool, early: List[str], ended: List[str], when: str) -> None:
        expect(is_reached and not early, f"the call to be waiting {when}", "; ".join(early) or "it did not get there")
        expect(not ended, "the cancellation to pass through the transport untouched", "; ".join(ended))

    async def turns_during(self, call: Awaitable[Any]) -> int:
        """How many turns the loop lets another task have while it awaits `call`."""
        import anyio

        turns = 0
        failed: List[Exception] = []

        async def tick() -> None:
            nonlocal turns
            while True:
                await anyio.sleep(_TICK)
                turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            try:
                await call
            except Exception as error:
                # The group would wrap it.
                failed.append(error)
            tasks.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return turns

    # The run

    def run(self, rule: Callable[[Bench], Any]) -> None:
        """Run `rule` in a thread of its own, and see to it that it ends.

        Raises:
            Unmet: the rule is not kept, or it did not come to its end.
            Exception: whatever the client let through.
        """
        errors: List[BaseException] = []

        def main() -> None:
            try:
                self._run(rule)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=main, name="conformance", daemon=True)
        thread.start()
        thread.join(self._guard + 0.5)
        if thread.is_alive():
            # Most of what hangs hangs on a connection.
            for listener in self._listeners:
                listener.close()
            for server in self._servers:
                with suppress(RuntimeError):
                    server.stop()
            thread.join(1.0)
            raise Unmet("the rule to be through in a moment", f"after {self._guard:g} s the client was still at it")
        if errors:
            raise errors[0]

    @property
    def complaints(self) -> str:
        """What the servers had to say against the client's requests."""
        return "; ".join(dict.fromkeys(self._errors))

    @property
    def _guard(self) -> float:
        return 2 * self.patience + 0.5

    def _run(self, rule: Callable[[Bench], Any]) -> None:
        if self.backend == "blocking":
            coroutine = rule(self)
            with suppress(StopIteration):
                coroutine.send(None)
                raise RuntimeError("a blocking client gave something to wait for")
            return
        import anyio

        async def guarded() -> None:
            with anyio.move_on_after(self._guard) as scope:
                await rule(self)
            expect(
                not scope.cancelled_caught,
                "the rule to be through in a moment",
                f"after {self._guard:g} s the client was still at it",
            )

        anyio.run(guarded, backend=self.backend)


# The surroundings


class _Surroundings:
    """The changed environment, shared by all rules that are being checked."""

    lock = threading.Lock()
    users = 0
    stack = ExitStack()


@contextmanager
def clean_environment() -> Generator[None, None, None]:
    """No proxies, and a password file that knows every host, for as long as any rule is being checked."""
    with _Surroundings.lock:
        _Surroundings.users += 1
        if _Surroundings.users == 1:
            _Surroundings.stack.enter_context(_changed_environment())
    try:
        yield
    finally:
        with _Surroundings.lock:
            _Surroundings.users -= 1
            if not _Surroundings.users:
                _Surroundings.stack.close()


@contextmanager
def _changed_environment() -> Generator[None, None, None]:
    # Name by name: whoever else changes the environment meanwhile, as pytest does, keeps his own.
    with tempfile.TemporaryDirectory() as home:
        for name in (".netrc", "_netrc"):
            with open(os.path.join(home, name), "w", encoding="ascii") as netrc:
                netrc.write("machine 127.0.0.1 login someone password secret\ndefault login someone password secret\n")
            os.chmod(netrc.name, 0o600)
        changes: Dict[str, Optional[str]] = {
            name: None for name in list(os.environ) if name.lower().endswith("_proxy") or name.startswith("MESHAPI_")
        }
        changes.update(HOME=home, USERPROFILE=home, NETRC=os.path.join(home, ".netrc"))
        before = {name: os.environ.get(name) for name in changes}
        _set_variables(changes)
        try:
            yield
        finally:
            _set_variables(before)


def _set_variables(values: Mapping[str, Optional[str]]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


# Of a certificate that its own holder has signed, for 127.0.0.1, until 2120.  It guards nothing, and nobody trusts it.
_KEY = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg18ITEdJUQMFjVfDb6ip+xvLs1lIGORs210UXSXC+XqOhRANCAASy"
    "RDuJamnytzbtKWElwEXIfbZcXI3shci/6IhGVSvi144tK2QwivkUN9LjvCOHjxLxgjk129obbOQfyeRu+2Sf"
)
_CERTIFICATE = (
    "MIIBKzCB0qADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCTEyNy4wLjAuMTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEw"
    "MTAwMDAwMFowFDESMBAGA1UEAwwJMTI3LjAuMC4xMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEskQ7iWpp8rc27SlhJcBFyH22"
    "XFyN7IXIv+iIRlUr4teOLStkMIr5FDfS47wjh48S8YI5NdvaG2zkH8nkbvtkn6MTMBEwDwYDVR0RBAgwBocEfwAAATAKBggqhkjO"
    "PQQDAgNIADBFAiB1R/EVP1W6EFhrrf/P9oxj4J9wgZwxihoVrmae9ZpNUwIhALIiwY0tkMEQu7hNm5ouA7Jh5qF6oj/VyfjVxbqY"
    "9N6V"
)


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = ssl.DER_cert_to_PEM_cert(base64.b64decode(_CERTIFICATE))
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "certificate.pem")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"-----BEGIN PRIVATE KEY-----\n{_KEY}\n-----END PRIVATE KEY-----\n{certificate}")
        context.load_cert_chain(path)
    return context
