"""The local gateway: an emulation of the MeshAPI gateway on a real socket, with a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from types import TracebackType
from typing import Callable

import uvicorn
from typing_extensions import Self
from uvicorn.protocols.http.h11_impl import H11Protocol

from ._app import create_app
from ._batches import ENDINGS, advance_batches
from ._faults import Fault
from ._state import DEFAULT_BATCH_SECONDS, DEFAULT_TOKEN, REFUSED_TOKENS, GatewayState, ReceivedRequest

# Without a handler anywhere Python prints warnings to stderr. Whoever configures logging still gets uvicorn's records.
_SILENCE = logging.NullHandler()
_KEEP_ALIVE_SECONDS = 60


class LocalGateway:
    """A MeshAPI gateway on this machine, to try things and to test an app without a key.

    It speaks HTTP over a real socket, checks what it receives, and answers in the real one's shapes: chat completions,
    responses and comparisons (whole and streamed, tools and JSON schemas included), embeddings, images, files, batches,
    templates and the catalogue of models. Its replies are deterministic: it echoes the last user message, calls the
    first tool offered with arguments made from the tool's schema, and counts words as tokens. What is not emulated is
    answered with a 404 or a 422 that says so.

    Use it as a context manager, or call `start` and `stop`::

        with LocalGateway() as gateway:
            client = MeshAPI(base_url=gateway.base_url, token=gateway.token)

    Args:
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        token: the key that is let in; by default the same one always.
        rate_limit: how many requests a minute each key may make before it is answered 429; by default any number.
        batch_seconds: how many seconds a batch takes from its creation to its end; with ``None`` it stays as it is
            until `advance_batches` is called.

    Raises:
        ValueError: ``batch_seconds`` is less than 0.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        rate_limit: int | None = None,
        batch_seconds: float | None = DEFAULT_BATCH_SECONDS,
    ) -> None:
        if batch_seconds is not None and not batch_seconds >= 0:
            raise ValueError(f"batch_seconds must be at least 0, not {batch_seconds!r}")
        self._host = host
        self._port = port
        self._state = GatewayState(token or DEFAULT_TOKEN, rate_limit, batch_seconds)
        self._base_url: str | None = None
        self._running: tuple[_Server, threading.Thread] | None = None

    @property
    def base_url(self) -> str:
        """``http://HOST:PORT``, without a path, as clients take it; known once `start` has returned.

        Raises:
            RuntimeError: the gateway has never been started.
        """
        if self._base_url is None:
            raise RuntimeError("the gateway has no address before start()")
        return self._base_url

    @property
    def token(self) -> str:
        """The key that is let in."""
        return self._state.token

    @property
    def tokens(self) -> dict[str, str]:
        """Keys that are refused, each under the error code that it is refused with.

        ``spend_limit_exceeded`` is answered 402 and ``forbidden`` 403; any other key but `token` is answered 401.
        """
        return dict(REFUSED_TOKENS)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The last 1000 requests that arrived whole, the newest last; also those that were answered with an error."""
        return self._state.requests()

    def inject(self, fault: Fault, times: int = 1) -> None:
        """Spoil the answers to the next requests below ``/v1/``, after the faults that already wait.

        Args:
            fault: what is to go wrong.
            times: for how many requests.
        """
        self._state.inject(fault, times)

    def advance_batches(self, ending: str | None = None) -> None:
        """Move every batch that has not ended to its next status.

        The statuses are ``validating``, ``in_progress``, ``finalizing`` and ``completed``; or, once a client has
        cancelled, ``cancelling`` and ``cancelled``.

        Args:
            ending: end them at once instead: ``"completed"``, ``"failed"``, ``"expired"`` or ``"cancelled"``.

        Raises:
            ValueError: a batch cannot end like that.
        """
        if ending is not None and ending not in ENDINGS:
            raise ValueError(f"ending must be one of {', '.join(map(repr, ENDINGS))}, not {ending!r}")
        advance_batches(self._state, ending)

    def reset(self) -> None:
        """Forget everything: what clients have created (responses, files, batches, templates), the faults that wait,
        the requests received, and what counts towards the rate limit.
        """
        self._state.reset()

    def start(self) -> None:
        """Listen, and return when requests are answered. Call `stop` when done.

        Raises:
            OSError: the address cannot be listened on.
            RuntimeError: the gateway is running already, or its server could not be started.
        """
        if self._running is not None:
            raise RuntimeError("the gateway is running already")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family)
        host = f"[{self._host}]" if family is socket.AF_INET6 else self._host
        self._base_url = f"http://{host}:{listener.getsockname()[1]}"
        logging.getLogger("uvicorn").addHandler(_SILENCE)
        server = _Server(_config(self._state))
        thread = threading.Thread(target=server.run, args=([listener],), name="meshapi-local-gateway", daemon=True)
        self._running = (server, thread)
        thread.start()
        server.ready.wait()
        if not server.started:
            self.stop()
            listener.close()
            raise RuntimeError("the gateway did not start; the traceback of its thread says why")

    def stop(self) -> None:
        """Close every connection, streams in the middle too, and return when the thread has ended.

        A gateway that is not running is left as it is. It may be started again, on another port if ``port`` is 0.
        """
        if self._running is None:
            return
        server, thread = self._running
        self._running = None
        server.tell_to_stop()
        thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _config(state: GatewayState) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(state),
        loop="asyncio",
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )


class _Protocol(H11Protocol):
    """uvicorn's own HTTP protocol, which also lends its transport to the application, for the faults that cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only for listeners that it has made itself, and without it each answer may be 40 ms late.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """uvicorn's own server, which also tells when it is ready or has failed, and stops at once, without its clients."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._wake_up: Callable[[], object] | None = None

    def tell_to_stop(self) -> None:
        """Stop the server, from any thread."""
        self.should_exit = True
        if self._wake_up is not None:
            # A loop that is closed already has nothing to be told.
            with contextlib.suppress(RuntimeError):
                self._wake_up()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self.ready.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        self._told = told
        self._wake_up = lambda: loop.call_soon_threadsafe(told.set)
        self.ready.set()

    async def main_loop(self) -> None:
        # uvicorn looks whether it should stop ten times a second, which is long to wait for at the end of each test.
        ticking = asyncio.ensure_future(super().main_loop())
        await self._told.wait()
        ticking.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # They are told in the next round of the loop, and what is at work for them ends soon after.
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
