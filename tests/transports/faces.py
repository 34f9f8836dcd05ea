"""The ten faces of the client, behind one way of writing a test.

A test is written once, as a coroutine over `Face`::

    async def test_something(face):
        with RawServer(replies(chat_answer("Hi"))) as server:
            async with face.client(server) as client:
                answer = await client.chat.completions.create(PARAMS)

For the blocking clients, thin shims run the call where the coroutine awaits it: the servers have threads of their own.
A new face is one line in `FACES`; a new library also says how its own object is made.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import ssl
import threading
import warnings
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Type

import aiohttp
import anyio
import anyio.to_thread
import httpx
import httpx2
import pytest
import requests

from meshapi_core import ChatCompletionParams, MeshAPIError, RetryPolicy
from meshapi_transports import trio as trio_adapter

TOKEN = "rsk_01TESTTESTTEST"
PARAMS = ChatCompletionParams(messages=[{"role": "user", "content": "Say hello"}])


# The libraries' own objects, made in each library's own way


class Httpx:
    """``httpx.Client``."""

    module, keyword, client_class = "meshapi_transports.httpx", "httpx_client", "MeshAPI"
    takes_proxies_from_environment = True
    make: Callable[..., Any] = httpx.Client

    @classmethod
    def own(cls, *, headers=None, ca=None, login=None, timeout=None, trust_env=True):
        options: Dict[str, Any] = {"headers": headers, "auth": login, "trust_env": trust_env}
        if ca is not None:
            options["verify"] = ssl.create_default_context(cafile=ca)
        if timeout is not None:
            options["timeout"] = timeout
        return cls.make(**options)

    @staticmethod
    def is_closed(own):
        return own.is_closed

    @staticmethod
    async def close(own):
        own.close()


class AsyncHttpx(Httpx):
    """``httpx.AsyncClient``."""

    keyword, client_class = "async_httpx_client", "AsyncMeshAPI"
    make = httpx.AsyncClient

    @staticmethod
    async def close(own):
        await own.aclose()


class Httpx2(Httpx):
    """``httpx2.Client``."""

    module = "meshapi_transports.httpx2"
    make = httpx2.Client


class AsyncHttpx2(AsyncHttpx):
    """``httpx2.AsyncClient``."""

    module = "meshapi_transports.httpx2"
    make = httpx2.AsyncClient


class Requests:
    """``requests.Session``."""

    module, keyword, client_class = "meshapi_transports.requests", "session", "MeshAPI"
    takes_proxies_from_environment = True

    class Session(requests.Session):
        """A session that tells whether it was closed."""

        was_closed = False

        def close(self):
            self.was_closed = True
            super().close()

    @classmethod
    def own(cls, *, headers=None, ca=None, login=None, timeout=None, trust_env=True):
        session = cls.Session()
        session.headers.update(headers or {})
        session.auth = login
        session.trust_env = trust_env
        if ca is not None:
            session.verify = ca
        return session

    @staticmethod
    def is_closed(own):
        return own.was_closed

    @staticmethod
    async def close(own):
        own.close()


class Aiohttp:
    """``aiohttp.ClientSession``."""

    module, keyword, client_class = "meshapi_transports.aiohttp", "session", "AsyncMeshAPI"
    takes_proxies_from_environment = False

    @staticmethod
    def own(*, headers=None, ca=None, login=None, timeout=None, trust_env=False):
        # A jar that takes the cookies of IP addresses, such as the test servers have.
        jar = aiohttp.CookieJar(unsafe=True)
        options: Dict[str, Any] = {"headers": headers, "trust_env": trust_env, "cookie_jar": jar}
        if login is not None:
            with warnings.catch_warnings():
                # It will go in aiohttp 4.
                warnings.simplefilter("ignore", DeprecationWarning)
                return aiohttp.ClientSession(auth=aiohttp.BasicAuth(*login), **options)
        if ca is not None:
            options["connector"] = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca))
        if timeout is not None:
            options["timeout"] = aiohttp.ClientTimeout(sock_read=timeout)
        return aiohttp.ClientSession(**options)

    @staticmethod
    def is_closed(own):
        return own.closed

    @staticmethod
    async def close(own):
        await own.close()


class Trio:
    """The `ConnectionPool` of the trio adapter."""

    module, keyword, client_class = "meshapi_transports.trio", "pool", "AsyncMeshAPI"
    takes_proxies_from_environment = False

    @staticmethod
    def own(*, headers=None, ca=None, login=None, timeout=None, trust_env=False):
        return trio_adapter.ConnectionPool(
            ssl_context=None if ca is None else ssl.create_default_context(cafile=ca),
        )

    @staticmethod
    def is_closed(own):
        return own._closed

    @staticmethod
    async def close(own):
        await own.aclose()


class Stdlib:
    """An ``ssl.SSLContext`` is all that can be injected into the stdlib adapter."""

    module, keyword, client_class = "meshapi_transports.stdlib", "ssl_context", "MeshAPI"
    takes_proxies_from_environment = False

    @staticmethod
    def own(*, headers=None, ca=None, login=None, timeout=None, trust_env=False):
        return ssl.create_default_context(cafile=ca)

    @staticmethod
    def is_closed(own):
        return False

    @staticmethod
    async def close(own):
        pass


@dataclasses.dataclass(frozen=True)
class Face:
    """One client over one library in one loop."""

    name: str
    library: Type[Any]
    backend: str = "asyncio"

    def __repr__(self) -> str:
        return self.name

    @property
    def module(self):
        return importlib.import_module(self.library.module)

    @property
    def is_blocking(self) -> bool:
        return self.library.client_class == "MeshAPI"

    @property
    def has_defaults(self) -> bool:
        """Whether the library's own object can hold headers, cookies and credentials."""
        return self.library not in (Trio, Stdlib)

    @property
    def shares_connections(self) -> bool:
        """Whether the library's own object is what holds the connections, and what is closed."""
        return self.library is not Stdlib

    def client(self, server: Any = None, **options: Any) -> Any:
        """A client of `server`, for coroutines in any case."""
        if server is not None:
            options.setdefault("base_url", server if isinstance(server, str) else server.url)
        options.setdefault("token", TOKEN)
        if self.library.keyword not in options:
            # So that a test that goes wrong does not go on for long.
            options.setdefault("timeout", 5.0)
        return self.bare_client(**options)

    def bare_client(self, **options: Any) -> Any:
        """The same without any argument but `options`."""
        client = getattr(self.module, self.library.client_class)(**options)
        return _Blocking(client) if self.is_blocking else client

    @asynccontextmanager
    async def own(self, **settings: Any):
        """The library's own object, closed in the end."""
        own = self.library.own(**settings)
        try:
            yield own
        finally:
            await self.library.close(own)

    def injected(self, own: Any, server: Any, **options: Any) -> Any:
        """A client of `server` over the library's own object `own`."""
        return self.client(server, **{self.library.keyword: own}, **options)


FACES = [
    Face("httpx", Httpx),
    Face("httpx-asyncio", AsyncHttpx),
    Face("httpx-trio", AsyncHttpx, "trio"),
    Face("httpx2", Httpx2),
    Face("httpx2-asyncio", AsyncHttpx2),
    Face("httpx2-trio", AsyncHttpx2, "trio"),
    Face("aiohttp", Aiohttp),
    Face("requests", Requests),
    Face("trio", Trio, "trio"),
    Face("stdlib", Stdlib),
]


# The shims


class _Blocking:
    """A blocking client, or a resource of it, that can be awaited."""

    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._blocking, name)
        if not callable(value):
            return _Blocking(value)
        shape = str(value.__annotations__.get("return")).partition("[")[0]
        shim = {"Items": _BlockingItems, "Stream": _BlockingStream}.get(shape)
        return partial(_call, value) if shim is None else partial(shim.opened, value)

    async def aclose(self) -> None:
        self._blocking.close()

    async def __aenter__(self) -> _Blocking:
        self._blocking.__enter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._blocking.__exit__(*exc_info)


async def _call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return method(*args, **kwargs)


class _BlockingItems:
    """An `Items` with the methods of an `AsyncItems`."""

    def __init__(self, items: Any) -> None:
        self._items = items

    @classmethod
    def opened(cls, method: Callable[..., Any], *args: Any, **kwargs: Any) -> _BlockingItems:
        return cls(method(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._items, name)

    def __aiter__(self) -> _BlockingItems:
        assert iter(self._items) is self._items
        return self

    async def __anext__(self) -> Any:
        return _next_of(self._items)

    async def __aenter__(self) -> _BlockingItems:
        assert self._items.__enter__() is self._items
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._items.__exit__(*exc_info)

    async def aclose(self) -> None:
        self._items.close()


class _BlockingStream(_BlockingItems):
    """A `Stream` with the methods of an `AsyncStream`."""

    @property
    def text(self) -> _BlockingText:
        return _BlockingText(self._items.text)

    async def collect(self) -> Any:
        return self._items.collect()


class _BlockingText:
    """The text of a `Stream`, as an asynchronous iterator."""

    def __init__(self, text: Any) -> None:
        self._text = text

    def __aiter__(self) -> _BlockingText:
        return self

    async def __anext__(self) -> str:
        return _next_of(self._text)


def _next_of(iterator: Any) -> Any:
    try:
        return next(iterator)
    except StopIteration:
        raise StopAsyncIteration from None


# What tests do again and again


async def create(client: Any, **options: Any) -> Any:
    """``chat.completions.create``."""
    return await client.chat.completions.create(PARAMS, **options)


def stream(client: Any, **options: Any) -> Any:
    """``chat.completions.stream``."""
    return client.chat.completions.stream(PARAMS, **options)


def text_of(chunks: Any) -> str:
    """What the model said in `chunks`."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.delta)


async def read(events: Any) -> str:
    """Read a stream to its end; returns what the model said."""
    return text_of([chunk async for chunk in events])


async def read_to_failure(events: Any, chunks: Optional[List[Any]] = None) -> MeshAPIError:
    """Read a stream until it fails with a MeshAPIError, which is returned; nothing else will do."""

    async def read_on() -> None:
        async for chunk in events:
            if chunks is not None:
                chunks.append(chunk)

    return await failure(read_on())


async def failure(call: Any) -> MeshAPIError:
    """Await a call that fails with a MeshAPIError, which is returned; nothing else will do."""
    with pytest.raises(MeshAPIError) as caught:
        await call
    return caught.value


async def ask(client: Any, way: str, **options: Any) -> str:
    """Ask by `create` or by `stream`; returns what the model said."""
    if way == "create":
        return (await create(client, **options)).choices[0].message.content
    return await read(stream(client, **options))


async def until(event_or_server: Any, condition: Optional[Callable[[Any], bool]] = None) -> None:
    """Wait, with the event loop running, for a threading.Event or for something to be true of a `RawServer`."""
    if isinstance(event_or_server, threading.Event):
        came = await anyio.to_thread.run_sync(partial(event_or_server.wait, 5.0))
    else:
        came = await anyio.to_thread.run_sync(partial(event_or_server.wait_until, condition))
    assert came, "it did not happen in time"


def in_short_time(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run a test with `seconds` that are short, and once more with longer ones if that was too short for the machine.

    For tests of time that runs out after something else has come in time.
    """

    @functools.wraps(test)
    async def patient(**fixtures: Any) -> None:
        for seconds in (0.1, 1.0):
            with suppress(Exception, pytest.fail.Exception):
                return await test(seconds=seconds, **fixtures)
        return await test(seconds=4.0, **fixtures)

    signature = inspect.signature(test)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "seconds"]
    patient.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return patient


@dataclasses.dataclass(frozen=True)
class RecordingPolicy(RetryPolicy):
    """A `RetryPolicy` that does not wait by itself, and remembers what it was asked and what it said."""

    backoff_base: float = 0.0
    outcomes: List[Any] = dataclasses.field(default_factory=list)
    waits: List[Optional[float]] = dataclasses.field(default_factory=list)

    def delay(self, attempt, outcome, jitter):
        wait = super().delay(attempt, outcome, jitter)
        self.outcomes.append(outcome)
        self.waits.append(wait)
        return wait
